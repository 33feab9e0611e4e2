"""The connected pieces of a closed mesh: which of them are the object."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

#: Pieces with fewer faces than this share of the largest piece are crumbs of noise.
SMALLEST_PIECE = 0.005


@dataclass(frozen=True)
class ClosedMesh:
    """``vertices`` (V, 3) float64, ``faces`` (F, 3) int32 outward, and ``across`` (3 F,) int32: for each corner 3 f + k
    the corner that faces it across its opposite edge."""

    vertices: NDArray[np.float64]
    faces: NDArray[np.int32]
    across: NDArray[np.int32]


def without_crumbs(mesh: ClosedMesh) -> ClosedMesh:
    """The mesh without pieces that have less than SMALLEST_PIECE of the largest one's faces, and without bubbles.

    Bubbles (pieces that enclose negative volume) lie inside, where no camera can look; they carry no information.
    """
    of_face, count, volume = _pieces(mesh.vertices, mesh.faces, mesh.across)
    solid = volume > 0
    keep = solid & (count >= SMALLEST_PIECE * count[solid].max(initial=1))
    if keep.all():
        return mesh
    face_kept = keep[of_face]
    corner_kept = np.repeat(face_kept, 3)
    used = np.zeros(len(mesh.vertices), np.bool_)
    used[mesh.faces[face_kept]] = True
    vertex_number = np.cumsum(used, dtype=np.int32) - 1
    corner_number = np.cumsum(corner_kept, dtype=np.int32) - 1
    return ClosedMesh(
        mesh.vertices[used],
        vertex_number[mesh.faces[face_kept]].astype(np.int32, copy=False),
        corner_number[mesh.across[corner_kept]].astype(np.int32, copy=False),
    )


def opposite_corners(faces: NDArray[np.int32], vertex_count: int) -> NDArray[np.int32]:
    """For each corner 3 f + k the corner that faces it across its opposite edge, (3 F,) int32.

    Raises ``ValueError`` when an edge has no second face that runs along it the other way.
    """
    # corners grouped by the start of the edge that lies opposite to them
    start = faces[:, [1, 2, 0]].ravel()
    first = np.concatenate([[0], np.cumsum(np.bincount(start, minlength=vertex_count))])
    across = np.full(faces.size, -1, np.int32)
    _opposite(faces, first, np.argsort(start, kind="stable"), across)
    if (across < 0).any():
        raise ValueError(f"the surface is open along {np.count_nonzero(across < 0)} edges")
    return across


@njit(cache=True, nogil=True)
def _opposite(faces, first, grouped, across):  # type: ignore[no-untyped-def]
    """Fill ``across`` (3 F,); the edges that start at vertex v lie opposite ``grouped[first[v] : first[v + 1]]``."""
    for c in range(faces.size):
        if across[c] >= 0:
            continue
        start, end = faces[c // 3, (c % 3 + 1) % 3], faces[c // 3, (c % 3 + 2) % 3]
        for n in range(first[end], first[end + 1]):
            d = grouped[n]
            if faces[d // 3, (d % 3 + 2) % 3] == start and across[d] < 0:
                across[c], across[d] = d, c
                break


@njit(cache=True, nogil=True)
def _pieces(vertices, faces, across):  # type: ignore[no-untyped-def]
    """The piece of each face, and each piece's number of faces and six times its volume."""
    piece, waiting = np.full(len(faces), -1, np.int32), np.empty(len(faces), np.int32)
    # a closed piece has four faces or more
    count, volume = np.zeros(len(faces) // 4 + 1, np.int64), np.zeros(len(faces) // 4 + 1)
    pieces = 0
    for start in range(len(faces)):
        if piece[start] >= 0:
            continue
        piece[start], waiting[0], queued = pieces, start, 1
        while queued:
            queued -= 1
            f = waiting[queued]
            count[pieces] += 1
            a, b, c = vertices[faces[f, 0]], vertices[faces[f, 1]], vertices[faces[f, 2]]
            volume[pieces] += (
                a[0] * (b[1] * c[2] - b[2] * c[1])
                + a[1] * (b[2] * c[0] - b[0] * c[2])
                + a[2] * (b[0] * c[1] - b[1] * c[0])
            )
            for k in range(3):
                g = across[3 * f + k] // 3
                if piece[g] < 0:
                    piece[g], waiting[queued] = pieces, g
                    queued += 1
        pieces += 1
    return piece, count[:pieces], volume[:pieces]
