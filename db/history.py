"""How long things took on this machine, and how they ended: what forecasts and metrics are made of. Only reads."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Select, case, func, select
from sqlalchemy.orm import Session

from meshdrop.db.states import PUBLISHED, State
from meshdrop.db.tables import EventRow, JobRow, ModelRunRow

_LAST = 50


@dataclass(frozen=True)
class Turn:
    """A job in the queue or at work, in the order of turns: what a forecast has to know of it. Times in Unix seconds.

    ``models`` is None for the configured ones; ``finished`` are those that an earlier attempt has finished.
    """

    job_id: str
    state: State
    models: list[str] | None
    started_at: float | None
    not_before: float
    finished: frozenset[str]


@dataclass(frozen=True)
class Durations:
    """A distribution of seconds: how many were at most as long as each limit asked for, all of them, and their sum."""

    within: tuple[int, ...]
    count: int
    total_s: float


def median_seconds(session: Session) -> dict[str, float]:
    """What each model usually takes here: the median of its last successful runs."""
    found = {}
    for model in session.scalars(select(ModelRunRow.model).distinct()):
        last = session.scalars(
            select(ModelRunRow.seconds)
            .where(ModelRunRow.model == model, ModelRunRow.state == "ok", ModelRunRow.seconds.is_not(None))
            .order_by(ModelRunRow.id.desc())
            .limit(_LAST)
        )
        if (seconds := _median([value for value in last if value is not None])) is not None:
            found[model] = seconds
    return found


def median_finishing(session: Session) -> float | None:
    """What measuring and publishing usually take after the last model has ended; None without history."""
    ended = func.max(ModelRunRow.started_at + ModelRunRow.seconds)
    # What has a verdict and an end went to the outbox. Asked for by its state, SQLite would sort all that ever did.
    last = (
        select(JobRow.id, JobRow.finished_at)
        .where(JobRow.verdict.is_not(None), JobRow.finished_at.is_not(None))
        .order_by(JobRow.finished_at.desc())
        .limit(_LAST)
        .subquery()
    )
    rows = session.execute(
        select(last.c.finished_at, ended).join(ModelRunRow, ModelRunRow.job_id == last.c.id).group_by(last.c.id)
    )
    return _median([max(end - models, 0.0) for end, models in rows if end is not None and models is not None])


def turns(session: Session, ageing_s: float, limit: int) -> list[Turn]:
    """The running job and the first of the queue, in the order in which they take their turns."""
    order = case((JobRow.state == State.QUEUED, JobRow.priority - JobRow.queued_at / ageing_s), else_=None)
    rows = session.execute(
        select(JobRow.id, JobRow.state, JobRow.models, JobRow.started_at, JobRow.not_before)
        .where(JobRow.state.in_((State.QUEUED, State.RUNNING)))
        .order_by(JobRow.state == State.QUEUED, order.desc(), JobRow.created_at)
        .limit(limit)
    ).all()
    done: dict[str, set[str]] = {}
    for job_id, model in session.execute(
        select(ModelRunRow.job_id, ModelRunRow.model).where(
            ModelRunRow.job_id.in_([row.id for row in rows]), ModelRunRow.state == "ok"
        )
    ):
        done.setdefault(job_id, set()).add(model)
    return [
        Turn(row.id, State(row.state), row.models, row.started_at, row.not_before, frozenset(done.get(row.id, ())))
        for row in rows
    ]


def newest_event(session: Session) -> int:
    """Another number whenever anything was recorded: what was computed before it still holds otherwise."""
    return session.scalar(select(func.max(EventRow.id))) or 0


def runs_by_model(session: Session, limits: Sequence[float]) -> dict[str, Durations]:
    """Seconds of every successful model run, by model."""
    rows = session.execute(
        _durations(ModelRunRow.seconds, limits, ModelRunRow.model)
        .where(ModelRunRow.state == "ok", ModelRunRow.seconds.is_not(None))
        .group_by(ModelRunRow.model)
    )
    return {model: _as_durations(rest) for model, *rest in rows}


def runs_by_end(session: Session) -> dict[tuple[str, str], int]:
    """How many model runs failed or were skipped, by model and class of failure."""
    rows = session.execute(
        select(ModelRunRow.model, ModelRunRow.error_class, func.count())
        .where(ModelRunRow.state != "ok")
        .group_by(ModelRunRow.model, ModelRunRow.error_class)
    )
    return {(model, error_class or ""): count for model, error_class, count in rows}


def stages(session: Session, limits: Sequence[float]) -> dict[str, Durations]:
    """Seconds from claimed to queued, from there to the last start, and from claimed to published."""
    parts: dict[str, ColumnElement[float | None]] = {
        "reading": JobRow.queued_at - JobRow.created_at,
        "queue": JobRow.started_at - JobRow.queued_at,
        "whole": JobRow.finished_at - JobRow.created_at,
    }
    found = {}
    for name, seconds in parts.items():
        row = session.execute(
            _durations(seconds, limits).where(JobRow.state.in_(PUBLISHED), seconds.is_not(None))
        ).one()
        found[name] = _as_durations(list(row))
    return found


def ends(session: Session, since: float = 0.0) -> dict[tuple[str, str], int]:
    """Published jobs since a Unix time: ("done", verdict) or ("failed", code of the error table) -> how many."""
    done = JobRow.state.in_((State.DONE, State.DONE_CLEAN))
    word = case((done, JobRow.verdict), else_=JobRow.reason_code)
    rows = session.execute(
        select(done, word, func.count())
        .where(JobRow.state.in_(PUBLISHED), JobRow.finished_at >= since)
        .group_by(done, word)
    )
    return {("done" if good else "failed", word or ""): count for good, word, count in rows}


def oldest_waiting(session: Session) -> float | None:
    """When the job that waits longest for its turn was claimed; None when none waits."""
    waits = JobRow.state.in_((State.CLAIMING, State.QUEUED))
    return session.scalar(select(func.min(JobRow.created_at)).where(waits))


def last_inspections(session: Session, limit: int) -> list[dict[str, Any]]:
    """What the reader found in the captures that were read last, newest first."""
    rows = session.scalars(
        select(JobRow.inspection).where(JobRow.inspection.is_not(None)).order_by(JobRow.created_at.desc()).limit(limit)
    )
    return [found for found in rows if isinstance(found, dict)]


def _durations(seconds: Any, limits: Sequence[float], *keys: Any) -> Select[Any]:
    within = [func.count().filter(seconds <= limit) for limit in limits]
    return select(*keys, *within, func.count(), func.coalesce(func.sum(seconds), 0.0))


def _as_durations(row: Sequence[Any]) -> Durations:
    return Durations(tuple(row[:-2]), row[-2], float(row[-1]))


def _median(values: Collection[float]) -> float | None:
    return sorted(values)[(len(values) - 1) // 2] if values else None
