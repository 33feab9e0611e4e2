"""The rotations that a search starts from: all about the vertical, or all there are, evenly spread."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

#: Five degrees apart.
YAWS = 72
#: About 14 degrees from each to its neighbours.
SPREAD = 2304


def yaws(count: int = YAWS) -> Array:
    """Rotations (count, 3, 3) about +Y, evenly spread over the circle, the identity first."""
    angle = np.arange(count) * (2 * np.pi / count)
    out = np.zeros((count, 3, 3))
    out[:, 0, 0], out[:, 0, 2] = np.cos(angle), np.sin(angle)
    out[:, 2, 0], out[:, 2, 2] = -np.sin(angle), np.cos(angle)
    out[:, 1, 1] = 1.0
    return out


def super_fibonacci(count: int = SPREAD) -> Array:
    """Rotations (count, 3, 3), evenly spread over all there are.

    Alexa, "Super-Fibonacci Spirals: Fast, Low-Discrepancy Sampling of SO(3)" (2022), algorithm 1: points on the unit
    quaternions' sphere, two angles of which grow by the golden-ratio-like pair (sqrt 2, psi).
    """
    psi = 1.533751168755204288118041  # the root of psi^4 = psi + 4
    s = np.arange(count) + 0.5
    inner, outer = np.sqrt(s / count), np.sqrt(1 - s / count)
    alpha, beta = 2 * np.pi * s / np.sqrt(2.0), 2 * np.pi * s / psi
    return from_quaternions(
        np.stack([inner * np.sin(alpha), inner * np.cos(alpha), outer * np.sin(beta), outer * np.cos(beta)], axis=-1)
    )


def from_quaternions(quaternions: Array) -> Array:
    """Unit quaternions (N, 4), real part last, as rotations (N, 3, 3)."""
    x, y, z, w = quaternions.T
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
        [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
        [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
    ]
    return np.stack([np.stack(row, axis=-1) for row in rows], axis=-2)
