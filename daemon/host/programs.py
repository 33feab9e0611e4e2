"""Asking another program, without ever waiting for one that hangs."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from dataclasses import dataclass

#: Besides PATH: where a driver that lies in an odd place finds its own libraries.
_PASSED_ON = ("LD_LIBRARY_PATH",)


class NoAnswer(Exception):
    """The program did not end in time. It was killed, but a process that hangs in the kernel stays."""


@dataclass(frozen=True)
class ProgramAnswer:
    """What a program said, and its exit code."""

    code: int
    out: str
    complaint: str


class Asked:
    """A program that was started. Ask several at once, then read their answers."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def answer(self, limit_s: float) -> ProgramAnswer:
        """What it said; raises ``NoAnswer``."""
        try:
            out, complaint = self._process.communicate(timeout=limit_s)
        except subprocess.TimeoutExpired:
            self._process.kill()
            for stream in (self._process.stdout, self._process.stderr):
                if stream is not None:
                    with contextlib.suppress(OSError):
                        stream.close()
            raise NoAnswer from None
        return ProgramAnswer(self._process.returncode, out, complaint)


def start(name: str, *arguments: str, path: str | None = None) -> Asked | None:
    """Start a program found in ``path`` (default: PATH); None where there is none of that name."""
    found = shutil.which(name, path=path)
    if found is None:
        return None
    passed = {key: os.environ[key] for key in _PASSED_ON if key in os.environ}
    environment = {**passed, "LC_ALL": "C", "PATH": path or os.environ.get("PATH", os.defpath)}
    try:
        process = subprocess.Popen(
            [found, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            env=environment,
            start_new_session=True,
        )
    except OSError:
        return None
    return Asked(process)
