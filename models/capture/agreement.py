"""How well views fit together, measured: colours where depth says that two see one place, outlines where it does not.

The first two are asked about readings of one capture that differ in one thing (a turn, inverted masks), never how good
a capture is: ``models.probe`` judges that. ``unexplained`` says something of one reading alone.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from meshdrop.models.formats.cameras import Camera, common_point

Array = NDArray[np.float64]

#: Views that are looked at, evenly spread; each with its neighbours of the list, the last with the first.
_MOST_VIEWS = 24
_NEIGHBOURS = 3
_POINTS_A_VIEW = 1500
#: Two depths are of one place when they differ by no more than this share.
_SAME_PLACE = 0.02
_FEWEST_PAIRS = 200
#: Points of the lattice that is carved, along each side.
_LATTICE = 56
#: Cells of an outline along its longer side.
_CELLS = 48
#: Points along each side, and cells of an outline, where a shape must not be lost between them.
_CLOSE_LATTICE, _CLOSE_CELLS = 48, 160
#: Outlines may lie beside each other by this share of the object's size: rigs are built by hand.
_SLACK = 0.03


def colour_difference(
    cameras: Sequence[Camera], images: Sequence[NDArray[np.uint8]], depths: Sequence[NDArray[np.floating]]
) -> float | None:
    """Mean difference of grey levels, in 0..255, where depth says that two views see one place; None where too few do.

    Each view's levels are compared after its mean is taken off, so that exposure does not count. Depth is planar, in
    the unit of the cameras.
    """
    chosen = _spread(len(cameras))
    greys = [images[index][..., :3].mean(axis=2) for index in chosen]
    found: list[Array] = []
    for place, index in enumerate(chosen):
        points, own = _points(cameras[index], depths[index], greys[place])
        for step in range(1, min(_NEIGHBOURS, len(chosen) - 1) + 1):
            at = (place + step) % len(chosen)
            other = cameras[chosen[at]]
            rows, columns, away, inside = _projected(points, other)
            there = depths[chosen[at]][rows, columns]
            same = inside & (there > 0) & (np.abs(there - away) <= _SAME_PLACE * away)
            if same.sum() >= 20:
                pair = own[same] - own[same].mean(), greys[at][rows, columns][same]
                found.append(np.abs(pair[0] - (pair[1] - pair[1].mean())))
    together = np.concatenate(found) if found else np.zeros(0)
    return float(together.mean()) if together.size >= _FEWEST_PAIRS else None


def outlines_agree(cameras: Sequence[Camera], masks: Sequence[NDArray[np.bool_]]) -> float | None:
    """How well the shape that all outlines allow fills each of them: 0..1, the mean of intersection over union.

    The shape is carved from a lattice around the point that the cameras look at; None where they look at none.
    """
    chosen = _spread(len(cameras))
    cameras, masks = [cameras[index] for index in chosen], [masks[index] for index in chosen]
    box = _looked_at(cameras)
    if box is None:
        return None
    centre, half = box
    line = np.linspace(-half, half, _LATTICE)
    points = centre + np.stack(np.meshgrid(line, line, line), axis=-1).reshape(-1, 3)
    kept = np.ones(len(points), dtype=bool)
    seen = []
    for camera, mask in zip(cameras, masks, strict=True):
        rows, columns, _, inside = _projected(points, camera)
        kept &= inside & mask[rows, columns]
        seen.append((rows, columns))
    if not kept.any():
        return 0.0
    scores = []
    for (rows, columns), mask in zip(seen, masks, strict=True):
        cell = max(1, max(mask.shape) // _CELLS)
        coarse = mask[cell // 2 :: cell, cell // 2 :: cell]
        filled = np.zeros(coarse.shape, dtype=bool)
        filled[
            np.minimum(rows[kept] // cell, coarse.shape[0] - 1), np.minimum(columns[kept] // cell, coarse.shape[1] - 1)
        ] = True
        scores.append((filled & coarse).sum() / max(1, (filled | coarse).sum()))
    return float(np.mean(scores))


def unexplained(cameras: Sequence[Camera], masks: Sequence[NDArray[np.bool_]]) -> list[float] | None:
    """Of each outline the share that no shape can show under these cameras, since other outlines exclude it; 0..1.

    Generous everywhere: outlines are grown by what the lattice loses and what a rig may be off, and what lies outside
    of a picture is not excluded by it. None where the cameras look at no one point.
    """
    box = _looked_at(cameras)
    if box is None:
        return None
    cells = [max(1, -(-max(mask.shape) // _CLOSE_CELLS)) for mask in masks]
    coarse = [_any_of_cells(mask, cell) for mask, cell in zip(masks, cells, strict=True)]
    centre, half = box
    line = np.linspace(-half, half, _CLOSE_LATTICE) * _reach(cameras, masks)
    points = centre + np.stack(np.meshgrid(line, line, line), axis=-1).reshape(-1, 3)
    # Half the diagonal of a lattice's cell, a third larger where the shape is nearer than its middle.
    apart = 0.87 * 1.3 * (line[1] - line[0])
    kept = np.ones(len(points), dtype=bool)
    seen, radii = [], []
    for camera, mask, cell in zip(cameras, coarse, cells, strict=True):
        away = float(camera.project(centre[None])[2][0])
        radii.append(apart * camera.fx / away / cell + _SLACK * np.sqrt(mask.sum()) + 1)
        rows, columns, _, inside = _projected(points, camera)
        seen.append((rows // cell, columns // cell, inside))
        kept &= ~inside | _grown(mask, radii[-1])[seen[-1][:2]]
    shares = []
    for (rows, columns, inside), mask, radius in zip(seen, coarse, radii, strict=True):
        shown = np.zeros(mask.shape, dtype=bool)
        shown[rows[kept & inside], columns[kept & inside]] = True
        shares.append(float((mask & ~_grown(shown, radius)).sum() / max(1, mask.sum())))
    return shares


def _any_of_cells(mask: NDArray[np.bool_], cell: int) -> NDArray[np.bool_]:
    rows, columns = -(-mask.shape[0] // cell), -(-mask.shape[1] // cell)
    padded = np.zeros((rows * cell, columns * cell), dtype=bool)
    padded[: mask.shape[0], : mask.shape[1]] = mask
    return np.asarray(padded.reshape(rows, cell, columns, cell).any(axis=(1, 3)))


def _grown(mask: NDArray[np.bool_], radius: float) -> NDArray[np.bool_]:
    return np.asarray(ndimage.distance_transform_edt(~mask) <= radius) if mask.any() else mask


def _reach(cameras: Sequence[Camera], masks: Sequence[NDArray[np.bool_]]) -> float:
    """The share of the cube that the pictures show in which the object lies, with a quarter to spare."""
    farthest = 0.0
    for camera, mask in zip(cameras, masks, strict=True):
        rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        if rows.size:
            out = max(abs(rows[[0, -1]] - camera.cy).max(), abs(columns[[0, -1]] - camera.cx).max())
            farthest = max(farthest, float(out / (max(mask.shape) / 2)))
    return min(1.5, 1.25 * farthest)


def _spread(count: int) -> list[int]:
    if count <= _MOST_VIEWS:
        return list(range(count))
    return [index * count // _MOST_VIEWS for index in range(_MOST_VIEWS)]


def _points(camera: Camera, depth: NDArray[np.floating], grey: Array) -> tuple[Array, Array]:
    """World points (N, 3) of a view's measured pixels, some of them, and their grey levels."""
    measured = np.flatnonzero(depth > 0)
    few = measured[:: max(1, len(measured) // _POINTS_A_VIEW)]
    rows, columns = np.divmod(few, depth.shape[1])
    return camera.unproject(columns + 0.5, rows + 0.5, depth[rows, columns].astype(np.float64)), grey[rows, columns]


def _projected(points: Array, camera: Camera) -> tuple[NDArray[np.intp], NDArray[np.intp], Array, NDArray[np.bool_]]:
    """Rows, columns, planar depth, and whether it lies in the picture, of each point."""
    u, v, away = camera.project(points)
    inside = (away > 0) & (u >= 0) & (u < camera.width) & (v >= 0) & (v < camera.height)
    return np.where(inside, v, 0).astype(np.intp), np.where(inside, u, 0).astype(np.intp), away, inside


def _looked_at(cameras: Sequence[Camera]) -> tuple[Array, float] | None:
    """The point nearest to all optical axes, and half the side of a cube around it that the pictures show."""
    point = common_point(cameras)
    if point is None:
        return None
    away = np.array([camera.project(point[None])[2][0] for camera in cameras])
    if (away <= 0).any():
        return None
    halves = [
        distance * max(camera.width / camera.fx, camera.height / camera.fy) / 2
        for distance, camera in zip(away, cameras, strict=True)
    ]
    return point, float(np.median(halves))
