"""Depth prefilter: measure the sensor's noise, then smooth it off without bending slanted surfaces."""

# ruff: noqa: PLR0912, PLR0915 - compiled loops stay in one piece

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray
from scipy.ndimage import correlate, gaussian_filter, minimum_filter

from meshdrop.models.formats.cameras import Camera
from meshdrop.models.surface.numerics import SAFE_MATH

Floats = NDArray[np.float32]

#: Width of the low pass that tells lost curvature from noise.
RESTORE_SIGMA_PX = 2.5
#: What giving curvature back lets through of the noise's variance: that of the low pass, 1 / (4 pi sigma^2).
RESTORED_SHARE = 1 / (4 * np.pi * RESTORE_SIGMA_PX**2)
#: Immerkaer's operator: blind to planes and to curvature along either image axis; its response to white noise is 6
#: sigma.
_NOISE_KERNEL = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float64)

#: Pixels of one surface around one, itself among them, that tell it from a flying pixel.
FEWEST_AROUND = 6


def depth_noise(depth: Floats, mask: Floats) -> float:
    """Standard deviation of the depth noise in metres, robust to steps and holes; 0 where too little was measured.

    J. Immerkaer, "Fast noise variance estimation", 1996, with a median in place of the mean. Not less than what
    rounding to the steps of the depth image costs, which smooth surfaces hide: a step / sqrt(12).
    """
    valid = minimum_filter((depth > 0) & (mask >= 0.5), 3)
    if np.count_nonzero(valid) < 50:
        return 0.0
    response = correlate(depth.astype(np.float64), _NOISE_KERNEL)[valid]
    return float(max(1.4826 * np.median(np.abs(response)) / 6.0, _step(depth[valid]) / np.sqrt(12)))


def _step(values: Floats) -> float:
    """The smallest difference between two of the values: what a depth image can tell apart."""
    steps = np.diff(np.unique(values))
    return float(steps.min()) if len(steps) else 0.0


def smooth_depth(
    depth: Floats, mask: Floats, camera: Camera, noise: float, radius: int
) -> tuple[Floats, Floats, Floats]:
    """Filtered planar depth (0 = none), per pixel what turns a depth difference into a distance, and the filtered
    depth's standard deviation in metres; all (H, W).

    A plane is a linear function of the pixel in inverse depth, so around each pixel a plane is fitted to 1 / z over
    (2 radius + 1)^2 pixels, twice, the second time without what lies more than 3 ``noise`` off (metres). Its value
    replaces the depth; its normal n (n . X = 1 on the plane) gives the factor 1 / (z |n|): the distance of a point
    on the pixel's ray to the surface's tangent plane is (depth - z) times that factor. Pixels without three fitting
    neighbours are dropped: alone in the air they are flying pixels; but not those within a pixel's footprint of the
    first plane through FEWEST_AROUND or more, as at creases that no noise hides: they stay as they were measured. The
    deviation is what is left of independent ``noise`` after the fit: where few pixels fit, at rims and on thin parts,
    that is most of it.
    """
    inside = (depth > 0) & (mask >= 0.5)
    clean = np.where(inside, depth, 0).astype(np.float32)
    smooth, factor, share = np.zeros_like(clean), np.zeros_like(clean), np.zeros_like(clean)
    inverse = np.divide(1.0, clean, out=np.zeros(clean.shape), where=inside)
    offset = np.arange(-radius, radius + 1.0)
    away = np.hypot(offset[:, None], offset).ravel()
    bell = np.exp(-0.5 * (away / (0.75 * max(radius, 1))) ** 2)
    optics = (camera.fx, camera.fy, camera.cx, camera.cy)
    _fit_planes(inverse, *optics, float(noise), radius, away, bell, smooth, factor, share)
    spread = noise * np.sqrt(share + RESTORED_SHARE)
    return _restore_curvature(clean, smooth, noise, camera), factor, spread.astype(np.float32)


def window_radius(noise: float, camera: Camera, depth: Floats) -> int:
    """The window that suits a noise in metres: beyond one pixel's footprint a wider one earns more than it bends."""
    measured = depth[depth > 0]
    if not len(measured):
        return 2
    return 3 if noise > float(np.median(measured)) / min(camera.fx, camera.fy) else 2


def _restore_curvature(depth: Floats, smooth: Floats, noise: float, camera: Camera) -> Floats:
    """Give back what plane fits take from curved surfaces: the smooth part of their residual ("twicing", Tukey
    1977)."""
    kept = smooth > 0
    limit = 4 * noise + 0.25 * smooth / min(camera.fx, camera.fy)
    residual = np.where(kept, np.clip(depth - smooth, -limit, limit), 0).astype(np.float32)
    share = gaussian_filter(kept.astype(np.float32), RESTORE_SIGMA_PX, truncate=2.5)
    lowpass = gaussian_filter(residual, RESTORE_SIGMA_PX, truncate=2.5)
    return np.where(kept, smooth + lowpass / np.maximum(share, 1e-3), 0).astype(np.float32)


@njit(cache=True, nogil=True, error_model="numpy", fastmath=SAFE_MATH)
def _fit_planes(inverse, fx, fy, cx, cy, noise, radius, away, bell, smooth, factor, share):  # type: ignore[no-untyped-def]
    """Fill ``smooth``, ``factor`` and ``share`` (what is left of the noise's variance), each (H, W), from ``inverse``
    depths; ``away`` and ``bell`` ((2 radius + 1)^2,) are the distance in pixels and the weight of each pixel of the
    window."""
    height, width = inverse.shape
    side = 2 * radius + 1
    for i in range(height):
        top, bottom = max(i - radius, 0), min(i + radius, height - 1)
        for j in range(width):
            q0 = inverse[i, j]
            if q0 <= 0:
                continue
            z0 = 1.0 / q0
            left, right = max(j - radius, 0), min(j + radius, width - 1)
            # first pass: what may still be the same surface at a slope of 80 degrees
            slope = 5.7 * z0 / min(fx, fy)
            # second pass: curvature must not count as noise; allow the sag of a ball of 8 pixels' radius
            fixed, sag = 3 * noise + 1e-12, 0.06 * z0 / fx
            a, b, c, left_over = 0.0, 0.0, 0.0, 1.0
            count, kept, rough, rough_b, rough_c = 0, False, np.inf, 0.0, 0.0
            for turn in range(2):
                s00, s01, s02, s11, s12, s22 = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
                t0, t1, t2, squares = 0.0, 0.0, 0.0, 0.0
                count = 0
                for y in range(top, bottom + 1):
                    di = y - i
                    n = (di + radius) * side + radius - j
                    for x in range(left, right + 1):
                        q = inverse[y, x]
                        if q <= 0:
                            continue
                        dj = x - j
                        value, r = q - q0, away[n + x]
                        if turn == 0:
                            # |z - z0| = |q0 - q| z z0
                            if abs(value) * z0 > (slope * r + 4 * noise) * q:
                                continue
                        elif abs(value - (a + b * dj + c * di)) * z0 * z0 > fixed + sag * r * r:
                            continue
                        w = bell[n + x]
                        count += 1
                        squares += w * w
                        s00 += w
                        s01 += w * dj
                        s02 += w * di
                        s11 += w * dj * dj
                        s12 += w * dj * di
                        s22 += w * di * di
                        t0 += w * value
                        t1 += w * value * dj
                        t2 += w * value * di
                if count < 4:
                    # where the surface bends sharply no plane fits exact depth; alone in the air it is not
                    kept = turn == 1 and rough <= z0 / min(fx, fy)
                    break
                # Cramer's rule on the 3 x 3 normal equations, lightly regularised towards a fronto-parallel plane
                s11 += 1e-3
                s22 += 1e-3
                m0, m1, m2 = s11 * s22 - s12 * s12, s02 * s12 - s01 * s22, s01 * s12 - s02 * s11
                det = s00 * m0 + s01 * m1 + s02 * m2
                if det <= 1e-12:
                    count = 0
                    break
                # variance of the plane's value here, for weights that are alike: (A^-1)_00, times Kish's factor
                left_over = m0 / det * squares / s00
                a = (t0 * m0 + t1 * m1 + t2 * m2) / det
                b = (t0 * m1 + t1 * (s00 * s22 - s02 * s02) + t2 * (s01 * s02 - s00 * s12)) / det
                c = (t0 * m2 + t1 * (s01 * s02 - s00 * s12) + t2 * (s00 * s11 - s01 * s01)) / det
                if turn == 0 and count >= FEWEST_AROUND:
                    rough, rough_b, rough_c = abs(a) * z0 * z0, b, c
            if kept:
                a, b, c, left_over = 0.0, rough_b, rough_c, 1.0
            value = q0 + a
            if (count < 4 and not kept) or value <= 0:
                continue
            nx, ny = b * fx, c * fy
            nz = value - nx * (j + 0.5 - cx) / fx - ny * (i + 0.5 - cy) / fy
            smooth[i, j] = 1.0 / value
            share[i, j] = min(left_over, 1.0)
            factor[i, j] = value / np.sqrt(nx * nx + ny * ny + nz * nz)
