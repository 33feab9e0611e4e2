"""Deletes what is older than wished, or more than wished: finished folders on the share, originals in the spool.

Off unless the settings ask for it. A folder on the share is deleted only when everything says that it is ours and
finished: the record has its job at rest under this very name, its receipt names the same job, and nothing lies in it
that the receipt does not list, or lists with another size. It leaves the share by one rename, so that nobody sees half
of it, and a start removes what a crash left of it in the spool. To the record that is the same as somebody taking the
result away.
"""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from daemon import fsops
from daemon.errors import ShareUnavailable
from daemon.log import get_logger
from daemon.places import shown
from daemon.settings import Settings
from daemon.share import Share
from daemon.traces import read_shared
from db.engine import RecordUnavailable
from db.jobs import Jobs
from db.states import State
from models.layout import is_litter
from models.names import RECEIPT

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
    """A finished job's folder: ``at`` is when the job was finished (Unix seconds)."""

    folder: Path
    job_id: str
    at: float
    size: int


@dataclass
class Retention:
    """Looks once an hour, on a thread of its own that lives only for that."""

    share: Share
    jobs: Jobs
    settings: Settings
    now: Callable[[], float]
    stopping: Callable[[], bool]
    _due: float = float("-inf")
    _thread: threading.Thread | None = None

    @property
    def limits(self) -> dict[str, Limit]:
        """By shelf; ``kept`` are the originals in the spool, whose days ``Delivery.drop_expired`` counts."""
        wish = self.settings
        return {
            "outbox": Limit(wish.outbox_days, wish.outbox_mb), "failed": Limit(wish.failed_days, wish.failed_mb),
            "kept": Limit(None, wish.retain_mb),
        }  # fmt: skip

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
            for stored, why in expired(list(self._stored(shelf)), limit, self.now()):
                if self.stopping():
                    return
                try:
                    self._delete(shelf, stored, why)
                except OSError as error:  # one that cannot be removed must not keep the others
                    self._keep(stored.folder, error)

    def _stored(self, shelf: str) -> Iterator[Stored]:
        places = self.share.places
        top = {"outbox": places.outbox, "failed": places.failed, "kept": places.kept}[shelf]
        for name in sorted(os.listdir(top)):
            folder = top / name
            if folder.is_symlink() or not folder.is_dir():
                continue
            try:
                found = self._kept(folder) if shelf == "kept" else self._published(shelf, folder)
            except FileNotFoundError:  # somebody takes it away in this very moment
                continue
            except OSError as error:
                self._keep(folder, error)
                continue
            if found is not None:
                yield found

    def _keep(self, folder: Path, error: OSError) -> None:
        """Say why a folder stays; the service being without its record or share is more than one folder's trouble."""
        if isinstance(error, RecordUnavailable):
            raise error
        self.share.check()
        log.warning("a finished folder is kept: it cannot be read or removed",
                    folder=shown(os.fsencode(folder)), reason=str(error))  # fmt: skip

    def _kept(self, folder: Path) -> Stored | None:
        job = self.jobs.find(folder.name)
        if job is None or job.state not in (State.DONE_CLEAN, State.FAILED_CLEAN) or job.finished_at is None:
            return None
        return Stored(folder, job.id, job.finished_at, sum(size for _, size in _files(folder)))

    def _published(self, shelf: str, folder: Path) -> Stored | None:
        receipt = read_shared(folder / RECEIPT)
        job = self.jobs.find(str(receipt.get("job", "")))
        state = State.DONE_CLEAN if shelf == "outbox" else State.FAILED_CLEAN
        if job is None or job.state is not state or job.dest != os.fsencode(folder.name) or job.finished_at is None:
            return None
        files = list(_files(folder))
        if (strange := next((name for name, size in files if not _is_ours(name, size, receipt)), None)) is not None:
            log.info("a finished folder is kept: something in it was added or changed", job=job.short_id,
                     folder=f"{shelf}/{shown(job.dest)}", file=shown(os.fsencode(strange)))  # fmt: skip
            return None
        return Stored(folder, job.id, job.finished_at, sum(size for _, size in files))

    def _delete(self, shelf: str, stored: Stored, why: str) -> None:
        """The mark goes first: it must never vouch for a folder that is not there."""
        folder, places = stored.folder, self.share.places
        if shelf == "kept":
            fsops.remove_tree(folder)
        else:
            self.share.check()
            if self._published(shelf, folder) != stored:
                return  # taken away, or somebody put something into it, since the pass began
            going = places.staging / f"expired-{stored.job_id}"
            fsops.remove_tree(going)
            if shelf == "outbox" and (mark := folder.with_name(f"{folder.name}.done")).is_file():
                fsops.remove_tree(mark)
            try:
                fsops.rename_new(folder, going)
            except FileNotFoundError:
                return  # taken away meanwhile
            fsops.sync_dir(folder.parent)
            fsops.sync_dir(places.staging)
            fsops.remove_tree(going)
        self.jobs.note(stored.job_id, "expired", shelf=shelf, why=why)
        log.info("deleted", job=stored.job_id[:8], folder=f"{shelf}/{shown(os.fsencode(folder.name))}", reason=why,
                 megabytes=round(stored.size / _MB, 1))  # fmt: skip


def expired(stored: list[Stored], limit: Limit, now: float) -> list[tuple[Stored, str]]:
    """What has to go, oldest first, and why."""
    going, total = [], sum(one.size for one in stored)
    for one in sorted(stored, key=lambda one: one.at):
        age = now - one.at
        if age < _GRACE_S:
            continue
        if limit.days is not None and age > limit.days * _DAY_S:
            going.append((one, f"older than {limit.days:g} days"))
        elif limit.megabytes is not None and total > limit.megabytes * _MB:
            going.append((one, f"more than {limit.megabytes:g} MB are kept"))
        else:
            continue
        total -= one.size
    return going


def _files(folder: Path) -> Iterator[tuple[str, int]]:
    """Everything below a folder that is no folder: its path in it, and its size. Raises ``OSError`` when that cannot be
    known: what nobody can look into is not known to be ours.
    """
    for where, folders, names in os.walk(folder, onerror=_raise):
        links = [name for name in folders if os.path.islink(os.path.join(where, name))]
        for name in (*names, *links):
            path = os.path.join(where, name)
            facts = os.lstat(path)
            yield os.path.relpath(path, folder), facts.st_size if stat.S_ISREG(facts.st_mode) else 0


def _raise(error: OSError) -> None:
    raise error


def _is_ours(name: str, size: int, receipt: dict[str, Any]) -> bool:
    """Whether the receipt lists a file of this size, or a file browser left it. A capture that was too large to copy
    follows its receipt as a whole."""
    files, left_out = receipt.get("files"), receipt.get("left_out")
    if name == RECEIPT or is_litter(os.path.basename(name)):
        return True
    whole = isinstance(left_out, dict) and "capture" in left_out
    # Receipts of earlier versions have names as they are shown.
    told = files.get(name, files.get(shown(os.fsencode(name)))) if isinstance(files, dict) else None
    return (isinstance(told, dict) and told.get("size") == size) or (whole and name.startswith("capture/"))
