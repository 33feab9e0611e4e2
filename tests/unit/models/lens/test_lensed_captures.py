"""Captures taken through a lens come out as those of a pinhole do, whichever way the lens is stated.

The pictures are ray-cast through OpenCV's own inverse of its lenses, which is none of the formulas under test.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from meshdrop.models.capture.capture import Capture, CaptureError, read_capture
from meshdrop.models.capture.rig_profile import Rigs
from meshdrop.models.files.limits import CaptureLimits
from meshdrop.models.formats.cameras import Camera, look_at
from meshdrop.models.fusion.model import Fusion
from meshdrop.models.probe.inspection import inspect
from meshdrop.models.probe.rig_making import make_profile
from tests import formats
from tests.unit.models.synthetic import ANIMAL, Scene, write_png

Array = NDArray[np.float64]
UNIT_M = 1e-4
WIDTH, HEIGHT = 200, 160
BROWN = {"k1": -0.3, "k2": 0.12, "p1": 0.004, "p2": -0.003}
FISHEYE = {"k1": 0.05, "k2": -0.02, "k3": 0.004, "k4": -0.001}


def ring(focal: float, distance: float) -> dict[str, Camera]:
    """Eight cameras close by, so that the animal reaches far out in their pictures."""
    found = {}
    for n in range(8):
        angle = 0.2 + n * np.pi / 4
        c2w = look_at((np.sin(angle), (-1) ** n * 0.5, np.cos(angle)), (0.0, 1.0, 0.0), distance)
        found[f"v{n}"] = Camera(WIDTH, HEIGHT, focal, 1.01 * focal, WIDTH / 2 + 3, HEIGHT / 2 - 4, c2w)
    return found


RINGS = {"brown": ring(0.7 * WIDTH, 0.9), "fisheye": ring(0.45 * WIDTH, 0.7)}
NUMBERS: dict[str, dict[str, float]] = {"brown": BROWN, "fisheye": FISHEYE}


def plane(camera: Camera, sort: str) -> tuple[Array, Array]:
    """The rays (x, y, 1) of every pixel's centre, by OpenCV's inverse."""
    v, u = np.mgrid[0:HEIGHT, 0:WIDTH] + 0.5
    points = np.stack([u, v], -1).reshape(-1, 1, 2)
    matrix = np.array([[camera.fx, 0, camera.cx], [0, camera.fy, camera.cy], [0, 0, 1]])
    numbers = np.array(list(NUMBERS[sort].values()))
    exact = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 200, 1e-12)
    if sort == "brown":
        found = cv2.undistortPoints(points, matrix, numbers, criteria=exact)
    else:
        found = cv2.fisheye.undistortPoints(points, matrix, numbers, criteria=exact)
    rays = np.asarray(found, np.float64).reshape(HEIGHT, WIDTH, 2)
    return rays[..., 0], rays[..., 1]


def painted(scene: Scene, camera: Camera, x: Array, y: Array) -> tuple[NDArray[np.uint8], Array]:
    """Colours that vary over space, on grey, and planar depth."""
    depth = scene.depth_along(camera, x, y)
    points = camera.unproject(x * camera.fx + camera.cx, y * camera.fy + camera.cy, depth)
    waves = 127.5 + 72.5 * np.sin(points * np.array([19.0, 17.0, 18.0]))
    return np.rint(np.where(depth[..., None] > 0, waves, 110)).astype(np.uint8), depth


def write(folder: Path, sort: str, scene: Scene = ANIMAL) -> dict[str, Camera]:
    """Pictures, depth and masks as the lens gives them."""
    for name, camera in RINGS[sort].items():
        rgb, depth = painted(scene, camera, *plane(camera, sort))
        write_png(folder / f"images/{name}.png", rgb)
        write_png(folder / f"depth/{name}.png", np.rint(depth / UNIT_M).astype(np.uint16))
        write_png(folder / f"masks/{name}.png", np.where(depth > 0, 255, 0).astype(np.uint8))
    return RINGS[sort]


def frame(name: str, camera: Camera) -> dict[str, Any]:
    return {
        "file_path": f"images/{name}.png",
        "depth_file_path": f"depth/{name}.png",
        "mask_path": f"masks/{name}.png",
        "transform_matrix": camera.c2w.tolist(),
        **formats._intrinsics(camera),
    }


def stated(folder: Path, sort: str, extra: Mapping[str, Any], file: str = "transforms.json", **more: Any) -> None:
    frames = [frame(name, camera) for name, camera in RINGS[sort].items()]
    (folder / file).write_text(json.dumps({"depth_unit_m": UNIT_M, **extra, **more, "frames": frames}))


def for_all(folder: Path, sort: str) -> None:
    stated(folder, sort, NUMBERS[sort] | ({"is_fisheye": True} if sort == "fisheye" else {}))


def by_name(folder: Path, sort: str) -> None:
    model = "OPENCV" if sort == "brown" else "OPENCV_FISHEYE"
    stated(folder, sort, NUMBERS[sort] | {"camera_model": model})


def for_each(folder: Path, sort: str) -> None:
    """In each frame, over a shared lens that is another."""
    model = "OPENCV" if sort == "brown" else "OPENCV_FISHEYE"
    frames = [frame(name, camera) | NUMBERS[sort] for name, camera in RINGS[sort].items()]
    table = {"depth_unit_m": UNIT_M, "camera_model": model, "k1": 7.0, "frames": frames}
    (folder / "transforms.json").write_text(json.dumps(table))


def in_our_own(folder: Path, sort: str) -> None:
    model = {"camera_model": "OPENCV_FISHEYE"} if sort == "fisheye" else {}
    stated(folder, sort, NUMBERS[sort] | model, "capture.json")


def beside_theirs(folder: Path, sort: str) -> None:
    """transforms.json states another lens, and capture.json the right one."""
    stated(folder, sort, {"k1": 0.4})
    model = {"camera_model": "OPENCV_FISHEYE"} if sort == "fisheye" else {}
    (folder / "capture.json").write_text(json.dumps(NUMBERS[sort] | model))


def by_colmap(folder: Path, sort: str) -> None:
    model = "OPENCV" if sort == "brown" else "OPENCV_FISHEYE"
    rig = list(RINGS[sort].items())
    (folder / "sparse/0").mkdir(parents=True)
    files = formats.colmap_text_files(rig)
    lines = files["sparse/0/cameras.txt"].decode().splitlines()
    numbers = " ".join(str(value) for value in NUMBERS[sort].values())
    lines = [f"{line.replace('PINHOLE', model)} {numbers}" if " PINHOLE " in line else line for line in lines]
    assert sum(model in line for line in lines) == len(rig)
    (folder / "sparse/0/cameras.txt").write_text("\n".join(lines) + "\n")
    (folder / "sparse/0/images.txt").write_bytes(files["sparse/0/images.txt"])
    (folder / "capture.json").write_text(json.dumps({"depth_unit_m": UNIT_M}))


WAYS: dict[str, Callable[[Path, str], None]] = {
    "for all frames": for_all,
    "by name": by_name,
    "for each frame": for_each,
    "in capture.json": in_our_own,
    "in capture.json beside transforms.json": beside_theirs,
    "by COLMAP": by_colmap,
}


def assert_as_a_pinhole_sees_it(capture: Capture, scene: Scene = ANIMAL) -> None:
    """Each view against the same scene, ray-cast by its own camera."""
    for view in capture.views:
        camera, depth = view.camera, view.depth
        v, u = np.mgrid[0:HEIGHT, 0:WIDTH] + 0.5
        rgb, true = painted(scene, camera, (u - camera.cx) / camera.fx, (v - camera.cy) / camera.fy)
        assert depth is not None
        object_ = true > 0
        rim = ndimage.binary_dilation(object_) & ~ndimage.binary_erosion(object_)
        assert ((view.mask >= 0.5) != object_)[~rim].mean() < 1e-4
        assert ((depth > 0) != object_)[~rim].mean() < 1e-4
        both = object_ & (depth > 0)
        slope = ndimage.maximum_filter(true, 3) - ndimage.minimum_filter(np.where(object_, true, 9), 3)
        assert (np.abs(depth - true)[both] <= slope[both] + 2 * UNIT_M).mean() > 0.995
        smooth = object_ & ~ndimage.binary_dilation(slope > 0.03, iterations=2)
        error = np.abs(view.rgb.astype(int) - rgb)[smooth]
        assert smooth.mean() > 0.02
        assert np.median(np.abs(depth - true)[smooth]) < UNIT_M
        assert error.mean() < 1.5


@pytest.mark.parametrize("sort", NUMBERS)
@pytest.mark.parametrize("way", WAYS)
def test_a_lens_is_undone_whichever_way_it_is_stated(tmp_path: Path, way: str, sort: str) -> None:
    rig = write(tmp_path / "x", sort)
    WAYS[way](tmp_path / "x", sort)
    capture = read_capture(tmp_path / "x")
    assert [view.name for view in capture.views] == list(rig)
    assert_as_a_pinhole_sees_it(capture)
    told = [line for line in capture.warnings if line.startswith("Lens undone")]
    assert len(told) == 1
    assert f"Lens undone: {'OPENCV' if sort == 'brown' else 'OPENCV_FISHEYE'}, up to " in told[0]
    assert "in 8 views" in told[0]


@pytest.mark.parametrize("sort", NUMBERS)
def test_the_probe_verifies_what_came_through_a_lens_and_not_what_was_taken_for_a_pinhole(
    tmp_path: Path, sort: str
) -> None:
    write(tmp_path / "x", sort)
    for_all(tmp_path / "x", sort)
    found = inspect(tmp_path / "x")
    assert found.ok, found.problems
    assert found.probe is not None
    assert found.probe.verdict == "verified"
    assert found.probe.stated is not None
    stated(tmp_path / "x", sort, {})
    bent = inspect(tmp_path / "x")
    assert bent.probe is not None
    assert bent.probe.stated is not None
    assert bent.probe.stated.score < found.probe.stated.score - 0.05


@pytest.mark.parametrize("sort", NUMBERS)
def test_a_wrong_focal_length_is_cured_in_the_numbers_of_the_file(tmp_path: Path, sort: str) -> None:
    """The pinhole's is another, and would be taken for the lens's when it is written into capture.json."""
    write(tmp_path / "x", sort)
    right = RINGS[sort]["v0"].fx
    said = {"fl_x": 0.8 * right, "fl_y": 0.8 * 1.01 * right}
    frames = [frame(name, camera) | said for name, camera in RINGS[sort].items()]
    table = {"depth_unit_m": UNIT_M, "is_fisheye": sort == "fisheye", **NUMBERS[sort], "frames": frames}
    (tmp_path / "x/transforms.json").write_text(json.dumps(table))
    (problem,) = inspect(tmp_path / "x").problems
    assert f"the stated focal length of {0.8 * right:.0f} px; about {right:.0f} px fits" in problem.message
    assert f'"fl_x": {right:.0f}' in problem.fix


def distance(points: Array) -> Array:
    """From the animal's surface, metres; it is made of balls."""
    balls = np.array(ANIMAL.spheres)
    away: Array = (np.linalg.norm(points[:, None] - balls[:, :3], axis=-1) - balls[:, 3]).min(axis=1)
    return np.abs(away)


@pytest.mark.parametrize("sort", NUMBERS)
def test_the_mesh_is_as_good_as_without_a_lens(tmp_path: Path, sort: str) -> None:
    write(tmp_path / "x", sort)
    for_all(tmp_path / "x", sort)
    through = read_capture(tmp_path / "x")
    views = []
    for view in through.views:
        camera = view.camera
        v, u = np.mgrid[0:HEIGHT, 0:WIDTH] + 0.5
        rgb, depth = painted(ANIMAL, camera, (u - camera.cx) / camera.fx, (v - camera.cy) / camera.fy)
        counted = (np.rint(depth / UNIT_M) * UNIT_M).astype(np.float32)
        views.append(replace(view, rgb=rgb, depth=counted, mask=(depth > 0).astype(np.float32)))
    errors = []
    for capture in (through, replace(through, views=tuple(views))):
        settings = {"resolution": 96, "texture_size": 256, "max_faces": 30_000}
        mesh = Fusion(settings, lambda percent, step: None).inference(capture, tmp_path).mesh
        away = distance(np.asarray(mesh.vertices, np.float64))
        errors.append((float(away.mean()), float(np.percentile(away, 95))))
    (mean, most), (mean_without, most_without) = errors
    assert mean < 1.2 * mean_without
    assert most < 1.2 * most_without


@pytest.mark.parametrize("sort", NUMBERS)
def test_a_rig_made_from_a_lensed_capture_undoes_the_lens_of_later_ones(tmp_path: Path, sort: str) -> None:
    write(tmp_path / "x", sort)
    for_all(tmp_path / "x", sort)
    profile = make_profile("rig1", tmp_path / "x", CaptureLimits()).profile
    later = Scene(spheres=((0.02, 0.0, 0.05, 0.22), (0.1, 0.2, -0.1, 0.08)))
    write(tmp_path / "later", sort, later)
    capture = read_capture(tmp_path / "later", rigs=Rigs({"rig1": profile.text}, "rig1"))
    assert capture.layout == "rig"
    assert_as_a_pinhole_sees_it(capture, later)
    first = read_capture(tmp_path / "x")
    for ours, theirs in zip(capture.views, first.views, strict=True):
        assert replace(ours.camera, c2w=theirs.camera.c2w) == theirs.camera
        np.testing.assert_allclose(ours.camera.c2w, theirs.camera.c2w, atol=1e-12)


def test_a_rig_made_from_cameras_alone_keeps_the_lens(tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    for_each(tmp_path / "x", "fisheye")
    profile = make_profile("rig1", tmp_path / "x/transforms.json", CaptureLimits()).profile
    lenses = {frame.intrinsics.lens for frame in profile.stated.frames or ()}
    assert {lens and (lens.model, lens.numbers) for lens in lenses} == {("OPENCV_FISHEYE", tuple(FISHEYE.values()))}


def test_one_lens_that_cannot_be_is_one_problem_that_counts_its_views(tmp_path: Path) -> None:
    write(tmp_path / "x", "brown")
    stated(tmp_path / "x", "brown", {"k1": -2.0})
    with pytest.raises(CaptureError) as caught:
        read_capture(tmp_path / "x")
    (problem,) = caught.value.problems
    assert problem.code == "calib"
    assert problem.message.startswith("View v0 and 7 more: the formula of the lens (SIMPLE_RADIAL) folds")


def test_an_object_that_a_pinhole_has_no_place_for_is_told_of(tmp_path: Path) -> None:
    """In the corner of one picture of a fisheye, more than 65 degrees from its axis."""
    write(tmp_path / "x", "fisheye")
    for_all(tmp_path / "x", "fisheye")
    corner = np.zeros((HEIGHT, WIDTH), np.uint8)
    corner[:8, :8] = 255
    write_png(tmp_path / "x/masks/v3.png", corner)
    found = read_capture(tmp_path / "x")
    assert "v3" not in {view.name for view in found.views}
    assert any("Left out: images/v3.png: " in warning and "cut off" in warning for warning in found.warnings)


def test_no_lens_leaves_pictures_and_cameras_as_they_are(tmp_path: Path) -> None:
    """Nor does one that moves nothing by a twentieth of a pixel."""
    write(tmp_path / "x", "brown")
    stated(tmp_path / "x", "brown", {})
    plain = read_capture(tmp_path / "x")
    stated(tmp_path / "x", "brown", {"camera_model": "OPENCV", "k1": 1e-5, "k2": 0.0})
    hardly = read_capture(tmp_path / "x")
    for one, other in zip(plain.views, hardly.views, strict=True):
        assert np.array_equal(one.rgb, other.rgb)
        assert np.array_equal(one.mask, other.mask)
        assert one.camera.fx == other.camera.fx
    assert not [line for line in (*plain.warnings, *hardly.warnings) if "Lens" in line]
