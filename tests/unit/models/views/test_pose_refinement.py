"""Cameras a little off are brought nearer to where they were, within bounds, and true ones are left alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from meshdrop.models.capture.capture import Capture
from meshdrop.models.formats.cameras import Camera
from meshdrop.models.surface.range_view import prepare
from meshdrop.models.views.pose_refinement import MOST_SHIFT, MOST_TURN_DEG, RefinedPoses, refine_poses
from tests.unit.models.views.scenes import BALL, BUMPY, around, beside, changed, jittered, photographed

VIEWS, SIDE_PX, NOISE_M, DISTANCE_M = 12, 160, 0.002, 2.5


def refined(capture: Capture) -> RefinedPoses:
    return refine_poses(capture.views, [prepare(view) for view in capture.views])


def off(cameras: Sequence[Camera], truth: Sequence[Camera]) -> tuple[float, float]:
    """Mean distance of the centres in metres and mean angle in degrees."""
    shift = [np.linalg.norm(a.centre - b.centre) for a, b in zip(cameras, truth, strict=True)]
    turn = [
        Rotation.from_matrix(a.c2w[:3, :3] @ b.c2w[:3, :3].T).magnitude() for a, b in zip(cameras, truth, strict=True)
    ]
    return float(np.mean(shift)), float(np.degrees(np.mean(turn)))


@pytest.mark.parametrize("scene", [BALL, BUMPY], ids=["a ball, which only its colours hold", "a thing with bumps"])
@pytest.mark.parametrize("share", [0.3, 0.6], ids=str)
def test_jittered_poses_come_nearer_to_the_truth(scene: object, share: float) -> None:
    """Jitter of 1 % of the distance and half a degree in all, or a share of that."""
    truth = around(VIEWS, SIDE_PX)
    # per axis; over three axes that is sqrt(3) times as much
    moved = jittered(
        photographed(scene, truth, NOISE_M),  # type: ignore[arg-type]
        share * 0.01 * DISTANCE_M / np.sqrt(3),
        share * 0.5 / np.sqrt(3),
    )
    result = refined(moved)
    before, after = off([view.camera for view in moved.views], truth), off(result.cameras, truth)
    assert result.kept
    assert after[0] < 0.7 * before[0]
    assert after[1] < 0.7 * before[1]
    assert result.before_m is not None
    assert result.after_m is not None
    assert result.after_m < 0.5 * result.before_m


def test_a_thing_of_one_colour_is_held_by_its_shape() -> None:
    truth = around(VIEWS, SIDE_PX)
    moved = jittered(photographed(BUMPY, truth, NOISE_M), 0.008, 0.2)
    grey = [replace(view, rgb=np.where(view.mask[..., None] > 0, np.uint8(128), view.rgb)) for view in moved.views]
    result = refined(replace(moved, views=tuple(grey)))
    assert result.kept
    assert off(result.cameras, truth)[0] < 0.7 * off([view.camera for view in moved.views], truth)[0]


@pytest.mark.parametrize("noise", [0.0, 0.003, 0.01])
def test_true_poses_are_not_moved(noise: float) -> None:
    capture = photographed(BUMPY, around(VIEWS, SIDE_PX), noise)
    result = refined(capture)
    assert not result.kept
    assert all(new is view.camera for new, view in zip(result.cameras, capture.views, strict=True))
    assert all(motion.millimetres == motion.degrees == 0 for motion in result.motions)


@pytest.mark.parametrize(("shift", "turn"), [(0.015, 0.3), (0.06, 2.0), (0.3, 10.0)])
def test_no_view_is_moved_beyond_the_bounds(shift: float, turn: float) -> None:
    moved = jittered(photographed(BUMPY, around(VIEWS, SIDE_PX), NOISE_M), shift, turn)
    for view, camera, motion in zip(moved.views, (result := refined(moved)).cameras, result.motions, strict=True):
        # the distance is that from the middle of the measured points, which lie within 0.4 m of the origin
        assert np.linalg.norm(camera.centre - view.camera.centre) <= MOST_SHIFT * (
            np.linalg.norm(view.camera.centre) + 0.1
        )
        assert motion.degrees <= MOST_TURN_DEG * 1.0001
        np.testing.assert_allclose(camera.c2w[:3, :3] @ camera.c2w[:3, :3].T, np.eye(3), atol=1e-9)


def test_the_set_as_a_whole_stays_where_it_was() -> None:
    """Pictures cannot tell where all cameras are: neither their middle nor their mean distance moves."""
    moved = jittered(photographed(BUMPY, around(VIEWS, SIDE_PX), NOISE_M), 0.008, 0.2)
    result = refined(moved)
    steps = np.array(
        [camera.centre - view.camera.centre for view, camera in zip(moved.views, result.cameras, strict=True)]
    )
    typical = np.linalg.norm(steps, axis=1).mean()
    assert result.kept
    # steps that know nothing of each other would leave 1 / sqrt(12) = 0.29
    assert np.linalg.norm(steps.mean(axis=0)) < 0.15 * typical
    nearer = [float(step @ view.camera.c2w[:3, 2]) for step, view in zip(steps, moved.views, strict=True)]
    assert abs(np.mean(nearer)) < 0.1 * typical


def test_one_view_off_is_the_one_that_is_moved() -> None:
    truth = around(VIEWS, SIDE_PX)
    capture = photographed(BUMPY, truth, NOISE_M)
    wrong = beside(truth[4], np.array([0.006, -0.006, 0.012]), np.array([0.2, 0.1, -0.2]))
    result = refined(changed(capture, 4, camera=wrong))
    assert max(range(VIEWS), key=lambda n: result.motions[n].millimetres) == 4 or not result.kept
    assert np.linalg.norm(result.cameras[4].centre - truth[4].centre) <= np.linalg.norm(wrong.centre - truth[4].centre)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_few_views_or_none_with_depth_are_no_trouble(count: int) -> None:
    capture = photographed(BALL, around(6))
    some = replace(capture, views=capture.views[:count])
    blind = replace(some, views=tuple(replace(view, depth=None) for view in some.views))
    assert len(refined(some).cameras) == count
    assert refined(blind).before_m is None
    assert not refined(blind).kept
