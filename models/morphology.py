"""Growing and shrinking regions of pixels by steps up, down, left and right. Beyond the picture's edge is no region."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Bools = NDArray[np.bool_]


def eroded(region: Bools, steps: int) -> Bools:
    """The pixels (H, W) whose neighbours within ``steps`` moves all belong to the region."""
    for _ in range(steps):
        wide = np.pad(region, 1)
        region = region & wide[:-2, 1:-1] & wide[2:, 1:-1] & wide[1:-1, :-2] & wide[1:-1, 2:]
    return region


def dilated(region: Bools, steps: int) -> Bools:
    """The pixels (H, W) that a pixel of the region reaches within ``steps`` moves."""
    for _ in range(steps):
        wide = np.pad(region, 1)
        region = region | wide[:-2, 1:-1] | wide[2:, 1:-1] | wide[1:-1, :-2] | wide[1:-1, 2:]
    return region
