"""The rasteriser on the CPU: rasterize, interpolate, texture and antialias as compiled loops.

Homogeneous rasterisation (Olano and Greer, "Triangle scan conversion using 2D homogeneous coordinates", 1997): a
triangle with camera-space corners P0, P1, P2 (x right, y down, z forward) is met by the ray r = ((u - cx) / fx,
(v - cy) / fy, 1) where e_i = (P_j x P_k) . r all have one sign; e_i / sum(e) are the perspective-correct
barycentrics and P0 . (P1 x P2) / sum(e) is the planar depth. Nothing is ever divided by a corner's depth, so
triangles that cross the camera plane need no clipping: only samples nearer than ``NEAR_SHARE`` of the scene's depth
are dropped.
"""

# ruff: noqa: PLR0912, PLR0915 - compiled loops stay in one piece

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from meshdrop.models.formats.cameras import Camera

Floats = NDArray[np.float32]

#: Samples nearer to the camera plane than this share of the farthest vertex's depth are not drawn.
NEAR_SHARE = 1e-6


@dataclass(frozen=True)
class Fragments:
    """What each sample of a picture shows; S = samples per pixel side, so the arrays are (H * S, W * S).

    ``face`` int32, -1 = background. ``bary`` (..., 3) float32, perspective-correct weights of the face's three
    corners, 0 on the background. ``depth`` float32, planar metres, 0 = background. ``samples`` is S.
    """

    face: NDArray[np.int32]
    bary: Floats
    depth: Floats
    samples: int


def rasterize(
    camera: Camera,
    vertices: NDArray[np.floating],
    faces: NDArray[np.integer],
    samples: int = 1,
    rows: tuple[int, int] | None = None,
) -> Fragments:
    """The nearest triangle behind every sample of the picture, both sides drawn.

    ``vertices`` (V, 3) metres in world coordinates, ``faces`` (F, 3). Each pixel is cut into ``samples`` x
    ``samples`` squares and each is sampled at its centre (``samples`` = 1: the pixel's centre). A sample exactly on
    an edge belongs to the triangle; of two triangles at the same depth the first one wins. ``rows`` (first, past
    the last) restricts the work to a band of pixel rows and the arrays to that band. Raises ``ValueError`` for
    ``samples`` < 1, rows outside the picture, non-finite vertices or face indices out of range.
    """
    first, last = rows if rows is not None else (0, camera.height)
    if samples < 1:
        raise ValueError(f"samples must be 1 or more, not {samples}")
    if not 0 <= first < last <= camera.height:
        raise ValueError(f"rows {first}..{last} do not lie in a picture of {camera.height} rows")
    corners = camera_space(camera, vertices)
    triangles = np.ascontiguousarray(faces, dtype=np.int32)
    if triangles.size and (triangles.min() < 0 or triangles.max() >= len(corners)):
        raise ValueError(f"a face names a vertex outside 0..{len(corners) - 1}")
    near = NEAR_SHARE * max(float(corners[:, 2].max(initial=0.0)), 0.0)
    shape = ((last - first) * samples, camera.width * samples)
    face = np.full(shape, -1, np.int32)
    bary = np.zeros((*shape, 3), np.float32)
    depth = np.zeros(shape, np.float32)
    _scan(
        corners,
        triangles,
        samples * camera.fx,
        samples * camera.fy,
        samples * camera.cx,
        samples * (camera.cy - first),
        near,
        face,
        bary,
        depth,
    )
    return Fragments(face, bary, depth, samples)


def camera_space(camera: Camera, vertices: NDArray[np.floating]) -> NDArray[np.float64]:
    """World points (V, 3) in the camera's axes: x right, y down, z forward, metres."""
    points = np.asarray(vertices, dtype=np.float64)
    if not np.isfinite(points).all():
        raise ValueError("the mesh has vertices that are not finite numbers")
    local = (points - camera.centre) @ camera.c2w[:3, :3]
    return np.ascontiguousarray(local * np.array([1.0, -1.0, -1.0]))


def interpolate(fragments: Fragments, attribute: Floats) -> Floats:
    """A quantity given at the face corners, (F, 3, C), at every sample: (H * S, W * S, C) float32, background 0."""
    corners = np.ascontiguousarray(attribute, dtype=np.float32)
    out = np.zeros((*fragments.face.shape, corners.shape[2]), np.float32)
    _interpolate(fragments.face, fragments.bary, corners, out)
    return out


def texture(fragments: Fragments, image: NDArray[np.uint8], uv: Floats, nearest: bool = False) -> Floats:
    """The texture's value 0..255 at every covered sample, clamped at the border: (H * S, W * S, C) float32.

    ``image`` (h, w, C) uint8, row 0 on top; ``uv`` (H * S, W * S, 2) as from ``interpolate``, v up. Texel (row i,
    column j) has its centre at u = (j + 0.5) / w, v = 1 - (i + 0.5) / h. Bilinear, or the ``nearest`` texel alone.
    Background samples are 0.
    """
    out = np.zeros((*fragments.face.shape, image.shape[2]), np.float32)
    uv = np.ascontiguousarray(uv, dtype=np.float32)
    (_nearest if nearest else _bilinear)(fragments.face, np.ascontiguousarray(image), uv, out)
    return out


def antialias(fragments: Fragments, values: Floats) -> Floats:
    """Samples (H * S, W * S, C) -> pixels (H, W, C) float32: the sum over the covered samples divided by S * S.

    The background thus counts as zero: with ``values`` of ones this is the pixel's coverage.
    """
    side = fragments.samples
    shape = (fragments.face.shape[0] // side, fragments.face.shape[1] // side, values.shape[2])
    out = np.zeros(shape, np.float32)
    _box(fragments.face, np.ascontiguousarray(values, dtype=np.float32), side, out)
    return out


@njit(cache=True, nogil=True, error_model="numpy")
def _scan(corners, faces, fx, fy, cx, cy, near, face, bary, depth):  # type: ignore[no-untyped-def]
    height, width = face.shape
    for f in range(faces.shape[0]):
        a, b, c = faces[f, 0], faces[f, 1], faces[f, 2]
        ax, ay, az = corners[a, 0], corners[a, 1], corners[a, 2]
        bx, by, bz = corners[b, 0], corners[b, 1], corners[b, 2]
        px, py, pz = corners[c, 0], corners[c, 1], corners[c, 2]
        if az <= near and bz <= near and pz <= near:
            continue
        # Edge normals P_j x P_k; written so that a shared edge gives exactly opposite numbers in its two faces,
        # which is what keeps a closed surface free of pinholes.
        e0x, e0y, e0z = by * pz - bz * py, bz * px - bx * pz, bx * py - by * px
        e1x, e1y, e1z = py * az - pz * ay, pz * ax - px * az, px * ay - py * ax
        e2x, e2y, e2z = ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx
        volume = ax * e0x + ay * e0y + az * e0z
        if volume == 0.0:
            continue
        side = 1.0 if volume > 0.0 else -1.0
        left, right, top, bottom = 0, width - 1, 0, height - 1
        if az > near and bz > near and pz > near:
            ua, ub, uc = fx * ax / az, fx * bx / bz, fx * px / pz
            va, vb, vc = fy * ay / az, fy * by / bz, fy * py / pz
            u0, u1 = min(ua, ub, uc) + cx, max(ua, ub, uc) + cx
            v0, v1 = min(va, vb, vc) + cy, max(va, vb, vc) + cy
            if u1 < 0.0 or v1 < 0.0 or u0 > width or v0 > height:
                continue
            # one sample of slack on each side: rounding must not drop a sample that lies on an edge
            left, right = max(left, int(u0 - 1.0)), min(right, int(u1 + 1.0))
            top, bottom = max(top, int(v0 - 1.0)), min(bottom, int(v1 + 1.0))
        s0, s1, s2 = side / fx, side / fy, side
        for i in range(top, bottom + 1):
            v = i + 0.5 - cy
            r0 = e0y * v * s1 + e0z * s2
            r1 = e1y * v * s1 + e1z * s2
            r2 = e2y * v * s1 + e2z * s2
            for j in range(left, right + 1):
                u = j + 0.5 - cx
                w0 = e0x * u * s0 + r0
                if w0 < 0.0:
                    continue
                w1 = e1x * u * s0 + r1
                if w1 < 0.0:
                    continue
                w2 = e2x * u * s0 + r2
                if w2 < 0.0:
                    continue
                total = w0 + w1 + w2
                if total <= 0.0:
                    continue
                z = side * volume / total
                if z <= near:
                    continue
                if face[i, j] >= 0 and np.float32(z) >= depth[i, j]:
                    continue
                face[i, j] = f
                depth[i, j] = z
                bary[i, j, 0] = w0 / total
                bary[i, j, 1] = w1 / total
                bary[i, j, 2] = w2 / total


@njit(cache=True, nogil=True, error_model="numpy")
def _interpolate(face, bary, corners, out):  # type: ignore[no-untyped-def]
    for i in range(face.shape[0]):
        for j in range(face.shape[1]):
            f = face[i, j]
            if f >= 0:
                for k in range(corners.shape[2]):
                    out[i, j, k] = (
                        bary[i, j, 0] * corners[f, 0, k]
                        + bary[i, j, 1] * corners[f, 1, k]
                        + bary[i, j, 2] * corners[f, 2, k]
                    )


@njit(cache=True, nogil=True, error_model="numpy")
def _bilinear(face, image, uv, out):  # type: ignore[no-untyped-def]
    height, width, channels = image.shape
    for i in range(face.shape[0]):
        for j in range(face.shape[1]):
            if face[i, j] < 0:
                continue
            x = min(max(uv[i, j, 0] * width - np.float32(0.5), np.float32(0)), np.float32(width - 1))
            y = min(max((1 - uv[i, j, 1]) * height - np.float32(0.5), np.float32(0)), np.float32(height - 1))
            x0, y0 = int(x), int(y)
            x1, y1 = min(x0 + 1, width - 1), min(y0 + 1, height - 1)
            a, b = x - x0, y - y0
            for k in range(channels):
                top = image[y0, x0, k] * (1 - a) + image[y0, x1, k] * a
                bottom = image[y1, x0, k] * (1 - a) + image[y1, x1, k] * a
                out[i, j, k] = top * (1 - b) + bottom * b


@njit(cache=True, nogil=True, error_model="numpy")
def _nearest(face, image, uv, out):  # type: ignore[no-untyped-def]
    height, width, channels = image.shape
    for i in range(face.shape[0]):
        for j in range(face.shape[1]):
            if face[i, j] < 0:
                continue
            x = min(max(int(uv[i, j, 0] * width), 0), width - 1)
            y = min(max(int((1 - uv[i, j, 1]) * height), 0), height - 1)
            for k in range(channels):
                out[i, j, k] = image[y, x, k]


@njit(cache=True, nogil=True, error_model="numpy")
def _box(face, values, side, out):  # type: ignore[no-untyped-def]
    share = 1.0 / (side * side)
    for i in range(face.shape[0]):
        for j in range(face.shape[1]):
            if face[i, j] >= 0:
                for k in range(values.shape[2]):
                    out[i // side, j // side, k] += values[i, j, k] * share
