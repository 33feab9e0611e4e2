"""How alike the mesh's own colours and the photographs are, whatever the light: for shapes that fit in several ways."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from meshdrop.models.raster.numba_raster import interpolate
from meshdrop.models.registration.agreement import COVERED, draw
from meshdrop.models.registration.similarity import Similarity
from meshdrop.models.registration.small_view import SmallView

Array = NDArray[np.float64]


def likeness(
    sights: Sequence[SmallView], vertices: Array, faces: NDArray[np.int32], colours: Array, pose: Similarity
) -> float:
    """Normalised cross-correlation of grey values, -1..1, mean over the views, inside both silhouettes.

    ``colours`` (V, 3) 0..1. A view on which either side is of one grey says 0.
    """
    placed = pose.apply(vertices)
    grey = colours.mean(axis=1).astype(np.float32)[faces][..., None]
    scores = []
    for sight in sights:
        picture = draw(sight, placed, faces)
        both = (picture.face >= 0) & (sight.mask >= COVERED)
        scores.append(_correlation(interpolate(picture, grey)[both, 0], sight.grey[both]))
    return float(np.mean(scores))


def _correlation(drawn: NDArray[np.float32], seen: NDArray[np.float32]) -> float:
    if len(drawn) < 2:
        return 0.0
    one, other = (grey - grey.mean(dtype=np.float64) for grey in (drawn, seen))
    strength = float(np.linalg.norm(one) * np.linalg.norm(other))
    return float(one @ other) / strength if strength > 1e-6 else 0.0
