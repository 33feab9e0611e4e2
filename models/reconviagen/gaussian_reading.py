"""The Gaussians out of their decoder's features, on any device; upstream's own class works on CUDA device 0 only.

Xiang et al. 2024, "Structured 3D Latents for Scalable and Versatile 3D Generation", section 3.2: offsets are bounded to
the neighbourhood of their cell, the other attributes are activated as in Kerbl et al. 2023, section 4, and scales have
the floor of Yu et al. 2024, "Mip-Splatting", section 5.1.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize, softplus

from meshdrop.models.reconviagen.generated import Gaussians

#: The zeroth spherical harmonic.
HARMONIC = 0.28209479177387814


def read_gaussians(decoder: Any, coords: Tensor, features: Tensor) -> Gaussians:
    """The Gaussians of ``coords`` (N, 3) cells with ``features`` (N, channels), as ``decoder`` means them."""
    said, size = decoder.rep_config, decoder.resolution

    def part(name: str) -> Tensor:
        begin, end = decoder.layout[name]["range"]
        values = features[:, begin:end].reshape(len(features), *decoder.layout[name]["shape"])
        return values * float(said["lr"][name])

    offset = part("_xyz")
    if said["perturb_offset"]:
        offset = offset + decoder.offset_perturbation
    offset = torch.tanh(offset) / size * 0.5 * said["voxel_size"]
    positions = (coords[:, None].float() + 0.5) / size + offset - 0.5
    scales = _activated(part("_scaling"), said["scaling_activation"], said["scaling_bias"])
    scales = torch.sqrt(scales**2 + said["3d_filter_kernel_size"] ** 2)
    upright = torch.tensor([1.0, 0, 0, 0], device=features.device)
    return Gaussians(
        _array(positions.flatten(0, 1)),
        _array((HARMONIC * part("_features_dc")[:, :, 0] + 0.5).clip(0, 1).flatten(0, 1)),
        _array(torch.sigmoid(part("_opacity") + torch.logit(torch.tensor(said["opacity_bias"]))).flatten()),
        _array(scales.flatten(0, 1)),
        _array(normalize(part("_rotation") + upright, dim=-1).flatten(0, 1)),
    )


def _activated(values: Tensor, activation: str, bias: float) -> Tensor:
    """``activation(values + b)`` with b such that 0 gives ``bias``."""
    start = torch.tensor(bias)
    if activation == "exp":
        return torch.exp(values + torch.log(start))
    return softplus(values + start + torch.log(-torch.expm1(-start)))


def _array(values: Tensor) -> np.ndarray[Any, np.dtype[np.float32]]:
    return values.float().contiguous().cpu().numpy()
