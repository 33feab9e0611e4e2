"""Opening the record: whatever has happened to the file, a start ends with a sound one and keeps the old."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from meshdrop.daemon.base.errors import ConfigurationError
from meshdrop.daemon.base.record import BACKUP_EVERY_S, BACKUP_RETRY_S, Backups, last_restored, open_record
from meshdrop.db import copies
from meshdrop.db.engine import DatabaseDamaged, RecordUnavailable
from tests.house import House


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    """Two jobs in the record, the first also in a copy; closed."""
    made = House(tmp_path / "scans")
    made.open()
    made.recover()
    made.bring("old", "decided")
    made.database.backup(made.places.backups)
    made.bring("new", "decided")
    made.close()
    yield made
    made.close()


def overwritten(path: Path) -> None:
    with open(path, "r+b") as file:
        file.seek(4096)
        file.write(os.urandom(8192))


def headless(path: Path) -> None:
    with open(path, "r+b") as file:
        file.write(b"\0" * 100)


def cut_short(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2 + 77)


def empty(path: Path) -> None:
    os.truncate(path, 0)


def a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()
    (path / "x").touch()


def a_foreign_log(path: Path) -> None:
    path.with_name(path.name + "-wal").mkdir()


def no_json(path: Path) -> None:
    """Bytes within a value, which SQLite finds nothing wrong with."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("UPDATE job SET inspection = '{\"ok\": tr'")
        connection.commit()
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def no_text(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("UPDATE job SET fingerprint = CAST(x'fffe' AS TEXT)")
        connection.commit()


def no_time(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("UPDATE job SET created_at = 1e300")
        connection.commit()


def another_column(path: Path) -> None:
    """Wild bytes in the statement that made a table: SQLite takes it for what it says."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA writable_schema=ON")
        connection.execute("UPDATE sqlite_master SET sql = replace(sql, 'verdict', 'verdicu') WHERE name = 'job'")
        connection.commit()
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def no_version(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("UPDATE alembic_version SET version_num = CAST(x'303030ff' AS TEXT)")
        connection.commit()


def odd_version(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("UPDATE alembic_version SET version_num = ';0$1'")
        connection.commit()


def another_program(path: Path) -> None:
    path.unlink()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE notes (text)")


def gone(path: Path) -> None:
    path.unlink()


DAMAGES = (
    overwritten,
    headless,
    cut_short,
    empty,
    a_folder,
    a_foreign_log,
    no_json,
    no_text,
    no_time,
    another_column,
    no_version,
    odd_version,
    another_program,
    gone,
)


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_a_damaged_record_is_set_aside_whole_and_the_newest_copy_takes_its_place(
    house: House, damage: Callable[[Path], None]
) -> None:
    damage(house.places.database)
    before = house.places.database.read_bytes() if house.places.database.is_file() else b""
    house.open()
    assert [job.name for job in house.jobs.live()] == [b"old"]
    told = last_restored(house.places)
    assert told is not None
    assert abs(told.at - time.time()) < 3600
    (copy,) = copies.newest_first(house.places.backups)
    assert told.source == copy.name
    if before.startswith(b"SQLite") and damage is not another_program:  # not one byte was repaired in place
        assert (told.aside / "meshdrop.db").read_bytes() == before
    house.recover()
    assert house.complaints() == []


def test_without_a_usable_copy_the_spool_alone_tells(house: House) -> None:
    overwritten(house.places.database)
    for copy in copies.newest_first(house.places.backups):
        overwritten(copy)
    house.open()
    assert house.jobs.live() == []
    told = last_restored(house.places)
    assert told is not None
    assert told.source is None
    house.recover()
    assert house.complaints() == []


def test_a_copy_that_is_damaged_or_of_another_version_is_passed_over(house: House) -> None:
    (sound,) = copies.newest_first(house.places.backups)
    damaged = shutil.copyfile(sound, sound.with_name("meshdrop-29990101T000000Z.db"))
    overwritten(damaged)
    newer = shutil.copyfile(sound, sound.with_name("meshdrop-29990102T000000Z.db"))
    with closing(sqlite3.connect(newer)) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
        connection.commit()
    sound.with_name("meshdrop-29990103T000000Z.db").mkdir()
    headless(house.places.database)
    house.open()
    told = last_restored(house.places)
    assert told is not None
    assert told.source == sound.name


def test_a_record_without_trouble_is_left_alone(house: House) -> None:
    house.open()
    assert {job.name for job in house.jobs.live()} == {b"old", b"new"}
    assert last_restored(house.places) is None


def test_a_first_start_is_no_loss(tmp_path: Path) -> None:
    first = House(tmp_path / "scans")
    first.open()
    first.recover()
    assert last_restored(first.places) is None
    assert first.jobs.are_compared()
    first.close()


@pytest.mark.parametrize("damaged", [False, True])
def test_the_record_of_a_newer_version_is_refused_and_nothing_is_moved(house: House, damaged: bool) -> None:
    """Also when it is damaged: the version that wrote it will know better what to do."""
    with closing(sqlite3.connect(house.places.database)) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
        connection.commit()
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    if damaged:
        no_time(house.places.database)
    before = house.places.database.read_bytes()
    with pytest.raises(ConfigurationError, match="newer Meshdrop wrote it"):
        open_record(house.places)
    assert house.places.database.read_bytes() == before
    assert not (house.places.state / "corrupt").exists()


def test_going_back_to_an_older_version_is_what_its_message_says(house: House) -> None:
    """The copy from before the newer version's migration is found and compared; nothing accepted since is lost."""
    house.open()
    house.lead(house.guests[0], "cleaned")
    house.bring("later", "published")
    house.close()
    with closing(sqlite3.connect(house.places.database)) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
        connection.commit()
    with pytest.raises(ConfigurationError, match="move this file and those beside it"):
        open_record(house.places)
    for file in house.places.state.glob("meshdrop.db*"):
        file.rename(house.places.root.parent / file.name)
    house.open()
    house.recover()
    assert house.complaints() == []


def test_a_disk_that_cannot_be_read_now_is_no_damage(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever SQLite says but "this is damaged" is waited for; the record stays where it is."""
    with closing(sqlite3.connect(house.places.database, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        monkeypatch.setattr("meshdrop.db.engine._PRAGMAS", ("busy_timeout=1", "journal_mode=DELETE"))
        with pytest.raises(RecordUnavailable, match="locked"):
            open_record(house.places)
    assert not (house.places.state / "corrupt").exists()


@pytest.mark.parametrize("step", ["rename", "copy_file", "sync_dir", "write_file"])
def test_a_restore_that_is_cut_off_at_any_step_is_taken_up_by_the_next_start(
    house: House, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    headless(house.places.database)

    class Cut(BaseException):
        """As a kill: nothing cleans up after it."""

    for nth in range(10):
        calls = 0

        def cut(operation: str, *_: Path, nth: int = nth) -> None:
            nonlocal calls
            calls += operation == step
            if operation == step and calls > nth:
                raise Cut

        monkeypatch.setattr("meshdrop.daemon.base.fsops.observer", cut)
        try:
            open_record(house.places).close()
        except Cut:
            continue
        break
    monkeypatch.setattr("meshdrop.daemon.base.fsops.observer", None)
    house.open()
    assert [job.name for job in house.jobs.live()] == [b"old"]
    house.recover()
    assert house.complaints() == []


def test_damaged_records_do_not_fill_the_disk(house: House) -> None:
    for _ in range(8):
        headless(house.places.database)
        house.open()
        house.close()
    assert len(os.listdir(house.places.state / "corrupt")) == 5


# -- copies on schedule ------------------------------------------------------------------------------------------------


def settled(backups: Backups, now: float) -> None:
    """A turn, and another one when the copy that it began is ready."""
    backups.turn(now)
    if backups._running is not None:
        backups._running.exception()
    backups.turn(now)


def test_a_copy_is_made_every_quarter_of_an_hour_in_which_there_was_work(house: House) -> None:
    house.open()
    shutil.rmtree(house.places.backups)
    backups = Backups(house.database, house.places.backups, 0.0)

    def number() -> int:
        return len(copies.newest_first(house.places.backups))

    settled(backups, 1.0)
    assert number() == 0  # nothing was written yet
    house.bring("a", "claimed")
    settled(backups, 2.0)
    assert number() == 1  # there was none at all
    house.bring("b", "claimed")
    settled(backups, 2.0 + BACKUP_EVERY_S - 1)
    assert number() == 1
    (house.places.backups / copies.name_for(1e9)).write_bytes(copies.newest_first(house.places.backups)[0].read_bytes())
    copies.newest_first(house.places.backups)[0].unlink()  # names have whole seconds, and this test takes less
    settled(backups, 2.0 + BACKUP_EVERY_S)
    assert number() == 2
    settled(backups, 9.0 + 5 * BACKUP_EVERY_S)
    assert number() == 2  # idle
    (newest, *_) = copies.newest_first(house.places.backups)
    assert copies.trouble_with(newest) is None
    with closing(sqlite3.connect(newest)) as connection:
        assert connection.execute("SELECT count(*) FROM job").fetchone() == (4,)


def test_a_fresh_start_goes_on_with_the_schedule_of_the_last(house: House) -> None:
    house.open()
    backups = Backups(house.database, house.places.backups, 0.0)
    house.bring("a", "claimed")
    settled(backups, 30.0)
    assert len(copies.newest_first(house.places.backups)) == 1
    (old,) = copies.newest_first(house.places.backups)
    os.utime(old.rename(old.with_name(copies.name_for(1e9))), (0, 0))
    backups = Backups(house.database, house.places.backups, 0.0)
    house.bring("b", "claimed")
    settled(backups, 30.0)
    assert len(copies.newest_first(house.places.backups)) == 2


def test_a_copy_that_fails_is_tried_again_and_stops_nothing(house: House) -> None:
    """The folder for it is a file, as after somebody's mistake; a full disk fails in the same way."""
    house.open()
    shutil.rmtree(house.places.backups)
    house.places.backups.touch()
    backups = Backups(house.database, house.places.backups, 0.0)
    house.bring("a", "claimed")
    settled(backups, 1.0)
    house.places.backups.unlink()
    settled(backups, 1.0 + BACKUP_RETRY_S - 1)
    assert not house.places.backups.exists()
    settled(backups, 1.0 + BACKUP_RETRY_S)
    assert len(copies.newest_first(house.places.backups)) == 1


def test_damage_that_a_copy_meets_ends_the_service(house: House) -> None:
    house.open()
    backups = Backups(house.database, house.places.backups, -BACKUP_EVERY_S)
    house.bring("a", "claimed")
    with closing(sqlite3.connect(house.places.database)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    with open(house.places.database, "r+b") as file:
        for page in range(1, house.places.database.stat().st_size // 4096):
            file.seek(4096 * page)
            file.write(b"\xa5" * 64)
    with pytest.raises(DatabaseDamaged):
        settled(backups, 1.0)


@pytest.mark.parametrize("replaced", [False, True])
def test_a_record_that_is_deleted_while_it_is_open_is_copied_and_the_service_starts_afresh(
    house: House, replaced: bool
) -> None:
    house.open()
    backups = Backups(house.database, house.places.backups, 0.0)
    house.bring("last", "running")
    (old,) = copies.newest_first(house.places.backups)
    old = old.rename(old.with_name(copies.name_for(1e9)))
    house.places.database.unlink()
    if replaced:
        shutil.copyfile(old, house.places.database)
    house.bring("even later", "decided")
    with pytest.raises(DatabaseDamaged, match="deleted or replaced"):
        settled(backups, 20.0)
    house.bring("at the end", "claimed")  # by another thread, which has not ended yet: only the record has its name
    backups.close()
    house.close()
    house.open()
    house.recover()
    assert house.complaints() == []
    kept = {job.name for job in house.jobs.live()}
    assert kept == {b"old", b"new", b"last", b"even later", b"at the end"}


def test_the_note_about_a_restore_may_be_missing_or_nonsense(house: House) -> None:
    for name, content in (("1", "{"), ("2", json.dumps({"at": "x"})), ("3", "[]")):
        (house.places.state / "corrupt" / name).mkdir(parents=True)
        (house.places.state / "corrupt" / name / "restored.json").write_text(content)
    assert last_restored(house.places) is None
