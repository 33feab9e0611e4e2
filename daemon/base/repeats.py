"""What goes on being so is said again ever more seldom: people read the log, and it fills disks."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass

#: Seconds after which the same is said again: the second time, the third, and from then on.
AGAIN_AFTER_S = (60.0, 600.0, 3600.0)
#: What has not been so for so long is new when it comes back.
_FORGOTTEN_AFTER_S = 3600.0
#: Texts about one thing that are told apart; one that differs every time is one text.
_TEXTS_MOST = 8
_THINGS_MOST = 5000
#: Names that are drawn anew at every try: they do not make another text of it.
_MADE_UP = re.compile(r"[0-9a-f]{8,}")


@dataclass(slots=True)
class _Said:
    times: int
    again_at: float
    seen_at: float


class Repeats:
    """Tells whether something is to be said: at once when it is new, and after 1, 10 and every 60 minutes while it is
    still so. Any thread may ask.
    """

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._said: dict[Hashable, dict[str, _Said]] = {}
        self._open: set[Hashable] = set()
        self._lock = threading.Lock()

    def is_worth(self, thing: Hashable, text: str) -> bool:
        """Whether ``text`` is to be said of this thing now; whoever asks says it then."""
        with self._lock:
            return self._is_worth(thing, text)

    def _is_worth(self, thing: Hashable, text: str) -> bool:
        now, texts = self._monotonic(), self._texts_of(thing)
        key = _MADE_UP.sub("...", text)
        if key not in texts and len(texts) >= _TEXTS_MOST:
            key = ""
        said = texts.get(key)
        if said is None or now - said.seen_at > _FORGOTTEN_AFTER_S + AGAIN_AFTER_S[0]:
            texts[key] = _Said(1, now + AGAIN_AFTER_S[0], now)
        elif now >= said.again_at:
            said.times, said.seen_at = said.times + 1, now
            said.again_at = now + AGAIN_AFTER_S[min(said.times, len(AGAIN_AFTER_S)) - 1]
        else:
            said.seen_at = now
            return False
        self._open.add(thing)
        return True

    def is_over(self, thing: Hashable) -> bool:
        """It is no longer so; whether that is worth a line, because it was said since it was last over."""
        with self._lock:
            told = thing in self._open
            self._open.discard(thing)
            return told

    def _texts_of(self, thing: Hashable) -> dict[str, _Said]:
        if thing not in self._said and len(self._said) >= _THINGS_MOST:
            oldest = next(iter(self._said))
            del self._said[oldest]
            self._open.discard(oldest)
        return self._said.setdefault(thing, {})
