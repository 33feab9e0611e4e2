"""Poses out of a turn and a place. Standard library only."""

from __future__ import annotations

import math
from collections.abc import Sequence

from meshdrop.models.formats.sidecar import Matrix


def pose(quaternion: Sequence[float], position: Sequence[float]) -> Matrix | None:
    """The pose (4, 4) of a unit quaternion x y z w and a position; None where it is none."""
    length = math.hypot(*quaternion)
    if not all(math.isfinite(value) for value in (*quaternion, *position)) or not 0.99 < length < 1.01:
        return None
    x, y, z, w = (value / length for value in quaternion)
    tx, ty, tz = position
    return (
        (1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y), tx),
        (2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x), ty),
        (2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y), tz),
        (0.0, 0.0, 0.0, 1.0),
    )
