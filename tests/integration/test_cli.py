"""The command: exit codes, and errors that say what, where and what to do next."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from meshdrop.daemon.base.users import as_owner_of

SAMPLE = Path(__file__).parents[2] / "samples" / "snail"


def meshdrop(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run the command as a user would."""
    return subprocess.run(
        [sys.executable, "-m", "meshdrop.daemon.cli", *arguments], capture_output=True, text=True, check=False, cwd=cwd
    )


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A root that was set up."""
    assert meshdrop("init", str(tmp_path / "scans")).returncode == 0
    return tmp_path / "scans"


@pytest.mark.parametrize("command", ["status", "status --json", "show x", "retry x", "cancel x"])
def test_a_folder_that_was_never_set_up_is_a_problem_with_a_cure(tmp_path: Path, command: str) -> None:
    result = meshdrop(*command.split(), "--root", str(tmp_path))
    assert result.returncode == 1
    assert f"meshdrop init {tmp_path}" in result.stderr.replace("\n", "")
    assert "Traceback" not in result.stderr


def test_a_wrong_command_is_a_usage_error_with_a_guess() -> None:
    result = meshdrop("stauts")
    assert result.returncode == 2
    assert "status" in result.stderr


def test_running_on_a_folder_that_was_never_set_up_is_refused_as_configuration(tmp_path: Path) -> None:
    result = meshdrop("run", "--once", "--root", str(tmp_path))
    assert result.returncode == 78
    assert "meshdrop init" in result.stderr


def test_a_settings_file_that_is_not_toml_is_named(root: Path) -> None:
    (root / ".meshdrop" / "config.toml").write_text("settle_s = \n")
    result = meshdrop("run", "--once", "--root", str(root))
    assert result.returncode == 78
    assert "config.toml" in result.stderr


@pytest.mark.parametrize("command", ["status", "show x", "retry x", "cancel x"])
@pytest.mark.parametrize(("record", "status"), [(b"no database" * 1000, 1), (b"", 78)], ids=["damaged", "empty"])
def test_a_record_that_cannot_be_read_is_told_in_words(root: Path, command: str, record: bytes, status: int) -> None:
    (root / ".meshdrop/state/meshdrop.db").write_bytes(record)
    result = meshdrop(*command.split(), "--root", str(root))
    assert result.returncode == status
    assert result.stderr.startswith("meshdrop: the record")
    assert "Traceback" not in result.stderr
    assert "sqlalche.me" not in result.stderr


def test_setting_up_twice_changes_nothing(root: Path) -> None:
    (root / ".meshdrop" / "config.toml").write_text("settle_s = 3.0\n")
    identity = (root / ".meshdrop-id").read_bytes()
    assert meshdrop("init", str(root)).returncode == 0
    assert (root / ".meshdrop" / "config.toml").read_text() == "settle_s = 3.0\n"
    assert (root / ".meshdrop-id").read_bytes() == identity


def test_the_root_is_found_from_inside_it(root: Path) -> None:
    result = meshdrop("status", cwd=root / "inbox")
    assert result.returncode == 0
    assert str(root) in result.stdout.replace("\n", "")


def test_check_describes_a_good_capture() -> None:
    result = meshdrop("check", str(SAMPLE))
    assert result.returncode == 0, result.stdout
    assert "6 views" in result.stdout
    assert "Conventions: verified" in result.stdout


def test_check_names_every_problem_and_what_to_do(tmp_path: Path) -> None:
    broken = shutil.copytree(SAMPLE, tmp_path / "broken")
    (broken / "views/view_02.png").write_bytes(b"\xff\xd8\xff\xe0" + bytes(500))
    shutil.copyfile(broken / "views/view_00.png", broken / "depth/depth_01.png")
    result = meshdrop("check", str(broken), "--json")
    assert result.returncode == 1
    problems = {problem["file"]: problem for problem in json.loads(result.stdout)["problems"]}
    assert problems["views/view_02.png"]["code"] == "not_png"
    assert problems["depth/depth_01.png"]["code"] == "depth_format"
    assert all(problem["message"] and problem["fix"] for problem in problems.values())


@pytest.mark.parametrize("what", ["missing", "file"])
def test_check_wants_a_folder(tmp_path: Path, what: str) -> None:
    (tmp_path / "file").touch()
    result = meshdrop("check", str(tmp_path / what))
    assert result.returncode == 1
    assert "no folder" in result.stderr


def test_status_is_one_json_object_for_programs(root: Path) -> None:
    result = meshdrop("status", "--json", "--root", str(root))
    facts = json.loads(result.stdout)
    assert (facts["running"], facts["inbox"], facts["finished"]) == (False, [], [])


def test_what_the_disk_refuses_is_told_with_what_to_do(root: Path) -> None:
    full = (
        "import errno, meshdrop.daemon.cli.main, meshdrop.daemon.base.pause\n"
        "def begin(pause): raise OSError(errno.ENOSPC, 'No space left on device', str(pause.file))\n"
        "meshdrop.daemon.base.pause.Pause.begin = begin\n"
        "meshdrop.daemon.cli.main.main()"
    )
    command = [sys.executable, "-c", full, "pause", "--root", str(root)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 1
    assert "No space left on device" in result.stderr
    assert f"fix: make room there, or have the quota raised: df -h {root}" in result.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_a_stranger_is_told_whom_to_become(tmp_path: Path) -> None:
    """The nearest folder that can be looked at is the closed one."""
    os.chown(tmp_path, 12345, 12345)
    assert "sudo -u '#12345' meshdrop" in as_owner_of(tmp_path / "config/config.toml")
