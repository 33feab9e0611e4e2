"""Pictures of a lens drawn again as a pinhole's.

Depth is planar along one axis for both cameras, so that it only changes its place. Pixels move by fractions, and a
value that is taken from half a pixel away is wrong by half a pixel's slope, which is more than most sensors' noise:
meshes from nearest pixels lie a third farther from the truth (``test_lensed_captures.py``). So what lies between four
pixels is interpolated, and depth only where all four measured one surface: no value comes out that bridges two, or a
hole.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from meshdrop.models.lens.pinhole import Undoing

#: The places of so many pixels are held at once: 16 MB of them, and some times that for the formula.
_PIXELS_AT_ONCE = 1_000_000
#: Four pixels measured one surface where their depths differ by no more than on one seen at 80 degrees to its normal,
#: from corner to corner; in the widths of a pixel there.
STEEPEST = math.tan(math.radians(80)) * math.sqrt(2)

Depth = NDArray[np.float32]


def resampled(
    undone: Undoing, rgb: NDArray[np.uint8], mask: NDArray[np.float32], depth: NDArray[np.float32] | None
) -> tuple[NDArray[np.uint8], NDArray[np.float32], NDArray[np.float32] | None]:
    """The three pictures (H, W, 3), (H, W) and (H, W) as ``undone.camera`` would have taken them, in their own size.

    Colours are interpolated by cubics, coverage linearly, so that the outline of a mask of yes and no is as far from
    both pixels as it was; depth linearly on a surface, and else it is the nearest pixel's.
    """
    import cv2  # noqa: PLC0415 - native code that captures without a lens do without

    # One thread: what a worker may take is counted, and the formula takes longer than this.
    cv2.setNumThreads(1)
    new_rgb, new_mask = np.empty_like(rgb), np.empty_like(mask)
    new_depth = None if depth is None else np.empty_like(depth)
    steepest = STEEPEST / min(undone.lensed.fx, undone.lensed.fy)
    for rows, u, v in _places(undone):
        # The outermost pixels end half a pixel beyond their centres.
        new_rgb[rows] = cv2.remap(rgb, u, v, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
        new_mask[rows] = cv2.remap(mask, u, v, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        if depth is not None and new_depth is not None:
            new_depth[rows] = on_one_surface(depth, u, v, steepest)
    return new_rgb, new_mask, new_depth


def on_one_surface(depth: Depth, u: Depth, v: Depth, steepest: float) -> Depth:
    """Metres at places (u, v), counted from pixel centres: between four pixels that measured one surface, else the
    nearest. On one, depths differ by at most ``steepest`` of the least.
    """
    height, width = depth.shape
    rows, columns = (np.floor(at).astype(np.intp).clip(0, side - 2) for at, side in ((v, height), (u, width)))
    down, across = (v - rows).clip(0, 1), (u - columns).clip(0, 1)
    shares = np.stack([(1 - down) * (1 - across), (1 - down) * across, down * (1 - across), down * across])
    four = np.stack([depth[rows + i, columns + j] for i in (0, 1) for j in (0, 1)])
    nearest = np.take_along_axis(four, shares.argmax(axis=0)[None], axis=0)[0]
    least = four.min(axis=0)
    one = (least > 0) & (four.max(axis=0) - least <= steepest * least)
    # On a plane it is 1/z that is linear in pixels.
    inverse = (shares / np.where(one, four, 1)).sum(axis=0)
    found: Depth = np.where(one, 1 / inverse, nearest).astype(np.float32)
    return found


def _places(undone: Undoing) -> Iterator[tuple[slice, NDArray[np.float32], NDArray[np.float32]]]:
    """Some rows of the pinhole's picture at a time, with where they are in the lens's, counted from pixel centres."""
    width, height = undone.camera.width, undone.camera.height
    step = max(1, _PIXELS_AT_ONCE // width)
    for first in range(0, height, step):
        rows = slice(first, min(height, first + step))
        down, across = np.mgrid[rows, 0:width] + 0.5
        u, v = undone.sources(across, down)
        yield rows, (u - 0.5).astype(np.float32), (v - 0.5).astype(np.float32)
