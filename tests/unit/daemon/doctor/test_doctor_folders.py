"""Faults of the folders and of the disks that carry them: exactly that line of the report changes."""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from meshdrop.daemon.base.settings import config_file, load
from meshdrop.daemon.base.share import create_root
from meshdrop.daemon.doctor import leftovers
from meshdrop.daemon.doctor.checks import disks as check_disks
from meshdrop.daemon.doctor.checks import folders as check_folders
from meshdrop.daemon.doctor.checks import run as checkup
from meshdrop.daemon.doctor.checks.finding import Finding
from meshdrop.daemon.doctor.examine import examine
from meshdrop.daemon.doctor.other_user import examine_as, owner_to_be
from meshdrop.daemon.host.machine import Machine, Room
from meshdrop.daemon.host.mounts import carrying, read
from tests.patience import PATIENCE_S
from tests.unit.daemon.doctor.ailments import GB, by_name, changed, store_rig, troubles, without_roots_rights

pytestmark = pytest.mark.usefixtures("quick_models")


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


def test_a_root_that_was_never_started_is_all_ok(tmp_path: Path, healthy: Machine) -> None:
    create_root(load(tmp_path / "new").places)
    assert {finding.result for finding in examine(tmp_path / "new", None, healthy)} == {"ok"}


# -- there, and whose? -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["inbox", "outbox", "failed", "status"])
def test_a_missing_public_folder_fails(root: Path, healthy: Machine, name: str) -> None:
    found = changed(root, healthy, (root / name).rmdir)
    assert (found.name, found.result, found.says) == ("folders", "fail", f"{root} lacks {name}")
    assert found.fix == f"meshdrop init {root}"


def test_a_file_in_the_place_of_a_folder_fails(root: Path, healthy: Machine) -> None:
    def replace_it() -> None:
        (root / "outbox").rmdir()
        (root / "outbox").touch()

    found = changed(root, healthy, replace_it)
    assert (found.name, found.result) == ("folders", "fail")
    assert found.says == f"{root}/outbox is there and is no folder"


def test_a_root_without_its_sentinel_fails(root: Path, healthy: Machine) -> None:
    found = changed(root, healthy, (root / ".meshdrop-id").unlink)
    assert (found.name, found.result) == ("root", "fail")


def test_a_root_that_is_away_is_one_failure_and_ends_the_look_at_folders(root: Path, healthy: Machine) -> None:
    before = [finding.name for finding in examine(root, None, healthy)]
    shutil.rmtree(root)
    findings = by_name(examine(root, None, healthy))
    assert troubles(list(findings.values())) == ["root"]
    assert findings["moving"].result == "skip"
    assert list(findings) == before


def test_folders_of_another_user_are_a_warning_with_the_command_that_asks_as_that_user(
    root: Path, healthy: Machine
) -> None:
    found = changed(root, healthy, lambda: replace(healthy, user_id=lambda: os.geteuid() + 1))
    assert (found.name, found.result) == ("user", "warn")
    assert found.fix.startswith("sudo -u ")


def test_a_sticky_inbox_and_one_without_setgid_are_warnings(root: Path, healthy: Machine) -> None:
    inbox = root / "inbox"
    found = changed(root, healthy, lambda: inbox.chmod(0o1777))
    assert (found.name, found.result, found.fix) == ("permissions", "warn", f"chmod -t {inbox}")
    inbox.chmod(0o2775)
    found = changed(root, healthy, lambda: inbox.chmod(0o775))
    assert (found.name, found.result, found.fix) == ("permissions", "warn", f"chmod g+s {inbox}")


@pytest.mark.parametrize("name", ["spool", "state"])
def test_private_folders_that_others_may_enter_are_a_warning(root: Path, healthy: Machine, name: str) -> None:
    folder = root / ".meshdrop" / name
    found = changed(root, healthy, lambda: folder.chmod(0o755))
    assert (found.name, found.result, found.fix) == ("private folders", "warn", f"chmod 700 {folder}")


def test_a_spool_inside_the_inbox_fails(root: Path, healthy: Machine) -> None:
    config_file(root).write_text(f'spool_dir = "{root}/beside"\n')
    create_root(load(root).places)

    def fault() -> None:
        config_file(root).write_text(f'spool_dir = "{root}/status/spool"\n')
        create_root(load(root).places)

    found = changed(root, healthy, fault)
    assert (found.name, found.result) == ("private folders", "fail")
    assert "spool_dir" in found.fix


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("etc/samba/smb.conf", "[global]\n  workgroup = X\n[scans]\n  path = {root}\n"),
        ("etc/samba/smb.conf", "[all]\n\tPath={root}/..\n"),
        ("etc/exports", "# comment\n{root} 192.168.1.0/24(rw,sync)\n"),
        ("etc/exports", '"{root}" *(rw)\n'),
        ("etc/exports.d/scans.exports", "{root} *(rw)\n"),
    ],
)
def test_a_file_server_that_shows_the_private_folders_is_a_warning(
    root: Path, healthy: Machine, file: str, text: str
) -> None:
    target = healthy.fs / file
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(f"[inbox]\n path = {root}/inbox\n" if "smb" in file else f"{root}/inbox *(rw)\n")
    found = changed(root, healthy, lambda: target.write_text(text.format(root=root)))
    assert (found.name, found.result) == ("exports", "warn")
    assert file in found.says


def test_a_folder_in_the_inbox_that_may_not_be_moved_is_a_warning(root: Path, healthy: Machine) -> None:
    (root / "inbox/mine").mkdir()
    (root / "inbox/chair\x1b[31m").mkdir()
    found = changed(root, healthy, lambda: replace(healthy, may_use=lambda path: path.name == "mine"))
    assert (found.name, found.result) == ("inbox", "warn")
    assert found.says.startswith("1 of 2 folders")
    assert "\x1b" not in found.says


def test_a_rigs_folder_is_looked_into(root: Path, healthy: Machine) -> None:
    store_rig(root, "rig1")
    (root / "inbox/@rig1/chair").mkdir(parents=True)
    found = changed(root, healthy, lambda: replace(healthy, may_use=lambda path: path.name != "chair"))
    assert (found.name, found.result) == ("inbox", "warn")
    assert "1 of 2 folders" in found.says
    assert "@rig1/chair" in found.says


def test_names_that_come_back_otherwise_are_a_warning(
    root: Path, healthy: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No such file system can be made here, so what it would answer is put in its place."""
    listed, exists = os.listdir, Path.exists
    monkeypatch.setattr(os, "listdir", lambda path: [str(name).replace("é", "e\u0301") for name in listed(path)])
    assert check_folders.names(load(root).places, healthy).says.endswith("changes the form of accents in names")
    monkeypatch.setattr(os, "listdir", listed)
    monkeypatch.setattr(
        Path, "exists", lambda path: exists(path) or exists(path.with_name(path.name.replace("-A", "-a")))
    )
    found = check_folders.names(load(root).places, healthy)
    assert (found.name, found.result) == ("names", "warn")
    assert "large letters" in found.says
    assert list(load(root).places.staging.iterdir()) == []


CLOSED = {
    "the inbox": ("inbox", 0o000, "moving"),
    "the outbox": ("outbox", 0o555, "moving"),
    "the failed ones": ("failed", 0o555, "moving"),
    "the status pages": ("status", 0o555, "permissions"),
    "the spool": (".meshdrop/spool", 0o500, "private folders"),
    "what was claimed": (".meshdrop/spool/claimed", 0o000, "private folders"),
    "the copies": (".meshdrop/state/backup", 0o500, "private folders"),
    "the state": (".meshdrop/state", 0o500, "state"),
    "the record": (".meshdrop/state/meshdrop.db", 0o400, "record"),
    "the cache": ("../user/meshdrop", 0o500, "kernel cache"),
    "the settings": (".meshdrop/config.toml", 0o000, "settings"),
    "everything": ("", 0o000, "settings"),
}


@pytest.mark.parametrize("case", CLOSED)
def test_what_is_closed_to_its_own_user_is_one_line(root: Path, healthy: Machine, case: str) -> None:
    place, mode, name = CLOSED[case]
    config_file(root).touch()
    (root / place).chmod(mode)
    try:
        found = without_roots_rights(lambda: [one.to_json() for one in examine(root, None, healthy)])
    finally:
        (root / place).chmod(0o700)
    told = [(one["name"], one["result"]) for one in found if one["result"] in ("warn", "fail")]
    assert told == [(name, "warn" if name == "permissions" else "fail")]


KINDS = {
    "a lock that is a folder": (".meshdrop/state/lock", "folder"),
    "a spool lock that is a folder": (".meshdrop/spool/lock", "folder"),
    "claimed that is a file": (".meshdrop/spool/claimed", "file"),
    "staging that leads nowhere": (".meshdrop/spool/staging", "link"),
    "copies that are a file": (".meshdrop/state/backup", "file"),
}


@pytest.mark.parametrize("case", KINDS)
def test_something_else_in_the_place_of_a_private_folder_fails(root: Path, healthy: Machine, case: str) -> None:
    place, kind = KINDS[case]

    def fault() -> None:
        if (root / place).exists():
            (root / place).rmdir()
        if kind == "folder":
            (root / place).mkdir()
        elif kind == "file":
            (root / place).touch()
        else:
            (root / place).symlink_to("/nowhere")

    found = changed(root, healthy, fault)
    assert (found.name, found.result) == ("private folders", "fail")
    assert str(root / place) in found.says


# -- mounts ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def other_mount(root: Path) -> Iterator[Path]:
    """A folder on another file system than the root's."""
    other = Path("/dev/shm")
    if not other.is_dir() or other.stat().st_dev == root.stat().st_dev:
        pytest.skip("this machine has no second file system to put the spool on")
    spool = other / f"meshdrop-test-{os.getpid()}"
    (spool / "claimed").mkdir(parents=True, mode=0o700)
    (spool / "staging").mkdir()
    spool.chmod(0o700)
    yield spool
    shutil.rmtree(spool)


def test_a_spool_on_another_mount_fails_by_a_real_rename(
    root: Path, healthy: Machine, other_mount: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = changed(root, healthy, lambda: monkeypatch.setenv("MESHDROP_SPOOL_DIR", str(other_mount)))
    assert (found.name, found.result) == ("moving", "fail")
    assert "one mount" in found.fix
    assert list(other_mount.rglob(".probe*")) + list(root.rglob(".probe*")) == []


def test_a_network_share_is_a_warning_and_a_network_state_folder_a_failure(root: Path, healthy: Machine) -> None:
    state = root / ".meshdrop/state"
    on_nfs = replace(healthy, network_type=lambda path: "nfs" if path == root else None)
    share = changed(root, healthy, lambda: on_nfs)
    assert (share.name, share.result) == ("share", "warn")
    on_cifs = replace(healthy, network_type=lambda path: "cifs" if path == state else None)
    record = changed(root, healthy, lambda: on_cifs)
    assert (record.name, record.result) == ("state", "fail")
    assert "state_dir" in record.fix


def mounted(machine: Machine, point: Path, kind: str, options: str) -> None:
    """One more line of mountinfo, as the kernel writes it."""
    escaped = str(point).replace(" ", "\\040")
    with (machine.proc / "self/mountinfo").open("a") as file:
        file.write(f"40 21 0:33 / {escaped} rw,relatime shared:5 - {kind} server:/x {options}\n")


MOUNTS: dict[str, tuple[str, str, str, str]] = {
    "read-only": ("", "ext4", "ro,errors=remount-ro", "fail"),
    "a soft NFS": ("", "nfs4", "rw,vers=4.2,soft,timeo=100", "warn"),
    "an NFS without locks": ("", "nfs", "rw,nolock", "warn"),
    "a CIFS that believes its own memory": ("", "cifs", "rw,cache=loose", "warn"),
    "a disk without barriers": (".meshdrop/state", "ext4", "rw,nobarrier", "warn"),
    "a record in memory": (".meshdrop/state", "tmpfs", "rw,size=1g", "fail"),
    "a spool in memory": (".meshdrop/spool", "tmpfs", "rw", "fail"),
}


@pytest.mark.parametrize("case", MOUNTS)
def test_a_mount_that_does_not_keep_its_word_is_told(root: Path, healthy: Machine, case: str) -> None:
    place, kind, options, result = MOUNTS[case]
    found = changed(root, healthy, lambda: mounted(healthy, root / place if place else root, kind, options))
    assert (found.name, found.result) == ("mounts", result)
    assert str(root / place) in found.says


def test_a_root_in_memory_on_a_disk_of_its_own_is_no_fault_of_the_share(root: Path, healthy: Machine) -> None:
    """Harmless options, and the deepest mount counts, of two on one point the later."""
    mounted(healthy, root, "nfs4", "rw,soft")
    mounted(healthy, root, "nfs4", "rw,hard,local_lock=none")
    assert troubles(examine(root, None, healthy)) == []
    mount = carrying(root / "inbox", read(healthy.proc))
    assert mount is not None
    assert mount.value("local_lock") == "none"


def test_a_mount_point_with_a_blank_is_found(tmp_path: Path, healthy: Machine) -> None:
    point = tmp_path / "my scans"
    mounted(healthy, point, "cifs", "rw")
    mount = carrying(point / "inbox", read(healthy.proc))
    assert mount is not None
    assert mount.kind == "cifs"


def test_a_record_in_the_containers_own_layer_fails(root: Path, healthy: Machine) -> None:
    (healthy.proc / "self/mountinfo").write_text("1 0 0:1 / / rw - overlay overlay rw,lowerdir=/a\n")
    found = changed(root, healthy, (healthy.fs / ".dockerenv").touch)
    assert (found.name, found.result) == ("mounts", "fail")
    assert "container's own layer" in found.says


def test_a_library_that_swallows_every_flush_fails(root: Path, healthy: Machine) -> None:
    found = changed(root, healthy, lambda: replace(healthy, environ={"LD_PRELOAD": "/usr/lib/libeatmydata.so"}))
    assert (found.name, found.result) == ("mounts", "fail")


def test_a_disk_that_hangs_costs_its_own_line_and_no_more_than_its_time(
    root: Path, healthy: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server of a hard NFS mount is away: whoever asks for free space never comes back."""
    released = threading.Event()

    def hangs(path: Path) -> Room:
        released.wait(PATIENCE_S)
        raise AssertionError

    def impatient(*args: Any, **more: Any) -> checkup.Check:
        check = checkup.Check(*args, **more)
        return replace(check, limit_s=0.5) if check.name == "free space" else check

    monkeypatch.setattr("meshdrop.daemon.doctor.examine.Check", impatient)
    monkeypatch.setattr(check_disks, "free_inodes", lambda *_: Finding("free inodes", "ok", "asks nothing here"))
    try:
        found = changed(root, healthy, lambda: replace(healthy, room=hangs))
    finally:
        released.set()
    assert (found.name, found.result) == ("free space", "fail")
    assert "no answer" in found.says


# -- room --------------------------------------------------------------------------------------------------------------


# Settings by default: 2048 MB are kept free, and three times the largest capture is 3 * 200 = 600 MB.
@pytest.mark.parametrize(
    ("free_mb", "largest_mb", "result"), [(2049, 200, "ok"), (2047, 200, "fail"), (2999, 1000, "warn")]
)
def test_free_space_is_held_against_the_largest_capture(
    root: Path, healthy: Machine, free_mb: int, largest_mb: int, result: str
) -> None:
    config_file(root).write_text(f"max_capture_mb = {largest_mb}\n")
    tight = replace(healthy, room=lambda path: Room(free_mb * 10**6, None))
    findings = by_name(examine(root, None, tight))
    assert findings.pop("free space").result == result
    assert {finding.result for finding in findings.values()} == {"ok"}


def test_free_space_is_held_against_the_results_so_far(root: Path, healthy: Machine) -> None:
    """Two results of 500 MB each: 100 GB are room for 200 more, 1 GB is less than three."""
    for number in range(2):
        folder = root / f"outbox/chair{number}"
        folder.mkdir()
        files = {"mesh.glb": {"size": 400_000_000}, "report.html": {"size": 100_000_000}, "odd": 3}
        (folder / "receipt.json").write_text(json.dumps({"files": files}))
    config_file(root).write_text("min_free_mb = 100\nmax_capture_mb = 10\n")
    found = changed(root, healthy, lambda: replace(healthy, room=lambda path: Room(10**9, None)))
    assert (found.name, found.result) == ("free space", "warn")
    assert by_name(examine(root, None, healthy))["free space"].says.endswith("about 200 more results like the last 2")


@pytest.mark.parametrize(("inodes", "result"), [(9_999, "warn"), (999, "fail")])
def test_few_inodes_are_told(root: Path, healthy: Machine, inodes: int, result: str) -> None:
    found = changed(root, healthy, lambda: replace(healthy, room=lambda path: Room(100 * GB, inodes)))
    assert (found.name, found.result) == ("free inodes", result)


def test_a_cache_that_cannot_be_written_fails(root: Path, healthy: Machine) -> None:
    cache = load(root).places.cache

    def fault() -> None:
        cache.rmdir()
        cache.write_text("in the way")

    found = changed(root, healthy, fault)
    assert (found.name, found.result, found.fix) == ("kernel cache", "fail", f"rm {cache}")


def old(path: Path) -> None:
    """As if nobody had touched it for two days."""
    for inner in [*path.rglob("*"), path]:
        os.utime(inner, (time.time() - 2 * leftovers.OLD_S,) * 2)


def test_what_killed_runs_left_behind_is_told_when_it_is_much(root: Path, healthy: Machine) -> None:
    def fault() -> None:
        for number in range(20):
            page = root / f"status/.{number:08x}.tmp"
            page.touch()
            old(page)

    found = changed(root, healthy, fault)
    assert (found.name, found.result, found.fix) == ("leftovers", "warn", "meshdrop doctor --fix")


# -- through whose eyes? -----------------------------------------------------------------------------------------------


@pytest.fixture
def of_another_user() -> Iterator[Path]:
    """A root of user 12345, in a place that everybody may enter."""
    if os.geteuid() != 0:
        pytest.skip("only root may become somebody else")
    place = Path(tempfile.mkdtemp(prefix="meshdrop-eyes-"))
    create_root(load(place).places)
    for path in [place, *place.rglob("*")]:
        os.chown(path, 12345, 12345)
    yield place
    shutil.rmtree(place)


def test_root_looks_as_the_user_that_the_private_folders_belong_to(of_another_user: Path, root: Path) -> None:
    owner = owner_to_be(of_another_user, None)
    assert owner is not None
    assert (owner.uid, owner.gid, owner.groups) == (12345, 12345, [12345])
    assert owner_to_be(root, None) is None, "root's own service is root's to look at"


def test_a_user_who_cannot_run_the_program_is_the_finding(
    of_another_user: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "python"
    program.write_text("")
    program.chmod(0o700)
    monkeypatch.setattr(sys, "executable", str(program))
    owner = owner_to_be(of_another_user, None)
    assert owner is not None
    [found] = examine_as(owner, of_another_user, None)
    assert (found.name, found.result, found.group) == ("user", "fail", "folders")


def test_what_only_the_services_user_may_not_do_is_found(of_another_user: Path, healthy: Machine) -> None:
    """In a process that becomes this user: everything else is imported by then."""
    os.chown(of_another_user / "outbox", 0, 0)
    assert by_name(examine(of_another_user, None, healthy))["moving"].result == "skip", "root may not judge it"
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.setgroups([])
            os.setgid(12345)
            os.setuid(12345)
            lines = check_folders.moving(load(of_another_user).places, healthy)
            os.write(writing, json.dumps(lines.to_json()).encode())
        finally:
            os._exit(0)
    os.close(writing)
    with open(reading, "rb") as stream:
        found = json.loads(stream.read())
    os.waitpid(child, 0)
    assert found["result"] == "fail"
    assert str(of_another_user / "outbox") in found["says"]
