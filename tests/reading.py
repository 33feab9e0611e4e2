"""The service with its real reader, and stand-ins (``tests.light``) for the worker processes that come after it.

``python -m tests.reading run`` takes the same arguments and settings as ``meshdrop``. Every picture is checked and
decoded by the real ``inspect`` worker in its own limited process; no mesh is made or measured.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from daemon import process
from daemon.process import Home, Limits, WorkerProcess
from tests.light import LightWorker


def worker(
    key: str, request: Mapping[str, Any], folder: Path, home: Home, limits: Limits
) -> WorkerProcess | LightWorker:
    """A real process for the reader, a stand-in for the others."""
    kind = WorkerProcess if request["task"] == "inspect" else LightWorker
    return kind(key, request, folder, home, limits)


def main() -> None:
    """``meshdrop``, half of it with stand-ins."""
    process.WorkerProcess = worker  # type: ignore[assignment,misc]
    from daemon import cli  # noqa: PLC0415 - after the replacement

    cli.main()


if __name__ == "__main__":
    main()
