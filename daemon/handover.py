"""A queue between two threads that knows whether anything is queued or still in hand."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from typing import Generic, TypeVar

T = TypeVar("T")

_LOOK_EVERY_S = 0.2


class Handover(Generic[T]):
    """Items go in from any thread and come out in one; an item is in hand until the next one is asked for.

    The oldest comes first. With ``from_both_ends`` the newest takes every second turn: whoever comes behind a thousand
    others is not the last to be served, and nobody starves.
    """

    def __init__(self, *, from_both_ends: bool = False) -> None:
        self._from_both_ends = from_both_ends
        self._items: deque[T] = deque()
        self._filled = threading.Condition()
        self._in_hand = 0

    def put(self, item: T) -> None:
        """Add an item."""
        with self._filled:
            self._items.append(item)
            self._filled.notify()

    def until(self, stop: threading.Event) -> Iterator[T]:
        """Items as they come, until ``stop`` is set."""
        newest = False
        while not stop.is_set():
            with self._filled:
                if not self._items and not self._filled.wait(_LOOK_EVERY_S):
                    continue
                if not self._items:
                    continue
                item = self._items.pop() if newest else self._items.popleft()
                self._in_hand += 1
            newest = self._from_both_ends and not newest
            try:
                yield item
            finally:
                with self._filled:
                    self._in_hand -= 1

    @property
    def open(self) -> int:
        """How many items are queued or in hand."""
        with self._filled:
            return len(self._items) + self._in_hand
