"""Looks at the inbox and says which folders are complete. The scan is the truth; events only make it come sooner."""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass, replace
from pathlib import Path

from watchdog.events import FileSystemEvent, FileSystemEventHandler
from watchdog.observers import Observer
from watchdog.observers.api import BaseObserver

from daemon.clock import Clock
from daemon.log import get_logger
from daemon.look import look, nothing_seen
from daemon.places import shown
from daemon.settle import Judgement, Snapshot, Window, judge
from models.layout import is_blocker, is_litter
from models.limits import CaptureLimits

log = get_logger()

#: A folder that changed this recently is looked at on every pass; others now and then, spread evenly.
_ACTIVE_S = 60.0
_IDLE_EVERY_S = 30.0


@dataclass(frozen=True)
class Finding:
    """One folder of the inbox: what was seen, for how long it has been so, and what follows."""

    name: bytes
    snapshot: Snapshot
    judgement: Judgement
    quiet_s: float


@dataclass
class _Seen:
    """What is remembered of a folder between looks; lost at a restart, which costs one settle window."""

    finding: Finding
    last_change: float
    next_look: float
    folder_times: tuple[int, ...]


class Scanner:
    """Remembers every inbox folder between passes. Not thread-safe: one thread calls ``scan``."""

    def __init__(self, inbox: Path, window: Window, limits: CaptureLimits, clock: Clock) -> None:
        self._inbox = inbox
        self._window = window
        self._limits = limits
        self._clock = clock
        self._seen: dict[bytes, _Seen] = {}

    def scan(self) -> list[Finding]:
        """Look at the inbox once and return a finding for every folder in it, in the order of their names.

        Raises ``OSError`` when the inbox itself cannot be listed; nothing is forgotten then. A single folder that
        cannot be read is reported as such and stops nothing.
        """
        now = self._clock.monotonic()
        names = self._names()
        for name in self._seen.keys() - names:
            del self._seen[name]
        return [self._visit(name, now) for name in sorted(names)]

    def forget(self, name: bytes) -> None:
        """The folder was taken or put back: what comes under this name next is new."""
        self._seen.pop(name, None)

    def _names(self) -> set[bytes]:
        with os.scandir(os.fsencode(self._inbox)) as entries:
            return {
                entry.name for entry in entries
                if not entry.name.startswith(b".")
                and not is_litter(os.fsdecode(entry.name))
                and not is_blocker(os.fsdecode(entry.name))
                and entry.is_dir(follow_symlinks=False)
            }

    def _visit(self, name: bytes, now: float) -> Finding:
        folder = self._inbox / os.fsdecode(name)
        seen = self._seen.get(name)
        try:
            # Times are read before the look: what comes in between makes the next look come at once.
            times = _folder_times(folder, seen.finding.snapshot) if seen is not None else ()
            if seen is not None and now < seen.next_look and times == seen.folder_times:
                seen.finding = self._judged(seen.finding, now - seen.last_change)
                return seen.finding
            return self._look(name, folder, seen, times, now)
        except OSError as error:
            log.warning("folder cannot be read", folder=shown(name), error=str(error))
            return self._unreadable(name, error)

    def _look(
        self, name: bytes, folder: Path, seen: _Seen | None, times: tuple[int, ...], now: float
    ) -> Finding:
        snapshot = look(folder, self._limits)
        if seen is None or seen.finding.snapshot.fingerprint != snapshot.fingerprint or snapshot.open_files:
            last_change = now
        else:
            last_change = seen.last_change
        quiet = now - last_change
        pause = 0.0 if quiet < _ACTIVE_S else _IDLE_EVERY_S * (0.5 + (hash(name) % 1000) / 1000)
        finding = Finding(name, snapshot, judge(snapshot, quiet, self._window), quiet)
        self._seen[name] = _Seen(finding, last_change, now + pause, times)
        return finding

    def _judged(self, finding: Finding, quiet: float) -> Finding:
        return replace(finding, judgement=judge(finding.snapshot, quiet, self._window), quiet_s=quiet)

    def _unreadable(self, name: bytes, error: OSError) -> Finding:
        self._seen.pop(name, None)
        known = nothing_seen(self._limits)
        sentence = f"this folder cannot be read by the service ({error.strerror}); check its owner and permissions"
        return Finding(name, known, Judgement("arriving", sentence), float("inf"))


def _folder_times(folder: Path, snapshot: Snapshot) -> tuple[int, ...]:
    """Modification times of a capture folder and its known subfolders: they tell that a file came or went."""
    inside = {os.path.dirname(fact.path) for fact in snapshot.facts} | {""}
    return tuple((folder / path).stat(follow_symlinks=False).st_mtime_ns for path in sorted(inside))


class Wake(FileSystemEventHandler):
    """Sets an event when anything happens at the top of the inbox. Touches no file and cannot fail."""

    def __init__(self, event: threading.Event) -> None:
        self._event = event

    def on_any_event(self, event: FileSystemEvent) -> None:
        """Wake the scanner; what happened is for the scan to find out."""
        self._event.set()


class Watcher:
    """watchdog on the inbox, not recursive: events may get lost, so they only make the next scan come sooner."""

    def __init__(self, inbox: Path, event: threading.Event) -> None:
        self._inbox = inbox
        self._handler = Wake(event)
        self._observer: BaseObserver | None = None

    def ensure(self) -> None:
        """Start it, or start it again when one of its threads died. Without it the periodic scan still finds all."""
        if self._observer is not None and self._observer.is_alive() and all(
            emitter.is_alive() for emitter in self._observer.emitters
        ):
            return
        self.stop()
        try:
            observer = Observer()
            observer.schedule(self._handler, str(self._inbox), recursive=False)
            observer.start()
            self._observer = observer
        except OSError as error:
            log.warning("no wake-ups from the file system; scanning on schedule", error=str(error))

    def stop(self) -> None:
        """End its threads."""
        if self._observer is not None:
            self._observer.stop()
            self._observer.join(2.0)
            self._observer = None
