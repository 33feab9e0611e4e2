"""Depth and masks of fewer pixels than their photographs, as phones have them, in the photographs' size.

Repeated values are stairs, which a fit of planes takes for the surface; so what lies between pixels is interpolated,
depth only where all four around measured one surface.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from meshdrop.models.lens.resampling import on_one_surface

Floats = NDArray[np.float32]

#: Four pixels measured one surface where their depths differ by no more than on one seen at 70 degrees to its normal,
#: from corner to corner, by a camera of about this focal length in picture widths: that of a phone.
STEEPEST, FOCAL = math.tan(math.radians(70)) * math.sqrt(2), 0.75
#: So many pixels are interpolated at once.
AT_ONCE = 1_000_000


def same_shape(values: NDArray[Any], width: int, height: int) -> bool:
    """Whether (H, W) and a picture show the same field of view, as far as their proportions tell."""
    rows, columns = values.shape
    return bool(abs(rows * width - columns * height) <= max(width, height, rows, columns))


def depth_as_large(depth: NDArray[Any], width: int, height: int) -> Floats:
    """Depth (H, W) in any unit, 0 where nothing was measured, with the pixels of a picture of the same shape."""
    source, out = np.ascontiguousarray(depth, np.float32), np.empty((height, width), np.float32)
    steepest, step = STEEPEST / (FOCAL * depth.shape[1]), max(1, AT_ONCE // width)
    for first in range(0, height, step):
        rows = np.arange(first, min(height, first + step))
        u, v = np.meshgrid(_places(width, depth.shape[1]), _places(height, depth.shape[0])[rows])
        out[rows] = on_one_surface(source, u, v, steepest)
    return out


def mask_as_large(mask: Floats, width: int, height: int) -> Floats:
    """Coverage (H, W), 0..1, with the pixels of a picture of the same shape."""
    out = mask
    for axis, side in enumerate((height, width)):
        places = _places(side, mask.shape[axis]).clip(0, mask.shape[axis] - 1)
        before = places.astype(np.intp)
        after = np.minimum(before + 1, mask.shape[axis] - 1)
        share = (places - before).reshape((-1, 1) if axis == 0 else (1, -1))
        out = out.take(before, axis=axis) * (1 - share) + out.take(after, axis=axis) * share
    return np.ascontiguousarray(out, np.float32)


def _places(many: int, few: int) -> Floats:
    """Where the centres of ``many`` pixels lie among ``few`` on the same length, counted from the first one's."""
    return ((np.arange(many) + 0.5) * few / many - 0.5).astype(np.float32)
