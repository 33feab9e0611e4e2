"""Commands to the running daemon over a Unix socket that only its own user can open: one JSON line each way."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from daemon.errors import MeshdropError, NoService

_LINE_MAX = 65_536
_ANSWER_S = 10.0
_LOOK_EVERY_S = 0.2


@dataclass
class Command:
    """One request; ``answer`` is called once, by the main thread."""

    verb: str
    arguments: dict[str, Any]
    _answered: threading.Event = field(default_factory=threading.Event, repr=False)
    _text: dict[str, Any] = field(default_factory=dict, repr=False)

    def answer(self, ok: bool, message: str) -> None:
        """Reply to whoever asked."""
        self._text = {"ok": ok, "message": message}
        self._answered.set()

    def wait(self, unless: Callable[[], bool] = lambda: False) -> dict[str, Any]:
        """The reply, or that there was none in time, or before ``unless``."""
        end = time.monotonic() + _ANSWER_S
        while not self._answered.wait(_LOOK_EVERY_S):
            if unless() or time.monotonic() > end:
                return {"ok": False, "message": "the service is busy and did not answer in time; try again"}
        return self._text


class ControlSocket:
    """Listens in a thread of its own, queues commands for the main thread and calls ``on_command`` for each."""

    def __init__(self, path: Path, on_command: Callable[[], None]) -> None:
        self._on_command = on_command
        self.commands: queue.SimpleQueue[Command] = queue.SimpleQueue()
        self._path = path
        path.unlink(missing_ok=True)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        before = os.umask(0o177)
        try:
            self._socket.bind(short_path(path))
        finally:
            os.umask(before)
        self._socket.listen(8)
        threading.Thread(target=self._serve, daemon=True, name="control").start()

    def close(self) -> None:
        """Stop listening."""
        self._socket.close()
        with contextlib.suppress(OSError):  # on a read-only disk; the next start removes it
            self._path.unlink(missing_ok=True)

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            with connection:
                connection.settimeout(_ANSWER_S + 1)
                try:
                    request = json.loads(connection.makefile("rb").readline(_LINE_MAX))
                    command = Command(str(request.pop("verb")), request)
                    self.commands.put(command)
                    self._on_command()
                    connection.sendall(json.dumps(command.wait()).encode() + b"\n")
                except Exception:
                    continue


def ask(path: Path, verb: str, **arguments: Any) -> str:
    """Send one command to the running daemon and return its message; raises ``MeshdropError`` when it refuses."""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as connection:
            connection.settimeout(_ANSWER_S + 2)
            connection.connect(short_path(path))
            connection.sendall(json.dumps({"verb": verb, **arguments}).encode() + b"\n")
            answer = json.loads(connection.makefile("rb").readline(_LINE_MAX))
    except (OSError, ValueError) as error:
        raise NoService(
            f"no running service answers at {path} ({error})", "start it with `meshdrop run`, or as the user it runs as"
        ) from error
    if not answer["ok"]:
        raise MeshdropError(answer["message"])
    return str(answer["message"])


def short_path(path: Path) -> str:
    """A socket's path may have 107 bytes; a longer one is reached through its folder's descriptor."""
    if len(os.fsencode(path)) <= 107:
        return str(path)
    _kept_open.append(descriptor := os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))
    return f"/proc/self/fd/{descriptor}/{path.name}"


_kept_open: list[int] = []
