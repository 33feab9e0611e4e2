"""A small Hugging Face Hub on loopback, with a server of large files and one of plain ones, and weights to fetch there.

Speaks what huggingface_hub asks for: a repository's files at a revision, and the files themselves; large ones by a
redirect to another host name, as the real hub does. Says what it sent, and misbehaves when told to.
"""

from __future__ import annotations

import hashlib
import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from random import Random
from typing import Any

from meshdrop.models.contract.weights import Catalogue, Entry, Resource, WeightFile
from tests.patience import PATIENCE_S

MODEL = "tiny"
REPOSITORY, REVISION = "somebody/tiny-weights", "0123456789abcdef0123456789abcdef01234567"
CONFIG, NETWORK = "config.json", "ckpts/network.safetensors"
CODE = "code/hubconf.py"
#: More than huggingface_hub writes at once (10 MB), so that a part of it can lie on the disk.
FILES = {CONFIG: b'{"width": 8}\n', NETWORK: Random(5).randbytes(25_000_000), CODE: b"dependencies = []\n"}


def sha256(content: bytes) -> str:
    """In hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()


def git_blob(content: bytes) -> str:
    """As `git hash-object` has it."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


@dataclass
class Sent:
    """One answer: who asked for what, from which byte, and how many bytes of content went out."""

    host: str
    path: str
    start: int
    authorization: str | None
    count: int = 0


@dataclass
class Hub:
    """The server's state; change it between requests to make it misbehave."""

    url: str = ""
    elsewhere: str = ""
    files: dict[str, bytes] = field(default_factory=lambda: dict(FILES))
    revision: str = REVISION
    #: Path -> answer with this status instead.
    broken: dict[str, int] = field(default_factory=dict)
    #: Content that is served in place of what the hub says of the file.
    swapped: dict[str, bytes] = field(default_factory=dict)
    #: Path -> break the connection after so many bytes, once, and answer 503 from then on.
    cut: dict[str, int] = field(default_factory=dict)
    #: Path -> stop sending after so many bytes until ``go_on`` is set.
    held: dict[str, int] = field(default_factory=dict)
    go_on: threading.Event = field(default_factory=threading.Event)
    ignores_range: bool = False
    sent: list[Sent] = field(default_factory=list)

    def count(self, path: str) -> int:
        """Bytes of content sent for the path so far."""
        return sum(answer.count for answer in self.sent if answer.path == path)

    def catalogue(self) -> Catalogue:
        """Weights here: one file that only the commit vouches for, a large one, and pinned code."""
        hub = Resource(
            REPOSITORY,
            REVISION,
            None,
            REPOSITORY,
            (WeightFile(CONFIG), WeightFile(NETWORK)),
            25_000_000,
            "MIT",
            "any use",
        )
        code = WeightFile(CODE, len(FILES[CODE]), sha256(FILES[CODE]))
        plain = Resource(
            "somebody/code", "c0ffee", f"{self.elsewhere}/plain", "torch/code", (code,), 18, "ISC", "any use"
        )
        return Catalogue(MODEL, (hub, plain))


def entries() -> dict[str, Entry]:
    """What the manifest says when everything was fetched."""
    hub, plain = f"{REPOSITORY}@{REVISION}", "somebody/code@c0ffee"
    names = {f"{REPOSITORY}/{CONFIG}": CONFIG, f"{REPOSITORY}/{NETWORK}": NETWORK, f"torch/code/{CODE}": CODE}
    return {
        target: Entry(len(FILES[name]), sha256(FILES[name]), plain if name == CODE else hub)
        for target, name in names.items()
    }


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Hub

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        kind, _, rest = path.lstrip("/").partition("/")
        if path == f"/api/models/{REPOSITORY}/revision/{REVISION}":
            self._answer_json(self._facts()) if "api" not in self.hub.broken else self._fail(self.hub.broken["api"])
        elif kind == "api":
            self._fail(404, "RevisionNotFound" if REPOSITORY in path else "RepoNotFound")
        elif kind in ("cdn", "plain"):
            self._serve(rest)
        elif path.startswith(f"/{REPOSITORY}/resolve/{REVISION}/"):
            name = path.removeprefix(f"/{REPOSITORY}/resolve/{REVISION}/")
            self._redirect(name) if name == NETWORK else self._serve(name)
        else:
            self._fail(404)

    def _facts(self) -> dict[str, Any]:
        siblings = []
        for name in (CONFIG, NETWORK, "README.md"):
            content = self.hub.files.get(name)
            if content is None:
                continue
            told: dict[str, Any] = {"rfilename": name, "size": len(content), "blobId": git_blob(content)}
            if name == NETWORK:
                told["lfs"] = {"sha256": sha256(content), "size": len(content), "pointerSize": 135}
            siblings.append(told)
        return {"_id": "1", "id": REPOSITORY, "modelId": REPOSITORY, "sha": self.hub.revision, "siblings": siblings}

    def _redirect(self, name: str) -> None:
        self.hub.sent.append(Sent(self.headers["Host"], f"resolve/{name}", 0, self.headers["Authorization"]))
        self.send_response(302)
        self.send_header("Location", f"{self.hub.elsewhere}/cdn/{name}")
        self.send_header("X-Linked-Etag", f'"{sha256(self.hub.files[name])}"')
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _serve(self, name: str) -> None:
        hub = self.hub
        answer = Sent(self.headers["Host"], name, 0, self.headers["Authorization"])
        hub.sent.append(answer)
        if name in hub.broken:
            self._fail(hub.broken[name])
            return
        content = hub.swapped.get(name, hub.files[name])
        asked = self.headers["Range"]
        if asked is not None and not hub.ignores_range:
            answer.start = int(asked.removeprefix("bytes=").partition("-")[0])
        self.send_response(206 if answer.start else 200)
        self.send_header("Content-Length", str(len(content) - answer.start))
        self.send_header("ETag", f'"{git_blob(content)}"')
        if answer.start:
            self.send_header("Content-Range", f"bytes {answer.start}-{len(content) - 1}/{len(content)}")
        self.end_headers()
        self._send(name, memoryview(content)[answer.start :], answer)

    def _send(self, name: str, rest: memoryview, answer: Sent) -> None:
        if (cut := self.hub.cut.get(name)) is not None:
            self.hub.broken[name] = 503
            self._write(rest[:cut], answer)
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
            return
        stop = self.hub.held.get(name)
        if stop is not None:
            self._write(rest[:stop], answer)
            self.hub.go_on.wait(PATIENCE_S)
            rest = rest[stop:]
        self._write(rest, answer)

    def _write(self, content: memoryview, answer: Sent) -> None:
        for start in range(0, len(content), 1 << 20):
            part = content[start : start + (1 << 20)]
            try:
                self.wfile.write(part)
            except OSError:  # whoever asked has gone
                self.close_connection = True
                return
            answer.count += len(part)

    def _answer_json(self, told: dict[str, Any]) -> None:
        self.hub.sent.append(Sent(self.headers["Host"], "api", 0, self.headers["Authorization"]))
        content = json.dumps(told).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _fail(self, status: int, code: str = "") -> None:
        self.send_response(status)
        if code:
            self.send_header("X-Error-Code", code)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


@contextmanager
def running() -> Iterator[Hub]:
    """A hub that answers until the end of the block; ``hub.url`` and ``hub.elsewhere`` are two names of it."""
    hub = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": hub}))
    server.daemon_threads = True
    hub.url = f"http://127.0.0.1:{server.server_port}"
    hub.elsewhere = f"http://localhost:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield hub
    finally:
        hub.go_on.set()
        server.shutdown()
        thread.join()
        server.server_close()


def fill(folder: Path) -> None:
    """A folder of weights as a fetch leaves it, without one."""
    for target in entries():
        name = target.removeprefix(f"{REPOSITORY}/").removeprefix("torch/code/")
        (folder / target).parent.mkdir(parents=True, exist_ok=True)
        (folder / target).write_bytes(FILES[name])
    manifest = {"schema": 1, "model": MODEL, "files": {target: vars(entry) for target, entry in entries().items()}}
    (folder / "weights.json").write_text(json.dumps(manifest), encoding="utf-8")
