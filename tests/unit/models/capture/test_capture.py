"""Folders to captures: every accepted layout gives the same cameras and arrays, every fault a plain sentence."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from meshdrop.models.capture.capture import Capture, CaptureError, read_capture
from meshdrop.models.files.limits import CaptureLimits
from meshdrop.models.formats.cameras import OPENCV_TO_OPENGL, canonical_camera, opengl_camera_to_world
from meshdrop.models.probe.inspection import inspect
from tests.captures import ground_truth
from tests.unit.models.synthetic import ANIMAL, canonical_rig, photograph, ring_rig, write_canonical, write_png

SIZE = 64


def codes(folder: Path, limits: CaptureLimits | None = None) -> list[str]:
    with pytest.raises(CaptureError) as caught:
        read_capture(folder, limits)
    return [problem.code for problem in caught.value.problems]


def write_framed(folder: Path, *, axes: str = "opengl", pose: str = "camera_to_world", **extra: Any) -> Path:
    """A ring of four with depth, its poses written in the stated convention; ``extra`` joins transforms.json."""
    frames = []
    for name, camera in ring_rig(4, SIZE):
        depth = ANIMAL.depth(camera)
        write_png(folder / f"images/{name}.png", photograph(depth))
        write_png(folder / f"depth/{name}.png", np.rint(depth * 1000).astype(np.uint16))
        matrix = camera.c2w @ OPENCV_TO_OPENGL if axes == "opencv" else camera.c2w
        matrix = np.linalg.inv(matrix).astype(np.float64) if pose == "world_to_camera" else matrix
        files = {"file_path": f"images/{name}.png", "depth_file_path": f"depth/{name}.png"}
        frames.append({**files, "transform_matrix": matrix.tolist()})
    table = {"fl_x": 1.8 * SIZE, "w": SIZE, "h": SIZE, "frames": frames, **extra}
    (folder / "transforms.json").write_text(json.dumps(table))
    return folder


def centres(capture: Capture) -> np.ndarray:
    return np.stack([view.camera.centre for view in capture.views])


RING_CENTRES = np.stack([camera.centre for _, camera in ring_rig(4, SIZE)])


# -- reading -------------------------------------------------------------------------------------------------------


def test_a_canonical_folder_becomes_a_capture(tmp_path: Path) -> None:
    sidecar = {"labels": {"part": "A7"}, "depth_unit_m": 0.001}
    capture = read_capture(write_canonical(tmp_path / "thing", size=SIZE, sidecar=sidecar))
    assert (capture.name, capture.layout, capture.depth_unit_m, capture.labels) == (
        "thing",
        "canonical",
        0.001,
        {"part": "A7"},
    )
    for view, (name, camera) in zip(capture.views, canonical_rig(SIZE), strict=True):
        true = ANIMAL.depth(camera)
        assert view.name == name
        assert (view.rgb.dtype, view.mask.dtype) == (np.dtype(np.uint8), np.dtype(np.float32))
        assert view.depth is not None
        assert view.depth.dtype == np.float32
        # Rounded to whole millimetres: at most half of one away.
        assert np.abs(view.depth - true).max() <= 0.000501
        assert np.array_equal(view.mask > 0, true > 0)
        assert view.mask_source == "depth"
        assert np.allclose(view.camera.c2w, camera.c2w)
        assert view.camera.fx == pytest.approx(1111 * SIZE / 512)


@pytest.mark.parametrize("axes", ["opengl", "opencv"])
@pytest.mark.parametrize("pose", ["camera_to_world", "world_to_camera"])
def test_every_stated_convention_gives_the_same_cameras(tmp_path: Path, axes: str, pose: str) -> None:
    folder = write_framed(tmp_path / "x", axes=axes, pose=pose)
    (folder / "capture.json").write_text(json.dumps({"camera_axes": axes, "pose": pose}))
    capture = read_capture(folder)
    assert np.allclose(centres(capture), RING_CENTRES)
    for view, (_, camera) in zip(capture.views, ring_rig(4, SIZE), strict=True):
        assert np.allclose(view.camera.c2w, camera.c2w)
    assert inspect(folder).ok


def test_conventions_convert_there_and_back() -> None:
    """An OpenCV camera at (0, 0, 5) looking at the origin: y down, z forward, so its z axis is world -z."""
    opencv = np.diag([1.0, -1.0, -1.0, 1.0])
    opencv[2, 3] = 5.0
    expected = np.eye(4)
    expected[2, 3] = 5.0
    assert np.array_equal(opengl_camera_to_world(opencv, "opencv", "camera_to_world"), expected)
    assert np.allclose(opengl_camera_to_world(np.linalg.inv(opencv), "opencv", "world_to_camera"), expected)


def test_applied_transform_and_scale_are_undone(tmp_path: Path) -> None:
    """nerfstudio stores ``scale * A @ original``: here a cyclic exchange of axes and half the size."""
    A = np.array([[0, 1.0, 0, 0], [0, 0, 1.0, 0], [1.0, 0, 0, 0], [0, 0, 0, 1.0]])
    folder = write_framed(tmp_path / "x", applied_transform=A[:3].tolist(), applied_scale=0.5)
    table = json.loads((folder / "transforms.json").read_text())
    for frame in table["frames"]:
        stored = A @ np.array(frame["transform_matrix"])
        stored[:3, 3] *= 0.5
        frame["transform_matrix"] = stored.tolist()
    (folder / "transforms.json").write_text(json.dumps(table))
    assert np.allclose(centres(read_capture(folder)), RING_CENTRES)
    assert inspect(folder).ok


def test_the_field_of_view_stands_in_for_the_focal_length(tmp_path: Path) -> None:
    """90 degrees across 64 px: the focal length is 32 px."""
    folder = write_framed(tmp_path / "x", camera_angle_x=np.pi / 2)
    table = json.loads((folder / "transforms.json").read_text())
    del table["fl_x"]
    (folder / "transforms.json").write_text(json.dumps(table))
    camera = read_capture(folder).views[0].camera
    assert (camera.fx, camera.fy, camera.cx, camera.cy) == pytest.approx((32, 32, 32, 32))


def test_the_canonical_focal_length_can_be_corrected_by_one_line(tmp_path: Path) -> None:
    folder = write_canonical(tmp_path / "x", sidecar={"fl_x": 140, "fl_y": 141, "cx": 31})
    camera = read_capture(folder).views[0].camera
    assert (camera.fx, camera.fy, camera.cx, camera.cy) == (140, 141, 31, 32)


def test_poses_with_few_digits_become_exact_rotations(tmp_path: Path) -> None:
    folder = write_framed(tmp_path / "x")
    table = json.loads((folder / "transforms.json").read_text())
    for frame in table["frames"]:
        frame["transform_matrix"] = np.round(frame["transform_matrix"], 4).tolist()
    (folder / "transforms.json").write_text(json.dumps(table))
    for view in read_capture(folder).views:
        R = view.camera.c2w[:3, :3]
        assert np.abs(R.T @ R - np.eye(3)).max() < 1e-12


def test_without_depth_the_border_colour_is_keyed_with_a_warning(tmp_path: Path) -> None:
    folder = write_canonical(tmp_path / "x")
    for file in (folder / "depth").iterdir():
        file.unlink()
    capture = read_capture(folder)
    assert capture.depth_unit_m is None
    assert {view.mask_source for view in capture.views} == {"border"}
    assert len(capture.warnings) == 2
    true = ANIMAL.depth(canonical_camera("front", 64, 64)) > 0
    assert (capture.views[0].mask > 0).sum() == pytest.approx(true.sum(), rel=0.02)


def test_three_views_are_enough(tmp_path: Path) -> None:
    folder = write_canonical(tmp_path / "x", sidecar={"views": ["front", "right", "top"]})
    for index in (1, 3, 5):
        (folder / f"views/view_{index:02d}.png").unlink()
        (folder / f"depth/depth_{index:02d}.png").unlink()
    assert [view.name for view in read_capture(folder).views] == ["front", "right", "top"]
    assert inspect(folder).ok


@pytest.mark.parametrize("name", ["spot", "bob", "fuze", "spot-noisy"])
def test_captures_with_ground_truth_are_ready(name: str) -> None:
    found = inspect(ground_truth(name) / "capture")
    assert found.ok, found.lines()
    assert found.warnings == ()
    assert len(found.views) == 6
    json.dumps(found.to_json(), allow_nan=False)


# -- everything that is wrong, at once -----------------------------------------------------------------------------


def test_all_problems_are_reported_together(tmp_path: Path) -> None:
    folder = write_canonical(tmp_path / "x")
    (folder / "depth/depth_03.png").unlink()
    (folder / "views/view_01.png").write_bytes(b"GIF89a" + bytes(100))
    write_png(folder / "depth/depth_02.png", np.zeros((SIZE, SIZE), np.uint8))
    (folder / "views/view_05.png").unlink()
    (folder / "views/view_05.png").symlink_to("/etc/hostname")
    assert sorted(codes(folder)) == ["depth_format", "not_png", "set", "symlink"]


def test_an_empty_folder_says_what_is_expected(tmp_path: Path) -> None:
    with pytest.raises(CaptureError, match="No capture was recognised"):
        read_capture(tmp_path)


def test_a_missing_folder_is_a_capture_error(tmp_path: Path) -> None:
    assert codes(tmp_path / "nothing") == ["not_regular"]


def test_a_folder_that_is_a_symlink_is_refused(tmp_path: Path) -> None:
    write_canonical(tmp_path / "real")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    assert codes(tmp_path / "link") == ["not_regular"]


def test_a_symlinked_subfolder_is_refused(tmp_path: Path) -> None:
    folder = write_canonical(tmp_path / "x")
    (folder / "depth").rename(tmp_path / "elsewhere")
    (folder / "depth").symlink_to(tmp_path / "elsewhere")
    assert codes(folder) == ["symlink"]


def test_a_sparse_terabyte_is_refused_unread(tmp_path: Path) -> None:
    folder = write_canonical(tmp_path / "x")
    os.truncate(folder / "views/view_00.png", 10**12)
    assert codes(folder) == ["too_big"]


def test_the_whole_capture_has_a_limit(tmp_path: Path) -> None:
    folder = write_canonical(tmp_path / "x")
    size = sum(file.stat().st_size for file in folder.rglob("*.png"))
    assert "too_big" in codes(folder, CaptureLimits(max_capture_bytes=size - 1))
    read_capture(folder, CaptureLimits(max_capture_bytes=size))


def test_all_photographs_together_have_a_limit(tmp_path: Path) -> None:
    """Six views of 64 x 64 are 24,576 pixels; the fifth of them passes 20,000."""
    folder = write_canonical(tmp_path / "x")
    with pytest.raises(CaptureError) as refused:
        read_capture(folder, CaptureLimits(max_capture_pixels=20_000))
    (problem,) = refused.value.problems
    assert (problem.code, problem.file) == ("too_big", "views/view_04.png")
    read_capture(folder, CaptureLimits(max_capture_pixels=24_576))


def test_all_depth_together_has_the_same_limit(tmp_path: Path) -> None:
    """A few kilobytes may unpack to millions of pixels, whatever size the photographs have."""
    folder = write_canonical(tmp_path / "x")
    for file in (folder / "depth").iterdir():
        with Image.open(file) as image:
            write_png(file, np.asarray(image).astype(np.uint16).repeat(2, axis=0).repeat(2, axis=1))
    with pytest.raises(CaptureError) as refused:
        read_capture(folder, CaptureLimits(max_capture_pixels=80_000))
    (problem,) = refused.value.problems
    assert (problem.code, problem.file) == ("too_big", "depth/depth_04.png")
    read_capture(folder, CaptureLimits(max_capture_pixels=98_304))


def test_many_files_are_refused_early(tmp_path: Path) -> None:
    folder = write_canonical(tmp_path / "x")
    for index in range(CaptureLimits().max_entries + 1):
        (folder / f"{index}.bin").touch()
    assert "too_many" in codes(folder)


def test_deep_folders_are_refused(tmp_path: Path) -> None:
    folder = write_canonical(tmp_path / "x")
    (folder / "a/b/c/d/e").mkdir(parents=True)
    assert "depth" in codes(folder)


def test_an_oversized_sidecar_is_refused_unread(tmp_path: Path) -> None:
    folder = write_canonical(tmp_path / "x")
    (folder / "capture.json").write_bytes(b" " * 70_000)
    assert codes(folder) == ["sidecar"]
    os.truncate(folder / "capture.json", 10**12)
    assert codes(folder) == ["sidecar"]


def frame_edited(tmp_path: Path, edit: dict[str, Any], **table_edit: Any) -> Path:
    folder = write_framed(tmp_path / "x")
    table = json.loads((folder / "transforms.json").read_text()) | table_edit
    table["frames"][1] |= edit
    (folder / "transforms.json").write_text(json.dumps(table))
    return folder


@pytest.mark.parametrize(
    "edit",
    [
        {"transform_matrix": np.diag([2.0, 2.0, 2.0, 1.0]).tolist()},
        {"transform_matrix": np.diag([1.0, 1.0, -1.0, 1.0]).tolist()},
        {"transform_matrix": np.diag([0.0, 1.0, 1.0, 1.0]).tolist()},
        {"cx": 70},
        {"cy": -3},
        {"fl_x": 100_000},
        {"fl_x": 1},
    ],
    ids=["scaled", "mirrored", "singular", "cx outside", "cy outside", "too long", "too short"],
)
def test_impossible_cameras_are_refused_naming_the_view(tmp_path: Path, edit: dict[str, Any]) -> None:
    with pytest.raises(CaptureError, match="r1") as caught:
        read_capture(frame_edited(tmp_path, edit))
    assert [problem.code for problem in caught.value.problems] == ["calib"]


def test_a_singular_world_to_camera_matrix_is_refused(tmp_path: Path) -> None:
    folder = frame_edited(tmp_path, {"transform_matrix": np.diag([0.0, 1, 1, 1]).tolist()}, pose="world_to_camera")
    assert "calib" in codes(folder)


def test_cameras_kilometres_apart_are_refused(tmp_path: Path) -> None:
    """Poses in millimetres: 1.8 m reads as 1,800 m."""
    folder = write_framed(tmp_path / "x")
    table = json.loads((folder / "transforms.json").read_text())
    for frame in table["frames"]:
        for row in frame["transform_matrix"][:3]:
            row[3] *= 1000
    (folder / "transforms.json").write_text(json.dumps(table))
    assert codes(folder) == ["calib"]


def test_a_mask_that_shows_nothing_or_everything_is_refused(tmp_path: Path) -> None:
    for level in (0, 255):
        folder = write_canonical(tmp_path / str(level))
        for index in range(6):
            write_png(folder / f"masks/mask_{index:02d}.png", np.full((SIZE, SIZE), level, np.uint8))
        assert set(codes(folder)) == {"semantic"}


def test_depth_of_another_size_but_the_same_shape_is_recognised_and_said_once(tmp_path: Path) -> None:
    """Means of two by two pixels, where all four were measured."""
    folder = write_canonical(tmp_path / "x")
    whole = read_capture(folder)
    for file in sorted((folder / "depth").iterdir()):
        with Image.open(file) as image:
            four = np.asarray(image).astype(np.float64).reshape(SIZE // 2, 2, SIZE // 2, 2)
        mean = np.where(four.min(axis=(1, 3)) > 0, four.mean(axis=(1, 3)), 0)
        write_png(file, np.rint(mean).astype(np.uint16))
    capture = read_capture(folder)
    (told,) = [warning for warning in capture.warnings if "same shape" in warning]
    assert told == (
        "6 times depth of 32 x 32 for pictures of 64 x 64, which have the same shape: what lies between was "
        "interpolated."
    )
    for view, other in zip(capture.views, whole.views, strict=True):
        assert view.depth is not None
        assert other.depth is not None
        both = (view.depth > 0) & (other.depth > 0)
        repeated = view.depth[::2, ::2].repeat(2, axis=0).repeat(2, axis=1)
        assert np.median(np.abs(view.depth - other.depth)[both]) < np.median(np.abs(repeated - other.depth)[both])


def test_the_largest_number_of_depth_means_nothing_measured(tmp_path: Path) -> None:
    folder = write_canonical(tmp_path / "x")
    whole = read_capture(folder)
    for file in sorted((folder / "depth").iterdir()):
        with Image.open(file) as image:
            depth = np.asarray(image).astype(np.uint16)
        write_png(file, np.where(depth == 0, 65535, depth).astype(np.uint16))
    capture = read_capture(folder)
    (told,) = [warning for warning in capture.warnings if "65535" in warning]
    assert told.startswith("6 pictures: depth 65535 means nothing measured (")
    for view, other in zip(capture.views, whole.views, strict=True):
        assert view.depth is not None
        assert other.depth is not None
        assert np.array_equal(view.depth, other.depth)


def test_decoder_warnings_and_errors_never_escape(tmp_path: Path) -> None:
    """A file that passes the byte checks and fails in Pillow would be a ``png_decode`` problem, not a traceback."""
    folder = write_canonical(tmp_path / "x")
    limit = Image.MAX_IMAGE_PIXELS
    try:
        Image.MAX_IMAGE_PIXELS = 100
        assert set(codes(folder)) == {"png_decode"}
    finally:
        Image.MAX_IMAGE_PIXELS = limit


def test_the_inspection_of_a_bad_folder_is_plain_text_and_json(tmp_path: Path) -> None:
    folder = write_canonical(tmp_path / "x\x1b[31m")
    (folder / "views/view_00.png").unlink()
    found = inspect(folder)
    assert not found.ok
    text = "\n".join(found.lines())
    assert "[set] views/view_00.png: The file is missing." in text
    assert "\x1b" not in text + json.dumps(found.to_json())


def test_a_contradiction_is_a_problem_with_the_line_that_cures_it(tmp_path: Path) -> None:
    folder = write_framed(tmp_path / "x", axes="opencv")
    found = inspect(folder)
    assert [problem.code for problem in found.problems] == ["convention"]
    assert '{"camera_axes": "opencv"}' in found.problems[0].fix
    (folder / "capture.json").write_text('{"camera_axes": "opencv"}')
    assert inspect(folder).ok


def test_world_to_camera_poses_are_recognised_though_their_centres_coincide(tmp_path: Path) -> None:
    """Inverting a camera that looks at the origin from 1.9 m puts every centre at (0, 0, -1.9)."""
    folder = write_framed(tmp_path / "x", pose="world_to_camera")
    found = inspect(folder)
    assert [problem.code for problem in found.problems] == ["convention"]
    assert '{"pose": "world_to_camera"}' in found.problems[0].fix


def test_reading_changes_nothing(tmp_path: Path) -> None:
    folder = write_canonical(tmp_path / "x")
    before = {file: (file.stat().st_mtime_ns, file.stat().st_size) for file in folder.rglob("*")}
    inspect(folder)
    assert {file: (file.stat().st_mtime_ns, file.stat().st_size) for file in folder.rglob("*")} == before


def test_the_capture_is_frozen(tmp_path: Path) -> None:
    capture = read_capture(write_canonical(tmp_path / "x"))
    with pytest.raises(dataclasses.FrozenInstanceError):
        capture.name = "y"  # type: ignore[misc]
