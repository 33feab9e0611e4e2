"""A queue between two threads that knows whether anything is queued or still in hand."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

T = TypeVar("T")

_LOOK_EVERY_S = 0.2


class Handover(Generic[T]):
    """Items go in from any thread and come out in one; an item is in hand until the next one is asked for.

    The oldest comes first. With ``from_both_ends`` the newest takes every second turn: whoever comes behind a thousand
    others is not the last to be served, and nobody starves. An item that was put off waits aside until its time has
    come, and then takes turns with those that come for the first time. ``now`` gives monotonic seconds.
    """

    def __init__(self, *, from_both_ends: bool = False, now: Callable[[], float] = time.monotonic) -> None:
        self._from_both_ends, self._now = from_both_ends, now
        self._items: deque[T] = deque()
        self._put_off: list[tuple[float, T]] = []
        self._filled = threading.Condition()
        #: What is in hand: whether it came for the first time. None: nothing.
        self._in_hand: bool | None = None
        self._newest_next = self._put_off_next = False

    def put(self, item: T) -> None:
        """Add an item."""
        with self._filled:
            self._items.append(item)
            self._filled.notify()

    def put_off(self, item: T, wait_s: float) -> None:
        """Add an item that nobody is to meet before ``wait_s`` seconds are over."""
        with self._filled:
            self._put_off.append((self._now() + wait_s, item))

    def until(self, stop: threading.Event) -> Iterator[T]:
        """Items as they come, until ``stop`` is set."""
        while not stop.is_set():
            with self._filled:
                due = self._due()
                if not self._items and due is None:
                    self._filled.wait(_LOOK_EVERY_S)
                    continue
                item = self._take(due)
            try:
                yield item
            finally:
                with self._filled:
                    self._in_hand = None

    def _due(self) -> int | None:
        """The place of the item that was put off and has waited longest beyond its time."""
        if not self._put_off:
            return None
        first = min(range(len(self._put_off)), key=lambda place: self._put_off[place][0])
        return first if self._put_off[first][0] <= self._now() else None

    def _take(self, due: int | None) -> T:
        if due is not None and (self._put_off_next or not self._items):
            self._put_off_next, self._in_hand = False, False
            return self._put_off.pop(due)[1]
        self._put_off_next, self._in_hand = True, True
        newest = self._newest_next
        self._newest_next = self._from_both_ends and not newest
        return self._items.pop() if newest else self._items.popleft()

    @property
    def open(self) -> int:
        """How many items are queued, put off or in hand."""
        with self._filled:
            return len(self._items) + len(self._put_off) + (self._in_hand is not None)

    @property
    def fresh(self) -> int:
        """How many items are queued or in hand that were not put off."""
        with self._filled:
            return len(self._items) + (self._in_hand is True)
