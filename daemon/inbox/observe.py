"""One look at a capture folder: names, sizes, times, PNG ends and open writers. Reads no pixel and changes nothing."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path

from meshdrop.daemon.inbox.checksums import contradictions, find_manifest, picture_state
from meshdrop.daemon.inbox.settle import Snapshot
from meshdrop.models.capture.layout import PICTURE_FOLDERS, expect, is_blocker, is_litter, most_bytes
from meshdrop.models.capture.rig_profile import NO_RIGS, Rigs
from meshdrop.models.files import walk
from meshdrop.models.files.entries import take_facts
from meshdrop.models.files.limits import CaptureLimits
from meshdrop.models.files.pictures import kind_of

#: Directory levels that a glance goes down.
_LEVELS = 4
#: Entries that a glance asks for, and folders that a look does; more than a folder that could be taken has.
_GLANCED = 20_000
#: Smaller files are read through again at every look. Of larger ones what was found is remembered once their times are
#: so old that another change could not have the same.
_REMEMBERED_BYTES, _TRUSTED_AFTER_NS = 1 << 15, 2_000_000_000


class Ends:
    """What looking through files for their end has shown: nobody does it again while a file's size and times stay.

    ``left`` are the bytes that may still be looked through in one look.
    """

    def __init__(self) -> None:
        self.left = 0
        self._found: dict[str, tuple[tuple[int, ...], bool]] = {}

    def find(self, name: str, descriptor: int, find: Callable[[int], bool]) -> bool:
        """What ``find`` answers of a file, now or before; False when no more may be looked through."""
        facts = os.fstat(descriptor)
        key = (facts.st_ino, facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns)
        before = self._found.get(name)
        if before is not None and before[0] == key:
            return before[1]
        self.left -= facts.st_size
        if self.left < 0:
            return False
        found, old = find(descriptor), time.time_ns() - max(facts.st_mtime_ns, facts.st_ctime_ns) > _TRUSTED_AFTER_NS
        if old and facts.st_size > _REMEMBERED_BYTES:
            self._found[name] = key, found
        return found


def look(
    folder: Path,
    limits: CaptureLimits,
    *,
    closely: bool = True,
    by_opening: bool = False,
    marker: str = ".ready",
    rigs: Rigs = NO_RIGS,
    ends: Ends | None = None,
) -> Snapshot:
    """List a folder and say what it still lacks. Raises ``OSError`` when it cannot be read.

    ``closely`` also opens the pictures: their ends are checked, and whether somebody is writing to them. Without it
    only names, sizes and times are looked at, which is enough to compare fingerprints. ``by_opening`` measures each
    file through a descriptor, because a network file system may answer for a name from its memory. ``marker`` is the
    name of the file by which a rig says that it has finished. ``rigs`` are the stored profiles and the one asked for.
    ``ends`` remembers between the looks at one folder what was read through.
    """
    # Asked for before the listing: what is listed is then at least as new as the mark.
    marked = walk.is_there(folder / marker)
    facts = take_facts(folder, limits, by_opening=by_opening)
    if not closely:
        return Snapshot(facts, expect((), _nothing, limits))
    files = [fact.path for fact in facts if fact.kind == "file"]
    expectation = expect(files, lambda name: walk.read_file(folder / name, most_bytes(name, limits) + 1), limits, rigs)
    snapshot = Snapshot(facts, expectation, marked=marked)
    wanted = expectation.settled()  # without what could be left out, its files are looked at as those of a whole set
    if wanted.missing:
        return snapshot
    sidecars, ends = frozenset(expectation.sidecars), ends or Ends()
    # A larger set is refused for its size, whatever its files end with.
    ends.left = limits.max_capture_bytes
    unfinished: list[str] = []
    doubtful: list[str] = []
    writing: list[str] = []
    # Before a folder is refused nobody may be writing to any of its files; before it is taken, to those of the set.
    for name in files if expectation.problems else wanted.required:
        with _opened(folder / name) as descriptor:
            if descriptor is None:
                continue
            lacks = _lacks(name, descriptor, name in sidecars, limits, ends)
            if lacks is not None:
                (unfinished if lacks else doubtful).append(name)
            if has_writer(descriptor):
                writing.append(name)
    inner = list(islice(_inner_folders(folder), _GLANCED))
    locks = tuple(path for path, _ in inner if is_blocker(path + "/"))
    return replace(
        snapshot,
        expectation=replace(expectation, blockers=(*expectation.blockers, *locks)),
        empty_folders=tuple(path for path, empty in inner if empty and path.casefold() in PICTURE_FOLDERS),
        unfinished=tuple(unfinished),
        doubtful=tuple(doubtful),
        open_files=tuple(writing),
        manifest=find_manifest(snapshot),
    )


def _lacks(name: str, descriptor: int, is_sidecar: bool, limits: CaptureLimits, ends: Ends) -> bool | None:
    """Whether a file's end is still to come; False when it is there and wrong, None when all is well with it."""
    if (kind := kind_of(name)) is not None:
        if kind.is_complete(descriptor):
            return None
        return ends.find(name, descriptor, lambda file: kind.is_awaited(file, limits))
    if is_sidecar and name.lower().endswith(".json"):
        return ends.find(name, descriptor, partial(_is_half_written, most=most_bytes(name, limits))) or None
    return None


def _inner_folders(folder: Path, prefix: str = "", levels: int = _LEVELS) -> Iterator[tuple[str, bool]]:
    """Path and emptiness of each folder inside: an empty one holds no file by which it would be known."""
    inside, empty = [], True
    with walk.held(folder) as held, os.scandir(held) as entries:
        for entry in entries:
            empty = False
            if entry.is_dir(follow_symlinks=False) and not is_litter(prefix + entry.name):
                inside.append(entry.name)
    if prefix:
        yield prefix[:-1], empty
    for name in inside if levels else ():
        yield from _inner_folders(folder / name, f"{prefix}{name}/", levels - 1)


def _is_half_written(descriptor: int, most: int) -> bool:
    """One that is larger than a sidecar may be is refused for that, not awaited."""
    text = os.pread(descriptor, most + 1, 0)
    return len(text) <= most and stops_in_the_middle(text)


def stops_in_the_middle(text: bytes) -> bool:
    """Whether a JSON object or list begins here and does not end: brackets or a string are open at the end."""
    if text.lstrip(b"\xef\xbb\xbf \t\r\n")[:1] not in (b"{", b"["):
        return False
    # Without what a backslash escapes each quote begins or ends a string. No pattern: one that tries again from the
    # next quote takes an hour for a megabyte of them.
    pieces = text.replace(b"\\\\", b"").replace(b'\\"', b"").split(b'"')
    outside = b"".join(pieces[::2])
    opened = outside.count(b"{") + outside.count(b"[") - outside.count(b"}") - outside.count(b"]")
    return opened > 0 or len(pieces) % 2 == 0


@dataclass(frozen=True)
class Contents:
    """What reading every file of a set has shown: pictures with holes, damaged ones, files that contradict the rig's
    list of checksums (None without a list)."""

    holes: tuple[str, ...] = ()
    damaged: tuple[str, ...] = ()
    contradicted: tuple[str, ...] | None = None

    def added_to(self, snapshot: Snapshot) -> Snapshot:
        """The snapshot as it is in the light of this."""
        return replace(
            snapshot,
            unfinished=(*snapshot.unfinished, *self.holes),
            doubtful=(*snapshot.doubtful, *self.damaged),
            contradicted=self.contradicted,
        )

    @property
    def clean(self) -> bool:
        """Whether nothing speaks against the set."""
        return not (self.holes or self.damaged or self.contradicted)


def read_contents(folder: Path, snapshot: Snapshot, limits: CaptureLimits) -> Contents:
    """What reading every file of a set once shows, all at once. Raises ``OSError`` when one cannot be read."""
    steps = reading(folder, snapshot, limits)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            found: Contents = end.value
            return found


def reading(folder: Path, snapshot: Snapshot, limits: CaptureLimits) -> Generator[None, None, Contents]:
    """The same with a pause after each file, a second's work in all for a large capture.

    A copy program that writes a file's end before its middle leaves a PNG that looks finished to ``look``. A set that
    is larger than a capture may be is not read: it is refused for that.
    """
    if snapshot.required_size > limits.max_capture_bytes:
        return Contents()
    top = os.fspath(folder)
    found: dict[str, list[str]] = {"whole": [], "hole": [], "damaged": []}
    doubtful = frozenset(snapshot.doubtful)
    for name in snapshot.expectation.required:
        if name in doubtful:
            continue
        if (kind := kind_of(name)) is not None:
            found[picture_state(f"{top}/{name}", kind, limits)].append(name)
        yield
    contradicted = None
    if snapshot.manifest is not None:
        contradicted = yield from contradictions(folder, snapshot, snapshot.manifest, limits)
    return Contents(tuple(found["hole"]), tuple(found["damaged"]), contradicted)


def glance(folder: Path, most: int = _GLANCED) -> int:
    """A number that changes when any name, size or time below ``folder`` does, or of the first ``most`` there. A tenth
    of the cost of a look."""
    return hash(tuple(sorted(islice(_names_sizes_times(folder, _LEVELS), most))))


def _names_sizes_times(folder: Path, levels: int) -> Iterator[tuple[str, int, int]]:
    with walk.held(folder) as held, os.scandir(held) as entries:
        for entry in entries:
            try:
                found = entry.stat(follow_symlinks=False)
            except FileNotFoundError:
                continue  # renamed or deleted meanwhile: the times of its folder tell that
            yield f"{levels} {entry.name}", found.st_size, found.st_mtime_ns
            if levels and entry.is_dir(follow_symlinks=False):
                yield from _names_sizes_times(folder / entry.name, levels - 1)


def _nothing(_: str) -> bytes:
    return b""


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
    """A descriptor of a plain file, or None when it vanished."""
    try:
        descriptor = walk.reach(path, walk.FILE)
    except FileNotFoundError:
        yield None
        return
    try:
        yield descriptor if stat.S_ISREG(os.fstat(descriptor).st_mode) else None
    finally:
        os.close(descriptor)
