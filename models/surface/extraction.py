"""From the distance volume to a watertight, simplified triangle mesh."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from meshdrop.models.mesh.reload import MIN_VERTICES
from meshdrop.models.surface import isosurface
from meshdrop.models.surface.fit import fit_to_field
from meshdrop.models.surface.pieces import ClosedMesh, opposite_corners, without_crumbs
from meshdrop.models.surface.simplify import simplify
from meshdrop.models.surface.volume import EmptyCapture

#: An edge goes when this is all that it costs: the squared distance in voxels, integrated over the squared voxels of
#: surface that it stands for. Lower values give more triangles and the same pictures.
COST = 0.1
#: A small object would be left with too few corners at that cost: it is lowered until so many stay, or nothing goes.
LEAST_VERTICES, LEAST_COST = 2_000, 1e-6


@dataclass(frozen=True)
class Surface:
    """Closed triangles in lattice coordinates: ``vertices`` (V, 3) float64 in voxels, ``faces`` (F, 3) int32,
    outward. ``extracted_faces`` counts the triangles before simplification.
    """

    vertices: NDArray[np.float64]
    faces: NDArray[np.int32]
    extracted_faces: int


def extract(field: NDArray[np.float32], max_faces: int) -> Surface:
    """The zero set of ``field`` without crumbs, simplified towards ``max_faces`` triangles, watertight.

    Raises ``EmptyCapture`` when the volume holds no surface, or one of fewer points than a mesh must have.
    """
    vertices, faces = isosurface.extract(field)
    if not len(faces):
        raise EmptyCapture("Depth and silhouettes leave no solid space.", "Check the camera poses and the depth unit.")
    whole = ClosedMesh(vertices, faces, opposite_corners(faces, len(vertices)))
    clean = without_crumbs(whole)
    if len(clean.vertices) <= MIN_VERTICES:
        raise EmptyCapture(
            f"The object is too small in the pictures: of its surface only {len(clean.vertices)} points can be told "
            f"apart, and a mesh needs more than {MIN_VERTICES:,}.",
            "Go closer, or send larger pictures of it.",
        )
    allowed = COST
    simple, _ = simplify(clean, allowed, max_faces)
    while len(simple.vertices) < LEAST_VERTICES and allowed > LEAST_COST and len(simple.faces) < max_faces:
        allowed /= 8
        simple, _ = simplify(clean, allowed, max_faces)
    return Surface(fit_to_field(simple.vertices, simple.faces, field), simple.faces, len(faces))
