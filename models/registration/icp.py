"""Iterated closest points with scale: two clouds drawn together from a start that is about right."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from meshdrop.models.contract.side_by_side import each
from meshdrop.models.registration.cloud import Cloud
from meshdrop.models.registration.similarity import Similarity, best_similarity

Array = NDArray[np.float64]

#: The share of pairs, the closest ones, that a step is fitted to.
TRIMMED = 0.9
#: How far the scale may leave the one it starts from.
SCALES = (0.7, 1.4)
#: Pairs closer than this share of the target's radius move nothing any more.
STILL = 1e-4


@dataclass(frozen=True)
class Fit:
    """A similarity and the trimmed root mean square distance of its pairs, in metres."""

    pose: Similarity
    distance: float


class Matcher:
    """Both clouds with their trees, for many starts."""

    def __init__(self, source: Cloud, target: Cloud) -> None:
        self._source, self._target = source.points, target.points
        self._source_tree, self._target_tree = cKDTree(source.points), cKDTree(target.points)
        self._radius = float(np.linalg.norm(target.points - target.points.mean(axis=0), axis=1).max())

    def fit(self, start: Similarity, steps: int) -> Fit:
        """Up to ``steps`` steps of trimmed ICP from ``start``.

        Every step pairs each point of either cloud with the nearest of the other, keeps the closest 90 % of each
        direction (Chetverikov et al., "The trimmed iterative closest point algorithm", 2002) and moves by the
        similarity that fits the pairs best (``best_similarity``).
        """
        limits = (SCALES[0] * start.scale, SCALES[1] * start.scale)
        pose = start
        ours, theirs, distance = self._pairs(pose)
        for _ in range(steps):
            moved = best_similarity(ours, theirs, limits)
            change = np.abs(moved.apply(ours) - pose.apply(ours)).max()
            pose = moved
            ours, theirs, distance = self._pairs(pose)
            if change < STILL * self._radius:
                break
        return Fit(pose, distance)

    def fits(self, starts: Sequence[Similarity], steps: int) -> list[Fit]:
        """``fit`` from every start, the closest first."""
        return sorted(each(lambda start: self.fit(start, steps), starts), key=lambda fit: fit.distance)

    def _pairs(self, pose: Similarity) -> tuple[Array, Array, float]:
        """Matched points of source and target, and their root mean square distance."""
        away, index = self._target_tree.query(pose.apply(self._source))
        near = _closest(away)
        back, other = self._source_tree.query(pose.inverse().apply(self._target))
        back = back * pose.scale
        close = _closest(back)
        ours = np.concatenate([self._source[near], self._source[other[close]]])
        theirs = np.concatenate([self._target[index[near]], self._target[close]])
        return ours, theirs, float(np.sqrt(np.mean(np.concatenate([away[near], back[close]]) ** 2)))


def _closest(distances: Array) -> NDArray[np.intp]:
    kept = max(3, int(TRIMMED * len(distances)))
    chosen: NDArray[np.intp] = (
        np.argpartition(distances, kept - 1)[:kept] if kept < len(distances) else np.arange(len(distances))
    )
    return chosen
