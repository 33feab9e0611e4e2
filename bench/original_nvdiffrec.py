"""The original nvdiffrec on one of our captures: `python bench/original_nvdiffrec.py --checkout DIR --capture DIR`.

``--checkout`` is a working checkout of NVlabs/nvdiffrec (for research and evaluation only, by its licence; nothing of
it is part of this project) with the Python packages it needs; ``--capture`` a folder with ``capture/`` and ``truth/``.
The original sees what it was made for: RGBA pictures and cameras, no depth, a random start, its DMTet grid of 64.

- Seconds run from the start of its process to its end; its CUDA code is compiled before, in a process of its own.
  A pass runs from its first to its last logged step; the time between is validation, UV layout and files.
  With `--curve-every` they contain the pictures that it asks for.
- Milliseconds a step are its own figure, which leaves out loading the batch and those pictures.
- Pictures: what *it* renders of the held-out cameras after each pass, over white, in 8 bits, against the true pictures:
  PSNR of the whole image, mean over the views.
- Geometry: its `mesh/mesh.obj`, scored as `bench/fusion.py` scores ours.

The result counts only if it is complete; otherwise the run ends with everything that is wrong with it.
"""

from __future__ import annotations

import argparse
import math
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench.fusion import score_geometry
from bench.original_inputs import held_out_views, write_inputs
from bench.original_result import PASSES, read_obj
from bench.original_run import RECIPES, Incomplete, Run, compile_ahead, finished_run, run
from meshdrop.models.capture.capture import read_capture


@dataclass(frozen=True)
class Moment:
    """One point of the curve: mean PSNR of as many successive pictures as there are views, at their mean time."""

    seconds: float
    pass_number: int
    iteration: float
    psnr: float


def score_pictures(run: Run, truth: Path) -> tuple[float, float]:
    """Mean PSNR of the held-out views after pass 1 and after pass 2.

    Raises ``Incomplete`` where pictures are missing or its idea of the true ones is not ours.
    """
    wanted = [picture for _, picture in held_out_views(truth)]
    first, second = (_validation_psnr(run.results / folder, wanted) for folder, _ in PASSES)
    return first, second


def score_curve(run: Run, truth: Path) -> list[Moment]:
    """PSNR against time, from the pictures that ``curve_every`` asked for; empty without.

    It shows another view each time, so each moment is the mean over one round of all views.
    """
    every, wanted = run.config["save_interval"], [picture for _, picture in held_out_views(truth)]
    moments = []
    for number, (_, prefix) in enumerate(PASSES, 1):
        at = {step.iteration: step.seconds for step in run.log.passes[number - 1]}
        count = run.config["iter"] // every + 1 if every else 0
        for start in range(0, count - len(wanted) + 1, len(wanted)):
            shown = range(start, start + len(wanted))
            pairs = zip(shown, wanted, strict=True)
            psnrs = [_psnr(_left_half(run.results / f"{prefix}_{index:06d}.png"), true) for index, true in pairs]
            steps = [index * every for index in shown]
            seconds = float(np.mean([at[step] for step in steps]))
            moments.append(Moment(seconds, number, float(np.mean(steps)), float(np.mean(psnrs))))
    return moments


def _validation_psnr(folder: Path, wanted: Sequence[NDArray[np.uint8]]) -> float:
    psnrs = []
    for number, true in enumerate(wanted):
        rendered, reference = (folder / f"val_{number:06d}_{kind}.png" for kind in ("opt", "ref"))
        if not rendered.is_file() or not reference.is_file():
            raise Incomplete(f"{rendered} or its reference was not written")
        if np.abs(np.asarray(Image.open(reference)).astype(int) - true).max() > 1:  # through linear light and back
            raise Incomplete(f"{reference} is not the held-out picture {number}")
        psnrs.append(_psnr(np.asarray(Image.open(rendered)), true))
    return float(np.mean(psnrs))


def _left_half(path: Path) -> NDArray[np.uint8]:
    """Its picture; the right half is the reference."""
    both = np.asarray(Image.open(path))
    return both[:, : both.shape[1] // 2]


def _psnr(picture: NDArray[np.uint8], true: NDArray[np.uint8]) -> float:
    error = float(np.mean((picture.astype(np.float64) - true) ** 2)) / 255**2
    return -10 * math.log10(error) if error else math.inf


def main() -> None:
    """Run, score and print; exit status 1 with the reasons where the run is not complete."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkout", type=Path, required=True, help="a checkout of the original that runs here")
    parser.add_argument("--capture", type=Path, required=True, help="folder with capture/ and truth/")
    parser.add_argument("--iterations", type=int, default=500, help="steps of each pass (default: %(default)s)")
    parser.add_argument("--recipe", choices=sorted(RECIPES), default="spot", help="its settings (default: %(default)s)")
    parser.add_argument("--mesh-scale", type=float, default=1.2, help="side of its grid, metres (default: %(default)s)")
    parser.add_argument("--curve-every", type=int, default=0, metavar="N", help="render a held-out view every N steps")
    parser.add_argument("--timeout", type=float, default=3600, metavar="SECONDS", help="(default: %(default)s)")
    parser.add_argument("--out", type=Path, help="keep its files here; a finished run found there is only scored")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="original-") as scratch:
        out = arguments.out or Path(scratch) / "out"
        try:
            if (out / "log.txt").is_file():
                finished = finished_run(out)
            else:
                print(f"its CUDA code compiled in {compile_ahead(arguments.checkout):.1f} s\n", flush=True)
                data = Path(scratch) / "data"
                write_inputs(read_capture(arguments.capture / "capture"), arguments.capture / "truth", data)
                finished = run(
                    arguments.checkout,
                    data,
                    out,
                    arguments.iterations,
                    recipe=arguments.recipe,
                    mesh_scale=arguments.mesh_scale,
                    curve_every=arguments.curve_every,
                    timeout_s=arguments.timeout,
                )
            print_table(finished, arguments.capture)
        except Incomplete as error:
            sys.exit(str(error))


def print_table(run: Run, capture: Path) -> None:
    """One row of figures, then the curve where there is one."""
    psnrs = score_pictures(run, capture / "truth")
    mesh = read_obj(run.results / "mesh")
    f5, f2, chamfer = score_geometry(mesh, capture / "truth" / "gt.npz")
    figures = {"object": capture.name, "steps": f"2 x {run.config['iter']}", "s": f"{run.log.seconds:.1f}"}
    for number, (steps, psnr) in enumerate(zip(run.log.passes, psnrs, strict=True), 1):
        # The first logged step carries what happens once; the others are means of ten.
        ms = np.mean([step.ms for step in steps[1:]])
        figures[f"pass {number} s"] = f"{steps[-1].seconds - steps[0].seconds:.1f}"
        figures[f"pass {number} ended s"] = f"{steps[-1].seconds:.1f}"
        figures[f"pass {number} ms/step"] = f"{ms:.1f}"
        figures[f"pass {number} PSNR"] = f"{psnr:.2f}"
    figures |= {"F@0.005": f"{f5:.4f}", "F@0.002": f"{f2:.4f}", "chamfer e-3": f"{chamfer * 1e3:.3f}"}
    figures |= {"faces": str(len(mesh.faces))}
    figures |= {"torch peak MiB": _whole(run.log.allocated_mib), "card peak MiB": _whole(run.log.card_mib)}
    print("| " + " | ".join(figures) + " |\n|" + "---|" * len(figures) + "\n| " + " | ".join(figures.values()) + " |")
    if moments := score_curve(run, capture / "truth"):
        print("\n| s | pass | step | PSNR |\n|---|---|---|---|")
        for moment in moments:
            print(f"| {moment.seconds:.1f} | {moment.pass_number} | {moment.iteration:.0f} | {moment.psnr:.2f} |")


def _whole(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.0f}"


if __name__ == "__main__":
    main()
