"""What needs torch is skipped without it and found by its mark. Each run here is a pytest of its own on small files."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.torch_needed import NO_TORCH

ROOT = Path(__file__).parents[2]
WHOLE = "from tests.torch_needed import torch_or_skip\ntorch_or_skip()\nimport torch\ndef test_whole(): torch.tensor\n"
SINGLE = "import pytest\n@pytest.mark.torch\ndef test_single(): import torch\ndef test_other(): pass\n"
SKIPPED = "import pytest\n@pytest.mark.torch\ndef test_on_a_gpu(): pytest.skip('no GPU')\n"


@pytest.fixture
def tests(tmp_path: Path) -> Path:
    """A folder of tests, and beside it one that stands for torch, with and without."""
    for name, text in {"test_whole": WHOLE, "test_single": SINGLE, "test_skipped": SKIPPED}.items():
        (tmp_path / f"{name}.py").write_text(text)
    (tmp_path / "with").mkdir()
    (tmp_path / "with/torch.py").write_text("tensor = 1\n")
    (tmp_path / "without").mkdir()
    (tmp_path / "without/hidden.py").write_text("import sys\nsys.modules['torch'] = None\n")
    return tmp_path


def run(folder: Path, *arguments: str, torch: bool) -> tuple[int, str]:
    """The exit code and what was printed."""
    path = os.pathsep.join([str(ROOT), str(folder / ("with" if torch else "without"))])
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-ra",
            "-p",
            "no:cacheprovider",
            "-p",
            "tests.conftest",
            f"--rootdir={folder}",
            *([] if torch else ["-p", "hidden"]),
            *arguments,
        ],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout


def test_without_torch_only_what_needs_it_is_skipped_and_says_what_to_do(tests: Path) -> None:
    code, said = run(tests, "test_whole.py", "test_single.py", torch=False)
    assert code == 0, said
    assert "1 passed, 2 skipped" in said
    for place in ("test_whole.py:2", "test_single.py:2"):
        assert f"{place}: {NO_TORCH}" in said


def test_with_torch_the_mark_finds_exactly_what_was_skipped(tests: Path) -> None:
    code, said = run(tests, "-m", "torch", "test_whole.py", "test_single.py", torch=True)
    assert code == 0, said
    assert "2 passed, 1 deselected" in said


@pytest.mark.parametrize("torch", [False, True])
def test_a_selection_of_which_nothing_was_run_is_no_success(tests: Path, torch: bool) -> None:
    code, said = run(tests, "-m", "torch", "test_skipped.py", torch=torch)
    assert code == pytest.ExitCode.NO_TESTS_COLLECTED
    assert "every test was skipped, none was run" in said
