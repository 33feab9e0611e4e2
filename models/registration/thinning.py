"""Fewer points, evenly spread: a search that looks at them a thousand times needs no more."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def spread_points(points: Array, most: int) -> NDArray[np.intp]:
    """Which of ``points`` (N, 3) to keep, so that about ``most`` stay and lie evenly in space: one a lattice cell, the
    nearest to the cell's mean."""
    if len(points) <= most:
        return np.arange(len(points))
    reach = max(float(np.ptp(points, axis=0).max()), 1e-300)
    # a surface meets about as many cells of a lattice as the square of its fineness
    cells = np.sqrt(most / 3.0)
    for _ in range(6):
        kept = _one_a_cell(points, reach / cells)
        if 0.85 * most <= len(kept) <= 1.1 * most:
            break
        cells *= np.sqrt(most / len(kept))
    return kept


def _one_a_cell(points: Array, cell: float) -> NDArray[np.intp]:
    place = ((points - points.min(axis=0)) // cell).astype(np.int64)
    span = int(place.max()) + 1
    key = (place[:, 0] * span + place[:, 1]) * span + place[:, 2]
    _, number, count = np.unique(key, return_inverse=True, return_counts=True)
    mean = np.stack([np.bincount(number, points[:, axis]) for axis in range(3)], axis=1) / count[:, None]
    off = ((points - mean[number]) ** 2).sum(axis=1)
    order = np.lexsort((off, number))
    first: NDArray[np.intp] = order[np.concatenate([[0], np.cumsum(count)[:-1]])]
    return first
