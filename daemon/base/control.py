"""Commands to the running daemon over a Unix socket that only its own user can open: one JSON line each way."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import selectors
import socket
import struct
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from meshdrop.daemon.base.errors import MeshdropError, NoService
from meshdrop.daemon.base.log import get_logger

log = get_logger()

_LINE_MAX = 65_536
_ANSWER_S = 10.0
_LOOK_EVERY_S = 0.2
#: Whoever connects has so long to say what is wanted.
_ASK_S = 5.0
#: Connections that are open at once. One more takes the place of the one that has been silent longest.
_MOST_OPEN = 64


class NoCommand(Exception):
    """What came over the socket is none; the message says why."""


def _nobody_waits() -> None:
    """Whoever asked looks for the answer himself."""


@dataclass
class Command:
    """One request; ``answer`` is called once, by the main thread, and calls ``_on_answer``."""

    verb: str
    arguments: dict[str, Any]
    _on_answer: Callable[[], None] = field(default=_nobody_waits, repr=False)
    _answered: threading.Event = field(default_factory=threading.Event, repr=False)
    _text: dict[str, Any] = field(default_factory=dict, repr=False)

    def answer(self, ok: bool, message: str) -> None:
        """Reply to whoever asked."""
        self._text = {"ok": ok, "message": message}
        self._answered.set()
        self._on_answer()

    @property
    def reply(self) -> dict[str, Any] | None:
        """The reply, once there is one."""
        return self._text if self._answered.is_set() else None

    def wait(self, unless: Callable[[], bool] = lambda: False) -> dict[str, Any]:
        """The reply, or that there was none in time, or before ``unless``."""
        end = time.monotonic() + _ANSWER_S
        while not self._answered.wait(_LOOK_EVERY_S):
            if unless() or time.monotonic() > end:
                return _BUSY
        return self._text


_BUSY = {"ok": False, "message": "the service is busy and did not answer in time; try again"}


@dataclass
class _Client:
    """One connection: what it has said so far, the command that became of it, and until when it may stay."""

    socket: socket.socket
    until: float
    said: bytes = b""
    command: Command | None = None

    @property
    def patience(self) -> tuple[bool, float]:
        """The least has to go first when there are too many: who has said nothing whole, and longest so."""
        return self.command is not None, self.until


class ControlSocket:
    """Listens in a thread of its own, queues commands for the main thread and calls ``on_command`` for each.

    Every connection is served beside the others: one that is silent, slow or says nonsense holds nobody up. Only this
    process's own user and root are answered.
    """

    def __init__(self, path: Path, on_command: Callable[[], None]) -> None:
        self._on_command = on_command
        self.commands: queue.SimpleQueue[Command] = queue.SimpleQueue()
        self._path = path
        self._clients: dict[int, _Client] = {}
        self._selector = selectors.DefaultSelector()
        self._news, self._tell = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._lock, self._closed = threading.Lock(), False
        path.unlink(missing_ok=True)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
        before = os.umask(0o177)
        try:
            self._socket.bind(short_path(path))
        finally:
            os.umask(before)
        self._socket.listen(16 * _MOST_OPEN)
        for source in (self._socket, self._news):
            self._selector.register(source, selectors.EVENT_READ)
        self._thread = threading.Thread(target=self._serve, daemon=True, name="control")
        self._thread.start()

    def close(self) -> None:
        """Stop listening and hang up."""
        with self._lock:
            self._closed = True
        self._wake()
        self._thread.join(_ANSWER_S)
        with contextlib.suppress(OSError):  # on a read-only disk; the next start removes it
            self._path.unlink(missing_ok=True)

    def _wake(self) -> None:
        """Let the thread look: there is an answer, or the end. Nothing after the end."""
        with self._lock, contextlib.suppress(OSError):  # a full pipe wakes it as well
            if self._tell >= 0:
                os.write(self._tell, b"x")

    def _serve(self) -> None:
        while not self._closed:
            ready = {key.fd for key, _ in self._selector.select(_LOOK_EVERY_S if self._clients else None)}
            try:
                self._turn(ready)
            except Exception:  # one odd client must not take the commands away from all others
                log.exception("the control socket hung up on everybody")
                for number in list(self._clients):
                    self._hang_up(number)
        for number, client in list(self._clients.items()):
            self._hang_up(number, (client.command and client.command.reply) or _BUSY)
        with self._lock:
            os.close(self._tell)
            self._tell = -1
        os.close(self._news)
        self._selector.close()
        self._socket.close()

    def _turn(self, ready: set[int]) -> None:
        if self._news in ready:
            with contextlib.suppress(BlockingIOError):
                os.read(self._news, _LINE_MAX)
        for number in ready & self._clients.keys():
            self._listen_to(number)
        if self._socket.fileno() in ready:
            for _ in range(_MOST_OPEN):  # not for ever: those inside are served between
                if not self._let_in():
                    break
        now = time.monotonic()
        for number, client in list(self._clients.items()):
            reply = client.command.reply if client.command is not None else None
            if reply is None and now >= client.until:
                reply = _BUSY if client.command is not None else _refusal("nothing was said in time")
            if reply is not None:
                self._hang_up(number, reply)

    def _let_in(self) -> bool:
        """Let one client in; whether there was one."""
        try:
            connection, _ = self._socket.accept()
        except BlockingIOError:
            return False
        except OSError:  # no descriptor is left: whoever waits is let in later
            time.sleep(_LOOK_EVERY_S / 10)
            return False
        connection.setblocking(False)
        if _user_of(connection) not in (os.geteuid(), 0):
            connection.close()
            return True
        if len(self._clients) >= _MOST_OPEN:
            self._hang_up(min(self._clients, key=lambda one: self._clients[one].patience), _BUSY)
        self._clients[connection.fileno()] = _Client(connection, time.monotonic() + _ASK_S)
        self._selector.register(connection, selectors.EVENT_READ)
        return True

    def _listen_to(self, number: int) -> None:
        client = self._clients[number]
        try:
            came = client.socket.recv(_LINE_MAX)
        except BlockingIOError:
            return
        except OSError:
            came = b""
        client.said += came
        line, end, _ = client.said.partition(b"\n")
        if not end and came and len(line) < _LINE_MAX:
            return
        self._selector.unregister(client.socket)  # one line each way: what else it may say is not read
        if not line:
            self._hang_up(number)
            return
        try:
            verb, arguments = _understood(line)
        except NoCommand as error:
            self._hang_up(number, _refusal(str(error)))
            return
        client.command, client.until = Command(verb, arguments, self._wake), time.monotonic() + _ANSWER_S
        self.commands.put(client.command)
        self._on_command()

    def _hang_up(self, number: int, reply: Mapping[str, Any] | None = None) -> None:
        client = self._clients.pop(number)
        with contextlib.suppress(KeyError):
            self._selector.unregister(client.socket)
        with client.socket, contextlib.suppress(OSError):  # it is gone, or does not read
            if reply is not None:
                client.socket.send(json.dumps(reply).encode() + b"\n")


def _refusal(why: str) -> dict[str, Any]:
    return {"ok": False, "message": f"this is no command: {why}"}


def _understood(line: bytes) -> tuple[str, dict[str, Any]]:
    """Verb and arguments of one line; raises ``NoCommand``."""
    if len(line) >= _LINE_MAX:
        raise NoCommand(f"a command has at most {_LINE_MAX:,} bytes")
    try:
        told = json.loads(line)
        json.dumps(told, ensure_ascii=False).encode()
    except (ValueError, RecursionError):  # UnicodeError is one: half of a surrogate pair is no text
        raise NoCommand("a JSON object in UTF-8 is wanted") from None
    if not isinstance(told, dict) or not isinstance(told.get("verb"), str):
        raise NoCommand('a JSON object with a "verb" is wanted')
    return told.pop("verb"), told


def _user_of(connection: socket.socket) -> int:
    """Who has connected; nobody (-1) when the kernel does not say."""
    try:
        facts = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size)
    except OSError:
        return -1
    return int(_PEER.unpack(facts)[1])


#: Process, user and group of a peer.
_PEER = struct.Struct("iII")


def ask(path: Path, verb: str, **arguments: Any) -> str:
    """Send one command to the running daemon and return its message; raises ``MeshdropError`` when it refuses."""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as connection:
            connection.settimeout(_ANSWER_S + 2)
            _connect(connection, path)
            connection.sendall(json.dumps({"verb": verb, **arguments}).encode() + b"\n")
            answer = json.loads(connection.makefile("rb").readline(_LINE_MAX))
    except (OSError, ValueError) as error:
        raise NoService(
            f"no running service answers at {path} ({error})", "start it with `meshdrop run`, or as the user it runs as"
        ) from error
    if not answer["ok"]:
        raise MeshdropError(answer["message"])
    return str(answer["message"])


def _connect(connection: socket.socket, path: Path) -> None:
    """Connect, however many stand before the door (``EAGAIN``), as long as one waits for an answer."""
    end = time.monotonic() + _ANSWER_S
    while True:
        try:
            connection.connect(short_path(path))
        except BlockingIOError:
            if time.monotonic() > end:
                raise
            time.sleep(_LOOK_EVERY_S / 10)
        else:
            return


def short_path(path: Path) -> str:
    """A socket's path may have 107 bytes; a longer one is reached through its folder's descriptor."""
    if len(os.fsencode(path)) <= 107:
        return str(path)
    _kept_open.append(descriptor := os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))
    return f"/proc/self/fd/{descriptor}/{path.name}"


_kept_open: list[int] = []
