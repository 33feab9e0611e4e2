"""The service under a supervisor: the messages of sd_notify in their order, and silence when it hangs.

A socket of the test stands where systemd's would. Nothing is timed: silence is proven of a process that cannot speak.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.patience import PATIENCE_S
from tests.rig import Rig, stop, wait_for

#: Longer than the time between two pings of an idle service, which is a second.
PINGS_S = 2.5
#: The service with a main thread that stands still while a file of the test's is there. Its other threads go on.
HANGS = """
import faulthandler, sys, time
from pathlib import Path
from meshdrop.daemon.base import log
from meshdrop.daemon.service.main import run_service
from meshdrop.daemon.base.settings import load

hang, hangs = Path(sys.argv[1]), Path(sys.argv[2])

def stand_still(activity):
    while hang.exists():
        hangs.touch()
        time.sleep(0.05)

faulthandler.enable()
log.configure(False)
run_service(load(), on_turn=stand_still)
"""


class Supervisor:
    """What systemd would have heard."""

    def __init__(self, folder: Path) -> None:
        self.address = folder / "notify"
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(str(self.address))
        self.messages: list[str] = []
        threading.Thread(target=self._listen, daemon=True).start()

    @property
    def environment(self) -> dict[str, str]:
        """What systemd gives to a service of ``Type=notify``. Without WATCHDOG_PID: a child's is not known before."""
        return {"NOTIFY_SOCKET": str(self.address), "WATCHDOG_USEC": "60000000"}

    def _listen(self) -> None:
        """All the time, as systemd does: the kernel keeps ten messages, and what does not fit is lost."""
        while True:
            self.messages.append(self.socket.recv(65_536).decode())

    def hears(self, field: str) -> bool:
        """Whether a message with this line has come."""
        return any(field in message.split("\n") for message in list(self.messages))

    def is_silent(self) -> bool:
        """Forget what was sent before, wait for more than two pings' time, and say whether none came."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as end:
            end.sendto(b"MARK=1", str(self.address))
        wait_for(lambda: self.hears("MARK=1"))
        self.messages.clear()
        time.sleep(PINGS_S)
        return self.messages == []


@pytest.fixture
def supervisor(tmp_path: Path) -> Supervisor:
    """Listens."""
    return Supervisor(tmp_path)


def state_of(process: subprocess.Popen[bytes]) -> str:
    """One letter: R, S, T for stopped, ..."""
    return Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[0]


def test_a_day_of_a_service_as_systemd_hears_it(
    light_rig: Callable[..., Rig], supervisor: Supervisor, ball: Path
) -> None:
    here = light_rig()
    here.hold("chair")
    daemon = here.start(**supervisor.environment)
    wait_for(lambda: supervisor.hears("READY=1"))
    wait_for(lambda: supervisor.hears("WATCHDOG=1"))
    wait_for(lambda: supervisor.hears("STATUS=idle, 0 waiting, 0 in the inbox"))
    here.drop(ball, "chair")
    wait_for(lambda: any("STATUS=chair: " in message for message in list(supervisor.messages)))
    here.let_go("chair")
    wait_for((here.places.outbox / "chair.done").exists)
    assert stop(daemon) == 0
    wait_for(lambda: supervisor.hears("STATUS=stopped"))
    heard = list(supervisor.messages)
    assert heard.count("READY=1\nWATCHDOG_USEC=60000000") == 1, "ready once"
    first = next(message for message in heard if message.startswith("READY"))
    assert not any("WATCHDOG=1" in message for message in heard[: heard.index(first)]), "no ping before it is ready"
    end = heard.index("STOPPING=1\nSTATUS=stopping")
    assert not any("WATCHDOG=1" in message for message in heard[end:]), "no ping while it ends"
    assert heard[-1] == "STATUS=stopped"


def test_a_service_that_waits_for_its_share_says_so_and_stays_alive(
    light_rig: Callable[..., Rig], supervisor: Supervisor
) -> None:
    here = light_rig()
    sentinel = here.places.sentinel.read_bytes()
    here.places.sentinel.unlink()
    daemon = here.start(**supervisor.environment)
    wait_for(
        lambda: any(
            message.startswith("READY=1\nSTATUS=waiting: ") and message.endswith("WATCHDOG_USEC=600000000")
            for message in list(supervisor.messages)
        )
    )
    wait_for(lambda: supervisor.hears("WATCHDOG=1"))
    here.places.sentinel.write_bytes(sentinel)
    wait_for(lambda: supervisor.hears("WATCHDOG_USEC=60000000"))
    assert stop(daemon) == 0


def test_a_stopped_process_pings_no_more_and_goes_on_when_it_is_continued(
    light_rig: Callable[..., Rig], supervisor: Supervisor, ball: Path
) -> None:
    """SIGSTOP is what a hanging disk or a debugger does to all threads at once: systemd would act after WatchdogSec."""
    here = light_rig()
    daemon = here.start(**supervisor.environment)
    wait_for(lambda: supervisor.hears("WATCHDOG=1"))
    daemon.send_signal(signal.SIGSTOP)
    wait_for(lambda: state_of(daemon) == "T")
    assert supervisor.is_silent()
    here.drop(ball)
    daemon.send_signal(signal.SIGCONT)
    wait_for(lambda: supervisor.hears("WATCHDOG=1"))
    wait_for((here.places.outbox / "ball.done").exists)
    assert stop(daemon) == 0
    here.assert_at_rest()


def test_a_main_thread_that_hangs_pings_no_more_and_the_log_tells_where(
    light_rig: Callable[..., Rig], supervisor: Supervisor, tmp_path: Path
) -> None:
    """The other threads are well and go on, which must not pass for life. Then what systemd does: SIGABRT."""
    here = light_rig()
    hang, hangs = tmp_path / "hang", tmp_path / "hangs"
    with here.log_file.open("wb") as log:
        daemon = subprocess.Popen(
            [sys.executable, "-c", HANGS, str(hang), str(hangs)],
            cwd=tmp_path,
            stdout=log,
            stderr=log,
            env=here.environment(**supervisor.environment, PYTHONPATH=str(Path(__file__).parents[2])),
        )
    here.started.append(daemon)
    wait_for(lambda: supervisor.hears("WATCHDOG=1"))
    heartbeat = here.places.spool / "lock"
    hang.touch()
    wait_for(hangs.exists)
    assert supervisor.is_silent()
    before = heartbeat.stat().st_mtime_ns
    wait_for(lambda: heartbeat.stat().st_mtime_ns > before)
    assert supervisor.messages == [], "the heartbeat went on, the pings did not"
    hang.unlink()
    wait_for(lambda: supervisor.hears("WATCHDOG=1"))
    hangs.unlink()
    hang.touch()
    wait_for(hangs.exists)
    daemon.send_signal(signal.SIGABRT)
    assert daemon.wait(PATIENCE_S) == -signal.SIGABRT
    assert "in stand_still" in here.log()
    assert here.log().count("Thread 0x") > 3, "what the other threads were doing is told too"


def test_the_installed_command_tells_where_it_hung_too(light_rig: Callable[..., Rig], supervisor: Supervisor) -> None:
    here = light_rig()
    daemon = here.start(**supervisor.environment)
    wait_for(lambda: supervisor.hears("WATCHDOG=1"))
    os.kill(daemon.pid, signal.SIGABRT)
    assert daemon.wait(PATIENCE_S) == -signal.SIGABRT
    assert "in _turn_for_ever" in here.log()
