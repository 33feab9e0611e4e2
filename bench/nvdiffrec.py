"""nvdiffrec beside fusion on captures with ground truth.

    python bench/nvdiffrec.py [--captures DIR] [--object NAME ...] [--variant clean noisy none] [--set NAME=VALUE ...]

For each capture and variant of its depth (``clean``: as it is; ``noisy``: sigma 4 mm and 3 % holes added; ``none``:
taken away) both models run, write their files, and the files are scored: PSNR and SSIM at the 12 held-out cameras over
white (the exported GLB, rendered 4 x 4 samples a pixel on the CPU), median depth error against the true surface in
pixels (a pixel's width at the object), F-score at 0.005. A job is everything from the capture in memory to the written
files; loading torch and compiling kernels comes before it. ``bench/original_nvdiffrec.py`` measures the program that
nvdiffrec is named after on the same captures.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
import trimesh

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench.fusion import score_geometry, score_pictures
from meshdrop.models.capture.capture import Capture, View, read_capture
from meshdrop.models.formats.cameras import Camera
from meshdrop.models.fusion.model import Fusion
from meshdrop.models.mesh.mesh import TexturedMesh, read_glb, write_all
from meshdrop.models.nvdiffrec.model import Nvdiffrec
from meshdrop.models.raster.numba_raster import rasterize

ROOT = Path(__file__).resolve().parents[1]
VARIANTS = ("clean", "noisy", "none")
NOISE_M, HOLES = 0.004, 0.03


@dataclass(frozen=True)
class Score:
    """One model on one capture. ``steps`` of pass 2 are None for fusion."""

    capture: str
    model: str
    psnr: float
    ssim: float
    masked: float
    depth_px: float
    f5: float
    watertight: bool
    seconds: float
    vram_mib: int | None
    steps: int | None


def main() -> None:
    """Run and print the tables."""
    wish = _wish()
    names = wish.object or sorted(path.parent.name for path in wish.captures.glob("*/truth"))
    if not names:
        sys.exit(f"no captures with ground truth in {wish.captures}; name their folder with --captures")
    settings = {name: _plain(value) for name, value in (item.split("=", 1) for item in wish.set)}
    print(f"{time.strftime('%Y-%m-%d')}, {_machine()}, settings {settings or 'default'}", flush=True)
    warm_up(read_capture(wish.captures / names[0] / "capture"), settings)
    scores: list[Score] = []
    for name in names:
        whole = read_capture(wish.captures / name / "capture")
        for variant in wish.variant:
            if variant == "noisy" and "noisy" in name:
                continue
            capture = with_depth(whole, variant)
            label = name + {"clean": "", "noisy": ", noisy depth", "none": ", no depth"}[variant]
            for model in ("fusion", "nvdiffrec"):
                scores.append(one(label, model, capture, wish.captures / name / "truth", settings))
                print(row(scores[-1]) if len(scores) > 1 else HEAD + row(scores[-1]), flush=True)
    print(summary(scores))


def _wish() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    beside = Path(os.environ.get("MESHDROP_TEST_CAPTURES") or ROOT.parent / "shared" / "captures")
    parser.add_argument("--captures", type=Path, default=beside, help="folder of captures (default: %(default)s)")
    parser.add_argument("--object", nargs="*", help="names of captures (default: every one with a truth/ folder)")
    parser.add_argument("--variant", nargs="*", default=["clean"], choices=VARIANTS, help="default: clean")
    parser.add_argument("--set", nargs="*", default=[], metavar="NAME=VALUE", help="nvdiffrec settings")
    return parser.parse_args()


def _plain(value: str) -> str | int:
    return int(value) if value.lstrip("-").isdigit() else value


def _machine() -> str:
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else f"{os.cpu_count()} CPU cores"
    return f"{device}, torch {torch.__version__}, Python {platform.python_version()}"


def with_depth(capture: Capture, variant: str) -> Capture:
    """The capture with its depth as it is, with more noise and holes, or without."""
    if variant == "clean":
        return capture
    noise = np.random.default_rng(1)

    def worse(view: View) -> View:
        if variant == "none" or view.depth is None:
            return replace(view, depth=None)
        depth = view.depth + noise.normal(0, NOISE_M, view.depth.shape).astype(np.float32)
        kept = (view.depth > 0) & (noise.random(view.depth.shape) >= HOLES)
        return replace(view, depth=np.where(kept, depth, 0).astype(np.float32))

    return replace(capture, views=tuple(map(worse, capture.views)))


def warm_up(capture: Capture, settings: dict[str, str | int]) -> None:
    """Load libraries and compile kernels, so that no figure holds them."""
    with tempfile.TemporaryDirectory() as folder:
        Nvdiffrec(settings | {"iterations": 3}, lambda percent, step: None).inference(capture, Path(folder))


def one(label: str, model: str, capture: Capture, truth: Path, settings: dict[str, str | int]) -> Score:
    """Run one model on one capture, write its files, score them."""
    runner = Fusion({}, _silent) if model == "fusion" else Nvdiffrec(settings, _silent)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
        began = time.perf_counter()
        runner.load_weights()
        result = runner.inference(capture, folder)
        write_all(result.mesh, folder / "files", {})
        seconds = time.perf_counter() - began
        runner.cleanup()
        mesh = read_glb(folder / "files" / "mesh.glb")
    psnr, ssim, masked = score_pictures(mesh, truth)
    f5, _, _ = score_geometry(mesh, truth / "gt.npz")
    return Score(
        label,
        model if result.made_by is None else f"{model} ({result.made_by}'s)",
        psnr,
        ssim,
        masked,
        depth_error_px(mesh, truth),
        f5,
        bool(trimesh.Trimesh(mesh.vertices, mesh.faces, process=False).is_watertight),
        seconds,
        result.figures.get("peak_vram_mib"),
        sum(one["done"] for one in result.figures.get("refine", [])) or None,
    )


def depth_error_px(mesh: TexturedMesh, truth: Path) -> float:
    """Median over the held-out views of the median depth error against the true surface, in pixels' widths."""
    true, stated = np.load(truth / "gt.npz"), json.loads((truth / "transforms.json").read_text())
    medians = []
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
        wanted = rasterize(camera, true["V"], true["F"].astype(np.int32)).depth
        got = rasterize(camera, mesh.vertices, mesh.faces).depth
        both = (wanted > 0) & (got > 0)
        medians.append(float(np.median(np.abs(wanted - got)[both] * camera.fx / wanted[both])))
    return float(np.median(medians))


HEAD = (
    "| capture | model | PSNR | SSIM | masked PSNR | depth px | F@0.005 | watertight | s | MiB | steps |\n"
    "|---|---|---|---|---|---|---|---|---|---|---|\n"
)


def row(score: Score) -> str:
    """One line of the table."""
    return (
        f"| {score.capture} | {score.model} | {score.psnr:.2f} | {score.ssim:.4f} | {score.masked:.2f} "
        f"| {score.depth_px:.3f} | {score.f5:.4f} | {'yes' if score.watertight else 'NO'} | {score.seconds:.1f} "
        f"| {score.vram_mib or ''} | {score.steps or ''} |"
    )


def summary(scores: list[Score]) -> str:
    """What the second model of each pair earned."""
    gains = [second.psnr - first.psnr for first, second in zip(scores[::2], scores[1::2], strict=True)]
    return (
        f"\nover fusion: mean {np.mean(gains):+.2f} dB, least {min(gains):+.2f} dB; longest job "
        f"{max(score.seconds for score in scores[1::2]):.1f} s; most memory "
        f"{max(score.vram_mib or 0 for score in scores)} MiB; watertight "
        f"{sum(score.watertight for score in scores[1::2])} of {len(gains)}"
    )


def _silent(percent: float, step: str) -> None:
    """Nobody watches."""


if __name__ == "__main__":
    main()
