"""A worker's log and its end on a disk that takes nothing."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from meshdrop.daemon.workers import kernels, process
from meshdrop.daemon.workers.process import (
    LOG_HEAD,
    LOG_TAIL,
    Home,
    TimeLimits,
    WorkerProcess,
    _CappedLog,
    run_to_end,
    worker_request,
)
from meshdrop.models.files.limits import CaptureLimits


class FullDisk:
    """A log file whose disk is full while ``is_full``; the rest is the real file."""

    def __init__(self, path: Path) -> None:
        self._file = open(path, "wb", buffering=0)  # noqa: SIM115 - closed by the log
        self.is_full = False

    def write(self, content: bytes) -> int:
        """Refuse it, or write it."""
        if self.is_full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return self._file.write(content)

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    @property
    def closed(self) -> bool:
        """Whether it is closed."""
        return self._file.closed


@pytest.fixture
def log_on(tmp_path: Path) -> Callable[[], tuple[_CappedLog, FullDisk]]:
    def make() -> tuple[_CappedLog, FullDisk]:
        log, disk = _CappedLog(tmp_path / "log"), FullDisk(tmp_path / "log")
        log._file.close()
        log._file = disk  # type: ignore[assignment]
        return log, disk

    return make


def drain(log: _CappedLog, *chunks: bytes, between: Callable[[], None] = lambda: None) -> None:
    """Print these into the log as a process does: a reader that died would break the pipe."""
    read_end, write_end = os.pipe()
    reader = threading.Thread(target=log.drain, args=(read_end,))
    reader.start()
    for chunk in chunks:
        os.write(write_end, chunk)
        between()
    os.close(write_end)
    reader.join(60)
    assert not reader.is_alive()


def test_whoever_prints_on_a_full_disk_is_read_on(
    log_on: Callable[[], tuple[_CappedLog, FullDisk]], tmp_path: Path
) -> None:
    log, disk = log_on()
    disk.is_full = True
    drain(log, *[b"x" * 60_000] * 400)  # 24 MB
    log.close()
    assert disk.closed
    assert (tmp_path / "log").read_bytes() == b""


def test_what_was_printed_last_is_kept_when_there_is_room_again(
    log_on: Callable[[], tuple[_CappedLog, FullDisk]], tmp_path: Path
) -> None:
    log, disk = log_on()
    log._keep(b"before\n")
    disk.is_full = True
    log._keep(b"while\n")
    disk.is_full = False
    log._keep(b"after\n")
    log.close()
    assert (tmp_path / "log").read_bytes() == b"before\nwhile\nafter\n"


def test_the_first_and_the_last_of_much_are_kept(
    log_on: Callable[[], tuple[_CappedLog, FullDisk]], tmp_path: Path
) -> None:
    log, _ = log_on()
    drain(log, b"first\n", *[b"x" * 60_000] * 400, b"last\n")
    log.close()
    kept = (tmp_path / "log").read_bytes()
    assert kept.startswith(b"first\n")
    assert kept.endswith(b"last\n")
    assert b"\n[...]\n" in kept
    assert len(kept) <= LOG_HEAD + LOG_TAIL + len(b"\n[...]\n")


def test_an_end_that_cannot_be_told_at_once_is_told_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel says once how a process ended; what follows may fail and be done again."""
    request = worker_request("no such task", tmp_path, tmp_path / "run/answer.json", CaptureLimits())
    worker = WorkerProcess(
        f"test-{os.getpid()}-end", request, tmp_path / "run", Home(tmp_path, tmp_path), TimeLimits(60, 60, 1)
    )
    refusals = [1, 2]

    def refuse(*_: object) -> int:
        if refusals:
            refusals.pop()
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        return 0

    monkeypatch.setattr(process, "kill_marked", refuse)
    for _ in range(len(refusals)):
        with pytest.raises(OSError, match="Too many open files"):
            run_to_end(worker, lambda: False)
    assert run_to_end(worker, lambda: False).error_class is not None


@pytest.mark.parametrize("started", [0, 1, 2])
def test_a_worker_that_cannot_be_watched_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, started: int
) -> None:
    """No more threads can be started: no process, no descriptor and no copy of the kernels stays."""
    copied, forgotten = tmp_path / "kernels", list[Path]()
    monkeypatch.setattr(kernels, "copy_for_worker", lambda *_: copied)
    monkeypatch.setattr(kernels, "forget", forgotten.append)
    begin, left = threading.Thread.start, [None] * started
    pids: list[int] = []
    spawn = os.posix_spawn

    def note(*words: Any, **more: Any) -> int:
        pids.append(spawn(*words, **more))
        return pids[-1]

    monkeypatch.setattr(os, "posix_spawn", note)

    def refuse(thread: threading.Thread) -> None:
        if not left:
            raise RuntimeError("can't start new thread")
        left.pop()
        begin(thread)

    request = worker_request("run", tmp_path, tmp_path / "run/answer.json", CaptureLimits())
    before = sorted(os.listdir("/proc/self/fd"))
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", refuse)
        with pytest.raises(RuntimeError, match="can't start new thread"):
            WorkerProcess("test", request, tmp_path / "run", Home(tmp_path, tmp_path), TimeLimits(60, 60, 1))
    assert forgotten == [copied]
    assert len(pids) == 1
    with pytest.raises(ChildProcessError):
        os.waitpid(pids[0], os.WNOHANG)
    assert sorted(os.listdir("/proc/self/fd")) == before
