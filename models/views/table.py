"""An object is cut free from what it stands on: the plane under it, what rises above it, and masks of that per view."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_closing, binary_fill_holes, label
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from meshdrop.models.formats.cameras import Camera
from meshdrop.models.raster.numba_raster import rasterize

Array = NDArray[np.float64]
Bools = NDArray[np.bool_]

#: Planes tried, and points that they are tried on.
TRIALS, POINTS = 600, 20_000
#: A supporting plane holds at least this share of the surface, and faces every camera but this share.
LEAST_SHARE = 0.08
MOST_BELOW = 0.1
#: Surfaces of a plane are turned from it by no more than this.
FLAT_COSINE = 0.9
#: What rises from the plane by less than this many voxels is the plane.
RISE_VOXELS = 2.0
#: Planes tried one after the other: the largest one may be a wall.
PLANES = 4
#: Gaps of a mask up to this many pixels are closed.
CLOSED_PX = 3


@dataclass(frozen=True)
class Plane:
    """``normal`` (3,) points to the side of the cameras; points on it have ``normal @ point == offset``, in metres."""

    normal: Array
    offset: float

    def height(self, points: Array) -> Array:
        """How far points (N, 3) lie above the plane, in metres."""
        return np.asarray(points @ self.normal - self.offset, np.float64)


@dataclass(frozen=True)
class CutFree:
    """The supporting plane, and which faces (F,) of the surface belong to what stands on it."""

    plane: Plane
    faces: Bools


def cut_free(
    vertices: Array, faces: NDArray[np.int32], cameras: Sequence[Camera], middle: Array, voxel: float
) -> CutFree | None:
    """What stands near ``middle`` on a plane of the surface; None where no plane carries anything there.

    ``vertices`` (V, 3) in metres, ``faces`` (F, 3) towards the free side, ``voxel`` their sharpness in metres. The
    plane is found by RANSAC (Fischler and Bolles 1981) on the faces' centres and normals.
    """
    corners = vertices[faces]
    centres = corners.mean(axis=1)
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    areas = np.linalg.norm(normals, axis=1)
    normals /= np.maximum(areas, 1e-30)[:, None]
    left = np.ones(len(faces), np.bool_)
    for _ in range(PLANES):
        plane = _plane(centres[left], normals[left], areas[left], cameras, voxel)
        if plane is None:
            return None
        on_it = (np.abs(plane.height(centres)) < RISE_VOXELS * voxel) & (normals @ plane.normal > FLAT_COSINE)
        standing = _standing(vertices, faces, plane, middle, RISE_VOXELS * voxel)
        if standing is not None:
            return CutFree(plane, standing)
        left &= ~on_it
    return None


def masks_of(
    cameras: Sequence[Camera], vertices: Array, faces: NDArray[np.int32], object_: Bools
) -> list[NDArray[np.float32]]:
    """Per camera where the object's faces are seen in front of all others, (H, W) 0 or 1, small gaps closed."""
    masks = []
    for camera in cameras:
        shown = rasterize(camera, vertices, faces).face
        mask = np.where(shown >= 0, object_[shown], False)
        closed = binary_closing(np.pad(mask, CLOSED_PX), iterations=CLOSED_PX)[
            CLOSED_PX:-CLOSED_PX, CLOSED_PX:-CLOSED_PX
        ]
        gaps = binary_fill_holes(closed) & ~closed
        pieces, count = label(gaps)
        small = np.bincount(pieces.ravel(), minlength=count + 1) <= CLOSED_PX**4
        small[0] = False
        masks.append((closed | small[pieces]).astype(np.float32))
    return masks


def _plane(centres: Array, normals: Array, areas: Array, cameras: Sequence[Camera], voxel: float) -> Plane | None:
    """The plane of the largest area that (nearly) all cameras look at from above; None below LEAST_SHARE of it."""
    if len(centres) < 100:
        return None
    random = np.random.default_rng(0)
    some = random.choice(len(centres), min(POINTS, len(centres)), replace=False)
    places, facing, weight = centres[some], normals[some], areas[some]
    eyes = np.array([camera.centre for camera in cameras])
    best, most = None, LEAST_SHARE * float(weight.sum())
    for pick in random.choice(len(places), min(TRIALS, len(places)), replace=False, p=weight / weight.sum()):
        normal = facing[pick]
        offset = float(normal @ places[pick])
        if (eyes @ normal < offset).mean() > MOST_BELOW:
            continue
        inside = (np.abs(places @ normal - offset) < voxel) & (facing @ normal > FLAT_COSINE)
        area = float(weight[inside].sum())
        if area > most:
            best, most = inside, area
    if best is None:
        return None
    middle = np.average(places[best], axis=0, weights=weight[best])
    off = (places[best] - middle) * np.sqrt(weight[best])[:, None]
    normal = np.linalg.svd(off, full_matrices=False)[2][2]
    normal *= np.sign((eyes @ normal - middle @ normal).mean())
    return Plane(normal, float(middle @ normal))


def _standing(vertices: Array, faces: NDArray[np.int32], plane: Plane, middle: Array, rise: float) -> Bools | None:
    """The faces of the one piece above the plane that is nearest to ``middle`` for its size; None without any."""
    height = plane.height(vertices)
    above = (height[faces] > rise).all(axis=1)
    if above.sum() < 50:
        return None
    kept = faces[above]
    ends = np.concatenate([kept[:, [0, 1]], kept[:, [1, 2]]])
    links = coo_array((np.ones(len(ends), np.int8), (ends[:, 0], ends[:, 1])), shape=(len(vertices),) * 2)
    _, piece = connected_components(links, directed=False)
    of_face = piece[kept[:, 0]]
    sizes = np.bincount(of_face)
    best, score = -1, 0.0
    for number in np.argsort(-sizes)[:12]:
        if sizes[number] < 50:
            continue
        points = vertices[np.unique(kept[of_face == number])]
        low, high = points.min(axis=0), points.max(axis=0)
        size = float(np.linalg.norm(high - low))
        # beside the line through the middle of what the cameras look at, along the plane
        off = points.mean(axis=0) - middle
        away = float(np.linalg.norm(off - (off @ plane.normal) * plane.normal))
        # it stands on the plane: its lowest part is near it
        if float(plane.height(points).min()) > 3 * rise or away > size:
            continue
        worth = sizes[number] * np.exp(-((3 * away / size) ** 2))
        if worth > score:
            best, score = int(number), worth
    if best < 0:
        return None
    out = np.zeros(len(faces), np.bool_)
    out[np.flatnonzero(above)[of_face == best]] = True
    return out
