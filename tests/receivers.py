"""Receivers of messages on the loopback, with good and bad manners; each remembers everything that was sent to it."""

from __future__ import annotations

import contextlib
import secrets
import shutil
import socket
import ssl
import struct
import subprocess
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.patience import PATIENCE_S

#: What a receiver may do with a request, besides answering a status.
HANG, RESET, DRIP, GARBAGE = "hang", "reset", "drip", "garbage"


@dataclass
class Received:
    """One request."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Receiver:
    """An HTTP server. ``mood`` gives the status of the next answer, or one of the words above."""

    mood: Callable[[Received], int | str] = lambda _: 200
    certificate: tuple[Path, Path] | None = None
    headers: dict[str, str] = field(default_factory=dict)
    received: list[Received] = field(default_factory=list)

    def __post_init__(self) -> None:
        receiver = self
        self._closing = threading.Event()

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self._answer()

            def do_POST(self) -> None:
                self._answer()

            def _answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                one = Received(self.command, self.path, {k.lower(): v for k, v in self.headers.items()}, body)
                receiver.received.append(one)
                receiver._behave(self, receiver.mood(one))

            def log_message(self, *_: Any) -> None: ...

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *_: Any) -> None: ...

        self._server = Server(("127.0.0.1", 0), Handler)
        if self.certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*self.certificate)
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def _behave(self, handler: BaseHTTPRequestHandler, mood: int | str) -> None:
        if mood == HANG:
            self._closing.wait(PATIENCE_S)
        elif mood == RESET:
            handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            handler.connection.close()
        elif mood == DRIP:
            with contextlib.suppress(OSError):
                handler.wfile.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
                while not self._closing.wait(0.1):
                    handler.wfile.write(b".")
        elif mood == GARBAGE:
            handler.wfile.write(b"220 mail.example ESMTP\r\n")
        elif isinstance(mood, int):
            handler.send_response(mood)
            if 300 <= mood < 400:
                handler.send_header("Location", f"http://127.0.0.1:{self.port}/elsewhere")
            for name, value in self.headers.items():
                handler.send_header(name, value)
            handler.send_header("Content-Length", "0")
            handler.end_headers()

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    @property
    def url(self) -> str:
        scheme, host = ("http", "127.0.0.1") if self.certificate is None else ("https", "localhost")
        return f"{scheme}://{host}:{self.port}/hook/t0ken-of-the-address"

    def close(self) -> None:
        self._closing.set()
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def receivers(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Receiver]]:
    """Makes receivers and closes them."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
    made: list[Receiver] = []

    def make(*arguments: Any, **settings: Any) -> Receiver:
        made.append(Receiver(*arguments, **settings))
        return made[-1]

    yield make
    for one in made:
        one.close()


def free_port() -> int:
    """A port on which nobody listens, below those that the kernel gives to whoever asks for any: what else runs on this
    machine takes it only by asking for this very one."""
    while True:
        port = secrets.randbelow(16_000) + 16_000
        with contextlib.suppress(OSError), socket.socket() as probe:
            probe.bind(("127.0.0.1", port))
            return port


def certificate_for(name: str, folder: Path) -> tuple[Path, Path]:
    """A certificate for a host name that only itself vouches for, and its key."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("openssl is not installed here")
    certificate, key = folder / f"{name}.pem", folder / f"{name}.key"
    subprocess.run(
        [
            openssl,
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-nodes",
            "-days",
            "2",
            "-subj",
            f"/CN={name}",
            "-addext",
            f"subjectAltName=DNS:{name}",
            "-keyout",
            str(key),
            "-out",
            str(certificate),
        ],
        check=True,
        capture_output=True,
    )
    return certificate, key
