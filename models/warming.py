"""Compiling every kernel once, before the first stranger's capture, so that no worker that reads one has to keep any.

Which kernels there are follows from what calls them: a small run of the whole way, with depth and without.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from meshdrop.models.capture.capture import Capture, read_capture
from meshdrop.models.contract.base import Progress
from meshdrop.models.files.limits import CaptureLimits
from meshdrop.models.fusion.model import Fusion
from meshdrop.models.measure.measure import measure
from meshdrop.models.mesh.mesh import write_all

#: Kernels are compiled for the kinds of their arguments, not for the sizes.
_SMALL = {"resolution": 48, "texture_size": 256, "max_faces": 2500}


def warm_up(sample: Path, folder: Path, limits: CaptureLimits, report: Progress) -> None:
    """Run ``fusion`` and the measuring on ``sample``, a capture with depth; what they make goes into ``folder``."""
    report(0, "compiling for this machine, once")
    whole = read_capture(sample, limits)
    without_depth = replace(whole, views=tuple(replace(view, depth=None) for view in whole.views))
    # The first compiles nearly all of them.
    _run(whole, folder / "with_depth", lambda percent, step: report(0.8 * percent, f"compiling for {step}"))
    _run(without_depth, folder / "without_depth", lambda percent, step: report(80 + 0.2 * percent, f"trying {step}"))


def _run(capture: Capture, folder: Path, report: Progress) -> None:
    model, scratch = folder / "fusion", folder / "scratch"
    for path in (model, scratch, folder / "measured"):
        path.mkdir(parents=True)
    result = Fusion(_SMALL, lambda percent, step: report(0.7 * percent, step)).inference(capture, scratch)
    files = [path.name for path in write_all(result.mesh, model, {})]
    measure(
        capture,
        {"fusion": model},
        folder / "measured",
        lambda percent, step: report(70 + 0.3 * percent, step),
        {},
        {"fusion": files},
        (),
    )
