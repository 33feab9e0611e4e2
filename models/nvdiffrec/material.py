"""Between textures that are optimised, as tensors, and the textures of a file, as bytes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from meshdrop.models.mesh.pbr import Material
from meshdrop.models.nvdiffrec.shading import linear_to_srgb, srgb_to_linear

#: The least blue of a normal texture: a normal that points into the surface means nothing (glTF 2.0, section 3.9.3).
LEAST_BLUE = 128


@dataclass(frozen=True)
class Textures:
    """A material as shading wants it, each (H, W, 3) in 0..1, row 0 on top.

    ``kd`` is **linear**, so that a look-up between texels is the one that viewers do (glTF 2.0, section 3.9.2: decode
    first, then filter); ``orm`` and ``normal`` are the colours of their textures as they are.
    """

    kd: Tensor
    orm: Tensor
    normal: Tensor


def to_file(textures: Textures) -> Material:
    """The nearest material in bytes; values outside 0..1 are cut off. Waits for the device."""
    normal = _bytes(textures.normal)
    normal[..., 2] = np.maximum(normal[..., 2], LEAST_BLUE)
    return Material(_bytes(linear_to_srgb(textures.kd)), _bytes(textures.orm), normal)


def from_file(material: Material, device: torch.device | str = "cpu") -> Textures:
    """The textures of a material, as a viewer decodes them."""
    kd, orm, normal = (
        torch.from_numpy(picture.astype(np.float32) / 255).to(device)
        for picture in (material.kd, material.orm, material.normal)
    )
    return Textures(srgb_to_linear(kd), orm, normal)


def _bytes(texture: Tensor) -> NDArray[np.uint8]:
    levels: NDArray[np.uint8] = (texture.detach().clamp(0, 1) * 255).round().to(torch.uint8).cpu().numpy()
    return levels
