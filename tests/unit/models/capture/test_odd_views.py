"""One view that shows nothing is left out and told; too many of them are a problem of the capture."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from meshdrop.models.capture.capture import CaptureError, read_capture, read_stated_capture
from meshdrop.models.files.limits import CaptureLimits
from meshdrop.models.probe.inspection import inspect
from meshdrop.models.probe.rig_making import make_profile
from tests import formats
from tests.formats import odd_rig
from tests.unit.models.synthetic import ANIMAL, write_png

Damage = Callable[[Path, str], None]


def repainted(place: str, level: int) -> Damage:
    def apply(folder: Path, view: str) -> None:
        file = folder / place / f"{view}.png"
        write_png(file, np.full_like(np.asarray(Image.open(file)), level))

    return apply


def of_another_zoom(folder: Path, view: str) -> None:
    """Picture, depth and mask of half the size: the intrinsics are not its own."""
    for place in ("images", "depth", "masks"):
        file = folder / place / f"{view}.png"
        write_png(file, np.ascontiguousarray(np.asarray(Image.open(file))[::2, ::2]))


ODD = {
    "black": repainted("images", 0),
    "without depth": repainted("depth", 0),
    "of one depth": repainted("depth", 700),
    "an empty mask": repainted("masks", 0),
    "a close-up": repainted("masks", 255),
    "another size": of_another_zoom,
}


@pytest.mark.parametrize("what", ODD)
@pytest.mark.parametrize(("odd", "views"), [(1, 5), (2, 4), (3, 0), (6, 0)])
def test_odd_views_are_left_out_as_long_as_two_thirds_remain(tmp_path: Path, what: str, odd: int, views: int) -> None:
    formats.nerfstudio(tmp_path, odd_rig())
    for number in range(odd):
        ODD[what](tmp_path, f"v{number:03d}")
    if not views:
        with pytest.raises(CaptureError):
            read_capture(tmp_path)
        return
    capture, expectation = read_stated_capture(tmp_path)
    assert [view.name for view in capture.views] == [f"v{number:03d}" for number in range(odd, 6)]
    assert [view.name for view in expectation.views] == [view.name for view in capture.views]
    assert len(expectation.stated.frames or ()) == views
    (warning,) = [warning for warning in capture.warnings if warning.startswith("Left out")]
    assert "v000.png" in warning
    assert odd == 1 or "v001.png" in warning
    assert inspect(tmp_path).ok


def test_three_views_of_which_one_is_odd_are_too_few(tmp_path: Path) -> None:
    formats.nerfstudio(tmp_path, odd_rig()[:3])
    ODD["black"](tmp_path, "v001")
    assert not inspect(tmp_path).ok


def test_a_damaged_picture_is_no_odd_one(tmp_path: Path) -> None:
    """It can be copied again, and must be."""
    formats.nerfstudio(tmp_path, odd_rig())
    file = tmp_path / "images/v002.png"
    file.write_bytes(file.read_bytes()[:-30])
    assert not inspect(tmp_path).ok


def test_a_rig_is_stored_with_all_its_cameras_or_not_at_all(tmp_path: Path) -> None:
    formats.nerfstudio(tmp_path, odd_rig())
    ODD["black"](tmp_path, "v002")
    with pytest.raises(CaptureError, match=r"Not all views can be used.*v002"):
        make_profile("rig1", tmp_path, CaptureLimits())


def test_degrees_for_radians_are_named(tmp_path: Path) -> None:
    """45 degrees are 0.785398 radians."""
    formats.blender(tmp_path, odd_rig(plain=True))
    file = tmp_path / "transforms_train.json"
    table = json.loads(file.read_text())
    file.write_text(json.dumps(table | {"camera_angle_x": 45}))
    problems = inspect(tmp_path).problems
    assert all("no angle of view in radians" in problem.message for problem in problems)
    assert all("0.785398" in problem.fix for problem in problems)


def test_a_camera_that_never_moved_is_named(tmp_path: Path) -> None:
    formats.nerfstudio(tmp_path, odd_rig())
    file = tmp_path / "transforms.json"
    table = json.loads(file.read_text())
    for frame in table["frames"]:
        frame["transform_matrix"] = table["frames"][0]["transform_matrix"]
    file.write_text(json.dumps(table))
    (problem,) = inspect(tmp_path).problems
    assert problem.code == "calib"
    assert "All 6 poses are the same" in problem.message


def test_floating_point_depth_in_metres_is_no_empty_map_where_all_is_nearer_than_one(tmp_path: Path) -> None:
    """Whole metres of it are 0 in every pixel."""
    rig = formats.odd_rig(metres=0.9)
    assert min(ANIMAL.depth(camera).max() for _, camera in rig) < 1
    formats.own(tmp_path / "x", rig)
    for name, camera in rig:
        (tmp_path / f"x/depth/{name}.png").unlink()
        np.save(tmp_path / f"x/depth/{name}.npy", ANIMAL.depth(camera).astype(np.float32))
    table = json.loads((tmp_path / "x/capture.json").read_text())
    for frame in table["frames"]:
        frame["depth_file_path"] = frame["depth_file_path"].replace(".png", ".npy")
    (tmp_path / "x/capture.json").write_text(json.dumps(table | {"depth_unit_m": 1.0}))
    found = inspect(tmp_path / "x")
    assert found.ok, found.problems
    for view, (_, camera) in zip(read_capture(tmp_path / "x").views, rig, strict=True):
        assert view.depth is not None
        np.testing.assert_allclose(view.depth, ANIMAL.depth(camera), atol=1e-6)
