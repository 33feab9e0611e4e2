"""The record: legal moves, one claim per name, attempts counted before they begin, order of the queue."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from meshdrop.db.engine import Database
from meshdrop.db.jobs import AGEING_S, Jobs, NameBeingClaimed, NoSuchJob
from meshdrop.db.records import Job, ModelRun, events_of
from meshdrop.db.states import LIVE, MOVES, IllegalMove, State


class FakeTime:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.seconds = 1_000_000.0

    def __call__(self) -> float:
        """Unix seconds."""
        return self.seconds


@pytest.fixture
def now() -> FakeTime:
    return FakeTime()


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    found = Database(tmp_path / "meshdrop.db")
    found.migrate(tmp_path / "backup")
    yield found
    found.close()


@pytest.fixture
def jobs(database: Database, now: FakeTime) -> Jobs:
    return Jobs(database, now)


def queued(jobs: Jobs, name: bytes = b"chair", priority: int = 0) -> Job:
    """A job that waits for its turn."""
    job = jobs.claim(name, "f1")
    return jobs.queue(job.id, "d1", {"ok": True}, None, priority)


def test_the_way_of_a_good_job_is_recorded_step_by_step(jobs: Jobs, database: Database) -> None:
    job = queued(jobs)
    job = jobs.start(job.id, "boot")
    assert (job.state, job.attempt) == (State.RUNNING, 1)
    jobs.record_run(job.id, ModelRun("fusion", 1, "ok", seconds=3.5))
    job = jobs.deliver(job.id, b"chair", "normal", "fusion")
    job = jobs.cleaned(jobs.published(job.id).id)
    assert (job.state, job.verdict, job.best_model) == (State.DONE_CLEAN, "normal", "fusion")
    assert [event.kind for event in database.read(lambda session: events_of(session, job.id))] == [
        "claiming",
        "queued",
        "started",
        "model run",
        "delivering",
        "published",
        "cleaned",
    ]


def test_a_failing_job_ends_in_failed_and_keeps_its_reason(jobs: Jobs) -> None:
    job = jobs.claim(b"chair", "f1")
    jobs.reject(job.id, "capture", "views/view_00.png: broken", {"ok": False, "problems": []})
    jobs.failing(job.id, b"chair")
    job = jobs.published(job.id)
    assert (job.state, job.reason_code) == (State.FAILED, "capture")
    assert jobs.cleaned(job.id).state is State.FAILED_CLEAN


def test_an_illegal_move_is_refused_and_changes_nothing(jobs: Jobs) -> None:
    job = queued(jobs)
    with pytest.raises(IllegalMove):
        jobs.deliver(job.id, b"chair", "normal", "fusion")
    assert jobs.get(job.id).state is State.QUEUED


def test_the_database_itself_refuses_every_move_that_the_table_does_not_know(jobs: Jobs, database: Database) -> None:
    for old in State:
        for new in State:
            job = jobs.claim(f"{old}-{new}".encode(), "f")

            def force(session: Session, job_id: str = job.id, state: State = old) -> None:
                # Rows are born in any state only by an INSERT, which the trigger does not guard.
                session.execute(text("DELETE FROM event WHERE job_id = :id"), {"id": job_id})
                row = dict(session.execute(text("SELECT * FROM job WHERE id = :id"), {"id": job_id}).mappings().one())
                session.execute(text("DELETE FROM job WHERE id = :id"), {"id": job_id})
                columns = ", ".join(row)
                values = ", ".join(f":{name}" for name in row)
                session.execute(text(f"INSERT INTO job ({columns}) VALUES ({values})"), {**row, "state": state})

            def move(session: Session, job_id: str = job.id, state: State = new) -> None:
                session.execute(text("UPDATE job SET state = :state WHERE id = :id"), {"state": state, "id": job_id})

            database.write(force)
            if old == new or new in MOVES[old]:
                database.write(move)
            else:
                with pytest.raises(IntegrityError, match="illegal move"):
                    database.write(move)


def test_two_folders_of_one_name_cannot_be_claimed_at_once_but_a_queued_one_blocks_nothing(jobs: Jobs) -> None:
    first = jobs.claim(b"chair", "f1")
    with pytest.raises(NameBeingClaimed):
        jobs.claim(b"chair", "f2")
    jobs.queue(first.id, "d", {}, None, 0)
    assert jobs.claim(b"chair", "f2").id != first.id


def test_names_are_bytes_and_come_back_unchanged(jobs: Jobs) -> None:
    name = b"caf\xe9 \n \xf0\x9f\x98\x80"
    assert jobs.get(jobs.claim(name, "f").id).name == name


def test_the_queue_goes_by_priority_then_age_and_waiting_counts(jobs: Jobs, now: FakeTime) -> None:
    old = queued(jobs, b"old")
    now.seconds += 60
    rush = queued(jobs, b"rush", priority=1)
    assert [job.id for job in [jobs.next_ready()] if job] == [rush.id]
    # One point is worth AGEING_S seconds, so by then the older job has caught up and leads by the minute it is older.
    now.seconds += AGEING_S
    jobs.start(rush.id, "boot")
    rush_again = jobs.requeue(rush.id, "stop", refund=True)
    assert rush_again.attempt == 0
    assert (ready := jobs.next_ready()) is not None
    assert ready.id == rush.id  # 1 + 600/600 = 2 against 660/600 = 1.1
    newer = queued(jobs, b"newer", priority=1)
    now.seconds += 1
    assert (ready := jobs.next_ready()) is not None
    assert ready.id not in (old.id, newer.id)


def test_a_clock_that_was_set_back_does_not_make_a_job_wait_for_the_hours_between(jobs: Jobs, now: FakeTime) -> None:
    job = jobs.start(queued(jobs).id, "boot")
    jobs.requeue(job.id, "a model failed", delay_s=60.0)
    now.seconds -= 9 * 3600
    found = jobs.next_ready()
    assert found is not None
    assert found.id == job.id


def test_a_job_that_backs_off_is_not_ready_before_its_time(jobs: Jobs, now: FakeTime) -> None:
    job = jobs.start(queued(jobs).id, "boot")
    jobs.requeue(job.id, "a model failed", delay_s=10)
    assert jobs.next_ready() is None
    now.seconds += 10
    assert (ready := jobs.next_ready()) is not None
    assert ready.attempt == 1  # a failed attempt stays counted


def test_a_folder_put_back_is_remembered_by_its_name(jobs: Jobs, now: FakeTime) -> None:
    jobs.abandon(jobs.claim(b"chair", "f").id, "changed", put_back=True)
    assert jobs.was_put_back(b"chair")
    assert not jobs.was_put_back(b"table")
    now.seconds += 7200
    assert not jobs.was_put_back(b"chair")


def test_typical_seconds_are_the_95th_percentile_of_good_runs(jobs: Jobs) -> None:
    assert jobs.typical_seconds("fusion") is None
    for second in range(1, 22):  # 1..21 s; index int(0.95 * 20) = 19 of the sorted list is 20 s
        job = queued(jobs, f"job {second}".encode())
        jobs.record_run(job.id, ModelRun("fusion", 1, "ok", seconds=float(second)))
        jobs.record_run(job.id, ModelRun("other", 1, "failed", seconds=999.0))
    assert jobs.typical_seconds("fusion") == 20.0
    assert jobs.typical_seconds("other") is None


def test_live_jobs_are_all_that_are_not_at_rest(jobs: Jobs) -> None:
    waiting = queued(jobs, b"a")
    gone = jobs.claim(b"b", "f")
    jobs.abandon(gone.id, "vanished")
    assert [job.id for job in jobs.live()] == [waiting.id]
    assert State.ABANDONED not in LIVE


def test_an_unknown_job_is_an_error_for_verbs_and_none_for_find(jobs: Jobs) -> None:
    assert jobs.find("nothing") is None
    with pytest.raises(NoSuchJob):
        jobs.start("nothing", "boot")


def test_a_failure_before_the_commit_leaves_no_trace(tmp_path: Path) -> None:
    broken: list[Callable[[], None]] = []

    def before_commit() -> None:
        for fault in broken:
            fault()

    def fault() -> None:
        raise OSError("no space left")

    database = Database(tmp_path / "meshdrop.db", before_commit)
    database.migrate(tmp_path / "backup")
    jobs = Jobs(database)
    job = queued(jobs)
    broken.append(fault)
    with pytest.raises(OSError, match="no space"):
        jobs.start(job.id, "boot")
    broken.clear()
    assert (jobs.get(job.id).state, jobs.get(job.id).attempt) == (State.QUEUED, 0)
    database.close()
