"""What the verdict tells apart: `python bench/verdict.py [--shape NAME ...]`.

Sound results are made by `fusion` from synthetic captures with what real ones have: noise on depth, another exposure
in each view, poses that are off by half a millimetre up to a pixel, speculars, masks made from depth. Spoilt ones are
such results with one thing broken, or made from masks that are wrong. Every one is measured as the service does it,
and the table shows what verdict it got: no sound one may be a failure, no spoilt one normal. Exit status 1 when a label
is missed. Real captures are `bench/real.py`'s.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from bench.shapes import Shape, ball, box, fitted, joined, rod, shape_of, things  # noqa: E402
from meshdrop.daemon.reporting import grades  # noqa: E402
from meshdrop.models.capture.capture import Capture, View  # noqa: E402
from meshdrop.models.formats.cameras import CANONICAL_VIEWS, canonical_camera  # noqa: E402
from meshdrop.models.fusion.model import Fusion  # noqa: E402
from meshdrop.models.measure.figures import Quality  # noqa: E402
from meshdrop.models.measure.measure import compare_all  # noqa: E402
from meshdrop.models.mesh.mesh import TexturedMesh  # noqa: E402
from meshdrop.models.raster.numba_raster import antialias, interpolate, rasterize  # noqa: E402
from meshdrop.models.registration.similarity import turned_by  # noqa: E402

Array = NDArray[np.float64]

SIDE_PX = 400
NAMES = ("mug", "dog", "snail", "car")
#: Where the car's mirrors are, and how far around; metres, before it is fitted into its sphere.
MIRRORS = ((-0.52, 0.17, 0.2), (0.52, 0.17, 0.2))


@dataclass(frozen=True)
class Conditions:
    """What is real about a capture. ``jitter_m`` and ``jitter_deg`` shift and turn the stated cameras, ``exposure`` is
    the largest gain's distance from 1, ``shine`` the strength of the speculars."""

    noise_m: float = 0.001
    exposure: float = 0.0
    jitter_m: float = 0.0
    jitter_deg: float = 0.0
    shine: float = 0.0
    masks: str = "clean"
    depth: bool = True


SOUND: dict[str, Conditions] = {
    "clean": Conditions(noise_m=0.0),
    "noise 1 mm": Conditions(),
    "noise 4 mm": Conditions(noise_m=0.004),
    "exposure": Conditions(exposure=0.25),
    "jitter 0.5 mm": Conditions(jitter_m=0.0005, jitter_deg=0.012),
    "jitter a pixel": Conditions(jitter_m=0.002, jitter_deg=0.06),
    "speculars": Conditions(shine=0.5),
    "masks from depth": Conditions(masks="depth"),
    "all of it": Conditions(0.002, 0.2, 0.001, 0.03, 0.3),
    "no depth": Conditions(depth=False),
}


def car() -> Shape:
    """A body, a cabin, four wheels, and two mirrors on thin arms."""
    wheels = [rod((0.25 * x, -0.12, z), (0.3 * x, -0.12, z), 0.12) for x in (-1, 1) for z in (-0.32, 0.32)]
    mirrors = [rod((0.2 * np.sign(x), 0.14, 0.2), (x, y, z), 0.012) for x, y, z in MIRRORS]
    mirrors += [ball(*place, 0.045) for place in MIRRORS]
    body = joined(box((-0.22, -0.1, -0.6), (0.22, 0.12, 0.6)), box((-0.2, 0.1, -0.35), (0.2, 0.3, 0.22)))
    return shape_of("car", joined(body, *wheels, *mirrors), 160)


def subject(name: str) -> Shape:
    """One of the shapes by its name."""
    return car() if name == "car" else shape_of(name, things()[name])


def paint(points: Array) -> Array:
    """Colour (N, 3) 0..1 at points (N, 3): broad stripes and patches in strong colours, and a fine grain."""
    x, y, z = (points * 14).T
    broad = np.stack([np.sin(x + 2 * np.sin(0.7 * y)), np.sin(1.3 * y + 1), np.sin(1.1 * z + np.cos(x))], axis=1)
    fine = np.sin(6 * x) * np.sin(7 * y) * np.sin(5 * z)
    return np.asarray(np.clip(0.45 + 0.27 * broad + 0.08 * fine[:, None], 0.02, 0.98))


def photographed(shape: Shape, conditions: Conditions, seed: int) -> Capture:
    """The shape from the six canonical cameras under these conditions."""
    random = np.random.default_rng(seed)
    views = [_photograph(shape, name, conditions, random) for name in CANONICAL_VIEWS]
    return Capture(shape.name, "canonical", tuple(views), 0.001)


def _photograph(shape: Shape, name: str, real: Conditions, random: np.random.Generator) -> View:
    stated = canonical_camera(name, SIDE_PX, SIDE_PX)
    pose = stated.c2w.copy()
    pose[:3, :3] = turned_by(np.radians(real.jitter_deg) * random.normal(size=3) / np.sqrt(3)) @ pose[:3, :3]
    pose[:3, 3] += real.jitter_m * random.normal(size=3) / np.sqrt(3)
    camera = replace(stated, c2w=pose)
    mask = antialias(
        fine := rasterize(camera, shape.vertices, shape.faces, samples=3), np.ones((*fine.face.shape, 1), np.float32)
    )[..., 0]
    middle = rasterize(camera, shape.vertices, shape.faces)
    corners = np.concatenate([shape.vertices, _normals(shape)], axis=1)[shape.faces].astype(np.float32)
    here = interpolate(middle, corners)
    at, normal = here[..., :3].reshape(-1, 3).astype(np.float64), here[..., 3:]
    colour = paint(at).reshape(*middle.depth.shape, 3)
    light = np.array([0.4, 0.7, 0.6]) / np.linalg.norm([0.4, 0.7, 0.6])
    towards = camera.c2w[:3, 3] - at.reshape(*middle.depth.shape, 3)
    half = light + towards / np.linalg.norm(towards, axis=-1, keepdims=True)
    half /= np.linalg.norm(half, axis=-1, keepdims=True)
    colour += real.shine * np.clip((normal * half).sum(axis=-1), 0, 1)[..., None] ** 40
    colour *= 1 + real.exposure * random.uniform(-1, 1)
    colour += random.normal(0, 0.01, colour.shape)
    rgb = np.rint(np.clip(colour, 0, 1) * 255).astype(np.uint8)
    noisy = np.rint((middle.depth + random.normal(0, real.noise_m, middle.depth.shape)) * 1000) / 1000
    depth = np.where(middle.depth > 0, noisy, 0).astype(np.float32)
    if real.masks == "depth":
        mask = (depth > 0).astype(np.float32)
    return View(name, stated, _spread(rgb, middle.depth > 0), mask, depth if real.depth else None, "file")


def _normals(shape: Shape) -> Array:
    a, b, c = shape.vertices[shape.faces].transpose(1, 0, 2)
    normals = np.zeros_like(shape.vertices)
    for corner in range(3):
        np.add.at(normals, shape.faces[:, corner], np.cross(b - a, c - a))
    return np.asarray(normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12))


def _spread(rgb: NDArray[np.uint8], known: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Every pixel outside has the colour of the nearest one inside: a soft edge is the object's own colour."""
    from scipy.ndimage import distance_transform_edt  # noqa: PLC0415

    rows, columns = distance_transform_edt(~known, return_distances=False, return_indices=True)
    return np.asarray(rgb[rows, columns])


# -- what can be wrong with a result ---------------------------------------------------------------------------------


def without(mesh: TexturedMesh, lost: NDArray[np.bool_]) -> TexturedMesh:
    """The mesh without the triangles that have a vertex in ``lost`` (V,)."""
    kept = ~lost[mesh.faces].any(axis=1)
    return replace(mesh, faces=mesh.faces[kept], uv=mesh.uv[kept])


def part_missing(share: float, seed: int) -> Callable[[TexturedMesh], TexturedMesh]:
    """So much of the area cut away, beyond a plane that looks anywhere."""

    def spoil(mesh: TexturedMesh) -> TexturedMesh:
        aim = np.random.default_rng(seed).normal(size=3)
        a, b, c = mesh.vertices[mesh.faces].astype(np.float64).transpose(1, 0, 2)
        area = np.linalg.norm(np.cross(b - a, c - a), axis=1)
        along = ((a + b + c) / 3) @ (aim / np.linalg.norm(aim))
        order = np.argsort(-along)
        cut = along[order[np.searchsorted(np.cumsum(area[order]), share * area.sum())]]
        return without(mesh, mesh.vertices @ (aim / np.linalg.norm(aim)) > cut)

    return spoil


def mirror_lost(mesh: TexturedMesh) -> TexturedMesh:
    """The car without its left mirror: nothing else stands out so far to that side."""
    return without(mesh, mesh.vertices[:, 0] < mesh.vertices[:, 0].min() + 0.085 * np.ptp(mesh.vertices[:, 0]))


def moved(share: float, degrees: float) -> Callable[[TexturedMesh], TexturedMesh]:
    """Off by a share of its size, and turned."""

    def spoil(mesh: TexturedMesh) -> TexturedMesh:
        size = float(np.linalg.norm(np.ptp(mesh.vertices, axis=0)))
        aim = np.array([0.6, 0.5, 0.62])
        turn = turned_by(np.radians(degrees) * np.array([0.0, 1.0, 0.0]))
        return replace(mesh, vertices=(mesh.vertices @ turn.T + share * size * aim).astype(np.float32))

    return spoil


def scaled(by: float) -> Callable[[TexturedMesh], TexturedMesh]:
    """Of another size."""
    return lambda mesh: replace(mesh, vertices=(mesh.vertices * by).astype(np.float32))


def shrunk(by_m: float) -> Callable[[TexturedMesh], TexturedMesh]:
    """Every vertex moved inwards."""
    return lambda mesh: replace(mesh, vertices=(mesh.vertices - by_m * mesh.vertex_normals()).astype(np.float32))


def colours_swapped(mesh: TexturedMesh) -> TexturedMesh:
    """Red for green, green for blue."""
    return replace(mesh, texture=np.ascontiguousarray(np.roll(mesh.texture, 1, axis=2)))


def texture_stretched(mesh: TexturedMesh) -> TexturedMesh:
    """Every triangle shows another part of the texture than its own."""
    return replace(mesh, uv=(mesh.uv * np.float32(0.8)).astype(np.float32))


def closed_cube(mesh: TexturedMesh) -> TexturedMesh:
    """A block around the object in one colour."""
    shape = fitted("cube", *_cube())
    grey = np.full((8, 8, 3), mesh.texture.reshape(-1, 3).mean(axis=0).astype(np.uint8))
    uv = np.full((len(shape.faces), 3, 2), 0.5, np.float32)
    return TexturedMesh((1.6 * shape.vertices).astype(np.float32), shape.faces, uv, grey, np.ones((8, 8), np.bool_))


def _cube() -> tuple[Array, NDArray[np.int32]]:
    cube = shape_of("cube", box((-0.5, -0.5, -0.5), (0.5, 0.5, 0.5)), 40)
    return cube.vertices, cube.faces


SPOILT: dict[str, Callable[[TexturedMesh], TexturedMesh]] = {
    **{f"{share:.0%} missing, {seed}": part_missing(share, seed) for share in (0.05, 0.1, 0.15) for seed in (1, 2, 3)},
    "moved by 3 %": moved(0.03, 0.0),
    "turned by 3 degrees": moved(0.0, 3.0),
    "shrunk by 3 sigma": shrunk(0.006),
    "5 % too large": scaled(1.05),
    "5 % too small": scaled(0.95),
    "twice as large": scaled(2.0),
    "colours swapped": colours_swapped,
    "texture stretched": texture_stretched,
}


# -- the table -------------------------------------------------------------------------------------------------------


def fused(capture: Capture) -> TexturedMesh:
    """What the model makes of it."""
    with tempfile.TemporaryDirectory() as folder:
        return Fusion({}, lambda percent, step: None).inference(capture, Path(folder)).mesh


def inverted(capture: Capture) -> Capture:
    """Masks that mark the background, as other programs write them."""
    return replace(capture, views=tuple(replace(view, mask=1 - view.mask) for view in capture.views))


def whole_pictures(capture: Capture) -> Capture:
    """Masks that mark everything, and no depth."""
    views = (replace(view, mask=np.ones_like(view.mask), depth=None) for view in capture.views)
    return replace(capture, views=tuple(views))


def results(names: list[str]) -> Iterator[tuple[str, str, Quality]]:
    """(label, what it is, its figures) of everything that the project can make itself."""
    for name in names:
        shape = subject(name)
        for index, (condition, real) in enumerate(SOUND.items()):
            capture = photographed(shape, real, index)
            yield "sound", f"{name}: {condition}", compare_all(fused(capture), capture)
        capture = photographed(shape, Conditions(0.002, 0.2, 0.0005, 0.012, 0.2), 99)
        mesh = fused(capture)
        for what, spoil in SPOILT.items():
            yield "spoilt", f"{name}: {what}", compare_all(spoil(mesh), capture)
        if name == "car":
            yield "spoilt", "car: a mirror lost", compare_all(mirror_lost(mesh), capture)
        yield "spoilt", f"{name}: inverted masks", compare_all(fused(inverted(capture)), inverted(capture))
        yield "spoilt", f"{name}: cube, whole pictures", compare_all(closed_cube(mesh), whole_pictures(capture))
        yield "spoilt", f"{name}: cube", compare_all(closed_cube(mesh), capture)


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", nargs="*", default=list(NAMES), help="shapes to use (default: %(default)s)")
    arguments = parser.parse_args()
    print("| label | result | verdict | silhouettes | depth | colours | coverage | likeness |")
    print("|---|---|---|---|---|---|---|---|")
    counts: Counter[tuple[str, str]] = Counter()
    for label, what, quality in results(arguments.shape):
        found = grades.appraise(quality)
        counts[label, found.verdict] += 1
        answers = " | ".join(f"{answer.verdict or 'untold'}: {answer.says}" for answer in found.answers)
        print(f"| {label} | {what} | **{found.verdict}** | {answers} | {found.likeness} |", flush=True)
    print("\n|  | normal | warning | failure |\n|---|---|---|---|")
    for label in ("sound", "spoilt"):
        if any(one == label for one, _ in counts):
            print(
                f"| {label} | "
                + " | ".join(str(counts[label, word]) for word in ("normal", "warning", "failure"))
                + " |"
            )
    sys.exit(1 if counts["sound", "failure"] or counts["spoilt", "normal"] else 0)


if __name__ == "__main__":
    main()
