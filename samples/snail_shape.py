"""The sample's object: a garden snail of round cones, spheres and one logarithmic spiral, and a sphere tracer for it.

World: metres, +Y up, the snail looks along +Z. ``distance`` is a bound on the distance to the surface (negative
inside), ``paint`` its linear colour. The spiral tube is scale-invariant: radius and tube shrink by ``SHELL_GROWTH``
per turn. All kernels stand in this one file, because numba's cache does not notice a change in a file that it calls
into.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

Array = NDArray[np.float64]
Point = Array

SHELL_Y, SHELL_Z = 0.078, -0.085
SHELL_RADIUS = 0.236
SHELL_GROWTH = 1.92
#: Tube radius as a share of the spiral's radius; above (growth - 1) / (growth + 1) = 0.315 neighbouring turns merge.
SHELL_TUBE = 0.39
SHELL_TURNS = 4
#: The mouth of the shell, as an angle in the yz plane from +z towards +y.
SHELL_MOUTH = -0.9
#: The tube is this much wider across than along the spiral's plane.
SHELL_WIDTH = 1.3

_RATE = math.log(SHELL_GROWTH) / (2 * math.pi)
_FLOOR = -0.292


@njit(cache=True)
def _round_cone(p: Point, a: Point, b: Point, ra: float, rb: float) -> float:
    """Distance to the hull of two spheres, interpolating the radius along the axis."""
    ab0, ab1, ab2 = b[0] - a[0], b[1] - a[1], b[2] - a[2]
    ap0, ap1, ap2 = p[0] - a[0], p[1] - a[1], p[2] - a[2]
    t = (ap0 * ab0 + ap1 * ab1 + ap2 * ab2) / (ab0 * ab0 + ab1 * ab1 + ab2 * ab2)
    t = min(1.0, max(0.0, t))
    d0, d1, d2 = ap0 - t * ab0, ap1 - t * ab1, ap2 - t * ab2
    away: float = math.sqrt(d0 * d0 + d1 * d1 + d2 * d2) - (ra + t * (rb - ra))
    return away


@njit(cache=True)
def _blend(a: float, b: float, k: float) -> float:
    """Polynomial smooth minimum: a fillet of about radius ``k``."""
    h = max(k - abs(a - b), 0.0) / k
    return min(a, b) - h * h * k * 0.25


@njit(cache=True)
def _shell(p: Point) -> tuple[float, float, float]:
    """(distance, angle along the spiral in turns from the mouth inwards, side of the tube -1..1)."""
    x = p[0] / SHELL_WIDTH
    y, z = p[1] - SHELL_Y, p[2] - SHELL_Z
    rho = math.sqrt(y * y + z * z) + 1e-9
    phase = (SHELL_MOUTH - math.atan2(y, z)) / (2 * math.pi)
    phase -= math.floor(phase)
    best, where, side = 1e9, 0.0, 0.0
    for turn in range(SHELL_TURNS):
        radius = SHELL_RADIUS * math.exp(-_RATE * 2 * math.pi * (phase + turn))
        d = math.sqrt((rho - radius) ** 2 + x * x) - SHELL_TUBE * radius
        if d < best:
            where = phase + turn
            side = x / (SHELL_TUBE * radius)
        best = _blend(best, d, 0.02 * radius / SHELL_RADIUS + 0.002) if turn else d
    # The rolled-up middle and the lip round the mouth.
    inner = SHELL_RADIUS * SHELL_GROWTH ** (-float(SHELL_TURNS)) * 1.15
    best = min(best, math.sqrt(rho * rho + x * x) - inner)
    return best * 0.8, where, side


@njit(cache=True)
def _body(p: Point) -> float:
    q = np.empty(3)
    q[0], q[1], q[2] = abs(p[0]), p[1], p[2]
    tail = _round_cone(p, np.array([0.0, -0.277, -0.425]), np.array([0.0, -0.215, -0.02]), 0.014, 0.112)
    belly = _round_cone(p, np.array([0.0, -0.215, -0.02]), np.array([0.0, -0.19, 0.2]), 0.112, 0.112)
    neck = _round_cone(p, np.array([0.0, -0.18, 0.2]), np.array([0.0, -0.02, 0.3]), 0.106, 0.094)
    head = _round_cone(p, np.array([0.0, -0.02, 0.3]), np.array([0.0, -0.01, 0.33]), 0.094, 0.094)
    d = _blend(_blend(tail, belly, 0.04), _blend(neck, head, 0.03), 0.07)
    skirt = _round_cone(q, np.array([0.0, -0.29, -0.38]), np.array([0.06, -0.285, 0.22]), 0.03, 0.11)
    d = _blend(d, max(skirt, abs(p[1] + 0.277) - 0.012), 0.035)
    stalk = _round_cone(q, np.array([0.035, 0.03, 0.33]), np.array([0.092, 0.205, 0.385]), 0.024, 0.0155)
    feeler = _round_cone(q, np.array([0.035, -0.055, 0.38]), np.array([0.062, -0.085, 0.455]), 0.018, 0.013)
    d = _blend(_blend(d, stalk, 0.035), feeler, 0.02)
    eye = math.sqrt((q[0] - 0.095) ** 2 + (q[1] - 0.222) ** 2 + (q[2] - 0.39) ** 2) - 0.04
    d = _blend(d, eye, 0.012)
    floor = _FLOOR - p[1]
    h = max(0.012 - abs(d - floor), 0.0) / 0.012
    away: float = max(d, floor) + h * h * 0.003
    return away


@njit(cache=True)
def distance(p: Point) -> float:
    """A lower bound of the distance from ``p`` (3,) to the surface, metres; negative inside."""
    return _blend(_shell(p)[0], _body(p) * 0.9, 0.018)


@njit(cache=True)
def _mix(a: Point, b: Point, t: float) -> Point:
    t = min(1.0, max(0.0, t))
    return a * (1 - t) + b * t


@njit(cache=True)
def _step(edge: float, width: float, value: float) -> float:
    t = min(1.0, max(0.0, (value - edge) / width + 0.5))
    return t * t * (3 - 2 * t)


@njit(cache=True)
def _speckle(p: Point, cell: float, seed: int) -> float:
    """Distance to the nearest of one jittered dot per grid cell, in cells; for spots."""
    best = 9.0
    i0, j0, k0 = math.floor(p[0] / cell), math.floor(p[1] / cell), math.floor(p[2] / cell)
    for i in range(-1, 2):
        for j in range(-1, 2):
            for k in range(-1, 2):
                a, b, c = i0 + i, j0 + j, k0 + k
                h = math.sin(a * 127.1 + b * 311.7 + c * 74.7 + seed) * 43758.5453
                u = h - math.floor(h)
                v = u * 57.0 - math.floor(u * 57.0)
                w = v * 113.0 - math.floor(v * 113.0)
                d0 = p[0] / cell - a - u
                d1 = p[1] / cell - b - v
                d2 = p[2] / cell - c - w
                best = min(best, math.sqrt(d0 * d0 + d1 * d1 + d2 * d2))
    return best


@njit(cache=True)
def paint(p: Point) -> Point:
    """Linear RGB albedo (3,) of the surface point ``p``."""
    shell, where, side = _shell(p)
    if shell < _body(p) * 0.9:
        return _shell_paint(p, where, side)
    return _body_paint(p)


@njit(cache=True)
def _shell_paint(p: Point, where: float, side: float) -> Point:
    cream = np.array([0.86, 0.66, 0.38])
    rust = np.array([0.62, 0.13, 0.045])
    teal = np.array([0.02, 0.2, 0.22])
    # Growth stripes: the same number in every turn, so they shrink with the shell.
    wave = math.sin(2 * math.pi * 9 * where + 2.2 * abs(side)) * 0.5 + 0.5
    colour = _mix(cream, rust, _step(0.55, 0.12, wave))
    # A dark ribbon along the keel with pale dots in it.
    y, z = p[1] - SHELL_Y, p[2] - SHELL_Z
    outer = math.sqrt(y * y + z * z) > SHELL_RADIUS * math.exp(-_RATE * 2 * math.pi * where)
    if outer:
        ribbon = _step(0.52, 0.06, abs(side))
        colour = _mix(teal, colour, ribbon)
        bead = 18 * where - math.floor(18 * where) - 0.5
        reach = math.sqrt((side / 0.24) ** 2 + (bead / 0.26) ** 2)
        colour = _mix(np.array([0.9, 0.78, 0.5]), colour, _step(1.0, 0.25, reach))
    return colour * (1 - 0.1 * min(where, 3.0) / 3)


@njit(cache=True)
def _body_paint(p: Point) -> Point:
    q = np.empty(3)
    q[0], q[1], q[2] = abs(p[0]), p[1], p[2]
    top, sole = np.array([0.42, 0.48, 0.2]), np.array([0.8, 0.68, 0.42])
    colour = _mix(sole, top, _step(-0.235, 0.09, p[1]))
    spots = _speckle(p, 0.034, 3)
    if p[1] > -0.24:
        colour = _mix(np.array([0.2, 0.28, 0.09]), colour, _step(0.27, 0.07, spots))
    if p[1] < -0.284:
        # Muscle waves on the sole.
        wave = math.sin(95 * (p[2] - 1.1 * q[0])) * 0.5 + 0.5
        colour = _mix(np.array([0.55, 0.36, 0.17]), colour, _step(0.42, 0.5, wave))
    cheek = math.sqrt((q[0] - 0.062) ** 2 + (q[1] + 0.035) ** 2 + (q[2] - 0.4) ** 2)
    colour = _mix(np.array([0.86, 0.3, 0.22]), colour, _step(0.03, 0.02, cheek))
    smile = math.sqrt((q[0] / 1.5) ** 2 + (q[1] + 0.018) ** 2)
    if p[2] > 0.36 and p[1] < -0.03 and q[0] < 0.036:
        colour = _mix(np.array([0.1, 0.03, 0.02]), colour, _step(0.0045, 0.003, abs(smile - 0.03)))
    eye = math.sqrt((q[0] - 0.095) ** 2 + (q[1] - 0.222) ** 2 + (q[2] - 0.39) ** 2)
    if eye < 0.043:
        look = ((q[0] - 0.095) * 0.15 + (q[1] - 0.222) * 0.12 + (q[2] - 0.39)) / (eye * 1.018)
        colour = _mix(np.array([0.92, 0.9, 0.84]), np.array([0.015, 0.012, 0.012]), _step(0.74, 0.06, look))
        glint = math.sqrt((q[0] - 0.103) ** 2 + (q[1] - 0.242) ** 2 + (q[2] - 0.424) ** 2)
        colour = _mix(np.array([0.95, 0.95, 0.95]), colour, _step(0.011, 0.004, glint))
    return colour


# -- looking at it ---------------------------------------------------------------------------------------------------


@njit(cache=True)
def _march(origin: Array, ray: Array, near: float, far: float) -> float:
    """Distance along the unit ``ray`` to the surface, or -1 when it is missed."""
    t = near
    for _ in range(400):
        d = distance(origin + t * ray)
        if d < 2e-5:
            return t
        t += d * 0.75
        if t > far:
            break
    return -1.0


@njit(cache=True)
def _normal(p: Array) -> Array:
    n = np.zeros(3)
    e = np.zeros(3)
    for axis in range(3):
        e[:] = 0.0
        e[axis] = 4e-4
        n[axis] = distance(p + e) - distance(p - e)
    return n / math.sqrt((n * n).sum())


@njit(cache=True)
def _openness(p: Array, n: Array) -> float:
    """How much sky the point sees, 0..1, from the room along its normal."""
    shut, weight = 0.0, 1.0
    for step in range(1, 6):
        reach = 0.016 * step
        shut += weight * (reach - distance(p + reach * n)) / reach
        weight *= 0.7
    return max(0.25, 1.0 - 0.32 * shut)


@njit(cache=True)
def _shade(p: Array, lamp: Array) -> Array:
    n = _normal(p)
    sky = 0.62 + 0.16 * n[1]
    key = 0.5 * max(0.0, (n * lamp).sum())
    colour: Array = paint(p) * (sky * _openness(p, n) + key)
    return colour


@njit(cache=True)
def render(
    c2w: Array, focal: float, size: int, supersamples: int, bound: float, lamp: Array
) -> tuple[Array, Array, Array]:
    """Linear straight colour (H, W, 3), coverage (H, W) and planar depth at the pixel centres (H, W; 0: nothing)."""
    colour = np.zeros((size, size, 3))
    coverage = np.zeros((size, size))
    depth = np.zeros((size, size))
    origin = c2w[:3, 3].copy()
    R = c2w[:3, :3].copy()
    reach = math.sqrt((origin * origin).sum())
    for row in range(size):
        for column in range(size):
            hits = 0
            for sample in range(supersamples * supersamples + 1):
                centre = sample == supersamples * supersamples
                dv = 0.5 if centre else (sample // supersamples + 0.5) / supersamples
                du = 0.5 if centre else (sample % supersamples + 0.5) / supersamples
                local = np.array([(column + du - size / 2) / focal, (size / 2 - row - dv) / focal, -1.0])
                length = math.sqrt((local * local).sum())
                ray = R @ (local / length)
                along = -(origin * ray).sum()
                if reach * reach - along * along > bound * bound:
                    continue
                t = _march(origin, ray, max(0.0, along - bound), along + bound)
                if t < 0:
                    continue
                if centre:
                    depth[row, column] = t / length
                else:
                    hits += 1
                    colour[row, column] += _shade(origin + t * ray, lamp)
            if hits:
                colour[row, column] /= hits
                coverage[row, column] = hits / (supersamples * supersamples)
    return colour, coverage, depth


@njit(cache=True)
def distances(points: Array) -> Array:
    """``distance`` for each of the points (N, 3)."""
    found = np.empty(points.shape[0])
    for index in range(points.shape[0]):
        found[index] = distance(points[index])
    return found
