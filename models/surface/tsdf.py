"""The signed distance volume: what the views together say about free and solid space.

Rule per sample: every view gives a lower bound of the signed distance (positive = free space), from its depth where
the sample falls on the object and from its outline everywhere, and each bound has a standard deviation. What one view
sees to be free is free as far as it can be sure of it: the largest bound less REACH deviations is certain, and the
value is the weighted mean of all bounds that may reach up to there. Views that differ by their noise alone are thus
averaged, all of them, and views of the other side of a thin part or of what lies behind an edge are not. Where more
than OUTVOTED views for each one measured a surface here, those that see none here are wrong: a pixel astray carves no
hole. Space that no view speaks about stays solid.
"""

# ruff: noqa: PLR0912 - compiled loops stay in one piece

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from meshdrop.models.surface.numerics import SAFE_MATH
from meshdrop.models.surface.range_view import RangeView
from meshdrop.models.surface.volume import Grid

Floats = NDArray[np.float32]

#: Values are kept within this many voxels of the surface.
BAND_VOXELS = 2.0
#: Bounds count fully at the certain one and not at all this many voxels below it.
WINDOW_VOXELS = 1.0
#: A bound may be wrong by this many of its standard deviations.
REACH = 3.0
#: A view that measured no surface where this many times as many did is wrong.
OUTVOTED = 2
#: A surface lies here when a view measured it within its reach and this many voxels.
HERE_VOXELS = 0.25
#: An outline is not sharper than this many pixels.
OUTLINE_PX = 0.3
#: Beside depth an outline counts less so many deviations of its slack.
DOUBTED = 2.0
#: No bound counts for surer than this many voxels.
SURE_VOXELS = 0.1
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
DEPTH, FACTOR, OUTLINE, CLEARANCE, SPREAD = range(5)
NEAREST, FARTHEST, INNERMOST, OUTERMOST, TILT, LEAST_CLEARANCE, HOLE, WIDEST = range(8)
#: What a view says of a whole block.
OUTSIDE, FREE, SILENT, UNDECIDED = range(4)


@dataclass(frozen=True)
class Fused:
    """``field`` (nx, ny, nz) float32: signed distances in voxels, clamped to +-BAND_VOXELS; the outermost samples are
    always outside, so that the zero set is closed. ``seen`` (nx, ny, nz) uint8: how many views' depth tells of a
    sample, that it is free or how far from a surface; 255 for many, 0 for the outermost. ``blocks`` were computed."""

    field: Floats
    seen: NDArray[np.uint8]
    blocks: int


def fuse(views: Sequence[RangeView], grid: Grid) -> Fused:
    """What all views say of the lattice, as the head of this file tells."""
    pixels = [
        np.stack([view.depth, view.factor, view.outline, view.clearance, view.spread], axis=-1).reshape(-1, 5)
        for view in views
    ]
    sizes = np.array([view.depth.shape for view in views], np.int64)
    tiles = [_tiles(facts, *view.depth.shape) for facts, view in zip(pixels, views, strict=True)]
    field, count = np.full(grid.shape, BAND_VOXELS, np.float32), len(views)
    seen = np.full(grid.shape, 255, np.uint8)
    computed = _fuse(
        field,
        seen,
        np.stack([_lattice_camera(view, grid) for view in views]),
        grid.voxel,
        np.array([view.open_border for view in views]),
        np.array([view.slack for view in views]),
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
        np.empty((count, 2, BLOCK**3)),
        np.empty(BLOCK**3),
    )
    for axis in range(3):
        rim = tuple(slice(None) if a != axis else [0, -1] for a in range(3))
        # it closes what lies inside and was not measured to be free: a surface there is nobody's
        field[rim], seen[rim] = BAND_VOXELS, 0
    return Fused(field, seen, int(computed))


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
    """Extremes of the pixels' facts per tile, (tiles, 8); HOLE is 1 where an object pixel lacks depth, else 0."""
    rows, columns = (height + TILE - 1) // TILE, (width + TILE - 1) // TILE
    out = np.empty((rows * columns, 8), np.float32)
    for t in range(rows * columns):
        nearest, farthest, tilt, clear, hole = FAR, np.float32(0), np.float32(1), FAR, np.float32(0)
        wide = np.float32(0)
        innermost, outermost = FAR, -FAR
        for i in range(t // columns * TILE, min(t // columns * TILE + TILE, height)):
            for j in range(t % columns * TILE, min(t % columns * TILE + TILE, width)):
                here = pixels[i * width + j]
                if here[DEPTH] > 0:
                    nearest, farthest = min(nearest, here[DEPTH]), max(farthest, here[DEPTH])
                    tilt, clear = min(tilt, here[FACTOR]), min(clear, here[CLEARANCE])
                    wide = max(wide, here[SPREAD])
                elif here[OUTLINE] < 0:
                    hole = np.float32(1)
                innermost, outermost = min(innermost, here[OUTLINE]), max(outermost, here[OUTLINE])
        out[t, NEAREST], out[t, FARTHEST] = nearest, farthest
        out[t, INNERMOST], out[t, OUTERMOST] = innermost, outermost
        out[t, TILT], out[t, LEAST_CLEARANCE], out[t, HOLE] = max(tilt, np.float32(FLATTEST)), clear, hole
        out[t, WIDEST] = wide
    return out


@njit(cache=True, nogil=True, error_model="numpy")
def _verdict(P, voxel, open_border, slack, height, width, x, y, z, radius, tiles):  # type: ignore[no-untyped-def]
    """What one view says of all samples of a block within ``radius`` voxels of (x, y, z): OUTSIDE when its outline
    puts them above the band, FREE when its depth surely does, SILENT when it says nothing or solid, else
    UNDECIDED."""
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
        return SILENT if open_border else OUTSIDE
    if left < 0 or right >= width or top < 0 or bottom >= height:
        return UNDECIDED
    columns = (width + TILE - 1) // TILE
    nearest, farthest, innermost, outermost, tilt, clear, hole = np.inf, 0.0, np.inf, -np.inf, 1.0, np.inf, 0.0
    wide = 0.0
    for a in range(int(top) // TILE, int(bottom) // TILE + 1):
        for b in range(int(left) // TILE, int(right) // TILE + 1):
            tile = tiles[a * columns + b]
            nearest, farthest = min(nearest, tile[NEAREST]), max(farthest, tile[FARTHEST])
            innermost, outermost = min(innermost, tile[INNERMOST]), max(outermost, tile[OUTERMOST])
            tilt, clear, hole = min(tilt, tile[TILT]), min(clear, tile[LEAST_CLEARANCE]), max(hole, tile[HOLE])
            wide = max(wide, tile[WIDEST])
    band = BAND_VOXELS * voxel
    if (innermost - REACH * slack) * (w - reach) / focal > band:
        return OUTSIDE
    if outermost < 0:
        aside = clear * (w - reach) / focal
        if (nearest - w - reach - REACH * wide) * tilt > band and aside > band and hole == 0:
            return FREE
        if (w - reach - farthest - 2 * REACH * wide) * tilt > band and -outermost * (w - reach) / focal > band:
            return SILENT
    return UNDECIDED


@njit(cache=True, nogil=True, error_model="numpy")
def _undecided(bx, by, bz, side, views, count, free, out, P, voxel, open_border, slack, sizes, tile_at, tiles):  # type: ignore[no-untyped-def]
    """Which of the first ``count`` ``views`` must be asked sample by sample in a block: their number, listed in
    ``out``, and how many say that all of it is free, ``free`` already among them. The number is -1 when the block is
    free for sure."""
    half = 0.5 * (side - 1)
    found = 0
    for c in range(count):
        n = views[c]
        said = _verdict(
            P[n],
            voxel,
            open_border[n],
            slack[n],
            sizes[n, 0],
            sizes[n, 1],
            bx + half,
            by + half,
            bz + half,
            np.sqrt(3.0) * half,
            tiles[tile_at[n] :],
        )
        if said == OUTSIDE:
            return -1, free
        if said == FREE:
            free += 1
        if said == UNDECIDED:
            out[found] = n
            found += 1
    if free > 0 and OUTVOTED * free > found:
        return -1, free
    return found, free


@njit(cache=True, nogil=True, error_model="numpy", fastmath=SAFE_MATH)
def _bounds(P, voxel, open_border, slack, height, width, bx, by, bz, pixels, outside, bound, weight, spread):  # type: ignore[no-untyped-def]
    """One view's bounds in metres at the samples of a block: ``bound``, ``weight`` and ``spread`` (2, BLOCK^3),
    row 0 by depth, row 1 by outline; weight 0 means that the view says nothing. ``spread`` is the standard deviation of
    the former and the slack of the latter. ``outside`` (BLOCK^3,) keeps the largest bound by outlines so far that is
    certain; samples where it lies above the band already are free and passed over."""
    focal = np.sqrt(P[1, 0] ** 2 + P[1, 1] ** 2 + P[1, 2] ** 2) / voxel
    band, sure = BAND_VOXELS * voxel, SURE_VOXELS * voxel
    for t in range(BLOCK * BLOCK * BLOCK):
        weight[0, t], weight[1, t] = 0.0, 0.0
        if outside[t] >= band:
            continue
        x, y, z = bx + t // (BLOCK * BLOCK), by + t // BLOCK % BLOCK, bz + t % BLOCK
        w = P[2, 0] * x + P[2, 1] * y + P[2, 2] * z + P[2, 3]
        if w <= 0:
            continue
        u = (P[0, 0] * x + P[0, 1] * y + P[0, 2] * z + P[0, 3]) / w - 0.5
        v = (P[1, 0] * x + P[1, 1] * y + P[1, 2] * z + P[1, 3]) / w - 0.5
        if u < -0.5 or v < -0.5 or u > width - 0.5 or v > height - 0.5:
            if not open_border:
                outside[t] = np.inf
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
        bound[1, t], spread[1, t] = edge * w / focal, slack * w / focal
        blur = max(OUTLINE_PX, slack) * w / focal
        weight[1, t] = sure * sure / (sure * sure + blur * blur)
        outside[t] = max(outside[t], bound[1, t] - REACH * spread[1, t])
        if edge > 0:
            continue
        nearest = (p11 if a > 0.5 else p10) if b > 0.5 else (p01 if a > 0.5 else p00)
        d, tilt = float(pixels[nearest, DEPTH]), float(pixels[nearest, FACTOR])
        wide = float(pixels[nearest, SPREAD])
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
        wide = max(wide * tilt, sure)
        bound[0, t], spread[0, t] = free, wide
        weight[0, t] = (tilt * tilt * tilt) ** 2 * sure * sure / (sure * sure + wide * wide)


@njit(cache=True, nogil=True, error_model="numpy", fastmath=SAFE_MATH)
def _combine(outside, bound, weight, spread, asked, free, t, voxel):  # type: ignore[no-untyped-def]
    """The value of sample ``t`` from the bounds of the views that were ``asked``, while ``free`` more see it in the
    open; voxels, within +-band."""
    band = BAND_VOXELS * voxel
    if outside >= band:
        return BAND_VOXELS
    here, clear = 0, free
    for s in range(asked):
        if weight[s, 0, t] > 0:
            reach = REACH * spread[s, 0, t] + HERE_VOXELS * voxel
            here += abs(bound[s, 0, t]) <= reach
            clear += bound[s, 0, t] > reach
    astray = here > OUTVOTED * clear
    if free > 0 and not astray:
        return BAND_VOXELS
    certain = max(outside, -band)
    for s in range(asked):
        if weight[s, 0, t] > 0:
            reach = REACH * spread[s, 0, t]
            if not (astray and bound[s, 0, t] > reach + HERE_VOXELS * voxel):
                certain = max(certain, bound[s, 0, t] - reach)
    if certain >= band:
        return BAND_VOXELS
    total, mass = 0.0, 0.0
    for s in range(asked):
        reach = REACH * spread[s, 0, t]
        value = bound[s, 0, t]
        if weight[s, 0, t] <= 0 or (astray and value > reach + HERE_VOXELS * voxel):
            continue
        close = min(1.0 - (certain - value - reach) / (WINDOW_VOXELS * voxel), 1.0)
        if close > 0:
            total += weight[s, 0, t] * close * value
            mass += weight[s, 0, t] * close
    if mass > 0:
        depth, outlined, share = total / mass, 0.0, 0.0
        for s in range(asked):
            # a bound from below: less what it may be off, or the doubt of ragged outlines alone would move the surface
            lower = bound[s, 1, t] - DOUBTED * spread[s, 1, t]
            if weight[s, 1, t] > 0 and lower > depth:
                outlined += weight[s, 1, t] * lower
                share += weight[s, 1, t]
        value = (total + outlined) / (mass + share)
    else:
        value = certain
        for s in range(asked):
            if weight[s, 1, t] > 0:
                value = max(value, bound[s, 1, t])
    return min(max(value / voxel, -BAND_VOXELS), BAND_VOXELS)


@njit(cache=True, nogil=True, error_model="numpy")
def _tellers(bound, weight, spread, asked, free, t, voxel):  # type: ignore[no-untyped-def]
    """How many views' depth tells of sample ``t``: all but those to which something hides it."""
    found = free
    for s in range(asked):
        if weight[s, 0, t] > 0 and bound[s, 0, t] > -BAND_VOXELS * voxel - REACH * spread[s, 0, t]:
            found += 1
    return min(found, 255)


@njit(cache=True, nogil=True)
def _fuse(  # type: ignore[no-untyped-def]
    field,
    seen,
    P,
    voxel,
    open_border,
    slack,
    sizes,
    pixel_at,
    pixels,
    tile_at,
    tiles,
    every,
    coarse,
    fine,
    bound,
    weight,
    spread,
    outside,
):
    """Fill ``field`` and ``seen`` block by block, coarse blocks first; returns how many small ones had to be
    computed.

    ``every`` numbers all views; ``coarse``, ``fine``, ``bound``, ``weight``, ``spread`` and ``outside`` are room to
    work in: arrays made here would double the time to compile.
    """
    count = P.shape[0]
    nx, ny, nz = field.shape
    computed = 0
    rows, columns, layers = (nx + COARSE - 1) // COARSE, (ny + COARSE - 1) // COARSE, (nz + COARSE - 1) // COARSE
    for c in range(rows * columns * layers):
        cx, cy, cz = c // (columns * layers) * COARSE, c // layers % columns * COARSE, c % layers * COARSE
        candidates, seen_free = _undecided(
            cx, cy, cz, COARSE, every, count, 0, coarse, P, voxel, open_border, slack, sizes, tile_at, tiles
        )
        if candidates < 0:
            continue
        for bx in range(cx, min(cx + COARSE, nx), BLOCK):
            for by in range(cy, min(cy + COARSE, ny), BLOCK):
                for bz in range(cz, min(cz + COARSE, nz), BLOCK):
                    asked, free = _undecided(
                        bx,
                        by,
                        bz,
                        BLOCK,
                        coarse,
                        candidates,
                        seen_free,
                        fine,
                        P,
                        voxel,
                        open_border,
                        slack,
                        sizes,
                        tile_at,
                        tiles,
                    )
                    if asked < 0:
                        continue
                    computed += asked > 0
                    for t in range(BLOCK**3):
                        outside[t] = -BAND_VOXELS * voxel
                    for s in range(asked):
                        n = fine[s]
                        _bounds(
                            P[n],
                            voxel,
                            open_border[n],
                            slack[n],
                            sizes[n, 0],
                            sizes[n, 1],
                            bx,
                            by,
                            bz,
                            pixels[pixel_at[n] :],
                            outside,
                            bound[s],
                            weight[s],
                            spread[s],
                        )
                    for t in range(BLOCK**3):
                        i, j, k = bx + t // BLOCK**2, by + t // BLOCK % BLOCK, bz + t % BLOCK
                        if i < nx and j < ny and k < nz:
                            field[i, j, k] = _combine(outside[t], bound, weight, spread, asked, free, t, voxel)
                            seen[i, j, k] = _tellers(bound, weight, spread, asked, free, t, voxel)
    return computed
