"""Similarities of space: uniform scale, rotation, translation, and the one that fits matched points best."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Similarity:
    """``x -> scale * rotation @ x + shift``: ``rotation`` (3, 3) with determinant 1, ``shift`` (3,)."""

    scale: float
    rotation: Array
    shift: Array

    def apply(self, points: NDArray[np.floating]) -> Array:
        """Points (N, 3), moved."""
        moved: Array = self.scale * (np.asarray(points, np.float64) @ self.rotation.T) + self.shift
        return moved

    def turn(self, directions: Array) -> Array:
        """Directions (N, 3), rotated only."""
        return directions @ self.rotation.T

    def after(self, first: Similarity) -> Similarity:
        """The similarity that does ``first``, then this one."""
        shift = self.scale * (self.rotation @ first.shift) + self.shift
        return Similarity(self.scale * first.scale, self.rotation @ first.rotation, shift)

    def inverse(self) -> Similarity:
        """What undoes this one."""
        back = self.rotation.T
        return Similarity(1 / self.scale, back, -(back @ self.shift) / self.scale)

    def matrix(self) -> Array:
        """The same as (4, 4) float64, for column vectors."""
        out = np.eye(4)
        out[:3, :3] = self.scale * self.rotation
        out[:3, 3] = self.shift
        return out


def angle_between(one: Array, other: Array) -> float:
    """The angle in degrees of the rotation that leads from ``one`` to ``other``, both (3, 3)."""
    # half the chord between the two, exact for small angles too, where the arc cosine of the trace is not
    chord = float(np.linalg.norm(one - other)) / np.sqrt(8.0)
    return float(np.degrees(2 * np.arcsin(min(chord, 1.0))))


def turned_by(vector: Array) -> Array:
    """The rotation (3, 3) about ``vector`` by its length in radians (Rodrigues)."""
    angle = float(np.linalg.norm(vector))
    if angle < 1e-12:
        return np.eye(3)
    x, y, z = vector / angle
    across = np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])
    return np.asarray(np.eye(3) + np.sin(angle) * across + (1 - np.cos(angle)) * (across @ across))


def best_similarity(source: Array, target: Array, scale: tuple[float, float] = (0.0, np.inf)) -> Similarity:
    """The similarity that takes ``source`` (N, 3) to ``target`` (N, 3) with the least sum of squared distances.

    Umeyama, "Least-squares estimation of transformation parameters between two point patterns" (1991), equations 40 to
    43; mirrors are never returned. The scale is clamped to ``scale`` and the shift belongs to the clamped one. Raises
    ``ValueError`` when the points are fewer than three or all the same.
    """
    centre, aim = source.mean(axis=0), target.mean(axis=0)
    spread = float(((source - centre) ** 2).sum()) / max(len(source), 1)
    if len(source) < 3 or not spread > 0:
        raise ValueError(f"{len(source)} points with a spread of {spread:g} determine no similarity")
    U, singular, Vt = np.linalg.svd((target - aim).T @ (source - centre) / len(source))
    sign = np.array([1.0, 1.0, 1.0 if np.linalg.det(U) * np.linalg.det(Vt) > 0 else -1.0])
    rotation = (U * sign) @ Vt
    factor = float(np.clip((singular * sign).sum() / spread, *scale))
    return Similarity(factor, rotation, aim - factor * rotation @ centre)
