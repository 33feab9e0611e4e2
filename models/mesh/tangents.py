"""Tangents for normal textures: the frame in which a texture's normals are meant, at every corner of a mesh.

glTF (2.0, section 3.7.2.1) names MikkTSpace (Mikkelsen 2008, "Simulation of Wrinkled Surfaces Revisited") as the way to
derive them. This is its rule: each triangle's direction of increasing u, made perpendicular to the vertex normal, is
averaged with the corner's angle as weight over the triangles that hang together across edges at this vertex, share its
texture coordinate and are not mirrored against each other. It differs for triangles without area in the texture: they
take the frame of the neighbours that they hang on, or any where there are none. Delivered files carry these tangents,
so that viewers derive none.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class TangentFrames:
    """Vertices as glTF counts them, N of them: split where charts meet and where one touches itself or is mirrored.

    ``faces`` (F, 3) int32 names them at each corner. ``vertex`` (N,) int32 is the place of each in the mesh, ``uv``
    (N, 2) float32 its texture coordinate, **v up**. ``tangent`` (N, 4) float32: a unit vector along increasing u,
    perpendicular to the vertex normal, and +1, or -1 where the chart is mirrored: the bitangent, along increasing v,
    is cross(normal, tangent) times it.
    """

    faces: NDArray[np.int32]
    vertex: NDArray[np.int32]
    uv: NDArray[np.float32]
    tangent: NDArray[np.float32]


def tangent_frames(
    vertices: NDArray[np.floating], faces: NDArray[np.int32], uv: NDArray[np.float32], normals: NDArray[np.floating]
) -> TangentFrames:
    """The frames of a mesh: ``vertices`` (V, 3), ``faces`` (F, 3), ``uv`` (F, 3, 2) v up, unit ``normals`` (V, 3)."""
    corners = vertices.astype(np.float64)[faces]
    along, side = _face_tangents(corners, uv.astype(np.float64))
    index = _fans(_places(faces, uv, side))
    _, first = np.unique(index, return_index=True)
    vertex, coordinate = faces.ravel()[first], uv.reshape(-1, 2)[first]
    n = normals.astype(np.float64)[vertex]
    tangent = np.zeros((len(vertex), 3))
    for k in range(3):
        group = index[:, k]
        flat = [_perpendicular(corners[:, (k + turn) % 3] - corners[:, k], n[group]) for turn in (1, 2)]
        angle = np.arccos(np.clip((flat[0] * flat[1]).sum(axis=1), -1.0, 1.0))
        weighted = angle[:, None] * _perpendicular(along, n[group])
        for axis in range(3):
            tangent[:, axis] += np.bincount(group, weighted[:, axis], len(vertex))
    tangent = _perpendicular(tangent, n)
    lost = ~tangent.any(axis=1)
    tangent[lost] = _any_perpendicular(n[lost])
    mirrored = np.ones(len(vertex))
    mirrored[index] = np.where(side < 0, -1.0, 1.0)[:, None]
    return TangentFrames(index, vertex, coordinate, np.column_stack([tangent, mirrored]).astype(np.float32))


def _face_tangents(corners: Floats, uv: Floats) -> tuple[Floats, NDArray[np.int8]]:
    """The direction of increasing u (F, 3) on each triangle, of any length, and its side: 1, -1 mirrored, 0 no area."""
    e, f = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    p, q = uv[:, 1] - uv[:, 0], uv[:, 2] - uv[:, 0]
    side = np.sign(p[:, 0] * q[:, 1] - p[:, 1] * q[:, 0])
    return (q[:, 1:] * e - p[:, 1:] * f) * side[:, None], side.astype(np.int8)


def _places(faces: NDArray[np.int32], uv: NDArray[np.float32], side: NDArray[np.int8]) -> NDArray[np.int64]:
    """A number for each corner (F, 3): the same for corners with the same vertex, texture coordinate and side."""
    flat = np.ascontiguousarray(uv.reshape(-1, 2)) + np.float32(0.0)  # -0.0 is 0.0
    _, coordinate = np.unique(flat.view(np.uint64).ravel(), return_inverse=True)
    mirrored = np.repeat(side < 0, 3)
    key = (faces.ravel().astype(np.int64) << 33) | (coordinate.ravel().astype(np.int64) << 1) | mirrored
    place: NDArray[np.int64] = np.unique(key, return_inverse=True)[1].reshape(-1, 3)
    return place


def _fans(places: NDArray[np.int64]) -> NDArray[np.int32]:
    """Which fan each corner (F, 3) belongs to: corners of one place whose triangles are linked by edges there."""
    corner = np.arange(places.size).reshape(-1, 3)
    # every edge of every triangle, from its lesser place to its greater one
    tail, head = np.concatenate([corner, np.roll(corner, -1, axis=1)]).reshape(2, -1)
    order = places.ravel()[tail] > places.ravel()[head]
    tail, head = np.where(order, head, tail), np.where(order, tail, head)
    edge = np.stack([places.ravel()[tail], places.ravel()[head]], axis=1)
    by_edge = np.lexsort((edge[:, 1], edge[:, 0]))
    same = (edge[by_edge[1:]] == edge[by_edge[:-1]]).all(axis=1)
    here, there = by_edge[:-1][same], by_edge[1:][same]
    links = np.concatenate([tail[here], head[here]]), np.concatenate([tail[there], head[there]])
    graph = coo_matrix((np.ones(len(links[0]), np.bool_), links), (places.size, places.size))
    fan: NDArray[np.int32] = connected_components(graph, directed=False)[1].astype(np.int32)
    return fan.reshape(-1, 3)


def _perpendicular(vectors: Floats, normals: Floats) -> Floats:
    """The parts of ``vectors`` (K, 3) perpendicular to unit ``normals`` (K, 3), as unit vectors; zero for none."""
    flat = vectors - (vectors * normals).sum(axis=1, keepdims=True) * normals
    length = np.linalg.norm(flat, axis=1, keepdims=True)
    # what is left of a vector along the normal is rounding, and shows nowhere
    real = length > 1e-9 * np.linalg.norm(vectors, axis=1, keepdims=True)
    unit: Floats = np.where(real, flat, 0.0) / np.where(real, length, 1.0)
    return unit


def _any_perpendicular(normals: Floats) -> Floats:
    """Some unit vector perpendicular to each unit normal (K, 3)."""
    least = np.eye(3)[np.abs(normals).argmin(axis=1)]
    return _perpendicular(least, normals)
