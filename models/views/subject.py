"""What a capture shows: an object, an object on a table, or a scene."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from meshdrop.models.capture.capture import Subject, View
from meshdrop.models.formats.cameras import common_point
from meshdrop.models.surface.silhouette import touches_border

Array = NDArray[np.float64]

#: A view looks at a point when it lies this close to its optical axis, and its depth there is this near to it.
BESIDE_AXIS_DEG = 20.0
NEAR_DEPTH = 0.4
#: Views look at one thing when this share of them does, from directions this far apart at most.
LOOKING_SHARE = 0.7
LEAST_SPREAD_DEG = 40.0
#: Depth cuts the object out of its surroundings when fewer than this share of the masks made of it reach the picture's
#: border: a sensor that sees the background measures that too.
CUT_SHARE = 0.5


def likely_subject(views: Sequence[View]) -> Subject:
    """From masks, depth and cameras. "table" says that the views surround something that stands before what was
    measured around it; whether there is a plane under it, only the surface tells.

    Masks, transparency and a background of one colour say that it is an object, and so does depth that ends at one.
    """
    from_depth = [view for view in views if view.mask_source == "depth"]
    if len(from_depth) < len(views) / 2:
        return "object"
    if np.mean([touches_border(view.mask) for view in from_depth]) < CUT_SHARE:
        return "object"
    return "table" if looks_at_one_thing(views) else "scene"


def looks_at_one_thing(views: Sequence[View]) -> bool:
    """Whether the cameras stand around a point and see something near it."""
    point = common_point([view.camera for view in views])
    if point is None:
        return False
    directions, looking = [], 0
    for view in views:
        towards = point - view.camera.centre
        distance = float(np.linalg.norm(towards))
        axis = -view.camera.c2w[:3, 2]
        beside = np.degrees(np.arccos(np.clip(towards @ axis / max(distance, 1e-9), -1, 1)))
        middle = _middle_depth(view)
        if beside <= BESIDE_AXIS_DEG and middle is not None and abs(middle - distance) <= NEAR_DEPTH * distance:
            looking += 1
            directions.append(towards / distance)
    if looking < LOOKING_SHARE * len(views):
        return False
    cosines = np.array(directions) @ np.array(directions).T
    return bool(np.degrees(np.arccos(np.clip(cosines.min(), -1, 1))) >= LEAST_SPREAD_DEG)


def _middle_depth(view: View) -> float | None:
    """The median depth in the middle fifth of the picture's sides; None where nothing was measured."""
    if view.depth is None:
        return None
    height, width = view.depth.shape
    middle = view.depth[2 * height // 5 : 3 * height // 5, 2 * width // 5 : 3 * width // 5]
    measured = middle[middle > 0]
    return float(np.median(measured)) if len(measured) else None
