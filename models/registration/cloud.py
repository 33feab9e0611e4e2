"""Points on a surface with their normals, as somebody outside would see them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from meshdrop.models.contract.side_by_side import each
from meshdrop.models.formats.cameras import Camera, look_at
from meshdrop.models.raster.numba_raster import rasterize
from meshdrop.models.registration.pixels import points_at
from meshdrop.models.registration.thinning import spread_points

Array = NDArray[np.float64]

#: From how many sides a mesh is looked at, and how many pixels each picture has a side.
SIDES = 26
SIDE_PX = 72
#: How far away those cameras stand, in radii of the mesh: almost parallel rays.
AWAY = 12.0


@dataclass(frozen=True)
class Cloud:
    """``points`` (N, 3) and unit ``normals`` (N, 3), outward."""

    points: Array
    normals: Array

    def spread(self, most: int) -> Cloud:
        """About ``most`` of the points, evenly spread."""
        kept = spread_points(self.points, most)
        return Cloud(self.points[kept], self.normals[kept])


def seen_from_outside(vertices: NDArray[np.floating], faces: NDArray[np.integer]) -> Cloud:
    """What can be seen of a mesh from 26 sides, some 10,000 points.

    Unlike samples of its triangles these leave out inner sheets and crumbs inside, which generated surfaces have and no
    camera ever shows. Normals point to who saw the point, whatever way the triangle is wound.
    """
    points = np.asarray(vertices, np.float64)
    used = points[np.unique(faces)]
    centre = (used.min(axis=0) + used.max(axis=0)) / 2
    radius = max(float(np.linalg.norm(used - centre, axis=1).max()), 1e-12)
    corners = points[faces]
    across = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    across /= np.maximum(np.linalg.norm(across, axis=1, keepdims=True), 1e-300)
    cameras = [_camera(direction, centre, radius) for direction in directions(SIDES)]
    found = each(lambda camera: _seen(points, faces, across, camera), cameras)
    return Cloud(np.concatenate([one.points for one in found]), np.concatenate([one.normals for one in found]))


def directions(count: int) -> Array:
    """Unit vectors (count, 3), evenly spread: points at equal heights, turned by the golden angle."""
    height = 1 - (2 * np.arange(count) + 1) / count
    turn = np.arange(count) * (np.pi * (3 - np.sqrt(5.0)))
    side = np.sqrt(1 - height**2)
    return np.stack([side * np.cos(turn), height, side * np.sin(turn)], axis=1)


def _camera(direction: Array, centre: Array, radius: float) -> Camera:
    x, y, z = (float(value) for value in direction)
    c2w = look_at((x, y, z), (0.0, 0.0, 1.0) if abs(y) > 0.9 else (0.0, 1.0, 0.0), AWAY * radius)
    c2w[:3, 3] += centre
    focal = SIDE_PX / 2 * np.sqrt(AWAY**2 - 1)  # the sphere around the mesh just fills the picture
    return Camera(SIDE_PX, SIDE_PX, focal, focal, SIDE_PX / 2, SIDE_PX / 2, c2w)


def _seen(points: Array, faces: NDArray[np.integer], across: Array, camera: Camera) -> Cloud:
    drawn = rasterize(camera, points, faces)
    rows, columns = np.nonzero(drawn.face >= 0)
    place = points_at(camera, drawn.depth, rows, columns)
    normal = across[drawn.face[rows, columns]]
    towards = ((camera.centre - place) * normal).sum(axis=1, keepdims=True)
    return Cloud(place, np.where(towards < 0, -normal, normal))
