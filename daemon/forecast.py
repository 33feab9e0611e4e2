"""When what runs and what waits will probably be finished: this machine's own history, and nothing cleverer.

A model takes what it took in the middle one of its last fifty runs here, and measuring and publishing likewise. What
runs longer than that is judged by its progress alone; where there is no history, nothing is said.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy.orm import Session

from db.history import Turn, median_finishing, median_seconds, turns
from db.jobs import AGEING_S
from db.states import State

#: Below this share of a job its progress says nothing about the rest.
_TELLING = 0.05
_TURNS = 30


@dataclass(frozen=True)
class History:
    """What things usually take, in seconds. A model that never ran here is missing; None: nothing was finished yet."""

    models: Mapping[str, float]
    finishing: float | None

    def of(self, models: Sequence[str]) -> float | None:
        """Seconds that these models take one after the other; None when one of them is unknown."""
        if any(model not in self.models for model in models):
            return None
        return sum(self.models[model] for model in models)


def read_history(session: Session) -> History:
    """The history as the record has it."""
    return History(median_seconds(session), median_finishing(session))


def read_forecast(
    session: Session, history: History, default: Sequence[str], now: float, progress: float | None
) -> dict[str, float]:
    """``forecast`` of what the record says now."""
    return forecast(turns(session, AGEING_S, _TURNS), history, default, now, progress)


def forecast(
    line: Sequence[Turn], history: History, default: Sequence[str], now: float, progress: float | None
) -> dict[str, float]:
    """Seconds until each job will probably be published, by its id, in the order of turns.

    ``default`` are the models of a job that names none, ``progress`` (0..1) is that of the running job, None when
    nothing runs. Jobs behind one of which nothing is known are left out, and so are those whose pause is not over.
    """
    found: dict[str, float] = {}
    ahead: float | None = 0.0
    finishing = history.finishing or 0.0
    for turn in line:
        if turn.not_before > now and turn.state is State.QUEUED:
            continue
        wanted = [model for model in turn.models or default if model not in turn.finished]
        needed = history.of(wanted)
        if turn.state is State.RUNNING:
            needed = _rest(needed, max(now - (turn.started_at or now), 0.0), progress)
        ahead = None if ahead is None or needed is None else ahead + needed
        if ahead is None:
            break
        found[turn.job_id] = ahead + finishing
    return found


def _rest(usual: float | None, elapsed: float, progress: float | None) -> float | None:
    """What is left of the models of a running job; nothing when they are through and it is being finished."""
    if progress is None:
        return 0.0
    if usual is not None and elapsed < usual:
        return usual - elapsed
    return elapsed * (1.0 - progress) / progress if progress > _TELLING else None


def in_words(seconds: float) -> str:
    """A forecast in words, no more exact than it is."""
    if seconds < 45:
        return "less than a minute"
    if seconds < 90:
        return "about a minute"
    if seconds < 5400:
        return f"about {round(seconds / 60)} minutes"
    if seconds < 129_600:
        return f"about {round(seconds / 3600)} hours"
    return f"about {round(seconds / 86_400)} days"
