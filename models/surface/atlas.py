"""Texels and faces: which face each texel shows, and the texels around each chart that continue it."""

# ruff: noqa: PLR0912 - compiled loops stay in one piece

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

Floats = NDArray[np.float32]

#: Rings of texels around each chart that get a colour of their own from the face's plane continued.
RINGS = 2


@dataclass(frozen=True)
class Texels:
    """The texels that carry surface: ``index`` (N,) into the flattened texture, ``face`` (N,), ``bary`` (N, 3)
    float32 (outside 0..1 on the rings around a chart), ``inner`` (N,) True where the texel centre lies on its
    face."""

    index: NDArray[np.int64]
    face: NDArray[np.int32]
    bary: Floats
    inner: NDArray[np.bool_]


def texels(corners: NDArray[np.float64], size: int) -> Texels:
    """Every texel that a face covers or that lies within RINGS texels of one; ``corners`` (F, 3, 2) in texels."""
    owner, _ = _cover(corners, size)
    wide = owner
    for _ in range(RINGS):
        wide = _grow(wide)
    index = np.flatnonzero(wide.ravel() >= 0)
    face = wide.ravel()[index]
    return Texels(index, face, _barycentric(corners, index, face, size), owner.ravel()[index] >= 0)


def overlapping_faces(corners: NDArray[np.float64], size: int) -> NDArray[np.bool_]:
    """Faces (F,) whose inside covers a texel centre that an earlier face covers too."""
    over: NDArray[np.bool_] = _cover(corners, size)[1]
    return over


@njit(cache=True, nogil=True)
def _cover(corners, size):  # type: ignore[no-untyped-def]
    owner = np.full((size, size), -1, np.int32)
    over = np.zeros(len(corners), np.bool_)
    for f in range(len(corners)):
        x0, y0 = corners[f, 0, 0], corners[f, 0, 1]
        x1, y1 = corners[f, 1, 0], corners[f, 1, 1]
        x2, y2 = corners[f, 2, 0], corners[f, 2, 1]
        area = (x1 - x0) * (y2 - y0) - (x2 - x0) * (y1 - y0)
        if area == 0.0:
            continue
        left, right = max(int(min(x0, x1, x2) - 0.5), 0), min(int(max(x0, x1, x2) + 0.5), size - 1)
        top, bottom = max(int(min(y0, y1, y2) - 0.5), 0), min(int(max(y0, y1, y2) + 0.5), size - 1)
        for i in range(top, bottom + 1):
            for j in range(left, right + 1):
                x, y = j + 0.5, i + 0.5
                a = ((x1 - x) * (y2 - y) - (x2 - x) * (y1 - y)) / area
                b = ((x2 - x) * (y0 - y) - (x0 - x) * (y2 - y)) / area
                c = 1.0 - a - b
                least = min(a, b, c)
                if least < 0:
                    continue
                if owner[i, j] < 0:
                    owner[i, j] = f
                elif least > 1e-6:
                    over[f] = True
    return owner, over


@njit(cache=True, nogil=True)
def _grow(owner):  # type: ignore[no-untyped-def]
    """One ring more: empty texels take a neighbour's face, straight neighbours before diagonal ones."""
    size = owner.shape[0]
    out = owner.copy()
    for i in range(size):
        for j in range(size):
            if owner[i, j] >= 0:
                continue
            for reach in range(1, 3):
                for di in range(-1, 2):
                    for dj in range(-1, 2):
                        y, x = i + di, j + dj
                        if (
                            di * di + dj * dj == reach
                            and out[i, j] < 0
                            and 0 <= y < size
                            and 0 <= x < size
                            and owner[y, x] >= 0
                        ):
                            out[i, j] = owner[y, x]
    return out


@njit(cache=True, nogil=True, error_model="numpy")
def _barycentric(corners, index, face, size):  # type: ignore[no-untyped-def]
    """Barycentrics of the texel centres in their faces, not limited to the face, (N, 3) float32."""
    out = np.empty((len(index), 3), np.float32)
    for n in range(len(index)):
        f = face[n]
        x, y = index[n] % size + 0.5, index[n] // size + 0.5
        ax, ay = corners[f, 0, 0] - x, corners[f, 0, 1] - y
        bx, by = corners[f, 1, 0] - x, corners[f, 1, 1] - y
        cx, cy = corners[f, 2, 0] - x, corners[f, 2, 1] - y
        u, v, w = bx * cy - by * cx, cx * ay - cy * ax, ax * by - ay * bx
        whole = u + v + w
        out[n, 0], out[n, 1], out[n, 2] = u / whole, v / whole, w / whole
    return out


@njit(cache=True, nogil=True)
def at_texels(values, faces, face, bary):  # type: ignore[no-untyped-def]
    """A vertex quantity (V, 3) at the texels ``face`` (N,), ``bary`` (N, 3), as (N, 3) float32."""
    out = np.empty((len(face), 3), np.float32)
    for n in range(len(face)):
        a, b, c = faces[face[n], 0], faces[face[n], 1], faces[face[n], 2]
        for k in range(3):
            out[n, k] = values[a, k] * bary[n, 0] + values[b, k] * bary[n, 1] + values[c, k] * bary[n, 2]
    return out


@njit(cache=True, nogil=True)
def fill_gutters(image, known):  # type: ignore[no-untyped-def]
    """Give every unknown texel the colour of a near known one, in place: two sweeps over (S, S, C) and (S, S)."""
    size = known.shape[0]
    source = np.full((size, size, 2), -10 * size, np.int32)
    for i in range(size):
        for j in range(size):
            if known[i, j]:
                source[i, j, 0], source[i, j, 1] = i, j
    for sweep in range(2):
        for a in range(size):
            i = a if sweep == 0 else size - 1 - a
            above = -1 if sweep == 0 else 1
            for turn in range(2):
                for b in range(size):
                    j = b if turn == 0 else size - 1 - b
                    back = -1 if turn == 0 else 1
                    best = (source[i, j, 0] - i) ** 2 + (source[i, j, 1] - j) ** 2
                    for k in range(2):
                        y, x = (i, j + back) if k == 0 else (i + above, j)
                        if 0 <= y < size and 0 <= x < size:
                            d = (source[y, x, 0] - i) ** 2 + (source[y, x, 1] - j) ** 2
                            if d < best:
                                best = d
                                source[i, j, 0], source[i, j, 1] = source[y, x, 0], source[y, x, 1]
    for i in range(size):
        for j in range(size):
            if not known[i, j] and source[i, j, 0] >= 0:
                for k in range(image.shape[2]):
                    image[i, j, k] = image[source[i, j, 0], source[i, j, 1], k]
