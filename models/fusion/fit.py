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
SAMPLES = np.array([
    [2 / 3, 1 / 6, 1 / 6], [1 / 6, 2 / 3, 1 / 6], [1 / 6, 1 / 6, 2 / 3],
    [0.5, 0.5, 0.0], [0.0, 0.5, 0.5], [0.5, 0.0, 0.5], [1 / 3, 1 / 3, 1 / 3],
])


def fit_to_field(
    vertices: NDArray[np.float64], faces: NDArray[np.int32], field: NDArray[np.float32]
) -> NDArray[np.float64]:
    """Vertices (V, 3) in lattice coordinates moved along their normals so that the faces lie on the zero set on
    average.

    Simplification leaves vertices on the surface but faces inside its curves; here the squared distance of
    points spread over the faces is lowered by Landweber steps. No vertex moves further than FURTHEST voxels or past
    a face that would turn over.
    """
    return _fit(vertices, faces, field, SAMPLES, PASSES, FURTHEST)  # type: ignore[no-any-return]


@njit(cache=True, nogil=True)
def _fit(vertices, faces, field, samples, passes, furthest):  # type: ignore[no-untyped-def]
    nx, ny, nz = field.shape
    start = vertices.copy()
    here = vertices.copy()
    normal = np.zeros_like(vertices)
    for f in range(len(faces)):
        a, b, c = faces[f, 0], faces[f, 1], faces[f, 2]
        cross = np.cross(start[b] - start[a], start[c] - start[a])
        for k in range(3):
            normal[faces[f, k]] += cross
    for v in range(len(normal)):
        normal[v] /= max(np.sqrt((normal[v] ** 2).sum()), 1e-300)
    change, mass = np.zeros(len(vertices)), np.zeros(len(vertices))
    for _ in range(passes):
        change[:], mass[:] = 0.0, 0.0
        for f in range(len(faces)):
            a, b, c = faces[f, 0], faces[f, 1], faces[f, 2]
            area = np.sqrt((np.cross(here[b] - here[a], here[c] - here[a]) ** 2).sum())
            for s in range(len(samples)):
                x = samples[s, 0] * here[a, 0] + samples[s, 1] * here[b, 0] + samples[s, 2] * here[c, 0]
                y = samples[s, 0] * here[a, 1] + samples[s, 1] * here[b, 1] + samples[s, 2] * here[c, 1]
                z = samples[s, 0] * here[a, 2] + samples[s, 1] * here[b, 2] + samples[s, 2] * here[c, 2]
                i, j, k = int(x), int(y), int(z)
                if i < 0 or j < 0 or k < 0 or i >= nx - 1 or j >= ny - 1 or k >= nz - 1:
                    continue
                p, q, r = x - i, y - j, z - k
                value = (
                    ((field[i, j, k] * (1 - r) + field[i, j, k + 1] * r) * (1 - q)
                     + (field[i, j + 1, k] * (1 - r) + field[i, j + 1, k + 1] * r) * q) * (1 - p)
                    + ((field[i + 1, j, k] * (1 - r) + field[i + 1, j, k + 1] * r) * (1 - q)
                       + (field[i + 1, j + 1, k] * (1 - r) + field[i + 1, j + 1, k + 1] * r) * q) * p
                )
                value = min(max(value, -0.5), 0.5)
                for m in range(3):
                    w = area * samples[s, m]
                    change[faces[f, m]] += w * value
                    mass[faces[f, m]] += w
        for v in range(len(vertices)):
            if mass[v] > 0:
                moved = ((here[v] - start[v]) * normal[v]).sum() - change[v] / mass[v]
                moved = min(max(moved, -furthest), furthest)
                here[v] = start[v] + moved * normal[v]
    # a vertex that turns one of its faces over goes back
    for f in range(len(faces)):
        a, b, c = faces[f, 0], faces[f, 1], faces[f, 2]
        before = np.cross(start[b] - start[a], start[c] - start[a])
        after = np.cross(here[b] - here[a], here[c] - here[a])
        if (before * after).sum() <= 0:
            for m in range(3):
                here[faces[f, m]] = start[faces[f, m]]
    return here
