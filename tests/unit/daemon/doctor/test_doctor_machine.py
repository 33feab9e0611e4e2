"""Faults of the program and of the machine: exactly that line of the report changes."""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Callable
from dataclasses import replace
from email.message import Message
from importlib.metadata import PackageNotFoundError, metadata
from pathlib import Path

import pytest

from meshdrop.daemon.doctor.checks import formats as check_formats
from meshdrop.daemon.doctor.checks import machine as check_machine
from meshdrop.daemon.host.machine import Machine, Room, inotify_refused
from meshdrop.daemon.host.processes import ProcessFacts
from meshdrop.db.clocks import clock_is_steered
from tests.unit.daemon.doctor.ailments import add_job, add_run, by_name, changed

pytestmark = pytest.mark.usefixtures("quick_models")


# -- the program -------------------------------------------------------------------------------------------------------


def test_an_old_sqlite_is_a_warning(root: Path, healthy: Machine) -> None:
    found = changed(root, healthy, lambda: replace(healthy, sqlite=(3, 51, 2)))
    assert (found.name, found.result) == ("sqlite", "warn")
    assert "3.51.2" in found.says


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
def test_a_wrong_or_missing_package_fails(root: Path, healthy: Machine, version: str | None, says: str) -> None:
    found = changed(root, healthy, lambda: replace(healthy, metadata=with_version("numpy", version)))
    assert (found.name, found.result) == ("packages", "fail")
    assert found.says.startswith(says)


def test_the_rest_of_a_package_is_a_missing_one_and_a_damaged_lock_says_nothing(root: Path, healthy: Machine) -> None:
    """What is left where an installation was broken off: a folder without the file that tells the version."""
    (healthy.program / "requirements.lock").write_bytes(b"\xa0\xff\x00" * 100)

    def look(asked: str) -> Message:
        return Message() if asked == "numpy" else metadata(asked)  # type: ignore[return-value]

    found = changed(root, healthy, lambda: replace(healthy, metadata=look))
    assert (found.name, found.result, found.says) == ("packages", "fail", "numpy is missing")


def test_packages_that_drifted_from_the_lock_are_a_warning(root: Path, healthy: Machine) -> None:
    """Every marker is honoured: of two pins of one package only the one for this Python counts."""
    rich = metadata("rich")["Version"]
    lock = healthy.program / "requirements.lock"
    lock.write_text(
        f"rich=={rich} \\\n    --hash=sha256:00\ncolorama==0.0.1 ; sys_platform == 'win32' \\\n    --hash=sha256:00\n"
        f"typer==0.0.1 ; python_full_version < '3.9' \\\n    --hash=sha256:00\nno-such-package==1.0 \\\n"
    )
    found = changed(root, healthy, lambda: lock.write_text(lock.read_text().replace(f"rich=={rich}", "rich==0.0.1")))
    assert (found.name, found.result) == ("packages", "warn")
    assert found.says == f"not as requirements.lock has them: rich is {rich}, not 0.0.1"


def test_a_python_older_than_the_package_allows_fails(root: Path, healthy: Machine) -> None:
    found = changed(root, healthy, lambda: replace(healthy, python="3.10.14"))
    assert (found.name, found.result) == ("python", "fail")


def test_names_in_another_encoding_are_a_warning(root: Path, healthy: Machine) -> None:
    found = changed(root, healthy, lambda: replace(healthy, encoding="iso-8859-1"))
    assert (found.name, found.result) == ("locale", "warn")


def test_no_engine_for_the_validator_is_a_warning(
    root: Path, healthy: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The fixture has put the line's maker aside; here it is itself again, without any engine."""
    aside = check_formats.validator
    monkeypatch.undo()
    monkeypatch.setattr(check_formats, "engine", lambda: None)
    found = check_formats.validator()
    assert (found.name, found.result) == ("glTF validator", "warn")
    assert aside().result == "ok"


# -- limits ------------------------------------------------------------------------------------------------------------


def limit(machine: Machine, name: str, value: str) -> None:
    """Change one soft limit as /proc shows it."""
    file = machine.proc / "self/limits"
    lines = [
        f"{name:<26}{value:<21}{value}" if line.startswith(name) else line for line in file.read_text().splitlines()
    ]
    file.write_text("\n".join(lines) + "\n")


def test_a_low_limit_of_open_files_is_a_warning(root: Path, healthy: Machine) -> None:
    found = changed(root, healthy, lambda: limit(healthy, "Max open files", "256"))
    assert (found.name, found.result, found.says) == ("open files", "warn", "only 256 may be open at once")


def test_limits_are_read_as_the_kernel_writes_them() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (261, hard))
        limits = ProcessFacts(Path("/proc"), os.getpid()).limits()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert limits["Max open files"] == 261
    assert len(limits) == 16


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("Max address space", "4294967296"),
        ("Max file size", "1048576"),
        ("Max cpu time", "3600"),
        ("Max data size", "1000000"),
        ("Max processes", "100"),
    ],
)
def test_limits_that_a_model_run_meets_are_a_warning(root: Path, healthy: Machine, name: str, value: str) -> None:
    found = changed(root, healthy, lambda: limit(healthy, name, value))
    assert (found.name, found.result) == ("process limits", "warn")
    assert value in found.says


def test_few_processes_in_a_control_group_are_a_warning(root: Path, healthy: Machine) -> None:
    above = healthy.fs / "sys/fs/cgroup/system.slice/pids.max"
    found = changed(root, healthy, lambda: above.write_text("64\n"))
    assert (found.name, found.result) == ("process limits", "warn")


@pytest.mark.parametrize("name", ["max_user_instances", "max_user_watches"])
def test_a_low_inotify_limit_is_a_warning_that_names_the_limit(root: Path, healthy: Machine, name: str) -> None:
    found = changed(root, healthy, lambda: (healthy.proc / "sys/fs/inotify" / name).write_text("8"))
    assert (found.name, found.result, found.says) == ("inotify", "warn", f"fs.inotify.{name} is 8")
    assert found.fix == f"sudo sysctl -w fs.inotify.{name}={check_machine.INOTIFY_GOOD[name]}"


@pytest.mark.parametrize("what", ["instance", "watch"])
def test_an_exhausted_inotify_limit_is_a_warning_though_it_is_high(root: Path, healthy: Machine, what: str) -> None:
    refused = f"no further {what} (Too many open files)"
    found = changed(root, healthy, lambda: replace(healthy, inotify_refused=lambda folder: refused))
    assert (found.name, found.result) == ("inotify", "warn")
    assert f"max_user_{what}" in found.fix


def test_inotify_is_really_asked_and_nothing_is_kept(tmp_path: Path) -> None:
    before = os.listdir("/proc/self/fd")
    assert inotify_refused(tmp_path) is None
    assert inotify_refused(tmp_path / "gone") is None, "no limit keeps it from being watched"
    assert len(os.listdir("/proc/self/fd")) == len(before)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
        refused = inotify_refused(tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert refused is not None
    assert "instance" in refused


# -- memory ------------------------------------------------------------------------------------------------------------


def test_a_machine_with_little_memory_is_a_warning(root: Path, healthy: Machine) -> None:
    found = changed(root, healthy, lambda: (healthy.proc / "meminfo").write_text("MemTotal: 1000000 kB\n"))
    assert (found.name, found.result) == ("memory", "warn")
    assert "this machine has 976 MiB" in found.says


@pytest.mark.parametrize(
    ("cgroup", "file"),
    [
        ("0::/system.slice/x", "system.slice/x/memory.max"),  # the group itself
        ("0::/system.slice/x", "system.slice/memory.max"),  # one around it
        ("0::/not/visible/in/a/container", "memory.max"),
        ("5:memory:/docker/1\n0::/", "memory/docker/1/memory.limit_in_bytes"),
    ],
)
def test_a_tight_control_group_is_a_warning(root: Path, healthy: Machine, cgroup: str, file: str) -> None:
    (healthy.proc / "self/cgroup").write_text(cgroup + "\n")
    limits = healthy.fs / "sys/fs/cgroup" / file
    limits.parent.mkdir(parents=True, exist_ok=True)

    found = changed(root, healthy, lambda: limits.write_text("536870912\n"))
    assert (found.name, found.result) == ("memory", "warn")
    assert "may use 512 MiB" in found.says


def test_memory_is_held_against_the_largest_run_so_far(root: Path, healthy: Machine) -> None:
    """8,000,000 KiB are 7,812 MiB: enough for fusion, not for a quarter more than 7,000 MiB."""
    (healthy.proc / "meminfo").write_text("MemTotal: 8000000 kB\n")
    job = add_job(root, "DONE_CLEAN", finished_at=time.time())
    found = changed(root, healthy, lambda: add_run(root, job, "mine", "ok", peak_rss_mib=7000))
    assert (found.name, found.result) == ("memory", "warn")
    assert "a run here took 7000 MiB" in found.says


def test_a_container_with_dockers_own_shared_memory_is_a_warning_where_torch_computes(
    root: Path, with_gpu: Machine
) -> None:
    (with_gpu.dev / "shm").mkdir()
    (with_gpu.fs / ".dockerenv").touch()

    def room(path: Path) -> Room:
        return Room(10**11, None, 64 << 20 if path.name == "shm" else 10**11)

    found = changed(root, with_gpu, lambda: replace(with_gpu, room=room))
    assert (found.name, found.result) == ("shared memory", "warn")
    assert check_machine.shared_memory(replace(with_gpu, room=room), needed=False).result == "ok"


# -- the clock ---------------------------------------------------------------------------------------------------------


def test_a_clock_before_the_day_of_installation_fails(root: Path, healthy: Machine) -> None:
    newest = healthy.program / "daemon/cli/main.py"
    found = changed(root, healthy, lambda: os.utime(newest, (time.time() + 90_000,) * 2))
    assert (found.name, found.result) == ("clock", "fail")


def test_a_clock_that_nobody_steers_is_a_warning(root: Path, healthy: Machine) -> None:
    found = changed(root, healthy, lambda: replace(healthy, clock_is_steered=lambda: False))
    assert (found.name, found.result) == ("clock", "warn")
    assert check_machine.clock(replace(healthy, clock_is_steered=lambda: None)).result == "ok"
    assert clock_is_steered() in (True, False, None)


def test_a_time_zone_that_does_not_exist_is_a_warning(root: Path, healthy: Machine) -> None:
    (healthy.fs / "usr/share/zoneinfo/Europe").mkdir(parents=True)
    (healthy.fs / "usr/share/zoneinfo/Europe/Berlin").touch()
    known = replace(healthy, environ={"TZ": "Europe/Berlin"})
    found = changed(root, known, lambda: replace(healthy, environ={"TZ": "Europe/Berlni"}))
    assert (found.name, found.result) == ("clock", "warn")


def test_the_healthy_machine_is_told_line_by_line(root: Path, healthy: Machine) -> None:
    """Nothing of the machine that runs the tests shines through."""
    from meshdrop.daemon.doctor.examine import examine  # noqa: PLC0415 - only here

    found = by_name(examine(root, None, healthy))
    assert found["memory"].says == f"{65_000_000 // 1024} MiB"
    assert found["open files"].says == "up to 4096"
    assert found["inotify"].says == "128 instances, 65536 watches"
