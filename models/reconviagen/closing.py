"""A generated surface made whole: open rims closed, what lies inside taken away, needless triangles merged.

A network's surface has rims where it left its volume and bubbles where no camera will ever look. Upstream looks for
those by rendering a thousand pictures; here they follow from the triangles alone: rims are edges without a second face,
bubbles are pieces that enclose negative volume.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from meshdrop.models.mesh.cleaning import Triangles, clean
from meshdrop.models.surface.extraction import COST
from meshdrop.models.surface.pieces import ClosedMesh, opposite_corners, without_crumbs
from meshdrop.models.surface.simplify import simplify

Floats = NDArray[np.float64]
Faces = NDArray[np.int32]


class NothingSolid(ValueError):
    """The generated triangles enclose no space."""


def solid(vertices: Floats, faces: Faces, most_faces: int) -> tuple[Floats, Faces]:
    """The surface closed, without bubbles and crumbs, and with at most about ``most_faces`` triangles.

    ``vertices`` (V, 3) in any unit, ``faces`` (F, 3) outward; rims may be open. Raises ``NothingSolid`` when nothing
    that encloses space is left.
    """
    vertices, faces = welded(vertices, faces)
    vertices, faces = closed(vertices, faces)
    if not len(faces):
        raise NothingSolid("the generated surface has no triangles")
    edge = float(np.linalg.norm(vertices[faces[:, 0]] - vertices[faces[:, 1]], axis=1).mean())
    whole = ClosedMesh(vertices / edge, faces, opposite_corners(faces, len(vertices)))
    kept = without_crumbs(whole)
    if not len(kept.faces):
        raise NothingSolid("the generated surface is inside out everywhere: it encloses no space")
    simple, _ = simplify(kept, COST, most_faces)
    return simple.vertices * edge, simple.faces


def welded(vertices: Floats, faces: Faces) -> tuple[Floats, Faces]:
    """The surface with one vertex a place, without triangles that have no area."""
    found = clean(Triangles(vertices.astype(np.float32), faces, np.zeros((len(faces), 3, 2), np.float32)))
    return found.vertices.astype(np.float64), found.faces


def closed(vertices: Floats, faces: Faces) -> tuple[Floats, Faces]:
    """The surface with a fan of triangles over every open rim.

    The edges without a second face that runs along them the other way form closed walks whatever the surface is (a
    boundary has no boundary), so that every edge has its opposite afterwards.
    """
    start, end = _open_edges(faces, len(vertices))
    walks = _walks(start, end)
    if not walks:
        return vertices, faces
    caps = []
    for number, walk in enumerate(walks):
        ahead = np.roll(walk, -1)
        caps.append(np.stack([ahead, walk, np.full(len(walk), len(vertices) + number)], axis=1))
    middles = np.array([vertices[walk].mean(axis=0) for walk in walks])
    return np.concatenate([vertices, middles]), np.concatenate([faces, *caps]).astype(np.int32)


def _open_edges(faces: Faces, count: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Starts and ends of the half-edges that no other runs against, each as often as it lacks one."""
    start, end = faces.ravel().astype(np.int64), faces[:, [1, 2, 0]].ravel().astype(np.int64)
    there, times = np.unique(start * count + end, return_counts=True)
    reverse = (there % count) * count + there // count
    place = np.minimum(np.searchsorted(there, reverse), max(len(there) - 1, 0))
    against = np.where(there[place] == reverse, times[place], 0) if len(there) else times
    lacking = np.repeat(there, np.maximum(times - against, 0))
    return lacking // count, lacking % count


def _walks(start: NDArray[np.int64], end: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """The half-edges as closed walks of vertices that each pass a vertex once."""
    onward: dict[int, list[int]] = {}
    for a, b in zip(start.tolist(), end.tolist(), strict=True):
        onward.setdefault(a, []).append(b)
    walks = []
    while onward:
        path, place = [next(iter(onward))], {next(iter(onward)): 0}
        while path:
            here = path[-1]
            following = onward[here].pop()
            if not onward[here]:
                del onward[here]
            if following not in place:
                place[following] = len(path)
                path.append(following)
                continue
            # a walk has closed: it goes, and the rest of the path goes on from there
            loop = path[place[following] :]
            walks.append(np.array(loop))
            for vertex in loop[1:]:
                del place[vertex]
            del path[place[following] + 1 :]
            if following not in onward:
                break
    return walks
