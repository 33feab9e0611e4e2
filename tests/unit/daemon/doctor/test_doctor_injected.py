"""Faults of real installations, made for real: other owners deep inside, folders in each other's way, hangs."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from meshdrop.daemon.base.errors import ConfigurationError
from meshdrop.daemon.base.settings import config_file, load
from meshdrop.daemon.base.users import user_name
from meshdrop.daemon.doctor.checks import disks as check_disks
from meshdrop.daemon.doctor.checks import folders as check_folders
from meshdrop.daemon.doctor.checks import run as checkup
from meshdrop.daemon.doctor.checks import settings as check_settings
from meshdrop.daemon.doctor.checks.finding import Finding
from meshdrop.daemon.doctor.checks.gpu import Cards
from meshdrop.daemon.doctor.checks.machine import clock
from meshdrop.daemon.doctor.checks.models import asked
from meshdrop.daemon.doctor.checks.run import Check, carry_out
from meshdrop.daemon.doctor.checks.service import instance
from meshdrop.daemon.doctor.examine import examine
from meshdrop.daemon.doctor.repairs import plan
from meshdrop.daemon.doctor.start_checks import refuse_what_loses_data
from meshdrop.daemon.host.machine import Machine, Room
from meshdrop.daemon.host.processes import ProcessFacts
from meshdrop.daemon.install.site import UNIT
from meshdrop.daemon.install.steps import site_of
from tests.rig import is_gone, wait_for
from tests.unit.daemon.doctor.ailments import (
    by_name,
    changed,
    insert,
    store_rig,
    troubles,
    without_roots_rights,
    write_smi,
)

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files away")
STRANGER = 12345


def seen_without_roots_rights(root: Path, machine: Machine) -> list[tuple[str, str, str]]:
    """Name, result and cure of every line that is not in order, as a user to whom the modes of files apply."""
    found = without_roots_rights(lambda: [one.to_json() for one in examine(root, None, machine)])
    return [(one["name"], one["result"], one["fix"]) for one in found if one["result"] in ("warn", "fail")]


# -- owners ------------------------------------------------------------------------------------------------------------


STATE = ".meshdrop/state"
OWNED = {
    "a working folder": (os.path.join(STATE, "work", "1", "a1", ""), "private folders"),
    "a claimed capture's picture": (".meshdrop/spool/claimed/1/views/view_00.png", "private folders"),
    "an original that is kept": (".meshdrop/spool/kept/1/", "private folders"),
    "the log of the record": (f"{STATE}/meshdrop.db-wal", "record"),
    "the index of that log": (f"{STATE}/meshdrop.db-shm", "record"),
    "a copy of the record": (f"{STATE}/backup/meshdrop-20260101T000000Z.db", "backups"),
    "the rigs": (".meshdrop/rigs/", "rigs"),
    "a picture that waits": ("inbox/chair/views/view_00.png", "inbox"),
    "a folder of pictures that wait": ("inbox/chair/views/", "inbox"),
    "the mark of the root": (".meshdrop-id", "root"),
}


@as_root
@pytest.mark.usefixtures("quick_models")
@pytest.mark.parametrize("case", OWNED)
def test_one_file_of_another_user_is_one_line_with_a_cure_that_names_it(
    root: Path, healthy: Machine, case: str
) -> None:
    """As a command that somebody ran as another user leaves it behind."""
    place, line = OWNED[case]
    path, database = root / place, load(root).places.database
    (path if place.endswith("/") else path.parent).mkdir(parents=True, exist_ok=True)
    insert(root, "event", {"job_id": "x", "at": time.time() - 60, "kind": "claimed"})
    if line == "backups":
        shutil.copyfile(database, path)
    assert seen_without_roots_rights(root, healthy) == []
    path.touch()
    os.chown(path, STRANGER, STRANGER)
    path.chmod(0o600)
    [(name, _, fix)] = seen_without_roots_rights(root, healthy)
    assert name == line
    assert "chown" in fix
    assert str(path if line not in ("backups", "record", "inbox") else path.parent)[: len(str(root)) + 6] in fix


@as_root
def test_the_user_is_named_as_it_is_and_not_as_the_shell_calls_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOGNAME", "somebody")
    monkeypatch.setenv("USER", "somebody")
    assert user_name() == "root"


# -- folders in each other's way ---------------------------------------------------------------------------------------


def link(place: Path, target: Path) -> None:
    """A link in the place of an empty folder."""
    place.rmdir()
    place.symlink_to(target)


CLASHES: dict[str, tuple[Callable[[Path], object], str]] = {
    "the inbox is the outbox": (lambda root: link(root / "inbox", root / "outbox"), "are the same folder"),
    "the inbox is the spool": (lambda root: link(root / "inbox", root / ".meshdrop/spool/claimed"), "which is private"),
    "the state is the root": (lambda root: config_file(root).write_text(f'state_dir = "{root}"\n'), "which is private"),
    "spool and state are one": (
        lambda root: config_file(root).write_text(f'spool_dir = "{root}/.meshdrop/state"\n'),
        "spool and state are both",
    ),
    "the state lies in the spool": (
        lambda root: config_file(root).write_text(f'state_dir = "{root}/.meshdrop/spool/claimed"\n'),
        "lies inside",
    ),
    "the weights are captures": (
        lambda root: config_file(root).write_text(f'weights_dir = "{root}/inbox"\n'),
        "weights_dir is",
    ),
}


@pytest.mark.usefixtures("quick_models")
@pytest.mark.parametrize("case", CLASHES)
def test_folders_that_are_in_each_others_way_fail_end_a_start_and_are_not_mended(
    root: Path, healthy: Machine, case: str
) -> None:
    """``--fix`` would close the share to its people where the state is the root."""
    fault, says = CLASHES[case]
    found = changed(root, healthy, lambda: fault(root))
    assert (found.name, found.result) == ("private folders", "fail")
    assert says in found.says
    with pytest.raises(ConfigurationError, match=says):
        refuse_what_loses_data(load(root))
    assert plan([found], load(root).places) == []


# -- settings ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"setle_s = 2.0\n", "setle_s: there is no such setting; is settle_s meant?"),
        (b'models = "fusion"\n', 'models: a list is wanted, for example ["fusion"]'),
        (b'state_dir = "state"\n', "state_dir: a path from / is wanted"),
        (b'state_dir = "~/state"\n', "state_dir: a path from / is wanted"),
        (b"# f\xfcr uns\n", "is not UTF-8 text (line 1)"),
        ("settle_s = 2.0".encode("utf-16"), "is not UTF-8 text"),
    ],
)
def test_what_is_wrong_in_a_settings_file_is_said_in_its_own_words(
    root: Path, healthy: Machine, quick_models: None, content: bytes, says: str
) -> None:
    config_file(root).write_bytes(content)
    found = by_name(examine(root, None, healthy))["settings"]
    assert (found.result, says in found.says) == ("fail", True), found.says


def test_a_settings_file_of_a_windows_editor_is_read(root: Path) -> None:
    config_file(root).write_bytes(b"\xef\xbb\xbfsettle_s = 2.5\r\n")
    assert load(root).settle_s == 2.5


def test_a_share_that_hangs_is_the_line_of_the_settings(
    root: Path, healthy: Machine, quick_models: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pipe that nobody writes to keeps its reader as a mount does whose server is away."""
    monkeypatch.setattr(check_settings, "_READ_S", 0.3)
    monkeypatch.setattr(check_settings, "_SILENT", set())
    os.mkfifo(config_file(root))
    findings = examine(root, None, healthy)
    assert troubles(findings) == ["settings"]
    assert "no answer" in by_name(findings)["settings"].says
    descriptor = os.open(config_file(root), os.O_WRONLY)  # lets the reader go
    os.close(descriptor)


def test_a_file_of_secrets_that_everybody_may_read_is_told(
    root: Path, healthy: Machine, quick_models: None, tmp_path: Path, open_way: None
) -> None:
    secret = tmp_path / "hook"
    secret.write_text("https://hooks.example.org/x")
    secret.chmod(0o600)
    config_file(root).write_text(f'webhook_url_file = "{secret}"\n')
    found = changed(root, healthy, lambda: secret.chmod(0o644))
    assert (found.name, found.result, found.fix) == ("secrets", "warn", f"chmod o-rwx {secret}")


# -- the doctor itself -------------------------------------------------------------------------------------------------


def test_without_a_thread_to_be_had_every_check_is_made_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    [found] = carry_out([Check("machine", "one", lambda: Finding("one", "ok", "fine"))])
    assert found.result == "ok"


@pytest.mark.parametrize(
    ("code", "cure"), [(13, "chown"), (30, "remount,rw"), (28, "df -i"), (122, "quota"), (24, "ulimit"), (5, "dmesg")]
)
def test_a_refusal_of_the_kernel_has_the_cure_of_its_kind(code: int, cure: str) -> None:
    assert cure in checkup.cure_of(OSError(code, os.strerror(code), "/srv/my scans/inbox"))
    assert "'/srv/my scans/inbox'" in checkup.cure_of(OSError(13, "Permission denied", "/srv/my scans/inbox"))


def test_a_model_that_leaves_something_running_costs_no_wait_and_leaves_nothing(root: Path, tmp_path: Path) -> None:
    """A pipe in the hands of what it started would never end."""
    file = tmp_path / "mine.py"
    file.write_text(
        "import atexit, subprocess\nchild = subprocess.Popen(['/bin/sleep', '600'])\n"
        f"open({str(tmp_path / 'pid')!r}, 'w').write(str(child.pid))\natexit.register(print, 'bye')\n"
        "from meshdrop.models.contract.base import ReconstructionModel\n"
        "class Mine(ReconstructionModel):\n    name = 'mine'\n"
        "    def inference(self, capture, output_dir): raise NotImplementedError\n"
    )
    with asked({"mine": {}}, {"mine": f"{file}:Mine"}, None) as [question]:
        assert question.answer() is None, "what it prints at its end is no answer"
    left = int((tmp_path / "pid").read_text())
    wait_for(lambda: is_gone(left))  # it was killed, and ends when the kernel comes to it


def test_a_model_that_ends_its_process_while_it_is_loaded_is_told_with_its_file(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text("import sys; sys.exit(0)\n")
    with asked({"mine": {}}, {"mine": f"{file}:Mine"}, None) as [question]:
        assert question.answer() == (
            "its process ended with code 0: it said nothing",
            "mend the file that [custom_models] names for mine: it ends its process while it is loaded",
        )


# -- machine and disks -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("room", "line"), [(Room(0, 1_000_000), "free space"), (Room(10**12, 0), "free inodes")])
def test_a_full_disk_is_the_line_about_the_disk_alone(
    root: Path, healthy: Machine, quick_models: None, monkeypatch: pytest.MonkeyPatch, room: Room, line: str
) -> None:
    """No disk can be filled here, so what the kernel would answer is raised in its place."""
    make = Path.mkdir

    def full(path: Path, *given: Any, **more: Any) -> None:
        if ".probe-" in path.name:
            raise OSError(28, "No space left on device", str(path))
        make(path, *given, **more)

    def fault() -> Machine:
        monkeypatch.setattr(Path, "mkdir", full)
        return replace(healthy, room=lambda path: room)

    found = changed(root, healthy, fault)
    assert (found.name, found.result) == (line, "fail")


def test_a_quota_that_is_used_up_is_told_though_the_disk_has_room(
    root: Path, healthy: Machine, quick_models: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def over(*_: object) -> None:
        raise OSError(122, "Disk quota exceeded", str(root / "inbox/.probe-1"))

    monkeypatch.setattr(check_folders, "probe_rename", over)
    found = by_name(examine(root, None, healthy))["moving"]
    assert (found.result, "quota -s" in found.fix) == ("fail", True)


@pytest.mark.parametrize(("code", "cure"), [(1, "chattr"), (13, "SELinux")])
def test_a_move_that_is_forbidden_has_the_cure_of_its_reason(
    root: Path, healthy: Machine, quick_models: None, monkeypatch: pytest.MonkeyPatch, code: int, cure: str
) -> None:
    def forbid(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    found = changed(root, healthy, lambda: monkeypatch.setattr("meshdrop.daemon.base.fsops.rename_new", forbid))
    assert (found.name, found.result, cure in found.fix) == ("moving", "fail", True)


def test_a_public_folder_that_is_a_mount_of_its_own_and_read_only_is_told(
    root: Path, healthy: Machine, quick_models: None
) -> None:
    def fault() -> None:
        with (healthy.proc / "self/mountinfo").open("a") as file:
            file.write(f"40 21 0:33 / {root}/outbox ro,relatime - ext4 /dev/vdb rw\n")

    found = changed(root, healthy, fault)
    assert (found.name, found.result) == ("mounts", "fail")
    assert f"{root}/outbox" in found.says


def test_a_state_folder_that_cannot_be_made_is_made_by_the_cure_and_nothing_else_is_given_away(
    healthy: Machine, root: Path, tmp_path: Path
) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o500)
    config_file(root).write_text(f'state_dir = "{closed}/state"\n')
    settings = load(root)
    told = without_roots_rights(lambda: check_disks.state_disk(settings.places, healthy).to_json())
    assert told["fix"] == f"sudo install -d -m 700 -o {user_name()} {closed}/state"


@pytest.mark.parametrize(
    ("zone", "result"), [("CEST", "warn"), ("CET-1CEST", "ok"), ("UTC", "ok"), (":Mars/Olympus", "warn"), ("", "ok")]
)
def test_a_time_zone_without_a_file_is_told_unless_it_is_a_rule(healthy: Machine, zone: str, result: str) -> None:
    assert clock(replace(healthy, environ={"TZ": zone})).result == result


def test_a_clock_of_1970_is_told_and_brings_nothing_else_down(root: Path, healthy: Machine, quick_models: None) -> None:
    found = changed(root, healthy, lambda: replace(healthy, now=lambda: 3600.0))
    assert (found.name, found.result) == ("clock", "fail")


# -- GPU ---------------------------------------------------------------------------------------------------------------


def test_of_two_cards_the_one_that_cuda_takes_first_is_judged(with_gpu: Machine, root: Path) -> None:
    """A small old card for the screen stands before the one that computes; nvidia-smi counts by slot, CUDA by speed."""
    old = {"name": "GT 710", "uuid": "GPU-old", "memory.total": "2048", "memory.free": "2000", "compute_cap": "3.5"}
    write_smi(with_gpu, old, {"index": "1"})
    assert troubles(examine(root, None, with_gpu)) == []
    by_slot = replace(with_gpu, environ={"CUDA_DEVICE_ORDER": "PCI_BUS_ID"})
    assert "torch" in troubles(examine(root, None, by_slot))


def test_a_part_of_a_card_is_no_hidden_card(with_gpu: Machine, root: Path) -> None:
    part = replace(with_gpu, environ={"CUDA_VISIBLE_DEVICES": "MIG-3f0e7a-1"})
    [card] = Cards(part, ProcessFacts(part.proc, 1)).read() or ()
    assert (card.name, card.total_mib) == ("NVIDIA L4", None)
    assert troubles(examine(root, None, part)) == []


def test_an_answer_that_nobody_can_read_is_told(with_gpu: Machine, root: Path) -> None:
    found = changed(root, with_gpu, lambda: Path(str(with_gpu.path), "cards.csv").write_text("0, what, is this\n"))
    assert (found.name, "cannot be read: 0, what" in found.says) == ("gpu", True)


def test_a_card_that_somebody_else_has_alone_is_told(with_gpu: Machine, root: Path) -> None:
    found = changed(
        root,
        with_gpu,
        lambda: write_smi(
            with_gpu, {"compute_mode": "Exclusive_Process"}, users=["GPU-aaaa, 4711, /usr/bin/python3, 700"]
        ),
    )
    assert (found.name, "Exclusive_Process" in found.says) == ("gpu memory", True)


# -- service and rigs --------------------------------------------------------------------------------------------------


def test_a_spool_that_a_service_uses_for_another_root_fails(root: Path, healthy: Machine, quick_models: None) -> None:
    mark = load(root).places.spool / "lock"

    def fault() -> None:
        mark.write_text(json.dumps({"pid": 7, "name": "scanner", "root": "/srv/other", "beat": 3}).ljust(4096))

    found = changed(root, healthy, fault)
    assert (found.name, found.result, "/srv/other" in found.says) == ("service", "fail", True)
    mark.write_text(json.dumps({"pid": 7, "name": "scanner", "root": str(root), "beat": 3}).ljust(4096))
    assert by_name(examine(root, None, healthy))["service"].result == "ok"


def test_a_state_that_a_service_uses_for_another_root_fails(root: Path, healthy: Machine) -> None:
    places = load(root).places
    code = "import fcntl, sys, time; f = open(sys.argv[1], 'w'); fcntl.flock(f, 2); print(flush=True); time.sleep(3600)"
    process = subprocess.Popen([sys.executable, "-c", code, str(places.lock)], stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        process.stdout.read(1)
        places.lock.write_text(f"{process.pid}\nboot\n")
        folder = healthy.proc / str(process.pid)
        folder.mkdir()
        (folder / "cmdline").write_bytes(b"/opt/meshdrop\0run\0--root\0/srv/other\0")
        found = instance(places, healthy)
    finally:
        process.kill()
        process.communicate()
    assert (found.result, "works with these private folders for /srv/other" in found.says) == ("fail", True)
    assert "state_dir" in found.fix


def test_a_masked_unit_is_told(root: Path, healthy: Machine, quick_models: None) -> None:
    file = healthy.fs / UNIT.relative_to("/")
    file.parent.mkdir(parents=True)
    found = changed(root, healthy, lambda: file.symlink_to(os.devnull))
    assert (found.name, found.result, found.says) == ("unit", "warn", "the unit is masked")


@as_root
def test_a_drop_in_that_names_another_user_is_told(root: Path, healthy: Machine, quick_models: None) -> None:
    file = healthy.fs / UNIT.relative_to("/")
    file.parent.mkdir(parents=True)
    file.write_text(site_of(root).unit())
    own = file.with_name("meshdrop.service.d")
    own.mkdir()
    (own / "a.conf").write_text("[Service]\nMemoryMax=8G\nUser=root\n")
    found = changed(root, healthy, lambda: (own / "b.conf").write_text("[Service]\nUser=nobody\n"))
    assert (found.name, found.result, "as nobody" in found.says) == ("unit", "fail", True)


def test_a_damaged_rig_and_a_folder_for_none_are_told(root: Path, healthy: Machine, quick_models: None) -> None:
    store_rig(root, "rig1")
    (root / "inbox/@rig1/chair").mkdir(parents=True)
    (root / "inbox/@home/views").mkdir(parents=True)
    found = changed(root, healthy, lambda: (load(root).places.rigs / "rig1.json").write_text("{"))
    assert (found.name, found.result) == ("rigs", "warn")
    store_rig(root, "rig1")
    found = changed(root, healthy, lambda: (root / "inbox/@rig2/chair").mkdir(parents=True))
    assert (found.name, found.says) == ("rigs", f"{root}/inbox/@rig2 stands for a rig that is not stored")
