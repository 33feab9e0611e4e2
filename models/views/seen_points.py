"""Points of the surface that pixels show, and which way it faces there."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from meshdrop.models.formats.cameras import Camera

Array = NDArray[np.float64]

#: Where two views measured one surface its normals differ by less than the angle of this cosine, noise included; the
#: two sides of a sheet or a rod face away from each other.
ALIKE = 0.5


def local_points(camera: Camera, x: NDArray[np.int64], y: NDArray[np.int64], depth: Array) -> Array:
    """The points in camera axes (N, 3), metres, that pixels (N,) show at these depths."""
    across, up = (x + 0.5 - camera.cx) / camera.fx * depth, (camera.cy - y - 0.5) / camera.fy * depth
    return np.stack([across, up, -depth], axis=-1)


def normals(camera: Camera, depth: NDArray[np.float32], x: NDArray[np.int64], y: NDArray[np.int64]) -> Array:
    """Unit normals in camera axes (N, 3), towards the camera, at pixels of ``depth`` (H, W); 0 at the picture's border
    and where a neighbour was not measured."""
    height, width = depth.shape
    inner = (x > 0) & (y > 0) & (x < width - 1) & (y < height - 1)
    x, y = np.clip(x, 1, width - 2), np.clip(y, 1, height - 2)
    sides = [(1, 0), (-1, 0), (0, 1), (0, -1)]
    around = [local_points(camera, x + dx, y + dy, depth[y + dy, x + dx].astype(np.float64)) for dx, dy in sides]
    normal = np.cross(around[2] - around[3], around[0] - around[1])
    length = np.linalg.norm(normal, axis=1)
    whole = inner & (np.min([depth[y + dy, x + dx] for dx, dy in sides], axis=0) > 0)
    return np.where((whole & (length > 0))[:, None], normal / np.maximum(length, 1e-30)[:, None], 0.0)


def same_side(here: Camera, at_here: Array, there: Camera, at_there: Array) -> NDArray[np.bool_]:
    """Whether normals (N, 3) in the axes of two cameras are of one side of one surface."""
    turn = there.c2w[:3, :3].T @ here.c2w[:3, :3]
    return np.asarray(((at_here @ turn.T) * at_there).sum(axis=1) > ALIKE, np.bool_)
