"""Looks at the inbox and says which folders are complete. The scan is the truth; events only make it come sooner.

Ten thousand folders must cost next to nothing to watch. Folders that changed lately are looked at on every pass. Of the
others only the folder times are read now and then, the sizes of their files more seldom, and they are looked at again
when either has changed, or when a limit of theirs has come.
"""

from __future__ import annotations

import logging
import math
import os
import threading
import time
from collections.abc import Callable, Collection, Generator, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from watchdog.events import (
    DirCreatedEvent,
    DirDeletedEvent,
    DirMovedEvent,
    FileCreatedEvent,
    FileDeletedEvent,
    FileMovedEvent,
    FileSystemEvent,
    FileSystemEventHandler,
)
from watchdog.observers import Observer
from watchdog.observers.api import BaseObserver

from meshdrop.daemon.base.clock import Clock
from meshdrop.daemon.base.log import get_logger
from meshdrop.daemon.base.places import shown
from meshdrop.daemon.base.repeats import Repeats
from meshdrop.daemon.inbox.listing import Listing, is_temporary, list_inbox
from meshdrop.daemon.inbox.observe import Contents, Ends, glance, look, reading
from meshdrop.daemon.inbox.settle import Judgement, Snapshot, Window, judge
from meshdrop.models.capture.rig_profile import Rigs, rig_of
from meshdrop.models.files import walk
from meshdrop.models.files.limits import CaptureLimits
from meshdrop.models.files.names import is_blocker

log = get_logger()
# It complains of events that came too late, were too many or met its end; the scan finds out what they were about, and
# people would read it beside the log.
logging.getLogger("watchdog").setLevel(logging.CRITICAL)

#: A folder that changed this recently is looked at on every pass.
_ACTIVE_S = 60.0
#: Of idle folders (seconds for each of them, least, most): how often the times of their folders are read, how often the
#: sizes and times of their files, and how soon one that could not be taken is tried again.
_TIMES_EVERY, _GLANCE_EVERY, _RETRY_EVERY = (0.003, 1.0, 60.0), (0.03, 30.0, 600.0), (0.003, 5.0, 30.0)
#: The same for the times of folders that hold nothing at all: a stranger makes ten thousand of them in a second.
_BARE_EVERY = (0.0003, 0.0, 30.0)
#: One pass looks no longer than this before the inbox is listed again: what is new comes first.
_PASS_S = 2.0
#: A folder that costs more than the first (seconds) to look at comes after the others, and takes no more than this
#: share of the time: strangers can make folders that cost a thousand times as much as a capture.
_CHEAP_S, _SHARE = 0.1, 1 / 10
_SHARED_MOST = 2000
#: Folders under a temporary name that are looked at, to tell of those that nobody copies to any more.
_HALF_COPIED_MOST = 200
#: The inbox is listed at least this often, whatever its own time says.
_LIST_EVERY_S = 30.0
_TRUSTED_AFTER_NS = 2_000_000_000
#: Idle folders come due in steps, so that not every pass has to ask each of them.
_STEP_S = 5.0
#: Files that come so soon after a folder of their name was taken are called late.
_LATE_S = 600.0
_NO_RIGS: Mapping[str, bytes] = {}


@dataclass(frozen=True, slots=True)
class FolderState:
    """One folder of the inbox: what follows from what was seen, and for how long it has been so."""

    name: bytes
    judgement: Judgement
    quiet_s: float


@dataclass(frozen=True)
class Candidate:
    """A folder that is to be taken now, because it is complete or because it will never be."""

    name: bytes
    snapshot: Snapshot
    judgement: Judgement


@dataclass(slots=True)
class _Seen:
    """What is remembered of a folder between looks; lost at a restart, which costs one settle window."""

    name: bytes
    judgement: Judgement
    #: A hash of its fingerprint.
    state: int
    #: Minus infinity for one that cannot be read: nothing is waited for.
    last_change: float
    #: When it is looked at whatever happens, when its files' sizes are read, when its folders' times are.
    look_at: float
    glance_at: float
    times_at: float
    #: Hashes of its folders' times and of its files' sizes and times.
    times: int = 0
    glanced: int = 0
    inner: tuple[str, ...] = ()
    #: When the rig's marker was first seen; whether the folder was renamed from a temporary name when it was whole.
    marked_at: float | None = None
    renamed_in: bool = False
    #: What reading the files has shown, and when; the reading itself while it goes on, file by file.
    contents: Contents | None = None
    read_at: float = 0.0
    reading: Generator[None, None, Contents] | None = None
    #: What was found at the ends of its files, and how long the last look took (seconds).
    ends: Ends = field(default_factory=Ends)
    cost_s: float = 0.0
    #: There was nothing in it, no folder either: its own time tells when that is over.
    bare: bool = False

    @property
    def due(self) -> float:
        """When something is to be done about it."""
        return min(self.look_at, self.glance_at, self.times_at)

    def quiet_at(self, now: float) -> float:
        """For how long nothing is known to have changed, also where nobody looked since."""
        return now - self.last_change


@dataclass(frozen=True, slots=True)
class _HalfCopied:
    """A folder under a temporary name: a hash of what its files were, since when, and when it is looked at again."""

    name: bytes
    state: int
    last_change: float
    look_at: float


class Scanner:
    """Remembers every inbox folder between passes. Not thread-safe: one thread uses it.

    ``network``: files are opened to be measured, and no name on the share proves a rename. ``rigs`` gives the texts of
    the stored profiles, the same object while none has changed.
    """

    def __init__(
        self,
        inbox: Path,
        window: Window,
        limits: CaptureLimits,
        clock: Clock,
        *,
        network: bool = False,
        marker: str = ".ready",
        rigs: Callable[[], Mapping[str, bytes]] = lambda: _NO_RIGS,
    ) -> None:
        self._inbox = inbox
        self._window = window
        self._limits = limits
        self._clock = clock
        self._network = network
        self._marker = marker
        self._read_rigs = rigs
        self._rigs = _NO_RIGS
        self._seen: dict[bytes, _Seen] = {}
        self._taken: dict[bytes, tuple[str, float]] = {}
        #: Equal values are kept once: thousands of folders wait for the same file.
        self._shared: dict[Any, Any] = {}
        self.listing = Listing()
        self._listed: tuple[int, ...] = ()
        self._list_again_at = 0.0
        self._next_due, self._changed_at = 0.0, float("-inf")
        self._pass_ends = float("inf")
        #: Goes up whenever a finding came, changed or went.
        self.version = 0
        self._said = Repeats(clock.monotonic)
        self._half_copied: dict[int, _HalfCopied] = {}

    def scan(self, renamed: Collection[bytes] = ()) -> Iterator[Candidate]:
        """One pass: yields each folder that is ready, or to be refused, at the moment it is looked at.

        ``renamed`` are names that took the place of temporary ones since the last pass, as far as events told.

        Whoever takes one says ``taken``; whoever cannot says ``turn_away``. New folders come first, for half of the
        time if others wait, and of these the newest; those that cost much come last. The pass ends after a while even
        if not all were looked at: the next goes on there. Raises ``OSError`` when the inbox itself cannot be listed;
        nothing is forgotten then. A single folder that cannot be read is reported as such and stops nothing.
        """
        begun = self._clock.monotonic()
        self._take_up_rigs(begun)
        before = self.listing.folders
        arrived = self._list(begun, renamed)
        seen = self._seen
        due: list[tuple[bool, float, bytes]] = []
        if begun >= self._next_due:
            due = sorted((e.cost_s > _CHEAP_S, e.due, name) for name, e in seen.items() if e.due <= begun)
            self._next_due = min((entry.due for entry in seen.values() if entry.due > begun), default=begun)
        finished = False
        self._pass_ends = begun + _PASS_S
        new = self._in_turn(self.listing.folders - seen.keys(), before)
        try:
            for name in (*new, *(name for *_, name in due)):
                now = self._clock.monotonic()
                if now > self._pass_ends:
                    return
                if due and name not in seen and now - begun > _PASS_S / 2:
                    continue
                candidate = self._visit(name, now, renamed_in=name in arrived)
                if candidate is not None:
                    yield candidate
            finished = not self.backlog()
        finally:
            if not finished:  # whoever is left is still due
                self._next_due = begun

    @staticmethod
    def _in_turn(new: Collection[bytes], before: Collection[bytes]) -> list[bytes]:
        """Those that came since the last pass, by their names; then those that it had no time for, in an order that no
        name can buy: a hundred thousand folders that were dropped before keep nobody waiting for his first look."""
        return sorted(new, key=lambda name: (name in before, hash(name) if name in before else 0, name))

    def findings(self) -> list[FolderState]:
        """The latest finding of every folder that was looked at."""
        now = self._clock.monotonic()
        return [FolderState(entry.name, entry.judgement, entry.quiet_at(now)) for entry in self._seen.values()]

    def given_up(self) -> list[bytes]:
        """Folders under a temporary name in which nothing has changed for as long as an incomplete one is given."""
        now, seen, known = self._clock.monotonic(), dict[int, _HalfCopied](), self._half_copied
        for inode, name in sorted(self.listing.staged.items(), key=lambda one: one[1])[:_HALF_COPIED_MOST]:
            if not is_blocker(os.fsdecode(name.rpartition(b"/")[2])):
                continue  # hidden, and nobody's copy as far as its name tells
            found = known.get(inode)
            if found is None or found.name != name or now >= found.look_at:
                found = self._look_at_half(name, found, now)
            seen[inode] = found
        self._half_copied = seen
        return [one.name for one in seen.values() if now - one.last_change >= self._window.incomplete_after_s]

    def _look_at_half(self, name: bytes, found: _HalfCopied | None, now: float) -> _HalfCopied:
        try:
            state = glance(self._inbox / os.fsdecode(name), _SHARED_MOST)
        except OSError:  # gone, or closed to us: nothing that is known to change
            state = 0
        since = found.last_change if found is not None and (found.name, found.state) == (name, state) else now
        return _HalfCopied(name, state, since, now + self._every(_GLANCE_EVERY, name))

    def backlog(self) -> int:
        """How many folders were never looked at yet."""
        return max(len(self.listing.folders) - len(self._seen), 0)

    def is_active(self) -> bool:
        """Whether a folder changed lately."""
        return self._clock.monotonic() - self._changed_at < _ACTIVE_S

    def is_settled(self, quiet_s: float) -> bool:
        """Whether no folder would be taken soon if nobody touched the inbox any more (for ``run --once``)."""
        now = self._clock.monotonic()
        return not self.backlog() and all(
            entry.judgement.state == "arriving" and entry.quiet_at(now) >= quiet_s for entry in self._seen.values()
        )

    def taken(self, name: bytes, job: str) -> None:
        """The folder is now job ``job``; what comes under this name next is new, and perhaps late."""
        self.forget(name)
        now = self._clock.monotonic()
        if len(self._taken) > 1000:
            self._taken = {name: late for name, late in self._taken.items() if now - late[1] < _LATE_S}
        self._taken[name] = (job, now)

    def turn_away(self, name: bytes, sentence: str) -> None:
        """The folder cannot be taken now; it is tried again a little later."""
        if (entry := self._seen.get(name)) is not None:
            self._keep(entry, Judgement("arriving", sentence))
            if entry.quiet_at(now := self._clock.monotonic()) >= _ACTIVE_S:
                entry.look_at = self._later(now, _RETRY_EVERY, name)

    def forget(self, name: bytes) -> None:
        """The folder is gone or was put back: what comes under this name next is new."""
        if self._seen.pop(name, None) is not None:
            self.version += 1

    # -- the top of the inbox -------------------------------------------------------------------------------------

    def _list(self, now: float, renamed: Collection[bytes]) -> set[bytes]:
        """Read the inbox anew; returns the folders that have just got their name after a temporary one.

        An inbox whose own time has not changed since it was last read is not read again for a while. That time counts
        in steps of the kernel's clock, so it is trusted only if it was well past when the inbox was read.
        """
        times, wall_ns = self._times(), time.time_ns()
        if times == self._listed and now < self._list_again_at and not self._network:
            return set()
        self._listed = times if wall_ns - max(times) > _TRUSTED_AFTER_NS else ()
        self._list_again_at = now + _LIST_EVERY_S
        known, before = self._seen, self.listing
        self.listing = list_inbox(self._inbox, self._rigs, known)
        folders, inodes, staged = self.listing.folders, self.listing.inodes, self.listing.staged
        for name in known.keys() - folders:
            self.forget(name)
        if self._network:
            return set()
        still = set(staged.values())
        return {
            name
            for name, inode in inodes.items()
            if name in renamed or before.staged.get(inode, b"") not in (still | {b""})
        }

    def _times(self) -> tuple[int, ...]:
        """When the inbox and the rigs' folders in it changed last, nanoseconds; 0 for one that is gone."""
        found = [walk.lstat(self._inbox).st_mtime_ns]
        for name in self.listing.rig_folders:
            try:
                found.append(walk.lstat(self._inbox / os.fsdecode(name)).st_mtime_ns)
            except OSError:
                found.append(0)
        return tuple(found)

    def _take_up_rigs(self, now: float) -> None:
        """A profile that came, changed or went may change what every folder here lacks."""
        if (rigs := self._read_rigs()) is self._rigs:
            return
        self._rigs, self._listed = rigs, ()
        for name in [name for name in self._seen if b"/" not in name and rig_of(os.fsdecode(name)) in rigs]:
            self.forget(name)
        for entry in self._seen.values():
            entry.look_at = now
        self._next_due = now

    # -- one folder -----------------------------------------------------------------------------------------------

    def _visit(self, name: bytes, now: float, *, renamed_in: bool) -> Candidate | None:
        folder = self._inbox / os.fsdecode(name)
        entry = self._seen.get(name)
        try:
            if b"/" not in name and rig_of(os.fsdecode(name)) in self._rigs:
                self._await_rigs_folder(name, folder, entry, now)
                return None
            if entry is not None and now < entry.look_at and not self._has_changed(folder, entry, name, now):
                return None
            return self._look(name, folder, entry, now, renamed_in=renamed_in)
        except Exception as error:  # whatever is odd about one folder, the others are served
            self._cannot_read(name, folder, error, now)
            return None

    def _await_rigs_folder(self, name: bytes, folder: Path, entry: _Seen | None, now: float) -> None:
        """One that stands for a stored rig and could not be listed is no capture: listed anew as soon as it can be.
        Raises ``OSError`` as long as it cannot."""
        if entry is None or now >= entry.look_at:
            walk.names(folder)
            self._listed = ()
            self.forget(name)

    def _has_changed(self, folder: Path, entry: _Seen, name: bytes, now: float) -> bool:
        """The cheap signs: they may cry wolf, and then the look finds nothing new."""
        if now >= entry.times_at:
            entry.times_at = self._later(now, _BARE_EVERY if entry.bare else _TIMES_EVERY, name)
            if _folder_times(folder, entry.inner) != entry.times:
                return True
        if now >= entry.glance_at:
            entry.glance_at = self._later(now, _GLANCE_EVERY, name)
            return glance(folder) != entry.glanced
        return False

    def _look(
        self, name: bytes, folder: Path, entry: _Seen | None, now: float, *, renamed_in: bool
    ) -> Candidate | None:
        # Times and sizes are read before the look: what comes in between makes the next look come at once.
        glanced = 0 if self._network else glance(folder)
        times = _folder_times(folder, entry.inner) if entry is not None else 0
        rigs = Rigs(self._rigs, rig_of(os.fsdecode(name)))
        ends = entry.ends if entry is not None else Ends()
        snapshot = look(folder, self._limits, by_opening=self._network, marker=self._marker, rigs=rigs, ends=ends)
        state = hash(snapshot.fingerprint)
        inner = self._shared.setdefault(snapshot.folders, snapshot.folders)
        if entry is None:
            unknown = Judgement("arriving", "")
            entry = self._seen[name] = _Seen(name, unknown, state, now, now, now, now, renamed_in=renamed_in, ends=ends)
        elif entry.state != state:
            entry.state, entry.last_change = state, now
            entry.renamed_in, entry.contents, entry.reading = False, None, None
        entry.cost_s = self._clock.monotonic() - now
        if snapshot.open_files:
            entry.last_change = now
        entry.times = times if inner == entry.inner else 0
        entry.inner, entry.glanced = inner, glanced
        entry.bare = not snapshot.facts and not self._network and not walk.names(folder)
        entry.marked_at = (now if entry.marked_at is None else entry.marked_at) if snapshot.marked else None
        return self._judge(entry, folder, snapshot, now)

    def _judge(self, entry: _Seen, folder: Path, snapshot: Snapshot, now: float) -> Candidate | None:
        quiet, window = now - entry.last_change, self._window
        # Of frames without a picture none will come any more.
        if quiet >= window.incomplete_after_s or _said(entry) or snapshot.manifest is not None:
            snapshot = snapshot.settled()
        if self._is_whole(snapshot):
            # Read when it has stopped changing, and again only while something was wrong.
            pause = min(window.said_s, window.settle_s)
            stale = entry.contents is None or (not entry.contents.clean and now - entry.read_at >= window.settle_s)
            if quiet >= pause and stale and not self._read(entry, folder, snapshot, now):
                self._keep(entry, Judgement("settling", "all files are there and are being read"))
                self._next_due = entry.look_at = now  # the next pass goes on with it
                return None
            if entry.contents is not None:
                snapshot = entry.contents.added_to(snapshot)
        judgement = self._wording(entry, judge(snapshot, quiet, window, _said(entry)), now)
        if entry.name in self.listing.cancelled and not snapshot.open_files:
            judgement = _cancelled(judgement, quiet, window)
        self._keep(entry, judgement)
        self._schedule(entry, judgement, now)
        if judgement.state in ("ready", "refuse"):
            return Candidate(entry.name, snapshot, judgement)
        return None

    def _read(self, entry: _Seen, folder: Path, snapshot: Snapshot, now: float) -> bool:
        """Read the files of a set, as many as this pass has time for, and at least one; whether all have been read."""
        if entry.reading is None:
            entry.reading = reading(folder, snapshot, self._limits)
        steps, entry.reading = entry.reading, None  # one that fails is begun anew
        while True:
            try:
                next(steps)
            except StopIteration as end:
                entry.contents, entry.read_at = end.value, now
                return True
            if self._clock.monotonic() > self._pass_ends:
                entry.reading = steps
                return False

    @staticmethod
    def _is_whole(snapshot: Snapshot) -> bool:
        """Whether every file of the set is there, as far as a look can tell."""
        expected = snapshot.expectation
        return expected.complete and bool(expected.required) and not (snapshot.unfinished or snapshot.open_files)

    def _wording(self, entry: _Seen, judgement: Judgement, now: float) -> Judgement:
        """What comes soon after a folder of the same name was taken is probably the rest of it."""
        job, at = self._taken.get(entry.name, ("", 0.0))
        if not job or judgement.state != "arriving" or now - at > _LATE_S:
            return judgement
        return Judgement("arriving", f"late files for job {job}, which was complete without them: {judgement.sentence}")

    def _keep(self, entry: _Seen, judgement: Judgement) -> None:
        if judgement != entry.judgement:
            self.version += 1
        if len(self._shared) > _SHARED_MOST:
            self._shared.clear()
        entry.judgement = self._shared.setdefault(judgement, judgement)

    def _schedule(self, entry: _Seen, judgement: Judgement, now: float) -> None:
        name = entry.name
        self._changed_at = max(self._changed_at, entry.last_change)
        if now - entry.last_change < _ACTIVE_S and not entry.bare:
            again = now + entry.cost_s / _SHARE if entry.cost_s > _CHEAP_S else now
            entry.look_at = entry.glance_at = entry.times_at = again
            self._next_due = min(self._next_due, again)
            return
        waits = judgement.state == "arriving" and entry.contents is None and not self._network
        limit = entry.last_change + self._window.incomplete_after_s
        entry.glance_at = self._later(now, _GLANCE_EVERY, name)
        entry.times_at = self._later(now, _BARE_EVERY if entry.bare else _TIMES_EVERY, name)
        entry.look_at = entry.glance_at if not waits else limit if limit > now else float("inf")

    def _later(self, now: float, pace: tuple[float, float, float], name: bytes) -> float:
        """The next turn of an idle folder: together with others while there are many, so that most passes find none."""
        at = now + self._every(pace, name)
        if at - now >= _STEP_S:
            at = math.ceil(at / _STEP_S) * _STEP_S
            at = self._shared.setdefault(at, at)
        self._next_due = min(self._next_due, at)
        return at

    def _every(self, pace: tuple[float, float, float], name: bytes) -> float:
        """A pause that grows with the number of folders, spread so that they do not all come due together."""
        each, least, most = pace
        return min(max(each * len(self._seen), least), most) * (0.75 + (hash(name) % 1000) / 2000)

    def _cannot_read(self, name: bytes, folder: Path, error: Exception, now: float) -> None:
        if isinstance(error, FileNotFoundError):
            self.forget(name)  # gone while it was looked at; should it still be there, the next pass says so
            return
        if isinstance(error, OSError):
            why = f"{error.strerror}{_rights(folder, error)}); check its owner and permissions"
            if self._said.is_worth(name, str(error)):
                log.warning("folder cannot be read", folder=shown(name), error=str(error))
        else:
            why = f"{type(error).__name__}); this is a defect of the service: send its log to whoever looks after it"
            if self._said.is_worth(name, repr(error)):
                log.error("folder cannot be looked at", folder=shown(name), exc_info=error)
        again = self._later(now, _RETRY_EVERY, name)
        judgement = Judgement("arriving", f"this folder cannot be read by the service ({why}")
        self._seen[name] = _Seen(name, judgement, 0, float("-inf"), again, again, again)
        self.version += 1


def _said(entry: _Seen) -> str:
    if entry.marked_at is not None and entry.marked_at >= entry.last_change:
        return "marked as finished"
    return "got their name last" if entry.renamed_in else ""


def _cancelled(judgement: Judgement, quiet: float, window: Window) -> Judgement:
    if quiet >= window.settle_s:
        return Judgement("refuse", "cancelled", "cancelled")
    return Judgement("settling", "cancelled; it goes to failed/ when nothing has changed for a moment")


def _rights(folder: Path, error: OSError) -> str:
    """Whose the offending path is and who asks, for the engineer who has to set it right."""
    try:
        found = walk.lstat(Path(os.fsdecode(error.filename)) if error.filename else folder)
    except OSError:
        return ""
    return f": owner {found.st_uid}, mode {found.st_mode & 0o7777:04o}; the service is user {os.geteuid()}"


def _folder_times(folder: Path, inner: tuple[str, ...]) -> int:
    """A hash of the times of a capture folder and its known subfolders: it tells that a file came or went."""
    with walk.held(folder, walk.PLACE) as held:
        return hash(tuple(os.stat(path or ".", dir_fd=held, follow_symlinks=False).st_mtime_ns for path in inner))


class Wake(FileSystemEventHandler):
    """Sets an event when anything happens at the top of the inbox. Touches no file and cannot fail.

    ``renamed`` collects the names of folders that had a temporary one before. It is a hint: what a scan finds decides.
    """

    def __init__(self, event: threading.Event) -> None:
        self._event = event
        self.renamed: set[bytes] = set()

    def on_any_event(self, event: FileSystemEvent) -> None:
        """Wake the scanner; what happened is for the scan to find out."""
        if isinstance(event, DirMovedEvent):
            before, after = (os.path.basename(os.fsencode(path)) for path in (event.src_path, event.dest_path))
            if is_temporary(before) and after and len(self.renamed) < _SHARED_MOST:
                self.renamed.add(after)
        self._event.set()


class Watcher:
    """watchdog on the inbox, not recursive: events may get lost, so they only make the next scan come sooner."""

    #: Not opening and reading: those are the scanner's own, and would wake it for ever.
    _EVENTS = (DirCreatedEvent, DirDeletedEvent, DirMovedEvent, FileCreatedEvent, FileDeletedEvent, FileMovedEvent)

    def __init__(self, inbox: Path, event: threading.Event) -> None:
        self._inbox = inbox
        self._handler = Wake(event)
        self._observer: BaseObserver | None = None
        self._said = Repeats()

    def ensure(self) -> None:
        """Start it, or start it again when one of its threads died. Without it the periodic scan still finds all."""
        if (
            self._observer is not None
            and self._observer.is_alive()
            and all(emitter.is_alive() for emitter in self._observer.emitters)
        ):
            return
        self.stop()
        try:
            observer = Observer()
            observer.schedule(self._handler, str(self._inbox), recursive=False, event_filter=list(self._EVENTS))
            observer.start()
            self._observer = observer
        except OSError as error:
            if self._said.is_worth("wake-ups", str(error)):
                log.warning("no wake-ups from the file system; scanning on schedule", error=str(error))
        else:
            if self._said.is_over("wake-ups"):
                log.info("the file system wakes the service again")

    def renamed(self) -> set[bytes]:
        """Names that took the place of temporary ones since this was last asked."""
        found, self._handler.renamed = self._handler.renamed, set()
        return found

    def stop(self) -> None:
        """End its threads."""
        if self._observer is not None:
            self._observer.stop()
            self._observer.join(2.0)
            self._observer = None
