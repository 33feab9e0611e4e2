"""The one door: pragmas, migrations both ways, integrity, backups, versions that do not fit."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import text

from meshdrop.db import copies
from meshdrop.db.engine import Database, DatabaseDamaged, make_engine, reader
from meshdrop.db.jobs import Jobs
from meshdrop.db.records import ModelRun, find_jobs
from meshdrop.db.schema import SchemaError, upgrade
from meshdrop.db.tables import Base


def populated(path: Path) -> str:
    """A database with one finished job; returns its id."""
    database = Database(path)
    database.migrate(path.parent / "backup")
    jobs = Jobs(database)
    job = jobs.queue(jobs.claim(b"chair\xff", "f").id, "d", {"ok": True}, ["fusion"], 3)
    jobs.record_run(job.id, ModelRun("fusion", 1, "ok", seconds=1.0, figures={"verdict": "normal"}))
    database.close()
    return job.id


def test_every_commit_is_durable_and_readers_never_wait(tmp_path: Path) -> None:
    populated(tmp_path / "a.db")
    with make_engine(tmp_path / "a.db").connect() as connection:
        values = {
            name: connection.execute(text(f"PRAGMA {name}")).scalar()
            for name in ("journal_mode", "synchronous", "foreign_keys", "trusted_schema", "mmap_size")
        }
    # synchronous: 2 is FULL
    assert values == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "trusted_schema": 0, "mmap_size": 0}


def test_models_and_migrations_agree(tmp_path: Path) -> None:
    engine = make_engine(tmp_path / "a.db")
    upgrade(engine, "head")
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), Base.metadata) == []


def test_a_migration_that_fails_half_way_leaves_the_old_schema(tmp_path: Path) -> None:
    engine = make_engine(tmp_path / "a.db")
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE event (x)"))  # the last table that the first migration wants to make
    with pytest.raises(Exception, match="already exists"):
        upgrade(engine, "head")
    with engine.connect() as connection:
        names = connection.execute(text("SELECT name FROM sqlite_master WHERE type = 'table'")).scalars()
        assert set(names) == {"event"}


def test_a_newer_database_is_refused_and_not_touched(tmp_path: Path) -> None:
    populated(tmp_path / "a.db")
    with sqlite3.connect(tmp_path / "a.db") as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    database = Database(tmp_path / "a.db")
    with pytest.raises(SchemaError, match="newer Meshdrop"):
        database.migrate(tmp_path / "backup")
    database.close()


def test_damage_is_found_by_the_check_at_start(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    populated(path)
    data = bytearray(path.read_bytes())
    page = 4096
    for start in range(page, len(data), page):
        data[start : start + 64] = b"\xa5" * 64
    path.write_bytes(data)
    database = Database(path)
    with pytest.raises(DatabaseDamaged, match="is damaged"):
        database.check()
    database.close()


def test_a_backup_is_a_whole_database(tmp_path: Path) -> None:
    job_id = populated(tmp_path / "a.db")
    database = Database(tmp_path / "a.db")
    copy = database.backup(tmp_path / "backup")
    database.close()
    with reader(copy)() as session:
        assert [job.name for job in find_jobs(session, job_id)] == [b"chair\xff"]


def test_readers_cannot_write(tmp_path: Path) -> None:
    populated(tmp_path / "a.db")
    with reader(tmp_path / "a.db")() as session, pytest.raises(Exception, match="readonly"):
        session.execute(text("DELETE FROM event"))


def test_a_copy_made_after_the_clock_was_set_back_is_still_the_newest(tmp_path: Path) -> None:
    """Names are times: a later copy behind an earlier one would be the first to go, and never be put back."""
    database = Database(tmp_path / "a.db")
    database.migrate(tmp_path / "backup")
    folder = tmp_path / "backup"
    folder.mkdir(exist_ok=True)
    for number in range(copies.KEPT):
        (folder / copies.name_for(4e9 + number)).write_bytes(b"of a wrong clock")
    (folder / "meshdrop-notes.db").write_bytes(b"not one of ours")
    made = [database.backup(folder) for _ in range(3)]
    database.close()
    ours = [copy for copy in copies.newest_first(folder) if copy.name != "meshdrop-notes.db"]
    assert ours[:3] == made[::-1]
