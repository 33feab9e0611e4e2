"""SSIM against scikit-image's, and against a value worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
from skimage.metrics import structural_similarity

from models.ssim import ssim_map


@pytest.mark.parametrize("shape", [(64, 48, 3), (7, 7, 3), (40, 9, 1)])
@pytest.mark.parametrize("noise", [0.0, 0.05, 1.0])
def test_every_pixel_is_that_of_scikit_image(shape: tuple[int, int, int], noise: float) -> None:
    random = np.random.default_rng(5)
    one = random.random(shape).astype(np.float32)
    other = np.clip(one + noise * random.standard_normal(shape), 0, 1).astype(np.float32)
    # in double precision there too: its float32 loses 1e-4 where the variance is small
    doubles = (one.astype(np.float64), other.astype(np.float64))
    _, expected = structural_similarity(*doubles, data_range=1.0, channel_axis=-1, full=True)
    assert ssim_map(one, other) == pytest.approx(expected.mean(axis=-1), abs=1e-9)


def test_two_flat_greys() -> None:
    # no variance, so SSIM = (2 * 0.5 * 0.6 + C1) / (0.25 + 0.36 + C1) with C1 = 0.01^2 = 0.0001: 0.6001 / 0.6101
    half, more = (np.full((20, 20, 3), grey, np.float64).astype(np.float32) for grey in (0.5, 0.6))
    assert ssim_map(half, more) == pytest.approx(np.full((20, 20), 0.6001 / 0.6101), abs=1e-6)


def test_white_agrees_with_white_exactly() -> None:
    white = np.ones((30, 20, 3), np.float32)
    assert (ssim_map(white, white) == 1.0).all()
