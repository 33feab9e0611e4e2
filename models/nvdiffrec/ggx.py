"""Directions drawn from the two lobes that every surface here has: the cosine lobe and GGX.

All in the lobe's own frame, +z along its axis, float64 on the CPU: only constants are built from them. The points are
the middles of a fixed grid of cells, never random: the same constants everywhere. Directions far off the axis of a GGX
lobe are rare but count, so rings get narrower towards them, and every direction comes with its weight; weights sum to
one.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import normalize

GOLDEN = (math.sqrt(5) - 1) / 2


def cosine_directions(rings: int, spokes: int) -> tuple[Tensor, Tensor]:
    """Unit directions (S, 3) with density cos / pi over the upper hemisphere, and their weights (S,)."""
    share, angle, weight = _cells(rings, spokes)
    return _spherical(torch.sqrt(1 - share), angle), weight


def ggx_half_vectors(alpha: float, rings: int, spokes: int) -> tuple[Tensor, Tensor]:
    """Unit half vectors (S, 3) with density D(h) (n.h), and their weights (S,): Walter et al. 2007, equations 33 to 36.

    ``alpha`` is the width of the GGX distribution, 0 (all equal to +z) to 1; glTF's is the squared roughness.
    """
    share, angle, weight = _cells(rings, spokes)
    return _spherical(torch.sqrt((1 - share) / (1 + (alpha * alpha - 1) * share)), angle), weight


def visible_half_vectors(alpha: float, view: Tensor, rings: int, spokes: int) -> tuple[Tensor, Tensor]:
    """Unit half vectors (N, S, 3) among those that each unit ``view`` (N, 3), z > 0, can see, and their weights (S,).

    Heitz 2018, "Sampling the GGX Distribution of Visible Normals", sections 3 and 4. A lobe drawn like this is weighed
    by the masking towards the light alone, which stays between 0 and 1 at grazing views too.
    """
    width = torch.tensor([alpha, alpha, 1.0], dtype=torch.float64)
    stretched = normalize(view * width, dim=-1)
    flat = stretched[:, :2].norm(dim=-1, keepdim=True)
    level = torch.cat([-stretched[:, 1:2], stretched[:, 0:1]], dim=-1) / flat.clamp(min=1e-12)
    # a view along +z has no side of its own; the disc below is round, so any will do
    level = torch.where(flat > 1e-12, level, torch.tensor([1.0, 0.0], dtype=torch.float64))
    across = torch.cat([level, torch.zeros_like(flat)], dim=-1)
    share, angle, weight = _cells(rings, spokes)
    first = (torch.sqrt(share) * torch.cos(angle)).expand(len(view), -1)
    lean = (1 + stretched[:, 2:3]) / 2
    second = (1 - lean) * torch.sqrt(1 - first**2) + lean * torch.sqrt(share) * torch.sin(angle)
    third = torch.sqrt((1 - first**2 - second**2).clamp(min=0))
    frame = torch.stack([across, torch.linalg.cross(stretched, across), stretched], dim=1)
    return normalize(torch.stack([first, second, third], dim=-1) @ frame * width, dim=-1), weight


def reflect(view: Tensor, axis: Tensor) -> Tensor:
    """``view`` (..., 3), pointing away from the surface, mirrored at the unit ``axis`` (..., 3)."""
    return 2 * (view * axis).sum(dim=-1, keepdim=True) * axis - view


def smith_lambda(alpha: float, cosine: Tensor) -> Tensor:
    """The auxiliary function of Smith's masking for GGX, at cosines in (0, 1]: Heitz 2014, equation 72."""
    squared = cosine * cosine
    return (torch.sqrt(1 + alpha * alpha * (1 - squared) / squared) - 1) / 2


def _cells(rings: int, spokes: int) -> tuple[Tensor, Tensor, Tensor]:
    """The middles of rings x spokes cells: share of the probability 0..1, angle in radians, weight; each (S,).

    Each ring is turned against the one before, so that the spokes of all of them do not meet the same columns of a map.
    """
    ring, spoke = torch.arange(rings, dtype=torch.float64), torch.arange(spokes, dtype=torch.float64)
    left = 1 - (ring + 0.5) / rings
    turn = torch.frac(ring * GOLDEN)
    angle = 2 * math.pi * (spoke[None, :] + turn[:, None]) / spokes
    weight = left / (left.sum() * spokes)
    return (1 - left**2).repeat_interleave(spokes), angle.reshape(-1), weight.repeat_interleave(spokes)


def _spherical(cosine: Tensor, angle: Tensor) -> Tensor:
    sine = torch.sqrt((1 - cosine * cosine).clamp(min=0))
    return torch.stack([sine * torch.cos(angle), sine * torch.sin(angle), cosine], dim=-1)
