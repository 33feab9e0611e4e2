"""Each question forgives what is no fault of a mesh, and nothing else: figures worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from meshdrop.models.formats.cameras import canonical_camera
from meshdrop.models.measure.agreement import (
    MAX_PSNR_DB,
    RIM_PX,
    another_surface_m,
    backs_seen,
    colour_quality,
    coverage,
    depth_quality,
    silhouette_quality,
)
from tests import meshes

SIZE = 80
RNG = np.random.default_rng(3)


def box(top: int, left: int, height: int, width: int) -> NDArray[np.bool_]:
    mask = np.zeros((SIZE, SIZE), np.bool_)
    mask[top : top + height, left : left + width] = True
    return mask


OBJECT = box(20, 20, 40, 40)
PICTURE_PX = SIZE * SIZE


@pytest.mark.parametrize("shift", range(RIM_PX + 1))
def test_an_outline_that_is_off_by_the_rim_agrees_fully(shift: int) -> None:
    found = silhouette_quality(OBJECT, np.roll(OBJECT, shift, axis=1), PICTURE_PX)
    assert found is not None
    assert (found.rim_iou, found.missing_px, found.surplus_px) == (1.0, 0, 0)


def test_a_missing_limb_counts_whole_but_for_its_rim() -> None:
    # a limb of 4 x 10 pixels, of which the two columns next to the body are within the rim: 4 x 8 are missing
    limb = box(38, 60, 4, 10)
    found = silhouette_quality(OBJECT | limb, OBJECT, PICTURE_PX)
    assert found is not None
    assert (found.object_px, found.missing_px, found.surplus_px) == (1640, 32, 0)
    assert found.rim_iou == pytest.approx(1 - 32 / 1640)
    other = silhouette_quality(OBJECT, OBJECT | limb, PICTURE_PX)
    assert other is not None
    assert (other.missing_px, other.surplus_px) == (0, 32)


@pytest.mark.parametrize("mask", [np.zeros((SIZE, SIZE), np.bool_), np.ones((SIZE, SIZE), np.bool_)])
def test_a_mask_of_nothing_or_of_everything_tells_nothing(mask: NDArray[np.bool_]) -> None:
    assert silhouette_quality(mask, OBJECT, PICTURE_PX) is None


def test_a_mask_that_goes_all_around_the_border_tells_nothing() -> None:
    """It marks the background. One that touches the border here and there is an object that the picture cuts."""
    assert silhouette_quality(~OBJECT, ~OBJECT, PICTURE_PX) is None
    assert silhouette_quality(box(0, 0, SIZE, 60), box(0, 0, SIZE, 60), PICTURE_PX) is not None
    assert silhouette_quality(~OBJECT, ~OBJECT, 2 * PICTURE_PX) is not None  # these are a part of the picture


def photo() -> NDArray[np.float32]:
    """Broad waves in three colours, between 0.2 and 0.6."""
    y, x = np.mgrid[0:SIZE, 0:SIZE] / SIZE * 2 * np.pi
    waves = np.stack([np.sin(3 * x), np.sin(2 * y + 1), np.sin(2 * x + 3 * y)], axis=-1)
    return (0.4 + 0.2 * waves).astype(np.float32)


@pytest.mark.parametrize(("gain", "offset"), [(0.6, 0.0), (1.5, 0.05), (1.0, -0.1)])
def test_exposure_and_white_balance_change_nothing(gain: float, offset: float) -> None:
    of_channel = np.array([gain, 1.0, 1 / gain], np.float32)
    found = colour_quality(photo() * of_channel + np.float32(offset), photo(), OBJECT)
    assert found is not None
    assert found.explained == pytest.approx(1.0, abs=1e-6)
    assert found.psnr_db > 80
    assert found.gain == pytest.approx(tuple(of_channel.tolist()), abs=1e-3)
    assert found.offset == pytest.approx((offset,) * 3, abs=1e-3)


def test_equal_colours_have_the_most_there_is() -> None:
    found = colour_quality(photo(), photo(), OBJECT)
    assert found is not None
    assert found.psnr_db > 100 or found.psnr_db == MAX_PSNR_DB


def test_a_texture_that_is_a_pixel_off_is_still_the_same_one_and_another_is_not() -> None:
    near = colour_quality(photo(), np.roll(photo(), 1, axis=1), OBJECT)
    other = colour_quality(photo(), np.roll(photo(), 1, axis=2), OBJECT)
    assert near is not None
    assert other is not None
    assert near.explained > 0.9
    assert other.explained < 0.2


def test_what_the_mesh_does_not_cover_has_no_say_in_colours() -> None:
    dirty = photo()
    dirty[~OBJECT] = RNG.random(dirty[~OBJECT].shape)
    found = colour_quality(dirty, photo(), OBJECT)
    assert found is not None
    assert found.explained == pytest.approx(1.0, abs=1e-6)
    assert colour_quality(photo(), photo(), np.zeros_like(OBJECT)) is None


def test_the_tolerance_follows_the_noise() -> None:
    camera = canonical_camera("front", SIZE, SIZE)
    plane = np.full((SIZE, SIZE), 2.0, np.float32)
    quiet = depth_quality(plane, plane, OBJECT, OBJECT, camera, 1.0)
    # 50 mm: the floor of a camera of 80 pixels, half of a footprint of 2 m / fx, lies below it
    noisy_depth = (plane + RNG.normal(0, 0.05, plane.shape)).astype(np.float32)
    noisy = depth_quality(noisy_depth, plane, OBJECT, OBJECT, camera, 1.0)
    assert quiet is not None
    assert noisy is not None
    assert quiet.resolution_mm == pytest.approx(1000.0 / camera.fx)
    assert noisy.resolution_mm == pytest.approx(50.0, rel=0.15)
    assert noisy.tolerance_mm == pytest.approx(3 * noisy.resolution_mm)
    assert noisy.within_tolerance > 0.99


def test_a_hole_that_shows_the_far_side_is_missing_and_an_edge_is_not() -> None:
    near, far = np.full((SIZE, SIZE), 2.0, np.float32), np.full((SIZE, SIZE), 2.4, np.float32)
    hole, edge = box(30, 30, 10, 10), box(20, 40, 40, 2)
    for part, expected in ((hole, 1 - 100 / 1600), (edge, 1.0)):
        assert coverage(OBJECT, OBJECT, None, (near, np.where(part, far, near)), 0.1) == pytest.approx(expected)
    assert coverage(OBJECT, OBJECT, None, (near, np.where(hole, far, near)), 0.5) == 1.0  # so thick is the object


def test_without_depth_only_what_is_not_covered_is_missing() -> None:
    # a strip of ten columns is gone: the two next to the rest are within the rim
    assert coverage(OBJECT, OBJECT & ~box(0, 50, SIZE, 10), None, None, 0.1) == pytest.approx(1 - 8 * 40 / 1600)
    assert coverage(np.zeros_like(OBJECT), OBJECT, None, None, 0.1) is None


def test_the_far_side_of_an_object_lies_beyond_its_noise_and_a_share_of_its_size() -> None:
    assert another_surface_m(None, 0.4) == pytest.approx(0.02)


def test_the_inside_of_a_surface_is_seen_through_holes_alone() -> None:
    camera, mesh = canonical_camera("front", SIZE, SIZE), meshes.sphere()
    assert not backs_seen(camera, mesh.vertices, mesh.faces).any()
    towards = mesh.vertices[mesh.faces].mean(axis=1) @ camera.centre
    seen = backs_seen(camera, mesh.vertices, mesh.faces[towards < np.quantile(towards, 0.9)])
    assert seen.sum() > 100
    assert coverage(seen, seen, seen, None, 0.1) == pytest.approx(0.0, abs=0.01)  # corners are opened away
    assert coverage(seen, seen, None, None, 0.1) == 1.0
