"""The control socket: whatever one client does, the others are answered and the service goes on."""

from __future__ import annotations

import contextlib
import json
import os
import random
import resource
import socket
import stat
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from meshdrop.daemon.base.control import _LINE_MAX, _MOST_OPEN, ControlSocket, ask
from meshdrop.daemon.base.errors import MeshdropError

#: A test ends as soon as what it waits for happens; this is only how long it may take on a busy machine.
PATIENCE_S = 120.0


@pytest.fixture
def path(tmp_path: Path) -> Iterator[Path]:
    """A socket behind which somebody answers every command with its verb, as the main loop does."""
    ended, come = threading.Event(), threading.Event()
    served = ControlSocket(tmp_path / "control.sock", come.set)

    def answer() -> None:
        while not ended.is_set():
            come.wait(0.1)
            come.clear()
            while not served.commands.empty():
                command = served.commands.get()
                command.answer(True, command.verb)

    thread = threading.Thread(target=answer)
    thread.start()
    yield tmp_path / "control.sock"
    ended.set()
    thread.join()
    served.close()


@pytest.fixture
def clients(path: Path) -> Iterator[contextlib.ExitStack]:
    """Holds open what a test connects, and hangs up before the socket is closed."""
    with contextlib.ExitStack() as stack:
        yield stack


def connect(path: Path, clients: contextlib.ExitStack) -> socket.socket:
    client = clients.enter_context(socket.socket(socket.AF_UNIX))
    client.connect(str(path))  # without a time limit: it waits its turn at the door
    client.settimeout(PATIENCE_S)
    return client


def reply(client: socket.socket) -> dict[str, Any]:
    """What a client is told; nothing when it was hung up on."""
    try:
        line = client.makefile("rb").readline()
    except ConnectionResetError:
        return {}
    return dict(json.loads(line)) if line else {}


def test_only_its_own_user_may_open_it(path: Path) -> None:
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_silent_clients_and_half_lines_hold_nobody_up(path: Path, clients: contextlib.ExitStack) -> None:
    for number in range(_MOST_OPEN - 1):
        connect(path, clients).sendall(b'{"verb": "p' if number % 2 else b"")
    assert ask(path, "ping") == "ping"


def test_however_many_connect_the_next_one_is_answered(path: Path, clients: contextlib.ExitStack) -> None:
    for _ in range(4 * _MOST_OPEN):
        connect(path, clients)
    assert ask(path, "ping") == "ping"


def test_a_silent_client_is_sent_away_in_time(path: Path, clients: contextlib.ExitStack) -> None:
    answer = reply(connect(path, clients))
    assert answer == {"ok": False, "message": "this is no command: nothing was said in time"}


@pytest.mark.parametrize(
    "line",
    [
        b'{"verb": "\\ud800"}\n',
        b'{"verb": "cancel", "job": "\\udfff"}\n',
        b'{"verb": "cancel", "\\ud800": 1}\n',
        b"\xff\xfe\n",
        b"null\n",
        b"[]\n",
        b"7\n",
        b'"ping"\n',
        b"{}\n",
        b'{"verb": 1}\n',
        b"{\n",
        b"[" * 50_000 + b"\n",
        b"1" * 50_000 + b"\n",
    ],
)
def test_nonsense_is_refused_with_a_sentence(path: Path, clients: contextlib.ExitStack, line: bytes) -> None:
    client = connect(path, clients)
    client.sendall(line)
    answer = reply(client)
    assert answer["ok"] is False
    assert answer["message"].startswith("this is no command: ")
    assert ask(path, "ping") == "ping"


def test_a_megabyte_without_end_is_not_kept(path: Path, clients: contextlib.ExitStack) -> None:
    client = connect(path, clients)
    with contextlib.suppress(OSError):  # it is hung up on in the middle
        client.sendall(b"a" * (1 << 20))
    with contextlib.suppress(OSError):
        assert f"{_LINE_MAX:,}" in reply(client).get("message", f"{_LINE_MAX:,}")
    assert ask(path, "ping") == "ping"


def test_a_line_that_comes_in_pieces_is_one_command(path: Path, clients: contextlib.ExitStack) -> None:
    client = connect(path, clients)
    for byte in b'{"verb": "ping"}\n':
        client.sendall(bytes([byte]))
    assert reply(client) == {"ok": True, "message": "ping"}


def test_many_at_once_are_all_answered(path: Path) -> None:
    told: list[str] = []

    def one() -> None:
        told.append(ask(path, "ping"))

    threads = [threading.Thread(target=one) for _ in range(_MOST_OPEN // 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert told == ["ping"] * len(threads)


def test_any_bytes_leave_it_serving(path: Path) -> None:
    chance = random.Random(7)
    words = [b'{"verb": "', b"ping", b'"', b"}", b"\n", b"\\ud800", b"\x00", b"\xff", b"[" * 999, b"1e999", b": ", b","]
    for _ in range(300):
        with contextlib.ExitStack() as stack, contextlib.suppress(OSError):
            connect(path, stack).sendall(b"".join(chance.choices(words, k=chance.randrange(12))))
    assert ask(path, "ping") == "ping"


def test_a_command_that_nobody_answers_is_told_so_and_keeps_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("meshdrop.daemon.base.control._ANSWER_S", 0.5)
    served = ControlSocket(tmp_path / "busy.sock", lambda: None)
    with pytest.raises(MeshdropError, match="busy"):
        ask(tmp_path / "busy.sock", "ping")
    served.close()
    assert not (tmp_path / "busy.sock").exists()


def test_an_answer_given_just_before_the_end_arrives(tmp_path: Path) -> None:
    come, said = threading.Event(), []
    served = ControlSocket(tmp_path / "end.sock", come.set)
    asking = threading.Thread(target=lambda: said.append(ask(tmp_path / "end.sock", "drain")))
    asking.start()
    assert come.wait(PATIENCE_S)
    served.commands.get().answer(True, "it ends")
    served.close()
    asking.join()
    assert said == ["it ends"]


def test_without_a_free_descriptor_it_goes_on_once_there_is_one(path: Path) -> None:
    held: list[int] = []
    with contextlib.ExitStack() as stack:
        client = connect(path, stack)
        limits = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir("/proc/self/fd")) + 8, limits[1]))
        try:
            with contextlib.suppress(OSError):
                while True:
                    held.append(os.dup(client.fileno()))
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
            for descriptor in held:
                os.close(descriptor)
    assert ask(path, "ping") == "ping"
