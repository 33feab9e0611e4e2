"""Material and light apart: won where things gleam, lost where captured colours are the truth, never half delivered."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.torch_needed import torch_or_skip

torch_or_skip()

import torch  # noqa: E402

from meshdrop.models.capture.capture import Capture, View  # noqa: E402
from meshdrop.models.contract.base import ModelResult  # noqa: E402
from meshdrop.models.formats.cameras import Camera, look_at  # noqa: E402
from meshdrop.models.mesh import reload as mesh_files  # noqa: E402
from meshdrop.models.mesh.mesh import write_all  # noqa: E402
from meshdrop.models.mesh.output_formats import MATERIAL_FILES  # noqa: E402
from meshdrop.models.mesh.pbr import Material, read_material  # noqa: E402
from meshdrop.models.mesh.radiance_hdr import read_hdr  # noqa: E402
from meshdrop.models.mesh.reload import check_files  # noqa: E402
from meshdrop.models.nvdiffrec import judge, materials, samples  # noqa: E402
from meshdrop.models.nvdiffrec import model as module  # noqa: E402
from meshdrop.models.nvdiffrec.appearance import Colouring, Delivered, Lit, Optics, Painted, draw  # noqa: E402
from meshdrop.models.nvdiffrec.appearance_fit import Gallery, back_projected  # noqa: E402
from meshdrop.models.nvdiffrec.losses import Weights  # noqa: E402
from meshdrop.models.nvdiffrec.material import from_file  # noqa: E402
from meshdrop.models.nvdiffrec.materials import Contest, decompose, too_few_views  # noqa: E402
from meshdrop.models.nvdiffrec.model import Nvdiffrec  # noqa: E402
from meshdrop.models.nvdiffrec.samples import samples_of  # noqa: E402
from meshdrop.models.nvdiffrec.scene import build_scene  # noqa: E402
from meshdrop.models.nvdiffrec.settings import SAMPLES  # noqa: E402
from meshdrop.models.raster.differentiable import Raster  # noqa: E402
from meshdrop.models.raster.render import render  # noqa: E402
from meshdrop.models.raster.torch_numba import NumbaRaster  # noqa: E402
from meshdrop.models.surface.range_view import prepare  # noqa: E402
from tests.meshes import torus  # noqa: E402
from tests.photographs import photographed  # noqa: E402
from tests.unit.models.nvdiffrec.lightmap import texel_directions  # noqa: E402

SIZE, VIEWS, STEPS = 32, 12, 40
THING = torus(0.3, 0.12, 40, 28).cleaned()
#: A lamp; all else is dim.
LAMP = np.array([0.6, 0.7, 0.4]) / np.linalg.norm([0.6, 0.7, 0.4])


def blank_views(count: int) -> list[View]:
    """Cameras all around, two rounds of a spiral from the top to the bottom."""
    views, focal = [], 1111 * SIZE / 512
    for k in range(count):
        y, turn = 1 - (2 * k + 1) / count, k * math.pi * (3 - math.sqrt(5))
        direction = (math.sqrt(1 - y * y) * math.cos(turn), y, math.sqrt(1 - y * y) * math.sin(turn))
        pose = look_at(direction, (0, 1, 0), 2.5)
        camera = Camera(SIZE, SIZE, focal, focal, SIZE / 2, SIZE / 2, pose)
        nothing = np.zeros((SIZE, SIZE, 3), np.uint8)
        views.append(View(f"view_{k:02d}", camera, nothing, np.ones((SIZE, SIZE), np.float32), None, "file"))
    return views


def gallery_of(views: list[View]) -> Gallery:
    """The thing as those cameras see it, 2 x 2 samples a pixel."""
    bounds = np.stack([THING.vertices.min(axis=0), THING.vertices.max(axis=0)]).astype(np.float64)
    raster, ready = NumbaRaster(), [prepare(view) for view in views]
    scene = build_scene(views, ready, np.ones((len(views), 3), np.float32), bounds, 1, raster.device)
    return Gallery(raster, scene, samples_of(raster, scene, THING, 2))


def photographs(colouring: Colouring, count: int = VIEWS) -> Capture:
    """The thing, coloured like this, as photographs."""
    blank = blank_views(count)
    gallery = gallery_of(blank)
    with torch.no_grad():
        drawing = draw(gallery.raster, gallery.samples, colouring)
    coverage = drawing.coverage.numpy()
    own = np.clip(drawing.colour.numpy() / np.maximum(coverage, 1e-6), 0, 1)
    views = [
        replace(view, rgb=np.rint(own[k] * 255).astype(np.uint8), mask=coverage[k, ..., 0])
        for k, view in enumerate(blank)
    ]
    return Capture("torus", "canonical", tuple(views), None)


def gleaming(attached: bool) -> Colouring:
    """A varnished surface, one half of its texture rougher than the other, under the lamp."""
    optics = Optics.on(torch.device("cpu"))
    lit = Lit(torch.full((8, 8, 3), 0.5), 1.0, attached, optics, Weights())
    towards = texel_directions(16, 32) @ torch.from_numpy(LAMP)
    with torch.no_grad():
        lit.light.copy_(torch.log(0.2 + 8 * torch.exp(12 * (towards - 1)))[..., None].expand(-1, -1, 3))
    orm = np.empty_like(THING.texture)
    orm[:], orm[32:, :, 1] = (255, 64, 0), 115
    flat = np.full_like(THING.texture, 128)
    flat[..., 2] = 255
    return Delivered(lit, from_file(Material(THING.texture // 2 + np.uint8(80), orm, flat)))


def pasted() -> Colouring:
    """The texture's colours as they are, from everywhere: light and shadow, if there were any, are part of them."""
    return Painted(torch.from_numpy(THING.texture.astype(np.float32) / 255), Weights())


def contest(capture: Capture, steps: int = STEPS, raster: Raster | None = None) -> Contest:
    ready = [prepare(view) for view in capture.views]
    gains = np.ones((len(ready), 3), np.float32)
    samples = 4 * SIZE * SIZE * len(ready)
    drawer = raster or NumbaRaster()
    return decompose(drawer, capture, ready, gains, THING, samples, steps, lambda what, fits, step, loss: None)


@pytest.fixture(scope="module")
def world() -> Contest:
    return contest(photographs(gleaming(attached=False)))


# -- samples ----------------------------------------------------------------------------------------------------------


def test_samples_know_where_the_cameras_are() -> None:
    """By the cameras' own poses, of which shading and the pictures above know nothing."""
    views = blank_views(5)
    known = gallery_of(views).samples
    hit = known.seen.hit[..., 0] > 0
    # of a closed surface cameras see the outside, but for samples of an outline's snapped corners
    assert ((known.facing * known.towards).sum(dim=-1)[hit] > 0).float().mean() > 0.998
    for k, view in enumerate(views):
        # the light of a camera has its own axes: x right, y up, looking along -z
        assert known.camera[k].numpy() == pytest.approx(view.camera.c2w[:3, :3].T, abs=1e-6)
        towards = known.towards[k][hit[k]].mean(dim=0).numpy()
        assert towards / np.linalg.norm(towards) == pytest.approx(view.camera.centre / 2.5, abs=0.02)
    smooth = torch.nn.functional.normalize(known.normal, dim=-1)
    flat = torch.nn.functional.normalize(known.facing, dim=-1)
    assert (smooth * flat).sum(dim=-1)[hit].min() > math.cos(math.radians(15))


# -- the start ---------------------------------------------------------------------------------------------------------


def test_the_start_is_what_the_photographs_show() -> None:
    capture = photographs(pasted())
    gallery = gallery_of(list(capture.views))
    texture = back_projected(gallery, THING.texture.shape[:2])
    # five texels to a pixel: steep gradients are smeared, the mean is not
    assert (texture.mean(dim=(0, 1)) - torch.from_numpy(THING.texture / 255).mean(dim=(0, 1))).abs().max() < 0.03
    assert gallery.psnr(Painted(texture, Weights())) > 25
    # half of the views leave gaps, and those are filled too, from around
    some = back_projected(gallery.only([0, 1]), THING.texture.shape[:2])
    assert torch.isfinite(some).all()
    assert some.min() >= 0
    assert some.max() <= 1
    assert gallery.only([0, 1]).psnr(Painted(some, Weights())) > 25


def test_views_in_small_groups_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """A step's memory is bounded by drawing few views at a time; gradients and figures add up."""
    gallery = gallery_of(list(photographs(gleaming(attached=True), 4).views))
    whole = back_projected(gallery, (16, 16)), gallery.psnr(pasted())
    monkeypatch.setattr(samples, "SAMPLES_AT_ONCE", 1)
    assert len(gallery.groups()) == 4
    parts = back_projected(gallery, (16, 16)), gallery.psnr(pasted())
    assert torch.allclose(parts[0], whole[0], atol=1e-5)
    assert parts[1] == pytest.approx(whole[1], abs=1e-3)


# -- who wins ----------------------------------------------------------------------------------------------------------


def test_what_gleams_is_taken_apart(world: Contest) -> None:
    """Under a fixed lamp the gleam wanders over the surface from view to view: no pasted colour can do that."""
    assert world.spared == ("view_03", "view_09")
    assert world.material_db > world.colours_db + 3
    assert not world.attached
    assert world.found is not None
    upper, lower = np.split(world.found.material.orm[..., 1] / 255, 2)
    assert upper.mean() < lower.mean() - 0.03  # the truth is 0.25 and 0.45, the start 0.5
    bright = np.unravel_index(world.found.radiance.sum(axis=2).argmax(), (16, 32))
    assert texel_directions(16, 32).numpy()[bright] @ LAMP > math.cos(math.radians(25))


@pytest.mark.gpu
def test_a_gpu_comes_to_the_same_verdict(world: Contest) -> None:
    if not torch.cuda.is_available():
        pytest.skip("torch sees no CUDA device")
    from meshdrop.models.raster.torch_nvdiffrast import NvdiffrastRaster  # noqa: PLC0415 - absent without a GPU

    found = contest(photographs(gleaming(attached=False)), raster=NvdiffrastRaster())
    assert found.colours_db == pytest.approx(world.colours_db, abs=0.5)
    assert found.material_db == pytest.approx(world.material_db, abs=1.0)
    assert (found.attached, found.found is None) == (False, False)


def test_a_lamp_on_the_camera_is_told_from_a_fixed_one() -> None:
    found = contest(photographs(gleaming(attached=True)), 25)
    assert found.attached
    assert found.material_db > found.colours_db + 3


def test_captured_colours_win_where_they_are_the_truth() -> None:
    found = contest(photographs(pasted()), 25)
    assert found.found is None
    assert found.colours_db > found.material_db + 1
    assert f"the captured colours {found.colours_db:.2f} dB" in found.verdict
    assert found.to_json()["delivered"] is False


def test_a_fit_that_breaks_down_does_not_win(monkeypatch: pytest.MonkeyPatch) -> None:
    rates = Lit.parameters
    monkeypatch.setattr(Lit, "parameters", lambda lit: [(tensor, 1e6) for tensor, _ in rates(lit)])
    found = contest(photographs(gleaming(attached=False)), 3)
    assert found.found is None
    assert found.verdict == "no fit of a material got beyond its start"
    assert json.loads(json.dumps(found.to_json(), allow_nan=False))["material_db"] is None


# -- what is delivered -------------------------------------------------------------------------------------------------


def test_the_winner_s_files_hold_its_material_and_light(world: Contest, tmp_path: Path) -> None:
    assert world.found is not None
    write_all(THING, tmp_path, {})
    for name, write in world.found.files(THING, attached=False).items():
        write(tmp_path / name, {"generator": "Meshdrop"})
    assert {path.name for path in tmp_path.iterdir()} >= set(MATERIAL_FILES)
    facts, _ = check_files(tmp_path)
    assert set(MATERIAL_FILES) <= set(facts.file_bytes)
    assert np.array_equal(read_material(tmp_path / "pbr.glb").orm, world.found.material.orm)
    # RGBE has eight bits for the brightest channel of a texel
    off = np.abs(read_hdr(tmp_path / "probe.hdr") - world.found.radiance)
    assert (off <= world.found.radiance.max(axis=2, keepdims=True) / 128).all()


def test_six_views_have_none_to_spare_and_the_report_says_so(tmp_path: Path, accepted: None) -> None:
    capture = photographed(torus())
    assert too_few_views(photographs(pasted(), 9)) is None
    result = quick_run(capture, tmp_path)
    stage = json.loads((tmp_path / "stages.json").read_text())["stages"][-1]
    assert (stage["name"], stage["status"], stage["iterations"]) == ("materials", "skipped", None)
    assert stage["reason"] == too_few_views(capture)
    assert stage["reason"].startswith("6 views are fitted to, and none can be spared")
    assert result.extra_files == {}
    assert result.figures["materials"] is None


QUICK = {"device": "cpu", "iterations": 2, "preset": "small", "texture_size": 128}


def quick_run(capture: Capture, folder: Path, **settings: str) -> ModelResult:
    return Nvdiffrec(QUICK | settings, lambda percent, step: None).inference(capture, folder)


@pytest.fixture
def accepted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two steps of refinement are as good as any, few samples and vertices are enough."""
    monkeypatch.setattr(module, "SAMPLES", dict.fromkeys(SAMPLES, 100_000))
    monkeypatch.setattr(judge, "objection", lambda refined, draft: None)
    monkeypatch.setattr(mesh_files, "MIN_VERTICES", 500)


@pytest.fixture(scope="module")
def nine() -> Capture:
    """Nine photographs with depth, each 64 x 64."""
    views = []
    for blank in blank_views(9):
        camera = replace(blank.camera.scaled(2), width=64, height=64)
        picture = render(THING, camera, samples=3)
        own = (picture.rgb - (1 - picture.alpha[..., None])) / np.maximum(picture.alpha[..., None], 1e-6)
        rgb = np.rint(np.clip(own, 0, 1) * 255).astype(np.uint8)
        views.append(View(blank.name, camera, rgb, picture.alpha, picture.depth, "file"))
    return Capture("torus", "canonical", tuple(views), 0.001)


@pytest.mark.usefixtures("accepted")
@pytest.mark.parametrize("wins", [True, False])
def test_the_model_hands_over_files_only_of_a_winner(
    nine: Capture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wins: bool
) -> None:
    monkeypatch.setattr(materials, "LEAST_GAIN_DB", -100.0 if wins else 100.0)
    result = quick_run(nine, tmp_path)
    told = json.loads((tmp_path / "stages.json").read_text())
    stage = told["stages"][-1]
    assert told["complete"] is True
    assert (stage["name"], stage["status"]) == ("materials", "done" if wins else "not better")
    assert (stage["asked"], stage["iterations"]) == (2, 2)
    assert "on 1 spared view a material under" in stage["reason"]
    assert tuple(result.extra_files) == (MATERIAL_FILES if wins else ())
    assert any("pbr.glb" in note for note in result.notes) == wins
    assert result.figures["materials"]["delivered"] == wins
    write_all(result.mesh, tmp_path, {})
    for name, write in result.extra_files.items():
        write(tmp_path / name, {})
    check_files(tmp_path, [path.name for path in tmp_path.iterdir() if path.name != "stages.json"])


@pytest.mark.usefixtures("accepted")
def test_nobody_asks_when_the_settings_say_never(nine: Capture, tmp_path: Path) -> None:
    result = quick_run(nine, tmp_path, materials="never")
    stage = json.loads((tmp_path / "stages.json").read_text())["stages"][-1]
    assert (stage["status"], stage["reason"]) == ("skipped", "the settings say never")
    assert result.extra_files == {}


@pytest.mark.usefixtures("accepted")
def test_a_full_gpu_costs_the_material_alone(nine: Capture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: object) -> Contest:
        raise torch.cuda.OutOfMemoryError("no room")

    monkeypatch.setattr(materials, "decompose", full)
    result = quick_run(nine, tmp_path)
    told = json.loads((tmp_path / "stages.json").read_text())
    assert told["stages"][-1]["status"] == "failed"
    assert "memory" in told["stages"][-1]["reason"]
    assert told["complete"] is True
    assert result.extra_files == {}
    assert result.made_by is None
