"""The pose to a fraction of a pixel: Gauss-Newton on silhouettes and depth, drawn anew at every step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt

from meshdrop.models.raster.numba_raster import Fragments
from meshdrop.models.registration.agreement import COVERED, Agreement, draw, judged
from meshdrop.models.registration.pixels import points_at
from meshdrop.models.registration.similarity import Similarity, turned_by
from meshdrop.models.registration.small_view import SmallView, slope_at
from meshdrop.models.surface.silhouette import signed_distance

Array = NDArray[np.float64]

#: Residuals up to this share of the object's size count squared, larger ones linearly (Huber), ...
HUBER = 0.01
#: ... and none beyond this one: there something else is seen.
FARTHEST = 0.12
#: Pixels this near to the drawn outline stand for it.
RIM_PX = 1.0
#: Depth pixels taken from each view at most: thousands more would say the same.
MOST_PIXELS = 1500
#: Steps in radians, sizes of the object and growth: a shorter one is not worth drawing, a longer one is cut.
STILL, LONGEST = 3e-4, 0.3


@dataclass(frozen=True)
class RefinedPose:
    """A pose and how well it agrees."""

    pose: Similarity
    agreement: Agreement


@dataclass(frozen=True)
class _Rows:
    """Residuals (N,) in metres and their derivatives (N, 3) by the movement of the surface points (N, 3)."""

    residual: Array
    gradient: Array
    point: Array


def refined(
    sights: Sequence[SmallView], vertices: Array, faces: NDArray[np.int32], start: Similarity, size_m: float, steps: int
) -> list[RefinedPose]:
    """``start`` and the poses after each step, at most ``steps``, all with their agreement.

    A step linearises two kinds of residuals in the seven numbers of a similarity: the distance of drawn points to the
    measured surface along its normal, and the distance between the drawn and the photographed outline, asked from
    either side. Both outlines are measured alike, on pictures of the same size, so that the size of a pixel cancels.
    Either kind counts the same as a whole, whatever its number of pixels.
    """
    found: list[RefinedPose] = []
    pose = start
    for number in range(steps + 1):
        placed = pose.apply(vertices)
        drawn = [draw(sight, placed, faces) for sight in sights]
        found.append(RefinedPose(pose, judged(sights, drawn, size_m)))
        if number == steps:
            break
        centre = placed.mean(axis=0)
        move = _solve(sights, drawn, centre, size_m)
        if move is None:
            break
        if np.abs(move).max() < STILL:
            break
        pose = _moved(pose, np.clip(move, -LONGEST, LONGEST) * [1, 1, 1, size_m, size_m, size_m, 1], centre)
    return found


def _moved(pose: Similarity, move: Array, centre: Array) -> Similarity:
    """``pose``, then a turn about ``centre`` by move[:3], a shift by move[3:6] and a growth by exp(move[6])."""
    scale, rotation = float(np.exp(move[6])), turned_by(move[:3])
    return Similarity(scale, rotation, centre + move[3:6] - scale * rotation @ centre).after(pose)


def _solve(sights: Sequence[SmallView], drawn: Sequence[Fragments], centre: Array, size_m: float) -> Array | None:
    """The step (7,): turn in radians, shift in sizes, growth; None when too little is seen to tell."""
    surface = [_surface_rows(sight, picture) for sight, picture in zip(sights, drawn, strict=True)]
    outline = [rows for sight, picture in zip(sights, drawn, strict=True) for rows in _outline_rows(sight, picture)]
    A, b, count = np.zeros((7, 7)), np.zeros(7), 0
    for parts in (surface, outline):
        residual = np.concatenate([part.residual for part in parts]) if parts else np.zeros(0)
        near = np.abs(residual) < FARTHEST * size_m
        if near.sum() < 7:
            continue
        gradient, point = (
            np.concatenate([getattr(part, name) for part in parts])[near] for name in ("gradient", "point")
        )
        residual, arm = residual[near], point - centre
        J = np.column_stack([np.cross(arm, gradient), gradient * size_m, (arm * gradient).sum(axis=1)])
        weight = np.minimum(1.0, HUBER * size_m / np.maximum(np.abs(residual), 1e-300)) / len(residual)
        A += (J * weight[:, None]).T @ J
        b -= J.T @ (weight * residual)
        count += len(residual)
    if count < 7:
        return None
    # a little of the diagonal keeps a turn that nothing sees (a ball's) where it is
    return np.asarray(np.linalg.solve(A + 1e-4 * np.diag(np.diag(A)) + 1e-9 * np.trace(A) * np.eye(7), b))


def _surface_rows(sight: SmallView, picture: Fragments) -> _Rows:
    place, normal = sight.surface
    known = (picture.face >= 0) & (sight.depth > 0) & (normal != 0).any(axis=-1)
    rows, columns = np.nonzero(known)
    thin = slice(None, None, max(1, len(rows) // MOST_PIXELS))
    rows, columns = rows[thin], columns[thin]
    point = points_at(sight.camera, picture.depth, rows, columns)
    across = normal[rows, columns]
    return _Rows(((point - place[rows, columns]) * across).sum(axis=1), across, point)


def _outline_rows(sight: SmallView, picture: Fragments) -> list[_Rows]:
    """From the drawn outline to the photographed one, and from the photographed one to the drawn."""
    covered = picture.face >= 0
    if not covered.any() or covered.all():
        return []
    drawn = signed_distance(covered.astype(np.float32))
    rim = covered & (drawn > -RIM_PX)
    rows, columns = np.nonzero(rim)
    off = (sight.outline - drawn).astype(np.float64)
    there = _pulled(sight, picture, rows, columns, off[rows, columns], slope_at(sight.outline, rows, columns))
    rows, columns = np.nonzero((sight.mask >= COVERED) & (sight.outline > -RIM_PX))
    if not rim.any() or not len(rows):
        return [there]
    i, j = distance_transform_edt(~rim, return_distances=False, return_indices=True)
    feet = i[rows, columns], j[rows, columns]
    back = _pulled(sight, picture, *feet, off[rows, columns], slope_at(drawn, rows, columns))
    return [there, back]


def _pulled(
    sight: SmallView, picture: Fragments, rows: NDArray[np.intp], columns: NDArray[np.intp], off_px: Array, slope: Array
) -> _Rows:
    """Points at drawn pixels whose outline is ``off_px`` pixels too far along ``slope``, as rows in metres."""
    camera = sight.camera
    point = points_at(sight.camera, picture.depth, rows, columns)
    z = picture.depth[rows, columns].astype(np.float64)
    # u = cx + fx x / z, v = cy - fy y / z; a pixel is z / fx metres wide
    right, up, back = camera.c2w[:3, 0], camera.c2w[:3, 1], camera.c2w[:3, 2]
    x, y = (columns + 0.5 - camera.cx) / camera.fx, (camera.cy - rows - 0.5) / camera.fy
    by_u = right[None] + x[:, None] * back
    by_v = -(up[None] + y[:, None] * back)
    gradient = slope[:, :1] * by_u + slope[:, 1:] * by_v * (camera.fy / camera.fx)
    return _Rows(off_px * z / camera.fx, gradient, point)
