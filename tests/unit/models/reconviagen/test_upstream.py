"""The published code is found, known, and refused when it is not what we call."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from meshdrop.models.contract.base import ModelUnavailable
from meshdrop.models.reconviagen import upstream as code
from meshdrop.models.reconviagen.settings import PLACE_VARIABLE
from meshdrop.models.reconviagen.substitutes.contract import CALLED

if TYPE_CHECKING:
    from meshdrop.models.reconviagen.upstream import Upstream

ROOT = Path(__file__).parents[4]


@pytest.fixture
def checkout(upstream: Upstream, tmp_path: Path) -> Path:
    """A copy of the checkout to be spoilt."""
    for name in ("trellis", "wheels"):
        shutil.copytree(upstream.root / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


def loaded_elsewhere(place: Path) -> str:
    """What a fresh interpreter says when it loads the code from ``place``."""
    program = (
        "from meshdrop.models.contract.base import ModelUnavailable\n"
        "from meshdrop.models.reconviagen.upstream import load\n"
        "try:\n    print(load(spconv=False).revision)\nexcept ModelUnavailable as e:\n    print(e.reason, '|', e.fix)"
    )
    environment = {**os.environ, PLACE_VARIABLE: str(place)}
    answer = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT, env=environment
    )
    return answer.stdout


def test_no_code_is_said_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(PLACE_VARIABLE, raising=False)
    with pytest.raises(ModelUnavailable) as error:
        code.find()
    assert "not installed" in error.value.reason
    assert "git clone" in error.value.fix
    assert PLACE_VARIABLE in error.value.fix


def test_an_installed_package_is_found_beside_its_wheels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for mark in (*code.MARKS, "trellis/__init__.py"):
        (tmp_path / mark).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / mark).touch()
    monkeypatch.delenv(PLACE_VARIABLE, raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    assert code.find() == tmp_path.resolve()


def test_a_folder_that_is_no_checkout_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PLACE_VARIABLE, str(tmp_path))
    with pytest.raises(ModelUnavailable) as error:
        code.probe()
    assert str(tmp_path) in error.value.reason
    assert "wheels/vggt" in error.value.reason


def test_the_setting_goes_before_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for mark in code.MARKS:
        (tmp_path / "one" / mark).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "one" / mark).touch()
    monkeypatch.setenv(PLACE_VARIABLE, str(tmp_path / "two"))
    assert code.find(tmp_path / "one") == (tmp_path / "one").resolve()


def test_missing_packages_are_named_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(code, "find", lambda place=None: tmp_path)
    real = importlib.util.find_spec
    absent = ("easydict", "safetensors")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name in absent else real(name))
    monkeypatch.setattr(code, "NEEDED", ("json", *absent))
    with pytest.raises(ModelUnavailable, match="needs easydict, safetensors,") as error:
        code.probe()
    assert error.value.fix == "pip install easydict safetensors"


def test_probing_imports_nothing_heavy() -> None:
    program = (
        "import sys\nfrom meshdrop.models.reconviagen import upstream, presets, generated\n"
        "from meshdrop.models.reconviagen.substitutes import contract, stand_ins\n"
        "try:\n    upstream.probe()\nexcept Exception:\n    pass\n"
        "print([n for n in ('torch', 'trellis', 'safetensors') if n in sys.modules])"
    )
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT)
    assert answer.stdout.strip() == "[]"


def test_the_pinned_revision_is_known_by_its_files(upstream: Upstream) -> None:
    assert upstream.revision == code.PINNED


def test_another_revision_is_recorded_as_such(checkout: Path) -> None:
    assert code.revision(checkout) == code.PINNED
    file = checkout / "trellis/models/structured_latent_flow.py"
    text = file.read_bytes()
    file.write_bytes(text.replace(b"\n", b"\r\n"))  # a checkout on Windows
    assert code.revision(checkout) == code.PINNED
    file.write_bytes(text + b"\n# changed")
    assert code.revision(checkout).startswith("unknown revision, sha256 ")


def test_the_other_guidance_formula_is_refused(checkout: Path) -> None:
    """That of the older clone: 4 where ours gives 3."""
    file = checkout / "trellis/pipelines/samplers/classifier_free_guidance_mixin.py"
    text = file.read_text()
    ours = "pred = cfg_strength * pred_pos + (1 - cfg_strength) * pred_neg"
    assert ours in text
    file.write_text(text.replace(ours, "pred = (1 + cfg_strength) * pred_pos - cfg_strength * pred_neg"))
    said = loaded_elsewhere(checkout)
    assert "gives 4, not w * pos + (1 - w) * neg = 3" in said
    assert "git checkout f672092" in said


def test_changed_arguments_are_refused_together(checkout: Path) -> None:
    file = checkout / "trellis/models/structured_latent_flow.py"
    real = "def forward(self, x: sp.SparseTensor, t: torch.Tensor, cond:"
    file.write_text(file.read_text().replace(real, "def forward(self, x, cond, t:"))
    mesh = checkout / "trellis/representations/mesh/flexicube.py"
    mesh.write_text(mesh.read_text().replace("_get_case_id", "_case_id"))
    said = loaded_elsewhere(checkout)
    assert "SLatFlowModel.forward takes (self, x, cond, t), not (self, x, t, cond, ...)" in said
    assert "has no FlexiCubes._get_case_id" in said


def test_an_import_that_fails_says_why(checkout: Path) -> None:
    (checkout / "trellis/models/sparse_structure_flow.py").write_text("import a_package_that_is_not_there\n")
    said = loaded_elsewhere(checkout)
    assert "cannot be imported: No module named 'a_package_that_is_not_there'" in said


def test_importing_it_leaves_no_stand_ins_behind(upstream: Upstream) -> None:
    from meshdrop.models.reconviagen.substitutes.stand_ins import StandIn  # noqa: PLC0415

    assert not [name for name, module in sys.modules.items() if isinstance(module, StandIn)]
    assert os.environ["SPCONV_ALGO"] == "native"
    assert not [folder for folder in sys.path if folder.startswith(str(upstream.root))]


def test_loading_again_returns_the_same_code(upstream: Upstream) -> None:
    assert code.load(upstream.root, spconv=False) == upstream


def test_upstreams_export_needs_its_packages(upstream: Upstream, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(code, "FOR_TO_GLB", ("json", "no_such_package_a", "no_such_package_b"))
    with pytest.raises(ModelUnavailable, match="to_glb needs no_such_package_a, no_such_package_b"):
        code.load(upstream.root, to_glb=True)


def test_the_contract_covers_every_network() -> None:
    assert {name.partition(".")[0] for name in CALLED["trellis.models"]} == {
        "SparseStructureFlowModel",
        "SparseStructureDecoder",
        "SLatFlowModel",
        "SLatGaussianDecoder",
        "SLatMeshDecoder",
        "ModulatedMultiViewCond",
        "ModulatedSLATMultiViewCond",
    }
