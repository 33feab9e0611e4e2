"""What systemd is told: the fields of each message, one line whatever a folder is called, and never a wait."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from meshdrop.daemon.host import systemd
from meshdrop.daemon.status.activity import Activity
from meshdrop.daemon.status.pages import Working

UNIT = Path(__file__).parents[4] / "systemd/meshdrop.service"


class Supervisor:
    """The socket that systemd listens on."""

    def __init__(self, address: str) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(address)
        self.socket.setblocking(False)

    def heard(self) -> list[dict[str, str]]:
        """Every message since the last time, as its fields."""
        messages: list[dict[str, str]] = []
        while True:
            try:
                text = self.socket.recv(65_536).decode()
            except BlockingIOError:
                return messages
            messages.append(dict(line.split("=", 1) for line in text.split("\n")))


@pytest.fixture
def supervisor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Supervisor]:
    """Listens to this process, as to a unit with ``WatchdogSec=60``."""
    here = Supervisor(str(tmp_path / "notify"))
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
    monkeypatch.setenv("WATCHDOG_USEC", "60000000")
    monkeypatch.setenv("WATCHDOG_PID", str(os.getpid()))
    yield here
    here.socket.close()


def test_a_start_that_waits_is_ready_with_a_longer_watchdog_until_it_is_really_ready(supervisor: Supervisor) -> None:
    """Nobody pings while a large record is checked after the wait; ten minutes instead of one are given for that."""
    systemd.waiting("/srv/scans has no readable .meshdrop-id\nREADY=0")
    systemd.alive()
    systemd.ready()
    systemd.stopping()
    assert supervisor.heard() == [
        {
            "READY": "1",
            "STATUS": "waiting: /srv/scans has no readable .meshdrop-id\\nREADY=0",
            "WATCHDOG_USEC": "600000000",
        },
        {"WATCHDOG": "1"},
        {"READY": "1", "WATCHDOG_USEC": "60000000"},
        {"STOPPING": "1", "STATUS": "stopping"},
    ]


def test_the_unit_gives_a_start_as_long_as_one_after_waiting() -> None:
    [seconds] = re.findall(r"(?m)^TimeoutStartSec=(\d+)$", UNIT.read_text(encoding="utf-8"))
    assert int(seconds) == systemd._START_S


@pytest.mark.parametrize("variables", [{"WATCHDOG_USEC": ""}, {"WATCHDOG_PID": "1"}])
def test_a_watchdog_that_is_not_ours_is_left_alone(
    supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch, variables: dict[str, str]
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    systemd.ready()
    assert supervisor.heard() == [{"READY": "1"}]


def test_an_abstract_address_is_understood(monkeypatch: pytest.MonkeyPatch) -> None:
    name = f"meshdrop-test-{os.getpid()}"
    here = Supervisor(f"\0{name}")
    monkeypatch.setenv("NOTIFY_SOCKET", f"@{name}")
    systemd.alive()
    assert here.heard() == [{"WATCHDOG": "1"}]
    here.socket.close()


@pytest.mark.parametrize("address", ["", "/nonexistent/socket"])
def test_nobody_listening_is_no_trouble(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", address)
    systemd.alive()


def test_a_supervisor_that_does_not_read_stops_nobody(supervisor: Supervisor) -> None:
    """More messages than any queue holds (net.unix.max_dgram_qlen); a wait would never end. A line that was not taken
    is told again.
    """
    for _ in range(2000):
        systemd.alive()
    activity, status = Activity(lambda: 0.0), systemd.Status()
    status.tell(activity.facts())
    systemd.stopping()
    heard = supervisor.heard()
    assert 0 < len(heard) < 2000
    assert set(map(str, heard)) == {"{'WATCHDOG': '1'}"}
    status.tell(activity.facts())
    assert supervisor.heard() == [{"STATUS": "idle, 0 waiting, 0 in the inbox"}]


def facts(**changes: Any) -> dict[str, Any]:
    """The facts of an idle activity with changes."""
    return {**Activity(lambda: 0.0).facts(), **changes}


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({}, "idle, 0 waiting, 0 in the inbox"),
        (
            {"inbox_total": 2, "inbox_unseen": 10, "queue_total": 1, "reading_total": 1, "later_total": 1},
            "idle, 3 waiting, 12 in the inbox",
        ),
        (
            {"working": {"name": "chair", "note": "fusion 40 %", "progress": 0.4}},
            "chair: fusion 40 % (40 %); 0 waiting, 0 in the inbox",
        ),
        ({"finishing": [{"name": "sofa"}]}, "finishing sofa; 0 waiting, 0 in the inbox"),
        (
            {"held": ["less than 2048 MB are free", "and more"]},
            "held: less than 2048 MB are free; 0 waiting, 0 in the inbox",
        ),
        ({"stopped": True}, "stopped"),
    ],
)
def test_the_line_tells_what_matters_most_first(changes: dict[str, Any], line: str) -> None:
    assert systemd.summary(facts(**changes)) == line


def test_the_line_is_sent_when_it_changes_and_no_name_can_send_a_field(supervisor: Supervisor) -> None:
    activity, status = Activity(lambda: 0.0), systemd.Status()
    status.tell(activity.facts())
    status.tell(activity.facts())
    activity.work(Working("1" * 32, "a\nWATCHDOG=trigger\u2028b" + "x" * 500, 1, 0.5, "fusion"), b"a")
    status.tell(activity.facts())
    idle, busy = supervisor.heard()
    assert idle == {"STATUS": "idle, 0 waiting, 0 in the inbox"}
    assert set(busy) == {"STATUS"}
    assert busy["STATUS"].startswith("a\\nWATCHDOG=trigger\\u2028b")
    assert len(busy["STATUS"]) == systemd._LINE_MAX
