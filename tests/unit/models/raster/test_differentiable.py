"""Which rasteriser is chosen, and that asking costs nothing before it is asked."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.torch_needed import torch_or_skip

torch_or_skip()

import torch  # noqa: E402

from meshdrop.models.raster.differentiable import best_raster, choose  # noqa: E402

ROOT = Path(__file__).parents[4]


def test_the_interface_imports_nothing_heavy() -> None:
    program = (
        "import sys, meshdrop.models.raster.differentiable; "
        "print([name for name in ('torch', 'numba', 'numpy', 'nvdiffrast') if name in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT)
    assert result.stdout.strip() == "[]"


def test_without_cuda_the_cpu_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert choose().name == "numba"
    assert "no CUDA device" in choose().reason
    assert best_raster().device == torch.device("cpu")


@pytest.mark.parametrize(("found", "says"), [(None, "not installed"), (object(), "does not load")])
def test_a_gpu_without_a_working_nvdiffrast_is_explained(
    monkeypatch: pytest.MonkeyPatch, found: object, says: str
) -> None:
    def broken(name: str) -> None:
        raise ImportError("libtorch has another version")

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: found)
    monkeypatch.setattr("importlib.import_module", broken)
    assert choose().name == "numba"
    assert says in choose().reason


@pytest.mark.gpu
def test_cuda_and_nvdiffrast_are_preferred() -> None:
    if not torch.cuda.is_available():
        pytest.skip("torch sees no CUDA device")
    pytest.importorskip("nvdiffrast.torch", reason="nvdiffrast is not installed")
    assert choose().name == "nvdiffrast"
    assert best_raster().device.type == "cuda"
