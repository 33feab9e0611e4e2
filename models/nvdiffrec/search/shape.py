"""The unknown shape of pass 1: values and small offsets on a grid of tetrahedra, adjustable from coarse to fine."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import grid_sample

from meshdrop.models.nvdiffrec.search.tets import SAFE_OFFSET, Lattice, MarchingTets, TetGrid, TetMesh

#: The coarsest lattice that shares in the values has at least this many of its cells along the longest side.
FEWEST_CELLS = 3


class ImplicitShape(nn.Module):
    """Values are the start's, plus one number for each point, plus numbers on coarser lattices, interpolated.

    Pictures tell only about the points right beside the surface. With a number for each point alone, a step moves every
    vertex by itself, and dents take as many steps as they are deep; through the coarse numbers a whole region moves,
    its inside included, as far as its pixels agree. (The idea of multigrid; the encoding of Müller et al. 2022 does the
    same for colour.) Values are in cells, positive outside. Parameters: ``fine`` (V,), ``coarse``, ``offsets`` (V, 3).
    """

    def __init__(self, grid: TetGrid, start: Tensor) -> None:
        super().__init__()
        self.grid = grid
        self.start: Tensor
        self.register_buffer("start", start.clone(), persistent=False)
        self.fine = nn.Parameter(torch.zeros_like(start))
        self.offsets = nn.Parameter(torch.zeros_like(grid.points))
        longest = max(grid.lattice.shape) - 1
        self.strides = tuple(2**k for k in range(1, 10) if FEWEST_CELLS * 2**k <= longest)
        sizes = [[math.ceil((count - 1) / stride) + 1 for count in grid.lattice.shape] for stride in self.strides]
        self.coarse = nn.ParameterList(torch.zeros(1, 1, *size, device=start.device) for size in sizes)
        self._places = [
            lattice_places(grid.lattice, size, stride, grid.points)
            for stride, size in zip(self.strides, sizes, strict=True)
        ]

    def values(self) -> Tensor:
        """The value of every grid point, (V,)."""
        total = self.start + self.fine
        for numbers, places in zip(self.coarse, self._places, strict=True):
            total = total + grid_sample(numbers, places, align_corners=True, padding_mode="border").reshape(-1)
        return total

    def positions(self) -> Tensor:
        """Where every grid point has moved to, (V, 3) metres: less than SAFE_OFFSET of a cell, however large its
        offset."""
        length = (1 + self.offsets.square().sum(dim=1, keepdim=True)).sqrt()
        return self.grid.points + SAFE_OFFSET * self.grid.lattice.cell * self.offsets / length

    def surface(self, march: MarchingTets) -> TetMesh:
        """The zero set."""
        return march(self.positions(), self.values())

    @torch.no_grad()
    def values_on(self, lattice: Lattice, elsewhere: Tensor) -> Tensor:
        """The values at all points of another lattice over the same box, in its cells, (P,); interpolated from the
        corners. ``elsewhere`` holds the values of this shape's whole lattice for the points that its grid left out."""
        mine = self.grid.lattice
        dense = elsewhere.clone()
        dense[self.grid.number] = self.values()
        corners = dense[: math.prod(mine.shape)].reshape(1, 1, *mine.shape)
        places = lattice_places(mine, mine.shape, 1, lattice.points(dense.device))
        found = grid_sample(corners, places, align_corners=True, padding_mode="border").reshape(-1)
        return found * (mine.cell / lattice.cell)

    @torch.no_grad()
    def keep_above(self, least: Tensor) -> None:
        """Raise values below ``least`` (V,) to it: what is known to be free stays outside."""
        self.fine.add_((least - self.values()).clamp_min(0))


def lattice_places(lattice: Lattice, size: Sequence[int], stride: int, points: Tensor) -> Tensor:
    """``points`` (V, 3) metres as ``grid_sample`` wants them for ``size`` numbers that lie ``stride`` cells apart from
    the lattice's origin on: (1, 1, 1, V, 3), last axis first, -1..1 from the first number to the last."""
    origin = torch.tensor(lattice.origin, device=points.device)
    span = torch.tensor([max(count - 1, 1) for count in size], device=points.device)
    unit = (points - origin) / (lattice.cell * stride) / span
    return (2 * unit - 1).flip(1).reshape(1, 1, 1, -1, 3)
