"""A generated mesh finds its place in a capture, or is refused."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from bench import shapes
from bench.shapes import Shape, ball, bent, drum, photographed, random_similarity, rod, shape_of, things
from meshdrop.models.capture.capture import Capture
from meshdrop.models.registration.register import Registration, register
from meshdrop.models.registration.similarity import angle_between, turned_by
from meshdrop.models.registration.target import Target, target_of

SIDE = 160


@pytest.fixture(scope="module")
def drill() -> Shape:
    return shape_of("drill", things()["drill"], lattice=64)


@pytest.fixture(scope="module")
def capture(drill: Shape) -> Capture:
    return photographed(drill, seed=3, side=SIDE)


@pytest.fixture(scope="module")
def target(capture: Capture) -> Target:
    return target_of(capture)


def without_depth(capture: Capture) -> Capture:
    return replace(capture, views=tuple(replace(view, depth=None) for view in capture.views))


def dumb_bell() -> Shape:
    """Two equal balls on a rod, and an upright handle in the middle."""
    parts = (ball(-0.4, 0, 0, 0.2), ball(0.4, 0, 0, 0.2), rod((-0.4, 0, 0), (0.4, 0, 0), 0.08))
    return shape_of("dumb-bell", shapes.joined(*parts, rod((0, 0, 0), (0, 0.3, 0), 0.1)), lattice=64)


def degrees_off(found: Registration, rotation: np.ndarray) -> float:
    scale = np.cbrt(np.linalg.det(found.matrix[:3, :3]))
    return angle_between(found.matrix[:3, :3] / scale @ rotation, np.eye(3))


@pytest.mark.parametrize("upright", [True, False], ids=["yaw", "free"])
def test_the_true_mesh_lands_on_the_object(drill: Shape, capture: Capture, target: Target, upright: bool) -> None:
    """Exact shape: every vertex within half a pixel's width of its place (a pixel sees 7.2 mm at this size)."""
    moved = random_similarity(np.random.default_rng(11), upright)
    found = register(moved.apply(drill.vertices), drill.faces, capture, target, up_known=upright)
    assert found.status == "registered"
    placed = moved.apply(drill.vertices) @ found.matrix[:3, :3].T + found.matrix[:3, 3]
    assert np.linalg.norm(placed - drill.vertices, axis=1).max() < 0.0036
    assert found.iou > 0.97
    assert found.depth_median_m is not None
    assert found.depth_median_m < 0.002
    assert found.target == "depth"


@pytest.mark.parametrize("kind", ["depth", "hull"])
def test_a_bent_mesh_finds_its_pose_with_depth_and_without(drill: Shape, capture: Capture, kind: str) -> None:
    capture = capture if kind == "depth" else without_depth(capture)
    target = target_of(capture)
    random = np.random.default_rng(12)
    for upright in (True, False):
        moved = random_similarity(random, upright)
        found = register(moved.apply(bent(drill, random)), drill.faces, capture, target, up_known=upright)
        assert found.target == kind
        assert found.status == "registered"
        assert degrees_off(found, moved.rotation) < 3
        assert (found.depth_median_m is None) == (kind == "hull")
        assert found.margin is None or found.margin > 0.1


def test_another_shape_is_not_registered(capture: Capture, target: Target) -> None:
    other = shape_of("chair", things()["chair"], lattice=48)
    found = register(other.vertices, other.faces, capture, target, up_known=True)
    assert found.status == "unregistered"
    assert "silhouettes agree with the masks only to 0." in found.reason
    assert np.isfinite(found.matrix).all()


def test_depth_alone_can_refuse() -> None:
    """A cup is measured inside; a full drum has its silhouettes from all six sides, but not its depth."""
    cup = shape_of("cup", shapes.without(drum(0.4, -0.2, 0.2), drum(0.37, -0.17, 0.5)), lattice=64)
    full = shape_of("drum", drum(0.4, -0.2, 0.2), lattice=64)
    capture = photographed(cup, seed=5, side=SIDE)
    flat = register(full.vertices, full.faces, without_depth(capture), target_of(without_depth(capture)), up_known=True)
    assert flat.status == "registered"
    # only the top view sees the hollow: the other five agree, and so does the median
    top = replace(capture, views=tuple(view for view in capture.views if view.name != "bottom"))
    hollow = replace(top, views=tuple(v if v.name == "top" else replace(v, depth=None) for v in top.views))
    found = register(full.vertices, full.faces, hollow, target_of(hollow), up_known=True)
    assert found.status == "unregistered"
    assert "half of the measured depth is off" in found.reason


def test_a_shape_that_fits_two_ways_has_no_margin() -> None:
    """Half a turn about the vertical changes nothing."""
    shape = dumb_bell()
    capture = photographed(shape, seed=6, side=SIDE)
    found = register(shape.vertices, shape.faces, capture, target_of(capture), up_known=True)
    assert found.status == "registered"
    assert found.margin is not None
    assert abs(found.margin) < 0.01
    assert found.runner_up_degrees == pytest.approx(180, abs=2)
    assert found.runner_up_iou == pytest.approx(found.iou, abs=0.01)
    assert "turned by 180 degrees, fits the shape about as well." in found.reason


def test_colours_choose_where_the_shape_cannot() -> None:
    """The same dumb-bell with one dark half: two yaws, each found to a degree, and said to be the photographs'."""
    shape = dumb_bell()
    dark = np.where(shape.vertices[:, :1] > 0, 0.15, 0.8) * np.ones(3)
    capture = photographed(shape, seed=6, side=SIDE)
    views = []
    for view in capture.views:
        v, u = np.indices(view.mask.shape) + 0.5
        assert view.depth is not None
        place = view.camera.unproject(u, v, np.where(view.depth > 0, view.depth, 2.5).astype(np.float64))
        shade = np.where(place[..., :1] > 0, 0.15, 0.8) * 200
        views.append(replace(view, rgb=np.repeat(shade, 3, axis=2).astype(np.uint8)))
    capture = replace(capture, views=tuple(views))
    target = target_of(capture)
    for yaw in (0.3, 4.0):
        turn = turned_by(np.array([0.0, yaw, 0.0]))
        found = register(shape.vertices @ turn.T, shape.faces, capture, target, up_known=True, colours=dark)
        assert degrees_off(found, turn) < 1
        assert found.likeness is not None
        assert found.runner_up_likeness is not None
        assert found.likeness > 0.5
        assert found.runner_up_likeness < 0
        assert found.reason.endswith("the photographs chose this one.")


def test_a_round_shape_is_registered_without_an_answer_to_its_turn() -> None:
    shape = shape_of("drum", drum(0.3, -0.4, 0.4), lattice=48)
    capture = photographed(shape, seed=7, side=SIDE)
    found = register(shape.vertices * 3 + 1, shape.faces, capture, target_of(capture), up_known=True)
    assert found.status == "registered"
    assert found.margin is None or abs(found.margin) < 0.01


def test_same_input_same_answer(drill: Shape, capture: Capture, target: Target) -> None:
    one, other = (register(drill.vertices, drill.faces, capture, target, up_known=True) for _ in range(2))
    assert one.matrix.tobytes() == other.matrix.tobytes()
    assert one.to_json() == other.to_json()


def test_json_holds_everything_and_nothing_else(drill: Shape, capture: Capture, target: Target) -> None:
    facts = register(drill.vertices, drill.faces, capture, target, up_known=True).to_json()
    assert list(facts) == [
        "matrix",
        "status",
        "reason",
        "iou",
        "depth_median_m",
        "depth_median_share",
        "runner_up_iou",
        "runner_up_degrees",
        "margin",
        "likeness",
        "runner_up_likeness",
        "target",
    ]
    assert json.loads(json.dumps(facts, allow_nan=False)) == facts
    assert np.shape(facts["matrix"]) == (4, 4)
    assert facts["matrix"][3] == [0.0, 0.0, 0.0, 1.0]


@pytest.mark.parametrize(
    ("vertices", "faces", "message"),
    [
        (np.eye(3), np.zeros((0, 3), np.int32), "no triangles"),
        (np.full((3, 3), np.nan), np.array([[0, 1, 2]]), "not finite"),
        (np.ones((3, 3)), np.array([[0, 1, 2]]), "no extent"),
        (np.array([[0.0, 0, 0], [1, 1e-12, 0], [2, 0, 0]]), np.array([[0, 1, 2]]), "no surface"),
    ],
)
def test_a_mesh_that_is_none_is_refused_by_name(
    capture: Capture, target: Target, vertices: np.ndarray, faces: np.ndarray, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        register(vertices, faces, capture, target, up_known=True)


def test_a_sheet_is_judged_like_any_other_mesh(capture: Capture, target: Target) -> None:
    sheet = np.array([[0.0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]])
    found = register(sheet, np.array([[0, 1, 2], [0, 2, 3]]), capture, target, up_known=True)
    assert found.status == "unregistered"
    assert np.isfinite(found.matrix).all()
