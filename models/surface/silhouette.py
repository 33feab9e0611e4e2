"""Silhouettes: how far each pixel is from the object's outline, to a fraction of a pixel."""

# ruff: noqa: PLR0912 - compiled loops stay in one piece

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray
from scipy.ndimage import correlate1d

Floats = NDArray[np.float32]

#: Distances are exact near the outline; pixels that no outline reaches get this many pixels.
FAR_PX = 1e6


def signed_distance(mask: Floats) -> Floats:
    """Distance of each pixel centre to the outline in pixels, (H, W) float32: negative inside, positive outside.

    The outline is where the coverage, lightly smoothed, is one half; its place between two pixels follows from their
    coverages (the idea of Gustavson and Strand, "Anti-aliased Euclidean distance transform", 2011), so soft masks
    give outlines good to a tenth of a pixel, and the stairs of binary masks are evened out.
    The picture's border is no outline. An empty mask is FAR_PX everywhere, a full one -FAR_PX.
    """
    kernel = np.array([1, 2, 1]) / 4
    smooth = mask.astype(np.float32)
    for axis in (0, 1):
        smooth = correlate1d(smooth, kernel.astype(np.float32), axis=axis, mode="nearest")
    distance = np.empty(mask.shape, np.float32)
    _distance(np.ascontiguousarray(smooth), np.float32(FAR_PX), np.full((*mask.shape, 2), FAR_PX, np.float32), distance)
    return distance


def touches_border(mask: Floats) -> bool:
    """Whether the object reaches the picture's border, so that outside the picture nothing is known."""
    rim = np.concatenate([mask[0], mask[-1], mask[:, 0], mask[:, -1]])
    return bool((rim >= 0.5).any())


@njit(cache=True, nogil=True)
def _offer(foot, i, j, y, x):  # type: ignore[no-untyped-def]
    """Pixel (i, j) takes the foot point of pixel (y, x) when it is nearer than its own."""
    there_x, there_y = foot[y, x, 0] - j, foot[y, x, 1] - i
    here_x, here_y = foot[i, j, 0] - j, foot[i, j, 1] - i
    if there_x * there_x + there_y * there_y < here_x * here_x + here_y * here_y:
        foot[i, j, 0], foot[i, j, 1] = foot[y, x, 0], foot[y, x, 1]


@njit(cache=True, nogil=True, error_model="numpy")
def _distance(smooth, far, foot, out):  # type: ignore[no-untyped-def]
    """Foot points on the outline from the gradient, then carried to every pixel in two sweeps (8SSED)."""
    height, width = smooth.shape
    for i in range(height):
        for j in range(width):
            here = smooth[i, j]
            best, step_x, step_y = 2.0, 0.0, 0.0
            for side in range(4):
                di, dj = (side - 1, 0) if side % 2 == 0 else (0, side - 2)
                y, x = i + di, j + dj
                if 0 <= y < height and 0 <= x < width and (smooth[y, x] >= 0.5) != (here >= 0.5):
                    share = (here - 0.5) / (here - smooth[y, x])
                    if share < best:
                        best, step_x, step_y = share, share * dj, share * di
            if best > 1.0:
                continue
            # the crossing lies on a straight outline across the gradient: its foot from here
            up, down = max(i - 1, 0), min(i + 1, height - 1)
            left, right = max(j - 1, 0), min(j + 1, width - 1)
            gx = (
                smooth[i, right]
                - smooth[i, left]
                + 0.5 * (smooth[up, right] - smooth[up, left] + smooth[down, right] - smooth[down, left])
            )
            gy = (
                smooth[down, j]
                - smooth[up, j]
                + 0.5 * (smooth[down, left] - smooth[up, left] + smooth[down, right] - smooth[up, right])
            )
            steep = gx * gx + gy * gy
            if steep > 1e-6:
                along = (step_x * gx + step_y * gy) / steep
                step_x, step_y = along * gx, along * gy
            foot[i, j, 0] = j + step_x
            foot[i, j, 1] = i + step_y
    for sweep in range(2):
        above = -1 if sweep == 0 else 1
        for a in range(height):
            i = a if sweep == 0 else height - 1 - a
            if 0 <= i + above < height:
                for j in range(width):
                    for x in range(max(j - 1, 0), min(j + 2, width)):
                        _offer(foot, i, j, i + above, x)
            for j in range(1, width):
                _offer(foot, i, j, i, j - 1)
            for b in range(1, width):
                _offer(foot, i, width - 1 - b, i, width - b)
    for i in range(height):
        for j in range(width):
            d = min(np.sqrt((foot[i, j, 0] - j) ** 2 + (foot[i, j, 1] - i) ** 2), far)
            out[i, j] = -d if smooth[i, j] >= 0.5 else d
