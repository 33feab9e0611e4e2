"""What a capture knows of its object's surface, as points to register to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from meshdrop.models.capture.capture import Capture
from meshdrop.models.registration.cloud import Cloud, seen_from_outside
from meshdrop.models.registration.pixels import points_at
from meshdrop.models.surface import isosurface, tsdf
from meshdrop.models.surface.range_view import RangeView, prepare
from meshdrop.models.surface.volume import EmptyCapture, object_grid, outline_at

Array = NDArray[np.float64]

#: Points are taken from about this many rows and columns of the object's part of each depth picture.
ROWS = 96
#: Depth this near to the outline, in pixels, mixes object and background.
RIM_PX = 2.0
#: Where the surface is seen at a flatter angle than this (its sine), depth says little of its place.
FLATTEST = 0.2
#: Points that another view's silhouette puts this many pixels outside of the object are not the object's.
OUTSIDE_PX = 2.0
#: A point without this many neighbours within three times the usual distance is a stray.
NEIGHBOURS = 6
#: Fewer measured points than these are no surface.
FEWEST = 200
#: Voxels along the longest side of what depth and silhouettes leave.
CELLS = 64


@dataclass(frozen=True)
class Target:
    """``cloud``: points in metres with outward normals; ``source`` says whether they were measured ("depth") or are
    ``outside`` ("hull"). ``outside``: the outside of what depth and silhouettes leave of space, never smaller than the
    object; unlike measured points it has no open side, so that its middle and radius tell those of the object.
    ``views`` are the capture's, prepared for fusion, in its order.
    """

    cloud: Cloud
    source: Literal["depth", "hull"]
    outside: Cloud
    views: tuple[RangeView, ...]

    @property
    def size_m(self) -> float:
        """The object's size: the diagonal of the box around ``cloud``, metres."""
        return float(np.linalg.norm(np.ptp(self.cloud.points, axis=0)))


def target_of(capture: Capture, views: Sequence[RangeView] | None = None) -> Target:
    """The target that a capture offers: measured points where there is depth, else its visual hull.

    ``views`` are the capture's views prepared for fusion, should the caller have them. Raises ``EmptyCapture`` when
    depth and silhouettes leave no solid space.
    """
    prepared = tuple(prepare(view) for view in capture.views) if views is None else tuple(views)
    outside = _outside(prepared)
    measured = _measured(prepared)
    if len(measured.points) >= FEWEST:
        return Target(measured, "depth", outside, prepared)
    return Target(outside, "hull", outside, prepared)


def _outside(views: Sequence[RangeView]) -> Cloud:
    grid = object_grid(views, CELLS)
    vertices, faces = isosurface.extract(tsdf.fuse(views, grid).field)
    if not len(faces):
        raise EmptyCapture("Depth and silhouettes leave no solid space.", "Check the camera poses and the masks.")
    return seen_from_outside(grid.world(vertices), faces)


def _measured(views: Sequence[RangeView]) -> Cloud:
    """The depth of all views, without rims, grazing surfaces, strays and what other silhouettes contradict."""
    parts = []
    for view in views:
        part = _of_view(view)
        for other in views:
            if other is not view:
                part = _kept(part, outline_at(other, part.points) < OUTSIDE_PX)
        parts.append(part)
    whole = Cloud(np.concatenate([part.points for part in parts]), np.concatenate([part.normals for part in parts]))
    return _kept(whole, _in_company(whole.points))


def _of_view(view: RangeView) -> Cloud:
    good = (view.depth > 0) & (view.outline < -RIM_PX) & (view.factor > FLATTEST)
    rows, columns = np.nonzero(good)
    if not len(rows):
        return Cloud(np.zeros((0, 3)), np.zeros((0, 3)))
    step = max(1, round(max(np.ptp(rows), np.ptp(columns)) / ROWS))
    # the neighbours a step away span the surface; both sides of a fold must not
    thin = (rows % step == 0) & (columns % step == 0)
    rows, columns = rows[thin], columns[thin]
    place = points_at(view.camera, view.depth, rows, columns)
    normal, known = _normals(view, good, rows, columns, step)
    return _kept(Cloud(place, normal), known)


def _normals(
    view: RangeView, good: NDArray[np.bool_], rows: NDArray[np.intp], columns: NDArray[np.intp], step: int
) -> tuple[Array, NDArray[np.bool_]]:
    """Unit normals (N, 3) towards the camera from the pixels around each, and whether all of those were measured."""
    height, width = good.shape
    inside = (rows >= step) & (rows < height - step) & (columns >= step) & (columns < width - step)
    known = inside.copy()
    ends = []
    for down, right in ((0, step), (0, -step), (step, 0), (-step, 0)):
        r, c = np.clip(rows + down, 0, height - 1), np.clip(columns + right, 0, width - 1)
        known &= good[r, c]
        ends.append(points_at(view.camera, view.depth, r, c))
    normal = np.cross(ends[0] - ends[1], ends[3] - ends[2])
    length = np.linalg.norm(normal, axis=1)
    known &= length > 0
    return normal / np.maximum(length, 1e-300)[:, None], known


def _in_company(points: Array) -> NDArray[np.bool_]:
    if len(points) <= NEIGHBOURS:
        return np.ones(len(points), np.bool_)
    away = cKDTree(points).query(points, k=NEIGHBOURS)[0][:, -1]
    near: NDArray[np.bool_] = away < 3 * np.median(away)
    return near


def _kept(cloud: Cloud, which: NDArray[np.bool_]) -> Cloud:
    return Cloud(cloud.points[which], cloud.normals[which])
