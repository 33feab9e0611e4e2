"""Do a material and a light explain the photographs better than the captured colours do? Asked of views not fitted to.

Both ways of colouring the refined mesh are fitted to the same photographs, from the same start, and drawn alike; one
view in six is spared and decides. What wins is fitted once more, to all photographs, and delivered.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from meshdrop.models.axes.stance import Stance
from meshdrop.models.capture.capture import Capture
from meshdrop.models.capture.holdout import FITTED_AT_LEAST, hold_out
from meshdrop.models.contract.base import Writer
from meshdrop.models.mesh.mesh import TexturedMesh
from meshdrop.models.mesh.output_formats import MATERIAL_FILES
from meshdrop.models.mesh.pbr import Material, write_pbr_glb
from meshdrop.models.mesh.radiance_hdr import turned, write_hdr
from meshdrop.models.nvdiffrec.appearance import Lit, Optics, Painted
from meshdrop.models.nvdiffrec.appearance_fit import A, Fitted, Gallery, back_projected, fit
from meshdrop.models.nvdiffrec.losses import Weights
from meshdrop.models.nvdiffrec.material import to_file
from meshdrop.models.nvdiffrec.passes import plan
from meshdrop.models.nvdiffrec.samples import samples_of
from meshdrop.models.nvdiffrec.scene import build_scene
from meshdrop.models.raster.differentiable import Raster
from meshdrop.models.surface.range_view import RangeView

#: The material must be better on the spared views by this much, in dB: less is no reason for two more files.
LEAST_GAIN_DB = 0.1
#: Twice as many take twice as long, and earn 1.5 dB more where the material wins by 9 dB anyhow.
MOST_STEPS = 100
#: Captured colours, two kinds of light, and the better one on all views.
MOST_FITS = 4

#: Called with what is fitted, how many fits there were before, the step, and the loss.
Report = Callable[[str, int, int, float], None]


@dataclass(frozen=True)
class Found:
    """A material and ``radiance`` (H, W, 3), the map of its light, fitted to all photographs."""

    material: Material
    radiance: NDArray[np.float32]

    def files(self, mesh: TexturedMesh, attached: bool) -> dict[str, Writer]:
        """Writers of ``MATERIAL_FILES`` for the mesh that it was fitted on; a light that is fixed in the world is
        written in the axes of the GLB's scene, which stands on +Y."""

        def lit(path: Path, extras: Mapping[str, Any]) -> None:
            write_pbr_glb(mesh, self.material, path, {**extras, "light": "camera" if attached else "world"})

        def light(path: Path, extras: Mapping[str, Any]) -> None:
            stance = Stance.of(extras)
            stands = attached or stance.is_upright
            write_hdr(path, self.radiance if stands else turned(self.radiance, stance.rotation))

        return dict(zip(MATERIAL_FILES, (lit, light), strict=True))


@dataclass(frozen=True)
class Contest:
    """How it went: mean PSNR in dB on the ``spared`` views, on the object, of the captured colours and of the material
    (not a number when its fit broke down).

    ``attached`` says that the better light was fixed to the camera; its map is then in the camera's axes (x right, y
    up, looking along -z), else in the world's. ``steps`` of the last fit and the ``best_step`` of them. ``found`` is
    None when the material has lost.
    """

    spared: tuple[str, ...]
    colours_db: float
    material_db: float
    attached: bool
    steps: int
    best_step: int
    found: Found | None

    @property
    def verdict(self) -> str:
        """The outcome as a sentence."""
        if not math.isfinite(self.material_db):
            return "no fit of a material got beyond its start"
        kind = "a light on the camera" if self.attached else "a light fixed in the world"
        views = f"{len(self.spared)} spared view{'s' * (len(self.spared) > 1)}"
        return (
            f"on {views} a material under {kind} reaches {self.material_db:.2f} dB, the captured colours "
            f"{self.colours_db:.2f} dB; it must be better by {LEAST_GAIN_DB} dB"
        )

    def to_json(self) -> dict[str, Any]:
        """Plain values; a fit that broke down has no figure."""
        return {
            "spared": list(self.spared),
            "captured_colours_db": _finite(self.colours_db),
            "material_db": _finite(self.material_db),
            "light": "camera" if self.attached else "world",
            "steps": self.steps,
            "best_step": self.best_step,
            "delivered": self.found is not None,
        }


def too_few_views(capture: Capture) -> str | None:
    """Why no view of the capture can be spared, as a sentence; None when some can."""
    _, spared = hold_out(capture)
    if spared:
        return None
    return (
        f"{len(capture.views)} views are fitted to, and none can be spared to judge materials by: that takes more "
        f"than {FITTED_AT_LEAST}"
    )


def decompose(
    raster: Raster,
    capture: Capture,
    prepared: Sequence[RangeView],
    gains: NDArray[np.float32],
    mesh: TexturedMesh,
    samples: int,
    steps: int,
    report: Report,
) -> Contest:
    """Hold the contest for ``capture`` (with views to spare) and ``mesh``, drawing at most ``samples`` samples.

    ``prepared`` and ``gains`` (N, 3) belong to the capture's views, ``steps`` is the length of each fit, at most
    ``MOST_STEPS`` of them. Waits for the device only at the looks.
    """
    _, spared = hold_out(capture)
    mesh, steps = mesh.cleaned(), min(steps, MOST_STEPS)
    side, shrink = plan(capture.views, samples)
    bounds = np.stack([mesh.vertices.min(axis=0), mesh.vertices.max(axis=0)]).astype(np.float64)
    scene = build_scene(capture.views, prepared, gains, bounds, shrink, raster.device)
    everything = Gallery(raster, scene, samples_of(raster, scene, mesh, side))
    judges = [n for n, view in enumerate(capture.views) if view.name in spared]
    others = [n for n, view in enumerate(capture.views) if view.name not in spared]
    return _Contestants(everything.only(others), mesh.texture.shape[:2], steps, report).meet(
        everything.only(judges), everything, spared
    )


class _Contestants:
    """Those who are fitted to the same views from the same start."""

    def __init__(self, known: Gallery, size: tuple[int, int], steps: int, report: Report) -> None:
        self._known, self._size, self._steps, self._progress = known, size, steps, report
        self._weights, self._optics = Weights(), Optics.on(known.raster.device)
        self._fits = 0

    def meet(self, judges: Gallery, everything: Gallery, spared: tuple[str, ...]) -> Contest:
        """Fit, compare on ``judges``; the material, if it wins, is fitted again to ``everything``."""
        start = back_projected(self._known, self._size)
        painted = self._fitted(self._known, Painted(start, self._weights), "captured colours")
        runs = [
            self._lit(self._known, start, attached, f"material under {name}")
            for attached, name in ((False, "a fixed light"), (True, "a light on the camera"))
        ]
        better = min(runs, key=lambda run: run.loss)
        attached = better.appearance.attached
        colours_db = judges.psnr(painted.appearance.as_delivered())
        material_db = judges.psnr(better.appearance.as_delivered()) if math.isfinite(better.loss) else math.nan
        contest = Contest(spared, colours_db, material_db, attached, better.done, better.step, None)
        if not contest.material_db >= contest.colours_db + LEAST_GAIN_DB:
            return contest
        final = self._lit(everything, back_projected(everything, self._size), attached, "material, all views")
        if not math.isfinite(final.loss):
            return replace(contest, material_db=math.nan)
        found = Found(to_file(final.appearance.textures()), final.appearance.radiance().detach().cpu().numpy())
        return replace(contest, steps=final.done, best_step=final.step, found=found)

    def _lit(self, gallery: Gallery, start: Tensor, attached: bool, name: str) -> Fitted[Lit]:
        return self._fitted(gallery, Lit(start, gallery.pixels, attached, self._optics, self._weights), name)

    def _fitted(self, gallery: Gallery, appearance: A, name: str) -> Fitted[A]:
        def look(step: int, loss: float) -> None:
            self._progress(name, self._fits, step, loss)

        fitted = fit(gallery, appearance, self._weights, self._steps, look)
        self._fits += 1
        return fitted


def _finite(value: float) -> float | None:
    return round(value, 3) if math.isfinite(value) else None
