"""Processes that a worker leaves behind, found by what they cannot shed.

A worker's key stands in the environment of all that it starts; one that empties its environment keeps the network of
its own that the walls gave the worker, for no wall lets it out of that.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

#: Looks for more: one that starts others all the time is caught between two of them.
_LOOKS = 100


class Network:
    """The network that one worker and all that it starts are in; while this is held, no other gets its number."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._identity = _identity(os.fstat(descriptor))

    @classmethod
    def of(cls, pid: int) -> Network | None:
        """That of a living process; None when it is ours too, or cannot be told."""
        try:
            network = cls(os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC))
        except OSError:
            return None
        if network.holds(os.getpid()):
            network.close()
            return None
        return network

    def holds(self, pid: int) -> bool:
        """Whether a process is in it."""
        with contextlib.suppress(OSError):
            return _identity(os.stat(f"/proc/{pid}/ns/net")) == self._identity
        return False

    def kill(self) -> int:
        """SIGKILL whatever is still in it. Returns how many there were."""
        return _kill_all(self.holds)

    def close(self) -> None:
        """Let go of it."""
        os.close(self._descriptor)


def kill_marked(variable: str, value: str, waited_for: int | None = None) -> int:
    """SIGKILL every process that carries this variable in its environment; reap those that became our children.

    ``waited_for`` is left for its own ``wait4``. Returns how many there were.
    """
    wanted = f"{variable}={value}".encode()

    def carries(pid: int) -> bool:
        with contextlib.suppress(OSError):
            return wanted in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
        return False

    return _kill_all(carries, waited_for)


def _kill_all(belongs: Callable[[int], bool], waited_for: int | None = None) -> int:
    """Look until there is none left: between two looks one may have started another."""
    killed: set[int] = set()
    for _ in range(_LOOKS):
        found = [pid for pid in _processes() if pid not in killed and belongs(pid)]
        if not found:
            break
        for pid in found:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
            if pid != waited_for:
                _reap(pid)
        killed.update(found)
    return len(killed)


def _processes() -> Iterator[int]:
    return (int(entry) for entry in os.listdir("/proc") if entry.isdigit() and int(entry) != os.getpid())


def _identity(found: os.stat_result) -> tuple[int, int]:
    return found.st_dev, found.st_ino


def _reap(pid: int, patience_s: float = 1.0) -> None:
    """Collect a killed stray that has become our child; one that hangs in the kernel is left to init."""
    give_up = time.monotonic() + patience_s
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(pid, os.WNOHANG)[0] == 0 and time.monotonic() < give_up:
            time.sleep(0.01)
