"""Which corner lies across each edge of a mesh: what tells a silhouette from the inside of a surface."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Indices = NDArray[np.int32]


def far_corners(faces: Indices) -> Indices:
    """For every face (F, 3) and edge k (opposite to corner k): the far corner of the face beyond it, or -1.

    -1 stands for "nothing beyond": the edge has one face only, two faces with the same far corner, or more faces than
    two (of those the first two with different far corners see each other). Faces that name a vertex twice have no
    edges.
    """
    count = len(faces)
    first_end = faces[:, [1, 2, 0]].astype(np.int64).ravel()
    second_end = faces[:, [2, 0, 1]].astype(np.int64).ravel()
    far = faces.ravel()
    whole = np.repeat((np.diff(np.sort(faces, axis=1), axis=1) > 0).all(axis=1), 3)
    edge = np.minimum(first_end, second_end) << 32 | np.maximum(first_end, second_end)
    opposite = np.full(3 * count, -1, np.int32)
    _, group = np.unique(edge[whole], return_inverse=True)
    opposite[whole] = _across(group.ravel(), far[whole])
    return opposite.reshape(count, 3)


def _across(group: NDArray[np.intp], far: Indices) -> Indices:
    """Of each edge's far corners (in order of faces) the first two that differ see each other."""
    edges = int(group.max(initial=-1)) + 1
    first, second = np.full(edges, -1, np.int32), np.full(edges, -1, np.int32)
    first[group[::-1]] = far[::-1]  # of equal indices the last one written stays: the first face's
    other = far != first[group]
    second[group[other][::-1]] = far[other][::-1]
    return np.where(far == first[group], second[group], np.where(far == second[group], first[group], -1))
