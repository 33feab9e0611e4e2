"""Shapes with a known pose: made of signed distances, bent the way a generator would, photographed by our own rig."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from meshdrop.models.capture.capture import Capture, View
from meshdrop.models.formats.cameras import CANONICAL_VIEWS, canonical_camera
from meshdrop.models.raster.numba_raster import antialias, rasterize
from meshdrop.models.registration.similarity import Similarity, turned_by
from meshdrop.models.surface import isosurface
from samples.snail_shape import distances as snail_distances

Array = NDArray[np.float64]
Distance = Callable[[Array], Array]

#: Lattice samples along each side of the cube that a shape is made in.
LATTICE = 112
#: Every shape just fits a sphere of this radius about the origin, in metres.
RADIUS = 0.45
NOISE_M = 0.001
SIDE_PX = 512


@dataclass(frozen=True)
class Shape:
    """``vertices`` (V, 3) metres about the origin, +Y up, ``faces`` (F, 3) outward. ``axis`` (3,) is the axis that the
    shape is round about, None for a shape that only fits one way.
    """

    name: str
    vertices: Array
    faces: NDArray[np.int32]
    axis: tuple[float, float, float] | None = None

    @property
    def size(self) -> float:
        """Diagonal of the bounding box in metres."""
        return float(np.linalg.norm(np.ptp(self.vertices, axis=0)))


# -- signed distances ------------------------------------------------------------------------------------------------


def ball(x: float, y: float, z: float, radius: float) -> Distance:
    """A sphere."""
    return lambda p: np.linalg.norm(p - (x, y, z), axis=-1) - radius


def rod(a: tuple[float, ...], b: tuple[float, ...], radius: float) -> Distance:
    """A capsule from ``a`` to ``b``."""
    start, along = np.array(a, np.float64), np.subtract(b, a)

    def distance(p: Array) -> Array:
        t = np.clip((p - start) @ along / (along @ along), 0, 1)
        return np.asarray(np.linalg.norm(p - start - t[..., None] * along, axis=-1) - radius)

    return distance


def box(low: tuple[float, ...], high: tuple[float, ...], rotation: Array | None = None) -> Distance:
    """A box, turned about its middle."""
    middle, half = np.add(low, high) / 2, np.subtract(high, low) / 2
    R = np.eye(3) if rotation is None else rotation

    def distance(p: Array) -> Array:
        q = np.abs((p - middle) @ R) - half
        return np.asarray(np.linalg.norm(np.maximum(q, 0), axis=-1) + np.minimum(q.max(axis=-1), 0))

    return distance


def drum(radius: float, low: float, high: float) -> Distance:
    """An upright cylinder about +Y."""

    def distance(p: Array) -> Array:
        q = np.stack([np.hypot(p[..., 0], p[..., 2]) - radius, np.abs(p[..., 1] - (low + high) / 2) - (high - low) / 2])
        return np.asarray(np.linalg.norm(np.maximum(q, 0), axis=0) + np.minimum(q.max(axis=0), 0))

    return distance


def hoop(x: float, y: float, major: float, minor: float) -> Distance:
    """A torus in the plane z = 0."""
    return lambda p: np.hypot(np.hypot(p[..., 0] - x, p[..., 1] - y) - major, p[..., 2]) - minor


def joined(*parts: Distance) -> Distance:
    """All of the parts together."""
    return lambda p: np.minimum.reduce([part(p) for part in parts])


def without(whole: Distance, hole: Distance) -> Distance:
    """The whole with a hole cut into it."""
    return lambda p: np.maximum(whole(p), -hole(p))


def things() -> dict[str, Distance]:
    """Household shapes, none of which fits in two ways."""
    legs = [rod((x, 0, z), (1.1 * x, -0.5, 1.1 * z), 0.035) for x in (-0.25, 0.25) for z in (-0.25, 0.25)]
    cup = without(drum(0.3, -0.35, 0.35), drum(0.25, -0.29, 0.5))
    return {
        "mug": joined(cup, hoop(0.36, 0.0, 0.19, 0.045)),
        "chair": joined(box((-0.3, -0.03, -0.3), (0.3, 0.03, 0.3)), box((-0.3, 0, -0.3), (0.3, 0.6, -0.24)), *legs),
        "dog": joined(
            rod((0, 0, -0.3), (0, 0.02, 0.25), 0.15),
            rod((0, 0.08, -0.4), (0.03, 0.3, -0.6), 0.03),
            ball(0, 0.2, 0.42, 0.13),
            rod((0, 0.16, 0.5), (0, 0.14, 0.62), 0.06),
            *(rod((x, -0.05, z), (x, -0.42, z), 0.05) for x in (-0.09, 0.09) for z in (-0.3, 0.22)),
        ),
        "drill": joined(
            rod((0, 0.15, -0.3), (0, 0.15, 0.25), 0.12),
            rod((0, 0.15, 0.25), (0, 0.15, 0.6), 0.025),
            rod((0, 0.1, -0.15), (0, -0.35, -0.25), 0.07),
            box((-0.1, -0.5, -0.42), (0.1, -0.36, -0.1)),
        ),
        "bracket": joined(
            box((-0.5, -0.06, -0.2), (0.3, 0.06, 0.2)),
            box((-0.5, 0, -0.2), (-0.38, 0.5, 0.2)),
            rod((0.2, 0, 0.05), (0.2, 0.3, 0.05), 0.08),
        ),
        "snail": snail_distances_of,
    }


def thin_things() -> dict[str, Distance]:
    """Shapes whose rods are about three pixels wide in pictures of 400 pixels, and sheets of five."""
    thin, corners = 0.0085, [(x, z) for x in (-0.3, 0.3) for z in (-0.3, 0.3)]
    frame = [rod((x, 0, -0.3), (x, 0, 0.3), thin) for x in (-0.3, 0.3)]
    frame += [rod((-0.3, 0, z), (0.3, 0, z), thin) for z in (-0.3, 0.3)]
    mesh = [rod((x, 0, -0.3), (x, 0, 0.3), thin) for x in (-0.15, 0.0, 0.15)]
    back = [rod((x, 0, -0.3), (x, 0.6, -0.4), thin) for x in (-0.3, -0.15, 0.0, 0.15, 0.3)]
    blade = box((-0.03, -0.05, -0.012), (0.03, 0.75, 0.012), Rotation.from_euler("z", 12, degrees=True).as_matrix())
    other = box((-0.03, -0.05, 0.012), (0.03, 0.75, 0.036), Rotation.from_euler("z", -12, degrees=True).as_matrix())
    body = joined(box((-0.6, -0.1, -0.25), (0.6, 0.08, 0.25)), box((-0.35, 0, -0.22), (0.3, 0.24, 0.22)))
    wheels = [_wheel(x, z) for x in (-0.38, 0.38) for z in (-0.25, 0.25)]
    mirrors = [rod((0.22, 0.12, 0.22 * side), (0.24, 0.13, 0.32 * side), thin) for side in (-1, 1)]
    mirrors += [box((0.225, 0.1, 0.32 * side - 0.035), (0.25, 0.16, 0.32 * side + 0.035)) for side in (-1, 1)]
    return {
        "wire chair": joined(
            *(rod((x, 0, z), (1.15 * x, -0.5, 1.15 * z), thin) for x, z in corners),
            *frame,
            *mesh,
            *back,
            rod((-0.3, 0.6, -0.4), (0.3, 0.6, -0.4), thin),
        ),
        "car": joined(body, *wheels, *mirrors, rod((-0.3, 0.22, 0.1), (-0.5, 0.5, 0.1), thin)),
        "scissors": joined(
            blade,
            other,
            _handle(-0.14, -0.28),
            _handle(0.14, -0.28),
            rod((-0.02, -0.05, 0.024), (-0.09, -0.14, 0.012), 0.02),
            rod((0.02, -0.05, 0.0), (0.09, -0.14, 0.012), 0.02),
        ),
    }


def _wheel(x: float, z: float) -> Distance:
    turn = Rotation.from_euler("x", 90, degrees=True).as_matrix()
    wheel = drum(0.12, -0.04, 0.04)
    return lambda p: wheel((p - (x, -0.1, z)) @ turn)


def _handle(x: float, y: float) -> Distance:
    ring = hoop(x, y, 0.14, 0.02)
    return lambda p: ring(p - (0, 0, 0.012))


def snail_distances_of(points: Array) -> Array:
    """The sample's garden snail."""
    return np.asarray(snail_distances(np.ascontiguousarray(points.reshape(-1, 3)))).reshape(points.shape[:-1])


def heap(seed: int) -> Distance:
    """Five to nine balls, rods and boxes at random, each stuck into an earlier one."""
    random = np.random.default_rng(seed)
    centres = [np.zeros(3)]
    parts: list[Distance] = [ball(0, 0, 0, float(random.uniform(0.14, 0.24)))]
    for _ in range(int(random.integers(4, 9))):
        base = centres[int(random.integers(len(centres)))]
        aim = random.normal(size=3)
        tip = base + aim / np.linalg.norm(aim) * random.uniform(0.15, 0.4)
        kind, r = random.integers(3), float(random.uniform(0.05, 0.15))
        if kind == 0:
            x, y, z = (float(v) for v in tip)
            parts.append(ball(x, y, z, r))
        elif kind == 1:
            parts.append(rod(tuple(base), tuple(tip), 0.7 * r))
        else:
            half = random.uniform(0.05, 0.2, 3)
            parts.append(box(tuple(tip - half), tuple(tip + half), random_rotation(random)))
        centres.append(tip)
    return joined(*parts)


# -- meshes ----------------------------------------------------------------------------------------------------------


def shape_of(name: str, distance: Distance, lattice: int = LATTICE) -> Shape:
    """The zero set as a mesh of ``lattice`` samples a side, moved and scaled into the sphere of RADIUS."""
    axis = np.linspace(-1.0, 1.0, lattice)
    points = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), axis=-1)
    vertices, faces = isosurface.extract((distance(points) * (lattice - 1) / 2).astype(np.float32))
    return fitted(name, vertices, faces)


def fitted(name: str, vertices: Array, faces: NDArray[np.integer]) -> Shape:
    """Any mesh, moved and scaled into the sphere of RADIUS."""
    middle = (vertices.min(axis=0) + vertices.max(axis=0)) / 2
    off = vertices - middle
    return Shape(name, off * (RADIUS / np.linalg.norm(off, axis=1).max()), faces.astype(np.int32))


def true_shape(capture: Path) -> Shape:
    """The true mesh of a capture with ground truth, where it stands. The bottle is round about z."""
    true = np.load(capture / "truth" / "gt.npz")
    axis = (0.0, 0.0, 1.0) if capture.name == "fuze" else None
    return Shape(capture.name, true["V"].astype(np.float64), true["F"].astype(np.int32), axis)


def bent(shape: Shape, random: np.random.Generator, anisotropy: float = 0.02, warp: float = 0.01) -> Array:
    """The vertices (V, 3) as a generator would get them: stretched along three axes by up to ``anisotropy``, and bent
    by smooth waves of ``warp`` of the size at most."""
    axes = random_rotation(random)
    stretch = 1 + anisotropy * random.uniform(-1, 1, 3)
    out = shape.vertices @ (axes * stretch) @ axes.T
    for _ in range(3):
        wave = random.normal(size=3)
        wave *= 2 * np.pi * random.uniform(0.5, 1.5) / (shape.size * np.linalg.norm(wave))
        push = random.normal(size=3)
        push *= warp / 3 * shape.size / np.linalg.norm(push) * 1.7
        out = out + push * np.sin(shape.vertices @ wave + random.uniform(0, 2 * np.pi))[:, None]
    return np.asarray(out)


def random_rotation(random: np.random.Generator) -> Array:
    """A rotation (3, 3), evenly among all."""
    Q, R = np.linalg.qr(random.normal(size=(3, 3)))
    Q = Q * np.sign(np.diag(R))
    return np.asarray(Q if np.linalg.det(Q) > 0 else -Q)


def random_similarity(random: np.random.Generator, upright: bool) -> Similarity:
    """Any size from a fifth to five times and any place; any rotation, or any yaw with up to 3 degrees of tilt."""
    if upright:
        lean = random.uniform(0, 2 * np.pi)
        tilt = turned_by(np.radians(random.uniform(0, 3)) * np.array([np.cos(lean), 0, np.sin(lean)]))
        rotation = tilt @ turned_by(np.array([0, random.uniform(-np.pi, np.pi), 0]))
    else:
        rotation = random_rotation(random)
    return Similarity(float(np.exp(random.uniform(-1.6, 1.6))), rotation, random.uniform(-1, 1, 3))


# -- captures --------------------------------------------------------------------------------------------------------


def photographed(shape: Shape, seed: int, side: int = SIDE_PX, noise_m: float = NOISE_M) -> Capture:
    """The shape from the six canonical cameras, grey, with soft masks and noisy depth in whole millimetres."""
    random = np.random.default_rng(seed)
    views = []
    for name in CANONICAL_VIEWS:
        camera = canonical_camera(name, side, side)
        fine = rasterize(camera, shape.vertices, shape.faces, samples=3)
        mask = antialias(fine, np.ones((*fine.face.shape, 1), np.float32))[..., 0]
        true = rasterize(camera, shape.vertices, shape.faces).depth
        noisy = np.rint((true + random.normal(0, noise_m, true.shape)) * 1000) / 1000
        depth = np.where(true > 0, noisy, 0).astype(np.float32)
        rgb = np.full((side, side, 3), 128, np.uint8)
        views.append(View(name, camera, rgb, mask, depth, "file"))
    return Capture(shape.name, "canonical", tuple(views), 0.001)
