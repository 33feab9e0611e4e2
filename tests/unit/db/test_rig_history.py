"""What became of the captures that were like another one."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, event

from meshdrop.db.engine import Database
from meshdrop.db.jobs import Jobs
from meshdrop.db.records import ModelRun


class Now:
    """A clock that goes on by a second whenever it is looked at."""

    seconds = 0.0

    def __call__(self) -> float:
        self.seconds += 1
        return self.seconds


@pytest.fixture
def jobs(tmp_path: Path) -> Iterator[Jobs]:
    database = Database(tmp_path / "meshdrop.db")
    database.migrate(tmp_path / "backup")
    yield Jobs(database, Now())
    database.close()


def finished(jobs: Jobs, name: str, rig: str, psnr: float | None) -> None:
    """A published job of this rig; without a PSNR it went to failed/."""
    job = jobs.start(jobs.queue(jobs.claim(name.encode(), "f").id, "d", {"rig": rig}, None, 0).id, "boot")
    jobs.record_run(job.id, ModelRun("draft", 1, "ok", figures={"psnr_masked_db": 1.0}))
    if psnr is None:
        jobs.published(jobs.failing(jobs.reject(job.id, "models", "none").id, name.encode()).id)
        return
    jobs.record_run(job.id, ModelRun("fusion", 1, "ok", figures={"psnr_masked_db": psnr}))
    jobs.published(jobs.deliver(job.id, name.encode(), "normal", "fusion").id)


def test_the_last_ones_come_newest_first_with_the_figures_of_the_model_to_take(jobs: Jobs) -> None:
    for name, rig, psnr in (("a", "one", 30.0), ("b", "two", 20.0), ("c", "one", None), ("d", "one", 32.0)):
        finished(jobs, name, rig, psnr)
    jobs.queue(jobs.claim(b"waits", "f").id, "d", {"rig": "one"}, None, 0)

    def is_one(inspection: dict[str, object]) -> bool:
        return inspection["rig"] == "one"

    found = jobs.last_like(is_one, 10)
    assert [(one.name, one.verdict) for one in found] == [(b"d", "normal"), (b"c", None), (b"a", "normal")]
    assert [one.figures and one.figures["psnr_masked_db"] for one in found] == [32.0, None, 30.0]
    assert found[0].finished_at > found[-1].finished_at
    assert [one.name for one in jobs.last_like(is_one, 2)] == [b"d", b"c"]


def test_no_more_is_read_than_is_looked_at(jobs: Jobs, tmp_path: Path) -> None:
    """In the order of an index, so that a record of many years answers as fast as a new one."""
    finished(jobs, "a", "one", 30.0)
    asked: list[tuple[str, Any]] = []

    def note(connection: Any, cursor: Any, statement: str, values: Any, context: Any, many: bool) -> None:
        asked.append((statement, values))

    event.listen(Engine, "before_cursor_execute", note)
    try:
        jobs.last_like(lambda _: True, 10)
    finally:
        event.remove(Engine, "before_cursor_execute", note)
    record = sqlite3.connect(tmp_path / "meshdrop.db")
    plans = [
        row[3]
        for question in asked
        if "SELECT" in question[0]
        for row in record.execute(f"EXPLAIN QUERY PLAN {question[0]}", question[1])
    ]
    record.close()
    assert [plan.partition(" (")[0] for plan in plans] == [
        "SEARCH job USING INDEX job_by_end",
        "SEARCH model_run USING INDEX model_run_by_job",
    ]
