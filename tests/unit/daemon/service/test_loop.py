"""The serial loop and the retry table, with an executor that does what the test says."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from meshdrop.daemon.base.errors import JobTrouble
from meshdrop.daemon.base.settings import Settings, load
from meshdrop.daemon.base.share import create_root, open_share
from meshdrop.daemon.base.tries import MAX_TROUBLES
from meshdrop.daemon.inbox.intake import digest_of_folder
from meshdrop.daemon.service.loop import Loop
from meshdrop.daemon.workers.attempts import ModelOutcome
from meshdrop.daemon.workers.attempts import State as ModelState
from meshdrop.daemon.workers.executor import Attempt, Report
from meshdrop.daemon.workers.retry import was_stopped, worth_another
from meshdrop.db.engine import Database
from meshdrop.db.jobs import Jobs
from meshdrop.db.records import Job, ModelRun
from meshdrop.db.states import State


class ScriptedExecutor:
    """Holds one attempt and reports what the test has put into ``says``."""

    def __init__(self) -> None:
        self.attempt: Attempt | None = None
        self.started: list[Attempt] = []
        self.cancelled: list[str] = []
        self.says: Report | None = None

    def free(self) -> int:
        """One while nothing is held."""
        return 0 if self.attempt else 1

    def start(self, attempt: Attempt) -> None:
        """Remember it."""
        self.attempt = attempt
        self.started.append(attempt)

    def poll(self) -> list[Report] | None:
        """What the test says of the attempt."""
        if self.attempt is None:
            return []
        return [self.says or Report(self.attempt.key, "running", 0.5, "thinking")]

    def cancel(self, key: str) -> None:
        """Remember it."""
        self.cancelled.append(key)

    def clear(self, key: str) -> None:
        """Forget the attempt."""
        self.attempt, self.says = None, None

    def close(self, keep: bool) -> None:
        """End it as stopped."""
        if self.attempt:
            self.says = Report(self.attempt.key, "failed", 1.0, "cancelled", {})


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    found = load(tmp_path, models=("fusion", "nvdiffrec"), model_settings={"fusion": {"resolution": 64}})
    create_root(found.places)
    return found


@pytest.fixture
def jobs(settings: Settings) -> Iterator[Jobs]:
    database = Database(settings.places.database)
    database.migrate(settings.places.backups)
    yield Jobs(database)
    database.close()


@pytest.fixture
def executor() -> ScriptedExecutor:
    return ScriptedExecutor()


@pytest.fixture
def handed_on() -> list[Job]:
    return []


@pytest.fixture
def loop(settings: Settings, jobs: Jobs, executor: ScriptedExecutor, handed_on: list[Job]) -> Loop:
    return Loop(open_share(settings.places), jobs, settings, executor, handed_on.append)


def queued(jobs: Jobs, settings: Settings, name: bytes, models: list[str] | None = None, priority: int = 0) -> Job:
    """A job with one file as its capture."""
    job = jobs.claim(name, "f")
    folder = settings.places.capture(job.id)
    folder.mkdir(parents=True)
    (folder / "file").write_bytes(name)
    return jobs.queue(job.id, digest_of_folder(folder, settings), {}, models, priority)


def test_one_job_at_a_time_in_the_order_of_priority(
    loop: Loop, jobs: Jobs, settings: Settings, executor: ScriptedExecutor, handed_on: list[Job]
) -> None:
    low, high = queued(jobs, settings, b"low"), queued(jobs, settings, b"high", priority=5)
    loop.turn(accept=True)
    loop.turn(accept=True)
    assert [attempt.key for attempt in executor.started] == [f"{high.id}.1"]
    executor.says = Report(f"{high.id}.1", "done", 1.0, "finished", {})
    loop.turn(accept=True)
    assert [attempt.key for attempt in executor.started] == [f"{high.id}.1", f"{low.id}.1"]
    assert [job.id for job in handed_on] == [high.id]


def test_the_recipe_names_the_models_in_order_with_their_settings(
    loop: Loop, jobs: Jobs, settings: Settings, executor: ScriptedExecutor
) -> None:
    queued(jobs, settings, b"chair")
    loop.turn(accept=True)
    assert json.loads(executor.started[0].recipe)["steps"] == [
        {"model": "fusion", "settings": {"resolution": 64}},
        {"model": "nvdiffrec", "settings": {}},
    ]


def test_a_capture_may_choose_its_own_models(
    loop: Loop, jobs: Jobs, settings: Settings, executor: ScriptedExecutor
) -> None:
    queued(jobs, settings, b"chair", models=["nvdiffrec"])
    loop.turn(accept=True)
    assert [step["model"] for step in json.loads(executor.started[0].recipe)["steps"]] == ["nvdiffrec"]


def test_the_attempt_is_counted_before_anything_is_started(
    loop: Loop, jobs: Jobs, settings: Settings, executor: ScriptedExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = queued(jobs, settings, b"chair")

    def look(attempt: Attempt) -> None:
        assert (jobs.get(job.id).state, jobs.get(job.id).attempt) == (State.RUNNING, 1)

    monkeypatch.setattr(executor, "start", look)
    loop.turn(accept=True)


def test_a_damaged_working_copy_never_reaches_a_model(
    loop: Loop, jobs: Jobs, settings: Settings, executor: ScriptedExecutor, handed_on: list[Job]
) -> None:
    job = queued(jobs, settings, b"chair")
    (settings.places.capture(job.id) / "file").write_bytes(b"rotten")
    loop.turn(accept=True)
    assert executor.started == []
    assert [(job.state, job.reason_code) for job in handed_on] == [(State.FAIL_PENDING, "damaged")]


def test_an_attempt_that_cannot_be_begun_is_not_counted(
    loop: Loop, jobs: Jobs, settings: Settings, executor: ScriptedExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = queued(jobs, settings, b"chair")

    def full(attempt: Attempt) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(executor, "start", full)
    with pytest.raises(OSError, match="No space"):
        loop.turn(accept=True)
    assert (jobs.get(job.id).state, jobs.get(job.id).attempt, loop.running) == (State.QUEUED, 0, {})


def test_nothing_is_begun_while_nothing_is_accepted(
    loop: Loop, jobs: Jobs, settings: Settings, executor: ScriptedExecutor
) -> None:
    queued(jobs, settings, b"chair")
    loop.turn(accept=False)
    assert executor.started == []


def test_a_cancel_is_recorded_before_the_processes_are_told(
    loop: Loop, jobs: Jobs, settings: Settings, executor: ScriptedExecutor
) -> None:
    job = queued(jobs, settings, b"chair")
    assert not loop.cancel(job.id)
    loop.turn(accept=True)
    assert loop.cancel(job.id)
    assert executor.cancelled == [f"{job.id}.1"]
    assert jobs.get(job.id).reason_code == "cancelled"


def test_what_fails_for_one_attempt_alone_is_tried_three_times_and_the_next_job_begins(
    loop: Loop, jobs: Jobs, settings: Settings, executor: ScriptedExecutor, handed_on: list[Job]
) -> None:
    first, second = queued(jobs, settings, b"first"), queued(jobs, settings, b"second")
    loop.turn(accept=True)
    executor.says = Report(f"{first.id}.1", "running", 0.0, "", trouble=ValueError("a defect"))
    for _ in range(MAX_TROUBLES - 1):
        with pytest.raises(JobTrouble, match=r"first: .* though the disks are in order: ValueError: a defect"):
            loop.turn(accept=True)
        assert handed_on == []
    loop.turn(accept=True)
    assert [(job.id, job.state, job.reason_code) for job in handed_on] == [(first.id, State.FAIL_PENDING, "unfinished")]
    assert [attempt.key for attempt in executor.started] == [f"{first.id}.1", f"{second.id}.1"]


def test_an_attempt_that_got_on_meanwhile_has_all_its_tries_again(
    loop: Loop, jobs: Jobs, settings: Settings, executor: ScriptedExecutor, handed_on: list[Job]
) -> None:
    job = queued(jobs, settings, b"chair")
    loop.turn(accept=True)
    for _ in range(MAX_TROUBLES):
        executor.says = Report(f"{job.id}.1", "running", 0.0, "", trouble=ValueError("a defect"))
        for _ in range(MAX_TROUBLES - 1):
            with pytest.raises(JobTrouble):
                loop.turn(accept=True)
        executor.says = None
        loop.turn(accept=True)
    assert handed_on == []


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), MemoryError()])
def test_an_attempt_that_the_machine_holds_up_waits_for_it(
    loop: Loop, jobs: Jobs, settings: Settings, executor: ScriptedExecutor, handed_on: list[Job], error: Exception
) -> None:
    job = queued(jobs, settings, b"chair")
    loop.turn(accept=True)
    executor.says = Report(f"{job.id}.1", "running", 0.0, "", trouble=error)
    for _ in range(3 * MAX_TROUBLES):
        with pytest.raises(OSError, match=r"No space|MemoryError"):
            loop.turn(accept=True)
    assert handed_on == []
    assert jobs.get(job.id).state is State.RUNNING


def test_a_stopped_attempt_whose_end_cannot_be_written_down_is_not_handed_on(
    loop: Loop,
    jobs: Jobs,
    settings: Settings,
    executor: ScriptedExecutor,
    handed_on: list[Job],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    job = queued(jobs, settings, b"chair")
    loop.turn(accept=True)
    monkeypatch.setattr(executor, "close", lambda keep: None)
    executor.says = Report(f"{job.id}.1", "running", 0.0, "", trouble=ValueError("a defect"))
    loop.stop()
    assert handed_on == []
    assert jobs.get(job.id).state is State.RUNNING


# -- the retry table -----------------------------------------------------------------------------------------------


def outcome(kind: str | None, state: ModelState = "failed") -> ModelOutcome:
    """One model's outcome."""
    return ModelOutcome(state, kind)


@pytest.mark.parametrize(
    ("kind", "failures", "again"),
    # the table of docs/architecture.md: further attempts after the first
    [
        ("error", 0, True),
        ("error", 1, True),
        ("error", 2, False),
        ("crash", 1, True),
        ("timeout", 0, True),
        ("timeout", 1, False),
        ("stalled", 1, False),
        ("gpu_memory", 0, True),
        ("gpu_memory", 1, False),
        ("bad_input", 0, False),
        ("unavailable", 0, False),
        ("settings", 0, False),
        ("defect", 0, False),
    ],
)
def test_each_class_of_failure_has_its_number_of_retries(
    jobs: Jobs, settings: Settings, kind: str, failures: int, again: bool
) -> None:
    job = queued(jobs, settings, b"chair")
    for _ in range(failures + 1):
        job = jobs.start(job.id, "boot")
        if job.attempt <= failures:
            job = jobs.requeue(job.id, "failed")
    earlier = [ModelRun("fusion", attempt, "failed", error_class=kind) for attempt in range(1, failures + 1)]
    if failures < 2:
        assert worth_another(job, {"fusion": outcome(kind)}, earlier) is again
    else:
        assert not worth_another(job, {"fusion": outcome(kind)}, earlier)


def test_skipped_and_good_models_ask_for_no_other_attempt(jobs: Jobs, settings: Settings) -> None:
    job = jobs.start(queued(jobs, settings, b"chair").id, "boot")
    assert not worth_another(job, {"a": outcome("unavailable", "skipped"), "b": outcome(None, "ok")}, [])
    assert worth_another(job, {"a": outcome(None, "ok"), "b": outcome("crash")}, [])


def test_a_stopped_attempt_is_told_from_a_failed_one() -> None:
    assert was_stopped({"a": outcome(None, "ok"), "b": outcome("cancelled")})
    assert not was_stopped({"a": outcome(None, "ok"), "b": outcome("crash")})
