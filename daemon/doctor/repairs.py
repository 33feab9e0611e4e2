"""What ``doctor --fix`` does itself: what nobody could want otherwise, and what loses nothing if it was wrong.

Everything else stays with the person who reads the line: limits of the kernel, mounts, packages, permissions of other
people's folders, downloads. A lock is never removed: a killed service's is taken over by the next start by itself, and
removing a living one's would let two services loose on one folder.
"""

from __future__ import annotations

import os
import stat
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from meshdrop.daemon.base import fsops
from meshdrop.daemon.base.places import Places
from meshdrop.daemon.doctor import leftovers
from meshdrop.daemon.doctor.checks.finding import Finding
from meshdrop.daemon.doctor.checks.layout import clash
from meshdrop.daemon.doctor.checks.service import holder


@dataclass(frozen=True)
class Repair:
    """One thing to do about the line ``name``. ``says`` tells it before it is done; ``do`` raises ``OSError``."""

    name: str
    says: str
    do: Callable[[], object]


def plan(findings: Sequence[Finding], places: Places) -> list[Repair]:
    """What can be done about these findings, in their order."""
    offered = (_OFFERS[finding.name](places) for finding in findings if finding.is_trouble and finding.name in _OFFERS)
    return [repair for repairs in offered for repair in repairs]


def _folders(places: Places) -> Iterable[Repair]:
    """Make public folders that are missing, as the others are. The sentinel is there, so the share is mounted."""
    for folder in places.public():
        if not os.path.lexists(folder):
            yield Repair("folders", f"make {folder}", partial(_make_like_others, folder, places))


def _make_like_others(folder: Path, places: Places) -> None:
    """With owner, group and rights of the public folders that are there, or of the root."""
    like = next((other for other in places.public() if other.is_dir()), places.root).stat()
    fsops.make_dir_below(places.root, folder)
    with _held(folder) as descriptor:
        os.fchown(descriptor, like.st_uid, like.st_gid)
        os.fchmod(descriptor, stat.S_IMODE(like.st_mode))
    fsops.sync_dir(places.root)


@contextmanager
def _held(folder: Path) -> Iterator[int]:
    """The folder by descriptor and never a link: root repairs here what others may write to."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _permissions(places: Places) -> Iterable[Repair]:
    for folder in places.public():
        mode = stat.S_IMODE(folder.stat().st_mode)
        better = mode & ~stat.S_ISVTX if folder != places.status else mode
        if better & stat.S_IWGRP and not better & stat.S_IWOTH:
            better |= stat.S_ISGID
        if better != mode:
            yield _mode("permissions", folder, better)


def _private(places: Places) -> Iterable[Repair]:
    """Not where they lie in a public folder, or hold one: people would be locked out, and nothing be cured."""
    if clash(places) is not None:
        return
    for folder in (places.spool, places.state):
        mode = stat.S_IMODE(folder.stat().st_mode) if folder.is_dir() else 0o700
        if mode & 0o077:
            yield _mode("private folders", folder, mode & ~0o077)


def _mode(name: str, folder: Path, mode: int) -> Repair:
    return Repair(name, f"chmod {mode:o} {folder}", lambda: _change_mode(folder, mode))


def _change_mode(folder: Path, mode: int) -> None:
    with _held(folder) as descriptor:
        os.fchmod(descriptor, mode)


def _sentinel(places: Places) -> Iterable[Repair]:
    """Only where everything else of a root is there, private folders too: below a mount point there is nothing of it.
    Not beside a running service, which would take the new mark for another share.
    """
    complete = all(folder.is_dir() for folder in (*places.public(), places.spool, places.state))
    with suppress(OSError):
        if complete and not os.path.lexists(places.sentinel) and holder(places) is None:
            yield Repair(
                "root",
                f"write {places.sentinel} again (all folders of a root are there, and only it is missing)",
                lambda: _write_sentinel(places),
            )


def _write_sentinel(places: Places) -> None:
    owner = places.root.stat()
    fsops.write_file(places.sentinel, f"{uuid.uuid4().hex}\n".encode())
    os.chown(places.sentinel, owner.st_uid, owner.st_gid, follow_symlinks=False)


def _leftovers(places: Places) -> Iterable[Repair]:
    yield Repair(
        "leftovers",
        "delete old temporary files and compiled kernels of other versions",
        lambda: leftovers.remove(places),
    )


_OFFERS: Mapping[str, Callable[[Places], Iterable[Repair]]] = {
    "root": _sentinel,
    "folders": _folders,
    "permissions": _permissions,
    "private folders": _private,
    "leftovers": _leftovers,
}


def perform(repairs: Sequence[Repair]) -> list[dict[str, str | None]]:
    """Do them all; each with the error that stopped it, or None. One that fails stops no other."""
    done: list[dict[str, str | None]] = []
    for repair in repairs:
        error = None
        try:
            repair.do()
        except OSError as trouble:
            error = str(trouble)
        done.append({"name": repair.name, "says": repair.says, "error": error})
    return done
