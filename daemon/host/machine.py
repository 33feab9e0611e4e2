"""The facts about this machine that the doctor judges, each from its source. Tests hand in another machine."""

from __future__ import annotations

import ctypes
import errno
import importlib.metadata
import importlib.util
import os
import re
import sqlite3
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from email.message import Message
from pathlib import Path

from meshdrop.daemon.base.share import network_type
from meshdrop.db.clocks import Clocks, clock_is_steered, read_clocks

PROJECT = Path(__file__).resolve().parents[2]
#: adjtimex(2) answers this while nobody steers the clock.
_IN_CLOEXEC, _IN_ONLYDIR, _IN_CREATE = 0o2000000, 0x01000000, 0x100


@dataclass(frozen=True)
class Room:
    """What is left on a file system for this user. ``inodes`` is None where the file system has no such limit."""

    free_bytes: int
    inodes: int | None
    total_bytes: int = 0


def room_at(path: Path) -> Room:
    """Ask the file system that carries ``path``; raises ``OSError``."""
    facts = os.statvfs(path)
    inodes = facts.f_favail if facts.f_files else None
    return Room(facts.f_bavail * facts.f_frsize, inodes, facts.f_blocks * facts.f_frsize)


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
class Torch:
    """An installed torch, as its own files say. ``cuda`` is None for a build that computes on the CPU only."""

    version: str
    cuda: str | None


def torch_installed() -> Torch | None:
    """Read the version file of an installed torch: importing it would take seconds and a gigabyte."""
    spec = importlib.util.find_spec("torch")
    if spec is None or not spec.submodule_search_locations:
        return None
    try:
        text = Path(next(iter(spec.submodule_search_locations)), "version.py").read_text(encoding="utf-8")
    except OSError:
        return Torch("of unknown version", None)
    version = re.search(r"^__version__ = '([^']+)'", text, re.MULTILINE)
    cuda = re.search(r"^cuda(?:: [^=]+)? = '([\d.]+)'", text, re.MULTILINE)
    return Torch(version.group(1) if version else "of unknown version", cuda.group(1) if cuda else None)


def _used_up() -> str | None:
    """Why the last call of the C library failed, if it was for a limit: a folder that may not be read is another's."""
    code = ctypes.get_errno()
    return os.strerror(code) if code in (errno.EMFILE, errno.ENFILE, errno.ENOSPC, errno.ENOMEM) else None


def inotify_refused(folder: Path | None) -> str | None:
    """Why the kernel gives this user no further inotify instance or watch; None when it does. Nothing is kept."""
    libc = ctypes.CDLL(None, use_errno=True)
    descriptor = libc.inotify_init1(_IN_CLOEXEC)
    if descriptor < 0:
        return f"no further instance ({why})" if (why := _used_up()) else None
    try:
        asked = _IN_ONLYDIR | _IN_CREATE
        if folder is not None and libc.inotify_add_watch(descriptor, os.fsencode(folder), asked) < 0:
            return f"no further watch ({why})" if (why := _used_up()) else None
    finally:
        os.close(descriptor)
    return None


@dataclass(frozen=True)
class Machine:
    """Where each fact comes from. ``fs`` is what /etc, /run and /sys lie below, ``path`` where programs are found,
    ``program`` the folder of this program's own files."""

    proc: Path = Path("/proc")
    dev: Path = Path("/dev")
    fs: Path = Path("/")
    program: Path = PROJECT
    path: str | None = None
    python: str = ".".join(map(str, sys.version_info[:3]))
    encoding: str = sys.getfilesystemencoding()
    sqlite: tuple[int, ...] = sqlite3.sqlite_version_info
    environ: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))
    metadata: Callable[[str], Message] = importlib.metadata.metadata  # type: ignore[assignment]
    torch: Callable[[], Torch | None] = torch_installed
    network_type: Callable[[Path], str | None] = network_type
    room: Callable[[Path], Room] = room_at
    user_id: Callable[[], int] = os.geteuid
    may_use: Callable[[Path], bool] = lambda path: os.access(path, os.R_OK | os.W_OK)
    now: Callable[[], float] = time.time
    clock_is_steered: Callable[[], bool | None] = clock_is_steered
    clocks: Clocks = read_clocks
    inotify_refused: Callable[[Path | None], str | None] = inotify_refused

    @property
    def in_container(self) -> bool:
        """Whether this is a container of Docker or Podman."""
        return any((self.fs / mark).exists() for mark in (".dockerenv", "run/.containerenv"))
