"""Small errors of cameras are cured: all views are moved a little until their surfaces and colours lie on each other.

Points of each view are looked up in its neighbours; the distance to the tangent plane there (point to plane, Chen and
Medioni 1991) and the difference of the colours (Park, Zhou and Koltun, "Colored point cloud registration revisited",
2017) are both linear in small motions of the two views, so that all views are solved for at once. The motion is held
near zero by what cameras are commonly off, which also decides what no picture can: where the whole set stands.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, map_coordinates
from scipy.spatial.transform import Rotation

from meshdrop.models.capture.capture import View
from meshdrop.models.formats.cameras import Camera
from meshdrop.models.surface.range_view import RangeView
from meshdrop.models.views.agreement import COMMON_SHARE, FEWEST_POINTS, pairs
from meshdrop.models.views.seen_points import local_points, normals, same_side

Array = NDArray[np.float64]

#: A camera may be off by this share of its distance and this angle; farther means that something else is wrong.
MOST_SHIFT, MOST_TURN_DEG = 0.01, 1.0
#: What cameras are commonly off, as shares of those.
COMMONLY = 0.3
#: ... and by this many times what the views' surfaces lie apart, whichever is less.
APART = 3.0
#: Rounds of matching and solving, and points of a view, about: among many views each needs fewer.
ROUNDS = 6
POINTS, MANY_VIEWS = 1200, 24
#: Surfaces farther apart than this share of their distance are not the same one; closing in with every round.
GATES = (0.02, 0.01)
#: Depth and colours differ by more than this many deviations only by mistake (Tukey's biweight).
MISTAKEN = 4.685
#: What a pair of views counts for at most, in independent points: colours decide where surfaces slide on each other,
#: and are the worse witness elsewhere, as highlights move with the camera.
DEPTH_WORTH, COLOUR_WORTH = 100.0, 20.0
#: Surfaces seen at a smaller cosine than this are not matched: there a pixel beside is another depth.
FLATTEST = 0.5
#: Colours are compared after this blur, in pixels.
BLUR_PX = 1.5
#: The held-out points' median distance must fall to this share to keep the motion.
WORTH = 0.9
#: Views that lie apart by less than this many times what noise and pixels explain need no cure.
MORE_THAN_NOISE = 1.25
#: Lookups in pictures are good to this share of a pixel, and to this many levels.
LOOKUP_PX = 0.1
LOOKUP_LEVELS = 1.0


@dataclass(frozen=True)
class Motion:
    """How far a view was moved: its camera's centre in millimetres, its orientation in degrees."""

    millimetres: float
    degrees: float


@dataclass(frozen=True)
class RefinedPoses:
    """``cameras`` as refined, or as stated when that was no better. ``before_m`` and ``after_m``: median distance of
    held-out points to their neighbours' surfaces; None where too little is seen twice."""

    cameras: tuple[Camera, ...]
    motions: tuple[Motion, ...]
    before_m: float | None
    after_m: float | None

    @property
    def kept(self) -> bool:
        """Whether anything was moved."""
        return any(motion.millimetres > 0 or motion.degrees > 0 for motion in self.motions)


@dataclass(frozen=True)
class _Sight:
    """What is needed of a view: its points and normals in camera axes, and pictures to look up."""

    points: Array
    normals: Array
    grey_at: Array
    depth: NDArray[np.float32]
    factor: NDArray[np.float32]
    grey: NDArray[np.float32]


@dataclass(frozen=True)
class _Matches:
    """Points met in another view: world places (N, 3), signed distances and grey differences (N,), and how each grows
    with a motion of the point, (N, 3); ``first`` and ``second`` view."""

    first: int
    second: int
    places: Array
    apart: Array
    normals: Array
    fade: Array
    fade_slope: Array


def refine_poses(views: Sequence[View], prepared: Sequence[RangeView]) -> RefinedPoses:
    """Cameras under which the views' depth and colours agree better, within the bounds at the head of this file."""
    cameras = [view.camera for view in views]
    unmoved = RefinedPoses(tuple(cameras), tuple(Motion(0.0, 0.0) for _ in views), None, None)
    couples = pairs(prepared)
    if not couples:
        return unmoved
    points = POINTS if len(views) <= MANY_VIEWS else POINTS // 2
    sights = [_sight(view, ready, points) for view, ready in zip(views, prepared, strict=True)]
    before = _apart(cameras, sights, couples, held_out=True)
    if before is None or before <= MORE_THAN_NOISE * _by_noise(prepared):
        return replace(unmoved, before_m=before, after_m=before)
    pivot = np.median(np.concatenate([_world(cameras[n], sights[n].points) for n in range(len(views))]), axis=0)
    moved = _as_a_whole(cameras, _moved(cameras, sights, couples, pivot, APART * before, range(len(views))), pivot)
    moved = [_bounded(old, new, pivot) for old, new in zip(cameras, moved, strict=True)]
    after = _apart(moved, sights, couples, held_out=True)
    motions = tuple(_motion(old, new) for old, new in zip(cameras, moved, strict=True))
    if after is None or after > WORTH * before:
        return replace(unmoved, before_m=before, after_m=before)
    return RefinedPoses(tuple(moved), motions, before, after)


def join_others(views: Sequence[View], prepared: Sequence[RangeView], refined: Mapping[str, Camera]) -> list[Camera]:
    """Cameras for all views: the ``refined`` ones by name as they are, and the others brought to agree with them.

    That is how views that a mesh was not made of find their place among those that it was made of.
    """
    stated = [view.camera for view in views]
    cameras = [refined.get(view.name, view.camera) for view in views]
    free = [n for n, view in enumerate(views) if view.name not in refined]
    couples = [couple for couple in pairs(prepared) if set(couple) & set(free)]
    if not couples:
        return cameras
    sights = [_sight(view, ready, POINTS) for view, ready in zip(views, prepared, strict=True)]
    before = _apart(cameras, sights, couples, held_out=True)
    if before is None:
        return cameras
    pivot = np.median(np.concatenate([_world(cameras[n], sights[n].points) for n in range(len(views))]), axis=0)
    moved = _moved(cameras, sights, couples, pivot, APART * before, free)
    return [
        _bounded(old, new, pivot) if n in free else new for n, (old, new) in enumerate(zip(stated, moved, strict=True))
    ]


def _moved(
    cameras: Sequence[Camera],
    sights: Sequence[_Sight],
    couples: Sequence[tuple[int, int]],
    pivot: Array,
    likely_m: float,
    free: Sequence[int],
) -> list[Camera]:
    """The cameras after some rounds of matching and solving; only the ``free`` ones move."""
    total, moved, so_far = [np.eye(4) for _ in cameras], list(cameras), np.zeros((len(cameras), 6))
    for turn in range(ROUNDS):
        gate = GATES[0] if turn < ROUNDS // 2 else GATES[1]
        so_far += (steps := _solve(moved, sights, couples, gate, pivot, so_far, likely_m, free))
        for n in free:
            total[n] = _as_motion(steps[n], pivot) @ total[n]
            moved[n] = replace(cameras[n], c2w=total[n] @ cameras[n].c2w)
    return moved


def _by_noise(prepared: Sequence[RangeView]) -> float:
    """The median distance in metres that true poses would leave between two views' surfaces."""
    rows = [
        (np.median(view.spread[view.depth > 0]), np.median(view.depth[view.depth > 0]) / view.camera.fx)
        for view in prepared
        if view.depth.any()
    ]
    spread, footprint = np.median(rows, axis=0)
    return float(np.hypot(0.6745 * np.sqrt(2) * spread, LOOKUP_PX * footprint))


def _as_a_whole(old: Sequence[Camera], new: Sequence[Camera], pivot: Array) -> list[Camera]:
    """The new cameras where the old ones stand as a whole: pictures tell how cameras stand to each other, and not where
    all of them do. By the rigid motion that brings centres and axes nearest (Kabsch 1976)."""
    moving = np.concatenate([_frame_points(camera, pivot) for camera in new])
    fixed = np.concatenate([_frame_points(camera, pivot) for camera in old])
    off_moving, off_fixed = moving - moving.mean(axis=0), fixed - fixed.mean(axis=0)
    turn, _ = Rotation.align_vectors(off_fixed, off_moving)
    back = np.eye(4)
    back[:3, :3] = turn.as_matrix()
    back[:3, 3] = fixed.mean(axis=0) - back[:3, :3] @ moving.mean(axis=0)
    placed = [replace(camera, c2w=back @ camera.c2w) for camera in new]
    # nor do they tell whether all cameras came nearer: what the sensors measured is right in the mean
    axes = [camera.c2w[:3, 2] for camera in placed]
    nearer = float(np.mean([(n.centre - o.centre) @ axis for n, o, axis in zip(placed, old, axes, strict=True)]))
    return [_shifted(camera, -nearer * axis) for camera, axis in zip(placed, axes, strict=True)]


def _shifted(camera: Camera, shift: Array) -> Camera:
    c2w = camera.c2w.copy()
    c2w[:3, 3] += shift
    return replace(camera, c2w=c2w)


def _frame_points(camera: Camera, pivot: Array) -> Array:
    """A camera's centre and the ends of its axes, as long as the surface is far, (4, 3)."""
    reach = float(np.linalg.norm(camera.centre - pivot))
    return np.vstack([camera.centre, camera.centre + reach * camera.c2w[:3, :3].T])


def _bounded(old: Camera, new: Camera, pivot: Array) -> Camera:
    """As far towards ``new`` as the bounds allow."""
    motion = _motion(old, new)
    most_mm = 1000 * MOST_SHIFT * float(np.linalg.norm(old.centre - pivot))
    share = min(1.0, most_mm / max(motion.millimetres, 1e-9), MOST_TURN_DEG / max(motion.degrees, 1e-9))
    if share == 1.0:
        return new
    turn = Rotation.from_matrix(new.c2w[:3, :3] @ old.c2w[:3, :3].T).as_rotvec()
    c2w = old.c2w.copy()
    c2w[:3, :3] = Rotation.from_rotvec(share * turn).as_matrix() @ old.c2w[:3, :3]
    c2w[:3, 3] += share * (new.centre - old.centre)
    return replace(old, c2w=c2w)


def _motion(old: Camera, new: Camera) -> Motion:
    turn = Rotation.from_matrix(new.c2w[:3, :3] @ old.c2w[:3, :3].T).magnitude()
    return Motion(1000 * float(np.linalg.norm(new.centre - old.centre)), float(np.rad2deg(turn)))


def _sight(view: View, prepared: RangeView, points: int) -> _Sight:
    camera = prepared.camera
    grey = gaussian_filter(view.rgb.astype(np.float32).mean(axis=2), BLUR_PX)
    rows, columns = np.nonzero((prepared.depth > 0) & (prepared.factor > FLATTEST))
    thin = slice(None, None, max(1, len(rows) // (2 * points)))
    rows, columns = rows[thin], columns[thin]
    depth = prepared.depth[rows, columns].astype(np.float64)
    local, facing = local_points(camera, columns, rows, depth), normals(camera, prepared.depth, columns, rows)
    return _Sight(local, facing, grey[rows, columns].astype(np.float64), prepared.depth, prepared.factor, grey)


def _world(camera: Camera, local: Array) -> Array:
    return np.asarray(local @ camera.c2w[:3, :3].T + camera.centre, np.float64)


def _match(
    cameras: Sequence[Camera], sights: Sequence[_Sight], couple: tuple[int, int], gate: float, part: slice
) -> _Matches | None:
    """The points of the first view of ``couple``, every second from ``part``'s start, that the second one sees too."""
    first, second = couple
    here, there = sights[first], sights[second]
    places, facing, grey = _world(cameras[first], here.points[part]), here.normals[part], here.grey_at[part]
    camera = cameras[second]
    u, v, z = camera.project(places)
    height, width = there.depth.shape
    met = (z > 0) & (u >= 1) & (u < width - 1) & (v >= 1) & (v < height - 1)
    places, facing, grey, u, v, z = places[met], facing[met], grey[met], u[met], v[met], z[met]
    x, y = u.astype(int), v.astype(int)
    depth = there.depth[y, x].astype(np.float64)
    same = (depth > 0) & (np.abs(depth - z) < gate * z) & (there.factor[y, x] > FLATTEST)
    same = np.flatnonzero(same)
    normal = normals(camera, there.depth, x[same], y[same])
    alike = same_side(cameras[first], facing[same], camera, normal)
    same, normal = same[alike], normal[alike]
    if len(same) < max(FEWEST_POINTS / 2, COMMON_SHARE * len(here.points[part])):
        return None
    places, grey, u, v, x, y = places[same], grey[same], u[same], v[same], x[same], y[same]
    # the surface's point on the pixel's own ray, so that the distance to its tangent plane has no stairs
    foot = local_points(camera, x, y, depth[same])
    local = (places - camera.centre) @ camera.c2w[:3, :3]
    apart = ((local - foot) * normal).sum(axis=1)
    at = np.stack([v - 0.5, u - 0.5])
    fade = map_coordinates(there.grey, at, order=1, mode="nearest").astype(np.float64) - grey
    slope_u = (there.grey[y, x + 1] - there.grey[y, x - 1]).astype(np.float64) / 2
    slope_v = (there.grey[y + 1, x] - there.grey[y - 1, x]).astype(np.float64) / 2
    # d(u, v) / d(local): u = cx - fx x / z', v = cy + fy y / z' with z' = local z < 0
    lz = local[:, 2]
    along = np.stack(
        [
            -slope_u * camera.fx / lz,
            slope_v * camera.fy / lz,
            slope_u * camera.fx * local[:, 0] / lz**2 - slope_v * camera.fy * local[:, 1] / lz**2,
        ],
        axis=-1,
    )
    rotation = camera.c2w[:3, :3].T
    fade = fade - np.median(fade)
    return _Matches(first, second, places, apart, normal @ rotation, fade, along @ rotation)


def _apart(
    cameras: Sequence[Camera], sights: Sequence[_Sight], couples: Sequence[tuple[int, int]], *, held_out: bool
) -> float | None:
    """Median distance of the points, those held out from the fit or the others, to their neighbours' surfaces."""
    part = slice(1 if held_out else 0, None, 2)
    found = [_match(cameras, sights, couple, GATES[0], part) for couple in couples]
    apart = [np.abs(match.apart) for match in found if match is not None]
    return float(np.median(np.concatenate(apart))) if apart else None


def _solve(
    cameras: Sequence[Camera],
    sights: Sequence[_Sight],
    couples: Sequence[tuple[int, int]],
    gate: float,
    pivot: Array,
    so_far: Array,
    likely_m: float,
    free: Sequence[int],
) -> Array:
    """One Gauss-Newton step for the ``free`` views, (N, 6): a turn about ``pivot`` in radians and a shift in metres,
    after those ``so_far``; 0 for the others. ``likely_m`` is how far a camera's error may move a point of the
    surface."""
    count = len(cameras)
    found = [match for couple in couples if (match := _match(cameras, sights, couple, gate, slice(0, None, 2)))]
    normal, right = np.zeros((6 * count, 6 * count)), np.zeros(6 * count)
    if found:
        depth_deviation = _deviation(np.concatenate([match.apart for match in found]), 1e-9)
        # a thing of one colour has no difference at all, which says nothing of where it is
        fade_deviation = _deviation(np.concatenate([match.fade for match in found]), LOOKUP_LEVELS)
        for match in found:
            _add(normal, right, match, match.apart, match.normals, depth_deviation, pivot, DEPTH_WORTH)
            _add(normal, right, match, match.fade, match.fade_slope, fade_deviation, pivot, COLOUR_WORTH)
    distance = np.array([np.linalg.norm(camera.centre - pivot) for camera in cameras])
    for n in range(count):
        at = slice(6 * n, 6 * n + 6)
        turn = min(COMMONLY * np.deg2rad(MOST_TURN_DEG), likely_m / distance[n])
        shift = min(COMMONLY * MOST_SHIFT * distance[n], likely_m)
        x, y, z = cameras[n].centre - pivot
        moved = np.hstack([[[0, z, -y], [-z, 0, x], [y, -x, 0]], np.eye(3)])
        held = np.diag([turn**-2] * 3 + [0.0] * 3) + moved.T @ moved / shift**2
        normal[at, at] += held
        right[at] += held @ so_far[n]
    rows = np.concatenate([np.arange(6 * n, 6 * n + 6) for n in free])
    step = np.zeros(6 * count)
    step[rows] = np.linalg.solve(normal[np.ix_(rows, rows)], -right[rows])
    return step.reshape(count, 6)


def _deviation(values: Array, least: float) -> float:
    return max(1.4826 * float(np.median(np.abs(values))), least)


def _add(
    normal: Array, right: Array, match: _Matches, off: Array, slope: Array, deviation: float, pivot: Array, worth: float
) -> None:
    """Add one kind of residual of one pair to the normal equations; neighbouring points are alike, so that a pair
    counts for no more than ``worth`` of them."""
    weight = np.clip(1 - (off / (MISTAKEN * deviation)) ** 2, 0, None) ** 2 / deviation**2
    weight *= min(1.0, worth / len(off))
    row = np.hstack([np.cross(match.places - pivot, slope), slope])
    block, force = row.T @ (row * weight[:, None]), row.T @ (weight * off)
    i, j = slice(6 * match.first, 6 * match.first + 6), slice(6 * match.second, 6 * match.second + 6)
    normal[i, i] += block
    normal[j, j] += block
    normal[i, j] -= block
    normal[j, i] -= block.T
    right[i] += force
    right[j] -= force


def _as_motion(step: Array, pivot: Array) -> Array:
    motion = np.eye(4)
    motion[:3, :3] = Rotation.from_rotvec(step[:3]).as_matrix()
    motion[:3, 3] = step[3:] + pivot - motion[:3, :3] @ pivot
    return motion
