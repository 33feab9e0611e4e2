"""Analytic antialiasing of silhouettes in one picture on the CPU, and its derivatives (Laine et al. 2020, section 3.6).

Two neighbouring pixels that show different triangles are a pair. If a silhouette edge of the nearer one's triangle
crosses the line between their centres, at a share c of the way from the pixel that shows the triangle, then the colours
blend with weight 1/2 - c: for c > 1/2 the triangle's colour reaches into the neighbour, else the neighbour's into the
triangle's pixel. The weight depends on the edge's corners: that is how a picture pulls at a silhouette. Which pairs,
which edge and which limits are nvdiffrast's, so that both implementations blend the same pixels.
"""

from __future__ import annotations

import numpy as np
from numba import njit

#: An edge may cross this share of a pixel outside of the pair: coverage was decided on a grid of 1/16 pixel.
SLACK = 1.0 / 16.0
#: In pixels; nvdiffrast's: keeps the derivative of an edge finite that is nearly parallel to the pair.
SHORTEST_RISE = 1e-3
NEVER = -3.4e38


@njit(cache=True, nogil=True, error_model="numpy")
def blend(colour, fragments, clip, faces, opposite, out):  # type: ignore[no-untyped-def]
    """Add to ``out`` (a copy of ``colour``, (H, W, C)) the blends along the silhouettes.

    ``opposite`` (F, 3) is ``edges.far_corners``. Returns what was blended: pairs (P, 5) int32 (row, column,
    1 if the neighbour is the one below and not the one to the right, 1 if the triangle is the neighbour's, edge: the
    corner it lies opposite to) and the weights (P,) float64, > 0 where the first pixel changes, < 0 where the
    neighbour does.
    """
    height, width, channels = colour.shape
    pairs = np.empty((2 * height * width, 5), np.int32)
    weights = np.empty(2 * height * width)
    corner, rise = np.empty((3, 2)), np.empty((3, 2))
    silhouette = np.empty(3, np.bool_)
    total = 0
    for i in range(height):
        for j in range(width):
            for down in range(2):
                i1, j1 = i + down, j + 1 - down
                if i1 >= height or j1 >= width or fragments[i, j, 3] == fragments[i1, j1, 3]:
                    continue
                theirs = _neighbour_is_nearer(fragments[i, j], fragments[i1, j1])
                row, column = (i1, j1) if theirs else (i, j)
                face = int(fragments[row, column, 3]) - 1
                _project(clip, faces[face], row, column, height, width, corner)
                if not _find_silhouette(clip, opposite[face], row, column, height, width, corner, silhouette):
                    continue
                edge, crossing = _crossing(corner, silhouette, down, -1.0 if theirs else 1.0, rise)
                if not (-SLACK < crossing < 1.0 + SLACK):
                    continue
                weight = 0.5 - min(max(crossing, 0.0), 1.0)
                if theirs:
                    weight = -weight
                if weight == 0.0:
                    continue
                ti, tj = (i, j) if weight > 0.0 else (i1, j1)
                for k in range(channels):
                    out[ti, tj, k] += weight * (colour[i1, j1, k] - colour[i, j, k])
                pairs[total, 0], pairs[total, 1], pairs[total, 2] = i, j, down
                pairs[total, 3], pairs[total, 4] = theirs, edge
                weights[total] = weight
                total += 1
    return pairs[:total].copy(), weights[:total].copy()


@njit(cache=True, nogil=True, error_model="numpy")
def blend_gradient(  # type: ignore[no-untyped-def]
    colour, fragments, clip, faces, pairs, weights, gradient, colour_gradient, clip_gradient
):
    """What ``gradient`` (H, W, C) of ``blend``'s picture means for the colours and for x, y and w of the corners.

    Added to ``colour_gradient`` (a copy of ``gradient``) and to ``clip_gradient`` (V, 4).
    """
    height, width, channels = colour.shape
    for p in range(pairs.shape[0]):
        i, j, down, theirs, edge = pairs[p]
        i1, j1 = i + down, j + 1 - down
        weight = weights[p]
        ti, tj = (i, j) if weight > 0.0 else (i1, j1)
        pull = 0.0
        for k in range(channels):
            g = gradient[ti, tj, k]
            pull += g * (colour[i1, j1, k] - colour[i, j, k])
            colour_gradient[i, j, k] -= weight * g
            colour_gradient[i1, j1, k] += weight * g
        if pull == 0.0 or abs(weight) >= 0.5:
            continue  # nothing pulls, or the weight was clamped
        row, column = (i1, j1) if theirs else (i, j)
        face = int(fragments[row, column, 3]) - 1
        first, second = faces[face, (edge + 1) % 3], faces[face, (edge + 2) % 3]
        _pull_edge(clip, first, second, row, column, height, width, down, pull, clip_gradient)


@njit(cache=True, nogil=True, error_model="numpy")
def _neighbour_is_nearer(here, there):  # type: ignore[no-untyped-def]
    if here[3] > 0 and there[3] > 0:
        return not here[2] < there[2]
    return not here[3] > 0


@njit(cache=True, nogil=True, error_model="numpy")
def _place(point, row, column, height, width):  # type: ignore[no-untyped-def]
    """A corner's place in the picture, in pixels right of and below a pixel's centre."""
    half_width, half_height = 0.5 * width, 0.5 * height
    share = 1.0 / np.float64(point[3])
    x = point[0] * share * half_width - (column + 0.5 - half_width)
    y = point[1] * share * half_height - (row + 0.5 - half_height)
    return x, y


@njit(cache=True, nogil=True, error_model="numpy")
def _project(clip, face, row, column, height, width, corner):  # type: ignore[no-untyped-def]
    for k in range(3):
        corner[k, 0], corner[k, 1] = _place(clip[face[k]], row, column, height, width)


@njit(cache=True, nogil=True, error_model="numpy")
def _same_sign(a, b):  # type: ignore[no-untyped-def]
    """By the sign bit, so that zeros have one."""
    return (np.copysign(1.0, a) < 0.0) == (np.copysign(1.0, b) < 0.0)


@njit(cache=True, nogil=True, error_model="numpy")
def _turn(ax, ay, bx, by, cx, cy):  # type: ignore[no-untyped-def]
    """Twice the signed area of a triangle in the picture."""
    return (bx - ax) * (cy - ay) - (cx - ax) * (by - ay)


@njit(cache=True, nogil=True, error_model="numpy")
def _find_silhouette(clip, opposite, row, column, height, width, corner, silhouette):  # type: ignore[no-untyped-def]
    """Mark the edges beyond which the surface ends or folds back; edge k lies opposite to corner k."""
    own = _turn(corner[0, 0], corner[0, 1], corner[1, 0], corner[1, 1], corner[2, 0], corner[2, 1])
    found = False
    for k in range(3):
        silhouette[k] = True
        if opposite[k] >= 0:
            x, y = _place(clip[opposite[k]], row, column, height, width)
            a, b = (k + 1) % 3, (k + 2) % 3
            wing = _turn(x, y, corner[a, 0], corner[a, 1], corner[b, 0], corner[b, 1])
            silhouette[k] = _same_sign(wing, own)
        found = found or silhouette[k]
    return found


@njit(cache=True, nogil=True, error_model="numpy")
def _crossing(corner, silhouette, down, side, rise):  # type: ignore[no-untyped-def]
    """The edge that crosses the line between the pair's centres farthest out, and where: 0 = own centre, 1 = the other.

    ``side`` is -1 when the other pixel lies to the left or above. Returns a place far outside when that edge is no
    silhouette or runs less than 45 degrees steep to the pair (the other direction's pairs take it).
    """
    along, across = (1, 0) if down else (0, 1)
    for k in range(3):
        a, b = (k + 1) % 3, (k + 2) % 3
        if _same_sign(corner[a, across], corner[b, across]):
            rise[k, 0], rise[k, 1] = NEVER, 1.0
            continue
        dx, dy = corner[b, along] - corner[a, along], corner[b, across] - corner[a, across]
        rise[k, 0] = side * (corner[a, along] * dy - corner[a, across] * dx)
        rise[k, 1] = dy
    edge = 1 if _farther(rise, 1, 0) else 0
    if _farther(rise, 2, 0) and _farther(rise, 2, 1):
        edge = 2
    a, b = (edge + 1) % 3, (edge + 2) % 3
    steep = abs(corner[b, across] - corner[a, across]) >= abs(corner[b, along] - corner[a, along])
    if not (silhouette[edge] and steep):
        return edge, NEVER
    return edge, rise[edge, 0] / rise[edge, 1]


@njit(cache=True, nogil=True, error_model="numpy")
def _farther(rise, a, b):  # type: ignore[no-untyped-def]
    """Whether fraction ``a`` is greater than fraction ``b``, without dividing."""
    return (rise[a, 0] * rise[b, 1] > rise[b, 0] * rise[a, 1]) == _same_sign(rise[a, 1], rise[b, 1])


@njit(cache=True, nogil=True, error_model="numpy")
def _pull_edge(  # type: ignore[no-untyped-def]
    clip, first, second, row, column, height, width, down, pull, clip_gradient
):
    """Add the derivative of the crossing c = x1 - y1 (x2 - x1) / (y2 - y1), times -``pull``, to the edge's corners.

    x runs along the pair and y across it; the weight falls by as much as c grows in the picture.
    """
    x1, y1 = _place(clip[first], row, column, height, width)
    x2, y2 = _place(clip[second], row, column, height, width)
    if down:
        x1, y1, x2, y2 = y1, x1, y2, x2
    dx, dy = x2 - x1, y2 - y1
    share = 1.0 / (dy + np.copysign(SHORTEST_RISE, dy))
    crossing = (x1 * dy - y1 * dx) * share
    force = -pull * share
    _add_place(clip, clip_gradient, first, force * y2, force * (crossing - x2), height, width, down)
    _add_place(clip, clip_gradient, second, -force * y1, -force * (crossing - x1), height, width, down)


@njit(cache=True, nogil=True, error_model="numpy")
def _add_place(clip, clip_gradient, vertex, along, across, height, width, down):  # type: ignore[no-untyped-def]
    """Add the derivative by a corner's place in pixels (along and across the pair) to its x, y and w."""
    gx, gy = (across, along) if down else (along, across)
    share = 1.0 / np.float64(clip[vertex, 3])
    gx *= 0.5 * width * share
    gy *= 0.5 * height * share
    clip_gradient[vertex, 0] += gx
    clip_gradient[vertex, 1] += gy
    clip_gradient[vertex, 3] -= (clip[vertex, 0] * gx + clip[vertex, 1] * gy) * share
