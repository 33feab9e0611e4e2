"""A capture of a known mesh, photographed by our own renderer, for the tests of everything that compares the two."""

from __future__ import annotations

import numpy as np

from meshdrop.models.capture.capture import Capture, View
from meshdrop.models.formats.cameras import CANONICAL_VIEWS, canonical_camera
from meshdrop.models.mesh.mesh import TexturedMesh
from meshdrop.models.raster.render import render

#: Side of the photographs.
SIZE = 96


def photographed(mesh: TexturedMesh, names: list[str] | None = None, depth: bool = True) -> Capture:
    """Photographs of the mesh itself from the canonical cameras, with soft masks and the object's own colours."""
    views = []
    for name in names or list(CANONICAL_VIEWS):
        camera = canonical_camera(name, SIZE, SIZE)
        picture = render(mesh, camera, samples=3)
        own = (picture.rgb - (1 - picture.alpha[..., None])) / np.maximum(picture.alpha[..., None], 1e-6)
        rgb = np.rint(np.clip(own, 0, 1) * 255).astype(np.uint8)
        views.append(View(name, camera, rgb, picture.alpha, picture.depth if depth else None, "file"))
    return Capture("torus", "canonical", tuple(views), 0.001)
