"""The record of jobs: opened and checked at start, put back from a copy when it is lost, copied while it is in use.

A damaged record is never repaired in place. It is set aside whole, the newest sound copy takes its place, and
``daemon.service.recover`` compares that with the folders before anything is done on its word. This happens by itself
and not on an operator's command: what was accepted is proven by the folders in the spool and not by the rows, so a
person could add nothing to the decision but the hours until he comes, and in those hours nothing would be taken or
delivered. What he may want to know afterwards, why and from which copy, stays beside the file that was set aside.
"""

from __future__ import annotations

import contextlib
import json
import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from meshdrop.daemon.base import fsops
from meshdrop.daemon.base.crash import crashpoint
from meshdrop.daemon.base.errors import ConfigurationError
from meshdrop.daemon.base.log import get_logger
from meshdrop.daemon.base.places import Places
from meshdrop.db import copies
from meshdrop.db.engine import Database, DatabaseDamaged, RecordUnavailable
from meshdrop.db.schema import SchemaError

log = get_logger()

#: A copy is made so often while anything is written, and tried again so soon when it failed.
BACKUP_EVERY_S, BACKUP_RETRY_S = 900.0, 60.0
#: Damaged records that are kept for whoever wants to know why; a bad disk must not be filled with them.
_SET_ASIDE_KEPT = 5
_NOTE = "restored.json"


@dataclass(frozen=True)
class Restored:
    """That a record was put back: when (Unix seconds), why, from which copy (None: from nothing), what is set aside."""

    at: float
    why: str
    source: str | None
    aside: Path


def open_record(places: Places) -> Database:
    """Open, check and migrate the database, after putting back a damaged or lost one.

    Raises ``ConfigurationError`` when a newer version wrote it; then nothing was changed.
    """
    trouble = _trouble_on_disk(places)
    if trouble is None:
        database = _database(places)
        try:
            trouble = _trouble_inside(database, places)
            if trouble is None:
                database.migrate(places.backups)
                return database
        except SchemaError as error:
            database.close()
            raise ConfigurationError(str(error)) from error
        except BaseException:
            database.close()
            raise
        database.close()
    _put_back(places, trouble)
    database = _database(places)
    try:
        database.check()
        database.migrate(places.backups)
    except BaseException:
        database.close()
        raise
    return database


def _database(places: Places) -> Database:
    return Database(places.database, before_commit=lambda: crashpoint("tx_mid"))


def _files(places: Places) -> list[Path]:
    """The database and what SQLite keeps beside it."""
    return [places.database.with_name(places.database.name + end) for end in ("", "-wal", "-shm")]


def _trouble_on_disk(places: Places) -> str | None:
    """What is wrong before the file is opened. A record that was never there is no trouble."""
    for file in _files(places):
        if file.exists() and not file.is_file():
            return f"{file} is not a plain file"
    there = places.database.stat().st_size if places.database.exists() else None
    if not there and copies.newest_first(places.backups):
        return f"{places.database} is {'gone' if there is None else 'empty'}, and copies of it are there"
    return None


def _trouble_inside(database: Database, places: Places) -> str | None:
    """What is wrong with the content. Raises ``SchemaError`` rather than call a newer version's record damaged."""
    try:
        database.check()
        revision = database.revision()
    except DatabaseDamaged as error:
        with contextlib.suppress(DatabaseDamaged, RecordUnavailable):
            database.revision()
        return str(error)
    if revision is None and not database.is_empty():
        return f"{places.database} is some other program's"
    if revision is None and copies.newest_first(places.backups):
        return f"{places.database} is empty, and copies of it are there"
    return None


# -- putting back ------------------------------------------------------------------------------------------------------


def _put_back(places: Places, trouble: str) -> None:
    """Set the record aside and put the newest sound copy into its place; without one the next opening makes it anew.

    A crash at any point leaves either no record, which is this same case at the next start, or the copy, whole.
    """
    log.error("the record is damaged or gone", reason=trouble)
    aside = _set_aside(places)
    source = newest_sound(places)
    if source is not None:
        arriving = places.database.with_name(f"{places.database.name}.arriving")
        arriving.unlink(missing_ok=True)
        fsops.copy_file(source, arriving, source.stat().st_size, 0o600)
        fsops.rename_new(arriving, places.database)
        fsops.sync_dir(places.state)
    note = {"at": time.time(), "why": trouble, "from": None if source is None else source.name}
    fsops.write_file(aside / _NOTE, json.dumps(note).encode(), 0o600)
    told = "from the captures in the spool alone" if source is None else f"from {source}"
    log.error("the record was put back", source=told, damaged_one=str(aside))


def _set_aside(places: Places) -> Path:
    """Move the record with its log into a folder of its own; no log may ever meet a database that it is not of."""
    aside = _new_folder(places.state)
    for file in _files(places):
        if file.is_symlink() or file.exists():
            fsops.rename_new(file, aside / file.name)
    for folder in (aside, aside.parent, places.state):
        fsops.sync_dir(folder)
    for old in sorted(set(aside.parent.iterdir()) - {aside})[: 1 - _SET_ASIDE_KEPT]:
        fsops.remove_tree(old)
    return aside


def _new_folder(state: Path) -> Path:
    """An empty folder for a record that is set aside, named by the time."""
    now = time.time()
    stamp = f"{time.strftime('%Y%m%dT%H%M%S', time.gmtime(now))}.{int(now * 1e6) % 1_000_000:06d}Z"
    fsops.make_dir(state / "corrupt" / stamp, 0o700)
    return state / "corrupt" / stamp


def newest_sound(places: Places) -> Path | None:
    """The copy that a start would put back."""
    for copy in copies.newest_first(places.backups):
        if (trouble := copies.trouble_with(copy)) is None:
            return copy
        log.warning("a copy of the record cannot be used", copy=str(copy), reason=trouble)
    return None


def last_restored(places: Places) -> Restored | None:
    """When and why the record was last put back; None when it never was (or nobody kept the note)."""
    for note in sorted((places.state / "corrupt").glob(f"*/{_NOTE}"), reverse=True):
        try:
            told = json.loads(note.read_text(encoding="utf-8"))
            return Restored(float(told["at"]), str(told["why"]), told["from"], note.parent)
        except (OSError, ValueError, KeyError, TypeError):
            continue
    return None


# -- copying -----------------------------------------------------------------------------------------------------------


class Backups:
    """Copies of the record on schedule: every quarter of an hour in which anything was written.

    The work is done on a thread of its own; ``turn`` never waits for it. Making a copy reads every page, so damage
    is noticed within the quarter of an hour too.
    """

    def __init__(self, database: Database, folder: Path, now: float = 0.0) -> None:
        self._database, self._folder = database, folder
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="backup")
        self._running: Future[int] | None = None
        self._copied, self._saved = database.written, -1
        self._due = now + _rest_of_pause(folder)

    def turn(self, now: float) -> None:
        """Take note of what ended and begin what is due; ``now`` in monotonic seconds.

        Raises ``DatabaseDamaged`` when the record cannot be trusted any more: the service must start afresh.
        """
        if self._running is not None and self._running.done():
            self._ended(self._running, now)
            self._running = None
        if self._running is not None:
            return
        self._make_sure_it_is_in_place()
        if now >= self._due and self._database.written != self._copied:
            self._due = now + BACKUP_EVERY_S
            self._running = self._thread.submit(self._copy)

    def _copy(self) -> int:
        written = self._database.written
        self._database.backup(self._folder)
        return written

    def _ended(self, copy: Future[int], now: float) -> None:
        try:
            self._copied = copy.result()
        except OSError as error:  # a full disk, most likely: the record itself says so if it matters
            log.warning("the record could not be copied", reason=str(error))
            self._due = now + BACKUP_RETRY_S

    def _make_sure_it_is_in_place(self) -> None:
        """A deleted database goes on working until the service ends, and then it is gone: save it while it is there.

        What lies in its place by now is set aside. It is older than what was in use, whatever it is.
        """
        if self._database.is_in_place():
            return
        self._save()
        raise DatabaseDamaged(f"the record {self._database.path} was deleted or replaced while the service ran")

    def close(self) -> None:
        """When the other threads have ended: what they still wrote into a record that is gone is saved as well."""
        if self._database.is_in_place() or self._database.written == self._saved:
            return
        with contextlib.suppress(DatabaseDamaged, RecordUnavailable):
            self._save()

    def _save(self) -> None:
        path, written = self._database.path, self._database.written
        try:
            self._database.backup(self._folder)
            self._saved = written
            if path.exists():
                fsops.rename_new(path, _new_folder(path.parent) / path.name)
        except OSError as error:  # the next start will do with what there is
            log.warning("the record could not be copied", reason=str(error))


def _rest_of_pause(folder: Path) -> float:
    """Seconds until the next copy is due: services that never run for a quarter of an hour get theirs too."""
    newest = copies.newest_first(folder)[:1]
    age = time.time() - newest[0].stat().st_mtime if newest else BACKUP_EVERY_S
    return min(max(BACKUP_EVERY_S - age, 0.0), BACKUP_EVERY_S)
