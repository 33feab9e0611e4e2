"""`meshdrop check`: exit codes, and the limits of the site that is meant."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from meshdrop.daemon.cli.main import CONFIG_TEMPLATE


def check(folder: Path, *arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run the command as a user would."""
    return subprocess.run(
        [sys.executable, "-m", "meshdrop.daemon.cli", "check", str(folder), *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=cwd,
    )


def codes(result: subprocess.CompletedProcess[str]) -> set[str]:
    return {problem["code"] for problem in json.loads(result.stdout)["problems"]}


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A root that takes files of two hundred bytes at most."""
    root = tmp_path / "scans"
    command = [sys.executable, "-m", "meshdrop.daemon.cli", "init", str(root)]
    made = subprocess.run(command, capture_output=True, check=False)
    assert made.returncode == 0
    (root / ".meshdrop/config.toml").write_text("max_file_mb = 0.0002\n")
    return root


def test_a_good_capture_is_ready_where_nothing_was_set_up(ball: Path, tmp_path: Path) -> None:
    result = check(ball, "--json", cwd=tmp_path)
    assert result.returncode == 0, result.stdout
    assert json.loads(result.stdout)["ok"]


def test_the_limits_of_a_named_site_hold(ball: Path, site: Path, tmp_path: Path) -> None:
    """The ball's pictures have more than two hundred bytes."""
    result = check(ball, "--json", "--root", str(site), cwd=tmp_path)
    assert result.returncode == 1
    assert codes(result) == {"too_big"}


def test_the_limits_of_the_site_around_the_folder_hold(ball: Path, site: Path, tmp_path: Path) -> None:
    shutil.copytree(ball, site / "failed/ball")
    assert codes(check(site / "failed/ball", "--json", cwd=tmp_path)) == {"too_big"}


def test_the_limits_of_the_site_that_one_stands_in_hold(ball: Path, site: Path) -> None:
    assert codes(check(ball, "--json", cwd=site)) == {"too_big"}


def test_another_settings_file_may_be_named(ball: Path, site: Path, tmp_path: Path) -> None:
    (tmp_path / "other.toml").write_text(CONFIG_TEMPLATE)
    result = check(ball, "--root", str(site), "--config", str(tmp_path / "other.toml"), cwd=tmp_path)
    assert result.returncode == 0, result.stdout


def test_settings_that_cannot_be_read_are_a_problem_of_their_own(ball: Path, site: Path, tmp_path: Path) -> None:
    (site / ".meshdrop/config.toml").write_text("max_file_mb = ")
    result = check(ball, "--root", str(site), cwd=tmp_path)
    assert result.returncode == 78
    assert "config.toml" in result.stderr


@pytest.mark.parametrize("awaited", ["a lock folder", "a temporary file", "a wrong checksum"])
def test_what_the_service_would_wait_for_is_a_problem(ball: Path, tmp_path: Path, awaited: str) -> None:
    folder = shutil.copytree(ball, tmp_path / "ball")
    if awaited == "a lock folder":
        (folder / "SCANNER-LOCK").mkdir()
    elif awaited == "a temporary file":
        (folder / "views/.view_00.png.Ab12Cd").write_bytes(b"x")
    else:
        lines = [f"{'0' * 64}  {file.relative_to(folder)}\n" for file in sorted(folder.rglob("*.png"))]
        (folder / "SHA256SUMS").write_text("".join(lines))
    result = check(folder, "--json", cwd=tmp_path)
    assert result.returncode == 1
    assert codes(result) == {"set"}
