"""Depth of a phone, in the size of its photographs."""

from __future__ import annotations

import numpy as np

from meshdrop.models.lens.coarse import depth_as_large, mask_as_large, same_shape

FEW, MANY = (24, 32), (180, 240)


def plane(shape: tuple[int, int]) -> np.ndarray:
    """Depth of a plane at a slant, which is linear in 1/z, at the centres of pixels."""
    v, u = ((np.arange(side) + 0.5) / side for side in shape)
    return 1 / (0.8 + 0.3 * u + 0.2 * v[:, None])


def test_a_plane_stays_a_plane_without_stairs() -> None:
    found = depth_as_large(plane(FEW), MANY[1], MANY[0])
    assert found.shape == MANY
    inner = (slice(8, -8), slice(8, -8))
    np.testing.assert_allclose(found[inner], plane(MANY)[inner], rtol=1e-5)


def test_nothing_lies_between_two_surfaces_and_holes_stay_holes() -> None:
    depth = np.where(np.arange(32) < 16, 1.0, 2.0) * np.ones(FEW)
    depth[10:14, 4:9] = 0
    found = depth_as_large(depth, MANY[1], MANY[0])
    assert set(np.unique(found)) == {0.0, 1.0, 2.0}
    assert 0.8 < (found == 0).mean() / (depth == 0).mean() < 1.2


def test_a_mask_keeps_its_area_and_its_outline_is_no_stair() -> None:
    v, u = ((np.arange(side) + 0.5) / 32 for side in FEW)
    small = ((u - 0.5) ** 2 + (v[:, None] - 0.4) ** 2 < 0.09).astype(np.float32)
    found = mask_as_large(small, MANY[1], MANY[0])
    assert found.shape == MANY
    assert 0.97 < found.mean() / small.mean() < 1.03
    assert len(np.unique(found)) > 10


def test_shapes_are_told_apart_by_their_proportions() -> None:
    assert same_shape(np.zeros((192, 256)), 1920, 1440)
    assert same_shape(np.zeros((90, 160)), 1921, 1080)
    assert not same_shape(np.zeros((256, 192)), 1920, 1440)
    assert not same_shape(np.zeros((192, 256)), 1920, 1080)
