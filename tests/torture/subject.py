"""The service under test: a fork of this process, which has imported it already, so that a run costs no start-up."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
import traceback
from dataclasses import dataclass, field

from meshdrop.daemon.base import crash
from meshdrop.daemon.cli import main as cli
from meshdrop.daemon.service import main as service  # noqa: F401 - imported here for the forks
from tests import light
from tests.patience import PATIENCE_S
from tests.rig import Rig
from tests.torture import mutations, recorder

#: No run takes more than two seconds on an idle machine; one that takes this long hangs.


@dataclass(frozen=True)
class Subject:
    """A running service. ``gate`` holds it before its first step until ``release``."""

    pid: int
    gate: int | None = None
    born: float = field(default_factory=time.monotonic)

    def release(self) -> None:
        """Let a held one begin."""
        if self.gate is not None:
            os.close(self.gate)

    def wait(self, patience_s: float = PATIENCE_S) -> int:
        """Exit code, or minus the signal that ended it; raises ``TimeoutError`` (and kills it) when it hangs."""
        end = time.monotonic() + patience_s
        while time.monotonic() < end:
            done, status = os.waitpid(self.pid, os.WNOHANG)
            if done:
                return os.waitstatus_to_exitcode(status)
            time.sleep(0.003)
        self.kill()
        raise TimeoutError(f"the service did not end in {patience_s:.0f} s")

    def alive(self) -> bool:
        """Whether it still runs; one that has ended stays for ``wait``."""
        return os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None

    def check_patience(self) -> None:
        """Raise ``TimeoutError`` when it has run for too long; for loops that wait for what it does."""
        if time.monotonic() - self.born > PATIENCE_S:
            raise TimeoutError(f"nothing came of it in {PATIENCE_S:.0f} s")

    def stop(self) -> int:
        """SIGTERM, and how it ended."""
        os.kill(self.pid, signal.SIGTERM)
        return self.wait()

    def kill(self) -> None:
        """SIGKILL; nothing is left to wait for."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)


def launch(rig: Rig, *arguments: str, held: bool = False, **extra: str) -> Subject:
    """Start ``meshdrop run`` on this rig with these arguments."""
    environment = rig.environment(**extra)
    log = os.open(rig.log_file, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
    wait_end, gate = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(gate)
        _become(environment, arguments, log, wait_end if held else None)
    os.close(log)
    os.close(wait_end)
    subject = Subject(pid, gate)
    if not held:
        subject.release()
        subject = Subject(pid)
    return subject


def run_once(rig: Rig, **extra: str) -> int:
    """Run until nothing is left to do; returns the exit code (negative: killed by that signal)."""
    return launch(rig, "--once", held=False, **extra).wait()


def _become(environment: dict[str, str], arguments: tuple[str, ...], log: int, gate: int | None) -> None:
    """The child's life; never returns."""
    code = 70
    try:
        os.setsid()
        os.environ.clear()
        os.environ.update(environment)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(log, 1)
        os.dup2(log, 2)
        os.chdir("/")
        if gate is not None:
            os.read(gate, 1)  # the end of the pipe is the word to go
        light.install()
        crash.arm(os.environ)
        mutations.apply(os.environ.get("LIGHT_WITHOUT", ""))
        recorder.attach(os.environ.get("LIGHT_RECORD"))
        sys.argv = ["meshdrop", "run", *arguments]
        cli.main()
        code = 0
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else int(error.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)
