"""One look at a capture folder: names, sizes, times, PNG ends and open writers. Reads no pixel and changes nothing."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from daemon.settle import Fact, Snapshot
from models.layout import expect, is_blocker, is_litter
from models.limits import CaptureLimits
from models.png import SIGNATURE, tail_is_complete

_OPEN = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
#: Directory levels that are listed at all; deeper ones stand in the facts as one odd entry.
_LEVELS = 4
_IEND_TYPE = b"IEND"


def look(folder: Path, limits: CaptureLimits, *, closely: bool = True) -> Snapshot:
    """List a folder and say what it still lacks. Raises ``OSError`` when it cannot be read.

    ``closely`` also opens the pictures: their ends are checked, and whether somebody is writing to them. Without it
    only names, sizes and times are looked at, which is enough to compare fingerprints.
    """
    facts = take_facts(folder, limits)
    names = [fact.path for fact in facts if fact.kind == "file"]
    expectation = expect(names, lambda name: _read_head(folder / name, limits.max_sidecar_bytes + 1), limits)
    snapshot = Snapshot(facts, expectation)
    if not closely or expectation.missing or expectation.problems:
        return snapshot
    unfinished, writing = [], []
    for name in expectation.required:
        with _opened(folder / name) as descriptor:
            if descriptor is None:
                continue
            if name.lower().endswith(".png") and is_awaited(descriptor):
                unfinished.append(name)
            if has_writer(descriptor):
                writing.append(name)
    return Snapshot(facts, expectation, tuple(unfinished), tuple(writing))


def nothing_seen(limits: CaptureLimits) -> Snapshot:
    """The snapshot of a folder of which nothing is known."""
    return Snapshot((), expect((), lambda _: b"", limits))


def take_facts(folder: Path, limits: CaptureLimits, *, everything: bool = False) -> tuple[Fact, ...]:
    """Every entry below ``folder`` but litter (or ``everything``), sorted; at most one more than a capture may have."""
    facts: list[Fact] = []
    for fact in _walk(folder, "", _LEVELS, everything):
        facts.append(fact)
        if len(facts) > limits.max_entries:
            break
    return tuple(sorted(facts))


def _walk(folder: Path, prefix: str, levels: int, everything: bool) -> Iterator[Fact]:
    with os.scandir(folder) as entries:
        for entry in entries:
            path = prefix + entry.name
            if not everything and is_litter(path) and not is_blocker(path):
                continue
            try:
                found = entry.stat(follow_symlinks=False)
            except FileNotFoundError:
                continue  # renamed or deleted between listing and looking: the next look sees the new state
            if stat.S_ISDIR(found.st_mode):
                if levels == 0:
                    yield Fact(path, "deep", 0, 0)
                else:
                    yield from _walk(folder / entry.name, path + "/", levels - 1, everything)
            elif stat.S_ISREG(found.st_mode):
                yield Fact(path, "file", found.st_size, found.st_mtime_ns, found.st_nlink)
            else:
                yield Fact(path, "symlink" if stat.S_ISLNK(found.st_mode) else "other", 0, found.st_mtime_ns)


def is_awaited(descriptor: int) -> bool:
    """Whether a picture may still be arriving: empty, zero-filled ahead of its content, or a PNG without its end.

    A file that is whole but wrong (no PNG at all, or with something after its end) is not awaited: it goes on to the
    check that refuses it.
    """
    if tail_is_complete(descriptor):
        return False
    head = os.pread(descriptor, len(SIGNATURE), 0)
    if len(head) < len(SIGNATURE) or not any(head):
        return True
    return head == SIGNATURE and not _ends_early(descriptor)


def _ends_early(descriptor: int, most_chunks: int = 4096) -> bool:
    """Whether the chunks of a PNG reach IEND before the file ends."""
    size, position = os.fstat(descriptor).st_size, len(SIGNATURE)
    for _ in range(most_chunks):
        header = os.pread(descriptor, 8, position)
        if len(header) < 8:
            return False
        position += 12 + int.from_bytes(header[:4], "big")
        if header[4:] == _IEND_TYPE:
            return position < size
    return False


def has_writer(descriptor: int) -> bool:
    """Whether any process of this machine (an SMB server too) has the file open for writing.

    A read lease is refused with EAGAIN while there is a writer. Every other refusal means that this file system or
    user cannot ask, which counts as "unknown", not as "yes".
    """
    try:
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_RDLCK)
    except OSError as error:
        return error.errno == errno.EAGAIN
    fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    return False


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[int | None]:
    """A descriptor of a plain file, or None when it vanished or may not be read (the claim will say so)."""
    try:
        descriptor = os.open(path, _OPEN)
    except (FileNotFoundError, PermissionError):
        yield None
        return
    try:
        yield descriptor if stat.S_ISREG(os.fstat(descriptor).st_mode) else None
    finally:
        os.close(descriptor)


def _read_head(path: Path, most: int) -> bytes:
    descriptor = os.open(path, _OPEN)
    try:
        return os.read(descriptor, most) if stat.S_ISREG(os.fstat(descriptor).st_mode) else b""
    finally:
        os.close(descriptor)
