"""The one door to the database: engine, pragmas, transactions, migrations at start, backup."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar
from urllib.parse import quote

from sqlalchemy import URL, Connection, Engine, create_engine, event, text
from sqlalchemy.exc import DatabaseError, OperationalError
from sqlalchemy.orm import Session, sessionmaker
from sqlalchemy.pool import NullPool

from meshdrop.db import copies
from meshdrop.db.schema import HEAD, REVISIONS, SchemaError, create, current_revision, is_empty, is_revision, upgrade
from meshdrop.db.soundness import trouble_of

T = TypeVar("T")

_PRAGMAS = (
    "journal_mode=WAL",
    "synchronous=FULL",  # NORMAL loses accepted captures at a power cut
    "foreign_keys=ON",
    "busy_timeout=5000",
    "trusted_schema=OFF",
    "cell_size_check=ON",
    "mmap_size=0",
    "wal_autocheckpoint=1000",
)


class RecordUnavailable(OSError):
    """The database could not be read or written: usually a full disk. Nothing was changed; it may be tried again."""


class DatabaseDamaged(RuntimeError):
    """The file is no longer what was written into it. The message names it and says how."""


def make_engine(path: Path) -> Engine:
    """A read-write engine with exactly one connection and honest transactions."""
    engine = create_engine(
        URL.create("sqlite", database=str(path)),
        pool_size=1,
        max_overflow=0,
        connect_args={"check_same_thread": False, "timeout": 5.0},
    )

    @event.listens_for(engine, "connect")
    def _on_connect(connection: sqlite3.Connection, _: object) -> None:
        # The driver's own implicit BEGIN leaves DDL outside transactions; we begin ourselves, below.
        connection.isolation_level = None
        for pragma in _PRAGMAS:
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def _on_begin(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    return engine


class Database:
    """The only read-write connection, owned by one thread. Other threads hand their transactions to it.

    ``before_commit`` is called inside every transaction just before its commit (fault injection hooks in there).
    Every method may raise ``RecordUnavailable`` (try again) and ``DatabaseDamaged`` (end; the next start cures it).
    """

    def __init__(self, path: Path, before_commit: Callable[[], None] = lambda: None) -> None:
        self.path = path
        #: How many transactions were committed: what a copy is made for.
        self.written = 0
        self._before_commit = before_commit
        self._owner = ThreadPoolExecutor(max_workers=1, thread_name_prefix="db")
        self._engine = make_engine(path)
        self._sessions = sessionmaker(self._engine, expire_on_commit=False)
        self._opened: tuple[int, int] | None = None

    def write(self, work: Callable[[Session], T], *, worth_a_copy: bool = True) -> T:
        """Run ``work(session)`` in one IMMEDIATE transaction on the owner thread and return its value.

        The commit is durable when this returns. An exception rolls everything back and is raised here.
        ``worth_a_copy``: whether a copy of the record is to be made for this alone.
        """

        def transaction() -> T:
            with self._sessions.begin() as session:
                value = work(session)
                session.flush()
                self._before_commit()
            self.written += worth_a_copy
            return value

        return self._on_owner(transaction)

    def read(self, work: Callable[[Session], T]) -> T:
        """Run ``work(session)`` on the owner thread without changing anything."""

        def look() -> T:
            with self._sessions() as session:
                return work(session)

        return self._on_owner(look)

    def _on_owner(self, work: Callable[[], T]) -> T:
        try:
            return self._owner.submit(work).result()
        except (DatabaseError, sqlite3.DatabaseError) as error:
            if (told := self._told(error)) is None:
                raise
            raise told from error

    def _told(self, error: DatabaseError | sqlite3.DatabaseError) -> Exception | None:
        """What an error of the driver means: the disk (wait) or the file (start afresh); None for our own defect."""
        original = error if isinstance(error, sqlite3.DatabaseError) else error.orig
        damage = getattr(original, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
        if damage or "Could not decode to UTF-8" in str(original):
            return DatabaseDamaged(f"the record {self.path} is damaged: {original}")
        if isinstance(error, OperationalError | sqlite3.OperationalError):
            return RecordUnavailable(f"the record {self.path} cannot be used now: {original}")
        return None

    # -- opening --------------------------------------------------------------------------------------------------

    def check(self) -> None:
        """Look at every page, index, constraint and value. Raises ``DatabaseDamaged``."""

        def look() -> str | None:
            with self._engine.connect() as connection:
                found = trouble_of(_raw(connection))
            self._opened = _identity(self.path)
            return found

        if (trouble := self._on_owner(look)) is not None:
            raise DatabaseDamaged(f"the record {self.path} is damaged: {trouble}")

    def revision(self) -> str | None:
        """The schema the file has; None when it is empty. Raises ``SchemaError`` when a newer version wrote it."""
        current = self._on_owner(lambda: current_revision(self._engine))
        if current is not None and not is_revision(current):
            raise DatabaseDamaged(f"the record {self.path} is damaged: it has no schema called {current!r}")
        if current is not None and current not in REVISIONS:
            raise SchemaError(
                f"{self.path} has schema {current}, which this version does not know: a newer Meshdrop wrote it. "
                "Install that version again. Or go back for good: move this file and those beside it (-wal, -shm) "
                "away, and the next start puts the newest copy in its place that it knows"
            )
        return current

    def is_empty(self) -> bool:
        """Whether the file is a new one."""
        return self.read(lambda session: is_empty(session.connection()))

    def migrate(self, backup_dir: Path) -> None:
        """Bring the schema to this version's head; an existing older database is backed up first.

        Raises ``SchemaError`` when the database was written by a newer version.
        """
        current = self.revision()
        if current == HEAD:
            return
        if current is None:
            self._on_owner(lambda: create(self._engine))
        else:
            self.backup(backup_dir)
            self._on_owner(lambda: upgrade(self._engine, HEAD))

    def is_compared(self) -> bool:
        """Whether the rows were compared with the folders since this file was made; a copy never was."""
        return bool(self._pragma("user_version") == copies.COMPARED)

    @staticmethod
    def mark_compared(session: Session) -> None:
        """Note, in a transaction that is going on, that the rows now say what the folders say."""
        session.execute(text(f"PRAGMA user_version = {copies.COMPARED}"))

    def is_in_place(self) -> bool:
        """Whether the file that is open is still the one at its path. SQLite would go on writing into a deleted one."""
        return self._opened is None or self._opened == _identity(self.path)

    # -- copies ---------------------------------------------------------------------------------------------------

    def backup(self, folder: Path) -> Path:
        """Write a consistent, checked copy into ``folder`` and return its path. Keeps the newest.

        Only the copying itself (ten milliseconds a megabyte) is done on the owner thread; the checking is not.
        """
        folder.mkdir(parents=True, exist_ok=True)
        target = folder / copies.next_name(folder, time.time())
        with copies.arriving(target) as partial:
            self._on_owner(lambda: self._copy_to(partial))
            copies.mark_as_copy(partial)
            if (trouble := copies.trouble_with(partial)) is not None:
                self.check()
                raise RecordUnavailable(f"the fresh copy {partial} is not whole: {trouble}")
        copies.drop_old(folder)
        return target

    def _copy_to(self, path: Path) -> None:
        with self._engine.connect() as connection:
            connection.rollback()  # VACUUM refuses to run inside a transaction
            _raw(connection).execute("PRAGMA shrink_memory")  # every page is read from the file: damage is met
            _raw(connection).execute("VACUUM INTO ?", (str(path),))

    def close(self) -> None:
        """Close the connection and end the owner thread."""
        self._owner.submit(self._engine.dispose).result()
        self._owner.shutdown()

    def _pragma(self, name: str) -> object:
        return self.read(lambda session: session.execute(text(f"PRAGMA {name}")).scalar())


def reader(path: Path) -> sessionmaker[Session]:
    """Sessions that can only read, for commands that run beside the daemon. Never writes, never migrates.

    Raises ``SchemaError`` when the daemon that wrote the database is of another version.
    """

    def connect() -> sqlite3.Connection:
        return sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True, timeout=5.0, check_same_thread=False)

    engine = create_engine("sqlite://", creator=connect, poolclass=NullPool)
    if (found := current_revision(engine)) is None:
        raise SchemaError(f"the record {path} is empty: start the service, which makes it anew or puts a copy there")
    if found != HEAD:
        raise SchemaError(
            f"the record {path} has schema {found}, and this command knows {HEAD}: use the command of the version "
            "that the service runs, or restart the service with this one"
        )
    return sessionmaker(engine, expire_on_commit=False)


def _raw(connection: Connection) -> sqlite3.Connection:
    """The driver's own connection."""
    raw = connection.connection.driver_connection
    assert isinstance(raw, sqlite3.Connection)
    return raw


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino
