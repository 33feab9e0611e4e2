"""The prior of pass 1: a surface bends as little as the pictures allow.

Six silhouettes leave edges and bulges where their cones meet; what photographed things have in common there is that
they are smoother. The prior is put on the values, not on the triangles: the cut of a lattice makes slivers whose
normals are noise, while second differences of a signed distance are the curvatures of its level sets.
"""

from __future__ import annotations

import torch
from torch import Tensor

from meshdrop.models.nvdiffrec.search.tets import TetGrid

#: The plate covers points whose value is at most this many cells.
BAND = 1.5
#: Lattice lines through a point: three along the sides of the cubes, four along their diagonals.
LINES = 7


class ThinPlate:
    """Second differences of values along the lattice's lines, where both neighbours exist."""

    def __init__(self, grid: TetGrid) -> None:
        edges = grid.edges.long()
        half_cells = (grid.points[edges[:, 1]] - grid.points[edges[:, 0]]) / (grid.lattice.cell / 2)
        direction = half_cells.round().long()
        # coordinates are -2..2: in base 5 no two directions share a number, and opposite ones differ by sign
        code = 25 * direction[:, 0] + 5 * direction[:, 1] + direction[:, 2]
        first = torch.where(code > 0, edges[:, 0], edges[:, 1])
        second = torch.where(code > 0, edges[:, 1], edges[:, 0])
        line = torch.unique(code.abs(), return_inverse=True)[1]
        here = torch.arange(len(grid.points), device=edges.device)
        # a point without a neighbour is its own: its second difference is switched off below
        self._ahead = here[:, None].repeat(1, LINES)
        self._behind = self._ahead.clone()
        self._ahead[first, line] = second
        self._behind[second, line] = first
        squared_cells = (direction.float() / 2).square().sum(dim=1)
        self._weight = torch.zeros(LINES, device=edges.device).index_put((line,), 1 / squared_cells)
        self._weight = self._weight * ((self._ahead != here[:, None]) & (self._behind != here[:, None]))

    def bending(self, values: Tensor) -> Tensor:
        """Mean squared curvature beside the surface, in 1 / cells squared; ``values`` (V,) in cells.

        In cells, for that is the scale of what it has to remove: the stairs and creases of a carved lattice. A weight
        that suits one resolution suits another.
        """
        count = len(values)
        ahead = values.index_select(0, self._ahead.reshape(-1)).reshape(count, LINES)
        behind = values.index_select(0, self._behind.reshape(-1)).reshape(count, LINES)
        curvature = ((ahead - 2 * values[:, None] + behind) * self._weight).square().sum(dim=1)
        near = (values.detach().abs() < BAND).float()
        return (curvature * near).sum() / near.sum().clamp_min(1)
