"""A picture of a textured mesh, as one of the capture's cameras would take it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from meshdrop.models.formats.cameras import Camera
from meshdrop.models.mesh.mesh import TexturedMesh
from meshdrop.models.raster import numba_raster as raster
from meshdrop.models.raster.numba_raster import Fragments

Floats = NDArray[np.float32]

#: A picture is drawn in bands of rows of at most this many samples, so that memory stays near 200 MB at any size.
SAMPLES_PER_BAND = 6_000_000


@dataclass(frozen=True)
class Picture:
    """A rendered view, all arrays float32.

    ``rgb`` (H, W, 3) sRGB values 0..1, already composited over the background; ``alpha`` (H, W) coverage 0..1;
    ``depth`` (H, W) planar metres at the pixel's centre, 0 = nothing there (mean of the samples next to the centre
    that hit the mesh: one for an odd number of samples a side, four for an even one); ``seen`` (H, W) share of the
    covered samples whose texel a camera saw, 0..1, and 0 where nothing is covered.
    """

    rgb: Floats
    alpha: Floats
    depth: Floats
    seen: Floats


def render(
    mesh: TexturedMesh, camera: Camera, background: tuple[float, float, float] = (1.0, 1.0, 1.0), samples: int = 4
) -> Picture:
    """The mesh unlit, in its texture's own colours, over ``background`` (sRGB 0..1).

    Each pixel averages ``samples`` x ``samples`` points, sRGB values as they are (as most image scalers
    do). Both sides of a triangle are drawn. Raises ``ValueError`` as ``rasterize`` does.
    """
    band_rows = max(1, SAMPLES_PER_BAND // (camera.width * samples * samples))
    bands = [
        _render_band(mesh, camera, samples, (row, min(row + band_rows, camera.height)))
        for row in range(0, camera.height, band_rows)
    ]
    colour, alpha, depth, seen = (np.concatenate(parts) for parts in zip(*bands, strict=True))
    over = colour / 255.0 + (1.0 - alpha)[..., None] * np.asarray(background, np.float32)
    return Picture(
        rgb=np.clip(over, 0.0, 1.0).astype(np.float32),
        alpha=alpha,
        depth=depth,
        seen=np.divide(seen, alpha, out=np.zeros_like(seen), where=alpha > 0),
    )


def _render_band(
    mesh: TexturedMesh, camera: Camera, samples: int, rows: tuple[int, int]
) -> tuple[Floats, Floats, Floats, Floats]:
    """Colour 0..255 and seen (both premultiplied by coverage), coverage and depth of a band of pixel rows."""
    fragments = raster.rasterize(camera, mesh.vertices, mesh.faces, samples, rows)
    uv = raster.interpolate(fragments, mesh.uv)
    colour = raster.antialias(fragments, raster.texture(fragments, mesh.texture, uv))
    marks = np.full((*mesh.seen.shape, 2), 1, np.uint8)
    marks[..., 1] = mesh.seen
    counts = raster.antialias(fragments, raster.texture(fragments, marks, uv, nearest=True))
    return colour, counts[..., 0], _centre_depth(fragments), counts[..., 1]


def _centre_depth(fragments: Fragments) -> Floats:
    """Planar depth at pixel centres (H, W), 0 where none of the samples next to the centre hit the mesh."""
    side = fragments.samples
    middle = [side // 2] if side % 2 else [side // 2 - 1, side // 2]
    near = np.stack([fragments.depth[i::side, j::side] for i in middle for j in middle])
    hits = (near > 0).sum(axis=0)
    depth: Floats = np.divide(near.sum(axis=0), hits, out=np.zeros_like(near[0]), where=hits > 0)
    return depth
