"""A view as upstream's networks want it: the object alone, centred, 518 pixels a side.

The same steps as upstream's ``preprocess_image`` takes for a picture with an alpha channel; the mask is ours, so no
background removal is run.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from meshdrop.models.capture.capture import View
from meshdrop.models.contract.side_by_side import each
from meshdrop.models.files.problem import CaptureError, Problem

SIDE = 518
#: The object's box is made this much wider.
MARGIN = 1.1
#: Pixels that are the object for certain: the box is theirs, and only they keep their colour.
CERTAIN = 0.8
#: An object of fewer pixels a side shows nothing that could be completed.
SMALLEST_PX = 8


def prepare_views(views: Sequence[View]) -> NDArray[np.uint8]:
    """Every view as RGBA (n, 518, 518, 4), in the order given. Raises ``CaptureError`` naming each view without
    object."""
    problems = [problem for view in views if (problem := _nothing_to_see(view)) is not None]
    if problems:
        raise CaptureError(problems)
    return np.stack(each(lambda view: prepare(view.rgb, view.mask), views))


def prepare(rgb: NDArray[np.uint8], mask: NDArray[np.float32]) -> NDArray[np.uint8]:
    """(H, W, 3) sRGB and (H, W) coverage 0..1 -> RGBA (518, 518, 4), colours 0 where alpha is at most 0.8.

    Raises ``ValueError`` where ``mask`` has no object; see ``prepare_views``.
    """
    alpha = np.round(mask * 255).astype(np.uint8)
    left, top, right, bottom = _box(alpha)
    square = _padded(np.dstack([rgb, alpha])[top:bottom, left:right])
    resized = _resized(np.divide(square, 255, dtype=np.float32), SIDE)
    resized[..., :3] *= resized[..., 3:] > CERTAIN
    return (resized * 255).astype(np.uint8)


def _nothing_to_see(view: View) -> Problem | None:
    inside = np.argwhere(np.round(view.mask * 255) > CERTAIN * 255)
    size = int(np.ptp(inside, axis=0).max()) if len(inside) else 0
    if size >= SMALLEST_PX:
        return None
    said = "shows no object" if size == 0 else f"shows an object of {size} pixels"
    return Problem(
        "semantic",
        view.name,
        f"View {view.name} {said}; reconviagen needs at least {SMALLEST_PX} in every view.",
        "Check this view's mask, or leave the view out.",
    )


def _box(alpha: NDArray[np.uint8]) -> tuple[int, int, int, int]:
    """Left, top, right, bottom of a widened square around the object, cut off at the picture's edge."""
    inside = np.argwhere(alpha > CERTAIN * 255)
    if len(inside) == 0:
        raise ValueError("the mask has no object")
    low, high = inside.min(axis=0), inside.max(axis=0)
    row, column = (low + high) / 2
    half = int((high - low).max() * MARGIN) // 2
    height, width = alpha.shape
    return (
        max(0, int(column - half)),
        max(0, int(row - half)),
        min(width, int(column + half)),
        min(height, int(row + half)),
    )


def _padded(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(h, w, 4) made square with transparent black, the picture in the middle."""
    height, width = picture.shape[:2]
    side = max(height, width)
    square = np.zeros((side, side, 4), np.uint8)
    top, left = (side - height) // 2, (side - width) // 2
    square[top : top + height, left : left + width] = picture
    return square


def _resized(picture: NDArray[np.float32], side: int) -> NDArray[np.float32]:
    """(h, w, c) by linear interpolation between pixel centres. torch's own, to the last bit: what comes out is cut to
    whole levels, and a flat area must not lose one by another rounding."""
    import torch  # noqa: PLC0415 - takes seconds, and this file is read where torch is not installed

    channels_first = torch.from_numpy(picture).permute(2, 0, 1)[None]
    resized = torch.nn.functional.interpolate(channels_first, (side, side), mode="bilinear", align_corners=False)
    return resized[0].permute(1, 2, 0).contiguous().numpy()
