"""What becomes of real captures: `python bench/real.py [NAME ...] [--captures DIR] [--open3d PYTHON] [--pictures DIR]`.

Every folder in DIR is read, probed, fused with default settings, measured and appraised as the service does it, in a
process of its own. One that is refused gets its sentence.

- Verdict: by the service's own grades. PSNR and SSIM over the whole mask, IoU of outlines: likeness, as in the report;
  means over all views. In a scene every pixel of the picture belongs to it.
- Covered: share of the measured depth on the object that the mesh covers. Depth and offset: median error of a view, and
  median of rendered minus measured, positive behind the measurement; means over all views.
- CPU-s: of reading and probing, of the model, of measuring with all its pictures; kernels were compiled before, but
  every process loads them. MB: the most that the process held.

With ``--open3d``, an interpreter that has Open3D, the same frames go through its VoxelBlockGrid (a truncated distance
field in blocks, vertex colours, no texture), and both meshes are compared with the photographs by the same code. Frames
are those that our model was given, cut by the capture's masks, or for an object on a table by those that our model made
of it; views that neither was given are compared too, and alone in a row of their own. Our mesh is compared from its
refined cameras, Open3D's from the stated ones; held-out views have stated ones only. PSNR is over the object's pixels
that a mesh covers; "after exposure" as the verdict compares colours. ``--pictures`` keeps for each capture the files,
the contact sheet, turntables, and ``beside.png``: photograph, ours, Open3D.
"""

from __future__ import annotations

import argparse
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from bench.against_open3d import Agreement, Agreements  # noqa: E402
from bench.real_capture import OUTCOME, Outcome  # noqa: E402

CHILD, SAMPLE = Path(__file__).with_name("real_capture.py"), ROOT / "samples" / "snail"
COLUMNS = (
    *("capture", "subject", "verdict", "PSNR / SSIM / IoU", "covered", "depth, offset mm"),
    *("CPU-s read / model / measure", "MB"),
)
BESIDE = (
    *("capture", "mesh", "voxel mm", "covered", "PSNR where hit", "after exposure", "depth mm", "offset mm"),
    *("triangles", "CPU-s", "MB"),
)


def main() -> None:
    """Run and print; exit status 1 when there was no capture, or one had to be given up for another reason than its
    own."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    beside = ROOT.parent / "shared" / "real"
    parser.add_argument("names", nargs="*", metavar="NAME", help="captures (default: every folder in DIR)")
    parser.add_argument("--captures", type=Path, default=beside, metavar="DIR", help="default: %(default)s")
    parser.add_argument("--open3d", type=Path, metavar="PYTHON", help="an interpreter whose environment has open3d")
    parser.add_argument("--voxel-mm", type=float, help="Open3D's voxel (default: the one of our own mesh)")
    parser.add_argument("--pictures", type=Path, metavar="DIR", help="keep pictures of every capture here")
    arguments = parser.parse_args()
    folders = chosen(arguments.captures, arguments.names)
    there = next((path for folder in folders if (path := (arguments.pictures or Path()) / folder.name).exists()), None)
    if arguments.pictures and there:
        sys.exit(f"{there} is there already; name a fresh folder with --pictures")
    options = [] if arguments.open3d is None else ["--open3d", str(arguments.open3d)]
    options += [] if arguments.voxel_mm is None else ["--voxel-mm", str(arguments.voxel_mm)]
    with tempfile.TemporaryDirectory(prefix="meshdrop-bench-") as scratch:
        become(SAMPLE, Path(scratch) / "kernels", [])  # compiled once, before anything is counted
        into = arguments.pictures or Path(scratch)
        print(head(COLUMNS))
        outcomes = {}
        for folder in folders:
            outcomes[folder.name] = become(folder, into / folder.name, options)
            print(line_of(folder.name, outcomes[folder.name]), flush=True)
    print(*answers(outcomes), *table_beside(outcomes), sep="\n")
    sys.exit(1 if any(outcome.verdict.startswith("no mesh") for outcome in outcomes.values()) else 0)


def chosen(captures: Path, names: list[str]) -> list[Path]:
    """The folders to run on; ends the program where one is not there."""
    folders = [captures / name for name in names] or sorted(path for path in captures.glob("*") if path.is_dir())
    missing = [folder for folder in folders if not folder.is_dir()]
    if missing or not folders:
        sys.exit(
            f"no capture at {missing[0] if missing else captures}; name the folder that holds them with --captures"
        )
    return [Path(folder) for folder in folders]


def become(folder: Path, into: Path, options: list[str]) -> Outcome:
    """What becomes of one capture, in a process whose output is kept in ``into/log.txt``."""
    into.mkdir(parents=True, exist_ok=False)
    with (into / "log.txt").open("wb") as log:
        command = [sys.executable, str(CHILD), str(folder.resolve()), str(into), *options]
        ended = subprocess.run(command, stdout=log, stderr=log, check=False)
    if (into / OUTCOME).is_file():
        return Outcome.read(into / OUTCOME)
    how = signal.Signals(-ended.returncode).name if ended.returncode < 0 else f"exit code {ended.returncode}"
    return Outcome(verdict="no mesh (crash)", said=f"The process died ({how}).")


def line_of(name: str, outcome: Outcome) -> str:
    """A row of the first table."""
    seconds = " / ".join(number(outcome.cpu_s.get(step), ".1f") for step in ("reading", "model", "measuring"))
    cost = f"{seconds} | {outcome.memory_mb:,.0f} |"
    if outcome.said:  # why there are no figures
        return f"| {name} | | {outcome.verdict}: {outcome.said} | | | | {cost}"
    likeness = f"{number(outcome.psnr_db, '.1f')} / {number(outcome.ssim, '.3f')} / {number(outcome.iou, '.3f')}"
    covered, _, _, median, offset = figures_of(None if outcome.beside is None else outcome.beside.all_views)
    return (
        f"| {name} | {outcome.subject} | **{outcome.verdict}** | {likeness} | {covered} | {median}, {offset} | {cost}"
    )


def answers(outcomes: dict[str, Outcome]) -> Iterator[str]:
    """What keeps a mesh from being good, a line for each answer."""
    if any(outcome.short_of for outcome in outcomes.values()):
        yield ""
    for name, outcome in outcomes.items():
        for answer in outcome.short_of:
            yield f"- {name}: {answer}"


def table_beside(outcomes: dict[str, Outcome]) -> Iterator[str]:
    """Ours and Open3D's, two rows a capture; nothing where Open3D was not asked."""
    asked = [(name, one, one.open3d) for name, one in outcomes.items() if one.open3d is not None]
    if asked:
        yield from ("", head(BESIDE))
    for name, ours, theirs in asked:
        seconds = f"{ours.cpu_s['model']:.1f}, without texture {ours.shape_cpu_s:.1f}"
        cost = f"{ours.triangles:,} | {seconds} | {ours.memory_mb:,.0f} |"
        yield from rows_beside(name, "ours", ours.voxel_mm, ours.beside, cost)
        if theirs.error is not None:
            yield f"| | Open3D: {theirs.error}" + " |" * (len(BESIDE) - 1)
            continue
        cost = f"{theirs.triangles:,} | {theirs.cpu_s:.1f} | {theirs.memory_mb:,.0f} |"
        yield from rows_beside("", f"Open3D {theirs.version}", theirs.voxel_mm, theirs.agreement, cost)


def rows_beside(name: str, mesh: str, voxel_mm: float, found: Agreements | None, cost: str) -> Iterator[str]:
    """A row for all views, and one for those alone that the mesh was not made from."""
    figures = " | ".join(figures_of(None if found is None else found.all_views))
    yield f"| {name} | {mesh} | {voxel_mm:.2f} | {figures} | {cost}"
    if found is not None and found.held_out is not None:
        yield f"| | the same, held-out views | | {' | '.join(figures_of(found.held_out))} | | | |"


def head(columns: tuple[str, ...]) -> str:
    """The first two lines of a table."""
    return f"| {' | '.join(columns)} |\n|{'---|' * len(columns)}"


def figures_of(found: Agreement | None) -> tuple[str, str, str, str, str]:
    """Covered share, PSNR where hit as it is and after exposure, median error and offset."""
    found = found or Agreement()
    return (
        number(found.covered, ".3f"),
        number(found.psnr_hit_db, ".1f"),
        number(found.exposed_db, ".1f"),
        number(found.median_mm, ".2f"),
        number(found.bias_mm, "+.2f"),
    )


def number(value: float | None, how: str) -> str:
    """A figure, or a dash where there is none."""
    return "–" if value is None else format(value, how)


if __name__ == "__main__":
    main()
