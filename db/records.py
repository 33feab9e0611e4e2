"""What the record says, as values: jobs, model runs and events, and the questions that may be asked of them."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, fields
from typing import Any, Literal, NamedTuple

from sqlalchemy import case, func, select
from sqlalchemy.orm import Session

from meshdrop.db.states import LIVE, State
from meshdrop.db.tables import EventRow, JobRow, ModelRunRow

_REASON_LENGTH = 500
#: Nothing is put off for longer. What seems to be was put off by a clock that has been set back since, and is due.
LONGEST_PAUSE_S = 3600.0


@dataclass(frozen=True)
class Job:
    """One row of the job table as a value; see ``db.tables.JobRow`` for the meaning of each field."""

    id: str
    name: bytes
    state: State
    priority: int
    fingerprint: str
    digest: str | None
    ingest_tries: int
    put_back: int
    attempt: int
    refunds: int
    finish_tries: int
    boot_id: str | None
    models: list[str] | None
    not_before: float
    dest: bytes | None
    reason_code: str | None
    reason: str | None
    verdict: str | None
    best_model: str | None
    inspection: dict[str, Any] | None
    created_at: float
    queued_at: float | None
    started_at: float | None
    finished_at: float | None

    @property
    def short_id(self) -> str:
        """The first eight characters of the id: what people see and type."""
        return self.id[:8]


@dataclass(frozen=True)
class ModelRun:
    """One model in one attempt: what the loop records and the report tells."""

    model: str
    attempt: int
    state: Literal["ok", "failed", "skipped"]
    started_at: float | None = None
    seconds: float | None = None
    error_class: str | None = None
    reason: str | None = None
    fix: str | None = None
    figures: dict[str, Any] | None = None


@dataclass(frozen=True)
class Event:
    """One line of a job's history."""

    at: float
    kind: str
    detail: dict[str, Any] | None


class InLine(NamedTuple):
    """A live job in as few words as the status pages need: light enough for ten thousand of them."""

    id: str
    name: bytes
    state: State
    priority: int
    attempt: int
    ingest_tries: int
    not_before: float
    created_at: float
    dest: bytes | None
    verdict: str | None
    best_model: str | None
    reason_code: str | None
    #: The beginning of the reason; the whole of it stands in the job.
    reason: str | None
    #: Class of the last failed model run, for a job that waits for another attempt.
    failed_as: str | None

    @property
    def short_id(self) -> str:
        """The first eight characters of the id: what people see and type."""
        return self.id[:8]


def is_put_off(not_before: float, now: float) -> bool:
    """Whether what may not be begun before a Unix time still has to wait."""
    return now < not_before <= now + LONGEST_PAUSE_S


def as_job(row: JobRow) -> Job:
    """A row as a value that may leave its session and thread."""
    values = {field.name: getattr(row, field.name) for field in fields(Job)}
    return Job(**{**values, "state": State(row.state)})


def live_jobs(session: Session) -> list[Job]:
    """Jobs not yet at rest, oldest first."""
    rows = session.scalars(select(JobRow).where(JobRow.state.in_(LIVE)).order_by(JobRow.created_at))
    return [as_job(row) for row in rows]


def line_up(session: Session, ageing_s: float, seen: int = -1) -> tuple[int, list[InLine]] | None:
    """Live jobs: the queued ones in the order in which they take their turns, the others oldest first.

    With them comes the number of the last event; None instead when that is still ``seen``, so that asking again and
    again costs next to nothing. The order does not depend on the present time: all waiting jobs age alike.
    """
    newest = session.scalar(select(func.max(EventRow.id))) or 0
    if newest == seen:
        return None
    last_failure = (
        select(ModelRunRow.error_class)
        .where(ModelRunRow.job_id == JobRow.id, ModelRunRow.state == "failed")
        .order_by(ModelRunRow.id.desc())
        .limit(1)
        .correlate(JobRow)
        .scalar_subquery()
    )
    told: dict[str, Any] = {name: getattr(JobRow, name, None) for name in InLine._fields}
    told["reason"] = func.substr(JobRow.reason, 1, _REASON_LENGTH)
    told["failed_as"] = case((JobRow.not_before > 0, last_failure), else_=None)
    turn = case((JobRow.state == State.QUEUED, JobRow.priority - JobRow.queued_at / ageing_s), else_=None)
    rows = session.execute(
        select(*told.values()).where(JobRow.state.in_(LIVE)).order_by(turn.desc(), JobRow.created_at)
    )
    return newest, [InLine(*row)._replace(state=State(row.state)) for row in rows]


def recent_jobs(session: Session, limit: int = 20) -> list[Job]:
    """The newest jobs that are at rest, newest first; claims that came to nothing are left out."""
    resting = select(JobRow).where(JobRow.state.not_in(LIVE), JobRow.state != State.ABANDONED)
    return [as_job(row) for row in session.scalars(resting.order_by(JobRow.finished_at.desc()).limit(limit))]


def newest_of_name(
    session: Session, name: bytes, states: Collection[State], *, before: float | None = None, other_than: str = ""
) -> Job | None:
    """The newest job of a folder name in one of these states, taken no later than ``before``."""
    rows = select(JobRow).where(JobRow.name == name, JobRow.state.in_(states), JobRow.id != other_than)
    if before is not None:
        rows = rows.where(JobRow.created_at <= before)
    row = session.scalars(rows.order_by(JobRow.created_at.desc()).limit(1)).first()
    return None if row is None else as_job(row)


def find_jobs(session: Session, text: str) -> list[Job]:
    """Jobs whose id starts with ``text`` or whose folder name is ``text``, newest first."""
    rows = session.scalars(
        select(JobRow)
        .where(
            JobRow.state != State.ABANDONED,
            JobRow.id.startswith(text, autoescape=True)
            | (JobRow.name == text.encode("utf-8", "surrogateescape"))
            | (JobRow.dest == text.encode("utf-8", "surrogateescape")),
        )
        .order_by(JobRow.created_at.desc())
    )
    return [as_job(row) for row in rows]


def runs_of(session: Session, job_id: str) -> list[ModelRun]:
    """Model runs of a job in order."""
    rows = session.scalars(select(ModelRunRow).where(ModelRunRow.job_id == job_id).order_by(ModelRunRow.id))
    return [ModelRun(**{field.name: getattr(row, field.name) for field in fields(ModelRun)}) for row in rows]


def events_of(session: Session, job_id: str) -> list[Event]:
    """A job's history in order."""
    rows = session.scalars(select(EventRow).where(EventRow.job_id == job_id).order_by(EventRow.id))
    return [Event(row.at, row.kind, row.detail) for row in rows]


def count_by_state(session: Session) -> dict[State, int]:
    """How many jobs there are in each state that has any."""
    rows = session.execute(select(JobRow.state, func.count()).group_by(JobRow.state))
    return {State(state): count for state, count in rows}
