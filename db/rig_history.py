"""What became of the captures that were like another one, as its report shows them. Only reads."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import and_, select
from sqlalchemy.orm import Session

from db.states import PUBLISHED, State
from db.tables import JobRow, ModelRunRow

#: So many jobs are looked at, a few at a time: what was read of a capture may be long.
_LOOKED_AT, _AT_A_TIME = 200, 10


@dataclass(frozen=True)
class Earlier:
    """A published job. ``verdict`` is None for one that went to failed/; ``figures`` are those of the model to take,
    None where there is none; ``finished_at`` in Unix seconds."""

    name: bytes
    finished_at: float
    verdict: str | None
    inspection: dict[str, Any]
    figures: dict[str, Any] | None


def last_like(session: Session, is_like: Callable[[dict[str, Any]], bool], most: int) -> list[Earlier]:
    """The last published jobs, newest first and at most so many, whose inspection ``is_like``."""
    best = and_(
        ModelRunRow.job_id == JobRow.id, ModelRunRow.attempt == JobRow.attempt, ModelRunRow.model == JobRow.best_model
    )
    rows = session.execute(
        select(JobRow.name, JobRow.finished_at, JobRow.state, JobRow.verdict, JobRow.inspection, ModelRunRow.figures)
        .outerjoin(ModelRunRow, best)
        .where(JobRow.state.in_(PUBLISHED), JobRow.inspection.is_not(None), JobRow.finished_at.is_not(None))
        .order_by(JobRow.finished_at.desc()).limit(_LOOKED_AT)
        .execution_options(yield_per=_AT_A_TIME)
    )
    found: list[Earlier] = []
    for name, finished_at, state, verdict, inspection, figures in rows:
        if isinstance(inspection, dict) and is_like(inspection):
            done = state in (State.DONE, State.DONE_CLEAN)
            found.append(Earlier(name, finished_at, verdict if done else None, inspection, figures))
        if len(found) == most:
            break
    rows.close()
    return found
