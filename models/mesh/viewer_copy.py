"""A lighter copy of a mesh for looking at: what report.html shows when ``mesh.glb`` is too large to travel inside it.

The picture becomes a JPEG first, a smaller one if it must; that alone is often enough. Then the triangles become fewer
by clustering (Rossignac and Borrel, "Multi-resolution 3D approximations for rendering complex scenes", 1993): all
vertices in one cell of a grid become one, and what no longer has three corners goes. It is coarser than collapsing
edges, and it takes any mesh as it is: open or closed, in any number of pieces and charts.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from meshdrop.models.mesh.mesh import MeshError, TexturedMesh, glb_with_jpeg

Ints = NDArray[np.int64]

#: Sides of pictures above this become this: a phone's GPU takes no more.
MOST_TEXELS = 4096
#: A picture that fills more than this share of the copy is halved, but not below this side: shape needs room too.
PICTURES_SHARE, LEAST_TEXELS = 0.75, 512
JPEG_QUALITY = 88
#: Bytes of a GLB for each vertex (position, normal, texture coordinates; a fifth are split where charts meet) and the
#: two triangles that come with it.
BYTES_A_VERTEX = 1.2 * 32 + 2 * 12
#: Grids are tried from this many cells along the longest side down to this, each coarser by the factor.
FINEST, COARSEST, COARSER = 2048, 8, 0.85


@dataclass(frozen=True)
class ViewerCopy:
    """The file, and how many triangles and which picture (width, height) it holds."""

    glb: bytes
    faces: int
    texture_size: tuple[int, int]


def viewer_copy(mesh: TexturedMesh, most_bytes: int, extras: Mapping[str, Any]) -> ViewerCopy | None:
    """A GLB of at most ``most_bytes`` that looks like ``mesh``, a cleaned one, and stands as ``extras`` say; None when
    no grid is coarse enough."""
    picture = _shrunk(mesh.texture, MOST_TEXELS)
    jpeg = _jpeg(picture)
    while len(jpeg) > PICTURES_SHARE * most_bytes and (side := max(picture.shape)) > LEAST_TEXELS:
        picture = _shrunk(mesh.texture, side // 2)
        jpeg = _jpeg(picture)
    size = (picture.shape[1], picture.shape[0])
    glb = glb_with_jpeg(mesh, jpeg, extras)
    if len(glb) <= most_bytes:
        return ViewerCopy(glb, len(mesh.faces), size)
    corners = _corners(mesh)
    cells = float(FINEST)
    while cells >= COARSEST:
        clusters = _clusters(mesh.vertices, cells)
        if (clusters.max() + 1) * BYTES_A_VERTEX + len(jpeg) <= most_bytes:
            simple = _clustered(mesh, clusters, corners)
            glb = b"" if simple is None else glb_with_jpeg(simple, jpeg, extras)
            if simple is not None and len(glb) <= most_bytes:
                return ViewerCopy(glb, len(simple.faces), size)
        cells *= COARSER
    return None


def _shrunk(texture: NDArray[np.uint8], most: int) -> NDArray[np.uint8]:
    """The texture with sides of at most ``most`` texels."""
    height, width = texture.shape[:2]
    share = most / max(height, width)
    if share >= 1:
        return texture
    size = (max(1, round(width * share)), max(1, round(height * share)))
    return np.asarray(Image.fromarray(texture).resize(size, Image.Resampling.LANCZOS, reducing_gap=2.0))


def _jpeg(picture: NDArray[np.uint8]) -> bytes:
    """Colours at full resolution too: charts border on each other, and theirs must not run together."""
    stream = io.BytesIO()
    Image.fromarray(picture).save(stream, "JPEG", quality=JPEG_QUALITY, subsampling=0)
    return stream.getvalue()


def _corners(mesh: TexturedMesh) -> Ints:
    """The number (F, 3) of each triangle corner's pair of vertex and texture coordinate, from 0."""
    flat = np.ascontiguousarray(mesh.uv.reshape(-1, 2)) + np.float32(0.0)
    _, texcoord = np.unique(flat.view(np.uint64).ravel(), return_inverse=True)
    pair = mesh.faces.ravel().astype(np.int64) * (int(texcoord.max()) + 1) + texcoord.ravel()
    numbers: Ints = np.unique(pair, return_inverse=True)[1].reshape(-1, 3).astype(np.int64)
    return numbers


def _clusters(vertices: NDArray[np.float32], cells: float) -> Ints:
    """The cluster of every vertex (V,), numbered from 0: its cell of a grid with ``cells`` along the longest side."""
    low = vertices.min(axis=0).astype(np.float64)
    side = max(float((vertices.max(axis=0) - low).max()), 1e-30) / cells
    x, y, z = np.minimum((vertices - low) / side, cells).astype(np.int64).T
    _, cluster = np.unique((x * 4096 + y) * 4096 + z, return_inverse=True)
    return cluster.ravel().astype(np.int64)


def _clustered(mesh: TexturedMesh, cluster: Ints, corners: Ints) -> TexturedMesh | None:
    """One vertex for each cluster, with one texture coordinate for each piece of the atlas that meets there; None when
    no triangle is left.

    The vertex is the one nearest to the cluster's middle, so it lies on the surface; a piece's texture coordinate is
    that of its corner nearest to this place.
    """
    count = int(cluster.max()) + 1
    points = mesh.vertices.astype(np.float64)
    sizes = np.bincount(cluster, minlength=count)
    middle = np.stack([np.bincount(cluster, points[:, axis], count) for axis in range(3)], axis=1) / sizes[:, None]
    kept = _nearest_of(cluster, np.linalg.norm(points - middle[cluster], axis=1), count)
    faces = cluster[mesh.faces]
    piece = _pieces(corners, faces)[corners].ravel()
    away = np.linalg.norm(points[mesh.faces.ravel()] - points[kept][faces.ravel()], axis=1)
    chosen = _nearest_of(piece, away, int(piece.max()) + 1)
    uv = mesh.uv.reshape(-1, 2)[chosen][piece].reshape(-1, 3, 2)
    a, b, c = faces.T
    real = np.flatnonzero((a != b) & (b != c) & (c != a))
    if not len(real):
        return None
    _, first = np.unique(np.sort(faces[real], axis=1), axis=0, return_index=True)
    real = real[np.sort(first)]
    simple = replace(mesh, vertices=mesh.vertices[kept], faces=faces[real].astype(np.int32), uv=uv[real])
    try:
        return simple.cleaned()
    except MeshError:  # what is left has no area
        return None


def _pieces(corners: Ints, faces: Ints) -> Ints:
    """For every numbered corner its piece: corners joined by edges inside of one cluster.

    A chart that meets itself at a seam has two pieces there, and so the texture is not smeared across it.
    """
    one, other = corners.T.ravel(), corners[:, [1, 2, 0]].T.ravel()
    inside = faces.T.ravel() == faces[:, [1, 2, 0]].T.ravel()
    count = int(corners.max()) + 1
    graph = coo_array((np.ones(int(inside.sum()), np.int8), (one[inside], other[inside])), shape=(count, count))
    pieces: Ints = connected_components(graph, directed=False)[1].astype(np.int64)
    return pieces


def _nearest_of(group: Ints, distance: NDArray[np.float64], count: int) -> Ints:
    """For each group 0..count-1 the index of its member with the smallest distance."""
    order = np.lexsort((distance, group))
    return order[np.searchsorted(group[order], np.arange(count))]
