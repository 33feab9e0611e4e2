"""Rasterisation of one picture on the CPU, and the derivative of its barycentrics.

Coverage is decided on a grid of 1/16 pixel, to which the projected corners are snapped: edge functions of whole numbers
(Pineda, "A parallel algorithm for polygon rasterization", 1988) are exact, so of two triangles that share an edge
exactly one owns each sample on it. That grid, its fill rule and "the later triangle wins a tie" are nvdiffrast's, so
that both implementations cover the same pixels. Barycentrics then come from the corners as given, by 2D homogeneous
coordinates (Olano and Greer 1997): with q_k = (x_k - X w_k, y_k - Y w_k) for the pixel at (X, Y), a_k = q_i x q_j and
s = a_0 + a_1 + a_2, they are u = a_0 / s and v = a_1 / s (Laine et al. 2020, section 3.2).
"""

from __future__ import annotations

import numpy as np
from numba import njit

#: Subpixels in a pixel, as a power of two.
GRID_BITS = 4
PIXEL = 1 << GRID_BITS
HALF = PIXEL >> 1
#: Triangles are clipped to this many pictures' widths and heights, so that products of grid numbers fit 64 bits.
GUARD = 4096.0
#: nvdiffrast's: keeps the derivative of slivers finite. It stands for a pixel's area in a picture of 1000 x 1000.
SMALLEST_AREA = 1e-6


@njit(cache=True, nogil=True, error_model="numpy")
def draw(clip, faces, scale, top, bottom, fragments):  # type: ignore[no-untyped-def]
    """Fill rows ``top`` to ``bottom`` - 1 of ``fragments`` (H, W, 4) with what ``clip`` (V, 4), ``faces`` (F, 3) show.

    ``scale`` holds 1, W / 2 pixels and H / 2 pixels in grid units, in ``clip``'s dtype: snapping in the dtype of the
    corners is what makes the CPU and CUDA agree on a corner that lies half-way between two grid points.
    """
    width = fragments.shape[1]
    grid, depth, inside = _snap_all(clip, scale)
    nearest = np.full((bottom - top, width), np.inf)
    owner = np.zeros((bottom - top, width), np.int32)
    polygons = np.empty((2, 9, 4), clip.dtype)
    for f in range(faces.shape[0]):
        a, b, c = faces[f, 0], faces[f, 1], faces[f, 2]
        if inside[a] and inside[b] and inside[c]:
            _fill(
                grid[a, 0],
                grid[a, 1],
                depth[a],
                grid[b, 0],
                grid[b, 1],
                depth[b],
                grid[c, 0],
                grid[c, 1],
                depth[c],
                f + 1,
                top,
                nearest,
                owner,
            )
            continue
        count = _clip(clip[a], clip[b], clip[c], polygons)
        if count < 3:
            continue
        corners = polygons[0]
        ax, ay, az = _snap(corners[0], scale)
        bx, by, bz = _snap(corners[1], scale)
        for k in range(2, count):
            cx, cy, cz = _snap(corners[k], scale)
            _fill(ax, ay, az, bx, by, bz, cx, cy, cz, f + 1, top, nearest, owner)
            bx, by, bz = cx, cy, cz
    _shade(clip, faces, owner, top, fragments)


@njit(cache=True, nogil=True, error_model="numpy")
def draw_gradient(clip, faces, fragments, gradient, clip_gradient):  # type: ignore[no-untyped-def]
    """Add to ``clip_gradient`` (V, 4) what ``gradient`` (H, W, 4) of u and v means for x, y and w of the corners."""
    height, width = fragments.shape[:2]
    for i in range(height):
        y = (2 * i + 1) / height - 1.0
        for j in range(width):
            face = int(fragments[i, j, 3]) - 1
            gu, gv = np.float64(gradient[i, j, 0]), np.float64(gradient[i, j, 1])
            if face < 0 or (gu == 0.0 and gv == 0.0):
                continue
            x = (2 * j + 1) / width - 1.0
            a, b, c = faces[face, 0], faces[face, 1], faces[face, 2]
            ax, ay = _seen_from(clip[a], x, y)
            bx, by = _seen_from(clip[b], x, y)
            cx, cy = _seen_from(clip[c], x, y)
            area0, area1, area2 = bx * cy - by * cx, cx * ay - cy * ax, ax * by - ay * bx
            total = area0 + area1 + area2
            share = 1.0 / (total + np.copysign(SMALLEST_AREA, total))
            common = (gu * area0 + gv * area1) * share
            g0, g1, g2 = (gu - common) * share, (gv - common) * share, -common * share
            _add_corner(clip_gradient[a], g2 * by - g1 * cy, g1 * cx - g2 * bx, x, y)
            _add_corner(clip_gradient[b], g0 * cy - g2 * ay, g2 * ax - g0 * cx, x, y)
            _add_corner(clip_gradient[c], g1 * ay - g0 * by, g0 * bx - g1 * ax, x, y)


@njit(cache=True, nogil=True, error_model="numpy")
def _snap_all(clip, scale):  # type: ignore[no-untyped-def]
    count = clip.shape[0]
    grid = np.zeros((count, 2), np.int64)
    depth = np.zeros(count)
    inside = np.zeros(count, np.bool_)
    for k in range(count):
        x, y, z, w = clip[k, 0], clip[k, 1], clip[k, 2], clip[k, 3]
        # written so that not-a-number is outside; the guard band's edge may be a little off, the depth range's not
        if w > 0 and w >= abs(z) and GUARD * w >= abs(x) and GUARD * w >= abs(y):
            inside[k] = True
            grid[k, 0], grid[k, 1], depth[k] = _snap(clip[k], scale)
    return grid, depth, inside


@njit(cache=True, nogil=True, error_model="numpy")
def _snap(corner, scale):  # type: ignore[no-untyped-def]
    """Grid column, grid row (from the picture's corner) and z / w of a corner with w > 0."""
    share = scale[0] / corner[3]
    x = np.int64(np.rint(corner[0] * share * scale[1])) + np.int64(scale[1])
    y = np.int64(np.rint(corner[1] * share * scale[2])) + np.int64(scale[2])
    return x, y, np.float64(corner[2]) / np.float64(corner[3])


@njit(cache=True, nogil=True, error_model="numpy")
def _clip(a, b, c, polygons):  # type: ignore[no-untyped-def]
    """Leave a triangle's part within depth range and guard band in ``polygons[0]``; returns how many corners it has.

    Sutherland and Hodgman 1974. A cut is always computed from the kept end towards the lost one, so that both
    triangles at a shared edge get the same point.
    """
    polygons[0, 0], polygons[0, 1], polygons[0, 2] = a, b, c
    count = 3
    for plane in range(6):
        source, kept = polygons[plane & 1], polygons[1 - (plane & 1)]
        axis, side = 2 - plane // 2, 1.0 - 2.0 * (plane & 1)
        reach = 1.0 if axis == 2 else GUARD
        total = 0
        for k in range(count):
            here, there = source[k], source[(k + 1) % count]
            inner = reach * here[3] + side * here[axis]
            outer = reach * there[3] + side * there[axis]
            if inner >= 0.0:
                kept[total] = here
                total += 1
            if inner >= 0.0 and outer < 0.0:
                _cut(here, there, inner / (inner - outer), kept[total])
                total += 1
            elif inner < 0.0 and outer >= 0.0:
                _cut(there, here, outer / (outer - inner), kept[total])
                total += 1
        count = total
        if count < 3:
            return 0
    for k in range(count):
        if not polygons[0, k, 3] > 0.0:
            return 0  # it touches the camera's centre
    return count


@njit(cache=True, nogil=True, error_model="numpy")
def _cut(inner, outer, share, point):  # type: ignore[no-untyped-def]
    for k in range(4):
        point[k] = inner[k] + share * (outer[k] - inner[k])


@njit(cache=True, nogil=True, error_model="numpy")
def _fill(ax, ay, az, bx, by, bz, cx, cy, cz, label, top, nearest, owner):  # type: ignore[no-untyped-def]
    """Write ``label`` wherever the triangle covers a sample of the band and is not behind what is there."""
    area = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
    if area == 0:
        return
    if area < 0:
        bx, by, bz, cx, cy, cz, area = cx, cy, cz, bx, by, bz, -area
    left = max((min(ax, bx, cx) + HALF - 1) >> GRID_BITS, 0)
    right = min((max(ax, bx, cx) - HALF) >> GRID_BITS, owner.shape[1] - 1)
    first = max((min(ay, by, cy) + HALF - 1) >> GRID_BITS, top)
    last = min((max(ay, by, cy) - HALF) >> GRID_BITS, top + owner.shape[0] - 1)
    if left > right or first > last:
        return
    x, y = left * PIXEL + HALF, first * PIXEL + HALF
    # e_k grows towards the inside from edge k, which is opposite to corner k; a sample on an edge that runs down (or,
    # level, to the left) belongs to the neighbour
    row0 = (bx - x) * (cy - by) - (by - y) * (cx - bx)
    row1 = (cx - x) * (ay - cy) - (cy - y) * (ax - cx)
    row2 = (ax - x) * (by - ay) - (ay - y) * (bx - ax)
    least0, least1, least2 = _least(cx - bx, cy - by), _least(ax - cx, ay - cy), _least(bx - ax, by - ay)
    slope1, slope2 = (bz - az) / area, (cz - az) / area
    for i in range(first, last + 1):
        e0, e1, e2 = row0, row1, row2
        for j in range(left, right + 1):
            if e0 >= least0 and e1 >= least1 and e2 >= least2:
                z = az + slope1 * e1 + slope2 * e2
                if z <= nearest[i - top, j]:
                    nearest[i - top, j] = z
                    owner[i - top, j] = label
            e0 -= PIXEL * (cy - by)
            e1 -= PIXEL * (ay - cy)
            e2 -= PIXEL * (by - ay)
        row0 += PIXEL * (cx - bx)
        row1 += PIXEL * (ax - cx)
        row2 += PIXEL * (bx - ax)


@njit(cache=True, nogil=True, error_model="numpy")
def _least(dx, dy):  # type: ignore[no-untyped-def]
    """What an edge function must reach: 1 where samples on the edge belong to the neighbour, else 0."""
    return 1 if dy > 0 or (dy == 0 and dx <= 0) else 0


@njit(cache=True, nogil=True, error_model="numpy")
def _shade(clip, faces, owner, top, fragments):  # type: ignore[no-untyped-def]
    height, width = fragments.shape[:2]
    for i in range(top, top + owner.shape[0]):
        y = (2 * i + 1) / height - 1.0
        for j in range(width):
            label = owner[i - top, j]
            if label == 0:
                fragments[i, j, :] = 0
                continue
            x = (2 * j + 1) / width - 1.0
            a, b, c = faces[label - 1, 0], faces[label - 1, 1], faces[label - 1, 2]
            ax, ay = _seen_from(clip[a], x, y)
            bx, by = _seen_from(clip[b], x, y)
            cx, cy = _seen_from(clip[c], x, y)
            area0, area1, area2 = bx * cy - by * cx, cx * ay - cy * ax, ax * by - ay * bx
            total = area0 + area1 + area2
            # the sample may lie a subpixel beside the triangle as given
            u, v = _between(area0 / total, 0.0, 1.0), _between(area1 / total, 0.0, 1.0)
            excess = max(u + v, 1.0)
            z = clip[a, 2] * area0 + clip[b, 2] * area1 + clip[c, 2] * area2
            w = clip[a, 3] * area0 + clip[b, 3] * area1 + clip[c, 3] * area2
            fragments[i, j, 0] = u / excess
            fragments[i, j, 1] = v / excess
            fragments[i, j, 2] = _between(z / w, -1.0, 1.0)
            fragments[i, j, 3] = label


@njit(cache=True, nogil=True, error_model="numpy")
def _seen_from(corner, x, y):  # type: ignore[no-untyped-def]
    w = np.float64(corner[3])
    return np.float64(corner[0]) - x * w, np.float64(corner[1]) - y * w


@njit(cache=True, nogil=True, error_model="numpy")
def _between(value, low, high):  # type: ignore[no-untyped-def]
    """``value`` within the limits; not-a-number becomes ``low``."""
    return min(value, high) if value > low else low


@njit(cache=True, nogil=True, error_model="numpy")
def _add_corner(gradient, gx, gy, x, y):  # type: ignore[no-untyped-def]
    gradient[0] += gx
    gradient[1] += gy
    gradient[3] -= x * gx + y * gy
