"""What a capture offers to register to."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from meshdrop.models.capture.capture import Capture
from meshdrop.models.registration.target import target_of
from meshdrop.models.surface.volume import EmptyCapture
from tests.unit.models.synthetic import BALL, canonical_rig, capture_of

SIZE = 128
#: Width of a pixel at the ball, 2.25 m away: focal length 1111 px / 512 * 128.
PIXEL_M = 2.25 / (1111 / 4)


def without_depth(capture: Capture) -> Capture:
    return replace(capture, views=tuple(replace(view, depth=None) for view in capture.views))


def test_measured_points_lie_on_the_object_and_their_normals_point_out() -> None:
    target = target_of(capture_of(BALL, canonical_rig(SIZE), noise_m=1e-3))
    assert target.source == "depth"
    points, normals = target.cloud.points, target.cloud.normals
    assert len(points) > 1000
    assert np.quantile(np.abs(np.linalg.norm(points, axis=1) - 0.25), 0.95) < 2e-3
    assert np.median((normals * points).sum(axis=1) / 0.25) > 0.99
    assert ((normals * points).sum(axis=1) > 0).all()


def test_strays_and_what_other_silhouettes_deny_are_left_out() -> None:
    capture = capture_of(BALL, canonical_rig(SIZE))
    first = capture.views[0]
    assert first.depth is not None
    depth = first.depth.copy()
    depth[60:68, 60:68] = 2.0  # a quarter of a metre before the ball: other views see nothing there
    target = target_of(replace(capture, views=(replace(first, depth=depth), *capture.views[1:])))
    assert np.abs(np.linalg.norm(target.cloud.points, axis=1) - 0.25).max() < 0.02


def test_without_depth_the_target_is_the_hull() -> None:
    target = target_of(without_depth(capture_of(BALL, canonical_rig(SIZE))))
    assert target.source == "hull"
    radius = np.linalg.norm(target.cloud.points, axis=1)
    # six tangent cones leave a cube-like body: nowhere inside of the ball, its corners at most sqrt(3) / sqrt(2) away
    assert radius.min() > 0.25 - PIXEL_M
    assert radius.max() < 0.25 * np.sqrt(1.5) + 2 * PIXEL_M


def test_the_silhouettes_must_meet() -> None:
    capture = without_depth(capture_of(BALL, canonical_rig(SIZE)))
    moved = capture.views[0].camera.c2w.copy()
    moved[0, 3] += 2.0
    lost = replace(capture.views[0], camera=replace(capture.views[0].camera, c2w=moved))
    with pytest.raises(EmptyCapture):
        target_of(replace(capture, views=(lost, *capture.views[1:])))
