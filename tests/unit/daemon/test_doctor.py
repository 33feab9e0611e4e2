"""One fault at a time, real wherever a test can make it real: exactly that line of the doctor's report changes."""

from __future__ import annotations

import fcntl
import json
import os
import resource
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from email.message import Message
from importlib.metadata import PackageNotFoundError, metadata
from pathlib import Path

import pytest
from rich.console import Console

from daemon import check_machine, check_models
from daemon.doctor import examine, findings_view
from daemon.finding import Finding
from daemon.machine import Machine, Room, gpu_seen
from daemon.record import open_record
from daemon.settings import config_file, load
from daemon.share import create_root
from db.engine import Database
from db.schema import HEAD

GB = 10**9


@pytest.fixture
def healthy(tmp_path: Path) -> Machine:
    """A machine without a GPU on which nothing is wrong, whatever is wrong with the one that runs the tests."""
    proc, dev = tmp_path / "proc", tmp_path / "dev"
    (proc / "sys/fs/inotify").mkdir(parents=True)
    (proc / "sys/fs/inotify/max_user_instances").write_text("128\n")
    (proc / "sys/fs/inotify/max_user_watches").write_text("65536\n")
    dev.mkdir()
    return Machine(
        proc=proc, dev=dev, sqlite=(3, 51, 3), network_type=lambda path: None, open_files=lambda: 4096,
        room=lambda path: Room(100 * GB, 1_000_000),
    )  # fmt: skip


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A root as ``meshdrop init`` and a first start leave it, and no settings from outside."""
    for name in [name for name in os.environ if name.startswith("MESHDROP_")]:
        monkeypatch.delenv(name)
    root = tmp_path / "scans"
    places = load(root).places
    create_root(places)
    database = Database(places.database)
    database.migrate(places.backups)
    database.close()
    return root


@pytest.fixture
def quick_models(monkeypatch: pytest.MonkeyPatch) -> None:
    """Spare the second that importing a model takes, where a test is about something else."""
    monkeypatch.setattr(check_models, "_ASK", "print('null')")


def by_name(findings: list[Finding]) -> dict[str, Finding]:
    """The lines by name; each name stands there once."""
    named = {finding.name: finding for finding in findings}
    assert len(named) == len(findings)
    return named


def changed(root: Path, healthy: Machine, fault: Callable[[], object]) -> Finding:
    """The one line that differs after ``fault``, which must be the only one. A fault may be another machine."""
    before = by_name(examine(root, None, healthy))
    assert {finding.result for finding in before.values()} == {"ok"}
    faulty = fault()
    after = by_name(examine(root, None, faulty if isinstance(faulty, Machine) else healthy))
    assert after.keys() == before.keys()
    different = [name for name in before if after[name].result != "ok"]
    assert len(different) == 1, [after[name] for name in different]
    return after[different[0]]


def tree(top: Path) -> dict[Path, tuple[int, int]]:
    """Every path below ``top`` with its size and time of change (0 for folders, whose times a probe may move)."""
    return {
        path: (path.stat().st_size, path.stat().st_mtime_ns) if path.is_file() else (0, 0) for path in top.rglob("*")
    }


def test_a_healthy_root_is_all_ok_and_nothing_is_changed(root: Path, healthy: Machine) -> None:
    before = tree(root)
    findings = examine(root, None, healthy)
    assert [finding for finding in findings if finding.result != "ok"] == []
    assert tree(root) == before


def test_a_root_that_was_never_started_is_all_ok(tmp_path: Path, healthy: Machine, quick_models: None) -> None:
    create_root(load(tmp_path / "new").places)
    assert {finding.result for finding in examine(tmp_path / "new", None, healthy)} == {"ok"}


# -- the machine ------------------------------------------------------------------------------------------------------


def test_an_old_sqlite_is_a_warning(root: Path, healthy: Machine, quick_models: None) -> None:
    found = changed(root, healthy, lambda: replace(healthy, sqlite=(3, 51, 2)))
    assert (found.name, found.result) == ("sqlite", "warn")
    assert "3.51.2" in found.says


def test_a_low_limit_of_open_files_is_a_warning(root: Path, healthy: Machine, quick_models: None) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)

    def fault() -> Machine:
        resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
        return replace(healthy, open_files=Machine().open_files)

    try:
        found = changed(root, healthy, fault)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert (found.name, found.result, found.says) == ("open files", "warn", "only 256 may be open at once")


@pytest.mark.parametrize("name", ["max_user_instances", "max_user_watches"])
def test_a_low_inotify_limit_is_a_warning_that_names_the_limit(
    root: Path, healthy: Machine, quick_models: None, name: str
) -> None:
    found = changed(root, healthy, lambda: (healthy.proc / "sys/fs/inotify" / name).write_text("8"))
    assert (found.name, found.result, found.says) == ("inotify", "warn", f"fs.inotify.{name} is 8")
    assert found.fix == f"sudo sysctl -w fs.inotify.{name}={check_machine.INOTIFY_GOOD[name]}"


def with_version(name: str, version: str | None) -> Callable[[str], Message]:
    """The metadata of this environment, but one package is of another version, or missing."""

    def look(asked: str) -> Message:
        if asked != name:
            return metadata(asked)  # type: ignore[return-value]
        if version is None:
            raise PackageNotFoundError(asked)
        other = Message()
        other["Version"] = version
        return other

    return look


@pytest.mark.parametrize(("version", "says"), [("1.26.4", "numpy is 1.26.4, not "), (None, "numpy is missing")])
def test_a_wrong_or_missing_package_fails(
    root: Path, healthy: Machine, quick_models: None, version: str | None, says: str
) -> None:
    found = changed(root, healthy, lambda: replace(healthy, metadata=with_version("numpy", version)))
    assert (found.name, found.result) == ("packages", "fail")
    assert found.says.startswith(says)


def test_a_python_older_than_the_package_allows_fails(root: Path, healthy: Machine, quick_models: None) -> None:
    found = changed(root, healthy, lambda: replace(healthy, python="3.10.14"))
    assert (found.name, found.result) == ("python", "fail")


def plug_in(machine: Machine, *nodes: str, driver: bool = True) -> None:
    """Let the kernel show a driver and device nodes."""
    if driver:
        folder = machine.proc / "driver/nvidia"
        folder.mkdir(parents=True)
        version = "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.95.05  Release Build  (root)\n"
        (folder / "version").write_text(version + "GCC version:  gcc version 12.3.0\n")
    for node in nodes:
        (machine.dev / node).touch()


def test_a_gpu_is_told_from_what_the_kernel_shows(healthy: Machine) -> None:
    plug_in(healthy, "nvidia0", "nvidia1", "nvidiactl", "nvidia-uvm", "nvidia-uvm-tools")
    seen = gpu_seen(healthy.proc, healthy.dev)
    assert (seen.driver, [card.name for card in seen.cards]) == ("580.95.05", ["nvidia0", "nvidia1"])
    found = check_machine.gpu(healthy, ["fusion"])
    assert (found.result, found.says) == ("ok", "2 NVIDIA GPU(s), driver 580.95.05")


@pytest.mark.parametrize("nodes", [(), ("nvidia0", "nvidiactl"), ("nvidia-uvm",)])
def test_a_driver_without_its_device_nodes_is_a_warning(
    root: Path, healthy: Machine, quick_models: None, nodes: tuple[str, ...]
) -> None:
    found = changed(root, healthy, lambda: plug_in(healthy, *nodes))
    assert (found.name, found.result) == ("gpu", "warn")
    assert "nvidia-modprobe" in found.fix


def test_a_gpu_that_this_user_may_not_open_is_a_warning(root: Path, healthy: Machine, quick_models: None) -> None:
    def fault() -> Machine:
        plug_in(healthy, "nvidia0", "nvidia-uvm")
        return replace(healthy, may_use=lambda path: False)

    found = changed(root, healthy, fault)
    assert (found.name, found.result) == ("gpu", "warn")
    assert "usermod" in found.fix


def test_no_gpu_matters_only_to_models_that_need_one(healthy: Machine) -> None:
    assert check_machine.gpu(healthy, ["fusion"]).result == "ok"
    found = check_machine.gpu(healthy, ["fusion", "nvdiffrec"])
    assert found.result == "warn"
    assert "nvdiffrec" in found.says


# -- the folders ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["inbox", "outbox", "failed", "status"])
def test_a_missing_public_folder_fails(root: Path, healthy: Machine, quick_models: None, name: str) -> None:
    found = changed(root, healthy, (root / name).rmdir)
    assert (found.name, found.result, found.says) == ("folders", "fail", f"{root} lacks {name}")
    assert found.fix == f"meshdrop init {root}"


def test_a_root_without_its_sentinel_fails(root: Path, healthy: Machine, quick_models: None) -> None:
    found = changed(root, healthy, (root / ".meshdrop-id").unlink)
    assert (found.name, found.result) == ("root", "fail")


def test_a_root_that_is_away_is_one_failure_and_ends_the_look_at_folders(
    root: Path, healthy: Machine, quick_models: None
) -> None:
    shutil.rmtree(root)
    findings = by_name(examine(root, None, healthy))
    assert [finding.name for finding in findings.values() if finding.result != "ok"] == ["root"]
    assert "moving" not in findings


def test_a_spool_on_another_mount_fails_by_a_real_rename(
    root: Path, healthy: Machine, quick_models: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = Path("/dev/shm")
    if not other.is_dir() or other.stat().st_dev == root.stat().st_dev:
        pytest.skip("this machine has no second file system to put the spool on")
    spool = other / f"meshdrop-test-{os.getpid()}"
    (spool / "claimed").mkdir(parents=True)
    (spool / "staging").mkdir()
    try:
        found = changed(root, healthy, lambda: monkeypatch.setenv("MESHDROP_SPOOL_DIR", str(spool)))
        left = list(spool.rglob(".probe*")) + list(root.rglob(".probe*"))
    finally:
        shutil.rmtree(spool)
    assert (found.name, found.result) == ("moving", "fail")
    assert "one mount" in found.fix
    assert left == []


def test_a_network_share_is_a_warning_and_a_network_state_folder_a_failure(
    root: Path, healthy: Machine, quick_models: None
) -> None:
    state = root / ".meshdrop/state"
    on_nfs = replace(healthy, network_type=lambda path: "nfs" if path == root else None)
    share = changed(root, healthy, lambda: on_nfs)
    assert (share.name, share.result) == ("share", "warn")
    on_cifs = replace(healthy, network_type=lambda path: "cifs" if path == state else None)
    record = changed(root, healthy, lambda: on_cifs)
    assert (record.name, record.result) == ("state", "fail")
    assert "state_dir" in record.fix


def test_folders_of_another_user_are_a_warning_with_the_command_that_asks_as_that_user(
    root: Path, healthy: Machine, quick_models: None
) -> None:
    found = changed(root, healthy, lambda: replace(healthy, user_id=lambda: os.geteuid() + 1))
    assert (found.name, found.result) == ("user", "warn")
    assert found.fix.startswith("sudo -u ")


def test_a_folder_in_the_inbox_that_may_not_be_moved_is_a_warning(
    root: Path, healthy: Machine, quick_models: None
) -> None:
    (root / "inbox/mine").mkdir()
    (root / "inbox/chair\x1b[31m").mkdir()
    others = replace(healthy, may_use=lambda path: path.name == "mine")
    found = changed(root, healthy, lambda: others)
    assert (found.name, found.result) == ("inbox", "warn")
    assert found.says.startswith("1 of 2 folders")
    assert "\x1b" not in found.says


# Settings by default: 2048 MB are kept free, and three times the largest capture is 3 * 200 = 600 MB.
@pytest.mark.parametrize(
    ("free_mb", "largest_mb", "result"), [(2049, 200, "ok"), (2047, 200, "fail"), (2999, 1000, "warn")]
)
def test_free_space_is_held_against_the_largest_capture(
    root: Path, healthy: Machine, quick_models: None, free_mb: int, largest_mb: int, result: str
) -> None:
    config_file(root).write_text(f"max_capture_mb = {largest_mb}\n")
    tight = replace(healthy, room=lambda path: Room(free_mb * 10**6, None))
    findings = by_name(examine(root, None, tight))
    assert findings.pop("free space").result == result
    assert {finding.result for finding in findings.values()} == {"ok"}


@pytest.mark.parametrize(("inodes", "result"), [(9_999, "warn"), (999, "fail")])
def test_few_inodes_are_told(root: Path, healthy: Machine, quick_models: None, inodes: int, result: str) -> None:
    found = changed(root, healthy, lambda: replace(healthy, room=lambda path: Room(100 * GB, inodes)))
    assert (found.name, found.result) == ("free inodes", result)


def test_a_cache_that_cannot_be_written_fails(root: Path, healthy: Machine, quick_models: None) -> None:
    cache = load(root).places.cache

    def fault() -> None:
        cache.rmdir()
        cache.write_text("in the way")

    found = changed(root, healthy, fault)
    assert (found.name, found.result, found.fix) == ("kernel cache", "fail", f"rm {cache}")


@pytest.fixture
def holder(root: Path) -> Iterator[int]:
    """A process that holds the lock as a running service does."""
    code = (
        "import fcntl, os, sys, time\n"
        "file = open(sys.argv[1], 'w'); fcntl.flock(file, fcntl.LOCK_EX); file.write(f'{os.getpid()}\\nboot\\n')\n"
        "file.flush(); print('held', flush=True); time.sleep(60)\n"
    )
    lock = str(load(root).places.lock)
    process = subprocess.Popen([sys.executable, "-c", code, lock], stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"held\n"
    yield process.pid
    process.kill()
    process.communicate()


def test_a_running_service_is_told_with_its_process(
    root: Path, healthy: Machine, quick_models: None, holder: int
) -> None:
    found = by_name(examine(root, None, healthy))["service"]
    assert (found.result, found.says) == ("ok", f"running as process {holder}")


def test_looking_for_a_service_leaves_the_lock_free(root: Path, healthy: Machine, quick_models: None) -> None:
    lock = load(root).places.lock
    lock.write_text("4711\nboot\n")
    assert by_name(examine(root, None, healthy))["service"].says.startswith("not running")
    with lock.open() as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


# -- the record -------------------------------------------------------------------------------------------------------


def test_a_damaged_record_fails_and_the_copy_is_named_that_a_start_puts_back(
    root: Path, healthy: Machine, quick_models: None
) -> None:
    """The newest sound one: the newest of all is no database."""
    places = load(root).places
    for stamp in ("20260101T000000Z", "20260201T000000Z"):
        shutil.copyfile(places.database, places.backups / f"meshdrop-{stamp}.db")
    (places.backups / "meshdrop-20260301T000000Z.db").touch()

    def fault() -> None:
        content = bytearray(places.database.read_bytes())
        content[4096:8192] = b"\xaa" * 4096     # the second page: some table's or index's root
        places.database.write_bytes(content)

    found = changed(root, healthy, fault)
    assert (found.name, found.result) == ("record", "fail")
    assert f"{places.backups}/meshdrop-20260201T000000Z.db" in found.why


def test_a_record_that_was_put_back_is_told_for_a_week(root: Path, healthy: Machine, quick_models: None) -> None:
    places = load(root).places
    shutil.copyfile(places.database, places.backups / "meshdrop-20260101T000000Z.db")
    places.database.write_bytes(b"x" * 8192)
    open_record(places).close()
    found = by_name(examine(root, None, healthy))["record"]
    assert found.result == "warn"
    assert "put back from meshdrop-20260101T000000Z.db on 20" in found.says
    assert "is damaged" in found.why
    (note,) = places.state.glob("corrupt/*/restored.json")
    told = json.loads(note.read_text())
    note.write_text(json.dumps({**told, "at": told["at"] - 8 * 86_400}))
    assert by_name(examine(root, None, healthy))["record"].result == "ok"


@pytest.mark.parametrize(("revision", "result"), [("9999_from_the_future", "fail"), (None, "warn")])
def test_a_record_of_another_version_is_told_and_left_alone(
    root: Path, healthy: Machine, quick_models: None, revision: str | None, result: str
) -> None:
    database = load(root).places.database

    def fault() -> None:
        with sqlite3.connect(database) as connection:
            connection.execute("DELETE FROM alembic_version")
            if revision is not None:
                connection.execute("INSERT INTO alembic_version VALUES (?)", (revision,))
        connection.close()

    found = changed(root, healthy, fault)
    assert (found.name, found.result) == ("record", result)
    with sqlite3.connect(database) as connection:
        assert connection.execute("SELECT version_num FROM alembic_version").fetchone() == (revision and (revision,))
    connection.close()


def test_what_a_running_service_wrote_last_is_read_too(root: Path, healthy: Machine, quick_models: None) -> None:
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


# -- settings and models ----------------------------------------------------------------------------------------------


def test_wrong_settings_are_one_failure_with_all_problems_and_end_the_look_at_folders(
    root: Path, healthy: Machine
) -> None:
    config_file(root).write_text('settle_s = -1\nmodels = ["fusoin"]\nsettel = 3\n')
    findings = by_name(examine(root, None, healthy))
    assert [finding.name for finding in findings.values() if finding.result != "ok"] == ["settings"]
    assert "settle_s" in findings["settings"].says
    assert "settel" in findings["settings"].says
    assert "moving" not in findings
    assert not any(name.startswith("model ") for name in findings)


def test_settings_that_this_user_may_not_read_name_the_user_who_may(
    root: Path, healthy: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is forbidden to root, so the refusal of the kernel is raised in its place."""

    def refused(*_: object) -> None:
        raise PermissionError(13, "Permission denied", str(config_file(root)))

    monkeypatch.setattr("daemon.doctor.load", refused)
    findings = by_name(examine(root, None, healthy))
    assert [finding.name for finding in findings.values() if finding.result != "ok"] == ["settings"]
    assert str(config_file(root)) in findings["settings"].says
    assert findings["settings"].fix == f"sudo -u {root.owner()} meshdrop doctor --root {root}"


def test_without_any_root_the_machine_is_still_examined(
    tmp_path: Path, healthy: Machine, quick_models: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MESHDROP_ROOT", raising=False)
    monkeypatch.chdir(tmp_path)
    findings = by_name(examine(None, None, healthy))
    assert [(finding.name, finding.result) for finding in findings.values() if finding.result != "ok"] == [
        ("settings", "warn")
    ]
    assert "meshdrop init" in findings["settings"].fix
    assert {"gpu", "model fusion"} <= findings.keys()


def test_a_model_that_cannot_run_is_a_warning_beside_one_that_can(root: Path, healthy: Machine) -> None:
    config_file(root).write_text(
        'models = ["fusion", "mine"]\n[custom_models]\nmine = "no_such_package.model:Mine"\n'
    )
    findings = by_name(examine(root, None, healthy))
    assert findings["model fusion"].result == "ok"
    assert findings["model mine"].result == "warn"
    assert "no_such_package" in findings["model mine"].says


BROKEN_MODELS = {
    "it says so itself": ("@classmethod\n    def probe(cls):\n        raise ModelUnavailable('no luck', 'try again')",
                          "no luck"),
    "it refuses its settings": ("def __init__(self, settings, progress):\n        raise ValueError('odd size')",
                                "odd size"),
    "its process dies": ("@classmethod\n    def probe(cls):\n        import os; os._exit(9)", "code 9"),
    "it raises anything": ("@classmethod\n    def probe(cls):\n        raise RuntimeError('boom')", "boom"),
}  # fmt: skip


@pytest.mark.parametrize("case", BROKEN_MODELS)
def test_a_root_whose_only_model_cannot_run_fails_whatever_the_reason(
    root: Path, healthy: Machine, tmp_path: Path, case: str
) -> None:
    body, says = BROKEN_MODELS[case]
    file = tmp_path / "mine.py"
    file.write_text(
        "from models.base import ModelUnavailable, ReconstructionModel\n"
        "print('chatter on stdout')\n"
        f"class Mine(ReconstructionModel):\n    name = 'mine'\n    {body}\n"
        "    def inference(self, capture, output_dir): raise NotImplementedError\n"
    )
    config_file(root).write_text(f'models = ["mine"]\n[custom_models]\nmine = "{file}:Mine"\n')
    findings = by_name(examine(root, None, healthy))
    found = findings.pop("model mine")
    assert found.result == "fail"
    assert says in found.says
    assert {finding.result for finding in findings.values()} == {"ok"}


# -- how it is told ---------------------------------------------------------------------------------------------------


def test_the_page_shows_every_line_with_its_cure_and_counts_them() -> None:
    findings = [
        Finding("python", "ok", "Python 3.12.1"),
        Finding("folders", "fail", "/srv/[x] lacks inbox", "the service refuses to start", "meshdrop init '/srv/[x]'"),
        Finding("sqlite", "warn", "SQLite 3.40.1", "a rare race", "a newer Python"),
    ]
    console = Console(width=100, record=True, file=open(os.devnull, "w"))  # noqa: SIM115 - lives as long as the test
    console.print(findings_view(findings))
    text = console.export_text()
    assert "/srv/[x] lacks inbox" in text
    assert "fix: meshdrop init '/srv/[x]'" in text
    assert "1 to cure before Meshdrop can work; 1 worth a look." in text
    assert json.loads(json.dumps([finding.to_json() for finding in findings]))[1]["fix"] == "meshdrop init '/srv/[x]'"


def test_a_line_that_is_not_ok_must_say_what_cures_it() -> None:
    with pytest.raises(ValueError, match="cures"):
        Finding("x", "warn", "something")


def test_the_doctor_loads_no_library_of_the_models() -> None:
    code = (
        "import sys\nfrom daemon.doctor import examine\nexamine(None, None)\n"
        "print([name for name in ('torch', 'numba', 'trimesh', 'skimage', 'scipy', 'numpy') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd="/")
    assert done.stdout.strip() == "[]"
