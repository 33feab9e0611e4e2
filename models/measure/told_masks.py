"""The object in a view that no mask is of, told by its depth and the masks of the other views.

What a pixel measured belongs to the object where it falls into the masks of (nearly) all other views: each mask is a
cone around the object, and nothing but the object lies in all of them ("visual hull", Laurentini 1994). So a view that
was held out from a model is judged without asking the model's mesh.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_closing, binary_dilation, binary_opening

from meshdrop.models.capture.capture import View

Mask = NDArray[np.float32]

#: Fewer masks leave too much beside the object in all of them.
FEWEST = 4
#: A point of the object may fall beside so large a share of the masks: those that lack a part of it.
BESIDE = 0.1
#: Masks and cameras are no sharper than so many pixels.
RIM_PX = 2
#: Cracks and specks as wide as this many pixels are the sensor's.
CRACK_PX = 2


def told_mask(view: View, others: Sequence[View]) -> Mask | None:
    """The mask (H, W), 0 or 1, of ``view`` from its own depth and the masks of ``others``; None without depth or
    FEWEST others."""
    if view.depth is None or len(others) < FEWEST:
        return None
    rows, columns = np.nonzero(view.depth > 0)
    u, v = columns.astype(np.float64) + 0.5, rows.astype(np.float64) + 0.5
    points = view.camera.unproject(u, v, view.depth[rows, columns].astype(np.float64))
    asked, beside = np.zeros(len(points), int), np.zeros(len(points), int)
    for other in others:
        u, v, z = other.camera.project(points)
        height, width = other.mask.shape
        looks = (z > 0) & (u >= 0) & (u < width) & (v >= 0) & (v < height)
        x, y = np.where(looks, u, 0).astype(int), np.where(looks, v, 0).astype(int)
        asked += looks
        beside += looks & ~binary_dilation(other.mask >= 0.5, iterations=RIM_PX)[y, x]
    object_ = np.zeros(view.mask.shape, np.bool_)
    # what leaves most pictures is beside the object, and what stands in a single one is anywhere along a ray
    object_[rows, columns] = (2 * asked > len(others)) & (beside <= BESIDE * asked)
    around = np.pad(object_, CRACK_PX)
    whole = binary_opening(binary_closing(around, iterations=CRACK_PX), iterations=CRACK_PX)
    return np.asarray(whole[CRACK_PX:-CRACK_PX, CRACK_PX:-CRACK_PX], np.float32)
