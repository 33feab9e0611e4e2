"""Render the sample capture ``samples/snail``: six canonical RGBA views with 16-bit depth, and its truth.

    python -m samples.make_sample [--size 512] [--supersamples 4] [--out samples]

Sphere tracing of ``samples.snail_shape``; Lambert shading under a fixed sky and lamp with ambient occlusion; 8-bit
noise of sigma 0.7 levels, depth noise of sigma 1 mm. The same arguments give the same bytes.
"""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from meshdrop.models.formats.cameras import CANONICAL_VIEWS, Camera, canonical_camera
from samples.snail_shape import distances, render

Array = NDArray[np.float64]

#: The whole snail lies inside this sphere about the origin, metres.
BOUND_RADIUS = 0.56
LAMP = np.array([0.42, 0.72, 0.55]) / math.sqrt(0.42**2 + 0.72**2 + 0.55**2)
COLOUR_NOISE_LEVELS = 0.7
DEPTH_NOISE_M = 0.001


def render_view(camera: Camera, supersamples: int) -> tuple[Array, Array, Array]:
    """One noise-free square view: linear straight colour (H, W, 3), coverage (H, W), planar depth in metres (H, W)."""
    return render(camera.c2w, camera.fx, camera.width, supersamples, BOUND_RADIUS, LAMP)


def srgb(linear: Array) -> Array:
    """Linear light 0..1 as sRGB 0..255 (IEC 61966-2-1)."""
    clipped = np.clip(linear, 0, 1)
    return 255 * np.where(clipped <= 0.0031308, 12.92 * clipped, 1.055 * clipped ** (1 / 2.4) - 0.055)


def write_capture(folder: Path, size: int, supersamples: int) -> None:
    """The six views, their depth and ``capture.json`` under ``folder``."""
    (folder / "views").mkdir(parents=True, exist_ok=True)
    (folder / "depth").mkdir(exist_ok=True)
    noise = np.random.default_rng(2026)
    for index, name in enumerate(CANONICAL_VIEWS):
        colour, coverage, depth = render_view(canonical_camera(name, size, size), supersamples)
        levels = srgb(colour) + noise.normal(0, COLOUR_NOISE_LEVELS, colour.shape)
        rgba = np.dstack([levels, 255 * coverage])
        rgba[coverage == 0] = 0
        measured = np.where(depth > 0, depth + noise.normal(0, DEPTH_NOISE_M, depth.shape), 0)
        _write_png(folder / "views" / f"view_{index:02d}.png", np.clip(np.rint(rgba), 0, 255).astype(np.uint8))
        _write_png(folder / "depth" / f"depth_{index:02d}.png", np.rint(1000 * measured).astype(np.uint16))
    stated = {"rig": "canonical", "depth_unit_m": 0.001, "labels": {"object": "garden snail", "sample": True}}
    (folder / "capture.json").write_text(json.dumps(stated, indent=2) + "\n", encoding="utf-8")


def _write_png(path: Path, pixels: NDArray[np.uint8] | NDArray[np.uint16]) -> None:
    Image.fromarray(pixels).save(path, optimize=True)


def measure(voxels: int = 400) -> dict[str, object]:
    """Bounding box, volume and area of the shape, by counting the cells of a fine grid; lengths in metres.

    The area is the volume of a thin layer about the surface over its thickness, each cell's distance divided by its
    gradient because ``distance`` is only a bound.
    """
    cell = 1.0 / voxels
    axis = (np.arange(voxels) + 0.5) * cell - 0.5
    half = 1.5 * cell
    low, high = np.full(3, np.inf), np.full(3, -np.inf)
    inside = layer = 0.0
    for x in axis:
        grid = np.stack(np.meshgrid([x], axis, axis, indexing="ij"), axis=-1).reshape(-1, 3)
        d = distances(grid)
        within = grid[d < 0]
        inside += len(within)
        if len(within):
            low, high = np.minimum(low, within.min(axis=0)), np.maximum(high, within.max(axis=0))
        near = grid[np.abs(d) < 2 * half]
        layer += float((np.abs(_true_distances(near, cell)) < half).sum()) if len(near) else 0.0
    return {
        "bounding_box_m": [[round(float(v - cell / 2), 4) for v in low], [round(float(v + cell / 2), 4) for v in high]],
        "volume_m3": round(inside * cell**3, 6),
        "area_m2": round(layer * cell**3 / (2 * half), 4),
        "tolerance_m": cell,
    }


def _true_distances(points: Array, cell: float) -> Array:
    gradient = np.empty_like(points)
    for axis in range(3):
        step = np.zeros(3)
        step[axis] = cell / 4
        gradient[:, axis] = (distances(points + step) - distances(points - step)) / (cell / 2)
    found: Array = distances(points) / np.maximum(np.linalg.norm(gradient, axis=1), 0.2)
    return found


def main() -> None:
    """Write the sample and its truth."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--supersamples", type=int, default=4)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    args = parser.parse_args()
    write_capture(args.out / "snail", args.size, args.supersamples)
    (args.out / "snail.truth.json").write_text(json.dumps(measure(), indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
