"""How far the views' surfaces lie apart: what noise alone does not tell of a depth map.

Sensors' errors are alike among neighbouring pixels, and poses are a little off; neither shows within one view. Both
show where two views see the same surface.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from meshdrop.models.surface.range_view import RangeView
from meshdrop.models.views.seen_points import normals, same_side

Array = NDArray[np.float64]

#: Each view is compared with this many others: those that look most alike.
NEIGHBOURS = 6
#: Points of a view that are looked up in another, about.
POINTS = 1500
#: Fewer common points say nothing about two views.
FEWEST_POINTS = 60
#: Two views that share less than this share of one's points see each other's rims and what is hidden, if anything.
COMMON_SHARE = 0.15
#: Farther apart than this share of their distance, two depths are of different surfaces; ...
SAME_SURFACE = 0.02
#: ... but what stands before the surface that a view measured cannot be hidden from it, so that up to this share it is
#: an error of one of the two.
IN_FRONT = 0.2
#: Surfaces seen at a smaller factor than this are not compared: a pixel beside is another depth.
FLATTEST = 0.3
#: Nor is what lies so near the outline, in pixels: filters see the rim alone there.
RIM_PX = 3.0


def agreed(views: Sequence[RangeView], apart: Array | None = None) -> list[RangeView]:
    """The views with ``spread`` raised to what their neighbours' surfaces say of it; ``apart`` is ``median_by_view`` of
    them where that is known.

    Of the disagreement between two views, half of the variance is each one's; a view's own is the median over its
    neighbours, so that one bad view does not spoil the others' figures. It is taken to grow with the square of the
    distance, as the error of triangulation does (Khoshelham and Oude Elberink 2012).
    """
    apart = median_by_view(disagreements(views), len(views)) if apart is None else apart
    return [view if found == 0 else _widened(view, found) for view, found in zip(views, apart, strict=True)]


def disagreements(views: Sequence[RangeView]) -> dict[tuple[int, int], float]:
    """Per pair of neighbours that see enough of the same surface, the standard deviation of each one's against the
    other's, as a share of the distance squared (1/m)."""
    found = {}
    for here, there in pairs(views):
        off, asked = _offsets(views[here], views[there])
        if len(off) >= max(FEWEST_POINTS, COMMON_SHARE * asked):
            found[here, there] = 1.4826 * float(np.median(np.abs(off))) / np.sqrt(2)
    return found


def median_by_view(apart: Mapping[tuple[int, int], float], count: int) -> Array:
    """Of what ``disagreements`` gives, each view's own, (N,); 0 where there is none."""
    found: list[list[float]] = [[] for _ in range(count)]
    for pair, deviation in apart.items():
        for n in pair:
            found[n].append(deviation)
    return np.array([np.median(values) if values else 0.0 for values in found])


def pairs(views: Sequence[RangeView]) -> list[tuple[int, int]]:
    """Each view with depth and its nearest neighbours by the angle between their optical axes and by distance."""
    able = [n for n, view in enumerate(views) if view.depth.any()]
    if len(able) < 2:
        return []
    axes = np.array([-views[n].camera.c2w[:3, 2] for n in able])
    centres = np.array([views[n].camera.centre for n in able])
    span = max(float(np.ptp(centres, axis=0).max()), 1e-9)
    gap = np.linalg.norm(centres[:, None] - centres, axis=2) / span + (1 - axes @ axes.T)
    np.fill_diagonal(gap, np.inf)
    pairs = set()
    for row, order in enumerate(np.argsort(gap, axis=1, kind="stable")):
        pairs |= {(able[row], able[column]) for column in order[: min(NEIGHBOURS, len(able) - 1)]}
    return sorted(pairs)


def _offsets(here: RangeView, there: RangeView) -> tuple[Array, int]:
    """Signed distances from points of ``here`` to the surface of ``there``, over the distance from ``there`` squared,
    positive before it; and of how many points they were asked.

    Points whose normals there are not alike are left out: through a thin part the other side is near."""
    rows, columns = np.nonzero((here.depth > 0) & (here.factor > FLATTEST) & (here.outline < -RIM_PX))
    thin = slice(None, None, max(1, len(rows) // POINTS))
    rows, columns = rows[thin], columns[thin]
    u, v = columns.astype(np.float64) + 0.5, rows.astype(np.float64) + 0.5
    points = here.camera.unproject(u, v, here.depth[rows, columns].astype(np.float64))
    u, v, z = there.camera.project(points)
    height, width = there.depth.shape
    met = (z > 0) & (u >= 0.5) & (u < width - 0.5) & (v >= 0.5) & (v < height - 0.5)
    u, v, z = u[met] - 0.5, v[met] - 0.5, z[met]
    x, y = np.minimum(u.astype(int), width - 2), np.minimum(v.astype(int), height - 2)
    corners = np.stack([there.depth[y + i, x + j] for i in (0, 1) for j in (0, 1)]).astype(np.float64)
    a, b = u - x, v - y
    shares = np.stack([(1 - a) * (1 - b), a * (1 - b), (1 - a) * b, a * b])
    factor = there.factor[y, x].astype(np.float64)
    whole = (corners.min(axis=0) > 0) & (np.ptp(corners, axis=0) < SAME_SURFACE / 2 * z) & (factor > FLATTEST)
    whole &= there.outline[y, x] < -RIM_PX
    off = (shares * corners).sum(axis=0) - z
    same = np.flatnonzero(whole & (off > -SAME_SURFACE * z) & (off < IN_FRONT * z))
    at_here = normals(here.camera, here.depth, columns[met][same], rows[met][same])
    at_there = normals(there.camera, there.depth, x[same], y[same])
    same = same[same_side(here.camera, at_here, there.camera, at_there)]
    return np.asarray((off * factor / z**2)[same], np.float64), len(rows)


def _widened(view: RangeView, apart: float) -> RangeView:
    """The view with at least this deviation; ``apart`` as ``median_by_view`` gives it. What of it the depth's own noise
    does not explain is the cameras', and moves outlines as well."""
    measured = view.depth > 0
    depth, own = float(np.median(view.depth[measured])), float(np.median(view.spread[measured]))
    beside = np.sqrt(max((apart * depth**2) ** 2 - own**2, 0.0))
    focal = min(view.camera.fx, view.camera.fy)
    return replace(
        view,
        spread=np.maximum(view.spread, (apart * view.depth**2).astype(np.float32)),
        slack=float(beside / depth * focal),
    )
