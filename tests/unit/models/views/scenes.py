"""Balls, tables and rooms with depth as sensors give it, for the tests of what is made of views."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from meshdrop.models.capture.capture import Capture, View
from meshdrop.models.formats.cameras import Camera, look_at
from tests.unit.models.synthetic import Scene, points_of

Array = NDArray[np.float64]

RADIUS = 0.4
BALL = Scene(spheres=((0.0, 0.0, 0.0, RADIUS),))
#: A ball that no turn leaves alone: with bumps.
BUMPY = Scene(
    spheres=(
        (0.0, 0.0, 0.0, 0.3),
        (0.25, 0.1, 0.0, 0.14),
        (-0.1, 0.25, 0.12, 0.12),
        (0.0, -0.2, 0.24, 0.12),
        (-0.22, -0.1, -0.18, 0.15),
    )
)
#: A ball on a table of 2 x 2 m that ends before the pictures do in no view.
TABLE_HEIGHT = -0.2
ON_TABLE = Scene(
    spheres=((0.0, 0.0, 0.0, 0.2),), boxes=(((-2.0, TABLE_HEIGHT - 0.05, -2.0), (2.0, TABLE_HEIGHT, 2.0)),)
)
TABLE_ALONE = Scene(boxes=ON_TABLE.boxes)
#: Six walls 4 x 2.4 x 3 m apart, and two things on the floor.
ROOM = Scene(
    spheres=((1.2, -0.9, 0.8, 0.4),),
    boxes=(
        ((-2.1, -1.3, -1.6), (-2.0, 1.3, 1.6)),
        ((2.0, -1.3, -1.6), (2.1, 1.3, 1.6)),
        ((-2.1, -1.3, -1.6), (2.1, -1.2, 1.6)),
        ((-2.1, 1.2, -1.6), (2.1, 1.3, 1.6)),
        ((-2.1, -1.3, -1.6), (2.1, 1.3, -1.5)),
        ((-2.1, -1.3, 1.5), (2.1, 1.3, 1.6)),
        ((-1.6, -1.2, -1.2), (-1.0, -0.5, -0.6)),
    ),
)


def around(count: int, size: int = 96, distance: float = 2.5, focal: float = 2.0) -> list[Camera]:
    """Cameras spread evenly over a sphere (Fibonacci's lattice), all looking at the origin."""
    cameras = []
    for n in range(count):
        height = 1 - 2 * (n + 0.5) / count
        angle = np.pi * (1 + 5**0.5) * n
        level = np.sqrt(1 - height * height)
        up = (0.0, 1.0, 0.0) if abs(height) < 0.95 else (1.0, 0.0, 0.0)
        towards = (float(level * np.cos(angle)), float(height), float(level * np.sin(angle)))
        cameras.append(camera_at(look_at(towards, up, distance), size, focal))
    return cameras


def above(count: int, size: int = 96, lift: float = 0.8, distance: float = 1.5) -> list[Camera]:
    """Cameras on a ring above the ground, all looking at the origin."""
    turns = [2 * np.pi * n / count for n in range(count)]
    return [
        camera_at(look_at((float(np.cos(a)), lift, float(np.sin(a))), (0.0, 1.0, 0.0), distance), size, 1.4)
        for a in turns
    ]


def outward(count: int, size: int = 96) -> list[Camera]:
    """Cameras near the middle of the room that look outwards: level, up and down by turns, wide angled."""
    cameras = []
    for n in range(count):
        turn = 2 * np.pi * n / count
        away = np.array([np.cos(turn), (0.0, 0.5, -0.5)[n % 3], np.sin(turn)])
        away /= np.linalg.norm(away)
        c2w = look_at((float(-away[0]), float(-away[1]), float(-away[2])), (0.0, 1.0, 0.0), 0.3)
        cameras.append(camera_at(c2w, size, 0.6))
    return cameras


def camera_at(c2w: Array, size: int, focal: float) -> Camera:
    """A square picture of ``size`` pixels whose focal length is ``focal`` times that."""
    return Camera(size, size, focal * size, focal * size, size / 2, size / 2, c2w)


def pattern(points: Array) -> NDArray[np.uint8]:
    """A colour for each point of space, in waves of 6 to 40 cm."""
    x, y, z = (points[..., axis] for axis in range(3))
    red = 128 + 60 * np.sin(40 * x + 9 * z) + 30 * np.sin(95 * y)
    green = 120 + 60 * np.sin(35 * y + 14 * x) + 30 * np.sin(90 * z)
    blue = 130 + 60 * np.sin(30 * z - 17 * y) + 30 * np.sin(100 * x)
    return np.asarray(np.clip(np.rint(np.stack([red, green, blue], axis=-1)), 0, 255), np.uint8)


def photographed(scene: Scene, cameras: Sequence[Camera], noise_m: float = 0.0, mask_source: str = "file") -> Capture:
    """What ``cameras`` see of a scene, with noise on depth and the mask as centres of pixels are hit."""
    random = np.random.default_rng(len(cameras))
    views = []
    for n, camera in enumerate(cameras):
        true = scene.depth(camera)
        hit = true > 0
        rgb = np.where(hit[..., None], pattern(points_of(camera, true)), 255).astype(np.uint8)
        depth = np.where(hit, true + random.normal(0, noise_m, true.shape), 0).astype(np.float32)
        views.append(View(f"v{n:02d}", camera, rgb, hit.astype(np.float32), depth, mask_source))  # type: ignore[arg-type]
    return Capture("scene", "transforms", tuple(views), 0.001)


def changed(capture: Capture, index: int, **values: object) -> Capture:
    """The capture with other values in one view."""
    views = list(capture.views)
    views[index] = replace(views[index], **values)  # type: ignore[arg-type]
    return replace(capture, views=tuple(views))


def beside(camera: Camera, shift_m: Array, turn_deg: Array) -> Camera:
    """The camera moved by ``shift_m`` and turned about its own centre."""
    c2w = camera.c2w.copy()
    c2w[:3, :3] = Rotation.from_rotvec(np.deg2rad(turn_deg)).as_matrix() @ c2w[:3, :3]
    c2w[:3, 3] += shift_m
    return replace(camera, c2w=c2w)


def jittered(capture: Capture, shift_m: float, turn_deg: float, seed: int = 3) -> Capture:
    """Every view states a pose beside its own, by so much on every axis as a standard deviation."""
    random = np.random.default_rng(seed)
    views = [
        replace(view, camera=beside(view.camera, random.normal(0, shift_m, 3), random.normal(0, turn_deg, 3)))
        for view in capture.views
    ]
    return replace(capture, views=tuple(views))
