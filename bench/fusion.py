"""Score the fusion model on captures with ground truth: `python bench/fusion.py [--captures DIR] [--object NAME
...]`.

For every capture the model runs as the product runs it, the mesh is written as GLB and read back, and only the
re-read file is scored:

- Pictures: the GLB rendered at the held-out cameras over white, 4 x 4 samples a pixel, rounded to 8 bits. PSNR of
the whole   image and of the pixels whose true coverage is at least one half, SSIM of the whole image (data_range 1,
colour);   each is the mean over the views of the per-view figure.
- Geometry: precision = share of 60,000 area-uniform samples of our mesh nearer than t to the true mesh; recall =
share of   the true samples `pts` marked `outer` (on the outer surface, seen or not) nearer than t to our mesh; F =
their harmonic   mean at t = 0.005 and 0.002. Chamfer = mean of the two mean distances. Distances go to triangles,
not to samples: with   60,000 samples the distance between sets would measure the sampling (about 2e-3), not the
surface.
- CPU seconds are warm (one run before, in the same process, loads the compiled kernels); they cover the model alone,
  without reading, writing and scoring. Unseen is the share of surface that no camera saw.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import trimesh
from numpy.typing import NDArray
from PIL import Image
from scipy.spatial import cKDTree
from skimage.metrics import structural_similarity

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from meshdrop.models.capture.capture import Capture, read_capture  # noqa: E402
from meshdrop.models.formats.cameras import Camera  # noqa: E402
from meshdrop.models.fusion.model import Fusion  # noqa: E402
from meshdrop.models.mesh.mesh import TexturedMesh, read_glb, write_glb  # noqa: E402
from meshdrop.models.raster.render import render  # noqa: E402

Array = NDArray[np.float64]

SAMPLES = 60_000
#: Surface samples that propose candidate triangles, and how many of the nearest are tried exactly.
PROPOSALS = 600_000
CANDIDATES = 6


@dataclass(frozen=True)
class Score:
    """One line of the table."""

    name: str
    psnr: float
    ssim: float
    masked_psnr: float
    f5: float
    f2: float
    chamfer: float
    watertight: bool
    faces: int
    unseen: float
    cpu: dict[str, float]


def main() -> None:
    """Run and print; exit status 1 when no capture with ground truth was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    beside = Path(os.environ.get("MESHDROP_TEST_CAPTURES") or ROOT.parent / "shared" / "captures")
    parser.add_argument("--captures", type=Path, default=beside, help="folder of captures (default: %(default)s)")
    parser.add_argument("--object", nargs="*", help="names of captures (default: every one with a truth/ folder)")
    parser.add_argument("--set", nargs="*", default=[], metavar="NAME=VALUE", help="fusion settings")
    arguments = parser.parse_args()
    settings = {name: int(value) for name, value in (item.split("=", 1) for item in arguments.set)}
    names = arguments.object or sorted(path.parent.name for path in arguments.captures.glob("*/truth"))
    if not names:
        sys.exit(f"no captures with ground truth in {arguments.captures}; name their folder with --captures")
    reconstruct(read_capture(arguments.captures / names[0] / "capture"), settings)
    print(
        "| object | PSNR | SSIM | masked PSNR | F@0.005 | F@0.002 | chamfer e-3 | watertight | faces | unseen | CPU-s |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|---|")
    scores = []
    for name in names:
        score = score_capture(arguments.captures / name, settings)
        scores.append(score)
        print(
            f"| {name} | {score.psnr:.2f} | {score.ssim:.4f} | {score.masked_psnr:.2f} | {score.f5:.4f} "
            f"| {score.f2:.4f} | {score.chamfer * 1e3:.3f} | {'yes' if score.watertight else 'NO'} | {score.faces} "
            f"| {score.unseen:.4f} | {sum(score.cpu.values()):.2f} |",
            flush=True,
        )
    print("\n| CPU-s | " + " | ".join(scores[0].cpu) + " |\n|---" + "|---" * len(scores[0].cpu) + "|")
    for score in scores:
        print(f"| {score.name} | " + " | ".join(f"{seconds:.2f}" for seconds in score.cpu.values()) + " |")


def reconstruct(capture: Capture, settings: dict[str, int]) -> tuple[TexturedMesh, dict[str, float], float, float]:
    """Run the model; the mesh, CPU seconds per stage, unseen share, side of a voxel in metres."""
    with tempfile.TemporaryDirectory() as folder:
        result = Fusion(settings, lambda percent, step: None).inference(capture, Path(folder))
    return result.mesh, dict(result.figures["cpu_seconds"]), result.unseen_fraction, float(result.figures["voxel_m"])


def score_capture(folder: Path, settings: dict[str, int]) -> Score:
    """Reconstruct one capture and score the exported file."""
    built, cpu, unseen, _ = reconstruct(read_capture(folder / "capture"), settings)
    with tempfile.TemporaryDirectory() as scratch:
        write_glb(built, Path(scratch) / "mesh.glb", {})
        mesh = read_glb(Path(scratch) / "mesh.glb")
    psnr, ssim, masked = score_pictures(mesh, folder / "truth")
    f5, f2, chamfer = score_geometry(mesh, folder / "truth" / "gt.npz")
    watertight = bool(trimesh.Trimesh(mesh.vertices, mesh.faces, process=False).is_watertight)
    return Score(folder.name, psnr, ssim, masked, f5, f2, chamfer, watertight, len(mesh.faces), unseen, cpu)


def score_pictures(mesh: TexturedMesh, truth: Path) -> tuple[float, float, float]:
    """PSNR and SSIM of the whole image on white and PSNR on the object, means over the held-out views."""
    stated = json.loads((truth / "transforms.json").read_text())
    rows = []
    for frame in stated["frames"]:
        camera = Camera(
            stated["w"],
            stated["h"],
            stated["fl_x"],
            stated["fl_y"],
            stated["cx"],
            stated["cy"],
            np.array(frame["transform_matrix"], np.float64),
        )
        wanted = np.asarray(Image.open(truth / frame["file_path"]))[..., :3] / 255.0
        inside = np.asarray(Image.open(truth / frame["mask_path"])) >= 128
        got = np.round(render(mesh, camera, samples=4).rgb.astype(np.float64) * 255) / 255
        error = (got - wanted) ** 2
        rows.append(
            (
                -10 * np.log10(error.mean()),
                structural_similarity(got, wanted, data_range=1.0, channel_axis=-1),  # type: ignore[no-untyped-call]
                -10 * np.log10(error[inside].mean()),
            )
        )
    psnr, ssim, masked = np.mean(rows, axis=0)
    return float(psnr), float(ssim), float(masked)


def score_geometry(mesh: TexturedMesh, truth: Path) -> tuple[float, float, float]:
    """F at 0.005 and 0.002 and the chamfer distance in metres, as the head of this file defines them."""
    true = np.load(truth)
    ours, _ = trimesh.sample.sample_surface(trimesh.Trimesh(mesh.vertices, mesh.faces, process=False), SAMPLES, seed=1)
    theirs = true["pts"][true["outer"]].astype(np.float64)
    to_truth = distance_to_surface(ours, true["V"].astype(np.float64), true["F"])
    to_ours = distance_to_surface(theirs, mesh.vertices.astype(np.float64), mesh.faces)
    scores = []
    for limit in (0.005, 0.002):
        precision, recall = float((to_truth < limit).mean()), float((to_ours < limit).mean())
        scores.append(2 * precision * recall / max(precision + recall, 1e-12))
    return scores[0], scores[1], float(to_truth.mean() + to_ours.mean()) / 2


def distance_to_surface(points: Array, vertices: Array, faces: NDArray[np.integer]) -> Array:
    """Distance of each point to the mesh: exact to the triangles that the nearest of many surface samples propose."""
    surface = trimesh.Trimesh(vertices, faces, process=False)
    samples, owner = trimesh.sample.sample_surface(surface, PROPOSALS, seed=0)
    _, near = cKDTree(samples).query(points, k=CANDIDATES)
    best = np.full(len(points), np.inf)
    for column in range(CANDIDATES):
        foot = trimesh.triangles.closest_point(surface.triangles[owner[near[:, column]]], points)  # type: ignore[no-untyped-call]
        best = np.minimum(best, np.linalg.norm(foot - points, axis=1))
    return best


if __name__ == "__main__":
    main()
