"""Pass 2: vertices and texture of a fixed mesh, fitted to all photographs, silhouettes and depths at once."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from meshdrop.models.nvdiffrec.drawing import Draft, Drawing, draw
from meshdrop.models.nvdiffrec.losses import Weights, curvature_probe, deviations, masked_psnr, robust, roughness
from meshdrop.models.nvdiffrec.scene import Scene
from meshdrop.models.nvdiffrec.surface import Connections, NewtonSteps, Plate
from meshdrop.models.raster.differentiable import Raster

#: A pixel moves with the three corners of its triangle: so much larger is the row sum than the diagonal.
SHARED = 3.0
#: The data's curvature is probed at each of the first steps, then now and then; old probes fade.
FIRST_PROBES, PROBE_EVERY, PROBE_SHARE = 8, 5, 0.05
#: Steps between two looks at the figures. Only there does the host wait for the device.
CHECK_EVERY = 50
#: Steps before which no run begins to end: noisy depth gains little at first.
FEWEST_STEPS = 100
#: After this many failed attempts at going on from the last good state, that state is the result.
MOST_ROLLBACKS = 3


@dataclass(frozen=True)
class Schedule:
    """``iterations`` steps at most. ``vertices`` is the share of a Newton step, ``texture`` Adam's rate in 0..1; both
    grow over ``warm_up`` steps and fall to the share ``last``. ``momentum`` of the vertices, none of which moves
    further than ``furthest`` pixels in a step. ``samples`` a side per pixel. When the masked PSNR has gained less than
    ``least_gain`` dB between two looks, the rates fall to ``last`` until the next look, and the run ends there."""

    iterations: int = 500
    samples: int = 4
    vertices: float = 0.3
    texture: float = 0.01
    last: float = 0.05
    warm_up: int = 20
    momentum: float = 0.7
    furthest: float = 0.25
    least_gain: float = 0.02


@dataclass(frozen=True)
class Look:
    """What one look found before ``step``: the parts of the loss in squared standard deviations, masked PSNR in dB,
    ``seconds`` since the start."""

    step: int
    psnr: float
    parts: dict[str, float]
    seconds: float

    @property
    def loss(self) -> float:
        """The sum of the parts; NaN when the run has broken down."""
        return sum(self.parts.values())


@dataclass(frozen=True)
class Refined:
    """The best state found: ``draft``, the ``step`` and masked ``psnr`` in dB that belong to it, how many steps were
    ``done``, every ``Look`` on the way, how often the run was ``rolled_back``, and ``why`` it ended."""

    draft: Draft
    step: int
    psnr: float
    done: int
    looks: tuple[Look, ...]
    rolled_back: int
    why: str


Report = Callable[[Look], None]


class Refinement:
    """One run of pass 2. ``footprint`` is a pixel's width on the object in metres."""

    def __init__(
        self,
        raster: Raster,
        scene: Scene,
        draft: Draft,
        table: Connections,
        footprint: float,
        weights: Weights,
        schedule: Schedule,
    ) -> None:
        self._raster, self._scene, self._table = raster, scene, table
        self._footprint, self._weights, self._schedule = footprint, weights, schedule
        self._start = draft
        self._newton = NewtonSteps(table, weights.bending)
        self._pace = 1.0
        self._cooling: int | None = None
        self._take_up(draft)

    def run(self, report: Report) -> Refined:
        """Step until the iterations are used up or nothing is gained any more; returns the best state of all looks."""
        began, looks, best, why = time.monotonic(), list[Look](), (-1, self._start), "all iterations done"
        most, before, rolled_back, step = -float("inf"), -float("inf"), 0, 0
        while step <= self._schedule.iterations:
            drawing, off, parts = self._measure()
            if step % CHECK_EVERY == 0 or step == self._schedule.iterations:
                look = self._look(step, drawing, parts, began)
                if look.loss != look.loss:
                    rolled_back += 1
                    if rolled_back > MOST_ROLLBACKS:
                        why = "the numbers broke down again and again"
                        break
                    step, before, self._cooling = max(best[0], 0), -float("inf"), None
                    self._pace /= 2
                    self._take_up(best[1])
                    continue
                report(look)
                gained, before = look.psnr - before, look.psnr
                looks.append(look)
                if look.psnr > most:
                    most, best = look.psnr, (step, self._state())
                if self._cooling is not None:
                    why = "nothing more was gained"
                    break
                if gained < self._schedule.least_gain and step >= FEWEST_STEPS:
                    self._cooling = step
            if step == self._schedule.iterations:
                break
            self._step(step, off, parts)
            step += 1
        return Refined(best[1], max(best[0], 0), most, step, tuple(looks), rolled_back, why)

    def _take_up(self, draft: Draft) -> None:
        """Go on from ``draft`` with no memory of earlier steps."""
        self._vertices = draft.vertices.detach().clone().requires_grad_(True)
        self._texture = draft.texture.detach().clone().requires_grad_(True)
        self._painter = torch.optim.Adam([self._texture], lr=self._schedule.texture, betas=(0.9, 0.99))
        self._velocity = torch.zeros_like(draft.vertices)
        self._curvature = torch.zeros_like(draft.vertices)
        self._probes = 0

    def _state(self) -> Draft:
        return replace(self._start, vertices=self._vertices.detach().clone(), texture=self._texture.detach().clone())

    def _measure(self) -> tuple[Drawing, dict[str, Tensor], dict[str, Tensor]]:
        draft = replace(self._start, vertices=self._vertices, texture=self._texture)
        drawing = draw(self._raster, self._scene, draft, self._schedule.samples)
        off = deviations(drawing, self._scene, self._weights)
        parts = {name: robust(values, self._weights.robust) for name, values in off.items()}
        change = self._texture - self._start.texture
        parts["texture"] = self._weights.texture / self._weights.colour**2 * roughness(change)
        return drawing, off, parts

    def _look(self, step: int, drawing: Drawing, parts: dict[str, Tensor], began: float) -> Look:
        with torch.no_grad():
            bending = self._weights.bending * self._plate().energy(self._vertices)
            values = torch.stack([masked_psnr(drawing, self._scene), *parts.values(), bending]).tolist()
        named = dict(zip([*parts, "bending"], values[1:], strict=True))
        return Look(step, values[0], named, time.monotonic() - began)

    def _plate(self) -> Plate:
        return Plate.at(self._vertices.detach(), self._table, 1 / (self._weights.crease_px * self._footprint))

    def _rate(self, step: int) -> float:
        """The share of the full rates that ``step`` takes."""
        schedule = self._schedule
        share = min((step if self._cooling is None else self._cooling) / max(schedule.iterations - 1, 1), 1.0)
        if self._cooling is not None:
            share += (1 - share) * min((step - self._cooling + 1) / CHECK_EVERY, 1.0)
        return float(self._pace * min(1.0, (step + 1) / schedule.warm_up) * schedule.last**share)

    def _step(self, step: int, off: dict[str, Tensor], parts: dict[str, Tensor]) -> None:
        schedule, bending = self._schedule, self._weights.bending
        if step < FIRST_PROBES or step % PROBE_EVERY == 0:
            self._probes += 1
            fresh = self._table.mean(curvature_probe(off, self._vertices, self._weights.robust))
            self._curvature.lerp_(fresh, max(1 / self._probes, PROBE_SHARE))
        total = torch.stack(list(parts.values())).sum()
        by_vertex, by_texel = torch.autograd.grad(total, [self._vertices, self._texture])
        rate = self._rate(step)
        with torch.no_grad():
            plate = self._plate()
            # the force is half of the plate's gradient, the probe half of the data's Hessian
            downhill = 0.5 * by_vertex + bending * plate.force(self._vertices)
            stiffness = SHARED * self._curvature + 1e-3 * self._curvature.mean()
            wanted = self._newton(downhill, stiffness, plate)
            self._velocity.mul_(schedule.momentum).add_(wanted)
            move = rate * schedule.vertices * self._velocity
            length = move.norm(dim=1, keepdim=True).clamp_min(1e-12)
            self._vertices.sub_(move * (schedule.furthest * self._footprint / length).clamp_max(1.0))
            for group in self._painter.param_groups:
                group["lr"] = rate * schedule.texture
            self._texture.grad = by_texel
            self._painter.step()
            self._texture.clamp_(0, 1)
