"""A machine and a root on which nothing is wrong, whatever is wrong with the ones that run the tests."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from meshdrop.daemon.base.settings import config_file, load
from meshdrop.daemon.base.share import create_root
from meshdrop.daemon.doctor import examine as doctor
from meshdrop.daemon.doctor.checks import formats as check_formats
from meshdrop.daemon.doctor.checks import models as check_models
from meshdrop.daemon.doctor.checks import service as check_service
from meshdrop.daemon.doctor.checks import settings as check_settings
from meshdrop.daemon.doctor.checks import workers as check_workers
from meshdrop.daemon.doctor.checks.finding import Finding
from meshdrop.daemon.doctor.checks.run import Check
from meshdrop.daemon.host import gpus
from meshdrop.daemon.host.machine import Machine, Room, Torch
from meshdrop.db.engine import Database
from meshdrop.models.walls.confinement import LAYERS
from tests.patience import PATIENCE_S
from tests.unit.daemon.doctor.ailments import GB, write_smi

LIMITS = """\
Limit                     Soft Limit           Hard Limit           Units
Max cpu time              unlimited            unlimited            seconds
Max file size             unlimited            unlimited            bytes
Max data size             unlimited            unlimited            bytes
Max processes             96254                96254                processes
Max open files            4096                 524288               files
Max address space         unlimited            unlimited            bytes
"""
MOUNTS = """\
21 1 254:0 / / rw,relatime - ext4 /dev/vda rw,discard
22 21 0:21 / /proc rw,relatime - proc proc rw
"""


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """However busy this machine is, only what a test has made impatient runs out of time."""

    def patient(*args: Any, **more: Any) -> Check:
        check = Check(*args, **more)
        return replace(check, limit_s=max(check.limit_s, PATIENCE_S) if check.limit_s > 1 else check.limit_s)

    monkeypatch.setattr(doctor, "Check", patient)
    for room, limit in (
        (check_models, "LIMIT_S"),
        (check_service, "_SYSTEMCTL_S"),
        (check_settings, "_READ_S"),
        (gpus, "LIMIT_S"),
    ):
        monkeypatch.setattr(room, limit, PATIENCE_S)


@pytest.fixture
def healthy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """A machine without a GPU, with files of its own in place of /proc, /dev, /etc and the program's folder."""
    proc, dev, fs, program = (tmp_path / name for name in ("proc", "dev", "fs", "program"))
    files = {
        proc / "sys/fs/inotify/max_user_instances": "128\n",
        proc / "sys/fs/inotify/max_user_watches": "65536\n",
        proc / "self/limits": LIMITS,
        proc / "self/mountinfo": MOUNTS,
        proc / "self/cgroup": "0::/system.slice/x\n",
        proc / "meminfo": "MemTotal:       65000000 kB\nMemFree:        1000000 kB\n",
        proc / "stat": "cpu 1 2 3\nbtime 1700000000\n",
        fs / "sys/fs/cgroup/system.slice/x/memory.max": "max\n",
        program / "daemon/cli/main.py": "",
    }
    for file, text in files.items():
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    os.utime(program / "daemon/cli/main.py", (time.time() - 10_000,) * 2)
    dev.mkdir()
    (tmp_path / "bin").mkdir()
    monkeypatch.setattr(check_formats, "validator", lambda: Finding("glTF validator", "ok", "here"))
    monkeypatch.setattr(check_workers, "_asked", lambda: (dict.fromkeys(LAYERS, "stands"), {}))
    return Machine(
        proc=proc,
        dev=dev,
        fs=fs,
        program=program,
        path=str(tmp_path / "bin"),
        sqlite=(3, 51, 3),
        encoding="utf-8",
        environ={},
        torch=lambda: None,
        network_type=lambda path: None,
        clock_is_steered=lambda: True,
        inotify_refused=lambda folder: None,
        room=lambda path: Room(100 * GB, 1_000_000, 100 * GB),
    )


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A root as ``meshdrop init`` and a first start leave it, and no settings from outside."""
    for name in [name for name in os.environ if name.startswith("MESHDROP_")]:
        monkeypatch.delenv(name)
    root = tmp_path / "scans"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "user"))
    places = load(root).places
    create_root(places)
    database = Database(places.database)
    database.migrate(places.backups)
    database.close()
    return root


@pytest.fixture
def open_way(tmp_path: Path) -> Iterator[None]:
    """Strangers may pass through the folders above ``tmp_path``, which pytest closes to them."""
    closed = [(folder, mode) for folder in (tmp_path, *tmp_path.parents) if not (mode := folder.stat().st_mode) & 1]
    for folder, mode in closed:
        folder.chmod(stat.S_IMODE(mode) | 1)
    yield
    for folder, mode in closed:
        folder.chmod(stat.S_IMODE(mode))


@pytest.fixture
def quick_models(monkeypatch: pytest.MonkeyPatch) -> None:
    """Spare the second that importing a model takes, where a test is about something else."""
    monkeypatch.setattr(check_models, "_ASK", "print('ANSWER null')")


@pytest.fixture
def with_gpu(healthy: Machine, root: Path, quick_models: None) -> Machine:
    """The same machine with a card, its driver and a torch that suits, and settings that use them."""
    config_file(root).write_text('models = ["fusion", "nvdiffrec"]\n')
    folder = healthy.proc / "driver/nvidia"
    folder.mkdir(parents=True)
    version = "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.95.05  Release Build  (root)\n"
    (folder / "version").write_text(version + "GCC version:  gcc version 12.3.0\n")
    for node in ("nvidia0", "nvidiactl", "nvidia-uvm"):
        (healthy.dev / node).touch()
    write_smi(healthy)
    return replace(healthy, torch=lambda: Torch("2.11.0+cu130", "13.0"))
