"""What becomes of one capture, in a process of its own: `python bench/real_capture.py FOLDER INTO [--open3d PYTHON]`.

It is read, probed, fused, written, read back, measured and appraised as the service does it. Writes
``INTO/outcome.json``, and the pictures beside it.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Collection
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from bench.against_open3d import Agreement, Agreements, Draw, NotMade, agreements, beside_each_other, made_by_open3d  # noqa: E402
from meshdrop.daemon.reporting import grades  # noqa: E402
from meshdrop.models.capture.capture import Capture, Subject, read_stated_capture  # noqa: E402
from meshdrop.models.capture.holdout import hold_out  # noqa: E402
from meshdrop.models.capture.local_origin import near  # noqa: E402
from meshdrop.models.contract.base import ModelResult, silent  # noqa: E402
from meshdrop.models.files.problem import CaptureError  # noqa: E402
from meshdrop.models.formats.cameras import Camera  # noqa: E402
from meshdrop.models.fusion.model import Fusion  # noqa: E402
from meshdrop.models.measure.figures import Measurement  # noqa: E402
from meshdrop.models.measure.judged_views import hand_back, handed_cameras, handed_masks, subject_of, views_to_judge  # noqa: E402
from meshdrop.models.measure.measure import SAMPLES, measure  # noqa: E402
from meshdrop.models.measure.standing import standing, up_of  # noqa: E402
from meshdrop.models.mesh.mesh import read_glb, write_all  # noqa: E402
from meshdrop.models.probe.probe import probe  # noqa: E402
from meshdrop.models.raster.render import Picture, render  # noqa: E402
from meshdrop.models.worker import classify  # noqa: E402

T = TypeVar("T")

OUTCOME, MODEL = "outcome.json", "fusion"
#: Stages of the model that Open3D's fusion has no counterpart of.
DRESSING = ("charts", "texture")


@dataclass(frozen=True)
class Competitor:
    """One mesh beside the other: ``error`` says why there is none, or how well it agrees and what it took."""

    error: str | None = None
    agreement: Agreements | None = None
    voxel_mm: float = 0.0
    triangles: int = 0
    cpu_s: float = 0.0
    memory_mb: float = 0.0
    version: str = ""


@dataclass
class Outcome:
    """What became of a capture. ``said`` is the sentence with which it ended, empty for one that was measured.
    ``cpu_s`` are processor seconds by step, ``shape_cpu_s`` those of the model without charts and texture. ``short_of``
    are the answers that keep it from being good. ``beside`` is how our mesh agrees, found as for Open3D's.
    """

    verdict: str = ""
    said: str = ""
    subject: Subject | None = None
    views: int = 0
    psnr_db: float | None = None
    ssim: float | None = None
    iou: float | None = None
    triangles: int = 0
    voxel_mm: float = 0.0
    cpu_s: dict[str, float] = field(default_factory=dict)
    shape_cpu_s: float = 0.0
    memory_mb: float = 0.0
    short_of: list[str] = field(default_factory=list)
    beside: Agreements | None = None
    open3d: Competitor | None = None

    @classmethod
    def read(cls, file: Path) -> Outcome:
        """What another process wrote."""
        told = json.loads(file.read_text(encoding="utf-8"))
        told["beside"] = _agreements(told["beside"])
        if (other := told["open3d"]) is not None:
            told["open3d"] = Competitor(**{**other, "agreement": _agreements(other["agreement"])})
        return cls(**told)

    def took(self, step: str, work: Callable[[], T]) -> T:
        """Do one step and keep its processor seconds, also when it raises."""
        began = time.process_time()
        try:
            return work()
        finally:
            self.cpu_s[step] = time.process_time() - began


def _agreements(told: dict[str, Any] | None) -> Agreements | None:
    if told is None:
        return None
    spared = told["held_out"]
    return Agreements(Agreement(**told["all_views"]), None if spared is None else Agreement(**spared))


def main() -> None:
    """Do it all and write the outcome, whatever becomes of the capture."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("into", type=Path, help="an empty folder")
    parser.add_argument("--open3d", type=Path, metavar="PYTHON")
    parser.add_argument("--voxel-mm", type=float, help="Open3D's voxel (default: the one of our own mesh)")
    arguments = parser.parse_args()
    outcome = Outcome()
    try:
        become(outcome, arguments.folder, arguments.into, arguments.open3d, arguments.voxel_mm)
    except CaptureError as error:
        outcome.verdict, outcome.said = "refused", told_in_a_line(error)
    except Exception as error:
        kind, message, _ = classify(error)
        outcome.verdict, outcome.said = f"no mesh ({kind})", " ".join(message.split())
    outcome.memory_mb = outcome.memory_mb or most_memory_mb()
    (arguments.into / OUTCOME).write_text(json.dumps(asdict(outcome)), encoding="utf-8")


def told_in_a_line(error: CaptureError) -> str:
    """The first problem with its cure, and how many there are beside it."""
    more = len(error.problems) - 1
    others = f" (and {more} more problem{'s' if more > 1 else ''})" if more else ""
    return " ".join(str(error.problems[0]).split()) + others


def become(outcome: Outcome, folder: Path, into: Path, python: Path | None, voxel_mm: float | None) -> None:
    """Fill ``outcome`` in, step by step; raises what ends it early."""
    whole = outcome.took("reading", lambda: read_and_probed(folder))
    outcome.views = len(whole.views)
    fitted, held_out = hold_out(whole)
    made = into / MODEL
    made.mkdir()
    with tempfile.TemporaryDirectory() as scratch:
        result = outcome.took("model", lambda: Fusion({}, silent).inference(fitted, Path(scratch)))
    upright = standing(whole, up_of(whole, result))
    files = [path.name for path in outcome.took("writing", lambda: write_all(result.mesh, made, upright))]
    hand_back(made, result.masks, result.cameras)
    tell_of_model(outcome, result)
    subject = subject_of(result.figures)
    found = outcome.took(
        "measuring",
        lambda: measure(
            whole, {MODEL: made}, into, silent, {MODEL: held_out}, {MODEL: files}, subjects={MODEL: subject}
        ),
    )
    outcome.memory_mb = most_memory_mb()
    tell_of_quality(outcome, found)
    compare(outcome, whole, held_out, into, python, voxel_mm)


def read_and_probed(folder: Path) -> Capture:
    """The capture, if the service would take it; raises ``CaptureError``."""
    capture, expectation = read_stated_capture(folder)
    problem = probe(capture, expectation.stated).problem
    if problem is not None:
        raise CaptureError([problem])
    return near(capture)


def most_memory_mb() -> float:
    """The most that this process held since it was started, in megabytes of 10^6 bytes."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024 / 1e6


def tell_of_model(outcome: Outcome, result: ModelResult) -> None:
    """What the model says of its mesh."""
    stages: dict[str, Any] = dict(result.figures["cpu_seconds"])
    outcome.subject = subject_of(result.figures)
    outcome.triangles = len(result.mesh.faces)
    outcome.voxel_mm = 1000 * float(result.figures["voxel_m"])
    outcome.shape_cpu_s = sum(float(seconds) for stage, seconds in stages.items() if stage not in DRESSING)


def tell_of_quality(outcome: Outcome, found: Measurement) -> None:
    """What the service measures of it, and the verdict."""
    measured = found.models[MODEL]
    if measured.quality is None:
        outcome.verdict, outcome.said = "no mesh (garbage)", (measured.error or {}).get("message", "")
        return
    appraisal = grades.appraise(measured.quality)
    outcome.verdict = appraisal.verdict
    outcome.short_of = [f"{answer.question}: {answer.says}" for answer in appraisal.short_of("normal")]
    mean = measured.quality.mean
    outcome.psnr_db, outcome.ssim, outcome.iou = mean.psnr_masked_db, mean.ssim_masked, mean.silhouette_iou


def compare(
    outcome: Outcome, whole: Capture, held_out: Collection[str], into: Path, python: Path | None, voxel_mm: float | None
) -> None:
    """Both meshes against what was photographed: ours from its refined cameras, Open3D's from the stated ones."""
    made = into / MODEL
    if outcome.subject is None or outcome.said:
        return
    masks, ours = handed_masks(made, whole), read_glb(made / "mesh.glb")
    stated = views_to_judge(whole, outcome.subject, masks)
    judged = views_to_judge(whole, outcome.subject, masks, handed_cameras(made, whole, outcome.subject))

    def drawn(camera: Camera) -> Picture:
        return render(ours, camera, samples=SAMPLES)

    outcome.beside = agreements(drawn, judged, held_out, diagonal(ours.vertices))
    columns: list[tuple[Capture, Draw | None]] = [(judged, None), (judged, drawn)]
    if python is not None:
        voxel_m = outcome.voxel_mm / 1000 if voxel_mm is None else voxel_mm / 1000
        try:
            theirs = made_by_open3d(python, without(stated, held_out), voxel_m)
        except NotMade as error:
            outcome.open3d = Competitor(error=" ".join(str(error).split()))
        else:
            mesh = theirs.mesh
            agrees = agreements(mesh.draw, stated, held_out, diagonal(mesh.vertices))
            outcome.open3d = Competitor(
                None, agrees, 1000 * voxel_m, len(mesh.faces), theirs.cpu_s, theirs.memory_mb, theirs.version
            )
            columns.append((stated, mesh.draw))
    beside_each_other(columns, ours.vertices).save(into / "beside.png")


def without(capture: Capture, names: Collection[str]) -> Capture:
    """The capture without some of its views."""
    return replace(capture, views=tuple(view for view in capture.views if view.name not in names))


def diagonal(vertices: NDArray[np.float32]) -> float:
    """Of the bounding box, metres."""
    return float(np.linalg.norm(np.ptp(vertices.astype(np.float64), axis=0)))


if __name__ == "__main__":
    main()
