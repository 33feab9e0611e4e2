"""Do the stated camera conventions hold? Measured by whether the views' depth maps agree with one another.

Files rarely say in which axes, which direction and which unit they were written, and a wrong guess bends a mesh
without any error. With depth and several cameras it can be measured: back-project the object's points of every view,
look at them from every other view, and count

* *consistent*: the point lies on the surface that the other view measured;
* *violating*: the point lies where the other view sees free space: in front of its surface, beside its silhouette,
  outside its picture though the silhouette lies wholly inside, or behind the camera;
* *hidden*: behind the other view's surface. This says nothing, and opposite views see little else of each other.

``score = consistent / (consistent + violating)``. The stated reading of the file competes with every other
combination of axes, pose direction and depth unit, and with other focal lengths. Readings that give the same relative
cameras are one reading. Where several fit, and to tell planar depth from distances along the rays, a second look
measures how far the views' surfaces lie apart. Nothing is repaired: a contradiction is refused with the table and the
line that would cure it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from meshdrop.models.capture.capture import Capture, View
from meshdrop.models.formats.cameras import OPENCV_TO_OPENGL, opengl_camera_to_world
from meshdrop.models.formats.sidecar import Axes, DepthType, Pose, Sidecar
from meshdrop.models.probe.maps import ViewMap, pair_counts, view_scores
from meshdrop.models.probe.surfaces import apart
from meshdrop.models.probe.values import (
    DEPTH_UNITS_M,
    FOCAL_SCALES,
    LEAST_SCORE,
    MORE_UNITS_M,
    UNIT_RANGE_M,
    UNIT_STEPS,
    ProbeResult,
    Reading,
    Score,
)
from meshdrop.models.probe.verdict import held_to_other_depth, held_to_rays, judge, second_look

__all__ = ["ProbeResult", "Reading", "Score", "probe"]

Array = NDArray[np.float64]

MOST_VIEWS = 8


def probe(capture: Capture, stated: Sidecar | None = None) -> ProbeResult:
    """Compare the stated reading of a capture with every other; takes well under a second of CPU for six views.

    ``stated`` is what the capture's sidecar said (``Expectation.stated``); without it the capture is taken
    as OpenGL camera-to-world. Deterministic.
    """
    stated = stated or Sidecar()
    views = [view for view in capture.views if view.depth is not None and _usable(view)]
    if len(views) < 2 or capture.depth_unit_m is None:
        return ProbeResult("inconclusive", "Fewer than two views have depth: conventions are taken as stated.")
    views = [views[index] for index in _spread(len(views), MOST_VIEWS)]
    reading = Reading(stated.camera_axes or "opengl", stated.pose or "camera_to_world", capture.depth_unit_m)
    maps = [ViewMap.of(view, capture.depth_unit_m) for view in views]
    poses = {key: _poses(views, stated, *key) for key in _CONVENTIONS}
    readings = _distinct_readings(reading, poses)
    pairs = pair_counts(maps, poses[_key(reading)], reading)
    focal_px = _stated_through_a_lens(stated) or views[0].camera.fx
    wholly_inside = all(one.wholly_inside for one in maps)
    table = _scores(readings, poses, maps)
    if all(score.score < LEAST_SCORE for score in table if score.suffices):
        table = (*table, *_fitted_unit(readings, poses, maps))
    result = judge(table, view_scores(views, pairs), focal_px, wholly_inside=wholly_inside)
    if result.verdict == "inconclusive":
        result = second_look(result, lambda other: apart(maps, poses[_key(other)], other))
    other: DepthType
    other, power = ("planar", 1) if stated.depth_type == "ray" else ("ray", -1)
    if result.problem is not None:
        return held_to_other_depth(result, _score_with(views, power, reading, poses), other)
    gaps = [apart(maps, poses[_key(reading)], reading, ray_power=tried) for tried in (0, power)]
    return held_to_rays(result, gaps[0], gaps[1], other)


def _score_with(
    views: Sequence[View], ray_power: int, reading: Reading, poses: dict[tuple[Axes, Pose], list[Array]]
) -> Score:
    """How the views agree as stated when depth is multiplied by this power of the length of its ray."""
    read = [
        replace(view, depth=view.depth * view.camera.ray_lengths() ** ray_power)
        for view in views
        if view.depth is not None
    ]
    maps = [ViewMap.of(view, reading.depth_unit_m) for view in read]
    consistent, violating, hidden = pair_counts(maps, poses[_key(reading)], reading).sum(axis=(0, 1))
    return Score(reading, int(consistent), int(violating), int(hidden))


_CONVENTIONS: tuple[tuple[Axes, Pose], ...] = (
    ("opengl", "camera_to_world"),
    ("opencv", "camera_to_world"),
    ("opengl", "world_to_camera"),
    ("opencv", "world_to_camera"),
)


def _stated_through_a_lens(stated: Sidecar) -> float | None:
    """The focal length that is stated of pictures with a lens: the pinhole that they were drawn for has another."""
    said = stated.frames[0].intrinsics if stated.frames else stated.intrinsics
    return None if said.lens is None or said.lens.is_pinhole else said.fl_x


def _usable(view: View) -> bool:
    return view.depth is not None and bool(((view.depth > 0) & (view.mask >= 0.5)).any())


def _spread(count: int, most: int) -> list[int]:
    """At most ``most`` of ``count`` indices, evenly spread."""
    return sorted({round(index) for index in np.linspace(0, count - 1, min(count, most))})


def _poses(views: Sequence[View], stated: Sidecar, axes: Axes, pose: Pose) -> list[Array]:
    """The stated matrices read in another way, as OpenGL camera-to-world."""
    world = np.eye(4) if stated.applied_transform is None else np.array(stated.applied_transform, dtype=np.float64)
    read = []
    for view in views:
        matrix: Array = world @ view.camera.c2w
        if stated.camera_axes == "opencv":
            matrix = matrix @ OPENCV_TO_OPENGL
        if stated.pose == "world_to_camera":
            matrix = np.asarray(np.linalg.inv(matrix), dtype=np.float64)
        read.append(opengl_camera_to_world(matrix, axes, pose))
    return read


def _distinct_readings(
    stated: Reading, poses: dict[tuple[Axes, Pose], list[Array]]
) -> dict[Reading, tuple[Reading, ...]]:
    """All readings that differ in what they mean, the stated one first; each with those that mean the same."""
    conventions: list[tuple[Axes, Pose]] = [_key(stated)]
    conventions += [key for key in _CONVENTIONS if key != conventions[0]]
    distinct: list[tuple[Axes, Pose]] = []
    twins: dict[tuple[Axes, Pose], list[tuple[Axes, Pose]]] = {}
    for key in conventions:
        twin = next((other for other in distinct if _same_cameras(poses[key], poses[other])), None)
        if twin is None:
            distinct.append(key)
        else:
            twins.setdefault(twin, []).append(key)
    units = [stated.depth_unit_m]
    units += [unit for unit in DEPTH_UNITS_M if abs(unit / stated.depth_unit_m - 1) > 0.02]
    readings = [Reading(*key, unit) for key in distinct for unit in units]
    readings += [replace(stated, focal_scale=scale) for scale in FOCAL_SCALES]
    return {one: tuple(Reading(*key, one.depth_unit_m) for key in twins.get(_key(one), ())) for one in readings}


def _key(reading: Reading) -> tuple[Axes, Pose]:
    return reading.axes, reading.pose


def _scores(
    readings: Mapping[Reading, tuple[Reading, ...]],
    poses: dict[tuple[Axes, Pose], list[Array]],
    maps: Sequence[ViewMap],
) -> tuple[Score, ...]:
    table = []
    for reading, same_as in readings.items():
        consistent, violating, hidden = pair_counts(maps, poses[_key(reading)], reading).sum(axis=(0, 1))
        table.append(Score(reading, int(consistent), int(violating), int(hidden), same_as))
    return tuple(table)


def _fitted_unit(
    readings: Mapping[Reading, tuple[Reading, ...]],
    poses: dict[tuple[Axes, Pose], list[Array]],
    maps: Sequence[ViewMap],
) -> tuple[Score, ...]:
    """The depth unit by which the views agree best in any convention; none where no unit makes them agree.

    Searched on a scale of units and then by how far the surfaces lie apart, which a score does not resolve.
    """

    def score(reading: Reading) -> Score:
        consistent, violating, hidden = pair_counts(maps, poses[_key(reading)], reading).sum(axis=(0, 1))
        return Score(reading, int(consistent), int(violating), int(hidden), ())

    conventions = dict.fromkeys(_key(reading) for reading in readings)
    tried = [score(Reading(*key, unit)) for key in conventions for unit in np.geomspace(*UNIT_RANGE_M, UNIT_STEPS)]
    best = max((one for one in tried if one.suffices), key=lambda one: one.score, default=None)
    if best is None:
        return ()
    for width in (1.15, 1.03):
        units = best.reading.depth_unit_m * np.geomspace(1 / width, width, 13)
        near = [score(replace(best.reading, depth_unit_m=float(unit))) for unit in units]
        best = max((best, *near), key=lambda one: one.score)
    top = [one for one in near if one.score > best.score - 0.05]
    gaps = [(gap, one) for one in top if (gap := apart(maps, poses[_key(one.reading)], one.reading)) is not None]
    closest = min(gaps, key=lambda one: one[0])[1] if gaps else best
    plain = [unit for unit in (*DEPTH_UNITS_M, *MORE_UNITS_M) if abs(unit / closest.reading.depth_unit_m - 1) < 0.03]
    if plain:
        closest = score(replace(closest.reading, depth_unit_m=plain[0]))
    return (closest,) if closest.score >= LEAST_SCORE else ()


def _same_cameras(left: Sequence[Array], right: Sequence[Array]) -> bool:
    """Whether two sets of poses differ by one rigid motion of the whole world, which no capture can show."""
    motion = left[0] @ np.linalg.inv(right[0])
    scale = max(1.0, float(np.abs([pose[:3, 3] for pose in left]).max()))
    return all(np.abs(a - motion @ b).max() < 1e-6 * scale for a, b in zip(left, right, strict=True))
