"""A thread that scans the inbox, takes what is complete, and obeys what is asked for by files in it."""

from __future__ import annotations

import contextlib
import os
import stat
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from meshdrop.daemon.base import fsops
from meshdrop.daemon.base.clock import Clock
from meshdrop.daemon.base.errors import ShareUnavailable
from meshdrop.daemon.base.failures import FAILURES
from meshdrop.daemon.base.log import get_logger
from meshdrop.daemon.base.places import shown
from meshdrop.daemon.base.repeats import Repeats
from meshdrop.daemon.base.rigs import RigShelf
from meshdrop.daemon.base.settings import Settings
from meshdrop.daemon.base.share import Share
from meshdrop.daemon.inbox.intake import Intake, NotYet
from meshdrop.daemon.inbox.listing import CANCEL
from meshdrop.daemon.inbox.scanner import Candidate, Scanner, Watcher
from meshdrop.daemon.outbox.beside import most_to_copy
from meshdrop.daemon.outbox.bundle import SPARE_BYTES, lacks_room, size_of_copy
from meshdrop.daemon.status.activity import Activity
from meshdrop.db.engine import DatabaseDamaged
from meshdrop.db.jobs import Jobs
from meshdrop.db.records import Job
from meshdrop.models.files import walk

log = get_logger()

_PAUSE_LOCAL_S, _PAUSE_NETWORK_S = 1.0, 5.0
_RETRY_S, _RETRY_MOST_S = 1.0, 30.0
_TELL_EVERY_S = 1.0
_STRAYS_SHOWN = 20
#: Files that ask for a cancellation and are looked up in one pass; the next goes on behind them.
_REQUESTS_MOST = 100
#: Folders taken within this time of each other are a burst, to which reading gives way for this long.
_BURST_S, _STAND_BACK_S = 0.2, 1.0


class Asks(Protocol):
    """Hands a command to the main thread and tells whether it was obeyed."""

    def __call__(self, verb: str, **arguments: str) -> bool:
        """Wait for the answer."""


@dataclass
class InboxThread:
    """Turns findings into jobs. ``take_on`` gets every job that was made; ``hold(key, sentence)`` tells people why
    nothing is taken, and an empty sentence that it goes on."""

    share: Share
    jobs: Jobs
    settings: Settings
    clock: Clock
    intake: Intake
    activity: Activity
    stop: threading.Event
    wake: threading.Event
    take_on: Callable[[Job], None]
    hold: Callable[[str, str], None]
    ask: Asks
    #: Why nothing may be taken now, because somebody wished so; None otherwise.
    resting: Callable[[], str | None] = lambda: None
    #: Whether somebody waits for the end (``run --once``).
    to_the_end: bool = False
    #: How often a folder was put back; and its value when the inbox was last found to hold nothing that will be taken.
    returns: int = 0
    settled_at: int = -1
    _short_of: str = ""
    _first_request: int = 0
    _told: tuple[int, int] = (-1, 0)
    _told_at: float = 0.0
    _taken_at: float = float("-inf")
    _said: Repeats = field(default_factory=Repeats)
    _scanner: Scanner = field(init=False)

    def __post_init__(self) -> None:
        window = self.intake.window
        pause = _PAUSE_NETWORK_S if self.intake.network else _PAUSE_LOCAL_S
        self._pause = min(pause, max(window.settle_s / 3, 0.05))
        self._scanner = Scanner(
            self.share.places.inbox,
            window,
            self.settings.limits,
            self.clock,
            network=self.intake.network,
            marker=self.settings.ready_marker,
            rigs=RigShelf(self.share.places.rigs).texts,
        )

    @property
    def is_settled(self) -> bool:
        """Whether nothing in the inbox will be taken soon, and nothing was put back since that was found."""
        return self.settled_at == self.returns

    def returned(self) -> None:
        """A folder may have come back into the inbox."""
        self.returns += 1
        self.wake.set()

    def let_pass(self) -> None:
        """For the reading thread: stand back for a second while folders are being taken. Taking is what makes a
        capture safe, and both need the same interpreter and disk.
        """
        end = self.clock.monotonic() + _STAND_BACK_S
        while self.clock.monotonic() < min(end, self._taken_at + _BURST_S) and not self.stop.wait(_BURST_S / 4):
            pass

    def watch(self) -> None:
        """Scan until stopped. An inbox that cannot be read is waited for and nothing of it is forgotten."""
        watcher = Watcher(self.share.places.inbox, self.wake)
        back_off = 0.0
        while not self.stop.is_set():
            try:
                watcher.ensure()
                self._pass(watcher.renamed())
                self.hold("inbox", "")
                back_off = 0.0
            except (OSError, ShareUnavailable) as error:
                self.hold("inbox", f"the inbox cannot be read: {error}")
                back_off = min(max(2 * back_off, _RETRY_S), _RETRY_MOST_S)
            if back_off or not self._scanner.backlog():
                self.wake.wait(back_off or (self._pause if self._scanner.is_active() else 2 * self._pause))
            self.wake.clear()
        watcher.stop()

    def _pass(self, renamed: set[bytes]) -> None:
        """One pass over the inbox: claim what is to be taken, tell the activity, obey what is asked for by files."""
        scanner, returns, taken, self._short_of = self._scanner, self.returns, 0, ""
        self.share.check()
        for found in scanner.scan(renamed):
            if self.stop.is_set():
                return
            taken += self._take(found)
            self._tell()
        self._obey_files()
        self._tell(at_once=True)
        if self.to_the_end:
            self.settled_at = returns if not taken and scanner.is_settled(3 * self._pause) else -1
        self.hold("space", self._short_of)

    def _tell(self, *, at_once: bool = False) -> None:
        """Tell the activity of the folders, when there is something new and not too often during a long pass."""
        now = self.clock.monotonic()
        if not at_once and now - self._told_at < _TELL_EVERY_S:
            return
        if (seen := (self._scanner.version, self._scanner.backlog())) != self._told:
            self._told, self._told_at = seen, now
            self.activity.see_inbox(self._scanner.findings(), self._scanner.backlog())

    def _take(self, found: Candidate) -> bool:
        """Claim a folder that is ready; whether it was taken. The page tells why when it was not."""
        if (wish := self.resting()) is not None:
            self._scanner.turn_away(found.name, wish)
            return False
        try:
            if (reason := self._lacks_room(found)) is not None:
                self._short_of = reason
                self._scanner.turn_away(found.name, reason)
                return False
            job = self.intake.claim(found)
            if job is None:
                return False
            self._scanner.taken(found.name, job.short_id)
            if found.judgement.code == "cancelled":
                with contextlib.suppress(OSError):  # then it is asked again at the next pass: the request lies there
                    job = self.jobs.reject(job.id, "cancelled", FAILURES["cancelled"].says)
                    self._drop_request(found.name)
        except NotYet as reason:
            self._scanner.turn_away(found.name, str(reason))
            return False
        except DatabaseDamaged:
            raise
        except Exception as error:  # whatever is odd about one folder, the others are served
            if not isinstance(error, OSError) and self._said.is_worth(found.name, repr(error)):
                log.exception("folder cannot be taken", folder=shown(found.name))
            self._scanner.turn_away(found.name, f"this folder cannot be taken now: {error}")
            return False
        self._taken_at = self.clock.monotonic()
        self.take_on(job)
        return True

    def _lacks_room(self, found: Candidate) -> str | None:
        """Why a folder must wait for disk space. One that is too large is moved, to be refused, and needs none."""
        settings, places, needed = self.settings, self.share.places, found.snapshot.required_size
        folder = places.inbox / os.fsdecode(found.name)
        if found.judgement.state == "refuse" or needed > settings.limits.max_capture_bytes:
            files, needed = 0, size_of_copy(folder, settings.limits) or 0
            wanted = needed + SPARE_BYTES if needed else 0
        else:
            required = found.snapshot.expectation.required
            extra, files = most_to_copy(folder, required, settings.limits) if settings.deliver_capture else (0, 0)
            wanted = max(int(settings.min_free_mb * 1e6), 3 * needed + extra)
            files += len(required)
        if self.share.free_bytes() < wanted:
            return f"less than {wanted / 1e6:.0f} MB are free on the disk: it is taken as soon as there is room"
        if (lack := lacks_room(places.staging, 0, files)) is not None and files:
            return f"{lack}: it is taken as soon as there is room"
        return None

    def _obey_files(self) -> None:
        """``NAME.cancel`` in the inbox cancels the job of that name; other things that are no folders are named."""
        listing, lines = self._scanner.listing, []
        for name in self._requests(sorted(listing.cancelled - listing.folders)):
            job = self.jobs.stoppable(name)
            if job is None:
                lines.append(f"{shown(name + CANCEL)}: nothing of this name waits or runs; delete this file")
            elif self.ask("cancel", job=job.id):
                self._drop_request(name)
        for name in self._scanner.given_up()[:_STRAYS_SHOWN]:
            minutes = self.settings.incomplete_after_s / 60
            lines.append(
                f"{shown(name)}: its name says that it is still being copied, and nothing in it has changed for "
                f"{minutes:.3g} minutes; if the copy has ended, give it its real name; if it broke off, copy it again "
                "and delete this"
            )
        for name in listing.strays[:_STRAYS_SHOWN]:
            linked = walk.kind(self.share.places.inbox / os.fsdecode(name)) == stat.S_IFLNK
            what = "a link" if linked else "a single file"
            lines.append(f"{shown(name)}: {what}; a capture is a folder with all its files in it")
        if (more := len(listing.strays) - _STRAYS_SHOWN) > 0:
            lines.append(f"and {more} more that are no folders")
        self.activity.see_litter(lines)

    def _requests(self, names: list[bytes]) -> list[bytes]:
        """The names whose turn it is: each is a question to the record."""
        first = self._first_request if self._first_request < len(names) else 0
        self._first_request = first + _REQUESTS_MOST
        return names[first : self._first_request]

    def _drop_request(self, name: bytes) -> None:
        """The request was obeyed. One that cannot be deleted stays, and the page says so."""
        with contextlib.suppress(OSError):
            fsops.remove_tree(self.share.places.inbox / os.fsdecode(name + CANCEL))
