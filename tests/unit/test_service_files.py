"""The files around the program: systemd unit, Dockerfile, compose file, Makefile, continuous integration."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from daemon.errors import ExitCode
from daemon.settings import Settings

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
    return subprocess.run([program, *arguments], capture_output=True, text=True, timeout=60, check=False)


def test_the_unit_is_valid(tmp_path: Path) -> None:
    """``verify`` wants the program to exist, so a copy of the unit starts another one."""
    copy = tmp_path / UNIT.name
    copy.write_text(re.sub(r"(?m)^ExecStart=.*$", "ExecStart=/bin/true", UNIT.read_text(encoding="utf-8")))
    done = systemd_analyze("verify", str(copy))
    assert (done.returncode, [line for line in done.stderr.splitlines() if "meshdrop" in line]) == (0, [])


def test_the_unit_is_well_shut_in() -> None:
    """Exposure at most 1.5 of 10; the threshold is given in tenths."""
    done = systemd_analyze("security", "--offline=true", "--threshold=15", "--no-pager", str(UNIT))
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr


def test_the_unit_and_the_program_agree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert unit_values("ExecStart") == ["/opt/meshdrop/venv/bin/meshdrop run"]
    assert unit_values("RestartPreventExitStatus") == [str(ExitCode.CONFIGURATION)]
    for name, value in environment_of_unit().items():
        monkeypatch.setenv(name, value)
    places = Settings().places      # type: ignore[call-arg]  # the root comes from the environment
    [writable], [state] = unit_values("ReadWritePaths"), unit_values("StateDirectory")
    assert Path(writable) == places.root
    assert Path("/var/lib", state) == places.state
    assert places.spool.is_relative_to(writable), "two writable paths are two mounts, and no rename crosses them"


def test_the_service_has_time_to_end_its_worker_before_systemd_kills_it() -> None:
    """The worker gets its grace period and the threads five seconds more, see Service.run."""
    grace = Settings.model_fields["stop_grace_s"].default
    assert float(unit_values("TimeoutStopSec")[0]) >= 2 * grace + 5
    [compose] = re.findall(r"stop_grace_period: (\d+)s", (PROJECT / "docker-compose.yml").read_text(encoding="utf-8"))
    assert int(compose) >= 2 * grace + 5


def dockerfile() -> list[str]:
    """The Dockerfile's instructions, continued lines joined, comments left out."""
    text = (PROJECT / "Dockerfile").read_text(encoding="utf-8")
    text = re.sub(r"(?m)^#.*\n", "", text).replace("\\\n", " ")
    return [re.sub(r"\s+", " ", line).strip() for line in text.splitlines() if line.strip()]


def test_everything_that_the_image_copies_is_there_and_sent_to_the_builder() -> None:
    allowed = [
        line[1:] for line in (PROJECT / ".dockerignore").read_text(encoding="utf-8").split() if line.startswith("!")
    ]
    copies = [line.split()[1:-1] for line in dockerfile() if line.startswith("COPY") and "--from" not in line]
    sources = [source.rstrip("/") for copied in copies for source in copied]
    assert sources, "the image copies nothing"
    assert [source for source in sources if not (PROJECT / source).exists()] == []
    assert sorted(sources) == sorted(allowed)


def test_the_image_holds_every_package_of_the_project() -> None:
    setuptools = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]
    wanted = setuptools["packages"]["find"]["include"]
    copies = " ".join(line for line in dockerfile() if line.startswith("COPY"))
    assert [name for name in wanted if f"{name.rstrip('*')}/" not in copies] == []


def test_the_image_installs_only_hashed_packages_and_runs_as_nobody_special() -> None:
    lines = dockerfile()
    for line in lines:
        if "pip install" in line:
            assert "--require-hashes" in line or "--no-index" in line, line
    assert [line for line in lines if line.startswith("USER")] == ["USER 10001:10001"]
    assert lines[-2:] == ['ENTRYPOINT ["meshdrop"]', 'CMD ["run"]']


def test_the_health_check_asks_a_running_service() -> None:
    """The check's program is run here as Docker would, without a service: it must fail, for that reason only."""
    [line] = [line for line in dockerfile() if line.startswith("HEALTHCHECK")]
    program = re.search(r'"python", "-I", "-c", "(.+)"\]$', line)
    assert program is not None
    done = subprocess.run(
        [sys.executable, "-I", "-c", program.group(1)],
        env={"MESHDROP_STATE_DIR": "/nonexistent"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert "no running service answers" in done.stderr


def test_the_compose_file_is_shut_in_and_mounts_the_share_once() -> None:
    """Read as text, since the project has no YAML reader: with one service, each key stands there once."""
    text = re.sub(r"(?m)^ *#.*\n", "", (PROJECT / "docker-compose.yml").read_text(encoding="utf-8"))
    image = dict(pair.split("=", 1) for line in dockerfile() if line.startswith("ENV") for pair in line.split()[1:])
    for line in ("read_only: true", "init: true", "network_mode: none", "create_host_path: false"):
        assert len(re.findall(rf"(?m)^ +{line}$", text)) == 1, line
    assert re.search(r"(?m)^    cap_drop:\n      - ALL\n    security_opt:\n      - no-new-privileges:true\n", text)
    mounts = re.findall(r"- type: (\w+)\n +source: .+\n +target: (\S+)", text)
    assert mounts == [("bind", image["MESHDROP_ROOT"]), ("volume", image["MESHDROP_STATE_DIR"])]


@pytest.mark.parametrize("name", ["docker-compose.yml", "Makefile", ".ci/run", "Dockerfile"])
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
    phony = set(re.findall(r"(?m)^\.PHONY: (.*)$", text)[0].split())
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
        capture_output=True, text=True, check=False,
    )  # fmt: skip
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
