"""Textured meshes with known measures, for the tests: a cube, a sphere, a torus, and one chart per triangle."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from meshdrop.models.mesh.mesh import TexturedMesh


def textured(
    vertices: NDArray[np.floating], faces: NDArray[np.integer], uv: NDArray[np.floating], size: int = 64
) -> TexturedMesh:
    """The triangles with a colourful gradient; the right half of the texture was not seen."""
    y, x = np.mgrid[0:size, 0:size] / (size - 1)
    texture = np.rint(np.stack([x, y, 0.5 + 0.5 * np.sin(9 * x + 7 * y)], axis=2) * 255).astype(np.uint8)
    seen = np.zeros((size, size), np.bool_)
    seen[:, : size // 2] = True
    return TexturedMesh(vertices.astype(np.float32), faces.astype(np.int32), uv.astype(np.float32), texture, seen)


def cube(side: float) -> TexturedMesh:
    """An axis-aligned cube about the origin, 8 vertices, 12 triangles; every side shows the whole texture."""
    signs = np.array([(x, y, z) for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)])
    corners = signs * side / 2
    quads = [(4, 6, 7, 5), (0, 1, 3, 2), (2, 3, 7, 6), (0, 4, 5, 1), (1, 5, 7, 3), (0, 2, 6, 4)]
    faces = np.array([triangle for a, b, c, d in quads for triangle in ((a, b, c), (a, c, d))])
    uv = np.array([((0, 0), (1, 0), (1, 1)), ((0, 0), (1, 1), (0, 1))] * 6)
    return textured(corners, faces, uv)


def grid_surface(point: NDArray[np.floating], wrap_rows: bool, size: int = 64) -> TexturedMesh:
    """A surface from a (rows, columns, 3) grid whose columns close on themselves, and rows too if asked.

    The uv of the closing column (and row) ends at 1 instead of starting again at 0: a seam.
    """
    rows, columns = point.shape[:2]
    last = rows if wrap_rows else rows - 1
    i, j = (axis.ravel() for axis in np.mgrid[0:last, 0:columns])
    corner = [(i, j), (i, j + 1), (i + 1, j + 1), (i + 1, j)]
    index = [(r % rows) * columns + c % columns for r, c in corner]
    tex = [np.stack([c / columns, 1 - r / last], axis=1) for r, c in corner]
    faces = np.concatenate([np.stack([index[0], index[2], index[1]], 1), np.stack([index[0], index[3], index[2]], 1)])
    uv = np.concatenate([np.stack([tex[0], tex[2], tex[1]], 1), np.stack([tex[0], tex[3], tex[2]], 1)])
    return textured(point.reshape(-1, 3), faces, uv, size)


def torus(major: float = 0.3, minor: float = 0.1, rows: int = 48, columns: int = 32) -> TexturedMesh:
    """A torus around +Y: genus 1, one component, closed."""
    u = -np.arange(rows)[:, None] / rows * 2 * np.pi
    v = np.arange(columns)[None, :] / columns * 2 * np.pi
    ring = major + minor * np.cos(v)
    return grid_surface(np.stack([ring * np.cos(u), minor * np.sin(v) + 0 * u, ring * np.sin(u)], axis=2), True)


def sphere(radius: float = 0.4, rows: int = 49, columns: int = 64) -> TexturedMesh:
    """A sphere of latitude rings with its poles at +Y and -Y, where every triangle of a pole ring collapses."""
    theta = np.linspace(0, np.pi, rows)[:, None]
    phi = -np.arange(columns)[None, :] / columns * 2 * np.pi
    side = np.sin(theta)
    side[[0, -1]] = 0.0
    point = np.stack([side * np.cos(phi), np.cos(theta) + 0 * phi, side * np.sin(phi)], axis=2) * radius
    return grid_surface(point, False)


def charts(mesh: TexturedMesh, size: int = 250) -> TexturedMesh:
    """The same triangles with one chart each: every corner has a texture coordinate of its own."""
    side = int(np.ceil(np.sqrt(len(mesh.faces))))
    cell = np.stack(np.divmod(np.arange(len(mesh.faces)), side)[::-1], axis=1)[:, None, :]
    uv = (cell + np.array([(0.1, 0.1), (0.9, 0.1), (0.1, 0.9)])) / side
    return textured(mesh.vertices, mesh.faces, uv, size)
