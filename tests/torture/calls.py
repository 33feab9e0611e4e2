"""kill -9, power cuts and errors at system calls that nobody named, by ``strace -e inject``."""

from __future__ import annotations

import os
import random
import re
import shutil
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tests.patience import PATIENCE_S
from tests.torture import subject
from tests.torture.case import MISSED, Case
from tests.torture.disks import Disk, FileSystem, cut_and_power_up
from tests.torture.ground import Ground, RootRig, onlooker
from tests.torture.promise import Sight, all_out, check_after_power_up, check_at_rest, look

How = Literal["kill", "cut", "cut+log", "error"]
#: Calls that change something on disk, or that a full or failing disk makes fail.
CHANGES = (
    "openat",
    "write",
    "pwrite64",
    "rename",
    "renameat",
    "renameat2",
    "unlink",
    "unlinkat",
    "mkdir",
    "mkdirat",
    "rmdir",
    "fsync",
    "fdatasync",
    "ftruncate",
    "utimensat",
    "sendfile",
    "copy_file_range",
)
#: What a disk, or a machine at its limits, really answers to these.
ERRORS: dict[str, tuple[str, ...]] = {
    "openat": ("ENOSPC", "EIO", "EMFILE"),
    "write": ("ENOSPC", "EIO"),
    "pwrite64": ("ENOSPC", "EIO"),
    "rename": ("ENOSPC", "EIO"),
    "renameat2": ("ENOSPC", "EIO"),
    "unlink": ("EIO",),
    "unlinkat": ("EIO",),
    "mkdir": ("ENOSPC", "EIO"),
    "rmdir": ("EIO",),
    "fsync": ("EIO", "ENOSPC"),
    "fdatasync": ("EIO", "ENOSPC"),
    "ftruncate": ("EIO",),
    "utimensat": ("EIO",),
    "read": ("EIO",),
    "pread64": ("EIO",),
    "getdents64": ("EIO",),
    "newfstatat": ("EIO",),
    "flock": ("EIO",),
    "socket": ("EMFILE",),
    "inotify_init1": ("EMFILE",),
    "pipe2": ("EMFILE",),
}
_CALL = re.compile(r"^(\d+) +(\w+)\(")
_INJECTED = "(INJECTED)"
_CURED_AFTER_S = 1.0


@dataclass(frozen=True)
class AtCall(Case):
    """Kill (and cut the power of ``kind``), or answer with ``error``, at the ``nth`` such call of any thread.

    Then start again, unharmed, and look.
    """

    how: How
    call: str
    nth: int
    error: str = ""
    kind: FileSystem | None = None
    split: bool = False

    @property
    def id(self) -> str:
        """Unique, readable, and enough to run it again."""
        layout = f"{self.kind or 'here'}{'-two' if self.split else ''}"
        return f"{self.part}/{layout}/{self.how}/{self.call}:{self.nth}{self.error and ':' + self.error}"

    def run(self, ground: Ground) -> str:
        """Raises ``AssertionError`` when the promise is broken, or when an error of the machine failed a capture."""
        with ground.layout(self.kind, split=self.split) as (rig, disks):
            ground.drop(rig)
            try:
                return self._fail(ground, rig) if self.how == "error" else self._kill(ground, rig, disks)
            except Exception as error:
                raise AssertionError(f"{type(error).__name__}: {error}\n{rig.log()[-3500:]}") from error

    def _kill(self, ground: Ground, rig: RootRig, disks: Sequence[Disk]) -> str:
        injection = f"{self.call}:signal=SIGKILL:when={self.nth}"
        with _traced(rig, ground, "--once", injection=injection) as (service, _), onlooker(rig):
            code = service.wait()
        assert code in (0, -signal.SIGKILL), f"exit code {code}"
        before = look(rig)
        if disks and code != 0:
            cut_and_power_up(disks, flush_log=self.how == "cut+log")
            check_after_power_up(before, look(rig))
        again = subject.run_once(rig)
        assert again == 0, f"the next start ended with {again}"
        check_at_rest(rig, ground.captures, before)
        return MISSED if code == 0 else ""

    def _fail(self, ground: Ground, rig: RootRig) -> str:
        """The service stays up and finishes, or ends and finishes when its supervisor starts it again."""
        injection = f"{self.call}:error={self.error}:when={self.nth}"
        with _traced(rig, ground, injection=injection) as (service, tracer), onlooker(rig):
            cured_at = float("inf")
            while service.alive() and not all_out(rig):
                service.check_patience()
                if cured_at == float("inf") and _happened(ground):
                    cured_at = time.monotonic() + _CURED_AFTER_S
                if time.monotonic() > cured_at:
                    tracer.terminate()  # strace counts calls by thread: a thread begun by each try would never be cured
                time.sleep(0.02)
            code = service.stop() if service.alive() else service.wait()
        assert code >= 0, f"an error ended the service by signal {-code}"
        again = subject.run_once(rig)
        assert again == 0, f"the next start ended with {again}"
        # An error of the machine fails no capture: both are where they belong, as if accepted before it.
        check_at_rest(rig, ground.captures, Sight(frozenset(), {}, frozenset()))
        return "" if _happened(ground) else MISSED


def _happened(ground: Ground) -> bool:
    return _INJECTED in (ground.folder / "strace").read_text(errors="replace")


@contextmanager
def _traced(
    rig: RootRig, ground: Ground, *arguments: str, injection: str = ""
) -> Iterator[tuple[subject.Subject, subprocess.Popen[bytes]]]:
    """The service under strace, whose notes go to ``strace`` in the scratch folder."""
    service = subject.launch(rig, *arguments, held=True)
    tracer = inject(service.pid, injection, ground.folder / "strace")
    try:
        service.release()
        yield service, tracer
    except BaseException:
        service.kill()
        raise
    finally:
        tracer.wait(PATIENCE_S)


def inject(pid: int, injection: str, log: Path = Path(os.devnull)) -> subprocess.Popen[bytes]:
    """strace on a running process and all its threads, attached when this returns; terminate it to let go.

    ``injection`` is ``CALLS:error=...`` or ``CALLS:signal=...``, empty to look only; ``log`` gets the calls.
    """
    what = [f"-etrace={injection.partition(':')[0]}", f"-einject={injection}"] if injection else []
    tracer = subprocess.Popen(["strace", "-qq", "-f", "-o", str(log), *what, "-p", str(pid)])
    threads = Path("/proc", str(pid), "task")
    while not all(re.search(r"TracerPid:\t[1-9]", (one / "status").read_text()) for one in threads.iterdir()):
        if tracer.poll() is not None:
            raise OSError("strace could not attach")
        time.sleep(0.005)
    return tracer


def calls_of_a_run(ground: Ground) -> list[tuple[str, int]]:
    """(call, how manieth of its thread) for every system call of one undisturbed run, in order."""
    with ground.rig(ground.folder) as rig:
        ground.drop(rig)
        with _traced(rig, ground, "--once") as (service, _):
            code = service.wait()
        assert code == 0, rig.log()
        check_at_rest(rig, ground.captures, look(rig))
    counted: Counter[tuple[str, str]] = Counter()
    found = []
    for line in (ground.folder / "strace").read_text(errors="replace").splitlines():
        if call := _CALL.match(line):
            counted[call[1], call[2]] += 1
            found.append((call[2], counted[call[1], call[2]]))
    return found


def kills(
    calls: Sequence[tuple[str, int]], count: int, chance: random.Random, kinds: Sequence[FileSystem] = ()
) -> list[AtCall]:
    """Half of them at calls that change something, half at any call at all; with a power cut when there are kinds."""
    changes = [one for one in calls if one[0] in CHANGES]

    def draw() -> AtCall:
        call, nth = chance.choice(changes if chance.random() < 0.5 else calls)
        if not kinds:
            return AtCall("calls", "kill", call, nth)
        how: How = chance.choice(("cut", "cut+log"))
        return AtCall("call-cuts", how, call, nth, "", chance.choice(kinds), chance.random() < 0.5)

    return _distinct(count, draw)


def errors(calls: Sequence[tuple[str, int]], count: int, chance: random.Random) -> list[AtCall]:
    """Errors that such a call really can give, once each."""
    by_call: dict[str, list[int]] = {}
    for call, nth in calls:
        if call in ERRORS:
            by_call.setdefault(call, []).append(nth)

    def draw() -> AtCall:
        call = chance.choice(sorted(by_call))
        return AtCall("errors", "error", call, chance.choice(by_call[call]), chance.choice(ERRORS[call]))

    return _distinct(count, draw)


def _distinct(count: int, draw: Callable[[], AtCall]) -> list[AtCall]:
    """``count`` different draws, or as many as there are."""
    drawn: dict[AtCall, None] = {}
    for _ in range(20 * count):
        if len(drawn) < count:
            drawn[draw()] = None
    return [*drawn]


def why_not() -> str | None:
    """Why nothing can be injected here; None when it can."""
    if shutil.which("strace") is None:
        return "strace is not installed"
    inject = ["strace", "-qq", "-o", os.devnull, "-e", "inject=getppid:error=EIO", "true"]
    done = subprocess.run(inject, check=False, capture_output=True, text=True)
    return None if done.returncode == 0 else f"strace may not trace here: {done.stderr.strip()}"
