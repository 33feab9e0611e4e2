"""How far apart the views' surfaces lie in one reading of the file.

Finer than a count of clashes, which forgives a share of the object's size: in the true reading surfaces differ by the
sensor's noise, and in one that is nearly right by millimetres more.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from meshdrop.models.probe.maps import ViewMap
from meshdrop.models.probe.values import Reading

Array = NDArray[np.float64]

#: Fewer points on surfaces that two views share prove nothing.
FEWEST_SHARED = 200
#: Points farther from the other view's surface than this share of the object's size lie on another one.
REACH_OF_SIZE = 0.06
#: Depth is compared where it changes by no more than this share of the object's size, plus eight sigma of the noise.
FLAT_OF_SIZE = 0.02


def apart(maps: Sequence[ViewMap], poses: Sequence[Array], reading: Reading, *, ray_power: int = 0) -> float | None:
    """The median distance of points of one view from the surface of another, as a share of the object's size.

    ``poses`` are OpenGL camera-to-world (4, 4), in metres. Depth is multiplied by this power of the length of its
    ray (x, y, 1): -1 reads it as the distance from the camera's centre, 1 undoes that. None when the views share too
    little.
    """
    world = [_points(source, pose, reading, ray_power) for source, pose in zip(maps, poses, strict=True)]
    shares = np.concatenate(list(_pairs(world, maps, poses, reading, ray_power)))
    return float(np.median(shares)) if shares.size >= FEWEST_SHARED else None


def _points(source: ViewMap, pose: Array, reading: Reading, ray_power: int) -> Array:
    depth = source.counts * reading.depth_unit_m * np.linalg.norm(source.rays, axis=1) ** ray_power
    points: Array = (source.rays * depth[:, None]) @ pose[:3, :3].T + pose[:3, 3]
    return points


def _pairs(
    world: Sequence[Array], maps: Sequence[ViewMap], poses: Sequence[Array], reading: Reading, ray_power: int
) -> Iterator[Array]:
    unit = reading.depth_unit_m
    for j, (target, pose) in enumerate(zip(maps, poses, strict=True)):
        seen = (np.concatenate([points for i, points in enumerate(world) if i != j]) - pose[:3, 3]) @ pose[:3, :3]
        camera, z = target.camera, -seen[:, 2]
        x, y = (seen[:, :2] / np.where(z > 1e-9, z, np.inf)[:, None]).T
        u, v = camera.cx + camera.fx * x, camera.cy - camera.fy * y
        framed = (z > 1e-9) & (u >= 0) & (u < camera.width) & (v >= 0) & (v < camera.height)
        row, column = (np.where(framed, pixel, 0).astype(np.intp) // target.cell for pixel in (v, u))
        near, far = target.near[row, column], target.far[row, column]
        step = np.where(far > 0, far - near, np.inf)  # far is 0 where nothing was measured
        flat = framed & (step <= FLAT_OF_SIZE * target.size + 8 * target.noise)
        measured = (near + far)[flat] / 2 * unit
        measured = measured * np.sqrt(x[flat] ** 2 + y[flat] ** 2 + 1) ** ray_power
        away = np.abs(z[flat] - measured) / (target.size * unit)
        yield away[away <= REACH_OF_SIZE]
