"""Migrations: every one up, down and up again with the data in place, and killed at every statement."""

from __future__ import annotations

import random
import shutil
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from alembic.script import ScriptDirectory

from meshdrop.db import copies, schema
from meshdrop.db.engine import Database, make_engine
from meshdrop.db.jobs import Jobs
from meshdrop.db.records import ModelRun
from meshdrop.db.schema import HEAD, REVISIONS, create, current_revision, downgrade, upgrade, without_blanks

PROJECT = Path(__file__).parents[3]

#: A migration as the next one will be: a new table, a new column with a rule, and data that move.
NEXT = """
import sqlalchemy as sa
from alembic import op

revision, down_revision = "9998", "{head}"


def upgrade() -> None:
    op.create_table("label", sa.Column("job_id", sa.String, primary_key=True), sa.Column("text", sa.String))
    op.execute("INSERT INTO label SELECT id, state FROM job")
    with op.batch_alter_table("model_run") as table:
        table.add_column(sa.Column("host", sa.String, nullable=False, server_default="here"))
    op.execute("INSERT INTO event (job_id, at, kind) SELECT id, 1.0, 'migrated' FROM job")


def downgrade() -> None:
    op.execute("DELETE FROM event WHERE kind = 'migrated'")
    with op.batch_alter_table("model_run") as table:
        table.drop_column("host")
    op.drop_table("label")
"""


def populate(path: Path) -> None:
    """Jobs of every kind, at this version's schema."""
    database = Database(path)
    database.migrate(path.parent / "backup")
    jobs = Jobs(database)
    for number in range(20):
        job = jobs.queue(jobs.claim(b"chair \xff %d" % number, "f").id, "d", {"ok": True}, ["fusion"], number)
        jobs.record_run(job.id, ModelRun("fusion", 1, "ok", seconds=1.0, figures={"verdict": "normal"}))
    database.close()


def contents(path: Path) -> dict[str, list[tuple[object, ...]]]:
    """Every row of every table, after making sure that SQLite finds nothing wrong."""
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
        tables = [
            row[0]
            for row in connection.execute(
                "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%' ORDER BY name"
            )
        ]
        return {name: connection.execute(f"SELECT * FROM {name} ORDER BY 1").fetchall() for name in tables}


@pytest.fixture
def with_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of migrations with one more in it."""
    folder = tmp_path / "migrations"
    shutil.copytree(schema.MIGRATIONS, folder, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "versions" / "9998_next.py").write_text(NEXT.format(head=HEAD))
    monkeypatch.setattr(schema, "MIGRATIONS", folder)
    return folder


def test_the_known_revisions_are_those_of_the_scripts() -> None:
    scripts = ScriptDirectory(str(schema.MIGRATIONS))
    assert tuple(reversed([script.revision for script in scripts.walk_revisions()])) == REVISIONS
    assert scripts.get_heads() == [HEAD]


def test_a_new_database_is_what_all_migrations_together_make(tmp_path: Path) -> None:
    """Word for word, but for blanks: db/head.py is to be brought up to date with each migration."""
    told = {}
    for way in ("create", "upgrade"):
        engine = make_engine(tmp_path / f"{way}.db")
        create(engine) if way == "create" else upgrade(engine, HEAD)
        with closing(sqlite3.connect(tmp_path / f"{way}.db")) as connection:
            assert connection.execute("SELECT version_num FROM alembic_version").fetchall() == [(HEAD,)]
            statements = connection.execute("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL ORDER BY name")
            told[way] = [without_blanks(row[0]) for row in statements]
        engine.dispose()
    assert told["create"] == told["upgrade"]


def test_a_start_without_a_migration_does_not_load_the_migration_tool(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from meshdrop.db.engine import Database\n"
        f"for _ in 'ab':\n    database = Database(Path({str(tmp_path / 'a.db')!r}))\n"
        f"    database.check(); database.migrate(Path({str(tmp_path)!r})); database.close()\n"
        "print('alembic' in sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=PROJECT)
    assert result.stdout == "False\n"


@pytest.mark.parametrize("revision", REVISIONS)
def test_every_migration_goes_up_down_and_up_on_a_populated_copy(tmp_path: Path, revision: str) -> None:
    """What the older schema has room for is there again after each step."""
    populate(tmp_path / "a.db")
    engine = make_engine(tmp_path / "a.db")
    downgrade(engine, revision)
    older = ("base", *REVISIONS)[REVISIONS.index(revision)]
    before_down = contents(tmp_path / "a.db")
    downgrade(engine, older)
    before = contents(tmp_path / "a.db")
    assert current_revision(engine) == (None if older == "base" else older)
    upgrade(engine, revision)
    assert contents(tmp_path / "a.db").keys() == before_down.keys()
    downgrade(engine, older)
    assert {**contents(tmp_path / "a.db"), "alembic_version": []} == {**before, "alembic_version": []}
    upgrade(engine, HEAD)
    assert current_revision(engine) == HEAD
    engine.dispose()


def test_a_migration_keeps_the_data_both_ways(tmp_path: Path, with_next: Path) -> None:
    populate(tmp_path / "a.db")
    before = contents(tmp_path / "a.db")
    engine = make_engine(tmp_path / "a.db")
    upgrade(engine, "9998")
    after = contents(tmp_path / "a.db")
    assert len(after["label"]) == 20
    assert [row[-1] for row in after["model_run"]] == ["here"] * 20
    assert after["job"] == before["job"]
    downgrade(engine, HEAD)
    assert contents(tmp_path / "a.db") == before
    engine.dispose()


def test_an_older_database_is_copied_before_it_is_migrated(
    tmp_path: Path, with_next: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    populate(tmp_path / "a.db")
    before = contents(tmp_path / "a.db")
    monkeypatch.setattr("meshdrop.db.engine.HEAD", "9998")
    monkeypatch.setattr("meshdrop.db.engine.REVISIONS", (*REVISIONS, "9998"))
    database = Database(tmp_path / "a.db")
    database.migrate(tmp_path / "backup")
    assert database.revision() == "9998"
    database.close()
    (copy,) = copies.newest_first(tmp_path / "backup")
    assert contents(copy) == before


#: Dies by SIGKILL just before its nth statement or commit; prints how many there were when it lives to the end.
KILLED = """
import os, signal, sys
from pathlib import Path
from sqlalchemy import event
from meshdrop.db import schema
from meshdrop.db.engine import make_engine
file, migrations, nth, revision = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
schema.MIGRATIONS = migrations
engine = make_engine(file)
seen = 0
def count(*_):
    global seen
    seen += 1
    if seen == nth:
        os.kill(os.getpid(), signal.SIGKILL)
event.listen(engine, "before_cursor_execute", count)
event.listen(engine, "commit", count)
schema.create(engine) if revision == "new" else schema.upgrade(engine, revision)
print(seen)
"""


def migrated(file: Path, migrations: Path, revision: str, nth: int) -> subprocess.CompletedProcess[str]:
    arguments = [sys.executable, "-c", KILLED, str(file), str(migrations), str(nth), revision]
    return subprocess.run(arguments, cwd=PROJECT, check=False, stdout=subprocess.PIPE, text=True)


def test_a_kill_in_the_middle_of_a_migration_leaves_the_old_or_the_new_schema(tmp_path: Path, with_next: Path) -> None:
    """Twenty-five kills, spread over a new file, the first migration and the next one on a populated copy."""
    populate(tmp_path / "old.db")
    old = contents(tmp_path / "old.db")

    def begun(name: str, revision: str) -> Path:
        if revision == "9998":
            shutil.copyfile(tmp_path / "old.db", tmp_path / name)
        return tmp_path / name

    for revision, times in (("new", 5), (HEAD, 10), ("9998", 10)):
        statements = int(migrated(begun(f"{revision}.db", revision), with_next, revision, 0).stdout)
        for nth in random.Random(revision).sample(range(1, statements + 1), times):
            file = begun(f"{revision}-{nth}.db", revision)
            assert migrated(file, with_next, revision, nth).returncode == -signal.SIGKILL
            engine = make_engine(file)
            # Killed before its commit, a migration has not been.
            assert current_revision(engine) == (HEAD if revision == "9998" else None)
            assert contents(file) == (old if revision == "9998" else {})
            upgrade(engine, "9998")
            assert current_revision(engine) == "9998"
            engine.dispose()
