"""A frame leaves out nothing but white."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from meshdrop.models.capture.capture import Capture
from meshdrop.models.formats.cameras import canonical_camera
from meshdrop.models.measure.frame import MARGIN_PX, WINDOW_PX, Frame, frame_of, mesh_frame
from meshdrop.models.measure.quality import over_white
from meshdrop.models.mesh.mesh import TexturedMesh
from meshdrop.models.raster.render import render
from tests import meshes
from tests.photographs import SIZE, photographed

SHIFTS = {"centred": (0, 0, 0), "over the left edge": (-0.5, 0, 0), "over a corner": (0.5, 0.5, 0), "gone": (9, 0, 0)}


@pytest.fixture(scope="module")
def capture() -> Capture:
    return photographed(meshes.torus())


def moved(mesh: TexturedMesh, shift: tuple[float, float, float]) -> TexturedMesh:
    return replace(mesh, vertices=mesh.vertices + np.array(shift, np.float32))


def outside(frame: Frame, picture: NDArray[np.float32]) -> NDArray[np.float32]:
    kept = np.ones(picture.shape[:2], np.bool_)
    frame.cut(kept)[:] = False
    return picture[kept]


@pytest.mark.parametrize("shift", SHIFTS)
def test_all_around_a_frame_photograph_and_render_are_white(shift: str, capture: Capture) -> None:
    mesh = moved(meshes.torus(), SHIFTS[shift])
    for view in capture.views:
        frame = frame_of(view, mesh.vertices)
        assert 0 <= frame.left < frame.left + frame.width <= SIZE
        assert 0 <= frame.top < frame.top + frame.height <= SIZE
        picture = render(mesh, view.camera, samples=3)
        assert (outside(frame, over_white(view)) == 1).all()
        assert (outside(frame, picture.rgb) == 1).all()
        assert (outside(frame, picture.alpha) == 0).all()


@pytest.mark.parametrize("shift", SHIFTS)
def test_a_frame_is_rendered_as_the_whole_picture_is(shift: str, capture: Capture) -> None:
    mesh = moved(meshes.torus(), SHIFTS[shift])
    view = capture.views[0]
    frame = frame_of(view, mesh.vertices)
    whole, part = render(mesh, view.camera, samples=3), render(mesh, frame.camera(view.camera), samples=3)
    for layer in ("rgb", "alpha", "depth", "seen"):
        assert getattr(part, layer) == pytest.approx(frame.cut(getattr(whole, layer)), abs=1e-4), layer


def test_there_is_a_margin_around_the_object(capture: Capture) -> None:
    view = capture.views[0]
    frame = frame_of(view, meshes.torus(major=0.05, minor=0.02).vertices)  # a mesh far too small
    rows, columns = np.nonzero(view.mask > 0)
    assert columns.min() - frame.left == MARGIN_PX
    assert rows.min() - frame.top == MARGIN_PX
    assert frame.left + frame.width - 1 - columns.max() == MARGIN_PX
    assert frame.top + frame.height - 1 - rows.max() == MARGIN_PX


def test_a_mesh_around_the_camera_takes_the_whole_picture() -> None:
    camera = canonical_camera("front", SIZE, SIZE)
    mesh = replace(meshes.sphere(), vertices=meshes.sphere().vertices * np.float32(20))
    assert mesh_frame(camera, mesh.vertices) == Frame(0, 0, SIZE, SIZE)


@pytest.mark.parametrize("away", [(9, 0, 0), (-9, 0, 0), (0, 9, 0), (0, -9, 0)])
def test_an_empty_view_that_shows_no_mesh_leaves_room_for_a_window_of_ssim(
    away: tuple[float, float, float], capture: Capture
) -> None:
    view = replace(capture.views[0], mask=np.zeros((SIZE, SIZE), np.float32))
    frame = frame_of(view, moved(meshes.torus(), away).vertices)
    assert min(frame.width, frame.height) >= WINDOW_PX
    assert 0 <= frame.left <= frame.left + frame.width <= SIZE
    assert 0 <= frame.top <= frame.top + frame.height <= SIZE


def test_a_cut_view_sees_the_same_points_in_the_same_pixels(capture: Capture) -> None:
    view = capture.views[2]
    frame = Frame(10, 20, 30, 40)
    part = frame.view(view)
    assert part.rgb.shape == (40, 30, 3)
    assert np.array_equal(part.rgb[0, 0], view.rgb[20, 10])
    point = np.array([[0.1, 0.05, 0.2]])
    (u, v, _), (pu, pv, _) = view.camera.project(point), part.camera.project(point)
    assert (pu[0], pv[0]) == pytest.approx((u[0] - 10, v[0] - 20))
