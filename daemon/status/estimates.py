"""Asks the record when what runs and what waits will probably be finished, and adds that to the activity."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy.orm import Session

from meshdrop.daemon.base.clock import Clock
from meshdrop.daemon.status.activity import Activity
from meshdrop.daemon.status.forecast import History, forecast, read_history
from meshdrop.db.engine import Database
from meshdrop.db.history import turns
from meshdrop.db.jobs import AGEING_S
from meshdrop.db.states import State

#: As often as STATUS.txt is written anyway, at once after news, and never more than a twentieth of the time.
_EVERY_S, _NEWS_S, _SHARE = 5.0, 1.0, 20.0
_HISTORY_EVERY_S = 15.0
#: Who stands further behind is told nothing yet.
_TURNS = 30


class Estimates:
    """Main thread only. A service with nothing to do asks nothing."""

    def __init__(self, database: Database, activity: Activity, models: Sequence[str], clock: Clock) -> None:
        self._database, self._activity, self._models, self._clock = database, activity, models, clock
        self._history: History | None = None
        self._history_due = self._due = self._news_due = float("-inf")
        self._version = -1

    def turn(self) -> None:
        """Add what is expected to the activity, if that is due. Raises ``RecordUnavailable``."""
        start = self._clock.monotonic()
        if not self._activity.has_jobs:
            self._activity.expect({})
        elif start >= self._due or (start >= self._news_due and self._activity.version != self._version):
            self._version = self._activity.version
            self._activity.expect(self._database.read(self._ends))
            end = self._clock.monotonic()
            pause = _SHARE * (end - start)
            self._due, self._news_due = end + max(_EVERY_S, pause), end + max(_NEWS_S, pause)

    def _ends(self, session: Session) -> dict[str, float]:
        line = turns(session, AGEING_S, _TURNS)
        if not self._activity.takes_turns:
            line = [turn for turn in line if turn.state is State.RUNNING]
        working, now = self._activity.working, self._clock.now()
        at_work = None if working is None else (working.job, working.progress)
        found = forecast(line, self._usual(session), self._models, now, at_work)
        return {job: now + seconds for job, seconds in found.items()}

    def _usual(self, session: Session) -> History:
        now = self._clock.monotonic()
        if self._history is None or now >= self._history_due:
            self._history, self._history_due = read_history(session), now + _HISTORY_EVERY_S
        return self._history
