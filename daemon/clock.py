"""Time and sleep as a value that is passed in, so that tests neither wait nor depend on the wall clock."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Clock:
    """``monotonic`` measures durations in seconds; ``now`` gives Unix seconds, for display only."""

    monotonic: Callable[[], float] = time.monotonic
    now: Callable[[], float] = time.time


def boot_id() -> str:
    """A name for this start of the machine: what was running under another one is certainly gone."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return "unknown"
