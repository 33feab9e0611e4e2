"""The seam to where models run. Nothing above it knows whether that is this machine or another.

Retries, priorities and exactly-once delivery are the daemon's own; an executor is a mere launcher.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

from meshdrop.daemon.workers.attempts import Outcomes


@dataclass(frozen=True)
class Attempt:
    """One attempt at one job. ``recipe`` is the text of a ``Recipe``.

    ``key`` is "<job id>.<attempt number>". ``src`` is the read-only capture, ``digest`` the SHA-256 of its content,
    ``dir`` the only place that the attempt may write to.
    """

    key: str
    recipe: str
    src: str
    dir: str
    digest: str | None = None


@dataclass(frozen=True)
class Report:
    """What is known of an attempt. ``progress`` in 0..1; ``outcomes`` are those of its models once it is done.

    ``trouble`` is what its next step was refused with; that step is done again at each poll.
    """

    key: str
    state: Literal["running", "done", "failed"]
    progress: float
    note: str
    outcomes: Outcomes | None = None
    trouble: Exception | None = None


class Executor(Protocol):
    """Runs attempts. All methods return at once and are called from one thread, the daemon's main one."""

    def free(self) -> int:
        """How many attempts it would start now."""

    def start(self, attempt: Attempt) -> None:
        """Begin an attempt; a key that is already known is left alone."""

    def poll(self) -> list[Report] | None:
        """All it knows, earlier attempts that were not cleared included. None: unreachable, decide nothing.

        What fails for one attempt is told in its report and not raised.
        """

    def cancel(self, key: str) -> None:
        """Stop an attempt; ``poll`` shows the end."""

    def clear(self, key: str) -> None:
        """The end was taken note of, or nobody waits for it: forget the attempt, and end what still runs of it."""

    def close(self, keep: bool) -> None:
        """Let go; with ``keep`` running attempts go on for the next daemon, if the executor can do that."""
