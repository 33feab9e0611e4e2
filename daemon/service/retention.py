"""Deletes what is older than wished, or more than wished: finished folders on the share, originals in the spool.

Off unless the settings ask for it. A folder on the share is deleted only when everything says that it is ours and
finished: the record has its job at rest under this very name, its receipt names the same job, and nothing lies in it
that the receipt does not list, or lists with another size. Its age is what the record has counted since its end
(``db.service_clock``): a clock on the wall that is set right, or wrong, deletes nothing. It leaves the share by one
rename, so that nobody sees half of it, and a start removes what a crash left of it in the spool. To the record that is
the same as somebody taking the result away.
"""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from meshdrop.daemon.base import fsops
from meshdrop.daemon.base.errors import ShareUnavailable
from meshdrop.daemon.base.log import get_logger
from meshdrop.daemon.base.places import shown
from meshdrop.daemon.base.repeats import Repeats
from meshdrop.daemon.base.settings import Settings
from meshdrop.daemon.base.share import Share
from meshdrop.daemon.outbox.receipts import lists, read_shared
from meshdrop.db.engine import DatabaseDamaged, RecordUnavailable
from meshdrop.db.jobs import Jobs
from meshdrop.db.records import Job
from meshdrop.db.service_clock import Passed
from meshdrop.db.states import State
from meshdrop.models.capture.layout import is_litter
from meshdrop.models.files import walk
from meshdrop.models.files.names import RECEIPT

log = get_logger()

_EVERY_S, _DAY_S, _MB = 3600.0, 86_400.0, 1e6
#: Whoever waits for a result has so long to fetch it, whatever the limits say. Longer than the time between two copies
#: of the record: what a copy does not know yet is never deleted.
_GRACE_S = 3600.0


@dataclass(frozen=True)
class Limit:
    """How long and how many bytes are kept; None: without end."""

    days: float | None
    megabytes: float | None

    def __bool__(self) -> bool:
        return self.days is not None or self.megabytes is not None


@dataclass(frozen=True)
class Stored:
    """A finished job's folder: ``end`` is when the job was finished, on the record's count of time."""

    folder: Path
    job_id: str
    end: Passed
    size: int


@dataclass
class Retention:
    """Looks once an hour, on a thread of its own that lives only for that."""

    share: Share
    jobs: Jobs
    settings: Settings
    stopping: Callable[[], bool]
    _due: float = float("-inf")
    _said: Repeats = field(default_factory=Repeats)
    _thread: threading.Thread | None = None

    @property
    def limits(self) -> dict[str, Limit]:
        """By shelf; ``kept`` are the originals in the spool, whose days ``Delivery.drop_expired`` counts."""
        wish = self.settings
        return {
            "outbox": Limit(wish.outbox_days, wish.outbox_mb),
            "failed": Limit(wish.failed_days, wish.failed_mb),
            "kept": Limit(None, wish.retain_mb),
        }

    def turn(self, monotonic: float) -> None:
        """Begin what is due; returns at once."""
        if monotonic >= self._due and any(self.limits.values()) and not (self._thread and self._thread.is_alive()):
            self._due = monotonic + _EVERY_S
            self._thread = threading.Thread(target=self._safely, daemon=True, name="retention")
            self._thread.start()

    def close(self, patience_s: float) -> None:
        """Wait for a pass to end; it looks between two folders whether it should."""
        if self._thread is not None:
            self._thread.join(patience_s)

    def _safely(self) -> None:
        try:
            self.run()
        except (OSError, ShareUnavailable) as error:
            log.warning("old folders are kept for now", reason=str(error))
        except Exception:  # a defect of ours here must not end a service that works
            log.exception("old folders are kept for now")

    def run(self) -> None:
        """Delete everything that is due. Raises ``OSError`` and ``ShareUnavailable``; a later call goes on."""
        for shelf, limit in self.limits.items():
            if not limit:
                continue
            self.share.check()
            for stored, why in expired(list(self._stored(shelf)), limit, self.jobs.passed()):
                if self.stopping():
                    return
                self._one(stored.folder, partial(self._delete, shelf, stored, why))

    def _stored(self, shelf: str) -> Iterator[Stored]:
        places = self.share.places
        top = {"outbox": places.outbox, "failed": places.failed, "kept": places.kept}[shelf]
        look = self._kept if shelf == "kept" else partial(self._published, shelf)
        for name in sorted(walk.names(top)):
            if self.stopping():
                return
            if (found := self._one(top / name, partial(look, top / name))) is not None:
                yield found

    def _one(self, folder: Path, step: Callable[[], Stored | None]) -> Stored | None:
        """Do something about one folder. Whatever a stranger has made of it, it stays then and keeps no other; only the
        service being without its record or share is more than one folder's trouble.
        """
        try:
            return step()
        except FileNotFoundError:  # somebody takes it away in this very moment
            return None
        except (RecordUnavailable, DatabaseDamaged, ShareUnavailable):
            raise
        except Exception as error:
            self.share.check()
            reason = str(error) if isinstance(error, OSError) else f"{type(error).__name__}: {error}"
            self._tell(folder, "a finished folder is kept: it cannot be read or removed", reason=reason)
            return None

    def _tell(self, folder: Path, sentence: str, **facts: str) -> None:
        """Name a folder that stays, and not at every pass."""
        if self._said.is_worth(folder, f"{sentence} {facts}"):
            log.warning(sentence, folder=shown(os.fsencode(folder)), **facts)

    def _kept(self, folder: Path) -> Stored | None:
        job = None if _is_no_folder(folder) else self.jobs.find(folder.name)
        if job is None or job.state not in (State.DONE_CLEAN, State.FAILED_CLEAN):
            return None
        return Stored(folder, job.id, self._end_of(job), sum(size for _, size in _files(folder)))

    def _end_of(self, job: Job) -> Passed:
        """Where on its count of time the record saw the job end."""
        return self.jobs.ended(job.id) or Passed()

    def _published(self, shelf: str, folder: Path) -> Stored | None:
        if _is_no_folder(folder):
            return None
        receipt = read_shared(folder / RECEIPT)
        named = receipt.get("job")
        job = self.jobs.find(named) if isinstance(named, str) else None
        state = State.DONE_CLEAN if shelf == "outbox" else State.FAILED_CLEAN
        if job is None or job.state is not state or job.dest != os.fsencode(folder.name):
            return None
        files = list(_files(folder))
        if (strange := next((name for name, size in files if not _is_ours(name, size, receipt)), None)) is not None:
            self._tell(
                folder,
                "a finished folder is kept: something in it was added or changed",
                job=job.short_id,
                file=shown(os.fsencode(strange)),
            )
            return None
        return Stored(folder, job.id, self._end_of(job), sum(size for _, size in files))

    def _delete(self, shelf: str, stored: Stored, why: str) -> Stored | None:
        """The mark goes first: it must never vouch for a folder that is not there."""
        folder, places = stored.folder, self.share.places
        if shelf == "kept":
            fsops.remove_tree(folder)
        else:
            self.share.check()
            if self._published(shelf, folder) != stored:
                return None  # taken away, or somebody put something into it, since the pass began
            going = places.staging / f"expired-{stored.job_id}"
            fsops.remove_tree(going)
            if shelf == "outbox" and walk.is_file(mark := folder.with_name(f"{folder.name}.done")):
                fsops.remove_tree(mark)
            fsops.rename_new(folder, going)
            fsops.sync_dir(folder.parent)
            fsops.sync_dir(places.staging)
            fsops.remove_tree(going)
        self.jobs.note(stored.job_id, "expired", shelf=shelf, why=why)
        log.info(
            "deleted",
            job=stored.job_id[:8],
            folder=f"{shelf}/{shown(os.fsencode(folder.name))}",
            reason=why,
            megabytes=round(stored.size / _MB, 1),
        )
        return stored


def expired(stored: list[Stored], limit: Limit, now: Passed) -> list[tuple[Stored, str]]:
    """What has to go, oldest first, and why. ``now``: where the record's count of time stands."""
    going, total = [], sum(one.size for one in stored)
    for one in sorted(stored, key=lambda one: one.end.total_s):
        age = now.since(one.end)
        if age.up_s < _GRACE_S:  # while the machine was off nobody could fetch it
            continue
        if limit.days is not None and age.total_s > limit.days * _DAY_S:
            going.append((one, f"older than {limit.days:g} days"))
        elif limit.megabytes is not None and total > limit.megabytes * _MB:
            going.append((one, f"more than {limit.megabytes:g} MB are kept"))
        else:
            continue
        total -= one.size
    return going


def _is_no_folder(path: Path) -> bool:
    """Whether this is a link, a file or gone. Raises ``OSError`` when that cannot be known."""
    return not stat.S_ISDIR(walk.lstat(path).st_mode)


def _files(folder: Path) -> Iterator[tuple[str, int]]:
    """Everything below a folder that is no folder: its path in it, and its size. Raises ``OSError`` when that cannot be
    known: what nobody can look into is not known to be ours.
    """
    with walk.parent_of(folder) as (parent, top):
        for where, folders, names, held in os.fwalk(top, onerror=_raise, dir_fd=parent):
            for name in (*names, *folders):
                facts = os.stat(name, dir_fd=held, follow_symlinks=False)
                if not stat.S_ISDIR(facts.st_mode):
                    path = os.path.relpath(os.path.join(where, name), top)
                    yield path, facts.st_size if stat.S_ISREG(facts.st_mode) else 0


def _raise(error: OSError) -> None:
    raise error


def _is_ours(name: str, size: int, receipt: dict[str, Any]) -> bool:
    """Whether the receipt lists a file of this size, or a file browser left it. A capture that was too large to copy
    follows its receipt as a whole."""
    left_out = receipt.get("left_out")
    if name == RECEIPT or is_litter(os.path.basename(name)):
        return True
    whole = isinstance(left_out, dict) and "capture" in left_out
    return lists(receipt, name, size) or (whole and name.startswith("capture/"))
