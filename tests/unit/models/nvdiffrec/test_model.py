"""nvdiffrec as the worker meets it: settings, refusals, stages, and which mesh is delivered."""

from __future__ import annotations

import ctypes
import importlib.util
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from meshdrop.models.contract.base import ModelUnavailable
from meshdrop.models.contract.registry import load_class
from meshdrop.models.contract.stages import StageLog
from meshdrop.models.nvdiffrec.judge import MeanScores, objection
from meshdrop.models.nvdiffrec.model import Nvdiffrec
from meshdrop.models.nvdiffrec.settings import SAMPLES, NvdiffrecSettings
from tests.meshes import torus
from tests.photographs import photographed

QUICK = {"device": "cpu", "iterations": 12, "preset": "small", "texture_size": 128, "search_resolution": 24}


@pytest.fixture(autouse=True)
def few_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    """The photographs are small enough for the finest drawing, and these tests need none: 3 x 3 samples a pixel."""
    for preset in SAMPLES:
        monkeypatch.setitem(SAMPLES, preset, 400_000)


def silent(percent: float, step: str) -> None:
    """Nobody watches."""


# -- settings and refusals ---------------------------------------------------------------------------------------------


def test_the_registry_knows_the_class() -> None:
    assert load_class("nvdiffrec", {}) is Nvdiffrec


def test_every_wrong_setting_is_named() -> None:
    with pytest.raises(ValueError, match="iterations = 0") as caught:
        NvdiffrecSettings.from_mapping(
            {"iterations": 0, "texture_size": "big", "preset": "huge", "speed": 3, "start": "noise"}
        )
    said = ("texture_size must be a whole number", "preset must be one of fine, normal, small", "'speed'", "start must")
    assert [part for part in said if part not in str(caught.value)] == []


def test_without_nvdiffrast_it_says_what_is_missing_and_the_licence(monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "nvdiffrast" else find(name))
    with pytest.raises(ModelUnavailable) as caught:
        Nvdiffrec({}, silent)
    assert "nvdiffrast" in caught.value.reason
    assert "research and evaluation" in caught.value.fix


def test_without_a_driver_it_points_to_the_doctor(monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing(name: str) -> None:
        raise OSError(f"{name}: cannot open shared object file")

    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    monkeypatch.setattr(ctypes, "CDLL", nothing)
    with pytest.raises(ModelUnavailable) as caught:
        Nvdiffrec({}, silent)
    assert "driver" in caught.value.reason
    assert "doctor" in caught.value.fix


def test_without_torch_the_probe_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ModelUnavailable, match="torch"):
        Nvdiffrec.probe()


# -- stages ------------------------------------------------------------------------------------------------------------


def test_a_stage_that_fails_says_so_and_nothing_is_complete(tmp_path: Path) -> None:
    log = StageLog(tmp_path)
    with log.stage("draft"):
        assert stages(tmp_path)["stages"][0]["status"] == "running"

    def fail() -> None:
        with log.stage("pass 2", 500) as stage:
            stage.iterations = 3
            raise RuntimeError("the lamp fell over")

    with pytest.raises(RuntimeError, match="lamp"):
        fail()
    told = stages(tmp_path)
    assert [one["status"] for one in told["stages"]] == ["done", "failed"]
    assert told["stages"][1]["reason"] == "RuntimeError: the lamp fell over"
    assert told["stages"][1]["asked"] == 500
    assert told["complete"] is False
    log.finish()
    assert stages(tmp_path)["complete"] is True


def stages(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "stages.json").read_text())
    return found


# -- which mesh --------------------------------------------------------------------------------------------------------

DRAFT = MeanScores(30.0, 0.99, 0.70)


@pytest.mark.parametrize(
    ("refined", "says"),
    [
        (MeanScores(31.0, 0.99, 0.70), None),
        (MeanScores(31.0, 0.99, 0.706), None),  # within the sensor's noise
        (MeanScores(31.0, 0.99, None), None),
        (MeanScores(30.0, 0.99, 0.60), "photographs"),
        (MeanScores(31.0, 0.97, 0.60), "silhouettes"),
        (MeanScores(31.0, 0.99, 0.72), "depth"),
        (MeanScores(float("nan"), 0.99, 0.60), "photographs"),
    ],
)
def test_the_refined_mesh_must_win_on_photographs_and_lose_nowhere(refined: MeanScores, says: str | None) -> None:
    found = objection(refined, DRAFT)
    assert (found is None) if says is None else (found is not None and says in found)


@pytest.mark.torch
def test_a_run_on_the_cpu_betters_the_draft_and_accounts_for_itself(tmp_path: Path) -> None:
    steps: list[str] = []
    runner = Nvdiffrec(QUICK | {"iterations": 120}, lambda percent, step: steps.append(step))
    result = runner.inference(photographed(torus()), tmp_path)
    runner.cleanup()
    standing = result.figures["standing"]
    assert result.made_by is None
    assert standing["refined"]["psnr_masked_db"] > standing["draft"]["psnr_masked_db"] + 0.5
    result.mesh.check()
    told = stages(tmp_path)
    assert told["complete"] is True
    assert [one["name"] for one in told["stages"]] == ["draft", "pass 2", "dress", "pass 2", "verify", "materials"]
    for round_ in (told["stages"][1], told["stages"][3]):
        assert round_["asked"] == round_["iterations"] == 60
    assert [len(one["looks"]) for one in result.figures["refine"]] == [3, 3]
    assert any("round 2 of 2, step 50 of 60: loss" in step and "dB" in step and "left" in step for step in steps)


@pytest.mark.torch
def test_a_worse_result_is_not_delivered_and_the_draft_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from meshdrop.models.nvdiffrec import rounds  # noqa: PLC0415 - needs torch

    keep = rounds._mesh
    monkeypatch.setattr(
        rounds, "_mesh", lambda draft, refined: replace(keep(draft, refined), texture=np.zeros_like(draft.texture))
    )
    result = Nvdiffrec(QUICK, silent).inference(photographed(torus()), tmp_path)
    assert result.made_by == "fusion"
    assert result.mesh.texture.any()
    assert "this is fusion's mesh" in result.notes[-1]
    assert [one["status"] for one in stages(tmp_path)["stages"][-2:]] == ["not better", "skipped"]


@pytest.mark.torch
def test_when_the_gpu_is_full_the_next_smaller_preset_is_tried_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch  # noqa: PLC0415

    from meshdrop.models.nvdiffrec import rounds  # noqa: PLC0415
    from meshdrop.models.nvdiffrec.passes import refine_mesh  # noqa: PLC0415

    tried: list[int] = []
    for number, preset in enumerate(SAMPLES):
        monkeypatch.setitem(SAMPLES, preset, 400_000 + number)

    def full(*given: Any) -> object:
        tried.append(given[5])
        if len(tried) == 1:
            raise torch.cuda.OutOfMemoryError("no room")
        return refine_mesh(*given)

    monkeypatch.setattr(rounds, "refine_mesh", full)
    result = Nvdiffrec(QUICK | {"preset": "normal"}, silent).inference(photographed(torus()), tmp_path)
    assert tried == [SAMPLES["normal"], SAMPLES["small"], SAMPLES["small"]]
    assert result.figures["preset"] == "small"
    assert [one["status"] for one in stages(tmp_path)["stages"]][1:3] == ["failed", "done"]

    tried.clear()
    with pytest.raises(torch.cuda.OutOfMemoryError):
        Nvdiffrec(QUICK, silent).inference(photographed(torus()), tmp_path)
    assert stages(tmp_path)["complete"] is False


@pytest.mark.torch
def test_without_depth_the_surface_is_searched_for(tmp_path: Path) -> None:
    result = Nvdiffrec(QUICK, silent).inference(photographed(torus(), depth=False), tmp_path)
    told = stages(tmp_path)
    assert [one["name"] for one in told["stages"]] == ["draft", "pass 1", "dress", "pass 2", "verify", "materials"]
    assert told["complete"] is True
    assert result.figures["search"]["iou"] > 0.9
