"""What the daemon is doing: one value, written as JSON for the command and as STATUS.txt for the share."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from daemon import fsops
from daemon.places import Places, shown
from daemon.scanner import Finding
from db.records import Job

_CHANGE_S, _SIGN_OF_LIFE_S = 1.0, 5.0
_RECENT = 10
_WAITING_SHOWN = 200
_NAMES_IN_LINE = 60


@dataclass(frozen=True)
class Waiting:
    """A folder in the inbox that was not taken yet, and why."""

    name: str
    state: str
    sentence: str


@dataclass(frozen=True)
class Working:
    """The running attempt. ``progress`` in 0..1."""

    job: str
    name: str
    attempt: int
    progress: float
    note: str


@dataclass(frozen=True)
class Finished:
    """A published job: where it went and how it ended."""

    job: str
    name: str
    folder: str
    verdict: str
    at: float


@dataclass
class Board:
    """The current picture. Any thread may write to it; readers get a copy."""

    inbox: list[Waiting] = field(default_factory=list)
    inbox_total: int = 0
    queue: list[str] = field(default_factory=list)
    working: Working | None = None
    finishing: str | None = None
    held: str | None = None
    finished: deque[Finished] = field(default_factory=lambda: deque(maxlen=_RECENT))
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def see_inbox(self, findings: Sequence[Finding]) -> None:
        """What the last scan found."""
        waiting = [
            Waiting(shown(finding.name), finding.judgement.state, finding.judgement.sentence) for finding in findings
        ]
        with self._lock:
            self.inbox, self.inbox_total = waiting[:_WAITING_SHOWN], len(waiting)

    def set(self, **values: Any) -> None:
        """Replace fields."""
        with self._lock:
            for name, value in values.items():
                setattr(self, name, value)

    def publish(self, job: Job, folder: str, at: float) -> None:
        """A job came to rest."""
        verdict = job.verdict or job.reason_code or ""
        with self._lock:
            self.finished.appendleft(Finished(job.short_id, shown(job.name), folder, verdict, at))

    def facts(self, now: float) -> dict[str, Any]:
        """Everything as plain JSON values."""
        with self._lock:
            return {
                "schema": "meshdrop.status/1", "at": now, "pid": os.getpid(), "held": self.held,
                "working": asdict(self.working) if self.working else None, "finishing": self.finishing,
                "queue": list(self.queue), "inbox": [asdict(folder) for folder in self.inbox],
                "inbox_total": self.inbox_total, "finished": [asdict(job) for job in self.finished],
            }  # fmt: skip


def status_text(facts: dict[str, Any]) -> str:
    """STATUS.txt: what an operator at the share wants to know, top to bottom."""
    when = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(facts["at"]))
    lines = [f"Meshdrop, {when}. This page is rewritten while the service runs.", ""]
    if facts["held"]:
        lines += [f"HELD: {facts['held']}", "Nothing is lost; work goes on by itself once this is cured.", ""]
    working = facts["working"]
    if working:
        lines += [f"Working on   {working['name']}: {working['note']} ({working['progress']:.0%} of the job)"]
    if facts["finishing"]:
        lines += [f"Finishing    {facts['finishing']}: measuring and publishing"]
    if facts["queue"]:
        lines += [f"In the queue {', '.join(facts['queue'][:_NAMES_IN_LINE])}"]
    if not (working or facts["finishing"] or facts["queue"]):
        lines += ["Idle."]
    lines += ["", f"Inbox ({facts['inbox_total']})"]
    lines += [f"  {folder['name']}: {folder['sentence']}" for folder in facts["inbox"]] or ["  empty"]
    lines += ["", "Last finished"]
    lines += [f"  {job['name']} -> {job['folder']} ({job['verdict']})" for job in facts["finished"]] or ["  none yet"]
    return "\n".join(lines) + "\n"


class StatusPages:
    """Writes the board out: every second while it changes, every five seconds as a sign of life."""

    def __init__(self, places: Places, board: Board) -> None:
        self._places = places
        self._board = board
        self._last = -_SIGN_OF_LIFE_S
        self._written: dict[str, Any] = {}

    def write(self, monotonic: float, now: float, *, force: bool = False) -> None:
        """Rewrite status.json and STATUS.txt if it is time. A full disk or an absent share is no reason to stop."""
        if not force and monotonic - self._last < _CHANGE_S:
            return
        facts = self._board.facts(now)
        changed = {**facts, "at": 0} != {**self._written, "at": 0}
        if not force and not changed and monotonic - self._last < _SIGN_OF_LIFE_S:
            return
        self._last, self._written = monotonic, facts
        with contextlib.suppress(OSError):
            fsops.show_file(self._places.live_status, json.dumps(facts).encode(), 0o600)
        with contextlib.suppress(OSError):
            text = status_text(facts).encode("utf-8", "backslashreplace")
            fsops.show_file(self._places.status / "STATUS.txt", text)


def tell_systemd(message: str) -> None:
    """sd_notify(3): one datagram to the socket that systemd named; nothing without one."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    if address.startswith("@"):
        address = "\0" + address[1:]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as notify:
        try:
            notify.sendto(message.encode(), address)
        except OSError:
            return
