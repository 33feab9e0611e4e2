"""Time and sleep as a value that is passed in, so that tests neither wait nor depend on the wall clock."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from meshdrop.db.clocks import Clocks, read_clocks


@dataclass(frozen=True)
class Clock:
    """``monotonic`` measures durations in seconds; ``now`` gives Unix seconds, for display only; ``clocks`` is what the
    record counts the age of results with."""

    monotonic: Callable[[], float] = time.monotonic
    now: Callable[[], float] = time.time
    clocks: Clocks = read_clocks
