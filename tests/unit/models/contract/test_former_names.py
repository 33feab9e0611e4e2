"""Models of somebody's own that were written against the names of 0.1."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path

import pytest

from meshdrop.models.contract.former_names import FORMER

MODEL = """
from models.base import ModelResult, ReconstructionModel
from models.capture import Capture
import models.mesh


class Mine(ReconstructionModel):
    name = "mine"

    def inference(self, capture: Capture, output_dir) -> ModelResult:
        return ModelResult(models.mesh.TexturedMesh)
"""
ASK = """
import sys
from meshdrop.models.contract import base, former_names
from meshdrop.models.contract.registry import load_class
found = load_class("mine", {"mine": sys.argv[1]})
assert issubclass(found, base.ReconstructionModel)
from meshdrop.models.mesh.mesh import TexturedMesh
assert found({}, lambda *_: None).inference(None, None).mesh is TexturedMesh
print(former_names.note())
"""


@pytest.mark.parametrize("name", sorted(FORMER))
def test_every_former_name_leads_somewhere(name: str) -> None:
    assert importlib.import_module(FORMER[name])


@pytest.mark.parametrize("beside_another", [False, True], ids=["alone", "beside another package called models"])
def test_they_work_and_are_told(tmp_path: Path, beside_another: bool) -> None:
    (tmp_path / "mine.py").write_text(MODEL)
    foreign = tmp_path / "site/models"
    if beside_another:
        foreign.mkdir(parents=True)
        (foreign / "__init__.py").write_text("IS_ANOTHER = True")
    ask = f"import sys; sys.path.insert(0, {str(tmp_path / 'site')!r})\n{ASK}"
    if beside_another:
        ask += "import models; assert models.IS_ANOTHER"
    command = [sys.executable, "-c", ask, f"{tmp_path / 'mine.py'}:Mine"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "`models.base`, `models.capture`, `models.mesh`" in done.stdout
    assert "models.base is meshdrop.models.contract.base now" in done.stderr


def test_nobody_else_can_import_them(tmp_path: Path) -> None:
    """Only a process that loads a model of somebody's own."""
    ask = "from meshdrop.models.contract.registry import load_class; load_class('fusion', {}); import models.base"
    done = subprocess.run([sys.executable, "-I", "-c", ask], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert "No module named 'models'" in done.stderr
