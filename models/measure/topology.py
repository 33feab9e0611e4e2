"""Topology and measures of a surface: is it closed, in how many pieces, with how many handles, how large."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from meshdrop.models.measure.figures import Topology
from meshdrop.models.mesh.cleaning import Triangles, degenerate, weld

Ints = NDArray[np.int64]


def topology(vertices: NDArray[np.float32], faces: NDArray[np.int32]) -> Topology:
    """Measure the triangles ``faces`` (F, 3) over ``vertices`` (V, 3) in metres.

    Degenerate triangles are counted, then left out of the count only if they repeat a corner (such a triangle
    has no place in an edge graph). Raises ``ValueError`` for an empty mesh.
    """
    if not len(faces):
        raise ValueError("a mesh without triangles has no topology")
    uv = np.zeros((len(faces), 3, 2), np.float32)
    surface = weld(Triangles(vertices, faces, uv))
    thin = int(degenerate(surface.vertices, surface.faces).sum())
    triangles = surface.faces[_distinct_corners(surface.faces)].astype(np.int64)
    edges = _Edges.of(triangles, len(surface.vertices))
    pieces, piece_of_face = edges.face_components(len(triangles))
    sheets = edges.corner_components(triangles)
    used = len(np.unique(triangles))
    closed = bool((edges.uses == 2).all())
    winding = bool((edges.forward_uses <= 1).all() and (edges.uses - edges.forward_uses <= 1).all())
    corners = surface.vertices.astype(np.float64)[triangles]
    areas = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1) / 2
    low, high = corners.min(axis=(0, 1)), corners.max(axis=(0, 1))
    euler = sheets - len(edges.uses) + len(triangles)
    return Topology(
        vertices=used,
        faces=len(triangles),
        watertight=closed,
        consistent_winding=winding,
        components=pieces,
        largest_component_share=min(1.0, float(np.bincount(piece_of_face, areas).max() / max(areas.sum(), 1e-300))),
        boundary_edges=int((edges.uses == 1).sum()),
        non_manifold_edges=int((edges.uses > 2).sum()),
        non_manifold_vertices=sheets - used,
        degenerate_faces=thin,
        # Euler-Poincare over all closed orientable components: V - E + F = 2 (components - genus)
        genus=pieces - euler // 2 if closed and winding else None,
        area_m2=float(areas.sum()),
        volume_m3=_volume(corners, (low + high) / 2) if closed and winding else None,
        bounds_m=(tuple(low.tolist()), tuple(high.tolist())),
        size_m=tuple((high - low).tolist()),
    )


def _distinct_corners(faces: NDArray[np.int32]) -> NDArray[np.bool_]:
    a, b, c = faces.T
    return np.asarray((a != b) & (b != c) & (c != a))


def _volume(corners: NDArray[np.float64], origin: NDArray[np.float64]) -> float:
    """Divergence theorem: the signed tetrahedra from ``origin`` to every triangle (F, 3, 3) add up to the volume."""
    a, b, c = (corners - origin).transpose(1, 0, 2)
    return float(np.einsum("ij,ij->", a, np.cross(b, c)) / 6.0)


@dataclass(frozen=True)
class _Edges:
    """Distinct edges of a triangle list. ``of_side`` (3 F,) names the edge of every triangle side, sides in the
    order k * F + face; ``uses`` (E,) counts the sides of an edge, ``forward_uses`` those from its lower vertex up.
    """

    of_side: Ints
    uses: Ints
    forward_uses: Ints

    @classmethod
    def of(cls, triangles: Ints, vertex_count: int) -> _Edges:
        start, end = triangles.T.ravel(), triangles[:, [1, 2, 0]].T.ravel()
        keys = np.minimum(start, end) * vertex_count + np.maximum(start, end)
        distinct, of_side = np.unique(keys, return_inverse=True)
        forward = np.bincount(of_side[start < end], minlength=len(distinct))
        return cls(of_side, np.bincount(of_side, minlength=len(distinct)), forward)

    def _joined_sides(self) -> tuple[Ints, Ints]:
        """Pairs of triangle sides that lie on the same edge (a chain through all sides of one edge)."""
        order = np.argsort(self.of_side, kind="stable")
        same = self.of_side[order][1:] == self.of_side[order][:-1]
        return order[:-1][same], order[1:][same]

    def face_components(self, face_count: int) -> tuple[int, Ints]:
        """Number of pieces joined through edges, and the piece of every triangle (F,)."""
        one, other = self._joined_sides()
        return _components(one % face_count, other % face_count, face_count)

    def corner_components(self, triangles: Ints) -> int:
        """Number of vertices when each is counted once per fan of triangles joined through edges around it."""
        count = len(triangles)
        one, other = self._joined_sides()
        links: list[tuple[Ints, Ints]] = []
        for end_of_one in (0, 1):
            for end_of_other in (0, 1):
                # side s = k * F + face runs from corner k to corner k + 1; corners are numbered like sides
                a, b = (one + end_of_one * count) % (3 * count), (other + end_of_other * count) % (3 * count)
                at_a, at_b = triangles.T.ravel()[a], triangles.T.ravel()[b]
                links.append((a[at_a == at_b], b[at_a == at_b]))
        a, b = (np.concatenate(parts) for parts in zip(*links, strict=True))
        return _components(a, b, 3 * count)[0]


def _components(one: Ints, other: Ints, nodes: int) -> tuple[int, Ints]:
    """Number of connected components of a graph with the edges ``one`` - ``other``, and each node's component."""
    graph = coo_array((np.ones(len(one), np.int8), (one, other)), shape=(nodes, nodes))
    count, labels = connected_components(graph, directed=False)
    return int(count), labels.astype(np.int64)
