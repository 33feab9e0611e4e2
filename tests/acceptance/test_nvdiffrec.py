"""nvdiffrec in the service: beside fusion where it can be computed, skipped with the reason where it cannot."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from meshdrop.models.mesh.mesh import MESH_FILES
from tests.captures import ground_truth
from tests.rig import Rig, assert_whole

BOTH = '["fusion", "nvdiffrec"]'


def settings(**options: Any) -> dict[str, str]:
    return {"MESHDROP_MODELS": BOTH, "MESHDROP_MODEL_SETTINGS": json.dumps({"nvdiffrec": options})}


def report(rig: Rig, name: str) -> dict[str, Any]:
    assert_whole(rig.places.outbox / name)
    found: dict[str, Any] = json.loads((rig.places.outbox / name / "report.json").read_text())
    return found


def test_on_a_machine_without_a_gpu_it_is_skipped_and_the_report_says_why(
    rig: Callable[..., Rig], ball: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = rig(**settings(), CUDA_VISIBLE_DEVICES="-1")
    here.drop(ball, "ball")
    assert here.run_once() == 0
    told = report(here, "ball")["models"]
    assert told["fusion"]["state"] == "ok"
    assert told["nvdiffrec"]["state"] == "skipped"
    assert told["nvdiffrec"]["reason"].startswith("nvdiffrec needs")
    assert told["nvdiffrec"]["fix"]


@pytest.mark.torch
def test_on_the_cpu_it_betters_fusion(rig: Callable[..., Rig]) -> None:
    """A few steps on a real capture, through the whole service: taken, fused, refined, measured, published."""
    here = rig(**settings(device="cpu", iterations=12, preset="small"))
    here.drop(ground_truth("fuze") / "capture", "fuze")
    assert here.run_once() == 0
    told = report(here, "fuze")
    models = told["models"]
    assert models["nvdiffrec"]["state"] == "ok", models["nvdiffrec"]
    assert set(MESH_FILES) <= {path.name for path in (here.places.outbox / "fuze/nvdiffrec").iterdir()}
    assert told["best"] == "nvdiffrec"
    better = [models[name]["measured"]["quality"]["mean"]["psnr_masked_db"] for name in ("nvdiffrec", "fusion")]
    assert better[0] > better[1] + 0.3
    stages = models["nvdiffrec"]["figures"]["stages"]
    assert [stage["iterations"] for stage in stages if stage["name"] == "pass 2"] == [6, 6]
    assert [stage["status"] for stage in stages if stage["name"] == "verify"] == ["done"]
