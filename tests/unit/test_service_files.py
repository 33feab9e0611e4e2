"""The files around the program: systemd unit, Makefile, locks, continuous integration. The image's have tests/image."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest

from meshdrop.daemon.base.errors import ExitCode
from meshdrop.daemon.base.settings import Settings
from meshdrop.daemon.install.site import Network, Site
from tests.patience import PATIENCE_S

PROJECT = Path(__file__).parents[2]
UNIT = PROJECT / "systemd/meshdrop.service"


def unit_values(name: str) -> list[str]:
    """Every value that the unit gives to one directive, in order."""
    return re.findall(rf"^{name}=(.*)$", UNIT.read_text(encoding="utf-8"), re.MULTILINE)


def environment_of_unit() -> dict[str, str]:
    """The variables that the unit sets."""
    return dict(line.split("=", 1) for line in unit_values("Environment"))


def systemd_analyze(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run systemd-analyze, which judges plain files without a running systemd."""
    program = shutil.which("systemd-analyze")
    if program is None:
        pytest.skip("systemd-analyze is not installed here")
    return subprocess.run([program, *arguments], capture_output=True, text=True, timeout=PATIENCE_S, check=False)


def test_the_unit_is_valid(tmp_path: Path) -> None:
    """``verify`` wants the program to exist, so a copy of the unit starts another one."""
    copy = tmp_path / UNIT.name
    copy.write_text(re.sub(r"(?m)^ExecStart=.*$", "ExecStart=/bin/true", UNIT.read_text(encoding="utf-8")))
    done = systemd_analyze("verify", str(copy))
    assert (done.returncode, [line for line in done.stderr.splitlines() if "meshdrop" in line]) == (0, [])


@pytest.mark.parametrize(("network", "tenths"), [("none", 7), ("loopback", 14), ("any", 14)])
def test_the_unit_is_well_shut_in(tmp_path: Path, network: Network, tenths: int) -> None:
    """Exposure in tenths, of 100, and never more than 15. The shipped unit has no network; half of the rest is what a
    GPU needs.
    """
    file = tmp_path / UNIT.name
    file.write_text(Site(network=network).unit(), encoding="utf-8")
    done = systemd_analyze("security", "--offline=true", f"--threshold={tenths}", "--no-pager", str(file))
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr


def test_the_unit_and_the_program_agree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert unit_values("ExecStart") == ["/opt/meshdrop/venv/bin/meshdrop run"]
    assert unit_values("RestartPreventExitStatus") == [str(ExitCode.CONFIGURATION)]
    for name, value in environment_of_unit().items():
        monkeypatch.setenv(name, value)
    places = Settings().places  # type: ignore[call-arg]  # the root comes from the environment
    share, state = map(Path, unit_values("ReadWritePaths"))
    assert share == places.root
    assert state == Site().places.state
    assert places.spool.is_relative_to(share), "two writable paths are two mounts, and no rename crosses them"


def test_the_service_has_time_to_end_its_worker_before_systemd_kills_it() -> None:
    """The worker gets its grace period and the threads five seconds more, see Service.run."""
    grace = Settings.model_fields["stop_grace_s"].default
    assert float(unit_values("TimeoutStopSec")[0]) >= 2 * grace + 5


def test_every_file_that_the_program_reads_is_installed() -> None:
    """Templates, vendored scripts, the sample capture: what is no Python must be named as a package's data."""
    setuptools = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]
    forgotten = []
    for package in ("daemon", "db", "models", "samples"):
        folder, named = PROJECT / package, set()
        for room, globs in setuptools["package-data"].items():
            place = room.removeprefix("meshdrop.")
            if place.split(".")[0] == package:
                named |= {path for glob in globs for path in (PROJECT / place.replace(".", "/")).glob(glob)}
        there = {path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts}
        forgotten += sorted(str(path) for path in there - named if path.suffix != ".py")
    assert forgotten == []


@pytest.mark.parametrize("name", ["docker-compose.yml", "docker-compose.gpu.yml", "Makefile", ".ci/run", "Dockerfile"])
def test_no_line_ends_in_blanks_or_is_indented_with_the_wrong_sign(name: str) -> None:
    for number, line in enumerate((PROJECT / name).read_text(encoding="utf-8").splitlines(), 1):
        assert line == line.rstrip(), f"{name}:{number}"
        assert name == "Makefile" or not line.startswith("\t"), f"{name}:{number}"


def make(*arguments: str) -> str:
    """What make would do or print."""
    if shutil.which("make") is None:
        pytest.skip("make is not installed here")
    done = subprocess.run(["make", "-C", str(PROJECT), *arguments], capture_output=True, text=True, check=True)
    return done.stdout


def test_make_help_lists_every_command() -> None:
    text = (PROJECT / "Makefile").read_text(encoding="utf-8")
    [extras] = re.findall(r"(?m)^EXTRAS := (.*)$", text)
    phony = set(re.findall(r"(?m)^\.PHONY: (.*)$", text)[0].replace("$(EXTRAS)", extras).split())
    assert set(re.findall(r"(?m)^  make ([a-z-]+) ", make("--no-print-directory", "help"))) == phony


def test_an_old_python_is_refused_with_the_reason(tmp_path: Path) -> None:
    """A stand-in that answers like Python 3.10 does to the version question, and to nothing else."""
    if shutil.which("make") is None:
        pytest.skip("make is not installed here")
    old = tmp_path / "python3.10"
    old.write_text('#!/bin/sh\n[ "$1" = -V ] && echo "Python 3.10.14" && exit 0\nexit 1\n')
    old.chmod(0o755)
    done = subprocess.run(
        ["make", "-C", str(PROJECT), f"PYTHON={old}", f"VENV={tmp_path}/venv", "install"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    assert "Python 3.10.14, and Meshdrop needs 3.11 or newer" in done.stdout
    assert not (tmp_path / "venv").exists()


@pytest.mark.parametrize("lock", ["requirements.lock", "requirements-weights.lock", "requirements-dev.lock"])
def test_the_locks_are_hashed_and_name_no_package_server(lock: str) -> None:
    text = (PROJECT / lock).read_text(encoding="utf-8")
    assert "://" not in text
    pinned = re.findall(r"(?m)^([a-z0-9._-]+)==\S+.*\\$\n    --hash=sha256:[0-9a-f]{64}", text)
    named = re.findall(r"(?m)^[a-z0-9].*$", text)
    assert len(pinned) == len(named) > 20


def test_ci_is_a_program_that_bash_understands() -> None:
    script = PROJECT / ".ci/run"
    assert os.access(script, os.X_OK)
    done = subprocess.run(["bash", "-n", str(script)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_ci_runs_the_tests_of_the_readme_before_it_adds_torch_and_what_they_skipped_after() -> None:
    script = (PROJECT / ".ci/run").read_text(encoding="utf-8")
    steps = re.findall(r"(?m)^section '[^']+' +(?:make --no-print-directory )?(.*)$", script)
    assert steps.index("set_up") < steps.index("test") < steps.index("torch") < steps.index("test-torch")
    assert set(steps) >= {"lint", "types", "lock-check"}
