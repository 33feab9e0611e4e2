"""Bilinear look-ups in a texture for one picture on the CPU, and their derivatives (Laine et al. 2020, section 3.4)."""

from __future__ import annotations

import numpy as np
from numba import njit


@njit(cache=True, nogil=True, error_model="numpy")
def texture(image, uv, top, bottom, out):  # type: ignore[no-untyped-def]
    """Rows ``top`` to ``bottom`` - 1 of ``out`` (H, W, C) from ``image`` (h, w, C) at ``uv`` (H, W, 2)."""
    height, width, channels = image.shape
    for i in range(top, bottom):
        for j in range(out.shape[1]):
            x0, x1, x = _taps(uv[i, j, 0], width)
            y0, y1, y = _taps(uv[i, j, 1], height)
            for k in range(channels):
                upper = image[y0, x0, k] + x * (image[y0, x1, k] - image[y0, x0, k])
                lower = image[y1, x0, k] + x * (image[y1, x1, k] - image[y1, x0, k])
                out[i, j, k] = upper + y * (lower - upper)


@njit(cache=True, nogil=True, error_model="numpy")
def image_gradient(uv, gradient, out):  # type: ignore[no-untyped-def]
    """Add to ``out`` (h, w, C) what ``gradient`` (H, W, C) of the picture means for the texels."""
    height, width, channels = out.shape
    for i in range(uv.shape[0]):
        for j in range(uv.shape[1]):
            if not _any(gradient[i, j]):
                continue
            x0, x1, x = _taps(uv[i, j, 0], width)
            y0, y1, y = _taps(uv[i, j, 1], height)
            both = x * y
            for k in range(channels):
                g = gradient[i, j, k]
                out[y0, x0, k] += (1 - x - y + both) * g
                out[y0, x1, k] += (x - both) * g
                out[y1, x0, k] += (y - both) * g
                out[y1, x1, k] += both * g


@njit(cache=True, nogil=True, error_model="numpy")
def uv_gradient(image, uv, gradient, top, bottom, out):  # type: ignore[no-untyped-def]
    """What ``gradient`` (H, W, C) means for the coordinates: rows of ``out`` (H, W, 2)."""
    height, width, channels = image.shape
    for i in range(top, bottom):
        for j in range(uv.shape[1]):
            gu, gv = 0.0, 0.0
            if _any(gradient[i, j]):
                x0, x1, x = _taps(uv[i, j, 0], width)
                y0, y1, y = _taps(uv[i, j, 1], height)
                for k in range(channels):
                    g = gradient[i, j, k]
                    across, down = image[y0, x1, k] - image[y0, x0, k], image[y1, x0, k] - image[y0, x0, k]
                    twist = image[y1, x1, k] - image[y1, x0, k] - across
                    gu += g * (across + y * twist)
                    gv += g * (down + x * twist)
            out[i, j, 0] = gu * width
            out[i, j, 1] = gv * height


@njit(cache=True, nogil=True, error_model="numpy")
def _taps(coordinate, size):  # type: ignore[no-untyped-def]
    """The two texels around a coordinate 0..1 and how far it is from the first to the second.

    At and beyond the centres of the border's texels both are the same one: the value is clamped, its derivative 0.
    Not-a-number looks up the first texel.
    """
    place = np.float64(coordinate) * size - 0.5
    if not place > 0.0:
        return 0, 0, 0.0
    if place >= size - 1.0:
        return size - 1, size - 1, 0.0
    first = int(place)
    return first, first + 1, place - first


@njit(cache=True, nogil=True, error_model="numpy")
def _any(values):  # type: ignore[no-untyped-def]
    for k in range(values.shape[0]):  # noqa: SIM110 - any() with a generator does not compile
        if values[k] != 0:
            return True
    return False
