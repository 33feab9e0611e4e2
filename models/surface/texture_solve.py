"""The texture as a linear problem: find the texels whose rendering repeats the photographs.

With the geometry fixed and colour the same from everywhere, each pixel is a weighted sum of texels. A few passes of
the simultaneous iterative reconstruction technique (SIRT: Gilbert 1972) from the blended texture sharpen what
blending and bilinear sampling have blurred, and settle the seams, since the rendering's own filter is part of the
equations.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from meshdrop.models.raster.numba_raster import camera_space
from meshdrop.models.surface.bake import COSINE_POWER, LEAST_COSINE, SeenSurface
from meshdrop.models.surface.numerics import SAFE_MATH

Floats = NDArray[np.float32]
#: The least and the greatest colour that each texel may have, both (S, S, 3) uint8.
Bounds = tuple[NDArray[np.uint8], NDArray[np.uint8]]

#: Samples a side by which a pixel is modelled.
SAMPLES = 2
#: A sample lies at most so many texels beyond its face's own rectangle: further off begins another chart.
BEYOND_FACE = 2.0
#: The equations of so many pixels are kept from pass to pass, 48 bytes each; those of more are set up anew.
MOST_KEPT = 2_000_000
#: Pixels trusted less than this are left out of the equations.
LAST_TRUST = 0.01
#: Every so many-th pixel of every so many-th row is held out where they are to say how many passes help; odd, so that
#: they meet every place of a sensor's colour pattern and of JPEG's blocks.
HOLD_OUT = 7
#: Passes that are tried at most; none follows on one that took less than a share of its step, or that gained less than
#: a share of the error.
MOST_PASSES = 3
LEAST_STEP, LEAST_GAIN = 0.5, 0.01


@dataclass(frozen=True)
class Equations:
    """One view's pixels: colours 0..255 (P, 3), ``weight`` (P,), ``place`` (P, S * S, 2) texel
    coordinates."""

    colour: Floats
    weight: Floats
    place: Floats


#: Sets up one view's equations when they are needed.
MakeEquations = Callable[[], Equations]


def usable(view: SeenSurface) -> NDArray[np.int64]:
    """The pixels of one view that show one surface only, and not too much from the side."""
    pixel = np.flatnonzero(view.trust.ravel() > LAST_TRUST)
    usable: NDArray[np.int64] = pixel[view.cosine[view.face.ravel()[pixel]] >= LEAST_COSINE]
    return usable


def judges(view: SeenSurface, pixel: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which of the ``usable`` pixels (P,) are held out: some of those of full trust, none at the picture's border."""
    height, width = view.trust.shape
    row, column = np.divmod(pixel, width)
    lattice = (row % HOLD_OUT == HOLD_OUT // 2) & (column % HOLD_OUT == HOLD_OUT // 2)
    inner = (row > 0) & (row < height - 1) & (column > 0) & (column < width - 1)
    held_out: NDArray[np.bool_] = lattice & inner & (view.trust.ravel()[pixel] >= 1)
    return held_out


def equations(
    view: SeenSurface,
    pixel: NDArray[np.int64],
    gain: Floats,
    vertices: NDArray[np.float64],
    faces: NDArray[np.int32],
    corners: Floats,
) -> Equations:
    """Set up the equations of some ``usable`` pixels of one view. ``corners`` (F, 3, 2) in texels."""
    camera = view.camera
    face = view.face.ravel()[pixel]
    cosine = view.cosine[face]
    # of a pixel's samples all are taken to lie on its centre's face, if need be on its plane continued
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


@dataclass(frozen=True)
class Sharpening:
    """What the passes did to the pixels that were held out of them: the mean squared difference between photograph and
    rendering, in squared levels, ``before`` and ``after``; ``steps`` holds the share of each pass that was taken."""

    before: float
    after: float
    steps: tuple[float, ...]


def solve(texture: Floats, bounds: Bounds, views: Sequence[MakeEquations], passes: int) -> None:
    """Take ``passes`` passes on the texture (S, S, C) float32 0..255, in place. No colour leaves ``bounds``; texels
    that no pixel touches stay."""
    change, mass = _nothing_yet(texture)
    for _ in range(passes):
        _pass(texture, bounds, views, change, mass)


def sharpen(
    texture: Floats, bounds: Bounds, views: Sequence[MakeEquations], judges: Sequence[MakeEquations]
) -> Sharpening:
    """``solve`` with as many passes, and as much of each, as bring the rendering nearer to the pixels of ``judges``,
    of which neither ``texture`` nor ``views`` may know.

    Passes sharpen what blending has blurred and put the photographs' noise back that it has averaged.
    """
    change, mass = _nothing_yet(texture)
    held_out = [make() for make in judges]
    weight = np.concatenate([judge.weight for judge in held_out])[:, None]
    rest = np.concatenate([_residuals(texture, judge) for judge in held_out])
    before = error = _mean_square(rest, weight)
    steps = list[float]()
    while len(steps) < MOST_PASSES and weight.sum() > 0:
        _pass(texture, bounds, views, change, mass)
        # along the step the residuals change linearly, so that the best share of it is known
        moved = rest - np.concatenate([_residuals(texture, judge) for judge in held_out])
        step = float((weight * rest * moved).sum() / max(float((weight * moved * moved).sum()), 1e-12))
        step = min(max(step, 0.0), 1.0)
        if step < 1:
            texture[..., :3] -= np.float32(1 - step) * change
        rest = rest - step * moved
        last, error = error, _mean_square(rest, weight)
        steps.append(step)
        if step < LEAST_STEP or error > (1 - LEAST_GAIN) * last:
            break
    return Sharpening(before, error, tuple(steps))


def _nothing_yet(texture: Floats) -> tuple[Floats, Floats]:
    return np.zeros((*texture.shape[:2], 3), np.float32), np.zeros(texture.shape[:2], np.float32)


def _pass(texture: Floats, bounds: Bounds, views: Sequence[MakeEquations], change: Floats, mass: Floats) -> None:
    """One pass, in place; ``change`` is what it changed."""
    change[:], mass[:] = 0, 0
    for make in views:
        view = make()
        _back_project(texture, view.colour, view.weight, view.place, change, mass)
    _update(texture, bounds[0], bounds[1], change, mass)


def _residuals(texture: Floats, view: Equations) -> NDArray[np.float64]:
    """The pixels' colours less their rendering, (P, 3)."""
    return _differences(texture, view.colour, view.place)  # type: ignore[no-any-return]


def _mean_square(residuals: NDArray[np.float64], weight: Floats) -> float:
    return float((weight * residuals**2).sum() / max(3 * float(weight.sum()), 1e-12))


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
            for axis in range(2):
                p, q, r = corners[f, 0, axis], corners[f, 1, axis], corners[f, 2, axis]
                low, high = min(p, q, r) - BEYOND_FACE, max(p, q, r) + BEYOND_FACE
                place[n, s, axis] = min(max((x if axis == 0 else y) / total, low), high)
    return place


@njit(cache=True, nogil=True, error_model="numpy", fastmath=SAFE_MATH)
def _cell(x, y, width, height):  # type: ignore[no-untyped-def]
    """The first of the four texels between which a point of the texture lies, as row and column, and the point's place
    between them, 0..1 down and right."""
    x, y = x - np.float32(0.5), y - np.float32(0.5)
    j, i = min(max(int(x), 0), width - 2), min(max(int(y), 0), height - 2)
    right = min(max(x - np.float32(j), np.float32(0.0)), np.float32(1.0))
    down = min(max(y - np.float32(i), np.float32(0.0)), np.float32(1.0))
    return i, j, down, right


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
                i, j, q, p = _cell(place[n, s, 0], place[n, s, 1], width, height)
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


@njit(cache=True, nogil=True, error_model="numpy", fastmath=SAFE_MATH)
def _differences(texture, colour, place):  # type: ignore[no-untyped-def]
    """Each pixel's difference from its rendering, (P, 3) float64."""
    height, width = texture.shape[:2]
    samples = place.shape[1]
    one, share = np.float32(1.0), np.float32(1.0 / samples)
    out = np.empty((len(colour), 3))
    for n in range(len(colour)):
        for k in range(3):
            out[n, k] = colour[n, k]
        for s in range(samples):
            i, j, q, p = _cell(place[n, s, 0], place[n, s, 1], width, height)
            for t in range(4):
                w = share * (q if t >= 2 else one - q) * (p if t % 2 else one - p)
                for k in range(3):
                    out[n, k] -= w * texture[i + t // 2, j + t % 2, k]
    return out


@njit(cache=True, nogil=True, error_model="numpy")
def _update(texture, low, high, change, mass):  # type: ignore[no-untyped-def]
    """Apply the mean change to each texel that has one, within its bounds; ``change`` becomes what was changed."""
    for i in range(mass.shape[0]):
        for j in range(mass.shape[1]):
            if mass[i, j] > 0:
                for k in range(3):
                    value = texture[i, j, k] + change[i, j, k] / mass[i, j]
                    value = min(max(value, np.float32(low[i, j, k])), np.float32(high[i, j, k]))
                    change[i, j, k] = value - texture[i, j, k]
                    texture[i, j, k] = value
