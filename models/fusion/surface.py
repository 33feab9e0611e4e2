"""From the distance volume to a watertight, simplified triangle mesh."""

from __future__ import annotations

from dataclasses import dataclass

import manifold3d
import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from skimage.measure import marching_cubes

from models.fusion.fit import fit_to_field
from models.fusion.volume import EmptyCapture

#: Pieces with fewer faces than this share of the largest piece are crumbs of noise.
SMALLEST_PIECE = 0.005
#: Simplification starts with this tolerance in voxels and coarsens by this factor until the mesh is small enough.
FIRST_TOLERANCE = 0.15
COARSER = 1.5
ATTEMPTS = 16


@dataclass(frozen=True)
class Surface:
    """Closed triangles in lattice coordinates: ``vertices`` (V, 3) float64 in voxels, ``faces`` (F, 3) int32,
    outward.

    ``tolerance`` is how far simplification may have moved the surface, in voxels; ``extracted_faces`` counts the
    triangles before it.
    """

    vertices: NDArray[np.float64]
    faces: NDArray[np.int32]
    tolerance: float
    extracted_faces: int


def extract(field: NDArray[np.float32], max_faces: int) -> Surface:
    """The zero set of ``field`` without crumbs, simplified towards ``max_faces`` triangles, watertight.

    Raises ``EmptyCapture`` when the volume holds no surface.
    """
    if not (field < 0).any():
        raise EmptyCapture("depth and silhouettes leave no solid space; check the camera poses and the depth unit")
    vertices, faces, _, _ = marching_cubes(  # type: ignore[no-untyped-call]
        field, 0.0, allow_degenerate=False
    )
    vertices, faces = without_crumbs(vertices, faces)
    solid = manifold3d.Manifold(manifold3d.Mesh(vertices.astype(np.float32), faces.astype(np.uint32)))
    if solid.status() != manifold3d.Error.NoError:
        raise RuntimeError(f"the extracted surface is not closed ({solid.status()}); this is a fault in Meshdrop")
    tolerance = FIRST_TOLERANCE
    for _ in range(ATTEMPTS):
        solid = solid.simplify(tolerance)
        if solid.num_tri() <= max_faces:
            break
        # the count falls about as the tolerance grows: aim just below the limit, without overshooting
        tolerance *= min(max(1.02 * solid.num_tri() / max_faces, 1.05), COARSER)
    mesh = solid.to_mesh()
    simple = np.ascontiguousarray(mesh.tri_verts, np.int32)
    fitted = fit_to_field(np.ascontiguousarray(mesh.vert_properties[:, :3], np.float64), simple, field)
    return Surface(fitted, simple, tolerance, len(faces))


def without_crumbs(
    vertices: NDArray[np.floating], faces: NDArray[np.integer]
) -> tuple[NDArray[np.floating], NDArray[np.integer]]:
    """The mesh without pieces that have less than SMALLEST_PIECE of the largest one's faces, and without bubbles
    inside.

    Bubbles (pieces that enclose negative volume) lie where no camera can look; they carry no information.
    """
    links = coo_array((np.ones(2 * len(faces), np.bool_), (faces[:, [0, 1]].T.ravel(), faces[:, [1, 2]].T.ravel())),
                      shape=(len(vertices), len(vertices)))
    pieces, label = connected_components(links, directed=False)
    of_face = label[faces[:, 0]]
    count = np.bincount(of_face, minlength=pieces)
    a, b, c = (vertices[faces[:, k]].astype(np.float64) for k in range(3))
    volume = np.bincount(of_face, weights=np.einsum("ij,ij->i", a, np.cross(b, c)), minlength=pieces)
    keep = (count >= SMALLEST_PIECE * count[volume > 0].max(initial=1)) & (volume > 0)
    faces = faces[keep[of_face]]
    used, compact = np.unique(faces, return_inverse=True)
    return vertices[used], compact.reshape(-1, 3)
