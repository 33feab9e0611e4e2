"""The box of space that holds the object, found from cameras, silhouettes and depth alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from meshdrop.models.contract.options import AUTO, Auto
from meshdrop.models.files.problem import CaptureError, Problem
from meshdrop.models.surface import detail
from meshdrop.models.surface.range_view import RangeView

Array = NDArray[np.float64]

#: Side of the coarse grid that silhouettes carve, and how often it closes in on what is left.
COARSE = 40
ROUNDS = 6
#: How far the object may reach beyond its measured points, as a share of their longest extent.
BEYOND_POINTS = 0.15
#: What of a scene's points lies farther out than this share on a side is looked at as noise.
OUTLYING = 0.002
#: Voxels along an object that is small in its pictures: outlines are known to fractions of a pixel.
LEAST_VOXELS = 48
#: Measured points are taken from at most about this many rows and columns, and from fewer of each view where there are
#: more views than MANY_VIEWS: every point is looked up in all of them.
THINNED, MANY_VIEWS = 128, 32


class EmptyCapture(CaptureError):
    """Nothing in the capture can be turned into a surface: a fault of the capture, not of the model."""

    def __init__(self, message: str, fix: str) -> None:
        super().__init__([Problem("semantic", None, message, fix)])


@dataclass(frozen=True)
class Grid:
    """A lattice of samples: sample (i, j, k) lies at ``origin + voxel * (i, j, k)`` in metres; ``shape`` samples."""

    origin: Array
    voxel: float
    shape: tuple[int, int, int]

    def world(self, lattice: NDArray[np.floating]) -> Array:
        """Lattice coordinates (N, 3) -> metres."""
        return self.origin + self.voxel * np.asarray(lattice, np.float64)


def object_grid(views: Sequence[RangeView], resolution: int | Auto) -> Grid:
    """The lattice around the object: ``resolution`` voxels on its longest side, or as many as the pixels resolve, none
    smaller than a pixel's footprint, unless there would be fewer than ``LEAST_VOXELS``.

    The box is what all silhouettes leave, cut to the measured points and some margin where there is depth. Raises
    ``EmptyCapture`` when no view shows an object or the silhouettes have nothing in common.
    """
    if not any((view.outline < 0).any() for view in views):
        raise EmptyCapture("No view shows an object: every mask is empty.", "Check the masks or the depth images.")
    low, high = _silhouette_box(views)
    points = _measured_points(views)
    if len(points):
        margin = BEYOND_POINTS * float(np.ptp(points, axis=0).max())
        low = np.maximum(low, points.min(axis=0) - margin)
        high = np.minimum(high, points.max(axis=0) + margin)
    longest = float((high - low).max())
    if not longest > 0:
        raise EmptyCapture("Depth and silhouettes do not meet in space.", "Check the camera poses and the depth unit.")
    footprint = _pixel_footprint(views, (low + high) / 2)
    smallest = min(footprint, longest / LEAST_VOXELS)
    wanted = detail.voxels(longest / max(footprint, 1e-9)) if resolution == AUTO else resolution
    voxel = max(longest / wanted, smallest)
    # two samples of air on every side, so that the surface can close
    shape = np.ceil((high - low) / voxel).astype(int) + 5
    origin = (low + high) / 2 - voxel * (shape - 1) / 2
    return Grid(origin, voxel, (int(shape[0]), int(shape[1]), int(shape[2])))


def scene_grid(views: Sequence[RangeView], resolution: int | Auto, within: tuple[Array, float] | None = None) -> Grid:
    """The lattice around what was measured, but for the OUTLYING share of points on each side, or around what of it
    lies ``within`` a distance in metres of a point: ``resolution`` voxels on its longest side, none smaller than a
    pixel's footprint. Raises ``EmptyCapture`` when nothing was measured there."""
    points = np.concatenate([_unproject(view, max(1, round(max(view.depth.shape) / THINNED))) for view in views])
    if within is not None:
        middle, reach = within
        points = points[np.linalg.norm(points - middle, axis=1) < reach]
    if not len(points):
        raise EmptyCapture("No view has depth, and a scene is made of depth alone.", "Send depth images, or masks.")
    low, high = np.quantile(points, [OUTLYING, 1 - OUTLYING], axis=0)
    longest = float((high - low).max())
    if not longest > 0:
        raise EmptyCapture("All of the measured depth is one point.", "Check the depth unit and the depth images.")
    wanted = detail.SCENE_VOXELS if resolution == AUTO else resolution
    voxel = max(longest / wanted, _pixel_footprint(views, (low + high) / 2))
    shape = np.ceil((high - low) / voxel).astype(int) + 5
    origin = (low + high) / 2 - voxel * (shape - 1) / 2
    return Grid(origin, voxel, (int(shape[0]), int(shape[1]), int(shape[2])))


def _pixel_footprint(views: Sequence[RangeView], centre: Array) -> float:
    """Width in metres that one pixel sees at the object's centre: the median over the views."""
    widths = []
    for view in views:
        _, _, z = view.camera.project(centre[None])
        if z[0] > 0:
            widths.append(float(z[0]) / min(view.camera.fx, view.camera.fy))
    return float(np.median(widths)) if widths else 0.0


def _measured_points(views: Sequence[RangeView]) -> Array:
    """Depth points that no other view's silhouette contradicts, thinned, (N, 3) metres."""
    kept = []
    thinned = THINNED * min(1.0, MANY_VIEWS / len(views))
    for view in views:
        step = max(1, round(max(view.depth.shape) / thinned))
        points = _unproject(view, step)
        for other in views:
            if other is not view and len(points):
                points = points[outline_at(other, points) < 2.0]
        kept.append(points)
    return np.concatenate(kept)


def _unproject(view: RangeView, step: int) -> Array:
    """The measured pixels of every ``step``-th row and column as world points, (N, 3) metres."""
    thin = view.depth[::step, ::step]
    rows, columns = np.nonzero(thin > 0)
    depth = thin[rows, columns].astype(np.float64)
    u, v = (indices.astype(np.float64) * step + 0.5 for indices in (columns, rows))
    return view.camera.unproject(u, v, depth)


def outline_at(view: RangeView, points: Array) -> Array:
    """Outline distance of the pixel that each point falls into; -inf where the view says nothing."""
    u, v, z = view.camera.project(points)
    height, width = view.outline.shape
    inside = (z > 0) & (u >= 0) & (u < width) & (v >= 0) & (v < height)
    out = np.full(len(points), -np.inf)
    out[inside] = view.outline[v[inside].astype(int), u[inside].astype(int)]
    if not view.open_border:
        out[~inside & (z > 0)] = np.inf
    return out


def _silhouette_box(views: Sequence[RangeView]) -> tuple[Array, Array]:
    """Axis-aligned bounds of the visual hull, from above: a coarse grid carved again and again in its own remains."""
    low, high = _starting_box(views)
    for _ in range(ROUNDS):
        cell: Array = (high - low) / COARSE
        axes = [low[a] + cell[a] * (np.arange(COARSE) + 0.5) for a in range(3)]
        left = np.ones((COARSE,) * 3, np.bool_)
        reach = float(np.linalg.norm(cell)) / 2
        for view in views:
            camera = view.camera
            _carve(
                axes[0],
                axes[1],
                axes[2],
                reach,
                camera.w2c,
                camera.fx,
                camera.fy,
                camera.cx,
                camera.cy,
                view.outline,
                view.open_border,
                left,
            )
        if not left.any():
            raise EmptyCapture(
                "The silhouettes have no point in common.", "Check the camera poses, their axes and the masks."
            )
        spans = [np.flatnonzero(left.any(axis=tuple(b for b in range(3) if b != a))) for a in range(3)]
        first = np.array([span[0] for span in spans], np.float64)
        last = np.array([span[-1] for span in spans], np.float64)
        if ((last - first) > 0.9 * COARSE).all():
            break
        low, high = low + (first - 0.5) * cell, low + (last + 1.5) * cell
    return np.asarray(low, np.float64), np.asarray(high, np.float64)


def _starting_box(views: Sequence[RangeView]) -> tuple[Array, Array]:
    """A cube that surely holds the object: around the point the masks' central rays agree on, out to the cameras."""
    A, b = np.zeros((3, 3)), np.zeros(3)
    for view in views:
        rows, columns = np.nonzero(view.outline < 0)
        if not len(rows):
            continue
        camera = view.camera
        local = np.array(
            [(columns.mean() + 0.5 - camera.cx) / camera.fx, (camera.cy - rows.mean() - 0.5) / camera.fy, -1.0]
        )
        ray = camera.c2w[:3, :3] @ (local / np.linalg.norm(local))
        across = np.eye(3) - np.outer(ray, ray)
        A += across
        b += across @ camera.centre
    centre = np.asarray(np.linalg.lstsq(A, b, rcond=1e-6)[0], np.float64)
    reach = max(float(np.linalg.norm(view.camera.centre - centre)) for view in views)
    return np.asarray(centre - reach, np.float64), np.asarray(centre + reach, np.float64)


@njit(cache=True, nogil=True, error_model="numpy")
def _carve(xs, ys, zs, reach, w2c, fx, fy, cx, cy, outline, open_border, left):  # type: ignore[no-untyped-def]
    height, width = outline.shape
    for i in range(len(xs)):
        for j in range(len(ys)):
            for k in range(len(zs)):
                if not left[i, j, k]:
                    continue
                x = w2c[0, 0] * xs[i] + w2c[0, 1] * ys[j] + w2c[0, 2] * zs[k] + w2c[0, 3]
                y = -(w2c[1, 0] * xs[i] + w2c[1, 1] * ys[j] + w2c[1, 2] * zs[k] + w2c[1, 3])
                z = -(w2c[2, 0] * xs[i] + w2c[2, 1] * ys[j] + w2c[2, 2] * zs[k] + w2c[2, 3])
                if z <= reach:
                    # around or behind the camera: no photograph of the object can be taken from inside it
                    left[i, j, k] = z > -reach
                    continue
                u, v = fx * x / z + cx, fy * y / z + cy
                radius = max(fx, fy) * reach / (z - reach) + 1.0
                near_u, near_v = min(max(u, 0.0), width - 1.0), min(max(v, 0.0), height - 1.0)
                off = np.sqrt((u - near_u) ** 2 + (v - near_v) ** 2)
                if open_border and off > 0:
                    continue
                distance = outline[int(near_v), int(near_u)]
                if max(distance, off) > radius + 1.0 or distance - off > radius + 1.0:
                    left[i, j, k] = False
