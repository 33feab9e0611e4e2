"""What became of the captures that were like another one, as its report shows them. Only reads."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from meshdrop.db.tables import JobRow, ModelRunRow

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
    # By the time of their end alone, which only published jobs have: with their states too SQLite would read them all.
    rows = session.execute(
        select(
            JobRow.id,
            JobRow.attempt,
            JobRow.name,
            JobRow.finished_at,
            JobRow.verdict,
            JobRow.best_model,
            JobRow.inspection,
        )
        .where(JobRow.finished_at.is_not(None))
        .order_by(JobRow.finished_at.desc())
        .limit(_LOOKED_AT)
        .execution_options(yield_per=_AT_A_TIME)
    )
    like = (row for row in rows if isinstance(row.inspection, dict) and is_like(row.inspection))
    found = list(islice(like, most))
    rows.close()
    return [
        Earlier(
            row.name,
            row.finished_at,
            row.verdict,
            row.inspection,
            _figures(session, row.id, row.attempt, row.best_model),
        )
        for row in found
    ]


def _figures(session: Session, job_id: str, attempt: int, model: str | None) -> dict[str, Any] | None:
    runs = session.execute(
        select(ModelRunRow.model, ModelRunRow.figures).where(
            ModelRunRow.job_id == job_id, ModelRunRow.attempt == attempt
        )
    )
    return next((run.figures for run in runs if run.model == model), None)
