"""The signed distance volume: what the views together say about free and solid space.

Rule per sample: every view gives a lower bound of the signed distance (positive = free space), from its depth where
the sample falls on the object and from its outline everywhere. The LARGEST bound m wins - free space seen by one
camera is free - and the value is the weighted mean of the bounds close to m, which averages the noise of views that
agree. Averaging all views instead fills thin parts and rounds edges. Space that no view speaks about stays solid.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numba import njit
from numpy.typing import NDArray

from models.fusion.range_view import RangeView
from models.fusion.volume import Grid

Floats = NDArray[np.float32]

#: Values are kept within this many voxels of the surface.
BAND_VOXELS = 2.0
#: Bounds count fully at the largest one and not at all this many voxels below it.
WINDOW_VOXELS = 1.0
#: Weight of an outline against a depth seen straight on (weight 1).
OUTLINE_WEIGHT = 0.02
#: Surfaces seen at a smaller factor than this are treated as if at this one.
FLATTEST = 0.05
#: Blocks of this many samples a side are decided at once where the views agree from afar, after coarse blocks of
#: COARSE.
BLOCK = 4
COARSE = 16
#: Side in pixels of the tiles whose extremes decide about blocks.
TILE = 4


def fuse(views: Sequence[RangeView], grid: Grid) -> tuple[Floats, int]:
    """Signed distances in voxels (nx, ny, nz) float32, clamped to +-BAND_VOXELS, and the number of blocks computed.

    The outermost samples are always outside, so that the zero set is closed.
    """
    tiles = [_tiles(view.depth, view.factor, view.outline) for view in views]
    pixel_at = np.concatenate([[0], np.cumsum([view.depth.size for view in views])]).astype(np.int64)
    tile_at = np.concatenate([[0], np.cumsum([hole.size for _, hole in tiles])]).astype(np.int64)
    sizes = np.array([view.depth.shape for view in views], np.int64)
    depth = np.concatenate([view.depth.ravel() for view in views])
    factor = np.concatenate([view.factor.ravel() for view in views])
    outline = np.concatenate([view.outline.ravel() for view in views])
    clear = np.concatenate([view.clearance.ravel() for view in views])
    near, far, inner, outer, tilt = np.concatenate([extremes for extremes, _ in tiles], axis=1)
    gap = np.concatenate([hole for _, hole in tiles])
    window = WINDOW_VOXELS * grid.voxel
    field = np.full(grid.shape, BAND_VOXELS, np.float32)
    computed = _fuse(
        field, np.asarray(grid.origin), grid.voxel, window,
        np.stack([_lattice_camera(view) for view in views]),
        np.array([view.open_border for view in views]),
        sizes, pixel_at, depth, factor, outline, clear, tile_at, near, far, gap, inner, outer, tilt,
    )
    for axis in range(3):
        field[tuple(slice(None) if a != axis else [0, -1] for a in range(3))] = BAND_VOXELS
    return field, int(computed)


def _lattice_camera(view: RangeView) -> NDArray[np.float64]:
    """World point (x, y, z, 1) -> (u z, v z, z) with v down, as one (3, 4) matrix."""
    camera = view.camera
    K = np.array([[camera.fx, 0, -camera.cx], [0, -camera.fy, -camera.cy], [0, 0, -1.0]])
    return K @ camera.w2c[:3]


@njit(cache=True, nogil=True)
def _tiles(depth, factor, outline):  # type: ignore[no-untyped-def]
    """Extremes per tile: (least and greatest depth, least and greatest outline distance, least factor) and whether
    an object pixel lacks depth."""
    height, width = depth.shape
    rows, columns = (height + TILE - 1) // TILE, (width + TILE - 1) // TILE
    out = np.empty((5, rows * columns), np.float32)
    hole = np.zeros(rows * columns, np.bool_)
    out[0], out[1], out[2], out[3], out[4] = np.inf, 0.0, np.inf, -np.inf, 1.0
    for i in range(height):
        for j in range(width):
            t = i // TILE * columns + j // TILE
            d = depth[i, j]
            if d > 0:
                out[0, t], out[1, t] = min(out[0, t], d), max(out[1, t], d)
                out[4, t] = min(out[4, t], max(factor[i, j], FLATTEST))
            elif outline[i, j] < 0:
                hole[t] = True
            out[2, t], out[3, t] = min(out[2, t], outline[i, j]), max(out[3, t], outline[i, j])
    return out, hole


@njit(cache=True, nogil=True)
def _verdict(P, open_border, height, width, x, y, z, radius, band, tile_first, near, far, gap, inner, outer, tilt):  # type: ignore[no-untyped-def]
    """What one view says of a whole block: 1 = surely free, -1 = surely says nothing or solid, 0 = look closer."""
    w = P[2, 0] * x + P[2, 1] * y + P[2, 2] * z + P[2, 3]
    if w + radius <= 0:
        return -1
    if w - radius <= 0:
        return 0
    u = (P[0, 0] * x + P[0, 1] * y + P[0, 2] * z + P[0, 3]) / w
    v = (P[1, 0] * x + P[1, 1] * y + P[1, 2] * z + P[1, 3]) / w
    # a displacement of length r moves u by at most |P0 - u P2| r / (w - r)
    across = np.sqrt((P[0, 0] - u * P[2, 0]) ** 2 + (P[0, 1] - u * P[2, 1]) ** 2 + (P[0, 2] - u * P[2, 2]) ** 2)
    along = np.sqrt((P[1, 0] - v * P[2, 0]) ** 2 + (P[1, 1] - v * P[2, 1]) ** 2 + (P[1, 2] - v * P[2, 2]) ** 2)
    focal = max(across, along)
    reach = focal * radius / (w - radius) + 1.5
    left, right, top, bottom = u - reach, u + reach, v - reach, v + reach
    if right < 0 or left >= width or bottom < 0 or top >= height:
        return -1 if open_border else 1
    if left < 0 or right >= width or top < 0 or bottom >= height:
        return 0
    columns = (width + TILE - 1) // TILE
    lowest, highest, deepest, nearest, flattest, hole = np.inf, -np.inf, -np.inf, np.inf, 1.0, False
    for a in range(int(top) // TILE, int(bottom) // TILE + 1):
        for b in range(int(left) // TILE, int(right) // TILE + 1):
            t = tile_first + a * columns + b
            lowest, highest = min(lowest, inner[t]), max(highest, outer[t])
            nearest, deepest = min(nearest, near[t]), max(deepest, far[t])
            flattest = min(flattest, tilt[t])
            hole = hole or gap[t]
    if lowest * w / focal > band + radius:
        return 1
    if highest < 0:
        if (nearest - w - radius) * flattest > band and not hole:
            return 1
        if (w - radius - deepest) * flattest > band and -highest * w / focal > band:
            return -1
    return 0


@njit(cache=True, nogil=True)
def _bounds(P, open_border, height, width, origin, voxel, block, first, depth, factor, outline, clear, bound, weight):  # type: ignore[no-untyped-def]
    """One view's bounds at the samples of a block: ``bound`` and ``weight`` (2, BLOCK^3), row 0 by depth, row 1 by
    outline.

    Weight 0 means that the view says nothing.
    """
    a00, a01, a02, a03 = P[0, 0], P[0, 1], P[0, 2], P[0, 3]
    a10, a11, a12, a13 = P[1, 0], P[1, 1], P[1, 2], P[1, 3]
    a20, a21, a22, a23 = P[2, 0], P[2, 1], P[2, 2], P[2, 3]
    focal = np.sqrt(a10 * a10 + a11 * a11 + a12 * a12)
    for t in range(BLOCK * BLOCK * BLOCK):
        weight[0, t], weight[1, t] = 0.0, 0.0
        x = origin[0] + voxel * (block[0] + t // (BLOCK * BLOCK))
        y = origin[1] + voxel * (block[1] + t // BLOCK % BLOCK)
        z = origin[2] + voxel * (block[2] + t % BLOCK)
        w = a20 * x + a21 * y + a22 * z + a23
        if w <= 0:
            continue
        u = (a00 * x + a01 * y + a02 * z + a03) / w - 0.5
        v = (a10 * x + a11 * y + a12 * z + a13) / w - 0.5
        if u < -0.5 or v < -0.5 or u > width - 0.5 or v > height - 0.5:
            if not open_border:
                bound[1, t], weight[1, t] = 10.0 * voxel, OUTLINE_WEIGHT
            continue
        u, v = min(max(u, 0.0), width - 1.001), min(max(v, 0.0), height - 1.001)
        j, i = int(u), int(v)
        a, b = u - j, v - i
        p00 = first + i * width + j
        p01, p10, p11 = p00 + 1, p00 + width, p00 + width + 1
        w00, w01, w10, w11 = (1 - a) * (1 - b), a * (1 - b), (1 - a) * b, a * b
        edge = w00 * outline[p00] + w01 * outline[p01] + w10 * outline[p10] + w11 * outline[p11]
        bound[1, t] = edge * w / focal
        weight[1, t] = OUTLINE_WEIGHT
        if edge > 0:
            continue
        nearest = p00
        if a > 0.5:
            nearest = p01
        if b > 0.5:
            nearest = p11 if a > 0.5 else p10
        d = float(depth[nearest])
        if d <= 0:
            continue
        tilt = float(factor[nearest])
        d00, d01, d10, d11 = depth[p00], depth[p01], depth[p10], depth[p11]
        low, high = min(d00, d01, d10, d11), max(d00, d01, d10, d11)
        if low > 0 and (high - low) * tilt < 2 * voxel:
            d = w00 * d00 + w01 * d01 + w10 * d10 + w11 * d11
            tilt = w00 * factor[p00] + w01 * factor[p01] + w10 * factor[p10] + w11 * factor[p11]
        tilt = max(tilt, FLATTEST)
        free = (d - w) * tilt
        if free > 0 and clear[nearest] > 0:
            # beside the edge of something nearer, free space ends sideways at that edge
            aside = w00 * clear[p00] + w01 * clear[p01] + w10 * clear[p10] + w11 * clear[p11]
            free = min(free, max(aside, 0.0) * w / focal)
        bound[0, t] = free
        weight[0, t] = tilt * tilt * tilt * tilt * tilt * tilt


@njit(cache=True, nogil=True)
def _combine(bound, weight, asks, t, band, window):  # type: ignore[no-untyped-def]
    """The largest bound of sample ``t``, averaged with those less than ``window`` below it; within +-band."""
    best = -band
    for s in range(asks):
        for row in range(2):
            if weight[s, row, t] > 0:
                best = max(best, bound[s, row, t])
    if best >= band:
        return band
    if best <= -band:
        return -band
    total, mass = 0.0, 0.0
    for s in range(asks):
        for row in range(2):
            close = 1.0 - (best - bound[s, row, t]) / window
            if weight[s, row, t] > 0 and close > 0:
                total += weight[s, row, t] * close * bound[s, row, t]
                mass += weight[s, row, t] * close
    return total / mass


@njit(cache=True, nogil=True)
def _ask(bx, by, bz, side, candidates, candidate_count, asked, origin, voxel, band, P, open_border, sizes,  # type: ignore[no-untyped-def]
         tile_at, near, far, gap, inner, outer, tilt):
    """Which of the candidate views must be asked sample by sample in a block; -1 when one says that it is free."""
    x = origin[0] + voxel * (bx + 0.5 * (side - 1))
    y = origin[1] + voxel * (by + 0.5 * (side - 1))
    z = origin[2] + voxel * (bz + 0.5 * (side - 1))
    # one sample more on each side: neighbouring blocks then never disagree about what lies between them
    radius = 0.5 * np.sqrt(3.0) * (side + 1) * voxel
    asks = 0
    for c in range(candidate_count):
        n = candidates[c]
        said = _verdict(
            P[n], open_border[n], sizes[n, 0], sizes[n, 1], x, y, z, radius, band,
            tile_at[n], near, far, gap, inner, outer, tilt,
        )
        if said == 1:
            return -1
        if said == 0:
            asked[asks] = n
            asks += 1
    return asks


@njit(cache=True, nogil=True)
def _fuse(field, origin, voxel, window, P, open_border, sizes, pixel_at, depth, factor, outline, clear,  # type: ignore[no-untyped-def]
          tile_at, near, far, gap, inner, outer, tilt):
    count = P.shape[0]
    nx, ny, nz = field.shape
    band = BAND_VOXELS * voxel
    some, asked = np.empty(count, np.int64), np.empty(count, np.int64)
    every = np.arange(count)
    bound, weight = np.empty((count, 2, BLOCK**3)), np.empty((count, 2, BLOCK**3))
    block = np.empty(3)
    computed = 0
    per_side = COARSE // BLOCK
    for start in range(((nx - 1) // COARSE + 1) * ((ny - 1) // COARSE + 1) * ((nz - 1) // COARSE + 1)):
        columns, layers = (ny - 1) // COARSE + 1, (nz - 1) // COARSE + 1
        cx, cy, cz = start // (columns * layers) * COARSE, start // layers % columns * COARSE, start % layers * COARSE
        speak = _ask(cx, cy, cz, COARSE, every, count, some, origin, voxel, band, P, open_border, sizes,
                     tile_at, near, far, gap, inner, outer, tilt)
        if speak < 0:
            continue
        for inside in range(per_side**3):
            bx = cx + inside // per_side**2 * BLOCK
            by = cy + inside // per_side % per_side * BLOCK
            bz = cz + inside % per_side * BLOCK
            if bx >= nx or by >= ny or bz >= nz:
                continue
            asks = _ask(bx, by, bz, BLOCK, some, speak, asked, origin, voxel, band, P, open_border, sizes,
                        tile_at, near, far, gap, inner, outer, tilt)
            if asks < 0:
                continue
            computed += asks > 0
            block[0], block[1], block[2] = bx, by, bz
            for s in range(asks):
                n = asked[s]
                _bounds(
                    P[n], open_border[n], sizes[n, 0], sizes[n, 1], origin, voxel, block, pixel_at[n],
                    depth, factor, outline, clear, bound[s], weight[s],
                )
            for t in range(BLOCK**3):
                i, j, k = bx + t // BLOCK**2, by + t // BLOCK % BLOCK, bz + t % BLOCK
                if i < nx and j < ny and k < nz:
                    field[i, j, k] = _combine(bound, weight, asks, t, band, window) / voxel
    return computed
