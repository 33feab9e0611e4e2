"""Hostile copiers: every way we know in which a capture folder can look whole before it is.

Each is a generator that does its work on the real file system and yields the seconds until it goes on, so that one
thread can drive hundreds. ``Copy`` counts pauses in settle windows: a *stall* is longer than the window, a *moment*
much shorter. When a copier returns, its capture is whole, valid, and what ``Copy.files`` says.

Left out, because no watcher can know: a set that is whole, with every file closed, to which the copier comes back
later than the settle window (or, with the rig's own word that it is complete, later than a second). Where a pattern
has such a gap it is a moment, and a copy whose moment the machine stretched is not counted.
"""

from __future__ import annotations

import hashlib
import heapq
import json
import mmap
import os
import random
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from bench.subject import Claim, capture_files, png
from meshdrop.daemon.inbox.intake import content_digest

Steps = Iterator[float]
_OLD_NS = 1_262_304_000 * 10**9  # 2010


class Late(Exception):
    """A moment took nearly as long as a settle window: whatever happens to this copy proves nothing."""


@dataclass
class Copy:
    """One capture on its way into the inbox."""

    inbox: Path
    name: str
    files: dict[str, bytes]
    settle_s: float
    chance: random.Random
    #: Names under which the folder stood in the inbox before it had its own.
    earlier_names: list[str] = field(default_factory=list)
    _moment_began: float = 0.0

    @property
    def folder(self) -> Path:
        """Where it goes."""
        return self.inbox / self.name

    def stall(self) -> float:
        """A pause longer than the settle window, at times much longer."""
        windows = self.chance.uniform(1.2, 1.8) if self.chance.random() < 0.9 else self.chance.uniform(3.3, 4.5)
        return self.settle_s * windows

    def moment(self) -> float:
        """A pause much shorter than it, in a state that may look complete; say ``in_time`` after it."""
        self._moment_began = time.monotonic()
        return self.settle_s * self.chance.uniform(0.1, 0.3)

    def in_time(self) -> None:
        """Raise ``Late`` when the moment was none."""
        if time.monotonic() - self._moment_began > 0.8 * self.settle_s:
            raise Late

    def path(self, name: str) -> Path:
        """Where a file of the capture goes; makes its folder, but never the capture's own again."""
        path = self.folder / name
        if path.parent != self.folder and not path.parent.exists():
            path.parent.mkdir()
        return path

    def begin(self, *, perhaps_marked: bool = False) -> None:
        """Make the folder; ``perhaps_marked``, at times with the mark that it is done."""
        self.folder.mkdir()
        if perhaps_marked and self.chance.random() < 0.2:
            (self.folder / ".ready").touch()

    def shuffled(self) -> list[str]:
        """The files in any order."""
        return self.chance.sample(sorted(self.files), len(self.files))

    def some(self, count: int = 2) -> set[str]:
        """Files that get special treatment."""
        return set(self.chance.sample(sorted(self.files), count))

    def put(self, name: str) -> None:
        """Write a file whole and close it."""
        self.path(name).write_bytes(self.files[name])

    def half(self, name: str) -> int:
        """A place inside a file: anywhere, or near its start or end, where a picture is told by its marks."""
        size = len(self.files[name])
        places = (range(1, size), range(1, 9), range(9, 45), range(size - 13, size))
        return self.chance.choice(self.chance.choice(places))


# -- one file after the other ----------------------------------------------------------------------------------------


def held_open(copy: Copy) -> Steps:
    """Any order; some files stop in the middle, and some are whole but stay open."""
    copy.begin(perhaps_marked=True)
    stops, names = copy.some(), copy.shuffled()
    for name in names:
        cut = copy.half(name) if copy.chance.random() < 0.5 else len(copy.files[name])
        with copy.path(name).open("wb") as file:
            file.write(copy.files[name][:cut])
            file.flush()
            if name in stops or name == names[-1]:
                yield copy.stall()
            file.write(copy.files[name][cut:])


def closed_between(copy: Copy) -> Steps:
    """Every block is appended by an open of its own, as NFS servers do: nobody is seen writing."""
    copy.begin(perhaps_marked=True)
    stops, names = copy.some(), copy.shuffled()
    for name in names:
        content, cuts = copy.files[name], sorted({copy.half(name), copy.half(name)})
        for start, end in zip([0, *cuts], [*cuts, len(content)], strict=True):
            with copy.path(name).open("ab") as file:
                file.write(content[start:end])
            if end != len(content) and (name in stops or name == names[-1]):
                yield copy.stall()


def reserved(copy: Copy) -> Steps:
    """Disk space is reserved first (zeros); the content comes after a stall, from the front, closed between."""
    copy.begin(perhaps_marked=True)
    stops, names = copy.some(), copy.shuffled()
    for name in names:
        with copy.path(name).open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, len(copy.files[name]))
        if name in stops or name == names[-1]:
            yield copy.stall()
        cut = copy.half(name)
        for start, end in ((0, cut), (cut, len(copy.files[name]))):
            with copy.path(name).open("r+b") as file:
                file.seek(start)
                file.write(copy.files[name][start:end])
            if start == 0 and name == names[-1]:
                yield copy.stall()


def sized_first(copy: Copy) -> Steps:
    """robocopy: all folders, then each file created at its full length, filled, its times set, closed."""
    copy.begin()
    for name in copy.files:
        copy.path(name)
    yield copy.stall()
    stops, names = copy.some(), sorted(copy.files)
    for name in names:
        with copy.path(name).open("w+b") as file:
            file.truncate(len(copy.files[name]))
            if name in stops:
                yield copy.stall()
            file.write(copy.files[name])
            file.flush()
            if name == names[-1]:
                yield copy.stall()
            os.utime(file.fileno(), ns=(_OLD_NS, _OLD_NS))


def placeholders(copy: Copy) -> Steps:
    """Explorer and Finder: every name at once, empty; the contents follow."""
    copy.begin(perhaps_marked=True)
    for name in copy.files:
        copy.path(name).touch()
    yield copy.stall()
    stops, names = copy.some(), copy.shuffled()
    for name in names:
        if name in stops or name == names[-1]:
            yield copy.stall()
        copy.put(name)


def temporary_names(copy: Copy) -> Steps:
    """Each file under a temporary name first, whole, then renamed."""
    copy.begin()
    stops, names = copy.some(), copy.shuffled()
    for name in names:
        path = copy.path(name)
        style = copy.chance.choice(
            (
                "{}.part",
                "{}.filepart",
                "{}.tmp",
                "{}.crdownload",
                ".goutputstream-A1B2C3",
                "~syncthing~{}.tmp",
                "{}.partial",
            )
        )
        partial = path.with_name(style.format(path.name))
        partial.write_bytes(copy.files[name])
        if name in stops or name == names[-1]:
            yield copy.stall()
        partial.rename(path)


def temporary_beside(copy: Copy) -> Steps:
    """The set is whole under its own names, and one more file is still under a temporary one, replacing its earlier
    version at the end."""
    copy.begin()
    again = next(iter(copy.some(1)))
    partial = copy.path(again).with_name(f"{Path(again).name}.part")
    partial.write_bytes(b"")
    for name in copy.shuffled():
        copy.put(name)
    yield copy.stall()
    partial.write_bytes(copy.files[again])
    yield copy.stall()
    partial.rename(copy.path(again))


def rsync(copy: Copy) -> Steps:
    """rsync -t: a hidden name with six letters, old times, then the rename."""
    copy.begin()
    stops, names = copy.some(), sorted(copy.files)
    for name in names:
        path = copy.path(name)
        partial = path.with_name(f".{path.name}.{copy.chance.choice(('Ab12Cd', 'xYz09Q'))}")
        partial.write_bytes(copy.files[name])
        os.utime(partial, ns=(_OLD_NS, _OLD_NS))
        if name in stops or name == names[-1]:
            yield copy.stall()
        partial.rename(path)


def times_kept(copy: Copy) -> Steps:
    """cp -p: every file gets its old time after it is closed."""
    copy.begin()
    stops, names = copy.some(), copy.shuffled()
    for number, name in enumerate(names):
        if name in stops or name == names[-1]:
            yield copy.stall()
        copy.put(name)
        os.utime(copy.path(name), ns=(_OLD_NS + number, _OLD_NS + number))


def times_set_back(copy: Copy) -> Steps:
    """smbclient and scp -p: the set is whole, then its times are set back one after the other, for many windows."""
    copy.begin()
    for name in copy.shuffled():
        copy.put(name)
    for name in copy.shuffled():
        yield copy.moment()
        copy.in_time()
        os.utime(copy.path(name), ns=(_OLD_NS, _OLD_NS))


# -- whole at first sight ------------------------------------------------------------------------------------------


def overwritten(copy: Copy) -> Steps:
    """A whole earlier set; then one picture after the other is overwritten in place by another of the same size,
    with the file held open: start, end and size are right all the time."""
    copy.begin()
    changing = sorted(copy.some(3))
    for name in copy.shuffled():
        content = bytearray(copy.files[name])
        content[60] ^= name in changing
        copy.path(name).write_bytes(content)
    for name in changing:
        with copy.path(name).open("r+b") as file:
            file.write(copy.files[name][:40])
            file.flush()
            yield copy.stall()
            file.seek(0)
            file.write(copy.files[name])
        yield copy.moment()
        copy.in_time()
    os.utime(copy.path(name))


def overwritten_closed(copy: Copy) -> Steps:
    """The same, but closed half-way: only the checksums inside the picture tell, and they are heeded for three
    windows.
    """
    copy.begin()
    changing = sorted(copy.some())
    for name in copy.shuffled():
        content = bytearray(copy.files[name])
        content[60] ^= name in changing
        copy.path(name).write_bytes(content)
    for name in changing:
        began = time.monotonic()
        with copy.path(name).open("r+b") as file:
            file.write(copy.files[name][:40])
        yield copy.settle_s * copy.chance.uniform(1.2, 1.8)
        if time.monotonic() - began > 2.6 * copy.settle_s:
            raise Late
        with copy.path(name).open("r+b") as file:
            file.write(copy.files[name])
        if name != changing[-1]:
            yield copy.moment()
            copy.in_time()


def truncated(copy: Copy) -> Steps:
    """The set is whole for a moment, then a file is emptied and written again after a stall."""
    copy.begin()
    for name in copy.shuffled():
        copy.put(name)
    for name in sorted(copy.some(3)):
        yield copy.moment()
        copy.in_time()
        with copy.path(name).open("wb"):
            pass
        yield copy.stall()
        copy.put(name)


def replaced(copy: Copy) -> Steps:
    """The set is whole for a moment, then files are replaced, by rename and by deleting first."""
    copy.begin()
    for name in copy.shuffled():
        copy.put(name)
    for number, name in enumerate(sorted(copy.some(4))):
        yield copy.moment()
        copy.in_time()
        path = copy.path(name)
        if number % 2:
            path.unlink()
            yield copy.stall()
            copy.put(name)
        else:
            other = path.with_name(f"{path.name}.tmp")
            other.write_bytes(copy.files[name])
            yield copy.stall()
            other.rename(path)


def backwards(copy: Copy) -> Steps:
    """Downloaders with several connections: first and last block, then the middle; each file held open."""
    copy.begin()
    stops, names = copy.some(), copy.shuffled()
    for name in names:
        content = copy.files[name]
        with copy.path(name).open("w+b") as file:
            file.seek(len(content) - 20)
            file.write(content[-20:])
            file.seek(0)
            file.write(content[:60])
            file.flush()
            if name in stops or name == names[-1]:
                yield copy.stall()
            file.seek(0)
            file.write(content)


def middle_last(copy: Copy) -> Steps:
    """The same, but closed between: start, end and size are right, and nobody is seen writing."""
    copy.begin()
    stops, names = copy.some(), copy.shuffled()
    for name in names:
        content = copy.files[name]
        with copy.path(name).open("w+b") as file:
            file.write(content[:60])
            file.seek(len(content) - 20)
            file.write(content[-20:])
        if name in stops or name == names[-1]:
            yield copy.stall()
        with copy.path(name).open("r+b") as file:
            file.write(content)


def mapped(copy: Copy) -> Steps:
    """Through shared memory: the file's descriptor is closed, its mapping still writes."""
    copy.begin()
    stops, names = copy.some(), copy.shuffled()
    for name in names:
        content = copy.files[name]
        with copy.path(name).open("w+b") as file:
            file.truncate(len(content))
            memory = mmap.mmap(file.fileno(), len(content))
        with memory:
            memory[:60], memory[-20:] = content[:60], content[-20:]
            if name in stops or name == names[-1]:
                yield copy.stall()
            memory[:] = content


def all_at_once(copy: Copy) -> Steps:
    """All files are open and grow in turn."""
    copy.begin()
    files: dict[str, BinaryIO] = {name: copy.path(name).open("wb") for name in copy.files}
    try:
        for part in range(4):
            for name, file in files.items():
                size = len(copy.files[name])
                file.write(copy.files[name][part * size // 4 : (part + 1) * size // 4])
                file.flush()
            yield copy.stall()
    finally:
        for file in files.values():
            file.close()


def shrunk(copy: Copy) -> Steps:
    """rsync --inplace over an older, longer file: content with its end, more behind it, cut to length at last."""
    copy.begin()
    longer = copy.some()
    names = [name for name in copy.shuffled() if name not in longer]
    for name in names:
        copy.put(name)
    for name in sorted(longer):
        with copy.path(name).open("w+b") as file:
            file.write(copy.files[name] + b"\0" * copy.chance.choice((1, 500, 5000)))
            file.flush()
            yield copy.stall()
            file.truncate(len(copy.files[name]))


# -- order and company ----------------------------------------------------------------------------------------------


def depth_later(copy: Copy) -> Steps:
    """Six whole photographs; the depth maps begin after a stall."""
    copy.begin()
    for name in sorted(copy.files, reverse=True):
        if name.startswith("views"):
            copy.put(name)
    yield copy.stall()
    (copy.folder / "depth").mkdir()
    yield copy.stall()
    depths = [name for name in copy.shuffled() if name.startswith("depth")]
    for name in depths:
        if name == depths[-1]:
            yield copy.stall()
        copy.put(name)


def masks_later(copy: Copy) -> Steps:
    """All folders first; photographs and depth are whole when the masks begin after a stall."""
    copy.begin()
    masks = {f"masks/mask_{n:02d}.png": png(20, n, noise=copy.chance) for n in range(6)}
    (copy.folder / "masks").mkdir()
    for name in copy.shuffled():
        copy.put(name)
    copy.files |= masks
    yield copy.stall()
    for name in masks:
        if name in ("masks/mask_03.png", "masks/mask_05.png"):
            yield copy.stall()
        copy.put(name)


def frames_first(copy: Copy) -> Steps:
    """The sidecar with the cameras comes first, the pictures that it names later."""
    copy.begin()
    _as_frames(copy)
    copy.put("transforms.json")
    stops, names = copy.some(), [name for name in copy.shuffled() if name != "transforms.json"]
    for name in names:
        if name in stops or name == names[-1]:
            yield copy.stall()
        copy.put(name)


def frames_last(copy: Copy) -> Steps:
    """All pictures, then, after a stall, the sidecar with the cameras, in two pieces."""
    copy.begin()
    _as_frames(copy)
    for name in copy.shuffled():
        if name != "transforms.json":
            copy.put(name)
    yield copy.stall()
    text = copy.files["transforms.json"]
    cut = copy.chance.randrange(1, len(text) - 3)
    copy.path("transforms.json").write_bytes(text[:cut])
    yield copy.stall()
    with copy.path("transforms.json").open("ab") as file:
        file.write(text[cut:])


def _as_frames(copy: Copy) -> None:
    """Turn the capture into a nerfstudio one: pictures of other names, and a sidecar that names them."""
    pictures = {f"images/{name.rpartition('_')[2]}": content for name, content in copy.files.items() if "view" in name}
    matrix = [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 2.5], [0, 0, 0, 1]]
    frames = [{"file_path": name, "transform_matrix": matrix} for name in sorted(pictures)]
    text = {"fl_x": 40, "fl_y": 40, "cx": 10, "cy": 10, "w": 20, "h": 20, "frames": frames}
    copy.files = {**pictures, "transforms.json": json.dumps(text).encode("ascii")}


def marker_early(copy: Copy) -> Steps:
    """The rig's own mark that it is done comes before the files."""
    copy.begin()
    (copy.folder / ".ready").touch()
    stops, names = copy.some(), copy.shuffled()
    for name in names:
        if name in stops or name == names[-1]:
            yield copy.stall()
        copy.put(name)


def manifest_contradicts(copy: Copy) -> Steps:
    """The list of checksums is there, the set is whole and closed, but one picture is an older one."""
    copy.begin()
    (copy.folder / "SHA256SUMS").write_bytes(checksums(copy.files))
    changed = next(iter(copy.some(1)))
    for name in copy.shuffled():
        if name == changed:
            other = capture_files(copy.chance.randrange(2**16, 2**17), noise=copy.chance)
            copy.path(name).write_bytes(other[name])
        else:
            copy.put(name)
    yield copy.stall()
    yield copy.stall()
    copy.put(changed)


def manifest_lists_more(copy: Copy) -> Steps:
    """The list of checksums names a sidecar that comes last."""
    copy.begin()
    copy.files["capture.json"] = b'{"labels": {"part": "%d"}}\n' % copy.chance.randrange(10**6)
    (copy.folder / "SHA256SUMS").write_bytes(checksums(copy.files))
    for name in copy.shuffled():
        if name != "capture.json":
            copy.put(name)
    yield copy.stall()
    yield copy.stall()
    copy.put("capture.json")


def manifest_cut(copy: Copy) -> Steps:
    """The list of checksums itself is still short of some lines when the set is whole."""
    copy.begin()
    text = checksums(copy.files)
    cut = copy.chance.randrange(1, len(text) - 70)
    (copy.folder / "SHA256SUMS").write_bytes(text[:cut])
    for name in copy.shuffled():
        copy.put(name)
    yield copy.stall()
    with (copy.folder / "SHA256SUMS").open("ab") as file:
        file.write(text[cut:])


def sidecar_slow(copy: Copy) -> Steps:
    """A sidecar that belongs to the set stops in the middle, held open, while all pictures are there."""
    yield from _with_sidecar(copy, closed=False)


def sidecar_in_two(copy: Copy) -> Steps:
    """The same, but closed in the middle: only its content tells that more is coming."""
    yield from _with_sidecar(copy, closed=True)


def _with_sidecar(copy: Copy, *, closed: bool) -> Steps:
    copy.begin()
    text = b'{"labels": {"part": "%d", "shift": "early"}}\n' % copy.chance.randrange(10**6)
    copy.files["capture.json"] = text
    cut = copy.chance.randrange(1, len(text) - 3)
    path = copy.path("capture.json")
    with path.open("wb") as file:
        file.write(text[:cut])
        file.flush()
        for name in copy.shuffled():
            if name != "capture.json":
                copy.put(name)
        if not closed:
            yield copy.stall()
            file.write(text[cut:])
    if closed:
        yield copy.stall()
        with path.open("ab") as file:
            file.write(text[cut:])


def lock_file(copy: Copy) -> Steps:
    """All is there, and so is a lock file."""
    copy.begin()
    lock = copy.folder / copy.chance.choice(("scan.lock", ".~lock.capture#", "upload.lck"))
    lock.touch()
    for name in copy.shuffled():
        copy.put(name)
    yield copy.stall()
    os.utime(copy.path(name))
    yield copy.stall()
    lock.unlink()


def lock_folder(copy: Copy) -> Steps:
    """All is there, and so is an empty lock folder, as office scanners make it."""
    copy.begin()
    lock = copy.folder / "XEROX-LOCK"
    lock.mkdir()
    for name in copy.shuffled():
        copy.put(name)
    yield copy.stall()
    os.utime(copy.path(name))
    yield copy.stall()
    lock.rmdir()


# -- the folder itself ---------------------------------------------------------------------------------------------


def named_too_soon(copy: Copy) -> Steps:
    """Copied under a temporary folder name and given its own before it is whole."""
    staged = copy.inbox / copy.chance.choice((f"{copy.name}.part", f".{copy.name}.tmp", f".{copy.name}"))
    _into(copy, staged, leave=4)
    yield copy.stall()
    staged.rename(copy.folder)
    yield copy.stall()
    rest = [name for name in copy.shuffled() if not (copy.folder / name).exists()]
    for name in rest:
        if name == rest[-1]:
            yield copy.stall()
        copy.put(name)


def new_folder(copy: Copy) -> Steps:
    """Filled as "New folder"; gets its name a moment after it is whole, and one file is set right after that."""
    first = copy.inbox / f"New folder {copy.name}"
    copy.earlier_names.append(first.name)
    _into(copy, first, leave=0)
    yield copy.moment()
    copy.in_time()
    first.rename(copy.folder)
    yield copy.moment()
    copy.in_time()
    again = next(iter(copy.some(1)))
    with copy.path(again).open("r+b") as file:
        yield copy.stall()
        file.write(copy.files[again])


def renamed_while_written(copy: Copy) -> Steps:
    """Whole under a temporary folder name, then named, while one file is still open for writing."""
    staged = copy.inbox / f".{copy.name}.part"
    _into(copy, staged, leave=0)
    again = next(iter(copy.some(1)))
    with (staged / again).open("r+b") as file:
        file.write(copy.files[again][:50])
        file.flush()
        staged.rename(copy.folder)
        yield copy.stall()
        file.write(copy.files[again][50:])


def moved_in_one_by_one(copy: Copy) -> Steps:
    """Whole files, moved in by rename from elsewhere on the disk."""
    elsewhere = copy.inbox.parent / f"elsewhere-{copy.name}"
    _into(copy, elsewhere, leave=0)
    copy.begin()
    stops, names = copy.some(), copy.shuffled()
    for name in names:
        if name in stops or name == names[-1]:
            yield copy.stall()
        (elsewhere / name).rename(copy.path(name))


def linked_in(copy: Copy) -> Steps:
    """Each file is linked to its name from elsewhere, and the other name goes a moment later: a rename that replaces
    nothing.
    """
    elsewhere = copy.inbox.parent / f"elsewhere-{copy.name}"
    _into(copy, elsewhere, leave=0)
    copy.begin()
    stops, names = copy.some(), copy.shuffled()
    for name in names:
        if name in stops or name == names[-1]:
            yield copy.stall()
        os.link(elsewhere / name, copy.path(name))
        yield copy.moment()
        copy.in_time()
        (elsewhere / name).unlink()


def _into(copy: Copy, folder: Path, *, leave: int) -> None:
    names = copy.shuffled()
    for name in names[: len(names) - leave]:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(copy.files[name])


def checksums(files: Mapping[str, bytes]) -> bytes:
    """A list as sha256sum(1) writes it."""
    lines = (f"{hashlib.sha256(content).hexdigest()}  {name}\n" for name, content in sorted(files.items()))
    return "".join(lines).encode("ascii")


COPIERS: tuple[Callable[[Copy], Steps], ...] = (
    held_open,
    closed_between,
    reserved,
    sized_first,
    placeholders,
    temporary_names,
    temporary_beside,
    rsync,
    times_kept,
    times_set_back,
    overwritten,
    overwritten_closed,
    truncated,
    replaced,
    backwards,
    middle_last,
    mapped,
    all_at_once,
    shrunk,
    depth_later,
    masks_later,
    frames_first,
    frames_last,
    marker_early,
    manifest_contradicts,
    manifest_lists_more,
    manifest_cut,
    sidecar_slow,
    sidecar_in_two,
    lock_file,
    lock_folder,
    named_too_soon,
    new_folder,
    renamed_while_written,
    moved_in_one_by_one,
    linked_in,
)


# -- driving them --------------------------------------------------------------------------------------------------


@dataclass
class Outcome:
    """What became of one copy. ``finished``: Unix seconds after its last operation, None when it was cut short."""

    copier: str
    copy: Copy
    finished: float | None = None
    early: bool = False
    late: bool = False


def drive(
    inbox: Path, count: int, at_once: int, settle_s: float, seed: int, tell: Callable[[int], None]
) -> list[Outcome]:
    """Run ``count`` copies, each copier in turn, ``at_once`` at a time."""
    waiting: list[tuple[float, int, Steps]] = []
    outcomes: list[Outcome] = []
    done = 0
    while done < count:
        while len(outcomes) < count and len(waiting) < at_once:
            number = len(outcomes)
            copier, chance = COPIERS[number % len(COPIERS)], random.Random(f"{seed}/{number}")
            files = capture_files(number, 20, chance)
            copy = Copy(inbox, f"c{number:05d}", files, settle_s, chance)
            outcomes.append(Outcome(copier.__name__, copy))
            # They begin apart, or all would stall and go on together.
            heapq.heappush(waiting, (time.monotonic() + chance.uniform(0, settle_s), number, copier(copy)))
        due, number, steps = heapq.heappop(waiting)
        time.sleep(max(0.0, due - time.monotonic()))
        pause = _step(steps, outcomes[number])
        if pause is None:
            done += 1
            tell(done)
        else:
            heapq.heappush(waiting, (time.monotonic() + pause, number, steps))
    return outcomes


def _step(steps: Steps, outcome: Outcome) -> float | None:
    """One operation; None when there is no further one."""
    try:
        return next(steps)
    except StopIteration:
        outcome.finished = time.time()
    except Late:
        outcome.late = True
    except FileNotFoundError:
        outcome.early = True
    return None


def verdict(outcome: Outcome, record: Mapping[str, list[Claim]]) -> str:
    """``void``, ``early``, ``wrong`` (never taken, or with another content than the copier's) or ``good``."""
    if outcome.late:
        return "void"
    claims = record.get(outcome.copy.name, [])
    too_soon = outcome.early or outcome.finished is None or any(claim.at < outcome.finished for claim in claims)
    if too_soon or any(name in record for name in outcome.copy.earlier_names):
        return "early"
    hashes = {name: hashlib.sha256(content).hexdigest() for name, content in outcome.copy.files.items()}
    return "good" if [claim.digest for claim in claims] == [content_digest(hashes)] else "wrong"
