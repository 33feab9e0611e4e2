"""reconviagen as the worker meets it: refusals, and what becomes of what the networks made."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from meshdrop.models.capture.capture import Capture
from meshdrop.models.contract.base import ModelResult, ModelUnavailable
from meshdrop.models.contract.registry import load_class
from meshdrop.models.mesh.mesh import TexturedMesh
from meshdrop.models.reconviagen import model as module
from meshdrop.models.reconviagen import upstream, weights
from meshdrop.models.reconviagen.generated import Gaussians, Generated, GenerationFailed, StageRecord
from meshdrop.models.reconviagen.model import UPRIGHT, Reconviagen
from meshdrop.models.reconviagen.settings import PLACE_VARIABLE, ReconviagenSettings
from tests.meshes import sphere, torus
from tests.photographs import photographed

#: Not the same from any two sides: a ring with a ball on its rim and a smaller one on top of it.
BALLS = (((0.3, 0.0, 0.05), 0.16), ((0.0, 0.16, -0.3), 0.09))


def thing() -> TexturedMesh:
    """The ring with its balls, each a closed piece, textured."""
    ring = torus(0.3, 0.12, 60, 40).cleaned()
    vertices, faces, uv = [ring.vertices], [ring.faces], [ring.uv]
    for at, radius in BALLS:
        ball = sphere(radius, rows=24, columns=48).cleaned()
        faces.append(ball.faces + sum(map(len, vertices)))
        vertices.append(ball.vertices + np.array(at, np.float32))
        uv.append(ball.uv)
    return replace(
        ring, vertices=np.concatenate(vertices), faces=np.concatenate(faces).astype(np.int32), uv=np.concatenate(uv)
    )


TRUE = thing()


def generated(mesh: TexturedMesh = TRUE, turn: float = 40.0) -> Generated:
    """The mesh as upstream would give it: in the unit cube, z up, turned about it, its Gaussians around it."""
    yaw = np.radians(turn)
    spin = np.array([[np.cos(yaw), 0, np.sin(yaw)], [0, 1, 0], [-np.sin(yaw), 0, np.cos(yaw)]])
    middle = (mesh.vertices.min(axis=0) + mesh.vertices.max(axis=0)) / 2
    size = float(np.ptp(mesh.vertices, axis=0).max())
    own = ((mesh.vertices - middle) / size) @ spin.T @ UPRIGHT
    count = len(own)
    gaussians = Gaussians(
        own.astype(np.float32),
        (mesh.vertex_colours() / 255).astype(np.float32),
        np.full(count, 0.9, np.float32),
        np.full((count, 3), 0.01, np.float32),
        np.tile(np.array([1, 0, 0, 0], np.float32), (count, 1)),
    )
    stages = (StageRecord("vggt", 0.1, 0.0, 2400), StageRecord("mesh", 0.1, 0.0, 3000))
    return Generated(
        own.astype(np.float32),
        mesh.faces,
        None,
        gaussians,
        9000,
        42,
        stages,
        "pretended",
        "gap-main",
        "staged",
        ("said by a stage",),
    )


class Pretended:
    """Stands for ``pipeline.Generator``: the networks' part of the work is done before."""

    def __init__(self, made: Generated) -> None:
        self.made, self.closed, self.seeds, self.upstream = made, False, list[int](), None

    def condition(self, pictures: np.ndarray, tell: Callable[[str, int, int], None]) -> np.ndarray:
        tell("vggt", 0, 1)
        return pictures

    def generate(self, pictures: np.ndarray, tell: Callable[[str, int, int], None], seed: int) -> Generated:
        assert pictures.shape[1:] == (518, 518, 4)
        for step in range(3):
            tell("structure", step, 3)
        self.seeds.append(seed)
        return self.made

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def build(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Reconviagen]:
    """A model on a machine that has everything but the networks."""

    def build(made: Generated, report: Callable[[float, str], None], **settings: Any) -> Reconviagen:
        monkeypatch.setattr(module, "need_cuda", lambda name: None)
        monkeypatch.setattr(upstream, "probe", lambda place: Path("code"))
        monkeypatch.setattr(weights, "where", lambda: Path("weights"))
        monkeypatch.setattr(weights, "require", lambda folder: None)
        runner = Reconviagen({"texture_size": 128, **settings}, report)
        runner._generator = Pretended(made)  # type: ignore[assignment]
        return runner

    return build


def silent(percent: float, step: str) -> None:
    """Nobody watches."""


@pytest.fixture(scope="module")
def capture() -> Capture:
    return photographed(TRUE)


# -- refusals ----------------------------------------------------------------------------------------------------------


def test_the_registry_knows_the_class() -> None:
    assert load_class("reconviagen", {}) is Reconviagen


def test_every_wrong_setting_is_named() -> None:
    with pytest.raises(ValueError, match="seed = -1") as caught:
        ReconviagenSettings.from_mapping({"seed": -1, "preset": "best", "profile": "huge", "code": 3, "speed": 1})
    for part in ("preset must be one of gap-main, seeds", "profile must be one of", "code must be a text", "'speed'"):
        assert part in str(caught.value)


def test_without_a_gpu_without_code_and_without_weights_it_says_which(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def refused() -> str:
        with pytest.raises(ModelUnavailable) as caught:
            Reconviagen({}, silent)
        assert caught.value.fix
        return caught.value.reason

    monkeypatch.delenv(PLACE_VARIABLE, raising=False)
    assert "GPU" in refused()
    monkeypatch.setattr(module, "need_cuda", lambda name: None)
    assert "ReconViaGen's own code" in refused()
    monkeypatch.setattr(upstream, "probe", lambda place: tmp_path)
    monkeypatch.setenv("MESHDROP_WEIGHTS_DIR", str(tmp_path))
    assert "weights" in refused()


def test_without_torch_the_probe_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ModelUnavailable, match="torch"):
        Reconviagen.probe()


# -- results -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def result(build: Callable[..., Reconviagen], capture: Capture, tmp_path: Path) -> tuple[ModelResult, list[str]]:
    said: list[str] = []
    runner = build(generated(), lambda percent, step: said.append(f"{percent:.0f} {step}"), seed=7)
    fake = runner._generator
    found = runner.inference(capture, tmp_path)
    runner.cleanup()
    assert fake.closed  # type: ignore[union-attr]
    assert fake.seeds == [7]  # type: ignore[union-attr]
    told = json.loads((tmp_path / "stages.json").read_text())
    assert told["complete"] is True
    names = ["pictures", "generation", "closing", "registration", "export"]
    assert [(stage["name"], stage["status"]) for stage in told["stages"]] == [(name, "done") for name in names]
    return found, said


@pytest.mark.torch  # pictures are resized as torch does it
def test_what_was_generated_is_placed_and_photographed(result: tuple[ModelResult, list[str]], capture: Capture) -> None:
    found, said = result
    assert found.registered
    for axis in range(3):
        for corner in (np.min, np.max):
            assert corner(found.mesh.vertices[:, axis]) == pytest.approx(corner(TRUE.vertices[:, axis]), abs=0.006)
    assert 0 < found.unseen_fraction < 0.5
    off = np.abs(found.mesh.texture[found.mesh.seen].mean(axis=0) - TRUE.texture.reshape(-1, 3).mean(axis=0))
    assert off.max() < 25
    assert found.figures["peak_vram_mib"] == 3000
    assert found.figures["registration"]["status"] == "registered"
    json.dumps(found.figures, allow_nan=False)
    assert "said by a stage" in found.notes
    assert any("plausible guess" in note for note in found.notes)
    percents = [float(line.split()[0]) for line in said]
    assert percents == sorted(percents)
    assert any("structure, step 2 of 3" in line for line in said)


@pytest.mark.torch  # pictures are resized as torch does it
def test_another_object_is_not_placed(build: Callable[..., Reconviagen], capture: Capture, tmp_path: Path) -> None:
    """The network made a ball of a ring: no pose can hide that."""
    found = build(generated(sphere(0.5, rows=40, columns=80).cleaned()), silent).inference(capture, tmp_path)
    assert not found.registered
    assert found.unseen_fraction == 1.0
    assert np.ptp(found.mesh.vertices, axis=0) == pytest.approx([1, 1, 1], abs=0.02)  # the generator's own cube
    assert "not brought into the capture's frame" in found.notes[-1]
    assert not found.mesh.seen.any()


@pytest.mark.torch
def test_upstreams_own_export_is_placed_as_it_is(
    build: Callable[..., Reconviagen], capture: Capture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its triangles and its texture, in the capture's metres; no photograph is in it, so all of it counts as unseen."""
    from meshdrop.models.reconviagen import to_glb  # noqa: PLC0415 - torch

    made = generated()
    own = replace(TRUE, vertices=(made.vertices @ UPRIGHT.T).astype(np.float32), seen=np.zeros_like(TRUE.seen))
    asked: list[tuple[Any, ...]] = []

    def exported(*said: Any) -> TexturedMesh:
        asked.append(said)
        return own

    monkeypatch.setattr(to_glb, "exported", exported)
    runner = build(made, silent, export="to_glb", texture_size=128)
    monkeypatch.setattr(runner._generator, "upstream", "the code")
    found = runner.inference(capture, tmp_path)
    assert asked == [("the code", made, 128, 42)]
    assert found.registered
    assert found.unseen_fraction == 1.0
    np.testing.assert_array_equal(found.mesh.faces, own.faces)
    np.testing.assert_array_equal(found.mesh.texture, own.texture)
    np.testing.assert_allclose(found.mesh.vertices, TRUE.vertices, atol=0.01)


@pytest.mark.torch  # pictures are resized as torch does it
def test_a_surface_that_encloses_nothing_is_refused(
    build: Callable[..., Reconviagen], capture: Capture, tmp_path: Path
) -> None:
    made = generated()
    with pytest.raises(GenerationFailed, match="inside out"):
        build(replace(made, faces=made.faces[:, ::-1].copy()), silent).inference(capture, tmp_path)
    assert json.loads((tmp_path / "stages.json").read_text())["complete"] is False
