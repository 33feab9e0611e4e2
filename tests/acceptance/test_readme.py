"""README.md's commands, given as they stand there: in a folder that stands for the machine, with a capture to drop.

What a line cannot do here is said below, with the reason; every other line of every `sh` block is executed in order.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.rig import REPOSITORY, assert_whole, contents, stop, wait_for
from tests.unit.test_docs import README, blocks

#: Lines that are not executed here, and why.
ELSEWHERE = {
    "make demo": "it installs everything anew and runs a model, minutes: tests/machine does it on a bare machine",
    "make test": "it is these very tests",
    ". .venv/bin/activate": "`meshdrop` is this checkout's anyway",
}
LINES = [re.sub(r"\s+#.*$", "", line) for block in blocks(README, "sh") for line in block.splitlines() if line.strip()]
HERE = [line for line in LINES if line not in ELSEWHERE]


class Shell:
    """Gives the commands in a temporary folder; `meshdrop` is this checkout's.

    The service works with stand-ins for its workers (tests.light), so that no model has to run; all else is real.
    """

    def __init__(self, top: Path) -> None:
        self.top, self.started = top, list[subprocess.Popen[bytes]]()
        top.mkdir(parents=True)

    def give(self, line: str) -> None:
        """One command; a service is started and goes on."""
        words = shlex.split(line)
        clean = {name: value for name, value in os.environ.items() if not name.startswith("MESHDROP_")}
        variables = {**clean, "PYTHONPATH": str(REPOSITORY), "MESHDROP_SETTLE_S": "0.2", "MESHDROP_MIN_FREE_MB": "1"}
        if words[:2] == ["meshdrop", "run"]:
            program = [sys.executable, "-m", "tests.light", *words[1:]]
            with (self.top / "log").open("wb") as log:
                self.started.append(
                    subprocess.Popen(program, cwd=self.top, env=variables, stdout=log, stderr=subprocess.STDOUT)
                )
            return
        program = [sys.executable, "-m", "meshdrop.daemon.cli", *words[1:]] if words[0] == "meshdrop" else words
        done = subprocess.run(program, cwd=self.top, env=variables, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{line}: {done.stdout}{done.stderr}"


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Shell]:
    """A shell in a fresh folder; what it started is ended."""
    here = Shell(tmp_path / "machine")
    yield here
    for process in here.started:
        process.kill()
        process.wait()


def test_the_commands_do_what_the_page_says(shell: Shell, ball: Path) -> None:
    """From nothing to a result in the outbox, and everything that the page's table says to look at is there."""
    shutil.copytree(ball, shell.top / "samples/snail")
    for line in HERE:
        shell.give(line)
    root = shell.top / "scans"
    wait_for((root / "outbox/my-object.done").exists)
    assert_whole(root / "outbox/my-object")
    assert contents(root / "outbox/my-object/capture") == contents(ball)
    for name in ("status/STATUS.txt", "status/my-object.json", "outbox/my-object/report.html"):
        assert (root / name).stat().st_size > 0
    assert [stop(process) for process in shell.started] == [0]


def test_what_is_not_executed_here_is_still_on_the_page() -> None:
    assert set(ELSEWHERE) <= set(LINES)
    assert len(HERE) >= 3
