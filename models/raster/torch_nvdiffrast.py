"""The differentiable rasteriser on CUDA: nvdiffrast 0.4 behind ``differentiable.Raster``.

nvdiffrast is for research and evaluation only by its licence. Its extension must be built beforehand: nothing is
compiled here. ``rasterize`` waits for the device each time, because nvdiffrast reads back how much room the triangles
took (so it cannot be captured in a CUDA graph); the other calls and all gradients do not wait.
"""

from __future__ import annotations

import importlib
from typing import Any

import torch
from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary

from meshdrop.models.raster import contract

FLOATS = (torch.float32,)
#: nvdiffrast reads textures and positions four floats at a time.
ALIGNMENT_BYTES = 16


class NvdiffrastRaster:
    """``differentiable.Raster`` on one CUDA device (the current one unless said otherwise).

    Raises ``ImportError`` where nvdiffrast is not installed, ``RuntimeError`` where there is no CUDA device.
    """

    def __init__(self, device: torch.device | None = None) -> None:
        self._dr: Any = importlib.import_module("nvdiffrast.torch")
        index = device.index if device is not None else None
        self.device = torch.device("cuda", torch.cuda.current_device() if index is None else index)
        self._context = self._dr.RasterizeCudaContext(device=self.device)
        self._topology = WeakTensorKeyDictionary()

    def rasterize(self, clip: Tensor, faces: Tensor, size: tuple[int, int]) -> Tensor:
        """See ``differentiable.Raster.rasterize``."""
        contract.check_rasterize(clip, faces, size, FLOATS)
        self._check_device(clip)
        fragments: Tensor = self._dr.rasterize(
            self._context, _aligned(clip), faces.contiguous(), resolution=size, grad_db=False
        )[0]
        return fragments

    def interpolate(self, attribute: Tensor, fragments: Tensor, faces: Tensor) -> Tensor:
        """See ``differentiable.Raster.interpolate``."""
        contract.check_interpolate(attribute, fragments, faces, FLOATS)
        self._check_device(attribute)
        values: Tensor = self._dr.interpolate(_aligned(attribute), _aligned(fragments), faces.contiguous())[0]
        return values

    def texture(self, image: Tensor, uv: Tensor) -> Tensor:
        """See ``differentiable.Raster.texture``."""
        contract.check_texture(image, uv, FLOATS)
        self._check_device(image)
        texels = _aligned(image if image.ndim == 4 else image[None])
        values: Tensor = self._dr.texture(texels, _aligned(uv), filter_mode="linear", boundary_mode="clamp")
        return values

    def antialias(self, colour: Tensor, fragments: Tensor, clip: Tensor, faces: Tensor) -> Tensor:
        """See ``differentiable.Raster.antialias``."""
        contract.check_antialias(colour, fragments, clip, faces, FLOATS)
        self._check_device(colour)
        if faces not in self._topology:
            self._topology[faces] = self._dr.antialias_construct_topology_hash(faces.contiguous())
        smooth: Tensor = self._dr.antialias(
            _aligned(colour),
            _aligned(fragments),
            _aligned(clip),
            faces.contiguous(),
            topology_hash=self._topology[faces],
        )
        return smooth

    def _check_device(self, tensor: Tensor) -> None:
        if tensor.device != self.device:
            raise ValueError(f"the tensors lie on {tensor.device}, this rasteriser draws on {self.device}")


def _aligned(tensor: Tensor) -> Tensor:
    """The tensor with its elements in a row, beginning where the device can read four at a time."""
    whole = tensor.contiguous()
    return whole if whole.data_ptr() % ALIGNMENT_BYTES == 0 else whole.clone()
