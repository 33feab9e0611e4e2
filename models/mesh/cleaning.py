"""Real geometry only: weld equal positions, mend degenerate triangles, drop what nothing refers to.

Degenerate triangles have no normal, fail the glTF validator and make every topology figure wrong. Simply
deleting one that has three distinct corners opens the surface by a slit, so such a triangle is mended: its
shortest edge is collapsed when it is too short to mean anything, otherwise the triangles across its longest edge
are split at its third corner (a T-junction is resolved), after which it is not needed any more.

Arrays everywhere: vertices (V, 3) float32, faces (F, 3) int32, uv (F, 3, 2) float32 per corner.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Ints = NDArray[np.int32]
Bools = NDArray[np.bool_]

#: A triangle lower than this share of the bounding-box diagonal is degenerate: float32 coordinates (24 bits,
#: 6e-8) cannot place its corners any better.
THINNEST = 1e-7

#: Each pass mends triangles that do not touch each other; chains of slivers need several.
MAX_PASSES = 32


@dataclass(frozen=True)
class Triangles:
    """Plain triangle soup with shared vertices and one uv per corner."""

    vertices: Floats
    faces: Ints
    uv: Floats


def clean(mesh: Triangles) -> Triangles:
    """The same surface with equal positions welded, no degenerate triangle and no unreferenced vertex.

    Never opens the surface: every edge that two triangles shared is still shared afterwards. Idempotent.
    """
    mesh = _without_repeated_corners(weld(mesh))
    bad = degenerate(mesh.vertices, mesh.faces)
    for _ in range(MAX_PASSES):
        if not bad.any():
            break
        mesh = _without_repeated_corners(_mend(mesh, np.flatnonzero(bad)))
        bad = degenerate(mesh.vertices, mesh.faces)
    if bad.any():
        mesh = Triangles(mesh.vertices, mesh.faces[~bad], mesh.uv[~bad])
    return _without_unreferenced(mesh)


def weld(mesh: Triangles) -> Triangles:
    """Vertices at exactly the same place become one; the first keeps its rank. -0.0 equals 0.0."""
    vertices = mesh.vertices + np.float32(0.0)  # turns -0.0 into 0.0: the bytes are compared
    keys = np.ascontiguousarray(vertices).view(np.dtype((np.void, 12))).ravel()
    _, first, inverse = np.unique(keys, return_index=True, return_inverse=True)
    order = np.argsort(first, kind="stable")
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    faces = rank[inverse.ravel()][mesh.faces].astype(np.int32)
    return Triangles(vertices[first[order]], faces, mesh.uv)


def degenerate(vertices: NDArray[np.floating], faces: Ints) -> Bools:
    """Which triangles (F,) repeat a corner or are thinner than ``THINNEST`` of the bounding-box diagonal."""
    if not len(faces):
        return np.zeros(0, bool)
    # axis by axis: a third of the time that whole vectors take
    axes = [np.take(np.ascontiguousarray(axis, np.float64), faces.T) for axis in vertices.T]
    first, second = ([axis[k] - axis[0] for axis in axes] for k in (1, 2))
    third = [b - a for a, b in zip(first, second, strict=True)]
    longest = np.maximum(np.maximum(_squared(first), _squared(second)), _squared(third))
    (ax, ay, az), (bx, by, bz) = first, second
    across = _squared([ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx])
    return np.asarray(across <= longest * (THINNEST * _diagonal(vertices)) ** 2)


def _squared(vector: list[NDArray[np.float64]]) -> NDArray[np.float64]:
    x, y, z = vector
    return x * x + y * y + z * z


def _diagonal(vertices: NDArray[np.floating]) -> float:
    return float(np.linalg.norm(np.ptp(vertices.astype(np.float64), axis=0))) if len(vertices) else 0.0


def _edge_lengths(corners: NDArray[np.float64]) -> NDArray[np.float64]:
    """Lengths (F, 3); edge k joins corners k and k + 1."""
    lengths: NDArray[np.float64] = np.linalg.norm(corners[:, [1, 2, 0]] - corners, axis=2)
    return lengths


def _without_repeated_corners(mesh: Triangles) -> Triangles:
    """Drop triangles that name a vertex twice. Their remaining two edges coincide, so nothing opens."""
    a, b, c = mesh.faces.T
    kept = (a != b) & (b != c) & (c != a)
    return mesh if kept.all() else Triangles(mesh.vertices, mesh.faces[kept], mesh.uv[kept])


def _without_unreferenced(mesh: Triangles) -> Triangles:
    used = np.zeros(len(mesh.vertices), bool)
    used[mesh.faces] = True
    if used.all():
        return mesh
    rank = np.cumsum(used) - 1
    return Triangles(mesh.vertices[used], rank[mesh.faces].astype(np.int32), mesh.uv)


def _mend(mesh: Triangles, bad: NDArray[np.intp]) -> Triangles:
    """One pass over the degenerate triangles ``bad``; a triangle whose surroundings already changed waits."""
    faces, uv = mesh.faces.copy(), mesh.uv.copy()
    more: list[tuple[Ints, Floats]] = []
    around: dict[int, list[int]] = {}
    near = np.isin(mesh.faces, mesh.faces[bad]).any(axis=1)
    for face in np.flatnonzero(near):
        for vertex in mesh.faces[face]:
            around.setdefault(int(vertex), []).append(int(face))
    lengths = _edge_lengths(mesh.vertices.astype(np.float64)[mesh.faces[bad]])
    too_short = THINNEST * _diagonal(mesh.vertices)
    touched: set[int] = set()
    removed: set[int] = set()
    for face, sides in zip(bad.tolist(), lengths, strict=True):
        corners = [int(vertex) for vertex in mesh.faces[face]]
        ring = {other for vertex in corners for other in around[vertex]}
        if ring & touched:
            continue
        touched |= ring
        if sides.min() <= too_short:
            k = int(sides.argmin())
            _collapse(faces, around, keep=corners[k], gone=corners[(k + 1) % 3])
        else:
            k = int(sides.argmax())
            a, b, c = corners[k], corners[(k + 1) % 3], corners[(k + 2) % 3]
            for other in sorted(set(around[a]) & set(around[b]) - {face}):
                if c not in mesh.faces[other]:
                    more.append(_split(faces, uv, other, (a, b, c), mesh.vertices))
                else:  # the same three corners again: the pair lies on itself, both may go
                    removed.add(other)
            removed.add(face)
    faces, uv = np.delete(faces, sorted(removed), axis=0), np.delete(uv, sorted(removed), axis=0)
    if more:
        faces = np.concatenate([faces, [face for face, _ in more]])
        uv = np.concatenate([uv, [tex for _, tex in more]])
    return Triangles(mesh.vertices, faces.astype(np.int32), uv.astype(np.float32))


def _collapse(faces: Ints, around: dict[int, list[int]], keep: int, gone: int) -> None:
    """Let every triangle at ``gone`` use ``keep`` instead; the ones that had both repeat a corner now."""
    for face in around[gone]:
        faces[face][faces[face] == gone] = keep


def _split(faces: Ints, uv: Floats, face: int, edge: tuple[int, int, int], vertices: Floats) -> tuple[Ints, Floats]:
    """Split triangle ``face`` across its edge (a, b) at vertex c, with c's uv interpolated along that edge.

    The triangle keeps its half at a; the half at b is returned.
    """
    a, b, c = edge
    along = vertices[b].astype(np.float64) - vertices[a]
    t = float(np.clip((vertices[c].astype(np.float64) - vertices[a]) @ along / (along @ along), 0.0, 1.0))
    corners, tex = faces[face].copy(), uv[face].copy()
    at_a, at_b = int(np.flatnonzero(corners == a)[0]), int(np.flatnonzero(corners == b)[0])
    middle = ((1.0 - t) * tex[at_a] + t * tex[at_b]).astype(np.float32)
    faces[face, at_b], uv[face, at_b] = c, middle
    corners[at_a], tex[at_a] = c, middle
    return corners, tex
