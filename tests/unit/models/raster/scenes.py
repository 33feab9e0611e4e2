"""Small meshes in clip space for the tests of the differentiable rasteriser, and the rasterisers to draw them with."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.spatial import ConvexHull
from torch import Tensor

from meshdrop.models.formats.cameras import Camera, look_at
from meshdrop.models.raster.differentiable import Raster
from meshdrop.models.raster.torch_numba import NumbaRaster

#: Runs a test with both implementations; the second one where there is a GPU. ``raster_called`` makes the rasteriser.
each_raster = pytest.mark.parametrize("name", ["numba", pytest.param("nvdiffrast", marks=pytest.mark.gpu)])

NEAR_M, FAR_M = 0.1, 20.0


def raster_called(name: str) -> Raster:
    """The implementation ``name``; skips the test with the reason where it cannot run."""
    if name == "numba":
        return NumbaRaster()
    if not torch.cuda.is_available():
        pytest.skip("torch sees no CUDA device")
    pytest.importorskip("nvdiffrast.torch", reason="nvdiffrast is not installed")
    from meshdrop.models.raster.torch_nvdiffrast import NvdiffrastRaster  # noqa: PLC0415 - only where it can be used

    return NvdiffrastRaster()


def clip_matrix(camera: Camera) -> NDArray[np.float64]:
    """World to clip space with y down, (4, 4): the conventions of ``Raster.rasterize``, worked out for these tests.

    Pixel u = cx + fx x / -z and x_clip / w = 2 u / W - 1 with w = -z give the first row, v likewise the second.
    """
    P = np.zeros((4, 4))
    P[0, 0], P[0, 2] = 2 * camera.fx / camera.width, 1 - 2 * camera.cx / camera.width
    P[1, 1], P[1, 2] = -2 * camera.fy / camera.height, 1 - 2 * camera.cy / camera.height
    P[2, 2], P[2, 3] = -(FAR_M + NEAR_M) / (FAR_M - NEAR_M), -2 * FAR_M * NEAR_M / (FAR_M - NEAR_M)
    P[3, 2] = -1
    return P @ camera.w2c


def to_clip(vertices: NDArray[np.float64], cameras: list[Camera]) -> NDArray[np.float64]:
    """World points (V, 3) in the clip space of each camera: (N, V, 4)."""
    homogeneous = np.concatenate([vertices, np.ones((len(vertices), 1))], axis=1)
    return np.stack([homogeneous @ clip_matrix(camera).T for camera in cameras])


def triangles(faces: NDArray[np.integer] | list[list[int]]) -> Tensor:
    """Face indices as the rasterisers take them."""
    return torch.as_tensor(np.asarray(faces), dtype=torch.int32)


def flat(points: NDArray[np.float64], size: tuple[int, int], z: float = 0.0, w: float = 1.0) -> Tensor:
    """Points (V, 2) given in pixels (x right, y down) of a picture (H, W) as clip corners (1, V, 4), float64."""
    height, width = size
    x, y = 2 * points[:, 0] / width - 1, 2 * points[:, 1] / height - 1
    return torch.tensor(np.stack([x * w, y * w, np.full_like(x, z * w), np.full_like(x, w)], axis=1)[None])


def disc(centre: tuple[float, float], radius: float, corners: int) -> tuple[NDArray[np.float64], Tensor]:
    """A regular polygon in pixels as a fan of triangles around its centre: points (corners + 1, 2) and faces."""
    angle = 2 * np.pi * (np.arange(corners) + 0.3) / corners
    rim = np.asarray(centre) + radius * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    k = np.arange(corners)
    return np.concatenate([[centre], rim]), triangles(np.stack([0 * k, k + 1, (k + 1) % corners + 1], axis=1))


def ball(rng: np.random.Generator, corners: int, radius: float = 1.0) -> tuple[NDArray[np.float64], NDArray[np.int32]]:
    """A closed bumpy ball of random triangles around the origin: vertices (V, 3) metres, faces (2 V - 4, 3)."""
    directions = rng.normal(size=(corners, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    faces = ConvexHull(directions).simplices.astype(np.int32)
    return directions * radius * rng.uniform(0.85, 1.15, (corners, 1)), faces


def sheet(rng: np.random.Generator, cells: int) -> tuple[NDArray[np.float64], NDArray[np.int32]]:
    """The square 0..1 in ``cells`` x ``cells`` cells of two triangles, inner corners moved: points (V, 2), faces."""
    grid = np.stack(np.meshgrid(np.linspace(0, 1, cells + 1), np.linspace(0, 1, cells + 1)), axis=-1)
    grid[1:-1, 1:-1] += rng.uniform(-0.2, 0.2, (cells - 1, cells - 1, 2)) / cells
    k = np.arange((cells + 1) ** 2).reshape(cells + 1, cells + 1)
    a, b, c, d = k[:-1, :-1], k[:-1, 1:], k[1:, 1:], k[1:, :-1]
    faces = np.concatenate([np.stack([a, b, c], axis=-1), np.stack([a, c, d], axis=-1)]).reshape(-1, 3)
    return grid.reshape(-1, 2), faces.astype(np.int32)


def around(rng: np.random.Generator, count: int, size: tuple[int, int], distance: float) -> list[Camera]:
    """Cameras anywhere on a sphere, looking at the origin, with uneven focal lengths and principal points."""
    height, width = size
    cameras = []
    for _ in range(count):
        direction, up = rng.normal(size=3), rng.normal(size=3)
        pose = look_at(tuple(direction / np.linalg.norm(direction)), tuple(up), distance)
        fx, fy = 0.9 * width * rng.uniform(0.9, 1.1, 2)
        cx, cy = np.array([width, height]) * rng.uniform(0.45, 0.55, 2)
        cameras.append(Camera(width, height, fx, fy, cx, cy, pose))
    return cameras


@dataclass(frozen=True)
class Scene:
    """Two balls, one partly before the other: what is visible has silhouettes before surface and before background."""

    clip: Tensor
    faces: Tensor
    size: tuple[int, int]
    cameras: list[Camera]
    vertices: NDArray[np.float64]


def random_scene(seed: int, size: tuple[int, int], views: int = 3, corners: int = 300) -> Scene:
    """Two random balls before ``views`` random cameras, float32."""
    rng = np.random.default_rng(seed)
    first, faces = ball(rng, corners, 0.7)
    second, more = ball(rng, corners, 0.5)
    vertices = np.concatenate([first - 0.4, second + 0.4])
    cameras = around(rng, views, size, 3.0)
    clip = torch.tensor(to_clip(vertices, cameras), dtype=torch.float32)
    return Scene(clip, triangles(np.concatenate([faces, more + len(first)])), size, cameras, vertices)
