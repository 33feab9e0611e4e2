"""Load-bearing flushes, taken away one at a time: a test of the promise that passes without them tests nothing.

``apply`` changes only the process that calls it. Flushes are recognised by the path that is flushed, not by who asks,
so that a rewrite of the service cannot quietly step around them.
"""

from __future__ import annotations

import os
import re
import sqlite3
from collections.abc import Callable

from sqlalchemy import event
from sqlalchemy.pool import Pool

#: What is no longer flushed, by name: a pattern over the path relative to the root.
FLUSHES: dict[str, str] = {
    "I2": r"inbox/.+",  # the rig's own files, before the claim
    "I4": r"inbox|spool/claimed",  # both directories of the claim's rename
    "I5": r"state/work(/[0-9a-f]{32}(/input.*|/[.a-z0-9]*tmp|/job.json)?)?",  # our copy of the capture
    "D1": r"spool/staging/.+",  # the staged result
    "D3": r"outbox|failed|spool/staging",  # both directories of the publishing rename
    "D5": r"spool/kept|spool/claimed|state/work",  # the directories of the cleaning up
    "inbox/": r"inbox",
    "claimed/": r"spool/claimed",
    "outbox/": r"outbox",
    "failed/": r"failed",
    "staging/": r"spool/staging",
    "kept/": r"spool/kept",
    "work/": r"state/work",
}
#: SQLite's own promise, lowered.
PRAGMAS = {"synchronous=NORMAL": "NORMAL", "synchronous=OFF": "OFF"}
NAMES = (*FLUSHES, *PRAGMAS)


def apply(names: str) -> None:
    """Take the named flushes away (several joined by commas; none for an empty text)."""
    for name in filter(None, names.split(",")):
        if name in PRAGMAS:
            _lower(PRAGMAS[name])
        else:
            _skip(re.compile(FLUSHES[name]))


def _lower(level: str) -> None:
    @event.listens_for(Pool, "checkout")
    def _on_checkout(connection: sqlite3.Connection, *_: object) -> None:
        connection.execute(f"PRAGMA synchronous={level}")


def _skip(pattern: re.Pattern[str]) -> None:
    for name in ("fsync", "fdatasync"):
        setattr(os, name, _unless(pattern, getattr(os, name)))


def _unless(pattern: re.Pattern[str], flush: Callable[[int], None]) -> Callable[[int], None]:
    root = os.environ["MESHDROP_ROOT"]
    state = os.environ.get("MESHDROP_STATE_DIR") or f"{root}/.meshdrop/state"
    private = [(state, "state"), (f"{root}/.meshdrop", ""), (root, "")]

    def flush_others(descriptor: int) -> None:
        path = os.readlink(f"/proc/self/fd/{descriptor}")
        for top, prefix in private:
            if path.startswith(f"{top}/"):
                path = f"{prefix}/{path[len(top) + 1 :]}".lstrip("/")
                break
        if not pattern.fullmatch(path):
            flush(descriptor)

    return flush_others
