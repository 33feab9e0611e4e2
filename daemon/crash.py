"""Named places where a test may kill the daemon. Without ``MESHDROP_CRASH_AT`` they cost one comparison.

``MESHDROP_CRASH_AT=I4a`` kills the process at the first arrival at I4a, ``I4a:3`` at the third.
``MESHDROP_CRASH_LOG=FILE`` appends every name that is passed, which is how a test learns the list.
"""

from __future__ import annotations

import os
import signal
from collections import Counter

_AT, _, _NTH = os.environ.get("MESHDROP_CRASH_AT", "").partition(":")
_LOG = os.environ.get("MESHDROP_CRASH_LOG")
_passed: Counter[str] = Counter()


def crashpoint(name: str) -> None:
    """Die here by SIGKILL if a test asked for it."""
    if not _AT and _LOG is None:
        return
    _passed[name] += 1
    if _LOG is not None:
        with open(_LOG, "a", encoding="ascii") as log:
            log.write(name + "\n")
    if name == _AT and _passed[name] == int(_NTH or 1):
        os.kill(os.getpid(), signal.SIGKILL)
