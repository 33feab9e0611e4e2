"""The one door to the database: engine, pragmas, transactions, migrations at start, backup."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import URL, Connection, Engine, create_engine, event, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session, sessionmaker
from sqlalchemy.pool import NullPool

T = TypeVar("T")

MIGRATIONS = Path(__file__).parent / "migrations"
BACKUPS_KEPT = 24

_PRAGMAS = (
    "journal_mode=WAL",
    "synchronous=FULL",        # NORMAL loses accepted captures at a power cut
    "foreign_keys=ON",
    "busy_timeout=5000",
    "trusted_schema=OFF",
    "cell_size_check=ON",
    "mmap_size=0",
    "wal_autocheckpoint=1000",
)


class SchemaError(RuntimeError):
    """The database cannot be used by this version. The message says what to do."""


class RecordUnavailable(OSError):
    """The database could not be read or written: usually a full disk. Nothing was changed; it may be tried again."""


class DatabaseDamaged(RuntimeError):
    """The integrity check failed. The message names the file and what to do."""


def make_engine(path: Path) -> Engine:
    """A read-write engine with exactly one connection and honest transactions."""
    engine = create_engine(
        URL.create("sqlite", database=str(path)),
        pool_size=1, max_overflow=0,
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
    """

    def __init__(self, path: Path, before_commit: Callable[[], None] = lambda: None) -> None:
        self.path = path
        self._before_commit = before_commit
        self._owner = ThreadPoolExecutor(max_workers=1, thread_name_prefix="db")
        self._engine = make_engine(path)
        self._sessions = sessionmaker(self._engine, expire_on_commit=False)

    def write(self, work: Callable[[Session], T]) -> T:
        """Run ``work(session)`` in one IMMEDIATE transaction on the owner thread and return its value.

        The commit is durable when this returns. An exception rolls everything back and is raised here;
        ``RecordUnavailable`` means that the disk or the file is at fault.
        """

        def transaction() -> T:
            with self._sessions.begin() as session:
                value = work(session)
                session.flush()
                self._before_commit()
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
        except OperationalError as error:
            raise RecordUnavailable(f"the record {self.path} cannot be used now: {error.orig}") from error

    def check_integrity(self) -> None:
        """Raise ``DatabaseDamaged`` unless SQLite finds every page, index and constraint in order."""

        def check() -> list[str]:
            with self._engine.connect() as connection:
                return [str(row[0]) for row in connection.execute(text("PRAGMA integrity_check(5)"))]

        try:
            found = self._owner.submit(check).result()
        except Exception as error:
            raise DatabaseDamaged(_damaged(self.path, str(error))) from error
        if found != ["ok"]:
            raise DatabaseDamaged(_damaged(self.path, "; ".join(found)))

    def migrate(self, backup_dir: Path) -> None:
        """Bring the schema to this version's head; an existing older database is backed up first.

        Raises ``SchemaError`` when the database was written by a newer version.
        """
        current, head = current_revision(self._engine), head_revision()
        if current == head:
            return
        known = {script.revision for script in _scripts().walk_revisions()}
        if current is not None and current not in known:
            raise SchemaError(
                f"{self.path} has schema {current}, which this version does not know: a newer Meshdrop wrote it. "
                "Install that version again, or run its `meshdrop db downgrade` before going back."
            )
        if current is not None:
            self.backup(backup_dir)
        self._owner.submit(upgrade, self._engine, "head").result()

    def backup(self, folder: Path) -> Path:
        """Write a consistent, checked copy into ``folder`` and return its path. Keeps the newest 24."""
        folder.mkdir(parents=True, exist_ok=True)
        target = folder / time.strftime("meshdrop-%Y%m%dT%H%M%SZ.db", time.gmtime())
        partial = target.with_suffix(".partial")
        partial.unlink(missing_ok=True)

        def vacuum() -> None:
            with self._engine.connect() as connection:
                raw = connection.connection.driver_connection
                assert isinstance(raw, sqlite3.Connection)
                connection.rollback()                       # VACUUM refuses to run inside a transaction
                raw.execute("VACUUM INTO ?", (str(partial),))

        self._owner.submit(vacuum).result()
        with sqlite3.connect(partial) as copy:
            if copy.execute("PRAGMA integrity_check").fetchone() != ("ok",):
                raise DatabaseDamaged(_damaged(partial, "the fresh backup is not intact"))
        copy.close()
        _sync(partial)
        os.replace(partial, target)
        _sync(folder)
        for old in sorted(folder.glob("meshdrop-*.db"))[:-BACKUPS_KEPT]:
            old.unlink()
        return target

    def close(self) -> None:
        """Close the connection and end the owner thread."""
        self._owner.submit(self._engine.dispose).result()
        self._owner.shutdown()


def reader(path: Path) -> sessionmaker[Session]:
    """Sessions that can only read, for commands that run beside the daemon. Never writes, never migrates.

    Raises ``SchemaError`` when the daemon that wrote the database is of another version.
    """
    def connect() -> sqlite3.Connection:
        return sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True, timeout=5.0, check_same_thread=False)

    engine = create_engine("sqlite://", creator=connect, poolclass=NullPool)
    if (found := current_revision(engine)) != (known := head_revision()):
        raise SchemaError(
            f"the record {path} has schema {found}, and this command knows {known}: use the command of the version "
            "that the service runs, or restart the service with this one"
        )
    return sessionmaker(engine, expire_on_commit=False)


def _damaged(path: Path, why: str) -> str:
    return (
        f"the database {path} is damaged ({why}). Nothing was changed. Move it aside together with its -wal and -shm "
        f"files, copy the newest file of {path.parent / 'backup'} to {path}, and start again; "
        "captures that were already accepted are found in the spool and queued again."
    )


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    return config


def _scripts() -> ScriptDirectory:
    return ScriptDirectory.from_config(_config())


def head_revision() -> str | None:
    """The newest schema this version knows."""
    return _scripts().get_current_head()


def current_revision(engine: Engine) -> str | None:
    """The schema the database has; None when it is empty."""
    with engine.connect() as connection:
        return MigrationContext.configure(connection).get_current_revision()


def upgrade(engine: Engine, revision: str) -> None:
    """Upgrade to ``revision`` in one transaction; foreign keys are checked before it commits."""
    _run(engine, command.upgrade, revision)


def downgrade(engine: Engine, revision: str) -> None:
    """Go back to ``revision`` in one transaction."""
    _run(engine, command.downgrade, revision)


def _run(engine: Engine, what: Callable[..., Any], revision: str) -> None:
    with engine.begin() as connection:
        config = _config()
        config.attributes["connection"] = connection
        what(config, revision)
        broken = connection.execute(text("PRAGMA foreign_key_check")).fetchall()
        if broken:
            raise SchemaError(f"the migration to {revision} would leave {len(broken)} rows without their job")
