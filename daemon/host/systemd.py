"""What systemd is told by sd_notify(3): that the service is ready, alive, what it does, and that it ends.

Every function does nothing where nobody listens (no ``NOTIFY_SOCKET``). What is said again anyway never waits, and what
is said once waits for a second at most: a supervisor that does not read must not stop the main loop. Only the main
thread may say that it is alive; that is what the watchdog is for.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from typing import Any

from meshdrop.models.files.problem import printable

#: `systemctl status` shows one line.
_LINE_MAX = 300
_PATIENCE_S = 1.0
#: While the start goes on after the share was waited for, nobody pings: a large record is checked page by page. A start
#: that takes longer than this is given up, as systemd gives up one without any waiting (TimeoutStartSec= in the unit).
_START_S = 600


def alive() -> None:
    """The main loop has turned once more. Without it for ``WatchdogSec=`` systemd ends the service by SIGABRT."""
    _tell("WATCHDOG=1")


def ready() -> None:
    """The start is complete: the record is in order and the inbox is watched."""
    _tell("READY=1", *_watchdog(own=True), patience_s=_PATIENCE_S)


def waiting(reason: str) -> None:
    """The start waits for something outside. The machine's own start must not wait with it, so this is "ready" too."""
    _tell("READY=1", f"STATUS={_line(f'waiting: {reason}')}", *_watchdog(own=False))


def stopping() -> None:
    """The service ends by itself or was told to; from here on ``TimeoutStopSec=`` counts."""
    _tell("STOPPING=1", "STATUS=stopping", patience_s=_PATIENCE_S)


class Status:
    """The line that `systemctl status` shows; sent when it has changed."""

    def __init__(self) -> None:
        self._told = ""

    def tell(self, facts: Mapping[str, Any]) -> None:
        """``facts`` are those of the activity."""
        if (line := _line(summary(facts))) != self._told and _tell(f"STATUS={line}"):
            self._told = line


def summary(facts: Mapping[str, Any]) -> str:
    """What the service is doing in one line: what holds it first, then the work, then how many wait where."""
    if facts["stopped"]:
        return "stopped"
    parts = ["draining"] if facts.get("draining") else ["paused"] if facts.get("paused_since") is not None else []
    parts += [f"held: {facts['held'][0]}"] if facts["held"] else []
    if working := facts["working"]:
        parts.append(f"{working['name']}: {working['note']} ({int(100 * working['progress'])} %)")
    parts += [f"finishing {job['name']}" for job in facts["finishing"][:1]]
    waits = facts["queue_total"] + facts["later_total"] + facts["reading_total"]
    arriving = facts["inbox_total"] + facts["inbox_unseen"]
    parts.append(f"{'' if parts else 'idle, '}{waits} waiting, {arriving} in the inbox")
    return "; ".join(parts)


def _line(text: str) -> str:
    """One line whatever is in it: a message's fields are lines, and a folder's name must not become one."""
    return printable(text)[:_LINE_MAX]


def _watchdog(*, own: bool) -> list[str]:
    """The watchdog's time, the unit's ``own`` or the start's; nothing when systemd watches somebody else, or nobody."""
    given, pid = os.environ.get("WATCHDOG_USEC", ""), os.environ.get("WATCHDOG_PID", str(os.getpid()))
    if not given.isdecimal() or pid != str(os.getpid()):
        return []
    return [f"WATCHDOG_USEC={given if own else max(int(given), _START_S * 1_000_000)}"]


def _tell(*fields: str, patience_s: float = 0.0) -> bool:
    """Whether the message was taken, or nobody wants any."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return True
    if address.startswith("@"):
        address = "\0" + address[1:]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as notify:
        notify.settimeout(patience_s)
        try:
            notify.sendto("\n".join(fields).encode("utf-8", "backslashreplace"), address)
        except OSError:
            return False
    return True
