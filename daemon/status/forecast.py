"""When what runs and what waits will probably be finished: this machine's own history, and nothing cleverer.

A model takes what it took in the middle one of its last fifty runs here, and measuring and publishing likewise. What
runs longer than that is judged by its progress alone; where there is no history, nothing is said.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy.orm import Session

from meshdrop.db.history import Turn, median_finishing, median_seconds
from meshdrop.db.records import is_put_off
from meshdrop.db.states import State

#: Below this share of a job its progress says nothing about the rest.
_TELLING = 0.05


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


def forecast(
    line: Sequence[Turn], history: History, default: Sequence[str], now: float, at_work: tuple[str, float] | None
) -> dict[str, float]:
    """Seconds until each job will probably be published, by its id, in the order of turns.

    ``default`` are the models of a job that names none, ``at_work`` is the job whose models run and its progress
    (0..1), None when nothing runs; of another one that is RUNNING the models are through, and it is in nobody's way.
    Jobs behind one of which nothing is known are left out, and so are those whose pause is not over.
    """
    found: dict[str, float] = {}
    ahead: float | None = 0.0
    finishing = history.finishing or 0.0
    for turn in line:
        if turn.state is State.RUNNING and (at_work is None or turn.job_id != at_work[0]):
            found[turn.job_id] = finishing
            continue
        if turn.state is State.QUEUED and is_put_off(turn.not_before, now):
            continue
        wanted = [model for model in turn.models or default if model not in turn.finished]
        needed = history.of(wanted)
        if turn.state is State.RUNNING and at_work is not None:
            needed = _rest(needed, max(now - (turn.started_at or now), 0.0), at_work[1])
        ahead = None if ahead is None or needed is None else ahead + needed
        if ahead is None:
            break
        found[turn.job_id] = ahead + finishing
    return found


def _rest(usual: float | None, elapsed: float, progress: float) -> float | None:
    """What is left of the models of a running job."""
    if usual is not None and elapsed < usual:
        return usual - elapsed
    return elapsed * (1.0 - progress) / progress if progress > _TELLING else None


def in_words(seconds: float) -> str:
    """A forecast in words, no more exact than it is."""
    if seconds < 45:
        return "less than a minute"
    if seconds < 90:
        return "about a minute"
    if seconds < 600:
        return f"about {round(seconds / 60)} minutes"
    if seconds < 5400:
        return f"about {5 * round(seconds / 300)} minutes"
    if seconds < 129_600:
        return f"about {round(seconds / 3600)} hours"
    return f"about {round(seconds / 86_400)} days"
