"""Occluding contours inside the object: how far each pixel is from the edge of something nearer."""

# ruff: noqa: PLR0912 - compiled loops stay in one piece

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from meshdrop.models.formats.cameras import Camera

Floats = NDArray[np.float32]

#: Pixels farther than this from any nearer edge are clear.
REACH_PX = 16.0
#: A step is a depth difference of more than this many pixel footprints (a smooth surface climbs 6 at 80 degrees),
#: or noises.
STEP_FOOTPRINTS = 6.0
STEP_NOISES = 6.0


def clearance(depth: Floats, camera: Camera, noise: float) -> Floats:
    """Distance in pixels from each pixel centre to the outline of what occludes its surroundings, (H, W) float32.

    The outline is taken midway between the last pixel of the nearer surface and the first of the farther one; that
    last pixel itself gets -0.5. Pixels without a nearer neighbour within REACH_PX get REACH_PX. Beside such an edge
    the free space in front of the farther surface ends at the occluder, sideways, long before it ends at the surface.
    """
    clear, foot = np.full(depth.shape, REACH_PX, np.float32), np.full((*depth.shape, 2), -1, np.int32)
    slope = STEP_FOOTPRINTS / min(camera.fx, camera.fy)
    _clearance(np.ascontiguousarray(depth), slope, STEP_NOISES * noise, np.float32(REACH_PX), foot, clear)
    return clear


@njit(cache=True, nogil=True, error_model="numpy")
def _clearance(depth, slope, slack, reach, foot, out):  # type: ignore[no-untyped-def]
    height, width = depth.shape
    for i in range(height):
        for j in range(width):
            d = depth[i, j]
            if d <= 0:
                continue
            nearest = d * (1 - slope) - slack
            best = 9
            for di in range(-1, 2):
                for dj in range(-1, 2):
                    y, x = i + di, j + dj
                    if 0 <= y < height and 0 <= x < width and 0 < depth[y, x] < nearest and di * di + dj * dj < best:
                        best = di * di + dj * dj
                        foot[i, j, 0], foot[i, j, 1] = y, x
    for sweep in range(2):
        for a in range(height):
            i = a if sweep == 0 else height - 1 - a
            above = -1 if sweep == 0 else 1
            for turn in range(2):
                for b in range(width):
                    j = b if turn == 0 else width - 1 - b
                    d = depth[i, j]
                    if d <= 0:
                        continue
                    back = -1 if turn == 0 else 1
                    nearest = d * (1 - slope) - slack
                    best = reach * reach
                    if foot[i, j, 0] >= 0:
                        best = (foot[i, j, 0] - i) ** 2 + (foot[i, j, 1] - j) ** 2
                    for k in range(4):
                        y = i if k == 0 else i + above
                        x = j + back if k == 0 else j + k - 2
                        if 0 <= y < height and 0 <= x < width and foot[y, x, 0] >= 0:
                            p, q = foot[y, x, 0], foot[y, x, 1]
                            away = (p - i) ** 2 + (q - j) ** 2
                            if away < best and depth[p, q] < nearest:
                                best = away
                                foot[i, j, 0], foot[i, j, 1] = p, q
    for i in range(height):
        for j in range(width):
            if foot[i, j, 0] >= 0:
                away = np.sqrt((foot[i, j, 0] - i) ** 2 + (foot[i, j, 1] - j) ** 2)
                out[i, j] = min(away - 0.5, reach)
                if away < 1.5 and out[foot[i, j, 0], foot[i, j, 1]] == reach:
                    out[foot[i, j, 0], foot[i, j, 1]] = -0.5
