"""Why work stands still: told to people as long as it lasts, and to the log without flooding it."""

from __future__ import annotations

import threading
from collections.abc import Callable

from meshdrop.daemon.base.log import get_logger
from meshdrop.daemon.base.repeats import Repeats
from meshdrop.daemon.status.activity import Activity

log = get_logger()


class Holds:
    """What is held and why, by key. ``now`` gives monotonic seconds. From any thread."""

    def __init__(self, activity: Activity, now: Callable[[], float]) -> None:
        self._activity = activity
        self._said = Repeats(now)
        self._why: dict[str, str] = {}
        self._lock = threading.Lock()

    def hold(self, key: str, sentence: str) -> None:
        """Tell why this stands still; an empty sentence says that it goes on."""
        if not sentence:
            self.release(key)
            return
        with self._lock:
            if self._said.is_worth(key, sentence):
                log.warning("held", reason=sentence)
            if self._why.get(key) != sentence:
                self._why[key] = sentence
                self._activity.hold(dict(self._why))

    def release(self, key: str) -> None:
        """It goes on."""
        with self._lock:
            if self._why.pop(key, None) is None:
                return
            self._activity.hold(dict(self._why))
            if self._said.is_over(key):
                log.info("going on")

    def of(self, key: str) -> str | None:
        """Why this stands still, or None."""
        return self._why.get(key)
