"""Does fusion get better with every view? `python bench/views.py [--object NAME] [--noise-mm 3.5] [--views 6 12 ...]`.

A shape of known surface is photographed by cameras spread evenly over a sphere, with noise on colour and depth, and
``--jitter``, with poses that are a little off. What fusion makes of 6, 12 ... views is compared with the truth:

- offset: mean signed distance of our surface to the true one, in voxels; positive is outside. A mean, so that noise
  cancels and only what the method adds or takes away is left.
- chamfer: mean of the two mean distances, in millimetres; F@2: harmonic mean of the shares nearer than 2 mm.
- PSNR: of the whole picture over white, and on the object, means over 12 views that were not used and have no noise.
- IoU: of the silhouettes at those 12 views.
- CPU-s: of the model alone, warm.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
import trimesh
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from bench.fusion import reconstruct  # noqa: E402
from bench.shapes import Shape, shape_of, thin_things, things  # noqa: E402
from meshdrop.models.capture.capture import Capture, View  # noqa: E402
from meshdrop.models.formats.cameras import Camera, look_at  # noqa: E402
from meshdrop.models.mesh.mesh import TexturedMesh  # noqa: E402
from meshdrop.models.raster.numba_raster import antialias, interpolate, rasterize  # noqa: E402
from meshdrop.models.raster.render import render  # noqa: E402

Array = NDArray[np.float64]

DISTANCE_M = 2.5
SIDE_PX = 400
FOCAL_PX = 870.0
HELD_OUT = 12
SAMPLES = 30_000
#: Surface samples that propose triangles, and how many of the nearest are tried exactly.
PROPOSALS = 300_000
CANDIDATES = 4
#: The truth is finer than what is made of it.
LATTICE = 240


def main() -> None:
    """Photograph, reconstruct, compare, print a line for each number of views."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--object", nargs="*", default=["snail"], help="shapes of bench/shapes.py (default: snail)")
    parser.add_argument("--noise-mm", type=float, default=3.5, help="noise of depth (default: %(default)s)")
    parser.add_argument("--jitter-mm", type=float, default=0.0, help="how far cameras stand beside their poses")
    parser.add_argument("--jitter-deg", type=float, default=0.0, help="how far they look beside their poses")
    parser.add_argument("--levels", type=float, default=1.0, help="noise of colours in levels (default: %(default)s)")
    parser.add_argument("--side-px", type=int, default=SIDE_PX, help="side of the pictures (default: %(default)s)")
    parser.add_argument("--fine", action="store_true", help="a pattern of 1 cm with edges on the object")
    parser.add_argument("--views", type=int, nargs="*", default=[6, 12, 24, 48, 96])
    parser.add_argument("--set", nargs="*", default=[], metavar="NAME=VALUE", help="fusion settings")
    arguments = parser.parse_args()
    settings = {name: int(value) for name, value in (item.split("=", 1) for item in arguments.set)}
    print("| object | views | offset voxel | chamfer mm | F@2 mm | PSNR | on the object | IoU | faces | CPU-s |")
    print("|---" * 10 + "|")
    for name in arguments.object:
        shape = shape_of(name, {**things(), **thin_things()}[name], LATTICE)
        held_out = ring(HELD_OUT, arguments.side_px, turn=0.37)
        truth = [photograph(shape, camera, 0.0, 0.0, None, fine=arguments.fine) for camera in held_out]
        for count in arguments.views:
            capture = photographed(shape, count, arguments)
            mesh, cpu, _, voxel = reconstruct(capture, settings)
            offset, chamfer, f2 = geometry(mesh, shape)
            whole, psnr, iou = pictures(mesh, truth)
            print(
                f"| {name} | {count} | {offset / voxel:+.3f} | {chamfer * 1e3:.3f} | {f2:.4f} | {whole:.2f} "
                f"| {psnr:.2f} | {iou:.4f} | {len(mesh.faces)} | {sum(cpu.values()):.1f} |",
                flush=True,
            )


def ring(count: int, side: int = SIDE_PX, turn: float = 0.0) -> list[Camera]:
    """Cameras spread evenly over a sphere (Fibonacci's lattice), all looking at the origin."""
    cameras = []
    for n in range(count):
        height = 1 - 2 * (n + 0.5) / count
        angle = np.pi * (1 + 5**0.5) * (n + turn)
        radius = np.sqrt(1 - height * height)
        towards = (radius * np.cos(angle), height, radius * np.sin(angle))
        up = (0.0, 1.0, 0.0) if abs(height) < 0.95 else (1.0, 0.0, 0.0)
        c2w = look_at(towards, up, DISTANCE_M)
        cameras.append(
            Camera(SIDE_PX, SIDE_PX, FOCAL_PX, FOCAL_PX, SIDE_PX / 2, SIDE_PX / 2, c2w).scaled(side / SIDE_PX)
        )
    return cameras


def photographed(shape: Shape, count: int, how: argparse.Namespace) -> Capture:
    """``count`` views with the noise that the options say; each states a pose beside its own, by so many millimetres
    and degrees (standard deviation per axis)."""
    random = np.random.default_rng(count)
    views: list[View] = []
    for camera in ring(count, how.side_px):
        view = photograph(shape, camera, how.noise_mm / 1000, how.levels, random, fine=how.fine)
        stated = camera.c2w.copy()
        stated[:3, :3] = (
            Rotation.from_rotvec(np.deg2rad(random.normal(0, how.jitter_deg, 3))).as_matrix() @ stated[:3, :3]
        )
        stated[:3, 3] += random.normal(0, how.jitter_mm / 1000, 3)
        moved = Camera(camera.width, camera.height, camera.fx, camera.fy, camera.cx, camera.cy, stated)
        views.append(View(f"{len(views):02d}", moved, view.rgb, view.mask, view.depth, "file"))
    return Capture(shape.name, "stated", tuple(views), 0.001)


def photograph(
    shape: Shape,
    camera: Camera,
    noise_m: float,
    levels: float,
    random: np.random.Generator | None,
    *,
    fine: bool = False,
) -> View:
    """One view with a soft mask; noise of ``noise_m`` on depth (whole millimetres) and ``levels`` on colour."""
    shown = rasterize(camera, shape.vertices, shape.faces, samples=3)
    mask = antialias(shown, np.ones((*shown.face.shape, 1), np.float32))[..., 0]
    points = interpolate(shown, shape.vertices[shape.faces].astype(np.float32))
    colour = antialias(shown, patterned(points) if fine else paint(points))
    colour /= np.maximum(mask, 1e-6)[..., None]
    true = rasterize(camera, shape.vertices, shape.faces).depth
    depth = true
    if random is not None:
        noisy = np.rint((true + random.normal(0, noise_m, true.shape)) * 1000) / 1000
        depth = np.where(true > 0, noisy, 0).astype(np.float32)
        colour = colour + random.normal(0, levels, colour.shape).astype(np.float32)
    rgb = np.clip(np.rint(colour), 0, 255).astype(np.uint8)
    return View("", camera, rgb, mask, depth.astype(np.float32), "file")


def paint(points: NDArray[np.float32]) -> NDArray[np.float32]:
    """A colour for each point (..., 3) of space in levels 0..255: waves of 6 to 30 cm."""
    x, y, z = (points[..., axis] for axis in range(3))
    red = 128 + 60 * np.sin(40 * x + 9 * z) + 30 * np.sin(95 * y)
    green = 120 + 60 * np.sin(35 * y + 14 * x) + 30 * np.sin(90 * z)
    blue = 110 + 60 * np.sin(30 * z - 17 * y) + 30 * np.sin(100 * x)
    return np.stack([red, green, blue], axis=-1).astype(np.float32)


def patterned(points: NDArray[np.float32]) -> NDArray[np.float32]:
    """The same colours, paler, with waves and edges of 1 to 2 cm on them."""
    x, y, z = (points[..., axis] for axis in range(3))
    waves = 22 * np.sin(400 * x + 300 * y) * np.sin(350 * z - 200 * x)
    edges = 18 * np.sign(np.sin(180 * y) * np.sin(170 * (x + z)))
    return np.asarray(paint(points) * 0.75 + 32 + (waves + edges)[..., None], np.float32)


def geometry(mesh: TexturedMesh, shape: Shape) -> tuple[float, float, float]:
    """Mean signed offset in metres, chamfer in metres, F at 2 mm."""
    ours = trimesh.Trimesh(mesh.vertices, mesh.faces, process=False)
    true = trimesh.Trimesh(shape.vertices, shape.faces, process=False)
    signed = _signed_distance(_samples(ours), true)
    precision, recall = np.abs(signed), np.abs(_signed_distance(_samples(true), ours))
    p, r = float((precision < 0.002).mean()), float((recall < 0.002).mean())
    return float(signed.mean()), float((precision.mean() + recall.mean()) / 2), 2 * p * r / max(p + r, 1e-9)


def _samples(surface: trimesh.Trimesh) -> Array:
    points, _ = trimesh.sample.sample_surface(surface, SAMPLES, seed=1)
    return np.asarray(points, np.float64)


def _signed_distance(points: Array, surface: trimesh.Trimesh) -> Array:
    """Distance to the surface, positive on the side that its triangles face."""
    proposed, owner = trimesh.sample.sample_surface(surface, PROPOSALS, seed=0)
    _, near = cKDTree(proposed).query(points, k=CANDIDATES)
    best, signed = np.full(len(points), np.inf), np.zeros(len(points))
    for column in range(CANDIDATES):
        face = owner[near[:, column]]
        foot = trimesh.triangles.closest_point(surface.triangles[face], points)  # type: ignore[no-untyped-call]
        off = points - foot
        distance = np.linalg.norm(off, axis=1)
        side = np.sign((off * surface.face_normals[face]).sum(axis=1))
        closer = distance < best
        best[closer], signed[closer] = distance[closer], (side * distance)[closer]
    return signed


def pictures(mesh: TexturedMesh, truth: list[View]) -> tuple[float, float, float]:
    """PSNR of the whole picture and on the object in dB, and IoU, means over the views."""
    rows = []
    for view in truth:
        got = render(mesh, view.camera, samples=3)
        inside = view.mask >= 0.5
        coverage = view.mask[..., None]
        wanted = view.rgb / 255.0 * coverage + 1 - coverage
        error = (got.rgb - wanted) ** 2
        covered = got.alpha >= 0.5
        overlap = (inside & covered).sum() / (inside | covered).sum()
        rows.append((-10 * np.log10(error.mean()), -10 * np.log10(error[inside].mean()), overlap))
    whole, psnr, iou = np.mean(rows, axis=0)
    return float(whole), float(psnr), float(iou)


if __name__ == "__main__":
    main()
