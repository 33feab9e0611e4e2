"""Interpolation of vertex attributes on the CPU, one picture, with derivatives (Laine et al. 2020, section 3.3)."""

from __future__ import annotations

from numba import njit


@njit(cache=True, nogil=True, error_model="numpy")
def interpolate(attribute, fragments, faces, top, bottom, out):  # type: ignore[no-untyped-def]
    """Rows ``top`` to ``bottom`` - 1 of ``out`` (H, W, C) from ``attribute`` (V, C) and ``fragments`` (H, W, 4)."""
    for i in range(top, bottom):
        for j in range(out.shape[1]):
            face = int(fragments[i, j, 3]) - 1
            if face < 0:
                out[i, j, :] = 0
                continue
            u, v = fragments[i, j, 0], fragments[i, j, 1]
            rest = 1 - u - v
            a, b, c = faces[face, 0], faces[face, 1], faces[face, 2]
            for k in range(out.shape[2]):
                out[i, j, k] = u * attribute[a, k] + v * attribute[b, k] + rest * attribute[c, k]


@njit(cache=True, nogil=True, error_model="numpy")
def attribute_gradient(fragments, faces, gradient, out):  # type: ignore[no-untyped-def]
    """Add to ``out`` (V, C) what ``gradient`` (H, W, C) of the picture means for the vertices."""
    for i in range(fragments.shape[0]):
        for j in range(fragments.shape[1]):
            face = int(fragments[i, j, 3]) - 1
            if face < 0:
                continue
            u, v = fragments[i, j, 0], fragments[i, j, 1]
            rest = 1 - u - v
            a, b, c = faces[face, 0], faces[face, 1], faces[face, 2]
            for k in range(out.shape[1]):
                g = gradient[i, j, k]
                out[a, k] += u * g
                out[b, k] += v * g
                out[c, k] += rest * g


@njit(cache=True, nogil=True, error_model="numpy")
def barycentric_gradient(attribute, fragments, faces, gradient, top, bottom, out):  # type: ignore[no-untyped-def]
    """What ``gradient`` (H, W, C) means for u and v of the fragments: rows of ``out`` (H, W, 4)."""
    for i in range(top, bottom):
        for j in range(fragments.shape[1]):
            out[i, j, :] = 0
            face = int(fragments[i, j, 3]) - 1
            if face < 0:
                continue
            a, b, c = faces[face, 0], faces[face, 1], faces[face, 2]
            gu, gv = 0.0, 0.0
            for k in range(attribute.shape[1]):
                g = gradient[i, j, k]
                gu += g * (attribute[a, k] - attribute[c, k])
                gv += g * (attribute[b, k] - attribute[c, k])
            out[i, j, 0] = gu
            out[i, j, 1] = gv
