"""Named places where a test may kill the daemon. Without ``MESHDROP_CRASH_AT`` they cost one comparison.

``MESHDROP_CRASH_AT=I4a`` kills the process at the first arrival at I4a, ``I4a:3`` at the third; with
``MESHDROP_CRASH_BY=STOP`` it is stopped there instead, until SIGCONT.
``MESHDROP_CRASH_LOG=FILE`` appends every name that is passed, which is how a test learns the list.
"""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import Mapping

_at = _nth = ""
_by = signal.SIGKILL
_log: str | None = None
_passed: Counter[str] = Counter()


def arm(environment: Mapping[str, str]) -> None:
    """Read what is asked for. Done once at import; again in a process that was forked after it."""
    global _at, _nth, _by, _log  # noqa: PLW0603
    _at, _, _nth = environment.get("MESHDROP_CRASH_AT", "").partition(":")
    _by = signal.Signals[f"SIG{environment.get('MESHDROP_CRASH_BY', 'KILL')}"]
    _log = environment.get("MESHDROP_CRASH_LOG")


def crashpoint(name: str) -> None:
    """Die or stop here if a test asked for it."""
    if not _at and _log is None:
        return
    _passed[name] += 1
    if _log is not None:
        with open(_log, "a", encoding="ascii") as log:
            log.write(name + "\n")
    if name == _at and _passed[name] == int(_nth or 1):
        os.kill(os.getpid(), _by)


arm(os.environ)
