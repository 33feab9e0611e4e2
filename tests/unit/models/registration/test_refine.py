"""The last fit: silhouettes and depth of drawn meshes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from bench.shapes import Shape, photographed, shape_of, things
from meshdrop.models.capture.capture import Capture
from meshdrop.models.registration.agreement import HALF_TRUSTED, agreement
from meshdrop.models.registration.refine import refined
from meshdrop.models.registration.similarity import Similarity, angle_between, turned_by
from meshdrop.models.registration.small_view import SmallView, chosen, sights_of, slope_at
from meshdrop.models.surface.range_view import prepare
from tests.meshes import cube
from tests.unit.models.synthetic import ring_rig

SIDE = 160
#: Width of a pixel at the object: 2.5 m away, focal length 1111 px at 512.
PIXEL_M = 2.5 / (1111 * SIDE / 512)
STILL = Similarity(1.0, np.eye(3), np.zeros(3))


@pytest.fixture(scope="module")
def dog() -> Shape:
    return shape_of("dog", things()["dog"], lattice=64)


@pytest.fixture(scope="module")
def capture(dog: Shape) -> Capture:
    return photographed(dog, seed=1, side=SIDE)


def sights(capture: Capture, side: int = 80) -> list[SmallView]:
    return sights_of(capture.views, [prepare(view) for view in capture.views], side)


def without_depth(capture: Capture) -> Capture:
    return replace(capture, views=tuple(replace(view, depth=None) for view in capture.views))


@pytest.mark.parametrize("depth", [True, False], ids=["depth", "silhouettes alone"])
def test_a_pose_comes_back_to_a_fraction_of_a_pixel(dog: Shape, capture: Capture, depth: bool) -> None:
    """From 10 degrees, 6 % of scale and 30 mm away, with and without depth."""
    seen = sights(capture if depth else without_depth(capture))
    away = Similarity(1.06, turned_by(np.array([0.05, 0.15, -0.06])), np.array([0.02, -0.01, 0.02]))
    found = refined(seen, away.apply(dog.vertices), dog.faces, STILL, dog.size, steps=10)
    left = found[-1].pose.after(away)
    assert np.abs(left.apply(dog.vertices) - dog.vertices).max() < 0.5 * PIXEL_M
    assert angle_between(left.rotation, np.eye(3)) < 0.3
    assert found[-1].agreement.iou > 0.97 > found[0].agreement.iou


def test_a_pose_that_fits_stays(dog: Shape, capture: Capture) -> None:
    found = refined(sights(capture), dog.vertices, dog.faces, STILL, dog.size, steps=5)
    for step in found:
        assert np.abs(step.pose.apply(dog.vertices) - dog.vertices).max() < 0.2 * PIXEL_M


def test_a_mesh_that_no_camera_sees_stays_where_it_is(dog: Shape, capture: Capture) -> None:
    beyond = Similarity(1.0, np.eye(3), np.array([50.0, 60.0, 70.0]))
    found = refined(sights(capture), dog.vertices, dog.faces, beyond, dog.size, steps=5)
    assert len(found) == 1
    assert found[0].agreement.iou == 0.0


def test_agreement_counts_a_pixel_by_its_depth(capture: Capture) -> None:
    """A wall of a known distance: half of the trust is left where depth is off by HALF_TRUSTED of the size."""
    front = sights(capture)[0]
    height, width = front.mask.shape
    flat = replace(front, mask=np.ones((height, width), np.float32), depth=np.full((height, width), 2.0, np.float32))
    corner = 2.0 + HALF_TRUSTED
    wall = flat.camera.unproject(
        np.array([-9.0, width + 9, width + 9, -9]), np.array([-9.0, -9, height + 9, height + 9]), np.full(4, corner)
    )
    found = agreement([flat], wall, np.array([[0, 1, 2], [0, 2, 3]], np.int32), STILL, size_m=1.0)
    assert found.iou == 1.0
    assert found.depth_m == pytest.approx(HALF_TRUSTED, rel=1e-4)
    assert found.share == pytest.approx(0.5, rel=1e-3)
    unmeasured = replace(flat, depth=np.zeros((height, width), np.float32))
    found = agreement([unmeasured], wall, np.array([[0, 1, 2], [0, 2, 3]], np.int32), STILL, size_m=1.0)
    assert (found.share, found.depth_m) == (1.0, None)


def test_a_cut_sees_the_same_as_the_whole_picture(capture: Capture) -> None:
    """Points at the cut's pixels project to the middle of their blocks in the photograph."""
    for small, view in zip(sights(capture, 40), capture.views, strict=True):
        assert max(small.mask.shape) < max(view.mask.shape)
        rows, columns = np.nonzero(small.depth > 0)
        place, normal = small.surface
        u, v, z = view.camera.project(place[rows, columns])
        assert np.abs(u % 1 - 0.5).max() < 1e-6
        assert view.depth is not None
        off = np.abs(view.depth[v.astype(int), u.astype(int)] - z)
        assert np.quantile(off, 0.9) < 0.005  # filtered depth: both sides of a fold are smoothed a little
        known = (normal[rows, columns] != 0).any(axis=1)
        towards = ((view.camera.centre - place[rows, columns]) * normal[rows, columns]).sum(axis=1)
        assert known.mean() > 0.5
        assert (towards[known] > 0).all()


def test_views_are_chosen_from_all_around() -> None:
    box = cube(0.3)
    shape = Shape("box", box.vertices.astype(np.float64), box.faces)
    views = photographed(shape, seed=0, side=32).views
    many = [replace(views[0], name=name, camera=camera) for name, camera in ring_rig(12, 32, lift=0.0)]
    # the first one, the one opposite, then those a quarter turn from both
    assert chosen(many, 4) == [0, 3, 6, 9]
    assert chosen(many, 50) == list(range(12))


def test_slopes_point_away_from_the_object() -> None:
    v, u = np.indices((40, 40)) + 0.5
    distance = (np.hypot(u - 20, v - 20) - 9).astype(np.float32)
    rows, columns = np.nonzero(np.abs(distance) < 1)
    away = np.stack([columns + 0.5 - 20, rows + 0.5 - 20], axis=1)
    away /= np.linalg.norm(away, axis=1, keepdims=True)
    assert ((slope_at(distance, rows, columns) * away).sum(axis=1) > 0.99).all()
