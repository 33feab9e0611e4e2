"""Fitting the colours of a fixed mesh to photographs: where they start, and the steps that an optimiser takes."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Generic, TypeVar

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, interpolate

from meshdrop.models.nvdiffrec.appearance import Appearance, Colouring, draw
from meshdrop.models.nvdiffrec.losses import Weights, masked_psnr, robust
from meshdrop.models.nvdiffrec.samples import Samples
from meshdrop.models.nvdiffrec.scene import Scene
from meshdrop.models.raster.differentiable import Raster

#: Steps over which the rates grow, the share to which they fall, and after how many the state is looked at and kept.
WARM_UP, LAST, LOOK_EVERY = 10, 0.05, 25
#: What counts as all of a pixel.
WHOLE = 0.999

A = TypeVar("A", bound=Appearance)
#: Called at every look with the step and the loss.
Look = Callable[[int, float], None]


@dataclass(frozen=True)
class Gallery:
    """Photographs and the samples that draw the mesh for the same cameras."""

    raster: Raster
    scene: Scene
    samples: Samples

    def only(self, views: Sequence[int]) -> Gallery:
        """Those views alone."""
        index = torch.tensor(views, device=self.raster.device)
        scene = Scene(**{field.name: getattr(self.scene, field.name)[index] for field in fields(Scene)})
        return replace(self, scene=scene, samples=self.samples.only(index))

    @property
    def pixels(self) -> float:
        """How many pixels the object covers, in all views together."""
        return float(self.scene.mask.sum())

    def groups(self) -> list[tuple[Scene, Samples]]:
        """Few views at a time, as the samples' memory allows."""
        return [(_cut(self.scene, part), samples) for part, samples in self.samples.groups()]

    def psnr(self, colouring: Colouring) -> float:
        """Mean PSNR in dB over the views, over white, on the object's pixels."""
        with torch.no_grad():
            values = [
                masked_psnr(draw(self.raster, samples, colouring), scene) * len(scene.clip)
                for scene, samples in self.groups()
            ]
            return float(torch.stack(values).sum()) / len(self.scene.clip)


def back_projected(gallery: Gallery, size: tuple[int, int]) -> Tensor:
    """The texture (h, w, 3), sRGB, that is each texel's mean colour in the photographs; others take their neighbours'.

    The transpose of looking up a texture, applied to the photographs and to ones: the quotient is the mean, with the
    weights of bilinear look-ups. Pixels that the object or the mesh fills in part do not count.
    """
    raster, side = gallery.raster, gallery.samples.seen.samples
    sums = torch.zeros(*size, 4, device=raster.device, requires_grad=True)
    for scene, samples in gallery.groups():
        counted = (scene.mask >= WHOLE).to(sums.dtype)
        photograph = torch.cat([scene.target * counted, counted], dim=-1)
        fine = photograph.repeat_interleave(side, dim=1).repeat_interleave(side, dim=2)
        (raster.texture(sums, samples.uv) * fine * samples.seen.hit).sum().backward()  # type: ignore[no-untyped-call]
    if sums.grad is None:
        raise ValueError("there are no photographs")
    return _filled(sums.grad)


def _filled(sums: Tensor) -> Tensor:
    """Sums of colours and their weight (h, w, 4) as colours; where there are none, of ever larger blocks around."""
    level = sums.permute(2, 0, 1)[None]
    levels = [level]
    while max(level.shape[-2:]) > 1:
        level = avg_pool2d(level, 2, ceil_mode=True)
        levels.append(level)
    colour = torch.full_like(level[:, :3], 0.5)
    for level in reversed(levels):
        wide = interpolate(colour, size=level.shape[-2:], mode="bilinear", align_corners=False)
        weight = level[:, 3:]
        colour = torch.where(weight > 0, level[:, :3] / weight.clamp_min(1e-12), wide)
    return colour[0].permute(1, 2, 0).clamp(0, 1).contiguous()


@dataclass(frozen=True)
class Fitted(Generic[A]):
    """The best state of a fit: ``loss`` in squared standard deviations (infinite when none was better than the start),
    the ``step`` it belongs to and how many were ``done``."""

    appearance: A
    loss: float
    step: int
    done: int


def fit(gallery: Gallery, appearance: A, weights: Weights, steps: int, look: Look) -> Fitted[A]:
    """Adam (Kingma and Ba 2015) on all views in every step; changes ``appearance`` and leaves its best state in it.

    The host waits for the device at the looks only. Numbers that break down end the fit at the last look's state.
    """
    groups = gallery.groups()
    parameters = [tensor for tensor, _ in appearance.parameters()]
    rates = [rate for _, rate in appearance.parameters()]
    optimiser = torch.optim.Adam([{"params": [tensor]} for tensor in parameters], betas=(0.9, 0.99))
    best, kept, step = (math.inf, 0), [tensor.detach().clone() for tensor in parameters], 0
    while True:
        optimiser.zero_grad()
        parts = [_loss(gallery.raster, scene, samples, appearance, weights) for scene, samples in groups]
        prior = appearance.prior()
        prior.backward()  # type: ignore[no-untyped-call]
        if step % LOOK_EVERY == 0 or step == steps:
            loss = float(torch.stack([*parts, prior.detach()]).sum())
            look(step, loss)
            if loss < best[0]:
                best, kept = (loss, step), [tensor.detach().clone() for tensor in parameters]
            if step == steps or not math.isfinite(loss):
                break
        pace = min(1.0, (step + 1) / WARM_UP) * LAST ** (step / max(steps - 1, 1))
        for group, rate in zip(optimiser.param_groups, rates, strict=True):
            group["lr"] = pace * rate
        for tensor in parameters:
            # a direction that is no number crashes look-ups on the CPU before the next look could find out
            if tensor.grad is not None:
                torch.nan_to_num_(tensor.grad, nan=0.0, posinf=0.0, neginf=0.0)
        optimiser.step()
        appearance.confine()
        step += 1
    with torch.no_grad():
        for tensor, state in zip(parameters, kept, strict=True):
            tensor.copy_(state)
    return Fitted(appearance, best[0] if best[1] else math.inf, best[1], step)


def _loss(raster: Raster, scene: Scene, samples: Samples, appearance: Appearance, weights: Weights) -> Tensor:
    """The colours' part of the loss for some views; its gradient is added to the parameters'."""
    off = (draw(raster, samples, appearance).colour - scene.target) * scene.inside / weights.colour
    loss = robust(off, weights.robust)
    loss.backward()  # type: ignore[no-untyped-call]
    return loss.detach()


def _cut(scene: Scene, part: slice) -> Scene:
    return Scene(**{field.name: getattr(scene, field.name)[part] for field in fields(Scene)})
