"""The coarse search: which of many rotations bring two clouds together, before anything is fitted."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt

from meshdrop.models.registration.cloud import Cloud
from meshdrop.models.registration.similarity import Similarity

Array = NDArray[np.float64]

#: Cells of a lookup along each side of its cube, and how far the cube reaches, in root mean square radii of its cloud.
CELLS = 48
REACH = 3.0
#: The share of distances that count, the smallest ones: what one side lacks must not decide.
TRIMMED = 0.9
#: A pair whose normals disagree by a right angle counts as if this many radii apart.
NORMAL_RADII = 0.35
#: Starts are at least this far apart, in degrees: they are the hills of the score, not the slopes of one hill.
APART = 18.0


@dataclass(frozen=True)
class Normalised:
    """A cloud with its median at the origin and a root mean square radius of 1; ``placed`` takes it back."""

    cloud: Cloud
    placed: Similarity

    @classmethod
    def of(cls, cloud: Cloud) -> Normalised:
        """Around the median point, with a root mean square radius of one."""
        centre = np.median(cloud.points, axis=0)
        radius = float(np.sqrt(((cloud.points - centre) ** 2).sum(axis=1).mean()))
        placed = Similarity(max(radius, 1e-300), np.eye(3), centre)
        return cls(Cloud(placed.inverse().apply(cloud.points), cloud.normals), placed)


def hills(source: Cloud, target: Cloud, rotations: Array, most: int) -> list[Similarity]:
    """The most promising similarities from ``source`` to ``target``, best first, one for each hill of the score.

    Scale comes from the root mean square radii and the shift from the medians of both clouds, which should be spread
    evenly; only the rotation is searched, among ``rotations`` (N, 3, 3). At most ``most`` are returned.
    """
    here, there = Normalised.of(source), Normalised.of(target)
    cost = _costs(here.cloud, there.cloud, rotations)
    found: list[int] = []
    for index in np.argsort(cost, kind="stable"):
        chord = np.linalg.norm(rotations[found] - rotations[index], axis=(1, 2)) if found else np.array([np.inf])
        # the length of the difference of two rotations is sqrt(8) times the sine of half the angle between them
        if chord.min() > np.sqrt(8.0) * np.sin(np.radians(APART) / 2):
            found.append(int(index))
            if len(found) == most:
                break
    return [
        there.placed.after(Similarity(1.0, rotations[index], np.zeros(3))).after(here.placed.inverse())
        for index in found
    ]


def _costs(source: Cloud, target: Cloud, rotations: Array) -> Array:
    """Trimmed mean distance both ways for each rotation, (N,), in radii."""
    out = np.empty(len(rotations))
    _score(
        source.points,
        source.normals,
        _nearest(source.points),
        target.points,
        target.normals,
        _nearest(target.points),
        rotations,
        REACH,
        NORMAL_RADII,
        max(1, int(TRIMMED * len(source.points))),
        max(1, int(TRIMMED * len(target.points))),
        out,
    )
    return out


def _nearest(points: Array) -> NDArray[np.int32]:
    """For each cell of the cube of REACH the index of a point that is nearest, to half a cell's accuracy."""
    owner = np.full((CELLS,) * 3, -1, np.int32)
    cell = np.clip(((points + REACH) * (CELLS / (2 * REACH))).astype(int), 0, CELLS - 1)
    owner[cell[:, 0], cell[:, 1], cell[:, 2]] = np.arange(len(points))
    i, j, k = distance_transform_edt(owner < 0, return_distances=False, return_indices=True)
    return np.ascontiguousarray(owner[i, j, k])


@njit(cache=True, nogil=True, error_model="numpy")
def _score(  # type: ignore[no-untyped-def]
    source,
    source_normals,
    source_nearest,
    target,
    target_normals,
    target_nearest,
    rotations,
    reach,
    weight,
    source_kept,
    target_kept,
    out,
):
    there, back = np.empty(len(source)), np.empty(len(target))
    for n in range(len(rotations)):
        R = rotations[n]
        _distances(source, source_normals, R, target, target_normals, target_nearest, reach, weight, there)
        _distances(target, target_normals, R.T, source, source_normals, source_nearest, reach, weight, back)
        out[n] = np.partition(there, source_kept - 1)[:source_kept].mean()
        out[n] += np.partition(back, target_kept - 1)[:target_kept].mean()


@njit(cache=True, nogil=True, error_model="numpy")
def _distances(points, normals, R, others, other_normals, nearest, reach, weight, out):  # type: ignore[no-untyped-def]
    cells = nearest.shape[0]
    scale = cells / (2 * reach)
    for p in range(len(points)):
        x = R[0, 0] * points[p, 0] + R[0, 1] * points[p, 1] + R[0, 2] * points[p, 2]
        y = R[1, 0] * points[p, 0] + R[1, 1] * points[p, 1] + R[1, 2] * points[p, 2]
        z = R[2, 0] * points[p, 0] + R[2, 1] * points[p, 1] + R[2, 2] * points[p, 2]
        i = min(max(int((x + reach) * scale), 0), cells - 1)
        j = min(max(int((y + reach) * scale), 0), cells - 1)
        k = min(max(int((z + reach) * scale), 0), cells - 1)
        o = nearest[i, j, k]
        dx, dy, dz = x - others[o, 0], y - others[o, 1], z - others[o, 2]
        a, b, c = normals[p, 0], normals[p, 1], normals[p, 2]
        along = (
            (R[0, 0] * a + R[0, 1] * b + R[0, 2] * c) * other_normals[o, 0]
            + (R[1, 0] * a + R[1, 1] * b + R[1, 2] * c) * other_normals[o, 1]
            + (R[2, 0] * a + R[2, 1] * b + R[2, 2] * c) * other_normals[o, 2]
        )
        out[p] = np.sqrt(dx * dx + dy * dy + dz * dz + weight * weight * (1 - along))
