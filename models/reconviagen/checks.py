"""What must hold after a stage; each failure names the stage and says whether another seed may help."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


class StageFault(Exception):
    """A stage's result is of no use. ``by_chance``: another seed may do better."""

    def __init__(self, stage: str, what: str, *, by_chance: bool) -> None:
        super().__init__(f"{stage}: {what}")
        self.stage = stage
        self.by_chance = by_chance


@dataclass(frozen=True)
class InputLimits:
    """What a usable object has. Occupied cells of 64^3: fewer than the least are crumbs, more than the most a filled
    block, which no photographed object is; ``fewest_vertices`` is what every delivered mesh must have."""

    fewest_voxels: int = 500
    most_voxels: int = 60_000
    fewest_vertices: int = 1_000


def need_finite(stage: str, values: Tensor, *, by_chance: bool) -> None:
    """Raise ``StageFault`` where ``values`` has nothing in it, or anything that is not a number."""
    if values.numel() == 0:
        raise StageFault(stage, "the result is empty", by_chance=by_chance)
    bad = int((~torch.isfinite(values)).sum())
    if bad:
        raise StageFault(stage, f"{bad:,} of {values.numel():,} numbers are not finite", by_chance=by_chance)


def need_voxels(stage: str, count: int, limits: InputLimits) -> None:
    """Raise ``StageFault`` unless ``count`` occupied cells can be an object."""
    if count <= limits.fewest_voxels:
        raise StageFault(
            stage, f"{count:,} occupied cells are no object (more than {limits.fewest_voxels:,})", by_chance=True
        )
    if count >= limits.most_voxels:
        raise StageFault(
            stage, f"{count:,} occupied cells fill the space (fewer than {limits.most_voxels:,})", by_chance=True
        )


def need_surface(stage: str, vertices: Tensor, faces: Tensor, limits: InputLimits) -> None:
    """Raise ``StageFault`` unless the surface is finite and large enough to be delivered."""
    if len(vertices) <= limits.fewest_vertices or len(faces) == 0:
        raise StageFault(
            stage,
            f"{len(vertices):,} vertices and {len(faces):,} faces are no mesh (more than "
            f"{limits.fewest_vertices:,} vertices)",
            by_chance=True,
        )
    need_finite(stage, vertices, by_chance=True)
