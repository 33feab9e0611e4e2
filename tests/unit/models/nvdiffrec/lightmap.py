"""Where the texels of a light map look, from the words in ``models/nvdiffrec/light.py``."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def texel_directions(height: int, width: int) -> Tensor:
    """The unit directions (H, W, 3) float64 at the texel centres: polar angle from +Y, longitude from -Z towards +X."""
    theta = ((torch.arange(height, dtype=torch.float64) + 0.5) * (math.pi / height))[:, None]
    phi = ((torch.arange(width, dtype=torch.float64) + 0.5) * (2 * math.pi / width) - math.pi)[None, :]
    x, z = torch.sin(theta) * torch.sin(phi), -torch.sin(theta) * torch.cos(phi)
    return torch.stack([x, torch.cos(theta).expand_as(x), z], dim=-1)
