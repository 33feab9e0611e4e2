"""Structural similarity of two pictures (Wang, Bovik, Sheikh and Simoncelli, 2004) with nothing but NumPy.

The figures are those of ``skimage.metrics.structural_similarity`` with its defaults (the tests compare them), in
double precision; importing that function costs a measurement more time than all of its SSIM.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]

#: Side of the uniform windows, and how far they reach from their pixel.
WINDOW_PX = 7
REACH_PX = WINDOW_PX // 2
K1, K2 = 0.01, 0.03


def ssim_map(one: Floats, other: Floats) -> Doubles:
    """SSIM per pixel (H, W) of two pictures (H, W, C) with values 0..1, mean of the channels.

    7 x 7 uniform windows, pictures mirrored at their edges, sample covariances, K1 = 0.01, K2 = 0.03.
    """
    channels = [_channel(one[..., k], other[..., k]) for k in range(one.shape[2])]  # one at a time stays in the cache
    result: Doubles = sum(channels[1:], start=channels[0]) / len(channels)
    return result


def _channel(one: Floats, other: Floats) -> Doubles:
    x, y = one.astype(np.float64), other.astype(np.float64)
    mean_x, mean_y = _windowed(x), _windowed(y)
    unbiased = WINDOW_PX**2 / (WINDOW_PX**2 - 1)
    product, squares = mean_x * mean_y, mean_x * mean_x + mean_y * mean_y
    covariance = unbiased * (_windowed(x * y) - product)
    variances = unbiased * (_windowed(x * x + y * y) - squares)
    c1, c2 = K1**2, K2**2
    similarity: Doubles = (2 * product + c1) * (2 * covariance + c2) / ((squares + c1) * (variances + c2))
    return similarity


def _windowed(picture: Doubles) -> Doubles:
    """The mean of every pixel's window, (H, W)."""
    padded = np.pad(picture, REACH_PX, mode="symmetric")
    # 7 = 4 + 2 + 1: four additions instead of six, first down the rows, then along them
    two = padded[:-1] + padded[1:]
    four = two[:-2] + two[2:]
    high = four[:-3] + two[4:-1] + padded[6:]
    two = high[:, :-1] + high[:, 1:]
    four = two[:, :-2] + two[:, 2:]
    sums: Doubles = four[:, :-3] + two[:, 4:-1] + high[:, 6:]
    return sums / WINDOW_PX**2
