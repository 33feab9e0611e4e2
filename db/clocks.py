"""What this machine knows about time at one moment. Nobody can set the first of its clocks, anybody the other."""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

#: What adjtimex answers while nothing keeps the clock right.
_TIME_ERROR = 5


@dataclass(frozen=True)
class ClockReading:
    """Which start of the machine this is and how many seconds ago that was (sleep included), Unix seconds, and whether
    something keeps those right."""

    boot_id: str
    since_boot_s: float
    wall: float
    steered: bool


Clocks = Callable[[], ClockReading]


def read_clocks() -> ClockReading:
    """Everything that this machine knows about time at this moment."""
    return ClockReading(boot_id(), time.clock_gettime(time.CLOCK_BOOTTIME), time.time(), clock_is_steered() is True)


@cache
def boot_id() -> str:
    """A name for this start of the machine: what was running under another one is certainly gone."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return "unknown"


def clock_is_steered() -> bool | None:
    """Whether something keeps this machine's clock right, as the kernel knows it; None where it does not tell."""
    try:
        # A struct timex of zeros asks and changes nothing; it is 208 bytes long where a pointer has eight.
        state = ctypes.CDLL(None).adjtimex(ctypes.create_string_buffer(512))
    except (OSError, AttributeError):
        return None
    return None if state < 0 else state != _TIME_ERROR
