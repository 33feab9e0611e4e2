"""What the search of pass 1 starts from and may not leave: the visual hull as signed distances on a lattice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from meshdrop.models.nvdiffrec.search.tets import Lattice
from meshdrop.models.surface import tsdf
from meshdrop.models.surface.range_view import RangeView
from meshdrop.models.surface.volume import Grid, object_grid


@dataclass(frozen=True)
class StartField:
    """Signed distances ``values`` (nx, ny, nz) float32 at the corners of ``lattice``, in cells, positive outside."""

    lattice: Lattice
    values: NDArray[np.float32]

    def at_points(self, device: torch.device) -> Tensor:
        """The values at all points of the lattice (corners, then centres), (P,) float32; a centre has the mean of its
        cube's corners."""
        corners = torch.from_numpy(self.values).to(device)
        centres = corners
        for axis in range(3):
            count = centres.shape[axis] - 1
            centres = (centres.narrow(axis, 0, count) + centres.narrow(axis, 1, count)) / 2
        return torch.cat([corners.reshape(-1), centres.reshape(-1)])


def start_field(views: Sequence[RangeView], resolution: int) -> StartField:
    """What the views leave of space, on ``resolution`` cells along the object's longest side.

    Views without depth carve by their outlines only. Raises ``models.surface.volume.EmptyCapture`` as
    ``object_grid`` does.
    """
    grid = object_grid(views, resolution)
    return from_volume(grid, tsdf.fuse(views, grid).field)


def from_volume(grid: Grid, field: NDArray[np.float32]) -> StartField:
    """A fused volume as start values: beyond its narrow band the distances go on growing, to the nearest sample on the
    other side, so that a surface that moves finds a slope wherever it goes."""
    from scipy.ndimage import distance_transform_edt  # noqa: PLC0415 - a tenth of a second

    solid = field < 0
    # the boundary lies about half a cell before the nearest sample of the other side
    away = np.where(solid, -distance_transform_edt(solid), distance_transform_edt(~solid))
    away -= 0.5 * np.sign(away)
    far = np.abs(field) >= tsdf.BAND_VOXELS
    values = np.where(far, np.sign(away) * np.maximum(np.abs(away), tsdf.BAND_VOXELS), field)
    x, y, z = (float(value) for value in grid.origin)
    return StartField(Lattice((x, y, z), grid.voxel, grid.shape), values.astype(np.float32))
