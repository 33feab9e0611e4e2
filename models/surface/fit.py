"""Fit a simplified mesh to the distance field: undo what fewer, flatter triangles take from a curved surface."""

# ruff: noqa: PLR0912 - compiled loops stay in one piece

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

#: Passes over all faces, and the furthest a vertex may move in all, in voxels.
PASSES = 6
FURTHEST = 0.5
#: Barycentric sample points of a face: degree-2 points near the corners, the edge middles and the centre.
SAMPLES = np.array(
    [
        [2 / 3, 1 / 6, 1 / 6],
        [1 / 6, 2 / 3, 1 / 6],
        [1 / 6, 1 / 6, 2 / 3],
        [0.5, 0.5, 0.0],
        [0.0, 0.5, 0.5],
        [0.5, 0.0, 0.5],
        [1 / 3, 1 / 3, 1 / 3],
    ]
)


def fit_to_field(
    vertices: NDArray[np.float64], faces: NDArray[np.int32], field: NDArray[np.float32]
) -> NDArray[np.float64]:
    """Vertices (V, 3) in lattice coordinates moved along their normals so that the faces lie on the zero set on
    average.

    Simplification leaves vertices on the surface but faces inside its curves; here the squared distance of
    points spread over the faces is lowered by Landweber steps. No vertex moves further than FURTHEST voxels or past
    a face that would turn over.
    """
    fitted = vertices.copy()
    _fit(
        vertices,
        faces,
        field,
        SAMPLES,
        PASSES,
        FURTHEST,
        fitted,
        np.zeros_like(vertices),
        np.zeros(len(vertices)),
        np.zeros(len(vertices)),
    )
    return fitted


@njit(cache=True, nogil=True, error_model="numpy")
def _cross(place, a, b, c):  # type: ignore[no-untyped-def]
    """Twice the area of a triangle times its normal."""
    ux, uy, uz = place[b, 0] - place[a, 0], place[b, 1] - place[a, 1], place[b, 2] - place[a, 2]
    vx, vy, vz = place[c, 0] - place[a, 0], place[c, 1] - place[a, 1], place[c, 2] - place[a, 2]
    return uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx


@njit(cache=True, nogil=True, error_model="numpy")
def _fit(start, faces, field, samples, passes, furthest, here, normal, change, mass):  # type: ignore[no-untyped-def]
    nx, ny, nz = field.shape
    for f in range(len(faces)):
        a, b, c = faces[f, 0], faces[f, 1], faces[f, 2]
        x, y, z = _cross(start, a, b, c)
        for k in range(3):
            v = faces[f, k]
            normal[v, 0] += x
            normal[v, 1] += y
            normal[v, 2] += z
    for v in range(len(normal)):
        length = np.sqrt(normal[v, 0] ** 2 + normal[v, 1] ** 2 + normal[v, 2] ** 2)
        for k in range(3):
            normal[v, k] /= max(length, 1e-300)
    for _ in range(passes):
        for v in range(len(start)):
            change[v], mass[v] = 0.0, 0.0
        for f in range(len(faces)):
            a, b, c = faces[f, 0], faces[f, 1], faces[f, 2]
            x, y, z = _cross(here, a, b, c)
            area = np.sqrt(x * x + y * y + z * z)
            for s in range(len(samples)):
                x = samples[s, 0] * here[a, 0] + samples[s, 1] * here[b, 0] + samples[s, 2] * here[c, 0]
                y = samples[s, 0] * here[a, 1] + samples[s, 1] * here[b, 1] + samples[s, 2] * here[c, 1]
                z = samples[s, 0] * here[a, 2] + samples[s, 1] * here[b, 2] + samples[s, 2] * here[c, 2]
                i, j, k = int(x), int(y), int(z)
                if i < 0 or j < 0 or k < 0 or i >= nx - 1 or j >= ny - 1 or k >= nz - 1:
                    continue
                p, q, r = x - i, y - j, z - k
                value = (
                    (field[i, j, k] * (1 - r) + field[i, j, k + 1] * r) * (1 - q)
                    + (field[i, j + 1, k] * (1 - r) + field[i, j + 1, k + 1] * r) * q
                ) * (1 - p) + (
                    (field[i + 1, j, k] * (1 - r) + field[i + 1, j, k + 1] * r) * (1 - q)
                    + (field[i + 1, j + 1, k] * (1 - r) + field[i + 1, j + 1, k + 1] * r) * q
                ) * p
                value = min(max(value, -0.5), 0.5)
                for m in range(3):
                    w = area * samples[s, m]
                    change[faces[f, m]] += w * value
                    mass[faces[f, m]] += w
        for v in range(len(start)):
            if mass[v] > 0:
                moved = -change[v] / mass[v]
                for k in range(3):
                    moved += (here[v, k] - start[v, k]) * normal[v, k]
                moved = min(max(moved, -furthest), furthest)
                for k in range(3):
                    here[v, k] = start[v, k] + moved * normal[v, k]
    # a vertex that turns one of its faces over goes back
    for f in range(len(faces)):
        a, b, c = faces[f, 0], faces[f, 1], faces[f, 2]
        x0, y0, z0 = _cross(start, a, b, c)
        x1, y1, z1 = _cross(here, a, b, c)
        if x0 * x1 + y0 * y1 + z0 * z1 <= 0:
            for m in range(3):
                for k in range(3):
                    here[faces[f, m], k] = start[faces[f, m], k]
