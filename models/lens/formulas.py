"""Where a lens puts a ray: one function for each sort of model, from the plane at distance 1 to the bent plane.

Both planes have OpenCV axes (x right, y down); a bent point times the focal lengths, plus the principal point, is the
pixel. The formulas are those of OpenCV's documentation ("Camera Calibration and 3D Reconstruction", "Fisheye camera
model") and of COLMAP's ("Camera Models", with the signs and orders of its ``sensor/models.h``). The inverse
Brown model is librealsense's (``rs2_deproject_pixel_to_point``): the polynomial leads from the pixel to the ray, so
that the way back is found by Newton's method.

Coefficients are strangers' numbers: where a formula has no answer it gives NaN or infinity and never raises.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from meshdrop.models.formats.lens import Lens

Array = NDArray[np.float64]
Plane = tuple[Array, Array]

#: Newton's method doubles its digits at every step; from the undistorted point it starts with one or two.
_NEWTON_STEPS = 12
#: What is left after it must be below this share of a focal length, a thousandth of a pixel at most.
_NEWTON_LEFT = 1e-8


def bent(lens: Lens, x: Array, y: Array) -> Plane:
    """Where the rays (x, y, 1) arrive, in focal lengths from the principal point."""
    with np.errstate(all="ignore"):
        return _FORMULAS[lens.model](lens.numbers, x, y)


def _polynomial(s: Array, *k: float) -> Array:
    """1 + k[0] s + k[1] s^2 + ..."""
    found = np.zeros_like(s)
    for value in reversed(k):
        found = (found + value) * s
    return 1 + found


def _tangential(x: Array, y: Array, radial: Array, p1: float, p2: float) -> Plane:
    s, xy = x * x + y * y, 2 * x * y
    return x * radial + p1 * xy + p2 * (s + 2 * x * x), y * radial + p2 * xy + p1 * (s + 2 * y * y)


def _straight(_: tuple[float, ...], x: Array, y: Array) -> Plane:
    return x, y


def _radial(k: tuple[float, ...], x: Array, y: Array) -> Plane:
    radial = _polynomial(x * x + y * y, *k)
    return x * radial, y * radial


def _brown(numbers: tuple[float, ...], x: Array, y: Array) -> Plane:
    k1, k2, p1, p2, k3, k4 = numbers
    return _tangential(x, y, _polynomial(x * x + y * y, k1, k2, k3, k4), p1, p2)


def _rational(numbers: tuple[float, ...], x: Array, y: Array) -> Plane:
    k1, k2, p1, p2, k3, k4, k5, k6 = numbers
    s = x * x + y * y
    below = _polynomial(s, k4, k5, k6)
    return _tangential(x, y, _polynomial(s, k1, k2, k3) / np.where(below > 0, below, np.nan), p1, p2)


def _inverse_brown(numbers: tuple[float, ...], x: Array, y: Array) -> Plane:
    u, v = x, y
    for _ in range(_NEWTON_STEPS):
        off_u, off_v, (a, b, c, d) = _unbent_off(numbers, u, v, x, y)
        found = np.abs(off_u) + np.abs(off_v) <= _NEWTON_LEFT
        if found.all():
            break
        size = a * d - b * c
        u, v = u - (d * off_u - b * off_v) / size, v - (a * off_v - c * off_u) / size
    return np.where(found, u, np.nan), np.where(found, v, np.nan)


def _unbent_off(numbers: tuple[float, ...], u: Array, v: Array, x: Array, y: Array) -> tuple[Array, Array, list[Array]]:
    """How far the ray of the bent point (u, v) is from (x, y), and the derivatives: du/du, du/dv, dv/du, dv/dv."""
    k1, k2, p1, p2, k3 = numbers
    s = u * u + v * v
    radial, slope = _polynomial(s, k1, k2, k3), 2 * (k1 + 2 * k2 * s + 3 * k3 * s * s)
    across, down = _tangential(u, v, radial, p1, p2)
    mixed = u * v * slope + 2 * p1 * u + 2 * p2 * v
    derivatives = [
        radial + u * u * slope + 2 * p1 * v + 6 * p2 * u,
        mixed,
        mixed,
        radial + v * v * slope + 2 * p2 * u + 6 * p1 * v,
    ]
    return across - x, down - y, derivatives


def _division(numbers: tuple[float, ...], x: Array, y: Array) -> Plane:
    factor = 2 / (1 + np.sqrt(1 - 4 * numbers[0] * (x * x + y * y)))
    return x * factor, y * factor


def _field_of_view(numbers: tuple[float, ...], x: Array, y: Array) -> Plane:
    omega = numbers[0]
    r, wide = np.hypot(x, y), 2 * np.tan(omega / 2)
    near = r < 1e-8
    factor = np.where(near, wide / omega, np.arctan(r * wide) / (np.where(near, 1, r) * omega))
    return x * factor, y * factor


def _unified(numbers: tuple[float, ...], x: Array, y: Array) -> Plane:
    alpha, beta = numbers
    below = alpha * np.sqrt(beta * (x * x + y * y) + 1) + 1 - alpha
    factor = 1 / np.where(below > 0, below, np.nan)
    return x * factor, y * factor


def _angular(x: Array, y: Array) -> Plane:
    """The equidistant fisheye's plane: as far from the middle as the ray's angle to the axis, in radians."""
    r = np.hypot(x, y)
    near = r < 1e-8
    factor = np.where(near, 1, np.arctan(r) / np.where(near, 1, r))
    return x * factor, y * factor


def _fisheye(k: tuple[float, ...], x: Array, y: Array) -> Plane:
    return _radial(k, *_angular(x, y))


def _thin_prism(numbers: tuple[float, ...], x: Array, y: Array) -> Plane:
    k1, k2, p1, p2, k3, k4, sx1, sy1 = numbers
    u, v = _angular(x, y)
    s = u * u + v * v
    across, down = _tangential(u, v, _polynomial(s, k1, k2, k3, k4), p1, p2)
    return across + sx1 * s, down + sy1 * s


def _rad_tan_thin_prism(numbers: tuple[float, ...], x: Array, y: Array) -> Plane:
    p1, p2, s1, s2, s3, s4 = numbers[6:]
    u, v = _radial(numbers[:6], *_angular(x, y))
    s = u * u + v * v
    # here the first of the two moves points along x
    across, down = _tangential(u, v, np.ones_like(s), p2, p1)
    return across + s1 * s + s2 * s * s, down + s3 * s + s4 * s * s


_FORMULAS: Mapping[str, Callable[[tuple[float, ...], Array, Array], Plane]] = {
    "SIMPLE_PINHOLE": _straight,
    "PINHOLE": _straight,
    "SIMPLE_RADIAL": _radial,
    "RADIAL": _radial,
    "OPENCV": _brown,
    "FULL_OPENCV": _rational,
    "INVERSE_BROWN_CONRADY": _inverse_brown,
    "SIMPLE_DIVISION": _division,
    "DIVISION": _division,
    "FOV": _field_of_view,
    "EUCM": _unified,
    "SIMPLE_FISHEYE": _fisheye,
    "FISHEYE": _fisheye,
    "SIMPLE_RADIAL_FISHEYE": _fisheye,
    "RADIAL_FISHEYE": _fisheye,
    "OPENCV_FISHEYE": _fisheye,
    "THIN_PRISM_FISHEYE": _thin_prism,
    "RAD_TAN_THIN_PRISM_FISHEYE": _rad_tan_thin_prism,
}
