"""The texture as a linear problem: find the texels whose rendering repeats the photographs.

With the geometry fixed and colour the same from everywhere, each pixel is a weighted sum of texels. A few passes of
the simultaneous iterative reconstruction technique (SIRT: Gilbert 1972) from the blended texture sharpen what
blending and bilinear sampling have blurred, and settle the seams, since the rendering's own filter is part of the
equations.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from models.fusion.bake import COSINE_POWER, LEAST_COSINE, Sight
from models.raster.numba_raster import rasterize

Floats = NDArray[np.float32]

#: Samples a side by which a pixel is modelled.
SAMPLES = 2


@dataclass(frozen=True)
class Equations:
    """One view's pixels: ``pixel`` (P,) colours 0..255 (P, 3), ``weight`` (P,), ``place`` (P, S * S, 2) texel
    coordinates."""

    colour: Floats
    weight: Floats
    place: Floats


def equations(
    view: Sight, gain: Floats, vertices: NDArray[np.float64], faces: NDArray[np.int32], corners: NDArray[np.float64]
) -> Equations:
    """Set up the equations of the pixels of one view that show one surface only. ``corners`` (F, 3, 2) in texels."""
    fragments = rasterize(view.camera, vertices, faces, SAMPLES)
    a, b, c = (vertices[faces[:, k]] for k in range(3))
    normal = np.cross(b - a, c - a)
    normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-300)
    to_eye = view.camera.centre - (a + b + c) / 3
    to_eye /= np.linalg.norm(to_eye, axis=1, keepdims=True)
    cosine = np.einsum("ij,ij->i", normal, to_eye).astype(np.float32)
    pixel = np.flatnonzero(view.trust.ravel() > LAST_TRUST)
    place, weight = _places(fragments.face, fragments.bary, corners.astype(np.float32), cosine, pixel, SAMPLES)
    weight *= view.trust.ravel()[pixel]
    keep = weight > 0
    colour = view.rgb.reshape(-1, 3)[pixel[keep]].astype(np.float32) * gain
    return Equations(colour, weight[keep], place[keep])


#: Pixels trusted less than this are left out of the equations.
LAST_TRUST = 0.01


def solve(texture: Floats, views: Sequence[Equations], passes: int) -> Floats:
    """The texture (S, S, 3) float32 0..255 after ``passes`` passes; texels that no pixel touches stay."""
    texture = texture.copy()
    for _ in range(passes):
        change, mass = np.zeros_like(texture), np.zeros(texture.shape[:2], np.float32)
        for view in views:
            _back_project(texture, view.colour, view.weight, view.place, change, mass)
        texture += np.divide(change, mass[..., None], out=np.zeros_like(change), where=mass[..., None] > 0)
        np.clip(texture, 0, 255, out=texture)
    return texture


@njit(cache=True, nogil=True)
def _places(face, bary, corners, cosine, pixel, side):  # type: ignore[no-untyped-def]
    width = face.shape[1] // side
    place = np.zeros((len(pixel), side * side, 2), np.float32)
    weight = np.zeros(len(pixel), np.float32)
    for n in range(len(pixel)):
        i, j = pixel[n] // width, pixel[n] % width
        least = 1.0
        for s in range(side * side):
            y, x = i * side + s // side, j * side + s % side
            f = face[y, x]
            if f < 0:
                least = 0.0
                break
            least = min(least, cosine[f])
            for k in range(2):
                place[n, s, k] = (
                    bary[y, x, 0] * corners[f, 0, k] + bary[y, x, 1] * corners[f, 1, k]
                    + bary[y, x, 2] * corners[f, 2, k]
                )
        if least >= LEAST_COSINE:
            weight[n] = least**COSINE_POWER
    return place, weight


@njit(cache=True, nogil=True)
def _back_project(texture, colour, weight, place, change, mass):  # type: ignore[no-untyped-def]
    height, width = mass.shape
    samples = place.shape[1]
    share = np.float32(1.0 / samples)
    for n in range(len(colour)):
        r, g, b = colour[n, 0], colour[n, 1], colour[n, 2]
        for s in range(samples):
            x, y = place[n, s, 0] - np.float32(0.5), place[n, s, 1] - np.float32(0.5)
            j, i = min(max(int(x), 0), width - 2), min(max(int(y), 0), height - 2)
            p, q = x - j, y - i
            for t in range(4):
                w = share * (q if t >= 2 else 1 - q) * (p if t % 2 else 1 - p)
                here = texture[i + t // 2, j + t % 2]
                r -= w * here[0]
                g -= w * here[1]
                b -= w * here[2]
        w0 = weight[n]
        for s in range(samples):
            x, y = place[n, s, 0] - np.float32(0.5), place[n, s, 1] - np.float32(0.5)
            j, i = min(max(int(x), 0), width - 2), min(max(int(y), 0), height - 2)
            p, q = x - j, y - i
            for t in range(4):
                w = w0 * share * (q if t >= 2 else 1 - q) * (p if t % 2 else 1 - p)
                mass[i + t // 2, j + t % 2] += w
                here = change[i + t // 2, j + t % 2]
                here[0] += w * r
                here[1] += w * g
                here[2] += w * b
