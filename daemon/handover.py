"""A queue between two threads that knows whether anything is queued or still in hand."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from typing import Generic, TypeVar

T = TypeVar("T")

_LOOK_EVERY_S = 0.2


class Handover(Generic[T]):
    """Items go in from any thread and come out in one; an item is in hand until the next one is asked for."""

    def __init__(self) -> None:
        self._queue: queue.SimpleQueue[T] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._open = 0

    def put(self, item: T) -> None:
        """Add an item."""
        with self._lock:
            self._open += 1
        self._queue.put(item)

    def until(self, stop: threading.Event) -> Iterator[T]:
        """Items as they come, until ``stop`` is set."""
        while not stop.is_set():
            try:
                item = self._queue.get(timeout=_LOOK_EVERY_S)
            except queue.Empty:
                continue
            try:
                yield item
            finally:
                with self._lock:
                    self._open -= 1

    @property
    def open(self) -> int:
        """How many items are queued or in hand."""
        with self._lock:
            return self._open
