"""Depth that looks through what others measured is found, and nothing else."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from meshdrop.models.capture.capture import Capture
from meshdrop.models.surface.range_view import prepare, prepare_scene
from meshdrop.models.views.depth_agreement import contradicted
from tests.unit.models.views.scenes import BALL, BUMPY, ON_TABLE, ROOM, above, around, changed, outward, photographed

PATCH = np.s_[40:56, 40:56]


def patched(capture: Capture, farther_m: float, index: int = 0) -> Capture:
    depth = capture.views[index].depth
    assert depth is not None
    wrong = depth.copy()
    wrong[PATCH] += farther_m
    return changed(capture, index, depth=wrong)


@pytest.mark.parametrize("farther", [0.15, 0.3, 3.0, 60.0])
@pytest.mark.parametrize("noise", [0.0, 0.003])
def test_a_patch_too_far_is_found_whole(farther: float, noise: float) -> None:
    capture = patched(photographed(BALL, around(12), noise), farther)
    found = contradicted([prepare(view) for view in capture.views])
    # depth right at its rim is a mixture
    assert found[0][42:54, 42:54].all()
    outside = found[0].copy()
    outside[37:59, 37:59] = False
    assert not outside.any()
    assert not any(other.any() for other in found[1:])


def test_one_view_alone_is_not_believed_against_another() -> None:
    """Two views of the front: nothing tells which is wrong."""
    cameras = around(12)
    capture = patched(photographed(BALL, [cameras[0], cameras[1]]), 0.3)
    assert not any(found.any() for found in contradicted([prepare(view) for view in capture.views]))


@pytest.mark.parametrize("noise", [0.0, 0.003, 0.01])
@pytest.mark.parametrize("count", [6, 12, 24])
def test_true_depth_of_an_object_is_not_contradicted(noise: float, count: int) -> None:
    found = contradicted([prepare(view) for view in photographed(BUMPY, around(count), noise).views])
    assert sum(int(wrong.sum()) for wrong in found) == 0


def test_true_depth_of_scenes_is_not_contradicted() -> None:
    for scene, cameras in ((ROOM, outward(12)), (ON_TABLE, above(8))):
        views = [prepare_scene(view) for view in photographed(scene, cameras, 0.002).views]
        found = contradicted(views)
        assert sum(int(wrong.sum()) for wrong in found) < 0.001 * sum(int((view.depth > 0).sum()) for view in views)


def test_what_stands_too_near_in_one_view_contradicts_nobody() -> None:
    capture = patched(photographed(BALL, around(12)), -0.3)
    assert not any(found.any() for found in contradicted([prepare(view) for view in capture.views]))


def test_pictures_of_different_sizes_and_views_without_depth_are_no_trouble() -> None:
    cameras = [replace(c, width=300, height=200, cx=150, cy=100) if n % 2 else c for n, c in enumerate(around(8))]
    capture = changed(photographed(BALL, cameras), 2, depth=None)
    found = contradicted([prepare(view) for view in capture.views])
    assert [wrong.shape for wrong in found] == [view.mask.shape for view in capture.views]
    assert not any(wrong.any() for wrong in found)
