"""`meshdrop status --watch` on a real terminal, in a pipe and as JSON, while the service comes and goes."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.patience import PATIENCE_S
from tests.rig import Rig, stop, wait_for

COMMAND = [sys.executable, "-m", "meshdrop.daemon.cli", "status", "--watch"]


class Terminal:
    """The command on a terminal of 300 by 40, so that no path is broken; ``seen`` is everything it has written."""

    def __init__(self, rig: Rig, kind: str = "xterm") -> None:
        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 300, 0, 0))
        self.seen = ""
        environment = {**rig.environment(), "TERM": kind, "PYTHONPATH": os.getcwd()}
        for name in ("COLUMNS", "LINES"):  # whoever runs the tests may say another size than this terminal has
            environment.pop(name, None)
        self.process = subprocess.Popen(
            COMMAND, stdin=slave, stdout=slave, stderr=slave, env=environment, start_new_session=True
        )
        os.close(slave)
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        with contextlib.suppress(OSError):
            while data := os.read(self._master, 65_536):
                self.seen += data.decode("utf-8", "replace")

    def forget(self) -> None:
        """Only what is written from now on counts."""
        self.seen = ""

    def close(self) -> None:
        """End the command if it still runs."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        os.close(self._master)


@pytest.fixture
def terminal() -> Iterator[Callable[..., Terminal]]:
    made: list[Terminal] = []

    def make(rig: Rig, kind: str = "xterm") -> Terminal:
        made.append(Terminal(rig, kind))
        return made[-1]

    yield make
    for one in made:
        one.close()


def test_it_goes_on_while_the_service_is_stopped_started_and_loses_its_record(
    light_rig: Callable[..., Rig], ball: Path, terminal: Callable[[Rig], Terminal]
) -> None:
    here = light_rig()
    here.hold("chair", "table")
    screen = terminal(here)
    wait_for(lambda: "not running" in screen.seen)
    daemon = here.start()
    wait_for(lambda: ": \x1b[32mrunning" in screen.seen)
    here.drop(ball, "chair")
    wait_for(lambda: "standing in" in screen.seen)
    here.drop(ball, "table")
    wait_for(lambda: "table" in screen.seen)
    here.let_go("chair")
    wait_for(lambda: "outbox/chair" in screen.seen)
    screen.forget()
    wait_for(lambda: re.search(r"standing in.*, (less than a minute|about \S+ \w+) left", screen.seen))
    here.let_go("table")
    wait_for(lambda: "outbox/table" in screen.seen)
    screen.forget()
    assert stop(daemon) == 0
    wait_for(lambda: "not running" in screen.seen)
    for file in here.places.state.glob("meshdrop.db*"):
        file.unlink()
    screen.forget()
    again = here.start()
    wait_for(lambda: ": \x1b[32mrunning" in screen.seen and "outbox/table" in screen.seen)
    screen.process.send_signal(signal.SIGINT)
    assert screen.process.wait(PATIENCE_S) == 0
    wait_for(lambda: "\x1b[?1049l" in screen.seen)  # the terminal has its own picture again
    assert stop(again) == 0


def test_a_terminal_that_cannot_place_its_cursor_gets_the_pages_one_after_the_other(
    light_rig: Callable[..., Rig], terminal: Callable[..., Terminal]
) -> None:
    """An editor's own shell, for example, where TERM is dumb; it has 80 columns, whatever it says."""
    here = light_rig()
    screen = terminal(here, "dumb")
    wait_for(lambda: ": not running" in " ".join(screen.seen.split()))
    daemon = here.start()
    wait_for(lambda: ": running" in " ".join(screen.seen.split()))
    assert "\x1b" not in screen.seen
    screen.process.send_signal(signal.SIGINT)
    assert screen.process.wait(PATIENCE_S) == 0
    assert stop(daemon) == 0


def test_sigterm_gives_the_terminal_back_too(
    light_rig: Callable[..., Rig], terminal: Callable[[Rig], Terminal]
) -> None:
    screen = terminal(light_rig())
    wait_for(lambda: "not running" in screen.seen)
    screen.process.terminate()
    assert screen.process.wait(PATIENCE_S) == 0
    wait_for(lambda: "\x1b[?1049l" in screen.seen)


def test_it_ends_with_the_reader_of_its_pipe_though_nothing_changes(light_rig: Callable[..., Rig]) -> None:
    here = light_rig()
    process = subprocess.Popen(COMMAND, env=here.environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline()
    process.stdout.close()
    assert process.wait(PATIENCE_S) == 0
    assert process.stderr is not None
    assert process.stderr.read() == b""
    process.stderr.close()


def test_in_a_pipe_a_page_is_printed_when_it_changed_and_json_is_a_line_each(light_rig: Callable[..., Rig]) -> None:
    here = light_rig()
    daemon = here.start()
    wait_for(here.places.live_status.exists)
    for options in ((), ("--json",)):
        process = subprocess.Popen([*COMMAND, *options], env=here.environment(), stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(2 if options else 1)]
        if options:
            told = [json.loads(line) for line in lines]
            assert [one["running"] for one in told] == [True, True]
            assert told[0]["trouble"] is None
            assert told[0]["gpus"] == []
        else:
            assert lines[0].endswith(": running\n")
            assert "\x1b" not in lines[0]
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE_S) == 0
        process.stdout.close()
    assert stop(daemon) == 0
