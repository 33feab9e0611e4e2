"""How much of a texture is used twice: where triangles lie over each other in it, what is painted on one shows on the
other."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

#: Corners are snapped to 1/256 texel: edge functions of whole numbers are exact, so of two triangles that share an edge
#: exactly one has each texel's centre on it (Pineda, "A parallel algorithm for polygon rasterization", 1988).
_BITS = 8
_TEXEL, _HALF = 1 << _BITS, 1 << (_BITS - 1)


def overlap_share(uv: NDArray[np.floating], size: tuple[int, int]) -> float:
    """Share, 0..1, of the used texels whose centres lie in two triangles or more; 0 when none is used.

    ``uv`` (F, 3, 2) in 0..1, ``size`` the texture's width and height.
    """
    width, height = size
    grid = np.rint(uv.astype(np.float64) * (width * _TEXEL, height * _TEXEL)).astype(np.int64)
    uses = np.zeros((height, width), np.uint8)
    _count(grid, uses)
    used = int((uses > 0).sum())
    return int((uses > 1).sum()) / used if used else 0.0


@njit(cache=True, nogil=True)
def _count(grid, uses):  # type: ignore[no-untyped-def]
    """Add each triangle of ``grid`` (F, 3, 2) to the texels of ``uses`` (H, W) that it has; two stands for more."""
    for f in range(grid.shape[0]):
        ax, ay, bx, by = grid[f, 0, 0], grid[f, 0, 1], grid[f, 1, 0], grid[f, 1, 1]
        cx, cy = grid[f, 2, 0], grid[f, 2, 1]
        area = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
        if area == 0:
            continue
        if area < 0:
            bx, by, cx, cy = cx, cy, bx, by
        left, right = _span(ax, bx, cx, uses.shape[1])
        first, last = _span(ay, by, cy, uses.shape[0])
        for i in range(first, last):
            y = i * _TEXEL + _HALF
            for j in range(left, right):
                x = j * _TEXEL + _HALF
                if _inside(ax, ay, bx, by, x, y) and _inside(bx, by, cx, cy, x, y) and _inside(cx, cy, ax, ay, x, y):
                    uses[i, j] = min(uses[i, j] + 1, 2)


@njit(cache=True, nogil=True)
def _span(a, b, c, count):  # type: ignore[no-untyped-def]
    """The texels of a row or column, from and up to, that a triangle's corners enclose."""
    return max(min(a, b, c) >> _BITS, 0), min((max(a, b, c) >> _BITS) + 1, count)


@njit(cache=True, nogil=True)
def _inside(ax, ay, bx, by, x, y):  # type: ignore[no-untyped-def]
    """Whether a point is left of the edge from a to b, or on it where the edge runs up (or, level, to the right)."""
    side = (bx - ax) * (y - ay) - (by - ay) * (x - ax)
    return side > 0 or (side == 0 and (by > ay or (by == ay and bx > ax)))
