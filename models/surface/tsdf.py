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

from meshdrop.models.surface.numerics import SAFE_MATH
from meshdrop.models.surface.range_view import RangeView
from meshdrop.models.surface.volume import Grid

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
FAR = np.float32(np.inf)
#: Columns of a pixel's and of a tile's facts.
DEPTH, FACTOR, OUTLINE, CLEARANCE = range(4)
NEAREST, FARTHEST, INNERMOST, OUTERMOST, TILT, LEAST_CLEARANCE, HOLE = range(7)
#: What a view says of a whole block.
FREE, SILENT, UNDECIDED = range(3)


def fuse(views: Sequence[RangeView], grid: Grid) -> tuple[Floats, int]:
    """Signed distances in voxels (nx, ny, nz) float32, clamped to +-BAND_VOXELS, and the number of blocks computed.

    The outermost samples are always outside, so that the zero set is closed.
    """
    pixels = [
        np.stack([view.depth, view.factor, view.outline, view.clearance], axis=-1).reshape(-1, 4) for view in views
    ]
    sizes = np.array([view.depth.shape for view in views], np.int64)
    tiles = [_tiles(facts, *view.depth.shape) for facts, view in zip(pixels, views, strict=True)]
    field, count = np.full(grid.shape, BAND_VOXELS, np.float32), len(views)
    computed = _fuse(
        field,
        np.stack([_lattice_camera(view, grid) for view in views]),
        grid.voxel,
        np.array([view.open_border for view in views]),
        sizes,
        _starts(pixels),
        np.concatenate(pixels),
        _starts(tiles),
        np.concatenate(tiles),
        np.arange(count),
        np.empty(count, np.int64),
        np.empty(count, np.int64),
        np.empty((count, 2, BLOCK**3)),
        np.empty((count, 2, BLOCK**3)),
        np.empty(BLOCK**3),
    )
    for axis in range(3):
        field[tuple(slice(None) if a != axis else [0, -1] for a in range(3))] = BAND_VOXELS
    return field, int(computed)


def _starts(parts: Sequence[Floats]) -> NDArray[np.int64]:
    """Where each part begins when all are put one behind the other."""
    return np.cumsum([0] + [len(part) for part in parts[:-1]], dtype=np.int64)


def _lattice_camera(view: RangeView, grid: Grid) -> NDArray[np.float64]:
    """Lattice point (i, j, k, 1) -> (u z, v z, z) with v down and z in metres, as one (3, 4) matrix."""
    camera = view.camera
    K = np.array([[camera.fx, 0, -camera.cx], [0, -camera.fy, -camera.cy], [0, 0, -1.0]])
    to_world = np.eye(4)
    to_world[:3, :3] *= grid.voxel
    to_world[:3, 3] = grid.origin
    return K @ camera.w2c[:3] @ to_world


@njit(cache=True, nogil=True)
def _tiles(pixels, height, width):  # type: ignore[no-untyped-def]
    """Extremes of the pixels' facts per tile, (tiles, 7); HOLE is 1 where an object pixel lacks depth, else 0."""
    rows, columns = (height + TILE - 1) // TILE, (width + TILE - 1) // TILE
    out = np.empty((rows * columns, 7), np.float32)
    for t in range(rows * columns):
        nearest, farthest, tilt, clear, hole = FAR, np.float32(0), np.float32(1), FAR, np.float32(0)
        innermost, outermost = FAR, -FAR
        for i in range(t // columns * TILE, min(t // columns * TILE + TILE, height)):
            for j in range(t % columns * TILE, min(t % columns * TILE + TILE, width)):
                here = pixels[i * width + j]
                if here[DEPTH] > 0:
                    nearest, farthest = min(nearest, here[DEPTH]), max(farthest, here[DEPTH])
                    tilt, clear = min(tilt, here[FACTOR]), min(clear, here[CLEARANCE])
                elif here[OUTLINE] < 0:
                    hole = np.float32(1)
                innermost, outermost = min(innermost, here[OUTLINE]), max(outermost, here[OUTLINE])
        out[t, NEAREST], out[t, FARTHEST] = nearest, farthest
        out[t, INNERMOST], out[t, OUTERMOST] = innermost, outermost
        out[t, TILT], out[t, LEAST_CLEARANCE], out[t, HOLE] = max(tilt, np.float32(FLATTEST)), clear, hole
    return out


@njit(cache=True, nogil=True, error_model="numpy")
def _verdict(P, voxel, open_border, height, width, x, y, z, radius, tiles):  # type: ignore[no-untyped-def]
    """What one view says of all samples of a block within ``radius`` voxels of (x, y, z): FREE when its bound lies
    above the band everywhere, SILENT when it says nothing or solid, else UNDECIDED."""
    w = P[2, 0] * x + P[2, 1] * y + P[2, 2] * z + P[2, 3]
    reach = radius * voxel
    if w + reach <= 0:
        return SILENT
    if w - reach <= 0:
        return UNDECIDED
    u = (P[0, 0] * x + P[0, 1] * y + P[0, 2] * z + P[0, 3]) / w
    v = (P[1, 0] * x + P[1, 1] * y + P[1, 2] * z + P[1, 3]) / w
    # a displacement of length r moves u by at most |P0 - u P2| r / (w - r)
    across = np.sqrt((P[0, 0] - u * P[2, 0]) ** 2 + (P[0, 1] - u * P[2, 1]) ** 2 + (P[0, 2] - u * P[2, 2]) ** 2)
    along = np.sqrt((P[1, 0] - v * P[2, 0]) ** 2 + (P[1, 1] - v * P[2, 1]) ** 2 + (P[1, 2] - v * P[2, 2]) ** 2)
    focal = max(across, along) / voxel
    shift = focal * reach / (w - reach) + 1.5
    left, right, top, bottom = u - shift, u + shift, v - shift, v + shift
    if right < 0 or left >= width or bottom < 0 or top >= height:
        return SILENT if open_border else FREE
    if left < 0 or right >= width or top < 0 or bottom >= height:
        return UNDECIDED
    columns = (width + TILE - 1) // TILE
    nearest, farthest, innermost, outermost, tilt, clear, hole = np.inf, 0.0, np.inf, -np.inf, 1.0, np.inf, 0.0
    for a in range(int(top) // TILE, int(bottom) // TILE + 1):
        for b in range(int(left) // TILE, int(right) // TILE + 1):
            tile = tiles[a * columns + b]
            nearest, farthest = min(nearest, tile[NEAREST]), max(farthest, tile[FARTHEST])
            innermost, outermost = min(innermost, tile[INNERMOST]), max(outermost, tile[OUTERMOST])
            tilt, clear, hole = min(tilt, tile[TILT]), min(clear, tile[LEAST_CLEARANCE]), max(hole, tile[HOLE])
    band = BAND_VOXELS * voxel
    if innermost * (w - reach) / focal > band:
        return FREE
    if outermost < 0:
        aside = clear * (w - reach) / focal
        if (nearest - w - reach) * tilt > band and aside > band and hole == 0:
            return FREE
        if (w - reach - farthest) * tilt > band and -outermost * (w - reach) / focal > band:
            return SILENT
    return UNDECIDED


@njit(cache=True, nogil=True, error_model="numpy")
def _undecided(bx, by, bz, side, views, count, out, P, voxel, open_border, sizes, tile_at, tiles):  # type: ignore[no-untyped-def]
    """Which of the first ``count`` ``views`` must be asked sample by sample in a block: their number, listed in
    ``out``; -1 when one of them says that the block is free."""
    half = 0.5 * (side - 1)
    found = 0
    for c in range(count):
        n = views[c]
        said = _verdict(
            P[n],
            voxel,
            open_border[n],
            sizes[n, 0],
            sizes[n, 1],
            bx + half,
            by + half,
            bz + half,
            np.sqrt(3.0) * half,
            tiles[tile_at[n] :],
        )
        if said == FREE:
            return -1
        if said == UNDECIDED:
            out[found] = n
            found += 1
    return found


@njit(cache=True, nogil=True, error_model="numpy", fastmath=SAFE_MATH)
def _bounds(P, voxel, open_border, height, width, bx, by, bz, pixels, best, bound, weight):  # type: ignore[no-untyped-def]
    """One view's bounds in metres at the samples of a block: ``bound`` and ``weight`` (2, BLOCK^3), row 0 by depth,
    row 1 by outline; weight 0 means that the view says nothing. ``best`` (BLOCK^3,) keeps the largest bound so far;
    samples where it lies above the band already are free and passed over."""
    focal = np.sqrt(P[1, 0] ** 2 + P[1, 1] ** 2 + P[1, 2] ** 2) / voxel
    band = BAND_VOXELS * voxel
    for t in range(BLOCK * BLOCK * BLOCK):
        weight[0, t], weight[1, t] = 0.0, 0.0
        if best[t] >= band:
            continue
        x, y, z = bx + t // (BLOCK * BLOCK), by + t // BLOCK % BLOCK, bz + t % BLOCK
        w = P[2, 0] * x + P[2, 1] * y + P[2, 2] * z + P[2, 3]
        if w <= 0:
            continue
        u = (P[0, 0] * x + P[0, 1] * y + P[0, 2] * z + P[0, 3]) / w - 0.5
        v = (P[1, 0] * x + P[1, 1] * y + P[1, 2] * z + P[1, 3]) / w - 0.5
        if u < -0.5 or v < -0.5 or u > width - 0.5 or v > height - 0.5:
            if not open_border:
                best[t] = np.inf
            continue
        u, v = min(max(u, 0.0), width - 1.001), min(max(v, 0.0), height - 1.001)
        j, i = int(u), int(v)
        a, b = u - j, v - i
        p00 = i * width + j
        p01, p10, p11 = p00 + 1, p00 + width, p00 + width + 1
        w00, w01, w10, w11 = (1 - a) * (1 - b), a * (1 - b), (1 - a) * b, a * b
        edge = (
            w00 * pixels[p00, OUTLINE]
            + w01 * pixels[p01, OUTLINE]
            + w10 * pixels[p10, OUTLINE]
            + w11 * pixels[p11, OUTLINE]
        )
        bound[1, t], weight[1, t] = edge * w / focal, OUTLINE_WEIGHT
        best[t] = max(best[t], bound[1, t])
        if edge > 0:
            continue
        nearest = (p11 if a > 0.5 else p10) if b > 0.5 else (p01 if a > 0.5 else p00)
        d, tilt = float(pixels[nearest, DEPTH]), float(pixels[nearest, FACTOR])
        if d <= 0:
            continue
        d00, d01, d10, d11 = pixels[p00, DEPTH], pixels[p01, DEPTH], pixels[p10, DEPTH], pixels[p11, DEPTH]
        low, high = min(d00, d01, d10, d11), max(d00, d01, d10, d11)
        if low > 0 and (high - low) * tilt < 2 * voxel:
            d = w00 * d00 + w01 * d01 + w10 * d10 + w11 * d11
            tilt = (
                w00 * pixels[p00, FACTOR]
                + w01 * pixels[p01, FACTOR]
                + w10 * pixels[p10, FACTOR]
                + w11 * pixels[p11, FACTOR]
            )
        tilt = max(tilt, FLATTEST)
        free = (d - w) * tilt
        if free > 0 and pixels[nearest, CLEARANCE] > 0:
            # beside the edge of something nearer, free space ends sideways at that edge
            aside = (
                w00 * pixels[p00, CLEARANCE]
                + w01 * pixels[p01, CLEARANCE]
                + w10 * pixels[p10, CLEARANCE]
                + w11 * pixels[p11, CLEARANCE]
            )
            free = min(free, max(aside, 0.0) * w / focal)
        bound[0, t], weight[0, t] = free, (tilt * tilt * tilt) ** 2
        best[t] = max(best[t], free)


@njit(cache=True, nogil=True, error_model="numpy", fastmath=SAFE_MATH)
def _combine(best, bound, weight, asked, t, voxel):  # type: ignore[no-untyped-def]
    """The largest bound of sample ``t``, averaged with those less than the window below it; voxels, within +-band."""
    if best >= BAND_VOXELS * voxel:
        return BAND_VOXELS
    if best <= -BAND_VOXELS * voxel:
        return -BAND_VOXELS
    total, mass = 0.0, 0.0
    for s in range(asked):
        for row in range(2):
            close = 1.0 - (best - bound[s, row, t]) / (WINDOW_VOXELS * voxel)
            if weight[s, row, t] > 0 and close > 0:
                total += weight[s, row, t] * close * bound[s, row, t]
                mass += weight[s, row, t] * close
    return total / (mass * voxel)


@njit(cache=True, nogil=True)
def _fuse(  # type: ignore[no-untyped-def]
    field, P, voxel, open_border, sizes, pixel_at, pixels, tile_at, tiles, every, coarse, fine, bound, weight, best
):
    """Fill ``field`` block by block, coarse blocks first; returns how many small ones had to be computed.

    ``every`` numbers all views; ``coarse``, ``fine``, ``bound``, ``weight`` and ``best`` are room to work in: arrays
    made here would double the time to compile.
    """
    count = P.shape[0]
    nx, ny, nz = field.shape
    computed = 0
    rows, columns, layers = (nx + COARSE - 1) // COARSE, (ny + COARSE - 1) // COARSE, (nz + COARSE - 1) // COARSE
    for c in range(rows * columns * layers):
        cx, cy, cz = c // (columns * layers) * COARSE, c // layers % columns * COARSE, c % layers * COARSE
        candidates = _undecided(cx, cy, cz, COARSE, every, count, coarse, P, voxel, open_border, sizes, tile_at, tiles)
        if candidates < 0:
            continue
        for bx in range(cx, min(cx + COARSE, nx), BLOCK):
            for by in range(cy, min(cy + COARSE, ny), BLOCK):
                for bz in range(cz, min(cz + COARSE, nz), BLOCK):
                    asked = _undecided(
                        bx, by, bz, BLOCK, coarse, candidates, fine, P, voxel, open_border, sizes, tile_at, tiles
                    )
                    if asked < 0:
                        continue
                    computed += asked > 0
                    for t in range(BLOCK**3):
                        best[t] = -BAND_VOXELS * voxel
                    for s in range(asked):
                        n = fine[s]
                        _bounds(
                            P[n],
                            voxel,
                            open_border[n],
                            sizes[n, 0],
                            sizes[n, 1],
                            bx,
                            by,
                            bz,
                            pixels[pixel_at[n] :],
                            best,
                            bound[s],
                            weight[s],
                        )
                    for t in range(BLOCK**3):
                        i, j, k = bx + t // BLOCK**2, by + t // BLOCK % BLOCK, bz + t % BLOCK
                        if i < nx and j < ny and k < nz:
                            field[i, j, k] = _combine(best[t], bound, weight, asked, t, voxel)
    return computed
