"""The same work on several things at once, for code that spends its time outside of Python's lock."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")

#: More threads than this wait for Python's lock more than they work.
MOST_THREADS = 8


def each(work: Callable[[T], R], things: Iterable[T]) -> list[R]:
    """``work`` on each of ``things``, the answers in their order; the first error is raised.

    Compiled kernels, numpy, scipy's trees and Pillow let other threads run while they compute. As many threads as this
    process may use processors, eight at most.
    """
    with ThreadPoolExecutor(min(MOST_THREADS, len(os.sched_getaffinity(0)))) as pool:
        return list(pool.map(work, things))
