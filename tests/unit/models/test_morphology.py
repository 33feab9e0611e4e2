"""Regions grow and shrink as SciPy's do."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import binary_dilation, binary_erosion

from models.morphology import dilated, eroded


@pytest.mark.parametrize("steps", [1, 3, 5])
def test_steps_are_those_of_scipy(steps: int) -> None:
    region = np.random.default_rng(2).random((40, 30)) < 0.9
    region[10:35, :20] = True  # reaches the edge
    sparse = np.random.default_rng(3).random((40, 30)) < 0.02
    assert np.array_equal(eroded(region, steps), binary_erosion(region, iterations=steps))
    assert np.array_equal(dilated(sparse, steps), binary_dilation(sparse, iterations=steps))
    assert eroded(region, steps).any() or steps == 5


def test_a_single_pixel_grows_to_a_diamond() -> None:
    # within 2 steps: 1 + 4 + 8 = 13 pixels
    pixel = np.zeros((9, 9), np.bool_)
    pixel[4, 4] = True
    assert dilated(pixel, 2).sum() == 13
    assert np.array_equal(eroded(dilated(pixel, 2), 2), pixel)
