"""Why work stands still: told to people as long as it lasts, and to the log without flooding it."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from daemon.board import Board
from daemon.log import get_logger

log = get_logger()

#: Seconds after which the log may have the same line again; twice as many each time, while it keeps coming.
_LOG_AGAIN_S, _LOG_AGAIN_MOST_S = 60.0, 3600.0
_LINES_REMEMBERED = 1000
#: Names that are drawn anew at every try: they do not make another sentence of it.
_DRAWN = re.compile(r"[0-9a-f]{8,}")


@dataclass
class Holds:
    """What is held and why, by key. ``now`` gives monotonic seconds. From any thread."""

    board: Board
    now: Callable[[], float]
    _why: dict[str, str] = field(default_factory=dict)
    #: For each line of the log: when it may come again, and how long after that it may be silent.
    _lines: dict[tuple[str, str], tuple[float, float]] = field(default_factory=dict)
    _logged: set[str] = field(default_factory=set)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def hold(self, key: str, sentence: str) -> None:
        """Tell why this stands still; an empty sentence says that it goes on."""
        if not sentence:
            self.release(key)
            return
        with self._lock:
            if self._may_log(key, sentence):
                self._logged.add(key)
                log.warning("held", reason=sentence)
            if self._why.get(key) != sentence:
                self._why[key] = sentence
                self.board.hold(dict(self._why))

    def release(self, key: str) -> None:
        """It goes on."""
        with self._lock:
            if self._why.pop(key, None) is None:
                return
            self.board.hold(dict(self._why))
            if key in self._logged:
                self._logged.discard(key)
                log.info("going on")

    def of(self, key: str) -> str | None:
        """Why this stands still, or None."""
        return self._why.get(key)

    def _may_log(self, key: str, sentence: str) -> bool:
        line, now = (key, _DRAWN.sub("", sentence)), self.now()
        due, wait_s = self._lines.get(line, (now, _LOG_AGAIN_S))
        if now < due:
            return False
        if now > due + _LOG_AGAIN_MOST_S:
            wait_s = _LOG_AGAIN_S  # it was over for long: this is news
        self._lines.pop(line, None)
        self._lines[line] = now + wait_s, min(2 * wait_s, _LOG_AGAIN_MOST_S)
        while len(self._lines) > _LINES_REMEMBERED:
            del self._lines[next(iter(self._lines))]
        return True
