"""How well a placed mesh agrees with a capture: silhouettes, depth, and both in one number."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from meshdrop.models.raster.numba_raster import Fragments, rasterize
from meshdrop.models.registration.similarity import Similarity
from meshdrop.models.registration.small_view import SmallView

Array = NDArray[np.float64]

#: A pixel whose depth is off by this share of the object's size counts half.
HALF_TRUSTED = 0.02
COVERED = 0.5


@dataclass(frozen=True)
class Agreement:
    """Means over the views. ``iou`` of the silhouettes, 0..1; ``depth_m``, the median distance in metres between drawn
    and measured depth over all pixels that have both, None without any; ``share``, 0..1: intersection over union where
    a pixel of the intersection counts less the farther its depth is off, so that it equals ``iou`` without depth.
    """

    iou: float
    depth_m: float | None
    share: float


def draw(sight: SmallView, vertices: Array, faces: NDArray[np.int32]) -> Fragments:
    """The placed mesh as the sight's camera sees it, one sample a pixel."""
    return rasterize(sight.camera, vertices, faces)


def agreement(
    sights: Sequence[SmallView], vertices: Array, faces: NDArray[np.int32], pose: Similarity, size_m: float
) -> Agreement:
    """The agreement of ``vertices`` (V, 3), moved by ``pose``, with all sights; ``size_m`` is the object's size."""
    placed = pose.apply(vertices)
    return judged(sights, [draw(sight, placed, faces) for sight in sights], size_m)


def judged(sights: Sequence[SmallView], drawn: Sequence[Fragments], size_m: float) -> Agreement:
    """The same for pictures that are drawn already."""
    ious, shares, errors = [], [], [np.zeros(0)]
    for sight, picture in zip(sights, drawn, strict=True):
        covered, mask = picture.face >= 0, sight.mask >= COVERED
        union, both = int((covered | mask).sum()), covered & mask
        off = np.abs(picture.depth.astype(np.float64) - sight.depth)
        known = both & (sight.depth > 0)
        trust = np.where(known, 1 / (1 + (off / (HALF_TRUSTED * size_m)) ** 2), 1.0)
        ious.append(int(both.sum()) / union if union else 1.0)
        shares.append(float(trust[both].sum()) / union if union else 1.0)
        errors.append(off[known])
    all_errors = np.concatenate(errors)
    return Agreement(
        float(np.mean(ious)), float(np.median(all_errors)) if len(all_errors) else None, float(np.mean(shares))
    )
