"""docs/operations.md, done as it is written: its backup and its restore, with a real service; and its tables.

The commands come from the page. `sudo` does nothing here, `systemctl` and `meshdrop service install` start and stop the
test's own service, and the usual folders are others below a temporary one. The same commands on a real machine with
systemd have tests/machine.
"""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from meshdrop.daemon.base.errors import ExitCode
from meshdrop.daemon.base.failures import FAILURES
from meshdrop.models.contract.failures import RUN_FAILURES
from tests.rig import Rig, assert_whole, contents, stop, wait_for
from tests.unit.test_docs import blocks, section, table

PROJECT = Path(__file__).parents[2]
PAGE = (PROJECT / "docs/operations.md").read_text(encoding="utf-8")
SOURCE = "\n".join(
    file.read_text(encoding="utf-8") for room in ("daemon", "db") for file in sorted((PROJECT / room).rglob("*.py"))
)


def commands(title: str) -> str:
    """The shell commands under one heading."""
    found = blocks(section(PAGE, title), "sh")
    assert found, title
    return "".join(found)


class Machine:
    """A folder that stands for the machine: `/srv/scans` and `/var/lib/meshdrop` lie below it."""

    def __init__(self, top: Path, cache: Path) -> None:
        self.top, self.root, self.state = top, top / "srv/scans", top / "var/lib/meshdrop"
        (top / "var/backups").mkdir(parents=True)
        settings = {"MESHDROP_STATE_DIR": str(self.state), "LIGHT_STAGE_S": "0.2"}
        self.root.mkdir(parents=True)
        self.rig = Rig(self.root, cache, settings, light=True)
        self.daemon: subprocess.Popen[bytes] | None = None

    def do(self, script: str) -> None:
        """Execute commands of the page one after the other, each as the shell would, stopping at the first failure."""
        for line in script.replace("\\\n", " ").splitlines():
            words = [self._here(word) for word in shlex.split(line) if word not in ("sudo", "-u", "meshdrop")]
            if words[0] == "systemctl" or words[:2] == ["service", "install"]:
                self._systemctl(words[1] if words[0] == "systemctl" else "restart")
            else:
                meshdrop = [sys.executable, "-m", "meshdrop.daemon.cli"] if words[0] in ("status", "show") else []
                subprocess.run(
                    [*meshdrop, *words], check=True, cwd=PROJECT, env=self.rig.environment(), capture_output=True
                )

    def _here(self, word: str) -> str:
        """A word of a command with the machine's root for "/", so that nothing can reach this machine's own folders."""
        return f"{self.top}{word}" if word.startswith("/") else word

    def _systemctl(self, verb: str) -> None:
        if verb in ("stop", "restart") and self.daemon is not None:
            assert stop(self.daemon) == 0, self.rig.log()[-3000:]
            self.daemon = None
        if verb in ("start", "restart"):
            daemon = self.daemon = self.rig.start()
            wait_for(lambda: f'"pid": {daemon.pid}' in self._live())

    def _live(self) -> str:
        file = self.rig.places.live_status
        return file.read_text() if file.exists() else ""


@pytest.fixture
def machine(tmp_path: Path, kernel_cache: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Machine]:
    """A machine with a service that is not running yet."""
    monkeypatch.setenv("MESHDROP_STATE_DIR", str(tmp_path / "machine/var/lib/meshdrop"))  # for what looks from outside
    here = Machine(tmp_path / "machine", kernel_cache)
    yield here
    here.rig.end()


def folders(shelf: Path) -> set[str]:
    """The captures on a shelf."""
    return {path.name for path in shelf.iterdir() if path.is_dir()}


def test_what_was_there_at_the_backup_is_there_after_the_restore(machine: Machine, ball: Path) -> None:
    """A finished capture, one whose model runs, one that waits for a file, and a failed one; then the disk is lost."""
    here = machine.rig
    machine.do("systemctl start meshdrop")
    here.drop(ball, "finished")
    wait_for((here.places.outbox / "finished.done").exists)
    shutil.copytree(ball, here.places.inbox / "waiting", ignore=shutil.ignore_patterns("view_05.png"))
    broken = shutil.copytree(ball, machine.top / "broken")
    shutil.copyfile(broken / "views/view_00.png", broken / "depth/depth_01.png")
    here.drop(broken, "refused")
    wait_for((here.places.failed / "refused").exists)
    here.hold("running")
    machine.do("systemctl restart meshdrop")
    here.drop(ball, "running")
    wait_for(lambda: "Working on\n  running" in here.status_page())
    before = contents(here.places.outbox / "finished")

    machine.do(commands("Backup"))
    here.let_go("running")
    wait_for((here.places.outbox / "running.done").exists)
    here.drop(ball, "later")
    wait_for((here.places.outbox / "later.done").exists)
    machine.do(commands("Restore"))
    wait_for((here.places.outbox / "running.done").exists)

    assert folders(here.places.outbox) == {"finished", "running"}
    assert contents(here.places.outbox / "finished") == before
    assert folders(here.places.failed) == {"refused"}
    assert folders(here.places.inbox) == {"waiting"}
    for name in ("finished", "running"):
        assert_whole(here.places.outbox / name)
    assert contents(here.places.outbox / "running" / "capture") == contents(ball)
    assert folders(machine.root.with_name("scans.before") / "outbox") == {"finished", "running", "later"}
    shutil.copyfile(ball / "views/view_05.png", here.places.inbox / "waiting/views/view_05.png")
    wait_for((here.places.outbox / "waiting.done").exists)
    machine.do("systemctl stop meshdrop")
    here.assert_at_rest()
    assert sorted(job.name for job in here.jobs()) == [b"finished", b"refused", b"running", b"waiting"]


def test_a_record_put_back_by_hand_learns_the_rest_from_the_folders(machine: Machine, ball: Path) -> None:
    """The page's last paragraph about restoring: the newest copy, without the log files beside it."""
    told = " ".join(section(PAGE, "Restore").split())
    for words in ("the newest file of `/var/lib/meshdrop/backup`", "remove `meshdrop.db-wal` and `meshdrop.db-shm`"):
        assert words in told
    here = machine.rig
    machine.do("systemctl start meshdrop")
    here.drop(ball, "first")
    wait_for((here.places.outbox / "first.done").exists)
    wait_for(lambda: any(here.places.backups.iterdir()))
    here.drop(ball, "second")
    wait_for((here.places.outbox / "second.done").exists)
    machine.do("systemctl stop meshdrop")
    newest = max(here.places.backups.iterdir(), key=lambda file: file.stat().st_mtime_ns)
    shutil.copyfile(newest, here.places.database)
    for end in ("-wal", "-shm"):
        here.places.database.with_name(f"meshdrop.db{end}").unlink(missing_ok=True)
    machine.do("systemctl start meshdrop")
    wait_for(lambda: {job.name for job in here.jobs()} == {b"first", b"second"})
    machine.do("systemctl stop meshdrop")
    assert folders(here.places.outbox) == {"first", "second"}


# -- troubleshooting by message ------------------------------------------------------------------------------------


def rows(title: str) -> list[list[str]]:
    """The table under one heading."""
    return table(section(PAGE, title))


def test_every_reason_why_a_capture_fails_has_its_line() -> None:
    told = {code: says for code, says, _ in rows("In WHY.txt: why a capture is in failed/")}
    assert told == {code: failure.says for code, failure in FAILURES.items()}


def test_every_reason_why_a_run_fails_has_its_line() -> None:
    told = {code: says for code, says, _ in rows("In the report: why a model's run failed")}
    assert told == {code: failure.says for code, failure in RUN_FAILURES.items()}


#: What the operating system says, not we.
THEIRS = {"No space left on device", "Read-only file system", "Stale file handle"}


@pytest.mark.parametrize(
    "title", ["In STATUS.txt: a folder that stays in the inbox", "In STATUS.txt: HELD, and what a start waits for"]
)
def test_every_sentence_of_the_status_page_that_is_named_is_one_that_is_said(title: str) -> None:
    told = [re.sub(r"^`([^`]+)`.*$", r"\1", says) for says, _ in rows(title)]
    assert len(told) > 5
    source = re.sub(r'"\s*\n\s*f?"', "", SOURCE)  # sentences that are broken over lines
    source = source.replace("{SENTINEL}", ".meshdrop-id")
    assert [says for says in told if says not in source and says not in THEIRS] == []


def test_every_hold_is_explained() -> None:
    """Each place in the source that tells why the service stands still has its line on the page."""
    named = [says for says, _ in rows("In STATUS.txt: HELD, and what a start waits for")]
    holds = {"space": "MB are free", "inbox": "the inbox cannot be read", "start": "the start is held up"}
    places = set(re.findall(r'\bself\.(?:_holds\.)?hold\("(\w+)", (?!""\))', SOURCE))
    assert places - {"loop"} == set(holds), "what holds the loop is the operating system's own sentence"
    assert set(holds.values()) <= set(named)


def test_the_exit_codes_are_the_programs_and_systemds() -> None:
    lines = rows("When it ends at once")
    codes = {int(code) for code, _, _ in lines}
    assert codes == {ExitCode.TRY_AGAIN, ExitCode.CONFIGURATION, 203, 217, 226}
    source = re.sub(r'"\s*\n\s*f?"', "", SOURCE)
    said = [says for _, says, _ in lines if says != "(systemd)"]
    assert [says for says in said if says not in source] == []


@pytest.mark.parametrize(
    "title",
    [
        "Backup",
        "Restore",
        "Upgrade",
        "The first hour, with systemd",
        "Another place, another user, a second service",
        "Taking it away",
    ],
)
def test_the_chapters_that_are_executed_are_there(title: str) -> None:
    lines = commands(title).replace("\\\n", " ").splitlines()
    assert all(_is_known(line.split()) for line in lines), lines


def _is_known(words: Sequence[str]) -> bool:
    return words[0] in ("sudo", "systemctl", "meshdrop", "until", "grep")


def test_every_link_leads_somewhere() -> None:
    targets = re.findall(r"\]\(([^)#]+)\)", PAGE)
    assert [target for target in targets if not (PROJECT / "docs" / target).exists()] == []
