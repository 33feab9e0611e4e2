"""The pinhole camera that a lens is undone to, and whether the lens can be undone at all.

The pinhole has the picture's size, the lens's principal point and axis, and the shortest focal length (in the stated
ratio of both) at which every pixel of it was seen. So nothing is invented at the border, no pixel has to be told from a
seen one by whoever comes later, and an object that the border cuts is cut by the picture's edge, which every model
knows to mean that nothing is known beyond. What is paid: of a barrel's picture the corners, of a cushion's the
middles of the sides. A pixel of it lies at most ``WIDEST`` from the axis: beyond, a pinhole's picture has more pixels
than the lens had, and at 90 degrees it has no end.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from meshdrop.models.formats.cameras import Camera
from meshdrop.models.formats.lens import Lens
from meshdrop.models.formats.stated_camera import CameraError
from meshdrop.models.lens.formulas import bent

Array = NDArray[np.float64]

#: 130 degrees from corner to corner; there a pinhole has 5.6 pixels along the radius for one in its middle.
WIDEST = math.radians(65)
#: A lens that brings the border of its picture nearer or farther than this, against a pinhole's, is no lens.
MOST_STRETCH = 4.0
#: Nor is one of which a pinhole would show less; of a fisheye of 180 degrees it shows a third.
LEAST_KEPT = 0.05
#: Rays are looked at in so many directions from the axis, and at so many angles to it, bisected where they matter.
_DIRECTIONS, _STEPS, _BISECTIONS = 720, 192, 16
_FIX = "Calibrate it again with points up to the picture's corners, or undistort the pictures and state a pinhole."


@dataclass(frozen=True)
class Undoing:
    """How one lens's pictures become a pinhole's.

    ``lensed`` has the stated intrinsics, ``camera`` those of the pinhole; both the same pose and size. ``most_px`` is
    how far a pixel lies from where a pinhole with the stated intrinsics would have it; ``kept`` the share of the
    picture that the pinhole shows, 0..1; ``widest`` tells that more was cut off for its angle to the axis.
    """

    lens: Lens
    lensed: Camera
    camera: Camera
    most_px: float
    kept: float
    widest: bool

    def sources(self, u: Array, v: Array) -> tuple[Array, Array]:
        """Where in the lens's picture the pinhole's pixels (u, v) are, both in pixels from the top left corner."""
        x, y = (u - self.camera.cx) / self.camera.fx, (v - self.camera.cy) / self.camera.fy
        return _pixels(self.lens, self.lensed, x, y)


def undoing(lens: Lens, camera: Camera) -> Undoing:
    """What undoes ``lens`` in pictures of ``camera``; raises ``CameraError`` where that cannot be."""
    directions, farthest, cut = _reach(lens, camera)
    across, down = np.cos(directions), np.sin(directions)
    with np.errstate(divide="ignore"):
        border = _to_border(camera, across, down)
    stretch = np.where(cut, 1.0, farthest / border)
    if not (stretch.min() >= 1 / MOST_STRETCH and stretch.max() <= MOST_STRETCH):
        raise CameraError(
            f"the lens ({lens.model}) is implausible: its picture would reach {stretch.min():.3g} to "
            f"{stretch.max():.3g} times as far as a pinhole's.",
            _FIX,
        )
    scale = float((border / farthest).max())
    found = replace(camera, fx=camera.fx * scale, fy=camera.fy * scale)
    undone = Undoing(lens, camera, found, 0.0, 1.0, bool(cut.any()))
    u, v = _outline(camera)
    at_u, at_v = undone.sources(u, v)
    rows, columns = np.meshgrid(np.linspace(0, camera.height, 65), np.linspace(0, camera.width, 65), indexing="ij")
    in_u, in_v = undone.sources(columns, rows)
    moved = np.hypot(in_u - camera.cx - (columns - camera.cx) / scale, in_v - camera.cy - (rows - camera.cy) / scale)
    area = abs(float((at_u * np.roll(at_v, -1) - at_v * np.roll(at_u, -1)).sum())) / 2
    kept = min(1.0, area / (camera.width * camera.height))
    if kept < LEAST_KEPT:
        raise CameraError(
            f"the lens ({lens.model}) is implausible: within {math.degrees(WIDEST):.0f} degrees of its axis lies "
            f"{kept:.1%} of the picture.",
            _FIX,
        )
    return replace(undone, most_px=float(moved.max()), kept=kept)


def _pixels(lens: Lens, camera: Camera, x: Array, y: Array) -> tuple[Array, Array]:
    across, down = bent(lens, x, y)
    with np.errstate(over="ignore", invalid="ignore"):
        return across * camera.fx + camera.cx, down * camera.fy + camera.cy


def _to_border(camera: Camera, across: Array, down: Array) -> Array:
    """How far a pinhole's border is from its axis in each direction, on the plane at distance 1."""
    sideways = np.where(across > 0, camera.width - camera.cx, -camera.cx) / camera.fx / across
    upright = np.where(down > 0, camera.height - camera.cy, -camera.cy) / camera.fy / down
    return np.minimum(np.where(across == 0, np.inf, sideways), np.where(down == 0, np.inf, upright))


def _outline(camera: Camera) -> tuple[Array, Array]:
    """Points round the border of a picture, in order."""
    t = np.linspace(0, 1, 64, endpoint=False)
    zero, one = np.zeros_like(t), np.ones_like(t)
    u, v = np.concatenate([t, one, 1 - t, zero]), np.concatenate([zero, t, one, 1 - t])
    return u * camera.width, v * camera.height


def _directions(camera: Camera) -> Array:
    """Angles round the axis, rising; the pinhole's corners are among them."""
    corners = [
        math.atan2((v - camera.cy) / camera.fy, (u - camera.cx) / camera.fx)
        for u in (0, camera.width)
        for v in (0, camera.height)
    ]
    return np.unique(np.concatenate([np.linspace(-math.pi, math.pi, _DIRECTIONS, endpoint=False), corners]))


def _reach(lens: Lens, camera: Camera) -> tuple[Array, Array, NDArray[np.bool_]]:
    """Directions round the axis, how far the picture reaches in each on the plane at distance 1, and where it is cut
    off at ``WIDEST``. Raises ``CameraError`` for a lens that folds the picture before that.
    """
    directions = _directions(camera)
    across, down = np.cos(directions), np.sin(directions)
    angles = np.linspace(0, WIDEST, _STEPS + 1)[1:]
    slopes = np.tan(angles)[:, None]
    u, v = _pixels(lens, camera, slopes * across, slopes * down)
    inside = _inside(camera, u, v)
    outwards = _keeps_order(camera, u, v)
    leaves = np.where(inside.all(axis=0), _STEPS, inside.argmin(axis=0))
    folds = np.where(outwards.all(axis=0), _STEPS, outwards.argmin(axis=0))
    if (folds < leaves).any():
        raise CameraError(_folded(lens, camera, u, v, folds, leaves), _FIX)
    near, far = np.concatenate([[0.0], angles])[leaves], angles[np.minimum(leaves, _STEPS - 1)]
    for _ in range(_BISECTIONS):
        middle = (near + far) / 2
        within = _inside(camera, *_pixels(lens, camera, np.tan(middle) * across, np.tan(middle) * down))
        near, far = np.where(within, middle, near), np.where(within, far, middle)
    return directions, np.tan(near), leaves == _STEPS


def _inside(camera: Camera, u: Array, v: Array) -> NDArray[np.bool_]:
    found: NDArray[np.bool_] = (u >= 0) & (u <= camera.width) & (v >= 0) & (v <= camera.height)
    return found


def _keeps_order(camera: Camera, u: Array, v: Array) -> NDArray[np.bool_]:
    """Whether neighbouring rays (angle to the axis, direction round it) lie in the picture as they do before it.

    The area that two steps span must be above 0: a lens that folds turns it over, one without an answer has none.
    """
    with np.errstate(invalid="ignore", over="ignore"):
        outward_u, outward_v = np.diff(u, axis=0, prepend=camera.cx), np.diff(v, axis=0, prepend=camera.cy)
        round_u, round_v = np.roll(u, -1, axis=1) - u, np.roll(v, -1, axis=1) - v
        area: NDArray[np.bool_] = outward_u * round_v - outward_v * round_u > 0
    return area


def _folded(lens: Lens, camera: Camera, u: Array, v: Array, folds: NDArray[np.intp], leaves: NDArray[np.intp]) -> str:
    """The sentence for a lens that folds, with the smallest radius at which it does."""
    columns = np.flatnonzero(folds < leaves)
    last = np.maximum(folds[columns] - 1, 0)
    radius = np.hypot(u[last, columns] - camera.cx, v[last, columns] - camera.cy)
    least = float(radius[np.isfinite(radius)].min(initial=math.hypot(camera.width, camera.height)))
    least = 0.0 if (folds[columns] == 0).any() else least
    corner = max(math.hypot(x - camera.cx, y - camera.cy) for x in (0, camera.width) for y in (0, camera.height))
    return (
        f"the formula of the lens ({lens.model}) folds the picture over {least:.0f} px from its principal point; the "
        f"picture reaches to {corner:.0f} px."
    )
