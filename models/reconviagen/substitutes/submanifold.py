"""Submanifold sparse convolution in plain torch, under the names of spconv that upstream uses.

A submanifold convolution (Graham and van der Maaten 2017, "Submanifold Sparse Convolutional Networks", section 3) has
outputs where it has inputs, and cells that hold nothing count as zero: there it equals a dense convolution. Weights are
laid out as spconv's, (Cout, k, k, k, Cin).
"""

from __future__ import annotations

import enum
import math
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.weak import WeakTensorKeyDictionary

#: Gathered neighbours are multiplied in pieces of so many bytes.
PIECE_BYTES = 256 << 20


class ConvAlgo(enum.Enum):
    """spconv's algorithms; here there is one."""

    Native = "native"
    MaskImplicitGemm = "implicit_gemm"


class SparseConvTensor:
    """Features (N, C) at integer cells ``indices`` (N, 4) int32: batch, x, y, z."""

    def __init__(
        self,
        features: Tensor,
        indices: Tensor,
        spatial_shape: Any,
        batch_size: int,
        grid: Any = None,
        voxel_num: Any = None,
        indice_dict: dict[str, Any] | None = None,
        benchmark: bool = False,
    ) -> None:
        self._features = features
        self.indices = indices
        self.spatial_shape = spatial_shape
        self.batch_size = batch_size
        self.grid, self.voxel_num = grid, voxel_num
        self.indice_dict = {} if indice_dict is None else indice_dict
        self.benchmark, self.benchmark_record = benchmark, dict[str, Any]()
        self.thrust_allocator: Any = None
        self._timer: Any = None
        self.force_algo: Any = None
        self.int8_scale: Any = None

    @property
    def features(self) -> Tensor:
        """The features; replaced by ``replace_feature``."""
        return self._features

    def replace_feature(self, features: Tensor) -> SparseConvTensor:
        """Other features at the same cells."""
        return SparseConvTensor(
            features, self.indices, self.spatial_shape, self.batch_size, self.grid, self.voxel_num, self.indice_dict
        )


class SubMConv3d(nn.Module):
    """A submanifold convolution with stride 1. ``indice_key`` and ``algo`` are spconv's and change no result."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        dilation: int = 1,
        bias: bool = True,
        indice_key: str | None = None,
        algo: Any = None,
    ) -> None:
        super().__init__()
        if kernel_size % 2 == 0:
            raise ValueError(f"a kernel of {kernel_size} cells has no centre")
        self.in_channels, self.out_channels = in_channels, out_channels
        self.kernel_size, self.dilation = kernel_size, dilation
        self.weight = nn.Parameter(torch.empty(out_channels, *[kernel_size] * 3, in_channels))
        self.bias = nn.Parameter(torch.zeros(out_channels)) if bias else None
        bound = 1 / math.sqrt(in_channels * kernel_size**3)
        nn.init.uniform_(self.weight, -bound, bound)

    def forward(self, x: SparseConvTensor) -> SparseConvTensor:
        """Convolve."""
        if self.kernel_size == 1:
            return x.replace_feature(nn.functional.linear(x.features, self.weight.flatten(1), self.bias))
        found = neighbours(x.indices, self.kernel_size, self.dilation)
        return x.replace_feature(_gathered_product(x.features, found, self.weight, self.bias))


def _gathered_product(features: Tensor, found: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """(N, Cin) and neighbour rows (N, K) -> (N, Cout); row N of the padded features is the empty cell."""
    rows, kernel = found.shape
    channels = features.shape[1]
    padded = torch.cat([features, features.new_zeros(1, channels)])
    out = features.new_empty(rows, weight.shape[0])
    each = max(1, PIECE_BYTES // (kernel * channels * features.element_size()))
    matrix = weight.flatten(1)
    for at in range(0, rows, each):
        piece = padded.index_select(0, found[at : at + each].flatten()).view(-1, kernel * channels)
        out[at : at + each] = nn.functional.linear(piece, matrix, bias)
    return out


_KNOWN: WeakTensorKeyDictionary = WeakTensorKeyDictionary()


def neighbours(indices: Tensor, kernel_size: int, dilation: int) -> Tensor:
    """(N, kernel_size^3) int32: the row of each cell's neighbour, x slowest, or N where there is none.

    Kept for as long as the tensor ``indices`` lives: a network asks again in every layer and step.
    """
    if indices not in _KNOWN:
        _KNOWN[indices] = {}
    known: dict[tuple[int, int], Tensor] = _KNOWN[indices]
    if (kernel_size, dilation) not in known:
        known[kernel_size, dilation] = _neighbours(indices, kernel_size, dilation)
    return known[kernel_size, dilation]


def _neighbours(indices: Tensor, kernel_size: int, dilation: int) -> Tensor:
    reach = kernel_size // 2 * dilation
    cells = indices.long()
    side = int(cells[:, 1:].max()) + 1 + 2 * reach  # a margin, so that no neighbour wraps into the next row
    stride = torch.tensor([side**3, side**2, side, 1], device=cells.device)
    keys = ((cells + torch.tensor([0, reach, reach, reach], device=cells.device)) * stride).sum(1)
    sorted_keys, rows = keys.sort()
    steps = torch.arange(-reach, reach + 1, dilation, device=cells.device)
    offsets = (torch.cartesian_prod(steps, steps, steps) * stride[1:]).sum(1)  # CUDA multiplies no integer matrices
    found = torch.empty(len(cells), len(offsets), dtype=torch.int32, device=cells.device)
    for at, offset in enumerate(offsets):
        wanted = keys + offset
        place = torch.searchsorted(sorted_keys, wanted).clamp_(max=len(keys) - 1)
        found[:, at] = torch.where(sorted_keys[place] == wanted, rows[place], len(cells))
    return found


class _Refused(nn.Module):
    """A convolution that changes the set of cells; upstream's inference has none."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        raise NotImplementedError("only submanifold convolutions are done without spconv; install spconv-cu126 2.3.8")


def modules() -> dict[str, ModuleType]:
    """``spconv`` and ``spconv.pytorch`` as upstream imports them."""
    package, inner = ModuleType("spconv"), ModuleType("spconv.pytorch")
    package.__path__ = []
    for made in (package, inner):
        made.__spec__ = ModuleSpec(made.__name__, None)  # others ask whether it is installed
    for name, value in {
        "SparseConvTensor": SparseConvTensor,
        "SubMConv3d": SubMConv3d,
        "ConvAlgo": ConvAlgo,
        "SparseConv3d": _Refused,
        "SparseInverseConv3d": _Refused,
    }.items():
        setattr(inner, name, value)
    package.pytorch = inner  # type: ignore[attr-defined]
    return {"spconv": package, "spconv.pytorch": inner}
