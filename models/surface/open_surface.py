"""From the distance volume to the open surface that was measured: what no camera saw stays a hole."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from fast_simplification import simplify
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from meshdrop.models.mesh.reload import MIN_VERTICES
from meshdrop.models.surface import isosurface
from meshdrop.models.surface.tsdf import Fused
from meshdrop.models.surface.volume import EmptyCapture

#: Pieces with fewer faces than this share of all are dust.
DUST_SHARE = 0.002


@dataclass(frozen=True)
class OpenSurface:
    """Triangles in lattice coordinates, open where nothing was seen: ``vertices`` (V, 3) float64, ``faces`` (F, 3)
    int32, facing the free side. ``extracted_faces`` counts the triangles before simplification."""

    vertices: NDArray[np.float64]
    faces: NDArray[np.int32]
    extracted_faces: int


def extract_open(fused: Fused, max_faces: int) -> OpenSurface:
    """The part of the zero set that views tell of, on both sides, without dust, simplified.

    Raises ``EmptyCapture`` when that is no surface, or one of fewer points than a mesh must have. Simplified by
    quadrics that keep open borders (Garland and Heckbert 1997, by the library fast-simplification: the collapse of
    closed surfaces has no border to keep).
    """
    vertices, faces = isosurface.extract(fused.field)
    low, high = np.floor(vertices).astype(int), np.ceil(vertices).astype(int)
    measured = np.minimum(fused.seen[tuple(low.T)], fused.seen[tuple(high.T)]) > 0
    faces = _without_dust(faces[measured[faces].all(axis=1)], len(vertices))
    vertices, faces = _used(vertices, faces)
    if len(vertices) <= MIN_VERTICES:
        raise EmptyCapture(
            f"Of the scene only {len(vertices)} points were measured, and a mesh needs more than {MIN_VERTICES:,}.",
            "Send more views, or depth images with fewer gaps.",
        )
    extracted = len(faces)
    if extracted > max_faces:
        simple, kept = simplify(vertices.astype(np.float32), faces, target_count=max_faces)
        vertices, faces = _used(np.asarray(simple, np.float64), _proper(np.asarray(kept, np.int32)))
    return OpenSurface(vertices, faces, extracted)


def _proper(faces: NDArray[np.int32]) -> NDArray[np.int32]:
    """The triangles with three different corners."""
    a, b, c = faces.T
    return np.asarray(faces[(a != b) & (b != c) & (c != a)], np.int32)


def _without_dust(faces: NDArray[np.int32], vertex_count: int) -> NDArray[np.int32]:
    if not len(faces):
        return faces
    ends = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]]])
    links = coo_array((np.ones(len(ends), np.int8), (ends[:, 0], ends[:, 1])), shape=(vertex_count, vertex_count))
    _, piece = connected_components(links, directed=False)
    of_face = piece[faces[:, 0]]
    count = np.bincount(of_face)
    return np.asarray(faces[count[of_face] >= DUST_SHARE * len(faces)], np.int32)


def _used(vertices: NDArray[np.float64], faces: NDArray[np.int32]) -> tuple[NDArray[np.float64], NDArray[np.int32]]:
    """Only the vertices that a face has, numbered anew."""
    used = np.zeros(len(vertices), np.bool_)
    used[faces] = True
    number = np.cumsum(used, dtype=np.int32) - 1
    return vertices[used], number[faces].astype(np.int32, copy=False)
