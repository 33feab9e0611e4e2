"""What both browsers can do for a test."""

from __future__ import annotations

import os
import shutil
import signal
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.patience import PATIENCE_S

#: Software OpenGL on a busy machine takes its time; nothing is measured by this, it only ends what hangs.


class Session(ABC):
    """One open page. ``requests``: every address that it asked for, its own first. ``complaints``: errors in its
    console, uncaught exceptions and violations of its policy.
    """

    @property
    @abstractmethod
    def requests(self) -> list[str]:
        """Addresses as asked for; those of ``data:`` are cut short."""

    @property
    @abstractmethod
    def complaints(self) -> list[str]:
        """One line each."""

    @abstractmethod
    def evaluate(self, expression: str) -> Any:
        """The value of a JavaScript expression in the page, as JSON; promises are awaited."""

    @abstractmethod
    def screenshot(self, file: Path, *, whole: bool = False) -> Path:
        """Save what the window shows, or the whole page, as PNG."""

    @abstractmethod
    def drag(self, start: tuple[float, float], end: tuple[float, float]) -> None:
        """Press the mouse at one place of the window, move in steps to the other, let go."""

    @abstractmethod
    def press(self, key: str) -> None:
        """Press and release one key, by its DOM name (``ArrowRight``, ``Tab``)."""

    @abstractmethod
    def close(self) -> None:
        """End the browser and everything it started."""

    def wait_for(self, expression: str) -> Any:
        """Evaluate until the answer is truthy; returns it. Fails with the page's complaints when it never is."""
        return waited(lambda: self.evaluate(expression), f"{expression}; complaints: {self.complaints}")

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def waited(ask: Callable[[], Any], what: str) -> Any:
    """The first truthy answer; fails, naming ``what``, when there is none within ``PATIENCE_S``."""
    end = time.monotonic() + PATIENCE_S
    while not (answer := ask()):
        if time.monotonic() > end:
            pytest.fail(f"waited in vain for {what}")
        time.sleep(0.1)
    return answer


def needed(*programs: str) -> list[str]:
    """Where these programs are; skips the test, with the reason, when one is not here."""
    found = [shutil.which(program) for program in programs]
    if missing := [program for program, path in zip(programs, found, strict=True) if path is None]:
        pytest.skip(f"{missing[0]} is not installed")
    return [path for path in found if path is not None]


def end_group(pid: int) -> None:
    """End the process group that ``pid`` leads, which this program started."""
    try:
        os.killpg(pid, signal.SIGKILL)
    except ProcessLookupError:
        return
    os.waitpid(pid, 0)
