"""Photographs onto the texture: who sees each texel, how well, and what colour it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from meshdrop.models.capture.capture import View
from meshdrop.models.formats.cameras import Camera
from meshdrop.models.raster.numba_raster import rasterize
from meshdrop.models.surface.range_view import RangeView

Floats = NDArray[np.float32]

#: Blend weight falls with this power of the cosine between the surface's normal and the line of sight.
COSINE_POWER = 4
#: A surface turned away further than this cosine is not read at all.
LEAST_COSINE = 0.1
#: Pixels this near to an outline or a depth step are mixed with what lies behind; further in trust grows over
#: FEATHER_PX.
MIXED_PX = 1.0
FEATHER_PX = 3.0
#: Mixed-free but not yet trusted pixels keep this share, and pixels that may be mixed this one, so that they speak
#: where nothing better does.
LAST_RESORT = 1e-3
MAYBE_MIXED = 1e-6
#: Views whose word weighs at least this share of the best one's say which colours a surface point may have.
IN_RANGE = 0.05
#: Colours for unseen texels come from this many seen neighbours in space.
FILL_NEIGHBOURS = 8
#: Depth steps are felt this many pixels away, just beyond MIXED_PX + FEATHER_PX.
STEP_REACH = 5
#: Seen texels from which unseen ones are coloured, at most.
FILL_SOURCES = 20_000
#: Turning the surface by one radian is as far as this share of the object's diagonal.
FACING = 0.05


@dataclass(frozen=True)
class SeenSurface:
    """What one view can tell about the mesh: ``face`` (H, W) the face that each pixel's centre shows, -1 = none;
    ``surface`` (H, W) planar depth of the mesh in metres, 0 = none; ``trust`` (H, W) 0..1, 0 on pixels that mix two
    surfaces or object and background; ``cosine`` (F,) of the angle between each face's normal and the line of sight.
    """

    camera: Camera
    rgb: NDArray[np.uint8]
    face: NDArray[np.int32]
    surface: Floats
    trust: Floats
    cosine: Floats


def sight(view: View, prepared: RangeView, vertices: NDArray[np.float64], faces: NDArray[np.int32]) -> SeenSurface:
    """Render the mesh's depth for one view and mark the pixels that show one surface only. ``vertices`` in metres,
    ``faces`` outward and closed."""
    camera = view.camera
    cosine = _cosine_to_eye(camera, vertices, faces)
    # behind a face that looks away lies, in a closed mesh, always one that looks here: half the faces are enough
    front = np.flatnonzero(cosine > 0).astype(np.int32)
    shown = rasterize(camera, vertices, faces[front])
    face = np.where(shown.face >= 0, front[shown.face], np.int32(-1)) if len(front) else shown.face
    # a smooth surface turned by 84 degrees climbs 10 footprints a pixel, 20 over the window
    steps = _step_distance(shown.depth, 20 / min(camera.fx, camera.fy))
    distance = np.minimum(-prepared.outline, steps)
    trust = np.clip((distance - MIXED_PX) / FEATHER_PX, LAST_RESORT, 1.0)
    trust[distance < MIXED_PX] = MAYBE_MIXED
    trust[(prepared.outline > -0.25) | (face < 0)] = 0.0
    return SeenSurface(camera, view.rgb, face, shown.depth, trust.astype(np.float32), cosine)


def without(view: SeenSurface, pixel: NDArray[np.int64]) -> SeenSurface:
    """The view as it were without the photograph's ``pixel`` (P,), none of them at its border: in their place stands
    the mean of their neighbours."""
    rgb, row = view.rgb.copy(), view.rgb.shape[1]
    flat = rgb.reshape(-1, 3)
    around = [flat[pixel + step].astype(np.uint16) for step in (-row, -1, 1, row)]
    flat[pixel] = (sum(around) + 2) // 4
    return replace(view, rgb=rgb)


def _cosine_to_eye(camera: Camera, vertices: NDArray[np.float64], faces: NDArray[np.int32]) -> Floats:
    """Cosine of the angle between each face's normal and the line from its centre to the camera, (F,)."""
    a, b, c = (vertices[faces[:, k]] for k in range(3))
    normal, to_eye = np.cross(b - a, c - a), camera.centre - (a + b + c) / 3
    lengths = np.sqrt(np.einsum("ij,ij->i", normal, normal) * np.einsum("ij,ij->i", to_eye, to_eye))
    cosine = np.einsum("ij,ij->i", normal, to_eye) / np.maximum(lengths, 1e-300)
    return cosine.astype(np.float32)  # type: ignore[no-any-return]


@njit(cache=True, nogil=True, error_model="numpy")
def _step_distance(surface, slope):  # type: ignore[no-untyped-def]
    """Distance of each pixel to the nearest depth step in pixels, (H, W) float32; STEP_REACH where none is that near.

    A step is where the depth changes by more than ``slope`` of itself between a pixel's neighbours, or to nothing.
    """
    height, width = surface.shape
    out = np.full((height, width), np.float32(STEP_REACH))
    for i in range(height):
        for j in range(width):
            top, bottom, left, right = max(i - 1, 0), min(i + 1, height - 1), max(j - 1, 0), min(j + 1, width - 1)
            if surface[i, j] <= 0 and surface[top, j] <= 0 and surface[bottom, j] <= 0:
                continue
            low, high = surface[i, j], surface[i, j]
            for y in range(top, bottom + 1):
                for x in range(left, right + 1):
                    low, high = min(low, surface[y, x]), max(high, surface[y, x])
            if low > 0 and high - low <= slope * high:
                continue
            for y in range(max(i - STEP_REACH, 0), min(i + STEP_REACH + 1, height)):
                for x in range(max(j - STEP_REACH, 0), min(j + STEP_REACH + 1, width)):
                    # the step's pixels reach half a pixel beyond their centres
                    away = np.float32(np.sqrt(float((y - i) ** 2 + (x - j) ** 2)) - 0.5)
                    out[y, x] = min(out[y, x], away)
    return out


@dataclass(frozen=True)
class Blend:
    """Surface points in the photographs. ``colour`` (N, 3) float32 0..255 is the weighted mean, ``best`` (N,) the
    weight of the view that sees a point best, 0 where none does. ``low`` and ``high`` (N, 3) uint8 are the least and
    the greatest colour, channel by channel, that the pixels around it have in the views that see it about as well as
    the best one; 255 and 0 where none does."""

    colour: Floats
    best: Floats
    low: NDArray[np.uint8]
    high: NDArray[np.uint8]


def blend(sights: Sequence[SeenSurface], points: Floats, normals: Floats, gains: Floats) -> Blend:
    """What the photographs say of surface points."""
    total, mass, best = (np.zeros((len(points), *rest), np.float32) for rest in ((3,), (), ()))
    low, high = np.full((len(points), 3), 255, np.uint8), np.zeros((len(points), 3), np.uint8)
    for view, gain in zip(sights, gains, strict=True):
        _add(view, points, normals, gain, total, mass, best, low, high)
    np.divide(total, mass[:, None], out=total, where=mass[:, None] > 0)
    return Blend(total.clip(0, 255, out=total), best, low, high)


def view_gains(sights: Sequence[SeenSurface], points: Floats, normals: Floats) -> Floats:
    """Per view and colour channel, the factor that brings its photograph to the common exposure, (views, 3) float32.

    From surface points that two views both see well: the median log ratio of every pair, solved for one gain a view
    by least squares with mean zero. Views without overlap keep 1.
    """
    count = len(sights)
    colours, weights = np.zeros((count, len(points), 3), np.float32), np.zeros((count, len(points)), np.float32)
    unit, best = np.ones(3, np.float32), np.zeros(len(points), np.float32)
    low, high = np.zeros((2, len(points), 3), np.uint8)
    for n, view in enumerate(sights):
        _add(view, points, normals, unit, colours[n], weights[n], best, low, high)
    logs = np.log(np.clip(colours / np.maximum(weights, 1e-12)[..., None], 4.0, 255.0))
    seen = weights > 0.02
    # what takes long is done once for each view: there are many pairs
    well = seen & (colours.min(axis=2) > 10 * weights) & (colours.max(axis=2) < 250 * weights)
    rows, values, trust = [], [], []
    for a in range(count):
        for b in range(a + 1, count):
            bright = np.flatnonzero(well[a] & seen[b])
            pairs = len(bright)
            if pairs < 50:
                continue
            row = np.zeros(count)
            row[a], row[b] = 1.0, -1.0
            rows.append(row)
            values.append(np.median(logs[b][bright] - logs[a][bright], axis=0))
            trust.append(np.sqrt(pairs))
    if not rows:
        return np.ones((count, 3), np.float32)
    scale = np.array(trust)[:, None]
    # the small diagonal keeps views without overlap, and the common factor, at zero
    A = np.concatenate([np.array(rows) * scale, np.eye(count) * 1e-3 * scale.max()])
    wanted = np.concatenate([np.array(values) * scale, np.zeros((count, 3))])
    gains: Floats = np.exp(np.linalg.lstsq(A, wanted, rcond=None)[0]).astype(np.float32)
    return gains


def fill_unseen(points: Floats, normals: Floats, colours: Floats, seen: NDArray[np.bool_]) -> None:
    """Colour the unseen points from the nearest seen ones in space, in place; grey when nothing was seen at all.

    Points that face the same way count as nearer: under one light they are lit alike.
    """
    if seen.all():
        return
    if not seen.any():
        colours[:] = 128.0
        return
    known = np.flatnonzero(seen)
    # a part is enough: neighbours in the texture are neighbours in space
    known = known[:: max(1, len(known) // FILL_SOURCES)]
    count = min(FILL_NEIGHBOURS, len(known))
    scale = FACING * float(np.linalg.norm(np.ptp(points, axis=0)))
    place = np.concatenate([points, scale * normals], axis=1)
    distance, near = cKDTree(place[known]).query(place[~seen], k=count)
    weight = 1.0 / np.maximum(distance.reshape(-1, count), 1e-12) ** 2
    picked = colours[known[near.reshape(-1, count)]]
    colours[~seen] = (picked * weight[..., None]).sum(axis=1) / weight.sum(axis=1, keepdims=True)


def _add(view: SeenSurface, *arrays: NDArray[Any]) -> None:
    """``_add_view`` for one view: ``arrays`` are its last parameters, from ``points`` on."""
    camera = view.camera
    eye = (camera.w2c, camera.centre.copy(), camera.fx, camera.fy, camera.cx, camera.cy)
    _add_view(*eye, view.rgb, view.surface, view.trust, *arrays)


@njit(cache=True, nogil=True, error_model="numpy")
def _look(w2c, eye, fx, fy, cx, cy, surface, trust, point, normal):  # type: ignore[no-untyped-def]
    """What a view's word about a surface point weighs, 0 where it does not see it, and the place (row, column) between
    four pixels' centres that shows it."""
    height, width = surface.shape
    nothing = (np.float32(0.0), 0.0, 0.0)
    px, py, pz = point[0], point[1], point[2]
    z = -(w2c[2, 0] * px + w2c[2, 1] * py + w2c[2, 2] * pz + w2c[2, 3])
    if z <= 0:
        return nothing
    dx, dy, dz = eye[0] - px, eye[1] - py, eye[2] - pz
    away = np.sqrt(dx * dx + dy * dy + dz * dz)
    cosine = (dx * normal[0] + dy * normal[1] + dz * normal[2]) / away
    if cosine < LEAST_COSINE:
        return nothing
    u = fx * (w2c[0, 0] * px + w2c[0, 1] * py + w2c[0, 2] * pz + w2c[0, 3]) / z + cx - 0.5
    v = cy - fy * (w2c[1, 0] * px + w2c[1, 1] * py + w2c[1, 2] * pz + w2c[1, 3]) / z - 0.5
    if u < 0 or v < 0 or u >= width - 1 or v >= height - 1:
        return nothing
    j, i = int(u), int(v)
    a, b = u - j, v - i
    y, x = i + (1 if b > 0.5 else 0), j + (1 if a > 0.5 else 0)
    footprint = z / min(fx, fy)
    if abs(z - surface[y, x]) > (1.0 + 2.0 / cosine) * footprint or trust[y, x] <= 0:
        return nothing
    sure = (
        (1 - a) * (1 - b) * trust[i, j]
        + a * (1 - b) * trust[i, j + 1]
        + (1 - a) * b * trust[i + 1, j]
        + a * b * trust[i + 1, j + 1]
    )
    return np.float32(sure * cosine**COSINE_POWER), v, u


@njit(cache=True, nogil=True, error_model="numpy")
def _add_view(w2c, eye, fx, fy, cx, cy, rgb, surface, trust, points, normals, gain, total, mass, best, low, high):  # type: ignore[no-untyped-def]
    for n in range(len(points)):
        weight, v, u = _look(w2c, eye, fx, fy, cx, cy, surface, trust, points[n], normals[n])
        if weight <= 0:
            continue
        i, j = int(v), int(u)
        a, b = u - j, v - i
        # what lies beside the object lends it no colour
        p = (1 - a) * (1 - b) if trust[i, j] > 0 else 0.0
        q = a * (1 - b) if trust[i, j + 1] > 0 else 0.0
        r = (1 - a) * b if trust[i + 1, j] > 0 else 0.0
        s = a * b if trust[i + 1, j + 1] > 0 else 0.0
        whole = p + q + r + s
        mass[n] += weight
        for k in range(3):
            colour = p * rgb[i, j, k] + q * rgb[i, j + 1, k] + r * rgb[i + 1, j, k] + s * rgb[i + 1, j + 1, k]
            total[n, k] += weight * gain[k] * colour / whole
        if weight >= IN_RANGE * best[n]:
            if best[n] < IN_RANGE * weight:
                low[n], high[n] = 255, 0
            _widen(rgb, trust, int(v + 0.5), int(u + 0.5), gain, n, low, high)
        best[n] = max(best[n], weight)


@njit(cache=True, nogil=True, error_model="numpy")
def _widen(rgb, trust, row, column, gain, n, low, high):  # type: ignore[no-untyped-def]
    """Take the pixels around one into the range of the ``n``-th point, in place."""
    top, bottom = max(row - 1, 0), min(row + 2, rgb.shape[0])
    left, right = max(column - 1, 0), min(column + 2, rgb.shape[1])
    for k in range(3):
        least, most = np.uint8(255), np.uint8(0)
        for y in range(top, bottom):
            for x in range(left, right):
                if trust[y, x] > 0:
                    least, most = min(least, rgb[y, x, k]), max(most, rgb[y, x, k])
        low[n, k] = min(low[n, k], np.uint8(min(gain[k] * least + np.float32(0.5), np.float32(255))))
        high[n, k] = max(high[n, k], np.uint8(min(gain[k] * most + np.float32(0.5), np.float32(255))))
