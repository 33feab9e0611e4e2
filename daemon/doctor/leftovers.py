"""What earlier runs left behind that nobody needs: found by the doctor, taken away by ``doctor --fix``.

Only what this program names itself, in folders of its own, and only when it is old: a service may be at work.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

from meshdrop.daemon.base import fsops
from meshdrop.daemon.base.places import Places
from meshdrop.daemon.doctor.checks.finding import Finding
from meshdrop.daemon.host.machine import Machine
from meshdrop.daemon.workers import kernels
from meshdrop.models.files import walk

#: Nothing that a service is still busy with is so old.
OLD_S = 86_400.0
#: Less is not worth a line.
_MUCH_BYTES, _MANY = 100 << 20, 20
_PAGE = re.compile(r"\.[0-9a-f]{8}\.tmp")
#: How a folder begins in which `doctor --deep` works.
TRIAL = ".doctor-"


def found(places: Places, now: float) -> list[Path]:
    """Everything that may go: probes of killed starts, half-written pages, trials, kernels of other versions."""
    probed = (places.inbox, places.outbox, places.failed, places.claimed, places.staging)
    candidates = [
        *(path for folder in probed for path in _children(folder, ".probe-") if _is_empty_folder(path)),
        *(
            path
            for folder in (places.status, places.state)
            for path in _children(folder, ".")
            if _PAGE.fullmatch(path.name) and walk.is_file(path)
        ),
        *_children(places.spool, TRIAL),
        *_children(places.state, TRIAL),
        *(path for path in _children(places.cache, "numba-") if not kernels.ours(path.name)),
        *_children(places.cache, kernels.OWN),
    ]
    return [path for path in candidates if now - _last_used(path, now) > OLD_S]


def _children(folder: Path, start: str) -> Iterator[Path]:
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith(start):
                yield Path(entry.path)


def _is_empty_folder(path: Path) -> bool:
    """Whether it may be one of ours: people at the share can call what is theirs the same."""
    try:
        return walk.is_folder(path) and not walk.names(path)
    except OSError:
        return False


def _last_used(path: Path, now: float) -> float:
    """When anything at its top was written last: ``now`` where that cannot be known. A cache that is in use has its
    folder's files opened, not written: reading moves their access time, at least once a day under `relatime`.
    """
    try:
        times = [path.lstat().st_mtime]
        if path.is_dir() and not path.is_symlink():
            with os.scandir(path) as entries:
                for entry in entries:
                    facts = entry.stat(follow_symlinks=False)
                    times.append(max(facts.st_mtime, facts.st_atime if entry.is_file(follow_symlinks=False) else 0.0))
    except OSError:
        return now
    return max(times)


def size_of(path: Path) -> int:
    """Bytes in a file or below a folder."""
    try:
        if path.is_symlink() or not path.is_dir():
            return path.lstat().st_size
        return sum(os.lstat(os.path.join(folder, name)).st_size for folder, _, names in os.walk(path) for name in names)
    except (OSError, RecursionError):  # somebody takes it away, or it is deeper than any of ours
        return 0


def leftovers(places: Places, machine: Machine) -> Finding:
    """Has so much been left behind that it is worth taking away?"""
    old = found(places, machine.now())
    size = sum(size_of(path) for path in old)
    if len(old) < _MANY and size < _MUCH_BYTES:
        return Finding("leftovers", "ok", f"{len(old)} old temporary files" if old else "none")
    return Finding(
        "leftovers",
        "warn",
        f"{len(old)} temporary files and old kernel caches, {size >> 20} MiB",
        "they take room, and nobody needs them",
        "meshdrop doctor --fix",
    )


def remove(places: Places, now: Callable[[], float] = time.time) -> int:
    """Take all of it away; the number of entries. Raises ``OSError`` when one cannot be removed."""
    old = found(places, now())
    for path in old:
        fsops.remove_tree(path)
    return len(old)
