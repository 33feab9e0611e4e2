"""Camera conventions: the only place that knows about axes.

Everywhere in Meshdrop a camera is a pinhole with an **OpenGL camera-to-world** pose: camera x points right, y up,
and the camera looks along its own -z. World units are metres, the canonical world is +Y up. Image row 0 is the top.
Continuous pixel coordinates put the centre of pixel (row i, column j) at (u, v) = (j + 0.5, i + 0.5), so a
principal point of (width / 2, height / 2) is the exact middle of the image. Depth is **planar**: the distance along
the optical axis, not along the ray.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

#: Multiplying a camera-to-world matrix by this on the right turns OpenCV axes (y down, looking along +z) into OpenGL.
OPENCV_TO_OPENGL: Array = np.diag([1.0, -1.0, -1.0, 1.0])

#: The condition of the equations for the point that cameras look at, beyond which their axes are as good as parallel.
MOST_PARALLEL = 1e3

CANONICAL_DISTANCE_M = 2.5
CANONICAL_FOCAL_PX = 1111.0
CANONICAL_SIZE_PX = 512

#: Canonical view order (`view_00` is front), with each camera's viewing direction from the origin and its up vector.
CANONICAL_VIEWS: dict[str, tuple[tuple[float, float, float], tuple[float, float, float]]] = {
    "front": ((0, 0, 1), (0, 1, 0)),
    "back": ((0, 0, -1), (0, 1, 0)),
    "right": ((1, 0, 0), (0, 1, 0)),
    "left": ((-1, 0, 0), (0, 1, 0)),
    "top": ((0, 1, 0), (0, 0, -1)),
    "bottom": ((0, -1, 0), (0, 0, 1)),
}


@dataclass(frozen=True)
class Camera:
    """A pinhole camera: sizes and intrinsics in pixels, ``c2w`` (4, 4) float64, OpenGL axes, metres."""

    width: int
    height: int
    fx: float
    fy: float
    cx: float
    cy: float
    c2w: Array

    @property
    def w2c(self) -> Array:
        """World-to-camera (4, 4); exact inverse of the rigid pose."""
        R, t = self.c2w[:3, :3], self.c2w[:3, 3]
        inverse = np.eye(4)
        inverse[:3, :3] = R.T
        inverse[:3, 3] = -R.T @ t
        return inverse

    @property
    def centre(self) -> Array:
        """Optical centre in world coordinates, (3,) metres."""
        return self.c2w[:3, 3]

    def project(self, points: Array) -> tuple[Array, Array, Array]:
        """World points (N, 3) -> u, v in pixels and planar depth z in metres (positive in front), each (N,)."""
        local = points @ self.c2w[:3, :3] - self.centre @ self.c2w[:3, :3]
        z = -local[:, 2]
        safe = np.where(z == 0, np.nan, z)
        return self.cx + self.fx * local[:, 0] / safe, self.cy - self.fy * local[:, 1] / safe, z

    def unproject(self, u: Array, v: Array, z: Array) -> Array:
        """What ``project`` undoes: pixels u, v and planar depth z in metres, each (...), -> world points (..., 3)."""
        local = np.stack([(u - self.cx) / self.fx * z, (self.cy - v) / self.fy * z, -z], axis=-1)
        return local @ self.c2w[:3, :3].T + self.centre

    def ray_lengths(self) -> NDArray[np.float32]:
        """The distance along each pixel's ray at which planar depth is 1, (H, W)."""
        x = ((np.arange(self.width) + 0.5 - self.cx) / self.fx).astype(np.float32)
        y = ((np.arange(self.height) + 0.5 - self.cy) / self.fy).astype(np.float32)
        return np.asarray(np.sqrt(x**2 + y[:, None] ** 2 + 1))

    def scaled(self, factor: float) -> Camera:
        """The same camera for an image resized by ``factor`` in both directions."""
        return replace(
            self,
            width=round(self.width * factor),
            height=round(self.height * factor),
            fx=self.fx * factor,
            fy=self.fy * factor,
            cx=self.cx * factor,
            cy=self.cy * factor,
        )


def common_point(cameras: Sequence[Camera]) -> Array | None:
    """The point nearest to all optical axes, (3,) metres; None where the axes are nearly parallel."""
    normal, right = np.zeros((3, 3)), np.zeros(3)
    for camera in cameras:
        axis = camera.c2w[:3, 2]
        across = np.eye(3) - np.outer(axis, axis)
        normal += across
        right += across @ camera.centre
    if np.linalg.cond(normal) > MOST_PARALLEL:
        return None
    return np.asarray(np.linalg.solve(normal, right), np.float64)


def look_at(direction: tuple[float, float, float], up: tuple[float, float, float], distance: float) -> Array:
    """Camera-to-world (4, 4) of a camera at ``distance * direction``, looking at the origin, OpenGL axes."""
    z = np.asarray(direction, dtype=np.float64)
    z = z / np.linalg.norm(z)
    x = np.cross(np.asarray(up, dtype=np.float64), z)
    x /= np.linalg.norm(x)
    c2w = np.eye(4)
    c2w[:3, :3] = np.stack([x, np.cross(z, x), z], axis=1)
    c2w[:3, 3] = distance * z
    return c2w


def canonical_camera(view: str, width: int, height: int) -> Camera:
    """The canonical rig's camera for ``view`` (a key of ``CANONICAL_VIEWS``), focal length scaled to the image width.

    512 x 512 has a focal length of 1111 px; a 1024-wide image sees the same field of view with 2222 px.
    """
    direction, up = CANONICAL_VIEWS[view]
    focal = CANONICAL_FOCAL_PX * width / CANONICAL_SIZE_PX
    return Camera(width, height, focal, focal, width / 2, height / 2, look_at(direction, up, CANONICAL_DISTANCE_M))


def opengl_camera_to_world(matrix: Array, axes: str, pose: str) -> Array:
    """Any stated pose (4, 4) as OpenGL camera-to-world.

    ``axes`` is "opengl" or "opencv" (y down, looking along +z), ``pose`` is "camera_to_world" or "world_to_camera".
    Raises ``numpy.linalg.LinAlgError`` for a singular world-to-camera matrix.
    """
    c2w = np.asarray(np.linalg.inv(matrix) if pose == "world_to_camera" else matrix, dtype=np.float64)
    return c2w @ OPENCV_TO_OPENGL if axes == "opencv" else c2w


def nearest_rotation(matrix: Array) -> Array:
    """The rotation (3, 3) closest to a nearly orthonormal matrix, by its polar decomposition."""
    U, _, Vt = np.linalg.svd(matrix)
    return np.asarray(U @ Vt, dtype=np.float64)
