"""The surface out of the mesh decoder's cells: FlexiCubes on the cells that it passes through.

Upstream lays features out on dense grids of 256^3 cells and looks for the surface in all of them: 4 to 5 GB whatever
the object. FlexiCubes itself (Shen et al. 2023, "Flexible Isosurface Extraction for Gradient-Based Mesh Optimization")
works on any list of cells; given only those with a change of sign, in the same order, it returns the same mesh.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from meshdrop.models.reconviagen.upstream import Upstream

#: Corners of a cell, in the order of upstream's channels.
CORNERS = ((0, 0, 0), (1, 0, 0), (0, 1, 0), (1, 1, 0), (0, 0, 1), (1, 0, 1), (0, 1, 1), (1, 1, 1))
#: Signed distance where nothing was decoded: outside.
OUTSIDE = 1.0


@dataclass(frozen=True)
class GeneratedSurface:
    """``vertices`` (V, 3) float32 in [-0.5, 0.5]^3, ``faces`` (F, 3) int64, ``colours`` (V, 3) 0..1 or None."""

    vertices: Tensor
    faces: Tensor
    colours: Tensor | None


@dataclass(frozen=True)
class _Cells:
    """Cells that the surface passes through: ``cells`` (K, 3) in the dense grid's order; ``corners`` (K, 8) rows of
    ``keys`` (M,), the sorted numbers of their lattice points."""

    cells: Tensor
    corners: Tensor
    keys: Tensor


def extract(upstream: Upstream, layout: Any, coords: Tensor, features: Tensor) -> GeneratedSurface:
    """The surface of decoded cells: ``coords`` (N, 3) int and ``features`` (N, channels) by ``layout``, upstream's
    ``SparseFeatures2Mesh`` (its grids are not used)."""
    side = layout.res + 1
    distance = layout.get_layout(features, "sdf") + layout.sdf_bias
    corner_keys = _keys(coords[:, None].long() + _corners(coords.device), side)
    keys, place = _unique(corner_keys)
    count = torch.bincount(place.flatten(), minlength=len(keys)).to(distance)[:, None]
    at_points = _mean(distance.reshape(-1, 1), place.flatten(), count)[:, 0]
    found = _surface_cells(keys, at_points, layout.res)
    row, known = _look_up(keys, found.keys)
    scalar = torch.where(known, at_points[row], OUTSIDE)

    wanted = torch.full_like(keys, -1)
    wanted[row[known]] = known.nonzero()[:, 0]
    pairs = wanted[place.flatten()]
    chosen = (pairs >= 0).nonzero()[:, 0]
    names = [name for name in ("deform", "color") if name in layout.layouts]
    offered = torch.cat([layout.get_layout(features, name).flatten(0, 1)[chosen] for name in names], dim=-1)
    counts = torch.where(known, count[row, 0], 1)[:, None]
    given = _mean(offered, pairs[chosen], counts)
    colours = given[:, 3:] if "color" in names else None

    points = torch.stack([found.keys // side**2, found.keys // side % side, found.keys % side], dim=1)
    grid = upstream.module("trellis.representations.mesh.cube2mesh")
    weights = _at_cells(coords, layout.get_layout(features, "weights"), found.cells, layout.res)
    vertices, faces, _, painted = _flexicubes(upstream, found.cells, layout.res)(
        voxelgrid_vertices=grid.get_defomed_verts(points, given[:, :3], layout.res),
        scalar_field=scalar,
        cube_idx=found.corners,
        resolution=layout.res,
        beta=weights[:, :12],
        alpha=weights[:, 12:20],
        gamma_f=weights[:, 20],
        voxelgrid_colors=colours,
        training=False,
    )
    return GeneratedSurface(vertices, faces, None if painted is None else painted[:, :3])


def _flexicubes(upstream: Upstream, cells: Tensor, res: int) -> Any:
    """Upstream's FlexiCubes for a list of cells. Only one of its steps knows the grid: the one that settles ambiguous
    configurations by looking at the neighbouring cell."""
    base = upstream.module("trellis.representations.mesh.flexicube").FlexiCubes

    class OnCells(base):  # type: ignore[misc, valid-type]
        """Finds neighbours by their number instead of in a dense grid."""

        def _get_case_id(self, occ_fx8: Tensor, surf_cubes: Tensor, res: int) -> Tensor:
            bits = 2 ** torch.arange(8, device=occ_fx8.device)
            case = (occ_fx8.long() * bits).sum(1)
            entry = self.check_table[case]  # ambiguous?, step to the neighbour that shares the face, inverted case
            rows = (entry[:, 0] == 1).nonzero()[:, 0]
            here = cells[rows]
            there = here + entry[rows, 1:4]
            inside = ((there >= 0) & (there < res)).all(1)
            _, ambiguous = _look_up(_keys(here, res), _keys(there, res))
            both = rows[inside & ambiguous]
            case[both] = entry[both, 4]
            return case

    return OnCells(device=cells.device)


def _surface_cells(keys: Tensor, distance: Tensor, res: int) -> _Cells:
    """Cells around the points inside (distance below 0) that have a point outside too."""
    side = res + 1
    inside = keys[distance < 0]
    points = torch.stack([inside // side**2, inside // side % side, inside % side], dim=1)
    cells = points[:, None] - _corners(keys.device)
    cells = cells[((cells >= 0) & (cells < res)).all(-1)]
    numbers, _ = _unique(_keys(cells, res))
    cells = torch.stack([numbers // res**2, numbers // res % res, numbers % res], dim=1)
    corners = _keys(cells[:, None] + _corners(keys.device), side)
    row, known = _look_up(keys, corners)
    mixed = (~known | ~(distance[row] < 0)).any(1)
    used, place = _unique(corners[mixed])
    return _Cells(cells[mixed], place, used)


def _at_cells(coords: Tensor, values: Tensor, cells: Tensor, res: int) -> Tensor:
    """``values`` (N, W) of the decoded cells at ``cells`` (K, 3); 0 for cells that were not decoded."""
    numbers, order = _keys(coords.long(), res).sort()
    row, known = _look_up(numbers, _keys(cells, res))
    return torch.where(known[:, None], values[order[row]], 0)


def _corners(device: torch.device) -> Tensor:
    return torch.tensor(CORNERS, device=device)


def _keys(points: Tensor, side: int) -> Tensor:
    """(..., 3) lattice points as numbers that sort as the points do."""
    return (points[..., 0] * side + points[..., 1]) * side + points[..., 2]


def _unique(keys: Tensor) -> tuple[Tensor, Tensor]:
    """The different numbers in ascending order, and the row of each among them."""
    different, place = torch.unique(keys, return_inverse=True)
    return different, place


def _look_up(keys: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor]:
    """Row of each wanted number in the sorted ``keys``, and whether it is there."""
    if len(keys) == 0:
        return torch.zeros_like(wanted), torch.zeros_like(wanted, dtype=torch.bool)
    row = torch.searchsorted(keys, wanted).clamp(max=len(keys) - 1)
    return row, keys[row] == wanted


def _mean(values: Tensor, rows: Tensor, count: Tensor) -> Tensor:
    """Means of ``values`` (P, C) that go to the same row; ``count`` (M, 1) says how many do."""
    return values.new_zeros(len(count), values.shape[1]).index_add_(0, rows, values) / count
