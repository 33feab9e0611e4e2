"""Pass 2 in rounds: each starts on charts and colours made anew for the surface that the one before came to.

Charts and colours are solved for exactly, on a surface that stands still; a gradient that moves both at once comes near
to that only slowly. On the same pictures a second start earns more than the same steps without it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from meshdrop.models.capture.capture import Capture
from meshdrop.models.contract.base import ModelResult, silent
from meshdrop.models.contract.options import AUTO, choices_of
from meshdrop.models.contract.stages import StageLog
from meshdrop.models.mesh.cleaning import degenerate
from meshdrop.models.mesh.mesh import TexturedMesh
from meshdrop.models.nvdiffrec.passes import refine_mesh
from meshdrop.models.nvdiffrec.refine import Look, Refined
from meshdrop.models.nvdiffrec.settings import SAMPLES, NvdiffrecSettings
from meshdrop.models.raster.differentiable import Raster
from meshdrop.models.surface.dressing import TimedStages, dress
from meshdrop.models.surface.range_view import RangeView

Floats = NDArray[np.float32]

#: Rounds on a surface that depth has measured. One that was searched for is off by more than colours can tell.
ROUNDS = 2

#: Told the share of the work that is done, 0..1, and what is being done.
Tell = Callable[[float, str], None]


@dataclass(frozen=True)
class RoundOutcome:
    """``result`` is the best mesh, dressed and refined; ``preset`` the one that fitted; ``rounds`` all that was run."""

    result: ModelResult
    preset: str
    rounds: tuple[Refined, ...]

    def to_json(self) -> list[dict[str, Any]]:
        """Every round as plain values."""
        return [_told(refined) for refined in self.rounds]


def dressed(
    capture: Capture,
    views: list[RangeView],
    vertices: NDArray[np.float64],
    faces: NDArray[np.int32],
    size: int,
    log: StageLog,
) -> ModelResult:
    """A closed surface with charts and the photographs' colours, as fusion makes them; ``size`` texels a side."""
    with log.stage("dress"):
        mesh, unseen, facts = dress(capture, views, vertices, faces, size, AUTO, TimedStages(silent))
    return ModelResult(mesh, facts, (), unseen)


def refine(
    raster: Raster,
    capture: Capture,
    views: list[RangeView],
    draft: ModelResult,
    count: int,
    options: NvdiffrecSettings,
    log: StageLog,
    tell: Tell,
) -> RoundOutcome:
    """Pass 2 on ``draft``. ``count`` rounds share ``options.iterations``; the best by the photographs is the result.

    When the GPU is full, the next smaller preset is tried once: raises ``torch.cuda.OutOfMemoryError`` when that does
    not fit either.
    """
    every = choices_of(NvdiffrecSettings, "preset")
    presets = list(every[every.index(options.preset) :][:2])
    rounds, best = list[Refined](), draft
    for number in range(count):
        steps = (options.iterations + count - 1 - number) // count
        if steps == 0 or (rounds and rounds[-1].step == 0):
            break
        if rounds:
            tell(number / count, "charts and colours")
            vertices = best.mesh.vertices.astype(np.float64)
            draft = dressed(capture, views, vertices, best.mesh.faces, options.texture_size, log)

        def report(look: Look, number: int = number, steps: int = steps) -> None:
            left = f", {look.seconds / look.step * (steps - look.step):.0f} s left" if look.step else ""
            tell(
                (number + look.step / steps) / count,
                f"pass 2, round {number + 1} of {count}, step {look.step} of {steps}: loss {look.loss:.4g}, "
                f"{look.psnr:.1f} dB{left}",
            )

        refined = _fitting(presets, raster, capture, views, draft, steps, log, report)
        if not rounds or refined.psnr > rounds[-1].psnr:
            best = replace(draft, mesh=_mesh(draft.mesh, refined))
        rounds.append(refined)
    return RoundOutcome(best, presets[0], tuple(rounds))


def _fitting(
    presets: list[str],
    raster: Raster,
    capture: Capture,
    views: list[RangeView],
    draft: ModelResult,
    steps: int,
    log: StageLog,
    report: Callable[[Look], None],
) -> Refined:
    """One round with the first of ``presets`` that fits; those that do not are taken off the list."""
    gains = np.array(draft.figures["view_gains"], np.float32)
    while True:
        with log.stage("pass 2", steps) as stage:
            try:
                refined = refine_mesh(
                    raster, capture.views, views, gains, draft.mesh, SAMPLES[presets[0]], steps, report
                )
            except torch.cuda.OutOfMemoryError:
                if len(presets) == 1:
                    raise
                stage.status, stage.reason = "failed", f"the GPU's memory does not hold preset {presets.pop(0)}"
                torch.cuda.empty_cache()
                continue
            stage.iterations, stage.best_step, stage.reason = refined.done, refined.step, refined.why
            return refined


def _mesh(draft: TexturedMesh, refined: Refined) -> TexturedMesh:
    """The draft with the refined vertices and texture."""
    vertices = refined.draft.vertices.cpu().numpy().astype(np.float32)
    return replace(
        draft,
        vertices=unfolded(vertices, draft.vertices, draft.faces),
        texture=np.round(refined.draft.texture.cpu().numpy() * 255).astype(np.uint8),
    )


def unfolded(vertices: Floats, before: Floats, faces: NDArray[np.int32]) -> Floats:
    """``vertices`` (V, 3), put back to where they were ``before`` at every triangle that has lost its area since.

    Noisy depth leaves tunnels that no camera looks into. There bending alone acts, which draws their walls together
    into a line; mending such triangles afterwards would join the walls, and the surface would not be closed any more.
    """
    sound = ~degenerate(before, faces)
    while (lost := degenerate(vertices, faces) & sound).any():
        back = np.zeros(len(vertices), np.bool_)
        back[faces[lost]] = True
        vertices = np.where(back[:, None], before, vertices)
    return vertices


def _told(refined: Refined) -> dict[str, Any]:
    return {
        "best_step": refined.step,
        "done": refined.done,
        "rolled_back": refined.rolled_back,
        "why": refined.why,
        "looks": [
            {
                "step": look.step,
                "psnr": round(look.psnr, 3),
                "seconds": round(look.seconds, 3),
                **{name: round(value, 1) for name, value in look.parts.items()},
            }
            for look in refined.looks
        ],
    }
