"""Masks that lack what others measured are found; clean ones, and what others see through, are left alone."""

from __future__ import annotations

import numpy as np
import pytest

from meshdrop.models.capture.capture import Capture
from meshdrop.models.surface.range_view import prepare
from meshdrop.models.views.mask_agreement import MaskAgreement, compare_masks
from tests.unit.models.synthetic import Scene
from tests.unit.models.views.scenes import BALL, BUMPY, around, changed, photographed

PLATE_WITH_HOLE = Scene(
    boxes=(
        ((-0.4, -0.4, -0.05), (-0.15, 0.4, 0.05)),
        ((0.15, -0.4, -0.05), (0.4, 0.4, 0.05)),
        ((-0.4, 0.15, -0.05), (0.4, 0.4, 0.05)),
        ((-0.4, -0.4, -0.05), (0.4, -0.15, 0.05)),
    )
)


def compared(capture: Capture) -> MaskAgreement:
    return compare_masks(capture.views, [prepare(view) for view in capture.views])


def without_part(capture: Capture, index: int, *, depth_too: bool) -> tuple[Capture, np.ndarray]:
    """The right end of the object is not in the mask of one view; and where that was."""
    view = capture.views[index]
    assert view.depth is not None
    mask = view.mask.copy()
    mask[:, 62:] = 0
    lost = (view.mask > 0) & (mask == 0)
    values = {"mask": mask} | ({"depth": np.where(mask > 0, view.depth, np.float32(0))} if depth_too else {})
    return changed(capture, index, **values), lost


@pytest.mark.parametrize("count", [6, 12])
@pytest.mark.parametrize("depth_too", [False, True], ids=["its depth is there", "its depth lacks it as well"])
@pytest.mark.parametrize("noise", [0.0, 0.003])
def test_a_part_that_one_mask_lacks_is_found(count: int, depth_too: bool, noise: float) -> None:
    capture, lost = without_part(photographed(BALL, around(count), noise), 0, depth_too=depth_too)
    found = compared(capture).contradictions
    assert list(found) == [0]
    assert found[0].name == "v00"
    assert (found[0].missing & lost).sum() > 0.9 * lost.sum()
    assert (found[0].missing & ~lost).sum() < 0.1 * lost.sum()
    assert found[0].share == pytest.approx(lost.sum() / (capture.views[0].mask > 0.5).sum(), rel=0.15)


@pytest.mark.parametrize("scene", [BALL, BUMPY, PLATE_WITH_HOLE], ids=["ball", "bumps", "plate with a hole"])
@pytest.mark.parametrize("noise", [0.0, 0.003, 0.01])
@pytest.mark.parametrize("count", [6, 12])
def test_clean_masks_are_left_alone(scene: Scene, noise: float, count: int) -> None:
    found = compared(photographed(scene, around(count), noise))
    assert found.contradictions == {}
    assert (found.raggedness < 1.5).all()


def test_what_two_wrong_masks_show_and_the_others_see_through_is_no_part() -> None:
    """Two views of twelve measured something in the air and have it in their masks; the others have measured what is
    behind it, a wall around everything."""
    walls = Scene(spheres=BALL.spheres, boxes=((((-6, -6, -6.1)), (6, 6, -6)), (((-6, -6, 6)), (6, 6, 6.1))))
    air = Scene(spheres=(*BALL.spheres, (0.6, 0.0, 0.0, 0.12)))
    cameras = around(12)
    capture = photographed(BALL, cameras)
    for n, camera in enumerate(cameras):
        depth = (air if n in (4, 6) else walls).depth(camera).astype(np.float32)
        mask = ((air if n in (4, 6) else BALL).depth(camera) > 0).astype(np.float32)
        capture = changed(capture, n, depth=depth, mask=mask)
    assert compared(capture).contradictions == {}


def test_ragged_masks_are_measured_in_pixels() -> None:
    capture = photographed(BALL, around(12))
    worn = capture
    for n, view in enumerate(capture.views):
        # two pixels off all around
        mask = view.mask.copy()
        for _ in range(2):
            padded = np.pad(mask, 1)
            mask = np.min([padded[1:-1, 1:-1], padded[:-2, 1:-1], padded[2:, 1:-1], padded[1:-1, :-2]], axis=0)
        worn = changed(worn, n, mask=mask) if n % 2 else worn
    clean, found = compared(capture).raggedness, compared(worn).raggedness
    assert (found[1::2] > clean[1::2]).all()


def test_without_depth_masks_are_not_judged() -> None:
    capture = photographed(BALL, around(6))
    for n in range(6):
        capture = changed(capture, n, depth=None)
    found = compared(capture)
    assert found.contradictions == {}
    assert (found.raggedness == 0).all()
