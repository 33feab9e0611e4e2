"""From the pixels of a depth picture to points in the world."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from meshdrop.models.formats.cameras import Camera

Array = NDArray[np.float64]


def points_at(camera: Camera, depth: NDArray[np.float32], rows: NDArray[np.intp], columns: NDArray[np.intp]) -> Array:
    """What the pixels at ``rows`` and ``columns`` (N,) of ``depth`` (H, W, planar metres) show, (N, 3) metres."""
    u, v, z = (np.asarray(values, np.float64) for values in (columns, rows, depth[rows, columns]))
    return camera.unproject(u + 0.5, v + 0.5, z)
