"""Depth against the other views' depth: a pixel that looks through a surface that others measured is wrong.

Where depth is too far, the view says that the surface before it is free, and everything behind as well, so that one
patch of a window or of a dark thing bores a hole into what all others saw. Free space is evidence and no veto (Merrell
and others, "Real-time visibility-based fusion of depth maps", 2007).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_closing, binary_dilation, binary_opening, binary_propagation

from meshdrop.models.surface.range_view import RangeView
from meshdrop.models.surface.tsdf import REACH
from meshdrop.models.views.agreement import FLATTEST, SAME_SURFACE, pairs

Bools = NDArray[np.bool_]

#: Depth is compared on about this many rows and columns.
SIDE = 160
#: So many others at least must have measured what a pixel looks through.
FEWEST = 2


def contradicted(views: Sequence[RangeView]) -> list[Bools]:
    """Per view the pixels (H, W) whose depth lies behind what at least FEWEST neighbours measured on the same rays, and
    more of them than measured the same as it, itself among those. Strips as narrow as two pixels of the comparison are
    no part of it: at the rim of something nearer no two views agree."""
    steps = [max(1, round(max(view.depth.shape) / SIDE)) for view in views]
    found = [np.zeros((2, *view.depth[::step, ::step].shape), int) for view, step in zip(views, steps, strict=True)]
    couples = pairs(views)
    for one, other in sorted({*couples, *((there, here) for here, there in couples)}):
        found[one] += _votes(views[one], steps[one], views[other], steps[other])
    return [
        _whole(before, same, step, view.depth.shape) & (view.depth > 0)
        for (before, same), step, view in zip(found, steps, views, strict=True)
    ]


def _votes(view: RangeView, step: int, other: RangeView, other_step: int) -> NDArray[np.int_]:
    """Where ``other`` measured something before what ``view`` did, and where the same, (2, h, w) of 0 and 1."""
    depth, spread = view.depth[::step, ::step], view.spread[::step, ::step]
    rows, columns = np.nonzero(other.depth[::other_step, ::other_step] > 0)
    rows, columns = rows * other_step, columns * other_step
    u, v = columns.astype(np.float64) + 0.5, rows.astype(np.float64) + 0.5
    points = other.camera.unproject(u, v, other.depth[rows, columns].astype(np.float64))
    u, v, z = view.camera.project(points)
    height, width = view.depth.shape
    met = (z > 0) & (u >= 0) & (u < width) & (v >= 0) & (v < height)
    x, y, z = u[met].astype(int) // step, v[met].astype(int) // step, z[met]
    gate = SAME_SURFACE * z + REACH * (spread[y, x] + other.spread[rows, columns][met])
    # of what is seen from the side a pixel beside is another depth
    off = np.where(view.factor[::step, ::step][y, x] > FLATTEST, depth[y, x] - z, np.nan)
    out = np.zeros((2, *depth.shape), np.bool_)
    for place, such in enumerate((off > gate, np.abs(off) <= gate)):
        out[place, y[such], x[such]] = True
        # their pixels may lie farther apart than ours
        out[place] |= binary_closing(out[place])
    return out.astype(int)


def _whole(before: NDArray[np.int_], same: NDArray[np.int_], step: int, shape: tuple[int, int]) -> Bools:
    """The pixels of the whole picture that are outvoted, and those around them that one other at least denies and no
    more confirm."""
    denied = binary_opening(before > same, np.ones((3, 3)))
    outvoted = binary_opening((before >= FEWEST) & (before > same + 1), np.ones((3, 3)))
    wrong = binary_propagation(outvoted, mask=denied)
    # the ragged edge of it
    wrong |= binary_dilation(wrong, np.ones((3, 3)), iterations=2) & (before >= same)
    return np.asarray(wrong.repeat(step, axis=0).repeat(step, axis=1)[: shape[0], : shape[1]], np.bool_)
