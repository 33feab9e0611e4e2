"""Depth is smoothed by what its noise is, and none that was measured is lost."""

from __future__ import annotations

import numpy as np
import pytest

from meshdrop.models.surface.prefilter import depth_noise, smooth_depth, window_radius
from meshdrop.models.surface.range_view import prepare, prepare_scene
from tests.unit.models.views.scenes import BALL, ROOM, around, outward, photographed


@pytest.mark.parametrize("noise", [0.0, 0.001, 0.01])
def test_a_room_keeps_its_creases_and_a_ball_its_steep_rims(noise: float) -> None:
    for view in photographed(ROOM, outward(6), noise).views:
        assert view.depth is not None
        kept = (prepare_scene(view).depth > 0)[view.depth > 0].mean()
        assert kept > 0.99
    for view in photographed(BALL, around(6), noise).views:
        assert view.depth is not None
        assert (prepare(view).depth > 0)[view.depth > 0].mean() > 0.97


@pytest.mark.parametrize("noise", [0.0, 0.002])
def test_pixels_alone_in_the_air_are_dropped(noise: float) -> None:
    view = photographed(BALL, around(6), noise).views[0]
    assert view.depth is not None
    depth = view.depth.copy()
    flying = [(40, 40), (48, 52), (56, 44)]
    for row, column in flying:
        depth[row, column] -= 0.5
    camera = view.camera
    smooth, factor, spread = smooth_depth(depth, view.mask, camera, noise, 2)
    for row, column in flying:
        assert smooth[row, column] == 0
        assert factor[row, column] == 0
    assert (smooth[44:52, 40:48] > 0).all()
    assert (spread >= 0).all()


def test_what_the_filter_says_of_its_own_noise_is_true() -> None:
    view = photographed(BALL, around(1)).views[0]
    assert view.depth is not None
    random, noise = np.random.default_rng(1), 0.004
    noisy = np.where(view.depth > 0, view.depth + random.normal(0, noise, view.depth.shape), 0).astype(np.float32)
    smooth, _, spread = smooth_depth(noisy, view.mask, view.camera, noise, 2)
    inner = np.s_[36:60, 36:60]
    left = float(np.std((smooth - view.depth)[inner]))
    assert left < 0.6 * noise
    assert left == pytest.approx(float(np.median(spread[inner])), rel=0.4)


def test_noise_is_told_from_steps_and_from_gaps() -> None:
    view = photographed(BALL, around(1)).views[0]
    assert view.depth is not None
    in_steps = (np.rint(view.depth * 1000) / 1000).astype(np.float32)
    assert depth_noise(in_steps, view.mask) >= 0.001 / np.sqrt(12) * 0.99
    assert depth_noise(np.zeros_like(view.depth), view.mask) == 0
    assert window_radius(0.05, view.camera, view.depth) == 3
    assert window_radius(0.0, view.camera, np.zeros_like(view.depth)) == 2
