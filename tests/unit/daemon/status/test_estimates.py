"""How long it will take, on the share: in words, from history alone, and without a page written in vain."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest

from meshdrop.daemon.base import fsops
from meshdrop.daemon.base.clock import Clock
from meshdrop.daemon.cli.views import live_facts
from meshdrop.daemon.status.activity import Activity
from meshdrop.daemon.status.estimates import Estimates
from meshdrop.daemon.status.pages import Working
from meshdrop.db.engine import Database
from meshdrop.db.records import Job, ModelRun
from tests.unit.daemon.status.test_overview import START, Desk, desk

__all__ = ["desk"]


@pytest.fixture
def estimates(desk: Desk) -> Estimates:
    clock = Clock(lambda: desk.seconds, lambda: START + desk.seconds)
    return Estimates(desk.database, desk.activity, ["fusion"], clock)


def learnt(desk: Desk) -> None:
    """One job from before: 240 s of fusion, and 10 s until it was published."""
    job = desk.jobs.start(desk.queued("lamp").id, "boot")
    desk.jobs.record_run(job.id, ModelRun("fusion", 1, "ok", started_at=START + desk.seconds, seconds=240.0))
    desk.seconds += 250
    desk.jobs.deliver(job.id, job.name, "normal", "fusion")
    desk.jobs.cleaned(desk.jobs.published(job.id).id)


def at_work(desk: Desk, name: str = "chair", progress: float = 0.1) -> Job:
    job = desk.jobs.start(desk.queued(name).id, "boot")
    desk.activity.work(Working(job.id, name, 1, progress, "fusion: integrating depth"), name.encode())
    return job


def look(desk: Desk, estimates: Estimates, after: float = 2.0) -> None:
    desk.look(after - 1.0)
    estimates.turn()
    desk.look(1.0)


def test_status_txt_and_the_pages_tell_what_is_left(desk: Desk, estimates: Estimates) -> None:
    learnt(desk)
    at_work(desk)
    desk.queued("table")
    look(desk, estimates, after=30.0)
    look(desk, estimates, after=5.0)
    # 240 - 35 s of its models and 10 s for the rest; 240 + 10 s more for the next one
    assert "  chair: fusion: integrating depth (10 % of the job), about 4 minutes left\n" in desk.text
    assert "   1. table, about 8 minutes left\n" in desk.text
    page = desk.page("table.json")
    assert (page["left"], page["sentence"]) == ("about 8 minutes", "number 1 in the queue, about 8 minutes left")
    page = desk.page("chair.json")
    assert (page["left"], page["stage"]) == ("about 4 minutes", "fusion: integrating depth")
    desk.activity.stop()
    desk.look(5.0)
    assert " left" not in desk.text
    assert [desk.page(f"{name}.json")["left"] for name in ("chair", "table")] == [None, None]


def test_without_history_nothing_is_said(desk: Desk, estimates: Estimates) -> None:
    at_work(desk, progress=0.01)
    desk.queued("table")
    look(desk, estimates)
    assert " left" not in desk.text
    assert desk.page("table.json")["left"] is None
    assert desk.activity.facts()["expected"] == {}


@pytest.mark.parametrize(
    "rest",
    [
        lambda activity: activity.pause(START),
        Activity.drain,
        lambda activity: activity.hold({"space": "the disk is full"}),
    ],
    ids=["paused", "draining", "held"],
)
def test_what_will_not_be_begun_is_not_foretold(
    desk: Desk, estimates: Estimates, rest: Callable[[Activity], Any]
) -> None:
    learnt(desk)
    running = at_work(desk)
    desk.queued("table")
    look(desk, estimates)
    rest(desk.activity)
    look(desk, estimates)
    assert set(desk.activity.facts()["expected"]) == {running.id}
    assert desk.page("table.json")["left"] is None


def test_a_page_is_written_anew_only_when_its_words_change(desk: Desk, estimates: Estimates) -> None:
    """Two minutes, a look every second or two: the words change twice or so, and nobody writes for less."""
    learnt(desk)
    at_work(desk)
    for number in range(40):
        desk.queued(f"table{number:02d}")
    look(desk, estimates)
    written: list[str] = []

    def note(operation: str, *paths: Path) -> None:
        written.append(paths[0].name)

    fsops.observer = note
    try:
        for _ in range(60):
            look(desk, estimates)
    finally:
        fsops.observer = None
    assert 1 <= written.count("table00.json") <= 3
    assert written.count("table39.json") == 0, "behind the thirtieth nothing is told"
    assert desk.page("table39.json")["left"] is None
    assert len([name for name in written if name.startswith("table")]) <= 3 * 30


def test_a_service_with_nothing_to_do_asks_the_record_nothing() -> None:
    Estimates(cast(Database, None), Activity(), ["fusion"], Clock()).turn()


def test_the_command_tells_what_the_service_expects(desk: Desk, estimates: Estimates) -> None:
    learnt(desk)
    running = at_work(desk)
    look(desk, estimates)
    # that page is years old, and by a process that is not this one
    assert live_facts(desk.places)["forecast"] == {}
    assert "expected" not in live_facts(desk.places)
    desk.activity = Activity()
    desk.activity.expect({running.id: START})
    assert desk.activity.facts()["expected"] == {running.id: START}
