"""What pass 2 believes: the negative logarithm of a posterior, in squared standard deviations.

Colours, coverage and depth each have a noise, and are robust where the model is wrong rather than noisy; the priors are
a thin plate that may crease (``surface.Plate``) and a texture whose change is smooth.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from meshdrop.models.nvdiffrec.drawing import Drawing
from meshdrop.models.nvdiffrec.scene import Scene


@dataclass(frozen=True)
class Weights:
    """Standard deviations and priors.

    ``colour`` and ``coverage`` of a pixel (0..1), ``depth`` as a factor on each view's measured noise. Deviations
    beyond ``robust`` of them count in proportion only. ``bending`` weighs the thin plate; a radius of curvature below
    ``crease_px`` pixels counts as a crease. ``texture`` weighs the difference between neighbouring texels' changes.
    """

    colour: float = 0.1
    coverage: float = 0.05
    depth: float = 1.0
    robust: float = 3.0
    bending: float = 30.0
    crease_px: float = 10.0
    texture: float = 0.1


def deviations(drawing: Drawing, scene: Scene, weights: Weights) -> dict[str, Tensor]:
    """What the drawing is off by, in standard deviations, (N, H, W, C) each."""
    sigma = (weights.depth * scene.noise).clamp_min(1e-9)[:, None, None, None]
    return {
        "colour": (drawing.colour - scene.target) * scene.inside / weights.colour,
        "coverage": (drawing.coverage - scene.mask) * scene.inside / weights.coverage,
        "depth": (drawing.depth - scene.depth) * drawing.whole * (scene.depth > 0) / sigma,
    }


def robust(deviation: Tensor, bend: float) -> Tensor:
    """Sum of squared deviations that grow linearly beyond ``bend`` (Charbonnier et al. 1997)."""
    return 2 * bend**2 * ((1 + (deviation / bend).square()).sqrt() - 1).sum()


def curvature_probe(off: dict[str, Tensor], vertices: Tensor, bend: float) -> Tensor:
    """An estimate of the diagonal of the Gauss-Newton matrix of ``vertices`` (V, 3), from one random vector of signs.

    (J' s)^2 has the diagonal of J'J as its mean (Hutchinson 1990; Bekas, Kokiopoulou and Saad 2007). Keeps the graph.
    """
    signed = [
        (values * values.detach().div(bend).square().add(1).pow(-0.25) * _signs(values)).sum()
        for values in off.values()
    ]
    return torch.autograd.grad(torch.stack(signed).sum(), [vertices], retain_graph=True)[0].square()


def _signs(like: Tensor) -> Tensor:
    return torch.randint(0, 2, like.shape, device=like.device).to(like.dtype) * 2 - 1


def roughness(change: Tensor) -> Tensor:
    """Squared differences of neighbouring texels of ``change`` (h, w, C), summed."""
    return (change[1:] - change[:-1]).square().sum() + (change[:, 1:] - change[:, :-1]).square().sum()


def masked_psnr(drawing: Drawing, scene: Scene) -> Tensor:
    """PSNR in dB over white on the object's pixels, mean over views: a scalar tensor."""
    error = (drawing.colour - drawing.coverage - scene.target + scene.mask).square()
    mask = (scene.mask >= 0.5).to(error.dtype)
    return (-10 * torch.log10((error * mask).sum((1, 2, 3)) / (3 * mask.sum((1, 2, 3))).clamp_min(1))).mean()
