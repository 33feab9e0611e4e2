"""The facts about this machine that the doctor judges, each from its source. Tests hand in another machine."""

from __future__ import annotations

import getpass
import importlib.metadata
import os
import re
import resource
import sqlite3
import sys
from collections.abc import Callable
from dataclasses import dataclass
from email.message import Message
from pathlib import Path

from daemon.share import network_type


@dataclass(frozen=True)
class Room:
    """What is left on a file system for this user. ``inodes`` is None where the file system has no such limit."""

    free_bytes: int
    inodes: int | None


def room_at(path: Path) -> Room:
    """Ask the file system that carries ``path``; raises ``OSError``."""
    facts = os.statvfs(path)
    return Room(facts.f_bavail * facts.f_frsize, facts.f_favail if facts.f_files else None)


def user_name() -> str:
    """This user's name, or its number where the machine does not know it (as in a container)."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.geteuid())


@dataclass(frozen=True)
class Gpu:
    """What the kernel shows of NVIDIA GPUs: driver version, one node a card, and whether CUDA's own node is there."""

    driver: str | None
    cards: tuple[Path, ...]
    unified_memory: bool


def gpu_seen(proc: Path, dev: Path) -> Gpu:
    """Look at /proc/driver/nvidia and /dev only: asking the driver itself can hang when a card is in trouble."""
    try:
        text = (proc / "driver/nvidia/version").read_text(encoding="ascii", errors="replace")
    except OSError:
        driver = None
    else:
        number = re.search(r"\b\d+\.\d+(\.\d+)?\b", text)
        driver = number.group(0) if number else "of unknown version"
    cards = tuple(sorted(path for path in dev.glob("nvidia[0-9]*") if path.name[6:].isdigit()))
    return Gpu(driver, cards, (dev / "nvidia-uvm").exists())


@dataclass(frozen=True)
class Machine:
    """Where each fact comes from."""

    proc: Path = Path("/proc")
    dev: Path = Path("/dev")
    python: str = ".".join(map(str, sys.version_info[:3]))
    sqlite: tuple[int, ...] = sqlite3.sqlite_version_info
    metadata: Callable[[str], Message] = importlib.metadata.metadata  # type: ignore[assignment]
    network_type: Callable[[Path], str | None] = network_type
    room: Callable[[Path], Room] = room_at
    open_files: Callable[[], int] = lambda: resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    user_id: Callable[[], int] = os.geteuid
    may_use: Callable[[Path], bool] = lambda path: os.access(path, os.R_OK | os.W_OK)
