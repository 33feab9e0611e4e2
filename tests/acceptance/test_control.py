"""Commands to a running service: whatever comes over its socket, it works on and answers the next one."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable
from pathlib import Path

from meshdrop.daemon.base.control import Command, ask
from meshdrop.daemon.service.main import Service
from tests.rig import Rig, stop, wait_for


def test_no_line_ends_the_service(light_rig: Callable[..., Rig], ball: Path) -> None:
    here = light_rig()
    daemon = here.start()
    wait_for(here.places.control.exists)
    for line in (
        b'{"verb": "cancel", "job": "\\ud800"}\n',
        b'{"verb": "cancel", "job": "\xc3\xa9"}\n',
        b'{"verb": "cancel"}\n',
        b'{"verb": "cancel", "job": {"a": [1]}}\n',
        b'{"verb": "no such"}\n',
        b"nonsense\n",
        b'{"verb": "pi',
        b"",
    ):
        with socket.socket(socket.AF_UNIX) as client, contextlib.suppress(OSError):
            client.connect(str(here.places.control))
            client.sendall(line)
            client.settimeout(120)
            assert b'"ok": false' in client.recv(65_536) or not line.endswith(b"\n")
    assert ask(here.places.control, "ping") == "running"
    here.drop(ball, "chair")
    wait_for((here.places.outbox / "chair.done").exists)
    assert stop(daemon) == 0


def test_a_command_that_fails_for_any_reason_is_answered() -> None:
    class Odd(Service):
        def __init__(self) -> None:
            """No parts are needed: this service knows one command, and fails at it."""

        def _obey(self, command: Command) -> None:
            raise ZeroDivisionError(command.verb)

    command = Command("divide", {})
    Odd()._obey_safely(command)
    assert command.reply is not None
    assert command.reply["ok"] is False
    assert "ZeroDivisionError" in command.reply["message"]
