"""What the views of a capture say of each other: points of one, looked at from another's camera, and counted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from meshdrop.models.capture.capture import View
from meshdrop.models.formats.cameras import Camera
from meshdrop.models.probe.values import FEWEST_POINTS, Reading, ViewScore

Array = NDArray[np.float64]

POINTS_A_VIEW = 300
#: Depth maps are compared on a grid of about this many cells along the longer side.
GRID_SIDE = 256
#: Two surfaces agree within this share of the object's size, plus four sigma of the sensor's noise.
TOLERANCE_OF_SIZE = 0.03


@dataclass(frozen=True)
class ViewMap:
    """What one view contributes: sample points, and a coarse picture of silhouette and depth to test others against.

    ``rays`` (N, 3) are camera directions with z = -1, ``counts`` (N,) their raw depth. ``near`` and ``far`` (h, w) are
    the least and largest raw depth around each cell (inf and 0 without depth), ``inside`` (h, w) the silhouette grown
    by one cell. ``size`` is the object's extent, ``noise`` a sigma and ``tolerance`` the agreement radius, in
    raw counts.
    """

    camera: Camera
    cell: int
    rays: Array
    counts: Array
    near: Array
    far: Array
    inside: NDArray[np.bool_]
    wholly_inside: bool
    size: float
    noise: float
    tolerance: float

    @staticmethod
    def of(view: View, unit: float) -> ViewMap:
        """The map of a view with depth; ``unit`` is what its depth was multiplied by."""
        camera = view.camera
        raw = np.asarray(view.depth, dtype=np.float64) / unit
        mask = view.mask >= 0.5
        valid = mask & (raw > 0)
        rows, columns = _sample(valid)
        rays = np.stack(
            [(columns + 0.5 - camera.cx) / camera.fx, (camera.cy - rows - 0.5) / camera.fy, np.full(rows.size, -1.0)],
            axis=1,
        )
        cell = max(1, max(camera.width, camera.height) // GRID_SIDE)
        noise = _noise(raw, valid)
        size = float(np.median(raw[valid]) * np.sqrt(mask.sum()) / camera.fx)
        frame = (mask[0], mask[-1], mask[:, 0], mask[:, -1])
        return ViewMap(
            camera=camera,
            cell=cell,
            rays=rays,
            counts=raw[rows, columns],
            near=ndimage.minimum_filter(_blocks(np.where(valid, raw, np.inf), cell, np.inf, np.minimum), 3),
            far=ndimage.maximum_filter(_blocks(np.where(valid, raw, 0.0), cell, 0.0, np.maximum), 3),
            inside=ndimage.maximum_filter(_blocks(mask, cell, False, np.maximum), 3),
            wholly_inside=not any(edge.any() for edge in frame),
            size=size,
            noise=noise,
            tolerance=TOLERANCE_OF_SIZE * size + 4 * noise,
        )


def _sample(valid: NDArray[np.bool_]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Rows and columns of points to test, away from depth edges where the object is thick enough for that."""
    inner = ndimage.binary_erosion(valid, iterations=2)
    if inner.sum() < POINTS_A_VIEW // 2:
        inner = valid
    candidates = np.flatnonzero(inner)
    chosen = np.random.default_rng(0).choice(candidates, min(POINTS_A_VIEW, candidates.size), replace=False)
    rows, columns = np.divmod(np.sort(chosen), valid.shape[1])
    return rows, columns


def _blocks(picture: NDArray[Any], cell: int, empty: float, reduce: np.ufunc) -> NDArray[Any]:
    """(H, W) reduced to cells of ``cell`` x ``cell`` pixels."""
    height, width = -(-picture.shape[0] // cell), -(-picture.shape[1] // cell)
    padded = np.full((height * cell, width * cell), empty, dtype=picture.dtype)
    padded[: picture.shape[0], : picture.shape[1]] = picture
    result: NDArray[Any] = padded[::cell, ::cell]
    for offset in range(1, cell * cell):
        result = reduce(result, padded[offset // cell :: cell, offset % cell :: cell])
    return result


def _noise(raw: Array, valid: NDArray[np.bool_]) -> float:
    """Sigma of the depth noise in raw counts, from second differences along rows (their variance is 6 sigma^2)."""
    step = max(1, raw.shape[0] // GRID_SIDE)
    rows, good = raw[::step], valid[::step]
    triple = good[:, :-2] & good[:, 1:-1] & good[:, 2:]
    bend = np.abs(rows[:, :-2] - 2 * rows[:, 1:-1] + rows[:, 2:])[triple]
    return float(np.median(bend)) / (0.6745 * 6**0.5) if bend.size else 0.0


def pair_counts(maps: Sequence[ViewMap], poses: Sequence[Array], reading: Reading) -> NDArray[np.int64]:
    """(V, V, 3): of view i's points seen from view j, how many are consistent, violating, hidden."""
    world = np.concatenate([_world_points(source, pose, reading) for source, pose in zip(maps, poses, strict=True)])
    owner = np.repeat(np.arange(len(maps)), [source.counts.size for source in maps])
    counts = np.zeros((len(maps), len(maps), 3), dtype=np.int64)
    for j, target in enumerate(maps):
        foreign = owner != j
        seen = (world[foreign] - poses[j][:3, 3]) @ poses[j][:3, :3]
        for kind, hits in enumerate(_classify(seen, target, reading)):
            counts[:, j, kind] = np.bincount(owner[foreign][hits], minlength=len(maps))
    return counts


def _world_points(source: ViewMap, pose: Array, reading: Reading) -> Array:
    local = source.rays * (source.counts * reading.depth_unit_m)[:, None]
    local[:, :2] /= reading.focal_scale
    points: Array = local @ pose[:3, :3].T + pose[:3, 3]
    return points


def _classify(
    seen: Array, target: ViewMap, reading: Reading
) -> tuple[NDArray[np.bool_], NDArray[np.bool_], NDArray[np.bool_]]:
    """Points (N, 3) in the target camera's frame: which are consistent, violating, hidden; each (N,)."""
    camera, unit = target.camera, reading.depth_unit_m
    z = -seen[:, 2]
    front = z > 1e-9
    safe = np.where(front, z, 1.0)
    u = camera.cx + camera.fx * reading.focal_scale * seen[:, 0] / safe
    v = camera.cy - camera.fy * reading.focal_scale * seen[:, 1] / safe
    framed = front & (u >= 0) & (u < camera.width) & (v >= 0) & (v < camera.height)
    row = np.where(framed, v, 0).astype(np.intp) // target.cell
    column = np.where(framed, u, 0).astype(np.intp) // target.cell
    near, far = target.near[row, column] * unit, target.far[row, column] * unit
    slack = target.tolerance * unit / reading.focal_scale
    beside = framed & ~target.inside[row, column]
    unframed = ~framed if target.wholly_inside else ~front
    measured = framed & ~beside & np.isfinite(near)
    before = measured & (z < near - slack)
    behind = measured & (z > far + slack)
    return measured & ~before & ~behind, beside | unframed | before, behind


def view_scores(views: Sequence[View], pairs: NDArray[np.int64]) -> tuple[ViewScore, ...]:
    """Each view's score over the pairs it takes part in, and the score of all pairs without it."""
    total = pairs.sum(axis=(0, 1))
    found = []
    for index, view in enumerate(views):
        own = pairs[index].sum(axis=0) + pairs[:, index].sum(axis=0)
        rest = total - own
        found.append(ViewScore(view.name, _share(own), _share(rest)))
    return tuple(found)


def _share(counts: NDArray[np.int64]) -> float:
    """The score of summed counts; 1 when they say too little to blame anybody."""
    evidence = int(counts[0] + counts[1])
    return float(counts[0] / evidence) if evidence >= FEWEST_POINTS else 1.0
