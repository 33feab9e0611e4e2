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

from meshdrop.models.raster.numba_raster import camera_space
from meshdrop.models.surface.bake import COSINE_POWER, LEAST_COSINE, SeenSurface
from meshdrop.models.surface.numerics import SAFE_MATH

Floats = NDArray[np.float32]

#: Samples a side by which a pixel is modelled.
SAMPLES = 2
#: Pixels trusted less than this are left out of the equations.
LAST_TRUST = 0.01


@dataclass(frozen=True)
class Equations:
    """One view's pixels: colours 0..255 (P, 3), ``weight`` (P,), ``place`` (P, S * S, 2) texel
    coordinates."""

    colour: Floats
    weight: Floats
    place: Floats


def equations(
    view: SeenSurface, gain: Floats, vertices: NDArray[np.float64], faces: NDArray[np.int32], corners: Floats
) -> Equations:
    """Set up the equations of the pixels of one view that show one surface only. ``corners`` (F, 3, 2) in texels."""
    camera = view.camera
    pixel = np.flatnonzero(view.trust.ravel() > LAST_TRUST)
    face = view.face.ravel()[pixel]
    cosine = view.cosine[face]
    # of a pixel's samples all are taken to lie on its centre's face, if need be on its plane continued
    keep = cosine >= LEAST_COSINE
    pixel, face, cosine = pixel[keep], face[keep], cosine[keep]
    place = _places(
        camera_space(camera, vertices),
        faces,
        corners,
        face,
        pixel,
        camera.width,
        camera.fx,
        camera.fy,
        camera.cx,
        camera.cy,
    )
    weight = cosine**COSINE_POWER * view.trust.ravel()[pixel]
    colour = view.rgb.reshape(-1, 3)[pixel].astype(np.float32) * gain
    return Equations(colour, weight, place)


def solve(texture: Floats, views: Sequence[Equations], passes: int) -> Floats:
    """The texture (S, S, 3) float32 0..255 after ``passes`` passes; texels that no pixel touches stay."""
    texture = texture.copy()
    change, mass = np.zeros_like(texture), np.zeros(texture.shape[:2], np.float32)
    for _ in range(passes):
        for view in views:
            _back_project(texture, view.colour, view.weight, view.place, change, mass)
        _update(texture, change, mass)
    return texture


@njit(cache=True, nogil=True, error_model="numpy")
def _places(local, faces, corners, face, pixel, width, fx, fy, cx, cy):  # type: ignore[no-untyped-def]
    """Texel coordinates (P, SAMPLES^2, 2) of the samples of each pixel on the plane of its face; see ``rasterize``."""
    place = np.empty((len(pixel), SAMPLES * SAMPLES, 2), np.float32)
    edge = np.empty((3, 3))
    for n in range(len(pixel)):
        f = face[n]
        for k in range(3):
            p, q = local[faces[f, (k + 1) % 3]], local[faces[f, (k + 2) % 3]]
            edge[k, 0] = (p[1] * q[2] - p[2] * q[1]) / fx
            edge[k, 1] = (p[2] * q[0] - p[0] * q[2]) / fy
            edge[k, 2] = p[0] * q[1] - p[1] * q[0]
        for s in range(SAMPLES * SAMPLES):
            u = pixel[n] % width + (s % SAMPLES + 0.5) / SAMPLES - cx
            v = pixel[n] // width + (s // SAMPLES + 0.5) / SAMPLES - cy
            x, y, total = 0.0, 0.0, 0.0
            for k in range(3):
                w = edge[k, 0] * u + edge[k, 1] * v + edge[k, 2]
                x += w * corners[f, k, 0]
                y += w * corners[f, k, 1]
                total += w
            place[n, s, 0], place[n, s, 1] = x / total, y / total
    return place


@njit(cache=True, nogil=True, error_model="numpy", fastmath=SAFE_MATH)
def _back_project(texture, colour, weight, place, change, mass):  # type: ignore[no-untyped-def]
    """Spread each pixel's difference from its rendering over the texels that it reads, in place."""
    height, width = mass.shape
    samples = place.shape[1]
    one, share = np.float32(1.0), np.float32(1.0 / samples)
    for n in range(len(colour)):
        r, g, b = colour[n, 0], colour[n, 1], colour[n, 2]
        for turn in range(2):
            for s in range(samples):
                x, y = place[n, s, 0] - np.float32(0.5), place[n, s, 1] - np.float32(0.5)
                j, i = min(max(int(x), 0), width - 2), min(max(int(y), 0), height - 2)
                p, q = x - np.float32(j), y - np.float32(i)
                for t in range(4):
                    w = share * (q if t >= 2 else one - q) * (p if t % 2 else one - p)
                    a, c = i + t // 2, j + t % 2
                    if turn == 0:
                        r -= w * texture[a, c, 0]
                        g -= w * texture[a, c, 1]
                        b -= w * texture[a, c, 2]
                    else:
                        w *= weight[n]
                        mass[a, c] += w
                        change[a, c, 0] += w * r
                        change[a, c, 1] += w * g
                        change[a, c, 2] += w * b


@njit(cache=True, nogil=True, error_model="numpy")
def _update(texture, change, mass):  # type: ignore[no-untyped-def]
    """Apply the mean change to each texel that has one, within 0..255, and clear ``change`` and ``mass``."""
    for i in range(mass.shape[0]):
        for j in range(mass.shape[1]):
            if mass[i, j] > 0:
                for k in range(3):
                    value = texture[i, j, k] + change[i, j, k] / mass[i, j]
                    texture[i, j, k] = min(max(value, np.float32(0)), np.float32(255))
                    change[i, j, k] = 0
                mass[i, j] = 0
