"""The record is lost, damaged, deleted or doubled: no accepted capture is lost, and none is published twice."""

from __future__ import annotations

import os
import random
import shutil
import signal
import sqlite3
import subprocess
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from meshdrop.daemon.base.record import last_restored
from meshdrop.db import copies
from tests.house import WAY, Guest, House
from tests.patience import PATIENCE_S
from tests.rig import Rig, contents, stop, wait_for

SEED = int(os.environ.get("MESHDROP_SEED", "20261121"))
#: `reliability.md` asks for two hundred; CI takes these.
DAMAGES = int(os.environ.get("MESHDROP_DAMAGES", "40"))


# -- random damage to a record of everything ---------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def flushing_costs_nothing(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The captures made here survive no power cut and need not; the service is another process and flushes."""
    if "rig" not in request.fixturenames:
        monkeypatch.setattr(os, "fsync", lambda _: None)
        monkeypatch.setattr("meshdrop.db.engine._PRAGMAS", ("journal_mode=WAL", "synchronous=OFF", "foreign_keys=ON"))


@pytest.fixture(scope="module")
def crashed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Guest]]:
    """A root as a kill leaves it: captures at every place of their way, most of them further than in the one copy of
    the record, some unknown to it, and the newest changes only in the write-ahead log.
    """
    house = House(tmp_path_factory.mktemp("crashed") / "scans")
    house.open()
    house.recover()
    chance = random.Random(SEED)
    for number, place in enumerate(WAY * 2):
        good = place == "running" or number % 3 != 0
        house.bring(f"early {number}", place, good=good)
    house.database.backup(house.places.backups)
    for guest in house.guests:
        further = [place for place in WAY[WAY.index(guest.at) :] if guest.good or place != "running"]
        house.lead(guest, chance.choice(further))
    for number, place in enumerate(WAY):
        house.bring(f"late {number}", place, good=place == "running" or number % 2 == 0)
    for guest in house.guests:
        if WAY.index(guest.at) >= WAY.index("published") and chance.random() < 0.4:
            house.take_away(guest)
    image = house.places.root.with_name("image")
    shutil.copytree(house.places.root, image, symlinks=True)  # with the log, as the open database has it
    house.close()
    return image, house.guests


def damage(database: Path, chance: random.Random) -> str:
    """Do something bad to the record; returns what."""
    log = database.with_name(database.name + "-wal")
    target = chance.choice([database] * 4 + [log])
    size = target.stat().st_size
    kind = chance.choice(["bytes"] * 8 + ["zeros", "cut", "gone", "head", "swap"])
    with open(target, "r+b") as file:
        if kind == "bytes":
            for _ in range(chance.choice([1, 1, 3, 20])):
                file.seek(chance.randrange(size))
                file.write(chance.randbytes(chance.choice([1, 8, 64, 600])))
        elif kind == "zeros":
            file.seek(chance.randrange(size) // 4096 * 4096)
            file.write(bytes(4096))
        elif kind == "head":
            file.write(chance.randbytes(100))
        elif kind == "swap":
            file.seek(chance.randrange(size) // 4096 * 4096)
            page = file.read(4096)
            file.seek(chance.randrange(size) // 4096 * 4096)
            file.write(page)
    if kind == "cut":
        os.truncate(target, chance.randrange(size))
    elif kind == "gone":
        target.unlink()
    return f"{kind} in {target.name}"


def test_after_any_damage_every_capture_is_accounted_for_exactly_once(
    crashed: tuple[Path, list[Guest]], tmp_path: Path
) -> None:
    """Run again with MESHDROP_SEED and MESHDROP_DAMAGES; the seed is part of every complaint."""
    image, guests = crashed
    print(f"MESHDROP_SEED={SEED}")
    restored = 0
    for number in range(DAMAGES):
        chance = random.Random(f"{SEED} {number}")
        root = tmp_path / "scans"
        shutil.copytree(image, root, symlinks=True)
        house = House(root)
        house.guests = guests
        done = damage(house.places.database, chance)
        house.open()
        house.recover()
        restored += last_restored(house.places) is not None
        assert house.complaints() == [], f"MESHDROP_SEED={SEED}, damage {number}: {done}"
        house.close()
        shutil.rmtree(root)
    assert restored > 0


def test_without_damage_the_same_root_needs_nothing_restored(crashed: tuple[Path, list[Guest]], tmp_path: Path) -> None:
    image, guests = crashed
    shutil.copytree(image, tmp_path / "scans", symlinks=True)
    house = House(tmp_path / "scans")
    house.guests = guests
    house.open()
    house.recover()
    assert last_restored(house.places) is None
    assert house.complaints() == []
    house.close()


# -- the real service ----------------------------------------------------------------------------------------------


def published(rig: Rig) -> list[str]:
    """The folders on both shelves."""
    return sorted(
        folder.name for shelf in (rig.places.outbox, rig.places.failed) for folder in shelf.iterdir() if folder.is_dir()
    )


def fill(rig: Rig, jobs: int) -> None:
    """A long history, so that the record is larger than what SQLite keeps in memory."""
    with closing(sqlite3.connect(rig.places.database)) as connection:
        row = dict(
            zip(
                [column[1] for column in connection.execute("PRAGMA table_info(job)")],
                connection.execute("SELECT * FROM job").fetchone(),
                strict=True,
            )
        )
        row["state"] = "DONE_CLEAN"
        for number in range(jobs):
            row |= {"id": f"{number:032x}", "name": b"old %d" % number, "reason": "x" * 900}
            connection.execute(f"INSERT INTO job VALUES ({', '.join('?' * len(row))})", tuple(row.values()))
        connection.commit()


def wreck(database: Path) -> None:
    """Overwrite the beginning of every page but the first, which SQLite holds in memory anyway."""
    with open(database, "r+b") as file:
        for start in range(4096, database.stat().st_size, 4096):
            file.seek(start)
            file.write(b"\xa5" * 100)


def test_a_record_that_is_damaged_while_the_service_runs_is_put_back_by_its_next_start(
    rig: Callable[..., Rig], ball: Path
) -> None:
    """Under a supervisor that starts the service again, as systemd does; captures keep coming all the time."""
    here = rig()
    here.drop(ball, "first")
    assert here.run_once() == 0, here.log()
    fill(here, 4000)
    here.places.live_status.unlink()
    daemon, ends = here.start(), []
    wait_for(here.places.live_status.exists)
    wreck(here.places.database)
    names = [f"ball{number}" for number in range(4)]
    deadline = time.monotonic() + PATIENCE_S
    for name in names:
        here.drop(ball, name)
    while not set(names) <= set(published(here)):
        assert time.monotonic() < deadline, here.log()[-6000:]
        time.sleep(0.2)
        if daemon.poll() is not None:
            ends.append(daemon.returncode)
            daemon = here.start()
    stop(daemon)
    assert here.run_once() == 0, here.log()
    assert last_restored(here.places) is not None
    assert 0 not in ends
    assert 78 not in ends  # systemd would not start it again
    assert published(here) == [*names, "first"]
    here.assert_at_rest()


@pytest.mark.parametrize("how", ["deleted", "replaced"])
@pytest.mark.parametrize("killed", [False, True])
def test_a_record_that_is_deleted_or_replaced_under_the_running_service(
    rig: Callable[..., Rig], ball: Path, how: str, killed: bool
) -> None:
    """SQLite would go on in a file that nobody sees any more. The service copies it and ends; its next start goes on
    from the copy. When it is killed before it has noticed, the folders alone tell.
    """
    here = rig(MESHDROP_MODELS='["slow"]')
    here.drop(ball, "first")
    daemon = here.start()
    wait_for(lambda: "thinking" in here.status_page())
    wait_for(lambda: copies.newest_first(here.places.backups) != [])
    if killed:
        daemon.send_signal(signal.SIGSTOP)
    here.places.database.unlink()
    if how == "replaced":
        shutil.copyfile(copies.newest_first(here.places.backups)[0], here.places.database)
    here.drop(ball, "second")
    if killed:
        daemon.kill()
    assert daemon.wait(PATIENCE_S) == (-signal.SIGKILL if killed else 1)
    here.settings["MESHDROP_MODELS"] = '["ball"]'
    assert here.run_once() == 0, here.log()
    assert published(here) == ["first", "second"]
    assert contents(here.places.outbox / "first" / "capture") == contents(ball)
    here.assert_at_rest()


def test_a_lost_record_comes_back_with_its_history(rig: Callable[..., Rig], ball: Path) -> None:
    here = rig()
    for name in ("first", "second"):
        here.drop(ball, name)
    assert here.run_once() == 0, here.log()
    assert len(copies.newest_first(here.places.backups)) == 1
    for file in here.places.state.glob("meshdrop.db*"):
        file.unlink()
    here.drop(ball, "third")
    assert here.run_once() == 0, here.log()
    jobs = {job.name: job for job in here.jobs()}
    assert set(jobs) == {b"first", b"second", b"third"}
    assert {job.verdict for job in jobs.values()} == {"normal"}
    assert published(here) == ["first", "second", "third"]


def test_a_newer_record_ends_the_start_with_a_sentence_and_stays(rig: Callable[..., Rig], ball: Path) -> None:
    here = rig()
    here.drop(ball)
    assert here.run_once() == 0, here.log()
    with closing(sqlite3.connect(here.places.database)) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
        connection.commit()
    before = here.places.database.read_bytes()
    assert here.run_once() == 78
    assert "a newer Meshdrop wrote it" in here.log()
    assert here.places.database.read_bytes() == before


# -- one service on one spool --------------------------------------------------------------------------------------


def test_two_roots_with_one_spool_are_one_too_many(rig: Callable[..., Rig], tmp_path: Path) -> None:
    spool = tmp_path / "spool"
    spool.mkdir()
    first, second = rig(MESHDROP_SPOOL_DIR=str(spool)), rig(MESHDROP_SPOOL_DIR=str(spool))
    daemon = first.start()
    wait_for(first.places.live_status.exists)
    assert second.run_once() == 75
    assert f"process {daemon.pid} on " in second.log()
    assert str(first.root) in second.log()
    assert stop(daemon) == 0
    assert second.run_once() == 0, second.log()


def test_after_a_kill_the_service_starts_at_once(rig: Callable[..., Rig]) -> None:
    """Nothing is waited for on the machine on which it ran: a minute's wait would be in the log."""
    here = rig()
    daemon: subprocess.Popen[bytes] = here.start()
    wait_for(here.places.live_status.exists)
    daemon.kill()
    daemon.wait()
    assert here.run_once() == 0, here.log()
    assert "waiting" not in here.log()
