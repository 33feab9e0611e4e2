"""Faults of the service and of its record: exactly that line of the report changes."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from meshdrop.daemon.base.control import ControlSocket
from meshdrop.daemon.base.pause import Pause
from meshdrop.daemon.base.record import open_record
from meshdrop.daemon.base.settings import load
from meshdrop.daemon.doctor.checks import record as check_record
from meshdrop.daemon.doctor.examine import examine
from meshdrop.daemon.host.machine import Machine
from meshdrop.daemon.install.site import UNIT
from meshdrop.daemon.install.steps import site_of
from meshdrop.daemon.status.activity import SCHEMA
from meshdrop.db.engine import Database
from meshdrop.db.schema import HEAD
from tests.unit.daemon.doctor.ailments import add_job, add_run, by_name, changed, insert, script, troubles

pytestmark = pytest.mark.usefixtures("quick_models")
HOUR = 3600.0


# -- running -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def holder(root: Path) -> Iterator[int]:
    """A process that holds the lock as a running service does, and does nothing else."""
    code = (
        "import fcntl, os, sys, time\n"
        "file = open(sys.argv[1], 'w'); fcntl.flock(file, fcntl.LOCK_EX); file.write(f'{os.getpid()}\\nboot\\n')\n"
        "file.flush(); print('held', flush=True); time.sleep(3600)\n"
    )
    lock = str(load(root).places.lock)
    process = subprocess.Popen([sys.executable, "-c", code, lock], stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"held\n"
    yield process.pid
    process.kill()
    process.communicate()


@pytest.fixture
def answering(root: Path, holder: int) -> Iterator[int]:
    """The same, and somebody answers on the control socket as the main loop does."""
    socket, ended = ControlSocket(load(root).places.control, lambda: None), threading.Event()

    def answer() -> None:
        while not ended.wait(0.01):
            while not socket.commands.empty():
                socket.commands.get().answer(True, "running")

    thread = threading.Thread(target=answer)
    thread.start()
    yield holder
    ended.set()
    thread.join()
    socket.close()


def test_a_running_service_is_told_with_its_process(root: Path, healthy: Machine, answering: int) -> None:
    found = by_name(examine(root, None, healthy))
    assert (found["service"].result, found["service"].says) == ("ok", f"running as process {answering}")
    assert troubles(list(found.values())) == []
    Pause(load(root).places.pause).begin()
    assert ", paused since 20" in by_name(examine(root, None, healthy))["service"].says


def test_a_service_that_holds_the_lock_and_does_not_answer_fails(root: Path, healthy: Machine, holder: int) -> None:
    found = by_name(examine(root, None, healthy))
    assert troubles(list(found.values())) == ["service"]
    assert found["service"].result == "fail"
    assert f"process {holder} holds the lock" in found["service"].says


def test_a_main_loop_that_hangs_fails_with_a_word_of_its_own(
    root: Path, healthy: Machine, holder: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It accepts the connection, which is a thread's work, and never comes to answer."""
    monkeypatch.setattr("meshdrop.daemon.doctor.examine._ANSWER_S", 0.5)
    socket = ControlSocket(load(root).places.control, lambda: None)
    try:
        found = by_name(examine(root, None, healthy))
    finally:
        socket.close()
    assert troubles(list(found.values())) == ["service"]
    assert "main loop does not answer" in found["service"].says


def test_looking_for_a_service_leaves_the_lock_free(root: Path, healthy: Machine) -> None:
    lock = load(root).places.lock
    lock.write_text("4711\nboot\n")
    assert by_name(examine(root, None, healthy))["service"].says.startswith("not running")
    with lock.open() as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_what_a_killed_service_left_in_the_spool_is_told_and_is_no_fault(root: Path, healthy: Machine) -> None:
    """The next start takes it over by itself: nobody should be tempted to remove a lock."""
    lock = load(root).places.spool / "lock"
    lock.write_text(json.dumps({"pid": 4711, "name": "scanner", "beat": 3}).ljust(4096))
    assert "holds the spool" in by_name(examine(root, None, healthy))["service"].says
    os.utime(lock, (time.time() - HOUR,) * 2)
    found = by_name(examine(root, None, healthy))["service"]
    assert (found.result, "it was killed as process 4711 on scanner" in found.says) == ("ok", True)


def started(machine: Machine, pid: int, at: float) -> None:
    """A process as /proc shows it; the machine's boot was at 1,700,000,000."""
    ticks = round((at - 1_700_000_000) * os.sysconf("SC_CLK_TCK"))
    (machine.proc / str(pid)).mkdir(exist_ok=True)
    before = " ".join(["S", "1", *["0"] * 17])
    (machine.proc / str(pid) / "stat").write_text(f"{pid} (python3) {before} {ticks} 0 0\n")
    (machine.proc / str(pid) / "limits").write_text((machine.proc / "self/limits").read_text())


def test_a_service_older_than_the_program_is_a_warning(root: Path, healthy: Machine, answering: int) -> None:
    changed_at = (healthy.program / "daemon/cli/main.py").stat().st_mtime
    started(healthy, answering, changed_at + 60)
    found = changed(root, healthy, lambda: started(healthy, answering, changed_at - 60))
    assert (found.name, found.result) == ("running version", "warn")
    assert "main.py" in found.says


def test_limits_and_variables_of_a_running_service_count_not_those_of_the_shell(
    root: Path, healthy: Machine, answering: int
) -> None:
    started(healthy, answering, time.time())
    limits = healthy.proc / str(answering) / "limits"
    low = limits.read_text().replace("4096                 524288", "300                  524288")
    found = changed(root, healthy, lambda: limits.write_text(low))
    assert (found.name, found.says) == ("open files", "only 300 may be open at once")
    started(healthy, answering, time.time())
    environ = healthy.proc / str(answering) / "environ"
    found = changed(root, healthy, lambda: environ.write_bytes(b"PATH=/bin\0MESHDROP_STATEDIR=/x\0"))
    assert (found.name, found.result) == ("environment", "warn")
    assert "the running service" in found.says


def page(root: Path, *held: str) -> None:
    """What a service wrote last about itself."""
    facts = {"schema": SCHEMA, "held": list(held), "stopped": False, "at": time.time()}
    load(root).places.live_status.write_text(json.dumps(facts))


def test_what_holds_a_service_back_is_told(root: Path, healthy: Machine, answering: int) -> None:
    page(root)
    found = changed(root, healthy, lambda: page(root, "the disk is full"))
    assert (found.name, found.result, found.says) == ("held", "warn", "the disk is full")


def test_an_old_page_of_a_service_that_is_gone_holds_nothing(root: Path, healthy: Machine) -> None:
    page(root, "the disk is full")
    assert troubles(examine(root, None, healthy)) == []


# -- the unit ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def installed(root: Path, healthy: Machine) -> Path:
    """The unit of this version, installed for this root, and a systemd that is content."""
    file = healthy.fs / UNIT.relative_to("/")
    file.parent.mkdir(parents=True)
    file.write_text(site_of(root).unit())
    (healthy.fs / "run/systemd/system").mkdir(parents=True)
    systemd_says(healthy)
    return file


def systemd_says(machine: Machine, **facts: str) -> None:
    """A systemctl that answers with these properties."""
    told = {
        "ActiveState": "active",
        "Result": "success",
        "NRestarts": "0",
        "UnitFileState": "enabled",
        "NeedDaemonReload": "no",
        **facts,
    }
    script(machine, "systemctl", "".join(f"echo {name}={value}\n" for name, value in told.items()))


def test_a_unit_that_is_not_this_versions_is_a_warning(root: Path, healthy: Machine, installed: Path) -> None:
    installed.write_text("# mine\n\n" + installed.read_text())
    text = installed.read_text().replace("LimitNOFILE=4096", "LimitNOFILE=512")
    found = changed(root, healthy, lambda: installed.write_text(text))
    assert (found.name, found.result) == ("unit", "warn")
    assert "LimitNOFILE=4096" in found.says
    assert found.fix.startswith(f"sudo meshdrop service install --root {root}")


@pytest.mark.parametrize(
    ("facts", "result", "says"),
    [
        ({"NeedDaemonReload": "yes"}, "warn", "has not read it again"),
        ({"ActiveState": "failed", "Result": "exit-code"}, "fail", "result exit-code"),
        ({"UnitFileState": "disabled"}, "warn", "not enabled"),
        ({"NRestarts": "12"}, "warn", "12 times"),
    ],
)
def test_what_systemd_complains_of_is_told(
    root: Path, healthy: Machine, installed: Path, facts: dict[str, str], result: str, says: str
) -> None:
    found = changed(root, healthy, lambda: systemd_says(healthy, **facts))
    assert (found.name, found.result) == ("unit", result)
    assert says in found.says


def test_the_unit_of_another_root_is_none_of_ours(root: Path, healthy: Machine, installed: Path) -> None:
    installed.write_text(installed.read_text().replace(str(root), "/srv/other") + "Bogus=1\n")
    assert troubles(examine(root, None, healthy)) == []


# -- the record --------------------------------------------------------------------------------------------------------


def test_a_damaged_record_fails_and_the_copy_is_named_that_a_start_puts_back(root: Path, healthy: Machine) -> None:
    """The newest sound one: the newest of all is no database."""
    places = load(root).places
    for stamp in ("20260101T000000Z", "20260201T000000Z"):
        shutil.copyfile(places.database, places.backups / f"meshdrop-{stamp}.db")
    (places.backups / "meshdrop-20260301T000000Z.db").touch()

    def fault() -> None:
        content = bytearray(places.database.read_bytes())
        content[4096:8192] = b"\xaa" * 4096  # the second page: some table's or index's root
        places.database.write_bytes(content)

    found = changed(root, healthy, fault)
    assert (found.name, found.result) == ("record", "fail")
    assert f"{places.backups}/meshdrop-20260201T000000Z.db" in found.why


def test_a_folder_in_the_place_of_the_record_fails(root: Path, healthy: Machine) -> None:
    database = load(root).places.database

    def replace_it() -> None:
        database.unlink()
        database.mkdir()

    found = changed(root, healthy, replace_it)
    assert (found.name, found.result) == ("record", "fail")
    assert "not a plain file" in found.says


def test_a_record_that_was_put_back_is_told_for_a_week(root: Path, healthy: Machine) -> None:
    places = load(root).places
    shutil.copyfile(places.database, places.backups / "meshdrop-20260101T000000Z.db")
    places.database.write_bytes(b"x" * 8192)
    open_record(places).close()
    found = by_name(examine(root, None, healthy))["record"]
    assert found.result == "warn"
    assert "put back from meshdrop-20260101T000000Z.db on 20" in found.says
    assert "is damaged" in found.why
    later = replace(healthy, now=lambda: time.time() + 8 * 86_400)
    assert by_name(examine(root, None, later))["record"].result == "ok"


@pytest.mark.parametrize(("revision", "says"), [("9999_from_the_future", "newer"), (None, "some other program's")])
def test_a_record_of_another_version_is_told_and_left_alone(
    root: Path, healthy: Machine, revision: str | None, says: str
) -> None:
    database = load(root).places.database

    def fault() -> None:
        with closing(sqlite3.connect(database)) as connection, connection:
            connection.execute("DELETE FROM alembic_version")
            if revision is not None:
                connection.execute("INSERT INTO alembic_version VALUES (?)", (revision,))

    found = changed(root, healthy, fault)
    assert (found.name, found.result) == ("record", "fail")
    assert says in found.says
    with closing(sqlite3.connect(database)) as connection:
        assert connection.execute("SELECT version_num FROM alembic_version").fetchone() == (revision and (revision,))


def test_what_a_running_service_wrote_last_is_read_too(root: Path, healthy: Machine) -> None:
    """The newest commits stand in the log beside the database; reading the file alone would miss them."""
    database = load(root).places.database
    writer = sqlite3.connect(database)
    writer.execute("PRAGMA journal_mode=WAL")
    with writer:
        writer.execute("UPDATE alembic_version SET version_num = '9999_from_the_future'")
    try:
        assert "9999_from_the_future" in by_name(examine(root, None, healthy))["record"].says
    finally:
        writer.close()
    assert HEAD != "9999_from_the_future"


def test_a_record_too_large_to_be_read_whole_is_opened_only(
    root: Path, healthy: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(check_record, "_READ_WHOLE", 1000)
    found = by_name(examine(root, None, healthy))["record"]
    assert (found.result, "too large to read whole here" in found.says) == ("ok", True)


# -- copies ------------------------------------------------------------------------------------------------------------


def happened(root: Path, at: float) -> None:
    """An event of some job."""
    insert(root, "event", {"job_id": add_job(root, "DONE_CLEAN"), "at": at, "kind": "claimed"})


def copied(root: Path, at: float) -> Path:
    """A copy of the record, made then."""
    places = load(root).places
    database = Database(places.database)
    copy = database.backup(places.backups)
    database.close()
    os.utime(copy, (at, at))
    return copy


def test_copies_that_are_too_old_for_the_record_are_a_warning(root: Path, healthy: Machine) -> None:
    """The record's last event counts, not its file's time: a service that idles for weeks needs no new copy."""
    now = time.time()
    copied(root, now - 5 * HOUR)
    happened(root, now - 5 * HOUR + 60)
    found = changed(root, healthy, lambda: happened(root, now - 60))
    assert (found.name, found.result) == ("backups", "warn")
    assert "5 hours older" in found.says


def test_no_copy_at_all_is_a_warning_after_an_hour(root: Path, healthy: Machine) -> None:
    for copy in load(root).places.backups.iterdir():
        copy.unlink()
    happened(root, time.time())
    found = changed(root, healthy, lambda: replace(healthy, now=lambda: time.time() + 2 * HOUR))
    assert (found.name, found.result, found.says) == ("backups", "warn", "there is no copy")


def test_a_newest_copy_that_cannot_be_used_is_a_warning(root: Path, healthy: Machine) -> None:
    now = time.time()
    copy = copied(root, now)
    happened(root, now)

    def fault() -> None:
        copy.write_bytes(b"no database")
        os.utime(copy, (now, now))

    found = changed(root, healthy, fault)
    assert (found.name, found.result) == ("backups", "warn")
    assert copy.name in found.says


# -- the queue and what fails ------------------------------------------------------------------------------------------


def test_accepted_captures_without_a_service_are_a_warning(root: Path, healthy: Machine) -> None:
    found = changed(root, healthy, lambda: add_job(root, "QUEUED", queued_at=time.time()))
    assert (found.name, found.result) == ("queue", "warn")
    assert found.says.startswith("1 accepted captures wait")


def test_a_queue_that_does_not_move_is_a_warning_unless_it_is_paused(
    root: Path, healthy: Machine, answering: int
) -> None:
    started(healthy, answering, time.time())
    found = changed(root, healthy, lambda: add_job(root, "QUEUED", name=b"ch\x1bair", queued_at=time.time() - 3 * HOUR))
    assert (found.name, found.result) == ("queue", "warn")
    assert "waits for 3 hours" in found.says
    assert "\x1b" not in found.says
    pause = Pause(load(root).places.pause)
    pause.begin()
    assert troubles(examine(root, None, healthy)) == []
    pause.end()
    add_job(root, "RUNNING", started_at=time.time())
    assert troubles(examine(root, None, healthy)) == [], "something is being worked on"


@pytest.mark.parametrize("code", ["poison", "unreadable"])
def test_a_capture_that_brought_the_service_down_is_told_for_a_week(root: Path, healthy: Machine, code: str) -> None:
    found = changed(
        root, healthy, lambda: add_job(root, "FAILED_CLEAN", reason_code=code, finished_at=time.time() - HOUR)
    )
    assert (found.name, found.result) == ("failures", "warn")
    assert "meshdrop show " in found.fix
    later = replace(healthy, now=lambda: time.time() + 8 * 86_400)
    assert by_name(examine(root, None, later))["failures"].result == "ok"


def test_half_of_the_last_captures_failing_is_a_warning_that_names_the_commonest_reason(
    root: Path, healthy: Machine
) -> None:
    for number in range(4):
        add_job(root, "DONE_CLEAN", finished_at=time.time() - number)
    add_job(root, "FAILED_CLEAN", reason_code="cancelled", finished_at=time.time())
    for _ in range(3):
        add_job(root, "FAILED_CLEAN", reason_code="capture", finished_at=time.time())
    found = changed(
        root,
        healthy,
        lambda: [add_job(root, "FAILED_CLEAN", reason_code="quality", finished_at=time.time()) for _ in range(2)],
    )
    assert (found.name, found.result) == ("failures", "warn")
    assert "5 of the last 10 captures failed, 3 of them: The capture has a problem" in found.says


def test_a_model_that_mostly_fails_for_the_machines_sake_is_a_warning(root: Path, healthy: Machine) -> None:
    """What it was given is no fault of the machine, and so is a few times."""
    job = add_job(root, "DONE_CLEAN", finished_at=time.time())
    for _ in range(4):
        add_run(root, job, "mine", "failed", "bad_input")
    for _ in range(3):
        add_run(root, job, "mine", "failed", "gpu_memory")
    found = changed(root, healthy, lambda: add_run(root, job, "mine", "failed", "gpu_memory"))
    assert (found.name, found.result) == ("failures", "warn")
    assert "4 of the last 8 runs of mine ended with gpu_memory" in found.says
