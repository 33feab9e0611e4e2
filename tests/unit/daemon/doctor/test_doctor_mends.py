"""``doctor --fix`` mends what it says, only that, and only after a yes; what it must not do it never offers."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from meshdrop.daemon.base.settings import config_file, load
from meshdrop.daemon.cli import doctor as cli_doctor
from meshdrop.daemon.cli.main import app
from meshdrop.daemon.doctor import leftovers
from meshdrop.daemon.doctor.checks.finding import Finding
from meshdrop.daemon.doctor.examine import examine
from meshdrop.daemon.doctor.repairs import perform, plan
from meshdrop.daemon.host.machine import Machine
from meshdrop.daemon.workers.kernels import kernel_digest
from tests.patience import PATIENCE_S
from tests.unit.daemon.doctor.ailments import troubles

pytestmark = pytest.mark.usefixtures("quick_models")


def mend(root: Path, machine: Machine) -> list[str]:
    """Mend everything that can be, after which the doctor must be content; what was done."""
    done = perform(plan(examine(root, None, machine), load(root).places))
    assert [one["error"] for one in done] == [None] * len(done)
    assert troubles(examine(root, None, machine)) == []
    return [str(one["says"]) for one in done]


def test_missing_folders_are_made_like_the_others(root: Path, healthy: Machine) -> None:
    for folder in load(root).places.public():
        folder.chmod(0o2775)
    (root / "outbox").rmdir()
    (root / "status").rmdir()
    assert mend(root, healthy) == [f"make {root}/outbox", f"make {root}/status"]
    assert stat.S_IMODE((root / "outbox").stat().st_mode) == 0o2775


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give folders away")
def test_what_root_makes_belongs_to_the_services_user(root: Path, healthy: Machine) -> None:
    for path in [root, *root.rglob("*")]:
        os.chown(path, 12345, 12346)
    (root / "outbox").rmdir()
    places = load(root).places
    lacking = Finding("folders", "fail", "lacks outbox", "why", "fix")
    perform(plan([lacking], places))
    assert ((root / "outbox").stat().st_uid, (root / "outbox").stat().st_gid) == (12345, 12346)


def test_a_file_in_the_place_of_a_folder_is_left_alone(root: Path, healthy: Machine) -> None:
    (root / "outbox").rmdir()
    (root / "outbox").write_text("mine")
    assert plan(examine(root, None, healthy), load(root).places) == []
    assert (root / "outbox").read_text() == "mine"


def test_rights_are_mended(root: Path, healthy: Machine) -> None:
    (root / "inbox").chmod(0o1775)
    assert mend(root, healthy) == [f"chmod 2775 {root}/inbox"]
    (root / ".meshdrop/spool").chmod(0o755)
    assert mend(root, healthy) == [f"chmod 700 {root}/.meshdrop/spool"]


def test_rights_are_never_changed_through_a_link(root: Path, healthy: Machine, tmp_path: Path) -> None:
    """Between the look and the deed somebody has put a link in the folder's place."""
    other = tmp_path / "other"
    other.mkdir()
    other.chmod(0o755)
    (root / "inbox").chmod(0o775)
    repairs = plan(examine(root, None, healthy), load(root).places)
    (root / "inbox").rename(root / "moved")
    (root / "inbox").symlink_to(other)
    [done] = perform(repairs)
    assert done["error"] is not None
    assert stat.S_IMODE(other.stat().st_mode) == 0o755


def test_private_folders_inside_a_public_one_are_not_closed_for_the_people(root: Path, healthy: Machine) -> None:
    config_file(root).write_text(f'spool_dir = "{root}/status/spool"\n')
    (root / "status/spool").mkdir(mode=0o755)
    assert plan(examine(root, None, healthy), load(root).places) == []


def test_a_sentinel_is_written_again_only_where_a_root_plainly_is(root: Path, healthy: Machine) -> None:
    places = load(root).places
    places.sentinel.unlink()
    assert len(mend(root, healthy)) == 1
    first = places.sentinel.read_bytes()
    assert len(first) == 33
    # Below a mount point of a share that is away there may be an inbox that somebody made, and never the spool.
    places.sentinel.unlink()
    places.spool.rename(root / "away")
    assert plan(examine(root, None, healthy), places) == []


def test_no_sentinel_is_written_under_a_running_service(root: Path, healthy: Machine) -> None:
    places = load(root).places
    places.sentinel.unlink()
    with places.lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert plan(examine(root, None, healthy), places) == []


def test_locks_are_never_removed(root: Path, healthy: Machine) -> None:
    places = load(root).places
    places.lock.write_text("4711\nboot\n")
    (places.spool / "lock").write_text(json.dumps({"pid": 1, "name": "x"}))
    assert plan(examine(root, None, healthy), places) == []
    assert places.lock.exists()


def aged(path: Path) -> Path:
    """As if nobody had touched it for two days."""
    for inner in [*path.rglob("*"), path]:
        os.utime(inner, (time.time() - 2 * leftovers.OLD_S,) * 2)
    return path


def test_leftovers_are_taken_away_and_nothing_else(root: Path, healthy: Machine) -> None:
    places = load(root).places
    probe, theirs = places.inbox / ".probe-1", [places.inbox / ".probe-2", places.status / ".1123abcd.tmp"]
    going = [
        places.status / ".0123abcd.tmp",
        probe,
        places.state / ".doctor-1",
        places.spool / ".doctor-2",
        places.cache / "numba-000000000000",
    ]
    staying = [
        places.status / ".mine.tmp",
        places.status / "chair.json",
        places.inbox / ".chair.part",
        places.inbox / "chair",
        places.cache / f"numba-{kernel_digest()}",
        places.cache / "torch",
        places.claimed / ("0" * 32),
        places.staging / ("1" * 32),
        places.state / "corrupt",
        places.kept / ("2" * 32),
        *theirs,
    ]
    for path in (*going, *staying):
        if path.suffix in (".tmp", ".json") and path not in theirs:
            path.touch()
        else:
            path.mkdir()
            if path != probe:
                (path / "inner").touch()  # ours are empty, whoever may write to a public folder has called his so
        aged(path)
    fresh = places.cache / "numba-111111111111"  # of another version, in use a minute ago
    fresh.mkdir()
    (fresh / "kernel.nbc").touch()
    aged(fresh)
    os.utime(fresh / "kernel.nbc", (time.time() - 60, time.time() - 2 * leftovers.OLD_S))
    assert leftovers.remove(places) == len(going)
    assert [path for path in going if path.exists()] == []
    assert [path for path in (*staying, fresh) if not path.exists()] == []


# -- asking ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def ailing(root: Path, healthy: Machine, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A root whose inbox lacks setgid, and the command looks at it on the healthy machine."""
    (root / "inbox").chmod(0o775)
    monkeypatch.setattr(cli_doctor, "_examined", lambda where, config: examine(where, config, healthy))
    return root


def inbox_mode(root: Path) -> int:
    """Its rights."""
    return stat.S_IMODE((root / "inbox").stat().st_mode)


def test_without_a_terminal_nobody_is_asked_and_nothing_is_done(ailing: Path) -> None:
    done = CliRunner().invoke(app, ["doctor", "--root", str(ailing), "--fix"])
    assert done.exit_code == 1
    assert "nobody is here to be asked" in str(done.exception)
    assert inbox_mode(ailing) == 0o775


@pytest.mark.parametrize(("answer", "mode"), [(b"\n", 0o775), (b"y\n", 0o2775)])
def test_somebody_at_a_terminal_is_asked(ailing: Path, answer: bytes, mode: int) -> None:
    """The whole command, on a terminal of its own."""
    person, terminal = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "meshdrop.daemon.cli", "doctor", "--root", str(ailing), "--fix"],
        stdin=terminal,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    os.write(person, answer)
    out, asked = process.communicate(timeout=PATIENCE_S)
    os.close(person)
    os.close(terminal)
    assert f"chmod 2775 {ailing}/inbox" in asked
    assert inbox_mode(ailing) == mode
    assert (f"done: chmod 2775 {ailing}/inbox" in out) == (mode == 0o2775)


def test_yes_is_the_answer_beforehand_and_programs_are_told_what_was_done(ailing: Path) -> None:
    done = CliRunner().invoke(app, ["doctor", "--root", str(ailing), "--fix", "--yes", "--json"])
    told = json.loads(done.stdout)
    assert told["repaired"] == [{"name": "permissions", "says": f"chmod 2775 {ailing}/inbox", "error": None}]
    assert told["result"] == "ok", "it has looked again"
    assert inbox_mode(ailing) == 0o2775


def test_without_fix_nothing_is_changed(ailing: Path) -> None:
    CliRunner().invoke(app, ["doctor", "--root", str(ailing), "--yes"])
    assert inbox_mode(ailing) == 0o775
