"""One worker process: started by exec, watched without blocking, ended with everything it started.

Nothing it says is trusted: lines are bounded and checked, paths never come from it, its output is drained into a
capped log. It ends by its own answer, by a limit, or by ``stop``: SIGTERM, a grace period, SIGKILL to its group, then
to all that it has left behind (``daemon.workers.strays``: grandchildren may have left the group).
"""

from __future__ import annotations

import contextlib
import errno
import json
import math
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from meshdrop.daemon.workers import kernels
from meshdrop.daemon.workers.strays import Network, kill_marked
from meshdrop.daemon.workers.worker_memory import allowed_mib, watch
from meshdrop.models.contract.failures import RUN_FAILURES
from meshdrop.models.contract.registry import CODE_VARIABLES
from meshdrop.models.contract.weights import WEIGHTS_KEY
from meshdrop.models.files import walk
from meshdrop.models.files.limits import CaptureLimits
from meshdrop.models.files.problem import printable

if TYPE_CHECKING:
    from meshdrop.daemon.base.settings import Settings

RUN_KEY = "MESHDROP_RUN"
OWNER_KEY = "MESHDROP_STATE"
MESSAGE_MAX = 65_536
LOG_HEAD = 1 << 20
LOG_TAIL = 4 << 20
_DRAIN_S = 5.0
#: Bytes of an answer: a hundred views' measurements are a hundredth of that.
_ANSWER_MOST = 64 << 20
#: Tasks that run compiled kernels.
_COMPUTING = frozenset({"run", "measure"})
_PASSED_ON = frozenset(
    {
        "PATH",
        "LANG",
        "LC_ALL",
        "LC_CTYPE",
        "TZ",
        "LD_LIBRARY_PATH",
        "LD_PRELOAD",
        "CUDA_HOME",
        "CUDA_VISIBLE_DEVICES",
        "CUDA_DEVICE_ORDER",
        "NVIDIA_VISIBLE_DEVICES",
        "NVIDIA_DRIVER_CAPABILITIES",
        "OMP_NUM_THREADS",
        "NUMBA_NUM_THREADS",
        *CODE_VARIABLES,
    }
)


@dataclass(frozen=True)
class TimeLimits:
    """Seconds a process may take, may go without progress, and has to end after SIGTERM."""

    run_s: float
    stall_s: float
    grace_s: float


@dataclass(frozen=True)
class Ended:
    """How a worker process ended. ``error_class`` is None when its answer is there; else a key of RUN_FAILURES, or
    ``unavailable`` when a model cannot run here. ``fix`` says what to do about it."""

    error_class: str | None
    reason: str
    fix: str
    seconds: float
    cpu_seconds: float
    peak_rss_mib: int
    answer: dict[str, Any] | None


@dataclass(frozen=True)
class Home:
    """Whose process it is: the daemon's state folder marks it, the cache keeps its compiled kernels, ``weights`` holds
    those of the models; None for processes that run no model. ``memory_mib`` is the most that it may hold, with the
    processes that it starts; None: no limit. ``confinement`` is the setting ``worker_confinement``."""

    state: Path
    cache: Path
    weights: Path | None = None
    memory_mib: int | None = None
    confinement: str = "best"


def home_of(settings: Settings) -> Home:
    """What every worker of a service with these settings is given."""
    places = settings.places
    memory_mib = allowed_mib(settings.worker_memory_mb)
    return Home(places.state, places.cache, places.weights, memory_mib, settings.worker_confinement)


class WorkerProcess:
    """A running ``models.worker``. Construct to start; call ``poll`` often; it never blocks for long.

    Must be constructed on a thread that lives as long as the child may: the kernel's parent-death signal fires when
    the *thread* that started it ends.
    """

    def __init__(self, key: str, request: Mapping[str, Any], folder: Path, home: Home, limits: TimeLimits) -> None:
        self.key = key
        self.percent, self.step = 0.0, "starting"
        self._limits = limits
        self._answer = Path(request["answer"])
        self._error: tuple[str, str, str] | None = None
        self._stopped_for: str | None = None
        self._killed = False
        self._greeted = False
        self._network: Network | None = None
        self._exit: tuple[int, float, int] | None = None
        folder.mkdir(parents=True, exist_ok=True)
        self._answer.unlink(missing_ok=True)
        self._memory_mib, self._held_mib = home.memory_mib, 0
        request_file = folder / f"{self._answer.stem}.request.json"
        told = {**request, "parent": os.getpid(), "confinement": home.confinement}
        request_file.write_text(json.dumps(told), encoding="utf-8")
        self._started = self._progressed = time.monotonic()
        self._stop_at = 0.0
        with contextlib.ExitStack() as undo:  # what was made is not left behind when a later step fails
            #: Of its kernels each worker has a copy of its own: what one may have spoiled never reaches another.
            self._kernels = kernels.copy_for_worker(home.state, home.cache) if request["task"] in _COMPUTING else None
            if self._kernels is not None:
                undo.callback(kernels.forget, self._kernels)
            self._log = _CappedLog(folder / f"{self._answer.stem}.log")
            undo.callback(self._log.close)
            environment = worker_environment(key, folder, home, self._kernels)
            self._pid, self._go, (printed, said) = self._spawn(request_file, environment)
            self._readers: list[threading.Thread] = []
            undo.callback(self._abandon, printed, said)
            self._readers += [
                threading.Thread(target=self._log.drain, args=(printed,), daemon=True, name=f"log {key}"),
                threading.Thread(target=self._listen, args=(said,), daemon=True, name=f"messages {key}"),
                threading.Thread(target=self._watch_memory, daemon=True, name=f"memory {key}"),
            ]
            for reader in self._readers:
                reader.start()
            undo.pop_all()

    @property
    def pid(self) -> int:
        """Process id of the worker, which also leads its own session and process group."""
        return self._pid

    def poll(self) -> Ended | None:
        """How it ended, or None while it runs. Enforces the limits."""
        if self._exit is None:
            done, status, usage = os.wait4(self._pid, os.WNOHANG)
            if done == 0:
                self._enforce(time.monotonic())
                return None
            # Kept: the kernel tells it once, and what follows may have to be done again.
            self._exit = status, usage.ru_utime + usage.ru_stime, usage.ru_maxrss // 1024
        self._kill_strays()
        for reader in self._readers:
            reader.join(_DRAIN_S)
        self._log.close()
        if self._kernels is not None:
            kernels.forget(self._kernels)
        return self._ended(*self._exit)

    def stop(self, why: str) -> None:
        """Ask it to end, for ``why`` (a key of RUN_FAILURES); ``poll`` sees to the rest."""
        if self._stopped_for is None:
            self._stopped_for = why
            self._stop_at = time.monotonic()
            self._signal(signal.SIGTERM)

    def _abandon(self, printed: int, said: int) -> None:
        """End what was just started and cannot be watched; it has not begun."""
        self._signal(signal.SIGKILL)
        os.waitpid(self._pid, 0)
        started = [reader.ident is not None for reader in self._readers] or [False, False]
        for is_read, descriptor in zip(started, (printed, said), strict=False):
            if not is_read:
                os.close(descriptor)
        for reader in self._readers:
            if reader.ident is not None:
                reader.join(_DRAIN_S)
        self._let_go()

    def _enforce(self, now: float) -> None:
        if self._stopped_for is not None:
            if not self._killed and now - self._stop_at > self._limits.grace_s:
                self._killed = True
                self._signal(signal.SIGKILL)
                kill_marked(RUN_KEY, self.key, waited_for=self._pid)
        elif now - self._started > self._limits.run_s:
            self.stop("timeout")
        elif now - self._progressed > self._limits.stall_s:
            self.stop("stalled")

    def _kill_strays(self) -> None:
        kill_marked(RUN_KEY, self.key)
        if self._network is not None:
            self._network.kill()
            self._network.close()
            self._network = None

    def _signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._pid, number)

    def _watch_memory(self) -> None:
        """End it at once when it holds more than it may: what its own time to end would cost, the machine may lack."""
        if self._memory_mib is not None:
            self._held_mib = watch(self._pid, self._memory_mib)

    def _spawn(self, request_file: Path, environment: Mapping[str, str]) -> tuple[int, int, tuple[int, int]]:
        go_read, go_write = os.pipe()
        log_read, log_write = os.pipe()
        message_read, message_write = os.pipe()
        actions: list[tuple[Any, ...]] = [
            (os.POSIX_SPAWN_DUP2, go_read, 0),
            (os.POSIX_SPAWN_DUP2, log_write, 1),
            (os.POSIX_SPAWN_DUP2, log_write, 2),
            (os.POSIX_SPAWN_DUP2, message_write, 3),
        ]
        arguments = [sys.executable, "-I", "-m", "meshdrop.models.worker", str(request_file)]
        try:
            pid = os.posix_spawn(
                sys.executable,
                arguments,
                environment,
                file_actions=actions,
                setsid=True,
                setsigdef=[signal.SIGPIPE, signal.SIGINT, signal.SIGTERM],
            )
        except OSError as error:
            for descriptor in (go_write, log_read, message_read):
                os.close(descriptor)
            if error.errno == errno.EAGAIN:  # to the kernel the same as too little memory: no more processes
                raise OSError(errno.ENOMEM, "no more processes can be started on this machine") from error
            raise
        finally:
            for descriptor in (go_read, log_write, message_write):
                os.close(descriptor)
        return pid, go_write, (log_read, message_read)

    def _listen(self, descriptor: int) -> None:
        with open(descriptor, "rb") as stream:
            while line := stream.readline(MESSAGE_MAX):
                with contextlib.suppress(ValueError, TypeError, KeyError, OverflowError, RecursionError):
                    self._heard(json.loads(line))
        self._let_go()

    def _let_go(self) -> None:
        """The worker stands behind its walls and waits: once it is known what it cannot shed, it may begin."""
        go, self._go = self._go, -1
        if go >= 0:
            if self._exit is None:  # else its number may be another's
                self._network = Network.of(self._pid)
            os.close(go)

    def _heard(self, message: dict[str, Any]) -> None:
        kind = message["type"]
        if kind == "hello":
            self._greeted = True
            self._let_go()
        elif kind == "progress":
            percent, step = float(message["percent"]), printable(str(message["step"])[:200])
            if not math.isfinite(percent):
                return
            if (percent, step) != (self.percent, self.step):
                self._progressed = time.monotonic()
            self.percent, self.step = min(max(percent, 0.0), 100.0), step
        elif kind == "error":
            self._error = (
                str(message["class"]),
                _legible(str(message["message"])[:4000]),
                _legible(str(message["fix"])[:1000]),
            )

    def _ended(self, status: int, cpu: float, peak: int) -> Ended:
        code = os.waitstatus_to_exitcode(status)
        answer = _answer_if_there(self._answer) if code == 0 else None
        if self._stopped_for is not None:
            kind, reason, fix = self._stopped_for, RUN_FAILURES[self._stopped_for].says, ""
        elif self._held_mib:
            kind, fix = "memory_limit", ""
            reason = (
                f"it was ended when it held {self._held_mib} MiB of memory; worker_memory_mb allows "
                f"{self._memory_mib} MiB"
            )
        elif answer is not None:
            kind, reason, fix = None, "", ""
        elif self._error is not None:
            kind, reason, fix = self._error
            kind = kind if kind in RUN_FAILURES or kind == "unavailable" else "error"
        elif code == 0:
            kind, reason, fix = "garbage", RUN_FAILURES["garbage"].says, ""
        elif not self._greeted:
            kind, reason, fix = "not_begun", "the process ended before it had begun; its log says why", ""
        elif code < 0:
            kind, reason, fix = "crash", f"the process was ended by {signal.Signals(-code).name}", ""
        else:
            kind, reason, fix = "crash", f"the process ended with exit code {code} and no explanation", ""
        if kind is not None and not fix:
            fix = RUN_FAILURES[kind].fix if kind in RUN_FAILURES else "see the model's documentation"
        return Ended(kind, reason, fix, time.monotonic() - self._started, cpu, peak, answer)


def _legible(text: str) -> str:
    """A worker's words as the record, pages and terminals can hold them: half of a surrogate pair is no text."""
    return "\n".join(printable(line) for line in text.split("\n"))


def worker_request(task: str, capture: Path, answer: Path, limits: CaptureLimits, **fields: Any) -> dict[str, Any]:
    """A request as ``models.worker.Request`` reads it."""
    plain = {name: str(value) if isinstance(value, Path) else value for name, value in fields.items()}
    return {"task": task, "capture": str(capture), "answer": str(answer), "limits": asdict(limits), **plain}


def run_to_end(process: WorkerProcess, stopping: Callable[[], bool], every_s: float = 0.02) -> Ended:
    """Wait for a worker, passing on a request to stop. For threads that have nothing else to do."""
    while (ended := process.poll()) is None:
        if stopping():
            process.stop("cancelled")
        time.sleep(every_s)
    return ended


def worker_environment(key: str, folder: Path, home: Home, own_kernels: Path | None = None) -> dict[str, str]:
    """Only what is on the list reaches a worker; home and temporary files are its own, the network is off.
    ``own_kernels`` is a folder of compiled kernels for it alone."""
    passed = {name: value for name, value in os.environ.items() if name in _PASSED_ON}
    if home.weights is not None:
        passed[WEIGHTS_KEY] = str(home.weights)
    private = folder / "tmp"
    private.mkdir(exist_ok=True)
    return {
        **passed,
        RUN_KEY: key,
        OWNER_KEY: str(home.state),
        "HOME": str(private),
        "TMPDIR": str(private),
        "NUMBA_CACHE_DIR": str(own_kernels or private / "numba"),
        "TORCH_EXTENSIONS_DIR": str(private / "torch"),
        "HF_HUB_OFFLINE": "1",
        "TRANSFORMERS_OFFLINE": "1",
    }


def read_answer(path: Path) -> dict[str, Any] | None:
    """What a worker left as its answer; None when that is no plain file with a JSON object of at most 64 MiB. A worker
    that failed may have left anything there. Raises ``OSError`` when it cannot be read."""
    try:
        answer = json.loads(walk.read_file(path, _ANSWER_MOST))
    except (walk.LinkInTheWay, ValueError, RecursionError):
        return None
    return answer if isinstance(answer, dict) else None


def _answer_if_there(path: Path) -> dict[str, Any] | None:
    with contextlib.suppress(OSError):
        return read_answer(path)
    return None


class _CappedLog:
    """Keeps the first megabyte and the last four of what a process prints: a chatty one cannot fill the disk.

    A disk that takes nothing is never the process's trouble: it is read on, and what finds no room is lost.
    """

    def __init__(self, path: Path) -> None:
        self._head_room = LOG_HEAD
        self._is_cut = False
        self._tail = bytearray()
        self._file = open(path, "wb", buffering=0)  # noqa: SIM115 - closed by close(), on the polling thread
        self._lock = threading.Lock()

    def drain(self, descriptor: int) -> None:
        """Read until the last writer is gone."""
        with open(descriptor, "rb", buffering=0) as stream:
            while chunk := stream.read(65_536):
                with self._lock:
                    self._keep(chunk)

    def _keep(self, chunk: bytes) -> None:
        head, written = chunk[: self._head_room], 0
        if head and not self._file.closed:
            with contextlib.suppress(OSError):
                written = self._file.write(head)
        # Once something finds no room, all that comes is for the end, when there may be some again.
        self._head_room = self._head_room - written if written == len(head) else 0
        self._tail += chunk[written:]
        if len(self._tail) > 2 * LOG_TAIL:
            self._cut_tail()

    def _cut_tail(self) -> None:
        if (surplus := len(self._tail) - LOG_TAIL) > 0:
            del self._tail[:surplus]
            self._is_cut = True

    def close(self) -> None:
        """Write the tail, if there is room, and close the file; a reader that is still blocked writes no more."""
        with self._lock, contextlib.suppress(OSError):
            self._cut_tail()
            tail = b"\n[...]\n" * self._is_cut + self._tail
            self._tail.clear()
            try:
                if tail:
                    self._file.write(tail)
            finally:
                self._file.close()
