"""Starts the process that sends, and reads what came of it; never longer than the limits allow."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from meshdrop.daemon.notify.sender import AWAY
from meshdrop.daemon.workers.process import OWNER_KEY

#: For starting the process and reading its answer, beside what each part may take.
_START_S = 20.0
_PASSED_ON = frozenset(
    {
        "PATH",
        "LANG",
        "LC_ALL",
        "TZ",
        "SSL_CERT_FILE",
        "SSL_CERT_DIR",
        "REQUESTS_CA_BUNDLE",
        "HTTP_PROXY",
        "HTTPS_PROXY",
        "NO_PROXY",
        "http_proxy",
        "https_proxy",
        "no_proxy",
    }
)


@dataclass(frozen=True)
class SendOutcome:
    """What came of one part. ``status`` is that of HTTP, if the receiver answered at all; no ``trouble``: it has it.
    ``wait_s`` is for how long the receiver wishes to be left alone, 0 when it says nothing of that.
    """

    status: int | None
    trouble: str | None
    wait_s: float = 0.0

    @property
    def was_reached(self) -> bool:
        """Whether the receiver took this very message or refused it. One that is overloaded did neither, and a proxy
        that finds nobody behind it is not the receiver."""
        return self.trouble is None or (self.status is not None and self.status not in AWAY)


class Courier:
    """Sends for one service, one thing at a time. ``stop`` may be called from any thread and ends what is under way.

    The processes carry the mark of the state folder: a start ends those that an earlier service left behind.
    """

    def __init__(self, state: Path) -> None:
        self.state = state
        self._guard = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._stopped = False

    def send(self, task: str, parts: Sequence[Mapping[str, Any]], limit_s: float) -> list[SendOutcome]:
        """Hand the parts to ``task``, a module with a ``send`` (see ``sender.py``), one after the other, until one does
        not reach its receiver, or all have taken as long as one may; as many answers as were tried, at least one."""
        request = json.dumps({"task": task, "limit_s": limit_s, "parts": list(parts)}).encode()
        try:
            with self._started() as process:
                out = _talk(process, request, limit_s * len(parts) + _START_S)
        except OSError as error:
            return [SendOutcome(None, f"no process to send it could be started ({error.strerror})")]
        answers = [_read(line) for line in out.splitlines()]
        if not answers or (process.returncode and len(answers) < len(parts)):
            answers.append(SendOutcome(None, _ended(process.returncode, limit_s)))
        return answers

    def stop(self) -> None:
        """End what is under way, and begin nothing more."""
        with self._guard:
            self._stopped = True
            if self._process is not None:
                self._process.kill()

    @contextlib.contextmanager
    def _started(self) -> Any:
        passed = {name: value for name, value in os.environ.items() if name in _PASSED_ON}
        with self._guard:
            if self._stopped:
                raise OSError(0, "the service ends", "")
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-m", "meshdrop.daemon.notify.sender"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env={**passed, OWNER_KEY: str(self.state)},
                start_new_session=True,
            )
        try:
            yield self._process
        finally:
            with self._guard:
                self._process = None


def _talk(process: subprocess.Popen[bytes], request: bytes, limit_s: float) -> bytes:
    try:
        return process.communicate(request, timeout=limit_s)[0]
    except subprocess.TimeoutExpired:  # a machine that stands still; the alarm should have ended it long ago
        process.kill()
        return process.communicate()[0]


def _read(line: bytes) -> SendOutcome:
    try:
        told = json.loads(line)
        return SendOutcome(told["status"], told["trouble"], told.get("wait_s", 0.0))
    except (ValueError, TypeError, KeyError):  # a library that prints: nothing is known of what came of it
        return SendOutcome(None, "the sender's answer was not understood")


def _ended(code: int, limit_s: float) -> str:
    if code == -signal.SIGALRM:
        return f"it did not answer within {limit_s:.0f} s"
    return "the service ended while it was sent" if code == -signal.SIGKILL else f"the sender ended with code {code}"
