"""Pictures of a lens drawn again as a pinhole's: colours between pixels, measurements never.

Depth stays as it is: along one axis, planar depth is the same for both cameras.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from meshdrop.models.lens.pinhole import Undoing

#: The places of so many pixels are held at once: 16 MB of them, and some times that for the formula.
_PIXELS_AT_ONCE = 1_000_000


def resampled(
    undone: Undoing, rgb: NDArray[np.uint8], mask: NDArray[np.float32], depth: NDArray[np.float32] | None
) -> tuple[NDArray[np.uint8], NDArray[np.float32], NDArray[np.float32] | None]:
    """The three pictures (H, W, 3), (H, W) and (H, W) as ``undone.camera`` would have taken them, in their own size.

    Colours are taken by cubic, a soft mask's coverage by linear interpolation; of a mask of yes and no, and of depth,
    the nearest pixel is taken, so that no value comes out that was not there.
    """
    import cv2  # noqa: PLC0415 - native code that captures without a lens do without

    # One thread: what a worker may take is counted, and the formula takes longer than this.
    cv2.setNumThreads(1)
    soft = bool(((mask > 0) & (mask < 1)).any())
    ways = (cv2.INTER_CUBIC, cv2.INTER_LINEAR if soft else cv2.INTER_NEAREST, cv2.INTER_NEAREST)
    found = [None if picture is None else np.empty_like(picture) for picture in (rgb, mask, depth)]
    for rows, u, v in _places(undone):
        for picture, new, way in zip((rgb, mask, depth), found, ways, strict=True):
            if picture is not None and new is not None:
                # The outermost pixels end half a pixel beyond their centres.
                new[rows] = cv2.remap(picture, u, v, way, borderMode=cv2.BORDER_REPLICATE)
    return found[0], found[1], found[2]  # type: ignore[return-value]


def _places(undone: Undoing) -> Iterator[tuple[slice, NDArray[np.float32], NDArray[np.float32]]]:
    """Some rows of the pinhole's picture at a time, with where they are in the lens's, counted from pixel centres."""
    width, height = undone.camera.width, undone.camera.height
    step = max(1, _PIXELS_AT_ONCE // width)
    for first in range(0, height, step):
        rows = slice(first, min(height, first + step))
        down, across = np.mgrid[rows, 0:width] + 0.5
        u, v = undone.sources(across, down)
        yield rows, (u - 0.5).astype(np.float32), (v - 0.5).astype(np.float32)
