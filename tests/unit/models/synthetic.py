"""Small exact captures for the tests: spheres and boxes, ray-cast by formula, in memory or as canonical folders."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from meshdrop.models.capture.capture import Capture, View
from meshdrop.models.formats.cameras import CANONICAL_VIEWS, Camera, canonical_camera, look_at

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Scene:
    """Spheres (x, y, z, radius) and axis-aligned boxes (lower corner, upper corner), metres."""

    spheres: tuple[tuple[float, float, float, float], ...] = ()
    boxes: tuple[tuple[tuple[float, float, float], tuple[float, float, float]], ...] = ()

    def depth(self, camera: Camera) -> Array:
        """Planar depth (H, W) at the pixel centres, 0 where nothing is."""
        v, u = np.mgrid[0 : camera.height, 0 : camera.width] + 0.5
        return self.depth_along(camera, (u - camera.cx) / camera.fx, (v - camera.cy) / camera.fy)

    def depth_along(self, camera: Camera, x: Array, y: Array) -> Array:
        """The same for the rays (x, y, 1) of a camera of any lens, OpenCV axes, each (H, W)."""
        local = np.stack([x, -y, -np.ones_like(x)], axis=-1)
        rays = local @ camera.c2w[:3, :3].T
        origin = camera.centre
        nearest = np.full(x.shape, np.inf)
        for *middle, radius in self.spheres:
            nearest = np.minimum(nearest, _sphere(origin - middle, rays, radius))
        for low, high in self.boxes:
            nearest = np.minimum(nearest, _box(origin, rays, np.array(low), np.array(high)))
        return np.where(np.isfinite(nearest), nearest, 0.0)


def _sphere(origin: Array, rays: Array, radius: float) -> Array:
    a = (rays * rays).sum(axis=-1)
    b = rays @ origin
    root = b * b - a * (origin @ origin - radius * radius)
    t = (-b - np.sqrt(np.maximum(root, 0))) / a
    return np.where((root >= 0) & (t > 0), t, np.inf)


def _box(origin: Array, rays: Array, low: Array, high: Array) -> Array:
    with np.errstate(divide="ignore", invalid="ignore"):
        near, far = (low - origin) / rays, (high - origin) / rays
    first, last = np.minimum(near, far).max(axis=-1), np.maximum(near, far).min(axis=-1)
    return np.where((first <= last) & (first > 0), first, np.inf)


#: An animal without symmetry, about 0.7 m long.
ANIMAL = Scene(
    spheres=(
        (0.0, 0.0, 0.0, 0.2),
        (0.0, 0.05, 0.2, 0.13),
        (0.05, 0.2, 0.28, 0.07),
        (0.1, -0.2, 0.1, 0.06),
        (-0.1, -0.2, -0.1, 0.05),
        (0.0, 0.05, -0.3, 0.04),
        (0.18, 0.0, -0.05, 0.08),
    )
)
CUBE = Scene(boxes=(((-0.2, -0.2, -0.2), (0.2, 0.2, 0.2)),))
BALL = Scene(spheres=((0.0, 0.0, 0.0, 0.25),))
PLATE = Scene(boxes=(((-0.3, -0.2, -0.006), (0.3, 0.2, 0.006)),))
ROD = Scene(boxes=(((-0.012, -0.35, -0.012), (0.012, 0.35, 0.012)), ((0.0, 0.2, 0.0), (0.2, 0.22, 0.02))))


def canonical_rig(size: int = 128) -> list[tuple[str, Camera]]:
    """The six canonical cameras."""
    return [(name, canonical_camera(name, size, size)) for name in CANONICAL_VIEWS]


def ring_rig(count: int, size: int = 128, arc: float = 2 * np.pi, lift: float = 0.35) -> list[tuple[str, Camera]]:
    """Cameras on an arc about +Y, 1.8 m away, looking slightly down at the origin."""
    found = []
    for index in range(count):
        angle = arc * index / count
        direction = (float(np.sin(angle)), lift, float(np.cos(angle)))
        c2w = look_at(direction, (0.0, 1.0, 0.0), 1.8)
        found.append((f"r{index}", Camera(size, size, 1.8 * size, 1.8 * size, size / 2, size / 2, c2w)))
    return found


def capture_of(
    scene: Scene,
    rig: Sequence[tuple[str, Camera]],
    noise_m: float = 0.0,
    holes: float = 0.0,
    unit: float = 1e-3,
    seed: int = 1,
) -> Capture:
    """A capture in memory with depth quantised to ``unit``, Gaussian noise, and a share of pixels dropped out."""
    random = np.random.default_rng(seed)
    views = []
    for name, camera in rig:
        true = scene.depth(camera)
        mask = true > 0
        noisy = np.where(mask, true + random.normal(0, noise_m, true.shape), 0)
        noisy[random.random(true.shape) < holes] = 0
        depth = (np.rint(noisy / unit) * unit).astype(np.float32)
        rgb = np.where(mask[..., None], 90, 255).astype(np.uint8) * np.ones(3, dtype=np.uint8)
        views.append(View(name, camera, rgb, mask.astype(np.float32), depth, "file"))
    return Capture("synthetic", "transforms", tuple(views), unit)


def write_canonical(folder: Path, scene: Scene = ANIMAL, size: int = 64, sidecar: dict[str, Any] | None = None) -> Path:
    """A canonical RGB + depth capture folder in millimetres on white; returns ``folder``."""
    (folder / "views").mkdir(parents=True)
    (folder / "depth").mkdir()
    for index, (_, camera) in enumerate(canonical_rig(size)):
        depth = scene.depth(camera)
        write_png(folder / f"views/view_{index:02d}.png", photograph(depth, index))
        write_png(folder / f"depth/depth_{index:02d}.png", np.rint(depth * 1000).astype(np.uint16))
    if sidecar is not None:
        (folder / "capture.json").write_text(json.dumps(sidecar), encoding="utf-8")
    return folder


def points_of(camera: Camera, depth: NDArray[np.floating]) -> Array:
    """World points (H, W, 3) at the pixel centres of a depth picture; depth 0 gives the camera's centre."""
    v, u = np.indices(depth.shape) + 0.5
    return camera.unproject(u, v, depth.astype(np.float64))


def photograph(depth: Array, index: int = 0) -> NDArray[np.uint8]:
    """(H, W, 3): the object in a grey that tells the views apart, on white."""
    grey = np.where(depth > 0, 60 + 15 * index, 255)
    return np.repeat(grey[..., None], 3, axis=2).astype(np.uint8)


def write_png(path: Path, pixels: NDArray[Any]) -> None:
    """A PNG of uint8 or uint16 pixels."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
