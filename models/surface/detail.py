"""How fine a surface and its texture become where nobody says so: as fine as the photographs resolve, within bounds.

The bounds keep a run of fusion within 2 GiB beside its pictures: a model is not told how much memory it may take.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from meshdrop.models.surface.bake import SeenSurface
from meshdrop.models.surface.range_view import RangeView

#: An object of so many pixels gets a voxel for each; a larger one so many voxels, until PIXELS_A_VOXEL pixels share
#: one: outlines and depth are averaged over many pixels, and time grows with the square of the voxels.
ENOUGH_VOXELS, MOST_VOXELS = 256, 512
PIXELS_A_VOXEL = 3
#: A scene is as long as the room, and depth is noisier there than pixels are wide; its many views are blended, and not
#: fitted to.
SCENE_VOXELS, SCENE_FACES, SCENE_TEXELS, SCENE_PASSES = 256, 80_000, 1536, 0
#: Pixels of the object, in the picture that shows it largest, for each triangle.
PIXELS_A_FACE = 8
FEWEST_FACES, MOST_FACES = 40_000, 160_000
#: Texels for each pixel of the view that sees a face best: fewer blur what lies between the pixels of several views.
#: Charts fill about this share of their texture.
TEXELS_A_PIXEL, FILLED = 1.8, 0.5
STEP, FEWEST_TEXELS, MOST_TEXELS = 256, 512, 3072


def voxels(pixels: float) -> float:
    """Voxels along an object that is ``pixels`` long in its photographs."""
    return min(max(min(pixels, ENOUGH_VOXELS), pixels / PIXELS_A_VOXEL), MOST_VOXELS)


def triangles(views: Sequence[RangeView]) -> int:
    """Triangles that the mesh is simplified towards."""
    pixels = max(int((view.outline < 0).sum()) for view in views)
    return min(max(pixels // PIXELS_A_FACE, FEWEST_FACES), MOST_FACES)


@dataclass(frozen=True)
class TextureSize:
    """``side`` in texels; ``scale`` is how many of them there should be along a metre of the surface, 0
    where nobody says so."""

    side: int
    scale: float = 0.0


def texture_size(sights: Sequence[SeenSurface], vertices: NDArray[np.float64], faces: NDArray[np.int32]) -> TextureSize:
    """So that texels lie about as close on the surface as the pixels of the view that sees each face best, within
    bounds. ``vertices`` in metres."""
    a, b, c = (vertices[faces[:, k]] for k in range(3))
    area, centre = np.linalg.norm(np.cross(b - a, c - a), axis=1) / 2, (a + b + c) / 3
    pixels = np.zeros(len(faces))
    for view in sights:
        seen = np.flatnonzero(np.bincount(view.face[view.face >= 0], minlength=len(faces)))
        camera = view.camera
        depth = camera.project(centre[seen])[2]
        shown = area[seen] * view.cosine[seen] * camera.fx * camera.fy / np.maximum(depth, 1e-9) ** 2
        pixels[seen] = np.maximum(pixels[seen], shown)
    known = pixels > 0
    # what nobody sees has its place in the texture too
    wanted = TEXELS_A_PIXEL * float(pixels.sum()) / max(float(area[known].sum()), 1e-300)
    side = STEP * float(np.ceil(np.sqrt(wanted * area.sum() / FILLED) / STEP))
    return TextureSize(int(min(max(side, FEWEST_TEXELS), MOST_TEXELS)), float(np.sqrt(wanted)))
