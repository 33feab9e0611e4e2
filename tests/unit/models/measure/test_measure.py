"""Measuring delivered folders: figures for the good ones, an error for the bad ones, pictures on disk."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trimesh
from PIL import Image

from meshdrop.models.axes.stance import Stance
from meshdrop.models.measure import measure as measuring
from meshdrop.models.measure import pictures
from meshdrop.models.measure.measure import measure
from meshdrop.models.mesh.mesh import write_all
from tests import meshes
from tests.photographs import photographed


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, object], list[tuple[float, str]]]:
    """A perfect model, one that is 1 % too large, and one whose GLB was cut short."""
    root = tmp_path_factory.mktemp("job")
    mesh = meshes.torus()
    capture = photographed(mesh)
    write_all(mesh, root / "exact", {"generator": "Meshdrop"})
    write_all(replace(mesh, vertices=mesh.vertices * np.float32(1.01)), root / "large", {})
    write_all(mesh, root / "broken", {})
    (root / "broken" / "mesh.glb").write_bytes((root / "broken" / "mesh.glb").read_bytes()[:4000])
    reported: list[tuple[float, str]] = []
    write_all(mesh, root / "astray", {})
    folders = {name: root / name for name in ("broken", "exact", "large", "astray")}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pictures, "STILL_PX", 60)  # the turntable itself is tested elsewhere
        facts = measure(
            capture,
            folders,
            root / "out",
            lambda percent, step: reported.append((percent, step)),
            {"exact": ["top"]},
            elsewhere=["astray"],
        )
    return root / "out", facts.to_json(), reported


def test_it_is_plain_json(measured: tuple[Path, dict[str, object], object]) -> None:
    assert json.loads(json.dumps(measured[1], allow_nan=False)) == json.loads(json.dumps(measured[1]))


def test_a_perfect_mesh_has_perfect_figures(measured: tuple[Path, dict[str, Any], object]) -> None:
    exact = measured[1]["models"]["exact"]
    mean = exact["quality"]["mean"]
    # all that is left is the rounding of the photographs: uniform in +-0.5/255, MSE 1/12/255^2, 58.9 dB
    assert mean["psnr_masked_db"] > 50
    assert mean["ssim_masked"] > 0.999
    assert mean["silhouette_iou"] > 0.999
    assert mean["depth_median_mm"] < 0.01
    assert mean["depth_within_1mm"] > 0.99
    assert exact["error"] is None
    assert exact["topology"]["genus"] == 1
    assert exact["topology"]["size_m"] == pytest.approx([0.8, 0.2, 0.8], abs=1e-3)
    assert [view["name"] for view in exact["quality"]["views"] if view["held_out"]] == ["top"]
    assert exact["quality"]["held_out"]["views"] == 1


def test_a_mesh_one_per_cent_too_large_is_millimetres_off(measured: tuple[Path, dict[str, Any], object]) -> None:
    # from the top the tube's crown lies at y = 0.1 and moves by 0.01 * 0.1 m = 1 mm towards the camera; the slopes
    # move outwards too, so the median is a little larger than that
    views = {view["name"]: view for view in measured[1]["models"]["large"]["quality"]["views"]}
    assert 0.8 < views["top"]["depth"]["median_mm"] < 4.0
    assert views["top"]["depth"]["bias_mm"] < 0
    exact = measured[1]["models"]["exact"]["quality"]["mean"]
    assert measured[1]["models"]["large"]["quality"]["mean"]["psnr_masked_db"] < exact["psnr_masked_db"]


def test_bad_files_are_an_error_and_spoil_nothing_else(measured: tuple[Path, dict[str, Any], object]) -> None:
    broken = measured[1]["models"]["broken"]
    assert broken["error"]["code"] == "mesh_invalid"
    assert "mesh.glb" in broken["error"]["message"]
    assert broken["error"]["fix"]
    assert broken["quality"] is None
    assert measured[1]["models"]["large"]["quality"] is not None


def test_a_mesh_in_another_frame_is_shown_but_not_compared(measured: tuple[Path, dict[str, Any], object]) -> None:
    astray = measured[1]["models"]["astray"]
    assert (astray["error"], astray["quality"]) == (None, None)
    assert astray["topology"]["watertight"]
    assert "astray/clay.png" in astray["pictures"]


def test_every_named_picture_is_there_and_opens(measured: tuple[Path, dict[str, Any], object]) -> None:
    out, facts, _ = measured
    names = facts["pictures"] + facts["models"]["exact"]["pictures"] + facts["models"]["large"]["pictures"]
    assert "contact.png" in names
    assert "exact/turntable_00.png" in names
    assert facts["models"]["broken"]["pictures"] == []
    for name in names:
        with Image.open(out / "previews" / name) as picture:
            picture.verify()


def test_progress_only_grows_and_ends_at_a_hundred(
    measured: tuple[Path, dict[str, Any], list[tuple[float, str]]],
) -> None:
    percents = [percent for percent, _ in measured[2]]
    assert percents == sorted(percents)
    assert percents[-1] == 100
    assert any("exact" in step for _, step in measured[2])


def test_each_view_is_drawn_for_the_page(measured: tuple[Path, dict[str, Any], object]) -> None:
    """Photograph, render and difference, square and of one size; of models in the capture's frame only."""
    page = measured[0] / "page"
    drawn = {str(file.relative_to(page)) for file in page.rglob("*.jpg")}
    kinds = {
        f"{model}/{index:02d}_{kind}.jpg"
        for model in ("exact", "large")
        for index in range(6)
        for kind in ("render", "difference")
    }
    assert drawn == kinds | {f"{index:02d}_photo.jpg" for index in range(6)}
    sizes = set()
    for name in ("00_photo.jpg", "exact/00_render.jpg", "exact/00_difference.jpg"):
        with Image.open(page / name) as picture:
            sizes.add(picture.size)
    ((width, height),) = sizes
    assert width == height > 30

    def pixels(name: str) -> np.ndarray:
        with Image.open(page / name) as picture:
            return np.asarray(picture).astype(int)

    assert np.abs(pixels("00_photo.jpg") - pixels("exact/00_render.jpg")).mean() < 3  # a perfect mesh
    assert pixels("exact/00_difference.jpg").mean() > pixels("large/00_difference.jpg").mean()  # white is agreement


def test_a_mesh_too_large_for_the_page_gets_a_lighter_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pictures, "STILL_PX", 24)
    mesh = meshes.torus(rows=96, columns=64)
    write_all(mesh, tmp_path / "fusion", {})
    delivered = (tmp_path / "fusion" / "mesh.glb").stat().st_size
    monkeypatch.setattr("meshdrop.models.measure.measure.VIEWER_BYTES", delivered - 1)
    facts = measure(
        photographed(mesh, ["front", "top", "right"]),
        {"fusion": tmp_path / "fusion"},
        tmp_path / "out",
        lambda *_: None,
    ).to_json()["models"]["fusion"]
    copy = tmp_path / "out" / "page" / "fusion" / "mesh.glb"
    assert facts["viewer"]["bytes"] == copy.stat().st_size < delivered
    assert facts["viewer"]["faces"] <= facts["files"]["faces"] == 12_288
    assert (tmp_path / "fusion" / "mesh.glb").stat().st_size == delivered  # what is delivered stays as it is
    monkeypatch.setattr("meshdrop.models.measure.measure.VIEWER_BYTES", 500)
    facts = measure(
        photographed(mesh, ["front", "top", "right"]),
        {"fusion": tmp_path / "fusion"},
        tmp_path / "two",
        lambda *_: None,
    ).to_json()["models"]["fusion"]
    assert facts["viewer"] is None
    assert facts["error"] is None


@pytest.mark.parametrize("up", [(0.0, 0.0, 1.0), (0.0, -1.0, 0.0), (-1.0, 0.0, 0.0), (0.36, -0.48, 0.8)])
def test_a_world_that_lies_is_measured_as_it_is_and_drawn_upright(
    up: tuple[float, float, float], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same object and cameras in a world turned by what the file says: figures and pictures are the same."""
    monkeypatch.setattr(pictures, "STILL_PX", 60)
    mesh = meshes.torus()
    capture = photographed(mesh)
    back = Stance(up).rotation.T
    pose = np.eye(4)
    pose[:3, :3] = back
    views = tuple(replace(view, camera=replace(view.camera, c2w=pose @ view.camera.c2w)) for view in capture.views)
    lying = replace(mesh, vertices=(mesh.vertices.astype(np.float64) @ back.T).astype(np.float32))
    write_all(mesh, tmp_path / "one/m", {})
    write_all(lying, tmp_path / "other/m", Stance(up).facts())
    found = []
    for name, scene in (("one", capture), ("other", replace(capture, views=views))):
        facts = measure(scene, {"m": tmp_path / name / "m"}, tmp_path / name / "out", lambda percent, step: None)
        quality = facts.models["m"].quality
        assert quality is not None, facts.models["m"].error
        assert quality.mean.psnr_masked_db is not None
        assert quality.mean.psnr_masked_db > 50
        found.append(facts)
    for picture in found[0].models["m"].pictures:
        one, other = (
            np.asarray(Image.open(tmp_path / name / "out/previews" / picture)).astype(int) for name in ("one", "other")
        )
        assert np.abs(one - other).mean() < 0.5, picture  # of 255; single precision moves a few rim pixels


def test_the_lighter_copy_stands_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pictures, "STILL_PX", 60)
    monkeypatch.setattr(measuring, "VIEWER_BYTES", 60_000)
    mesh = meshes.torus()
    write_all(mesh, tmp_path / "m", Stance((0.0, 0.0, 1.0)).facts())
    measure(photographed(mesh), {"m": tmp_path / "m"}, tmp_path / "out", lambda percent, step: None, elsewhere=["m"])
    low, high = trimesh.load_scene(tmp_path / "out/page/m/mesh.glb", process=False).bounds
    # the ring lies in x and z, whose z is up here: 0.8 m wide, 0.8 m high
    assert (high - low) == pytest.approx([0.8, 0.8, 0.2], abs=0.05)
