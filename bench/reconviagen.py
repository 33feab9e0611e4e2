"""reconviagen stage by stage, beside upstream's own functions in the same run.

    python bench/reconviagen.py --code CHECKOUT [--captures DIR] [--object spot] [--profile ...] [--runs 3] [--to-glb]
        [--preset seeds] [--dinov2 CHECKOUT] [--weights DIR]

Needs a CUDA device and a checkout of ReconViaGen. Without ``--weights`` networks of the published sizes are filled
with random numbers (7.5 GB in a temporary folder). Random networks make noise, so in both programs two decoders answer,
after all their work, with a known shape: the capture's true surface, turned by a yaw and scaled into the generator's
cube. What follows the networks then has an object to work on whose place is known, and it is said whether it was found.

Times are from pictures in memory to written files, libraries loaded, medians of the runs; "load" is reading weights
from the local disk. MiB are the most that torch held in the stage. ``--to-glb`` runs upstream's export as well, which
needs the packages that it calls. Upstream has no registration, and its times hold none.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
import trimesh
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import distance_transform_edt, label
from scipy.spatial import cKDTree
from torch.nn.functional import grid_sample

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from meshdrop.models.capture.capture import Capture, read_capture
from meshdrop.models.mesh.mesh import write_all
from meshdrop.models.reconviagen import upstream as published
from meshdrop.models.reconviagen import weights
from meshdrop.models.reconviagen.images import prepare_views
from meshdrop.models.reconviagen.model import UPRIGHT, Reconviagen
from meshdrop.models.reconviagen.pipeline import STAGES, Generator
from meshdrop.models.reconviagen.presets import PRESETS, Preset
from meshdrop.models.reconviagen.to_glb import SIMPLIFY
from meshdrop.models.reconviagen.upstream import Upstream
from tests.unit.models.reconviagen import full_size, theirs
from tests.unit.models.reconviagen.full_size import Distance

ROOT = Path(__file__).resolve().parents[1]
CUDA = torch.device("cuda")
#: The generated object's turn against the capture, degrees about the vertical.
YAW = 137.0
#: Of the cube's side, how much the object fills.
FILLS = 0.95
#: Lattice points a side of the known shape's distances; between them they are interpolated.
LATTICE = 129
PROFILES = ("resident", "staged", "tiny")
Times = dict[str, list[float]]


def main() -> None:
    """Run and print the tables."""
    wish = _wish()
    code = published.load(wish.code, to_glb=wish.to_glb)
    print(
        f"{time.strftime('%Y-%m-%d')}, {torch.cuda.get_device_name()}, {os.cpu_count()} CPU cores, torch "
        f"{torch.__version__}, Python {platform.python_version()}, {code.revision}",
        flush=True,
    )
    print("; ".join(code.notes) or "sparse convolutions by spconv", flush=True)
    capture = read_capture(wish.captures / wish.object / "capture")
    placed = _Placed(wish.captures / wish.object / "truth" / "gt.npz")
    with contextlib.ExitStack() as stack:
        folder = wish.weights or stack.enter_context(_random_weights(code, wish.dinov2))
        distance = None if wish.weights else placed.distance()
        rows: dict[str, Times] = {}
        peaks: dict[str, dict[str, int]] = {}
        for profile in wish.profile:
            rows[profile], peaks[profile] = ours(code, folder, distance, capture, profile, wish, placed)
        rows["upstream"], peaks["upstream"] = upstreams(code, folder, distance, capture, PRESETS[wish.preset], wish)
    print(table(rows, peaks))


def _wish() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    beside = Path(os.environ.get("MESHDROP_TEST_CAPTURES") or ROOT.parent / "shared" / "captures")
    parser.add_argument("--code", type=Path, help="a checkout of ReconViaGen (default: MESHDROP_TRELLIS)")
    parser.add_argument("--captures", type=Path, default=beside, help="folder of captures (default: %(default)s)")
    parser.add_argument("--object", default="spot", help="the capture (default: %(default)s)")
    parser.add_argument("--profile", nargs="*", default=PROFILES, choices=PROFILES, help="default: all")
    parser.add_argument("--preset", default="seeds", choices=tuple(PRESETS), help="default: %(default)s")
    parser.add_argument("--runs", type=int, default=3, help="measured runs after one that warms up (default: 3)")
    parser.add_argument("--to-glb", action="store_true", help="upstream's own export too")
    parser.add_argument("--weights", type=Path, help="folder of the published weights")
    parser.add_argument("--dinov2", type=Path, help="a checkout of DINOv2; without one its place is taken by one layer")
    return parser.parse_args()


@contextlib.contextmanager
def _random_weights(code: Upstream, dinov2: Path | None) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="reconviagen-") as scratch:
        yield full_size.write(Path(scratch) / "weights", code, CUDA, dinov2.resolve() if dinov2 else None)


class _Placed:
    """A true surface in the capture's metres, and the same in the generator's cube."""

    def __init__(self, file: Path) -> None:
        truth = np.load(file)
        self.vertices, self.faces = truth["V"].astype(np.float64), truth["F"]
        low, high = self.vertices.min(axis=0), self.vertices.max(axis=0)
        self.middle, self.scale = (low + high) / 2, FILLS / float((high - low).max())
        yaw = np.radians(YAW)
        self.turn = np.array([[np.cos(yaw), 0, np.sin(yaw)], [0, 1, 0], [-np.sin(yaw), 0, np.cos(yaw)]])

    def distance(self) -> Distance:
        """Signed distances in the cube, for both programs' decoders."""
        turned = (self.vertices - self.middle) * self.scale @ self.turn.T @ UPRIGHT  # rows: UPRIGHT undone
        field = torch.from_numpy(2 * _signed_distances(turned, self.faces)).to(CUDA)[None, None]

        def at(points: torch.Tensor) -> torch.Tensor:
            flat = points.to(CUDA, torch.float32).reshape(1, 1, 1, -1, 3).flip(-1)  # grid_sample wants z, y, x
            return grid_sample(field, flat, align_corners=True, padding_mode="border").reshape(points.shape[:-1])

        return at

    def degrees_off(self, matrix: NDArray[np.float64]) -> float:
        """How far a registration's rotation is from the true one."""
        rotation = matrix[:3, :3] / np.cbrt(np.linalg.det(matrix[:3, :3]))
        cosine = (np.trace(rotation @ self.turn) - 1) / 2
        return float(np.degrees(np.arccos(np.clip(cosine, -1, 1))))


def _signed_distances(vertices: NDArray[np.float64], faces: NDArray[np.integer]) -> NDArray[np.float32]:
    """(LATTICE,) * 3 distances to a closed surface in [-0.5, 0.5]^3, positive outside: exact near it, by the nearest of
    many surface points, and by steps of the lattice far from it."""
    mesh = trimesh.Trimesh(vertices, faces, process=False)
    points, face = trimesh.sample.sample_surface(mesh, 600_000, seed=0)
    step = 1 / (LATTICE - 1)
    at = np.clip(np.round((points + 0.5) / step).astype(int), 0, LATTICE - 1)
    empty = np.ones((LATTICE,) * 3, bool)
    empty[tuple(at.T)] = False
    far = distance_transform_edt(empty) * step
    near = far < 5 * step
    pieces, _ = label(~near)
    signed: NDArray[np.float64] = np.where(pieces == pieces[0, 0, 0], far, -far)
    lattice = np.argwhere(near) * step - 0.5
    found, nearest = cKDTree(points).query(lattice, workers=-1)
    outward = ((lattice - points[nearest]) * mesh.face_normals[face[nearest]]).sum(axis=1)
    signed[near] = np.copysign(found, outward)
    return signed.astype(np.float32)


# -- ours --------------------------------------------------------------------------------------------------------------


def ours(
    code: Upstream,
    folder: Path,
    distance: Distance | None,
    capture: Capture,
    profile: str,
    wish: argparse.Namespace,
    placed: _Placed,
) -> tuple[Times, dict[str, int]]:
    """Seconds of every stage in every run, and the most memory of each."""
    times: Times = {}
    peaks: dict[str, int] = {}
    torch.cuda.empty_cache()
    before = torch.cuda.memory_allocated()
    runner = _runner(code, folder, distance, profile, wish.preset)
    began = time.perf_counter()
    runner.load_weights()
    torch.cuda.synchronize()
    once = time.perf_counter() - began
    for number in range(wish.runs + 1):
        with tempfile.TemporaryDirectory() as scratch:
            began = time.perf_counter()
            result = runner.inference(capture, Path(scratch))
            inferred = time.perf_counter()
            write_all(result.mesh, Path(scratch) / "files", {})
            ended = time.perf_counter()
        if number == 0:
            continue
        figures = result.figures
        generated = figures["generation"]["stages"]
        for stage in generated:
            times.setdefault(stage["name"], []).append(stage["seconds"])
            peaks[stage["name"]] = max(peaks.get(stage["name"], 0), stage["peak_mib"])
        times.setdefault("load", []).append(sum(stage["load_seconds"] for stage in generated))
        for stage in figures["stages"]:
            if stage["name"] != "generation":
                times.setdefault(stage["name"], []).append(stage["ended"] - stage["started"])
        times.setdefault("writing", []).append(ended - inferred)
        times.setdefault("images to files", []).append(ended - began)
    found = figures["registration"]
    off = "" if distance is None else f", {placed.degrees_off(np.array(found['matrix'])):.2f} degrees off"
    print(
        f"{profile}: loaded in {once:.1f} s; {figures['generation']['voxels']} cells, {figures['vertices']} vertices, "
        f"{found['status']}{off}, IoU {found['iou']:.3f}; left behind after cleanup: ",
        end="",
    )
    runner.cleanup()
    torch.cuda.empty_cache()
    print(f"{(torch.cuda.memory_allocated() - before) >> 20} MiB", flush=True)
    return times, peaks


def _runner(code: Upstream, folder: Path, distance: Distance | None, profile: str, preset: str) -> Reconviagen:
    """The model as the worker makes it, but with these weights and, where given, the known shape."""
    settings = {"preset": preset, "profile": profile, "code": str(code.root)}
    with patch.multiple(weights, where=lambda: folder, require=lambda folder: None):
        runner = Reconviagen(settings, lambda percent, step: None)
    builders = None if distance is None else full_size.builders(code, folder, CUDA, distance)
    made = Generator(code, folder, PRESETS[preset], profile, CUDA, builders=builders)
    runner._generator = made
    runner.load_weights = made.load  # type: ignore[method-assign]
    return runner


# -- upstream's --------------------------------------------------------------------------------------------------------


def upstreams(
    code: Upstream, folder: Path, distance: Distance | None, capture: Capture, preset: Preset, wish: argparse.Namespace
) -> tuple[Times, dict[str, int]]:
    """The same stages by upstream's functions, every network loaded."""
    trunk = full_size.trunk(code, folder, CUDA)
    line = theirs.pipeline(code, folder, trunk, CUDA)
    if distance is not None:
        full_size.know_cells(line.models["sparse_structure_decoder"], distance)
        full_size.know_surface(line.models["slat_decoder_mesh"], distance)
    times: Times = {}
    peaks: dict[str, int] = {}
    to_glb = code.module("trellis.utils.postprocessing_utils").to_glb if wish.to_glb else None
    for number in range(wish.runs + 1):
        clock = _Clock(times if number else {}, peaks)
        began = time.perf_counter()
        with clock("pictures"):
            pictures = [Image.fromarray(picture) for picture in prepare_views(capture.views)]
        outputs = _upstreams_run(line, pictures, preset, clock)
        if to_glb is not None:
            with clock("to_glb"):
                made = to_glb(*outputs, simplify=SIMPLIFY, texture_size=1024, verbose=False)
            with clock("writing"), tempfile.TemporaryDirectory() as scratch:
                made.export(Path(scratch) / "mesh.glb")
        clock.times.setdefault("images to files", []).append(time.perf_counter() - began)
    return times, peaks


def _upstreams_run(line: Any, pictures: list[Image.Image], preset: Preset, clock: _Clock) -> tuple[Any, Any]:
    """What ``TrellisVGGTTo3DPipeline.run`` does, call by call, so that each can be timed: Gaussians and mesh."""
    torch.manual_seed(preset.seed)
    with torch.no_grad(), contextlib.redirect_stderr(io.StringIO()):
        with clock("vggt"), torch.autocast("cuda", line.VGGT_dtype):
            tokens, _ = line.vggt_feat(pictures)
        with clock("dinov2"):
            seen = line.encode_image(pictures).reshape(1, len(pictures), -1, 1024)
        with clock("conditioning"):
            known, looks = line.get_ss_cond(seen[:, :, 5:], tokens, 1), line.get_slat_cond(seen, tokens, 1)
        with clock("structure"):
            flow = line.models["sparse_structure_flow_model"]
            noise = torch.randn(1, flow.in_channels, *[flow.resolution] * 3).to(CUDA)
            asked = line.sparse_structure_sampler_params | theirs.asked(preset.structure)
            latent = line.sparse_structure_sampler.sample(flow, noise, **known, **asked).samples
        with clock("occupancy"):
            coords = torch.argwhere(line.models["sparse_structure_decoder"](latent) > 0)[:, [0, 2, 3, 4]].int()
        with clock("latents"):
            latents = line.sample_slat(looks, coords, theirs.asked(preset.latents))
        with clock("gaussians"):
            gaussians = line.decode_slat(latents, ["gaussian"])["gaussian"][0]
        with clock("mesh"):
            return gaussians, line.decode_slat(latents, ["mesh"])["mesh"][0]


class _Clock:
    """Times stages and notes the most memory in each."""

    def __init__(self, times: Times, peaks: dict[str, int]) -> None:
        self.times, self.peaks = times, peaks

    @contextlib.contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        began = time.perf_counter()
        yield
        torch.cuda.synchronize()
        self.times.setdefault(name, []).append(time.perf_counter() - began)
        self.peaks[name] = max(self.peaks.get(name, 0), torch.cuda.max_memory_allocated() >> 20)


# -- the tables --------------------------------------------------------------------------------------------------------


def table(rows: dict[str, Times], peaks: dict[str, dict[str, int]]) -> str:
    """Seconds and MiB by stage and program, and the ratio of the whole."""
    after = ("load", "pictures", "closing", "registration", "export", "to_glb", "writing", "images to files")
    head = " | ".join(f"{name} s | MiB" for name in rows)
    lines = ["", f"| stage | {head} |", "|---" * (1 + 2 * len(rows)) + "|"]
    for stage in (*STAGES, *after):
        cells = []
        for name, times in rows.items():
            seconds = f"{statistics.median(times[stage]):.3f}" if times.get(stage) else ""
            cells += [seconds, str(peaks[name].get(stage) or "")]
        lines.append(f"| {stage} | " + " | ".join(cells) + " |")
    lines.append("| most | " + " | ".join(f" | {max(peaks[name].values())}" for name in rows) + " |")
    lines.append("")
    whole = {name: statistics.median(times["images to files"]) for name, times in rows.items()}
    lines += [f"{name}: {whole['upstream'] / whole[name]:.2f} times as fast as upstream" for name in list(rows)[:-1]]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
