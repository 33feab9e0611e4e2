"""Installed from its wheel beside packages of others that have the names of our folders."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
#: Nobody of ours may import them by accident.
FOREIGN = "raise RuntimeError('this is somebody else's')\n"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with our wheel, what it needs, ``daemon`` (as python-daemon brings it), ``models``, ``db``."""
    place = tmp_path_factory.mktemp("installed")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    build = ["wheel", "--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", str(place), str(ROOT)]
    subprocess.run([*pip, *build], check=True)
    (wheel,) = place.glob("*.whl")
    environment = place / "environment"
    venv.create(environment, symlinks=True)
    python = environment / "bin/python"
    subprocess.run([*pip, "--python", str(python), "install", "--no-deps", "--no-index", str(wheel)], check=True)
    (site,) = (environment / "lib").glob("python3*/site-packages")
    # The libraries are those of this environment; of ours it gets nothing: a .pth is read in folders of sites only.
    (site / "libraries.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    for name in ("daemon", "models", "db"):
        (site / name).mkdir()
        (site / name / "__init__.py").write_text(FOREIGN)
    return environment


def test_everything_lies_below_one_name(installed: Path) -> None:
    (site,) = (installed / "lib").glob("python3*/site-packages")
    (record,) = site.glob("meshdrop-*.dist-info/RECORD")
    tops = {line.split("/")[0] for line in record.read_text().splitlines()}
    assert {top for top in tops if not top.startswith(("..", "meshdrop-"))} == {"meshdrop"}
    for data in ("daemon/reporting/templates/report.html", "models/mesh/gltf_judge.js", "samples/snail"):
        assert (site / "meshdrop" / data).exists()


def test_the_demo_runs_beside_foreign_packages_of_the_same_names(installed: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [installed / "bin/meshdrop", "demo", str(tmp_path / "demo")],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "demo/outbox/snail/report.html").is_file()
