"""When things will be done, by this machine's own history."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from meshdrop.daemon.status.forecast import History, forecast, in_words, read_history
from meshdrop.db.engine import Database
from meshdrop.db.history import Turn
from meshdrop.db.jobs import Jobs
from meshdrop.db.records import ModelRun
from meshdrop.db.states import State

USUAL = History({"fusion": 10.0, "nvdiffrec": 60.0}, 4.0)


def turn(job: str, state: State = State.QUEUED, **changes: Any) -> Turn:
    values: dict[str, Any] = {"models": None, "started_at": None, "not_before": 0.0, "finished": frozenset()}
    return Turn(job, state, **{**values, **changes})


def running(since: float, **changes: Any) -> Turn:
    return turn("now", State.RUNNING, started_at=since, **changes)


def test_a_running_job_needs_the_rest_of_what_its_models_usually_take() -> None:
    # 10 s usual, 3 s gone, and then 4 s for measuring and publishing
    assert forecast([running(97.0)], USUAL, ["fusion"], 100.0, ("now", 0.2)) == {"now": 7.0 + 4.0}


def test_one_that_takes_longer_than_usual_is_judged_by_its_progress() -> None:
    # half done after 20 s: another 20
    assert forecast([running(80.0)], USUAL, ["fusion"], 100.0, ("now", 0.5)) == {"now": 20.0 + 4.0}
    assert forecast([running(80.0)], USUAL, ["fusion"], 100.0, ("now", 0.01)) == {}


def test_those_behind_wait_for_all_before_them() -> None:
    line = [running(95.0), turn("next", models=["fusion", "nvdiffrec"]), turn("last")]
    # 5 s left of the first; 70 for the next; 10 for the last; each is published 4 s after its models
    assert forecast(line, USUAL, ["fusion"], 100.0, ("now", 0.5)) == {"now": 9.0, "next": 79.0, "last": 89.0}


def test_one_that_is_being_measured_is_in_nobodys_way() -> None:
    """While a job is measured, the next one's models run already: its progress is not the other's."""
    before = turn("before", State.RUNNING, started_at=20.0)
    # 5 s left of its models, whatever the one before took
    assert forecast([before, running(95.0), turn("next")], USUAL, ["fusion"], 100.0, ("now", 0.01)) == {
        "before": 4.0,
        "now": 9.0,
        "next": 19.0,
    }


def test_a_pause_that_a_clock_set_back_has_left_is_over() -> None:
    assert forecast([turn("now", not_before=90_000.0)], USUAL, ["fusion"], 100.0, None) == {"now": 14.0}


def test_what_an_earlier_attempt_finished_is_not_run_again() -> None:
    line = [turn("again", models=["fusion", "nvdiffrec"], finished=frozenset({"nvdiffrec"}))]
    assert forecast(line, USUAL, [], 100.0, None) == {"again": 14.0}


def test_behind_something_unknown_nothing_is_said() -> None:
    line = [turn("first"), turn("new", models=["mine"]), turn("last")]
    assert forecast(line, USUAL, ["fusion"], 100.0, None) == {"first": 14.0}
    assert forecast([turn("first")], History({}, None), ["fusion"], 100.0, None) == {}


def test_a_job_whose_pause_is_not_over_takes_no_turn() -> None:
    line = [turn("later", not_before=200.0), turn("now")]
    assert forecast(line, USUAL, ["fusion"], 100.0, None) == {"now": 14.0}


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "less than a minute"),
        (44, "less than a minute"),
        (60, "about a minute"),
        (95, "about 2 minutes"),
        (570, "about 10 minutes"),
        (760, "about 15 minutes"),
        (3599, "about 60 minutes"),
        (7200, "about 2 hours"),
        (300_000, "about 3 days"),
    ],
)
def test_words(seconds: float, words: str) -> None:
    assert in_words(seconds) == words


def test_the_history_is_the_middle_of_what_was_recorded(tmp_path: Path) -> None:
    now = [1000.0]
    database = Database(tmp_path / "a.db")
    database.migrate(tmp_path)
    jobs = Jobs(database, lambda: now[0])
    for seconds, finishing in ((10.0, 2.0), (30.0, 3.0), (500.0, 9.0)):
        job = jobs.start(jobs.queue(jobs.claim(b"chair", "f").id, "d", {}, None, 0).id, "boot")
        jobs.record_run(job.id, ModelRun("fusion", 1, "ok", started_at=now[0], seconds=seconds))
        jobs.record_run(job.id, ModelRun("mine", 1, "failed", started_at=now[0], seconds=1.0, error_class="crash"))
        now[0] += seconds + finishing
        jobs.deliver(job.id, b"chair", "normal", "fusion")
        jobs.published(job.id)
    found = database.read(read_history)
    database.close()
    assert found.models == {"fusion": 30.0}
    assert found.finishing == pytest.approx(3.0)
