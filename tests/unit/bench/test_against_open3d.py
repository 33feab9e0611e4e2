"""The bench that compares our mesh with Open3D's: what is handed over, what comes back, what is measured."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bench.against_open3d import ColouredMesh, NotMade, agreements, hand_over, made_by_open3d, open3d_frame
from meshdrop.models.capture.capture import Capture, View
from meshdrop.models.formats.cameras import Camera
from tests.unit.models.synthetic import BALL, capture_of, points_of, ring_rig


@pytest.fixture
def capture() -> Capture:
    return capture_of(BALL, ring_rig(3, size=32))


def wall(ahead_m: float, from_x: float) -> ColouredMesh:
    """A grey square of 4 m across the view, ``ahead_m`` before the camera, from ``from_x`` to the right."""
    corners = [(from_x, -2, -ahead_m), (2, -2, -ahead_m), (2, 2, -ahead_m), (from_x, 2, -ahead_m)]
    faces = np.array([(0, 1, 2), (0, 2, 3)], np.int32)
    return ColouredMesh(np.array(corners, np.float32), faces, np.full((4, 3), 102 / 255, np.float32))


def wall_seen() -> Capture:
    """A view of a grey wall 1 m ahead, measured everywhere; all of it belongs to the object."""
    camera = Camera(40, 40, 40.0, 40.0, 20.0, 20.0, np.eye(4))
    shown = np.full((40, 40, 3), 102, np.uint8)
    view = View("wall", camera, shown, np.ones((40, 40), np.float32), np.ones((40, 40), np.float32), "file")
    return Capture("wall", "stated", (view,), 0.001)


def test_a_measured_point_falls_on_its_own_pixel_by_the_cameras_handed_over(capture: Capture) -> None:
    """Open3D counts pixels from the first one's centre and looks along +z."""
    for view in capture.views:
        frame = open3d_frame(view)
        assert frame is not None
        assert view.depth is not None
        rows, columns = np.nonzero(frame["depth"])
        world = points_of(view.camera, frame["depth"])[rows, columns]
        local = frame["world_to_camera"] @ np.c_[world, np.ones(len(world))].T
        u, v, z = frame["intrinsics"] @ local[:3]
        np.testing.assert_allclose(u / z, columns, atol=1e-6)
        np.testing.assert_allclose(v / z, rows, atol=1e-6)
        np.testing.assert_allclose(z, view.depth[rows, columns], atol=1e-6)


def test_what_the_mask_leaves_out_is_not_handed_over() -> None:
    (view,) = wall_seen().views
    view.mask[:, :10] = 0
    frame = open3d_frame(view)
    assert frame is not None
    assert (frame["depth"][:, :10] == 0).all()
    assert (frame["depth"][:, 10:] == 1).all()


def test_depth_errors_have_the_sign_of_the_report() -> None:
    """5 mm behind the wall is +5; the colour is the photograph's, so that nothing but rounding is left."""
    found = agreements(wall(1.005, -2).draw, wall_seen(), (), 5.0).all_views
    assert found.covered == 1.0
    assert found.median_mm == pytest.approx(5.0, abs=0.01)
    assert found.bias_mm == pytest.approx(5.0, abs=0.01)
    assert found.psnr_hit_db is not None
    assert found.psnr_hit_db > 90


def test_half_a_wall_covers_half_of_the_depth_and_only_that_is_compared() -> None:
    found = agreements(wall(0.99, 0).draw, wall_seen(), (), 5.0).all_views
    assert found.covered == pytest.approx(0.5, abs=0.02)
    assert found.bias_mm == pytest.approx(-10.0, abs=0.01)
    assert found.psnr_hit_db is not None
    assert found.psnr_hit_db > 50  # what is not covered would be white on grey: 4 dB


def test_held_out_views_are_counted_with_all_and_for_themselves() -> None:
    """The wall lies 5 mm behind what one view measured, and 15 mm behind what the other did, which was held out."""
    (view,) = wall_seen().views
    nearer = replace(view, name="nearer", depth=np.full((40, 40), 0.99, np.float32))
    found = agreements(wall(1.005, -2).draw, replace(wall_seen(), views=(view, nearer)), ["nearer"], 5.0)
    assert found.all_views.bias_mm == pytest.approx(10.0, abs=0.01)
    assert found.held_out is not None
    assert found.held_out.bias_mm == pytest.approx(15.0, abs=0.01)


def test_a_mesh_beside_the_depth_covers_nothing_and_has_no_figures() -> None:
    found = agreements(wall(1.0, 1.9).draw, wall_seen(), (), 5.0).all_views
    assert (found.covered, found.median_mm, found.bias_mm, found.psnr_hit_db) == (0.0, None, None, None)


def test_a_capture_without_depth_is_not_handed_over(tmp_path: Path) -> None:
    (view,) = wall_seen().views
    bare = Capture("bare", "stated", (View("bare", view.camera, view.rgb, view.mask, None, "file"),), None)
    with pytest.raises(NotMade, match="no view has depth"):
        hand_over(bare, 0.01, tmp_path / "frames.npz")
    assert not (tmp_path / "frames.npz").exists()


def test_an_interpreter_without_open3d_is_told_in_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "open3d.py").write_text("raise ImportError('libgomp is missing')")
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nPYTHONPATH={tmp_path} exec {sys.executable} "$@"\n')
    os.chmod(python, 0o755)
    with pytest.raises(NotMade) as told:
        made_by_open3d(python, wall_seen(), 0.01)
    assert str(told.value).endswith("has no Open3D: libgomp is missing")
    assert "\n" not in str(told.value)


def test_an_interpreter_that_is_not_there_is_told_in_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(NotMade, match="cannot be started: No such file"):
        made_by_open3d(tmp_path / "nothing", wall_seen(), 0.01)
