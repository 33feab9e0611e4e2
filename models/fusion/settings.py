"""The options of the fusion model, checked as a whole."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from meshdrop.models.contract.options import checked


@dataclass(frozen=True)
class FusionSettings:
    """What an operator may choose; the defaults suit captures of 512 x 512 up to a few megapixels.

    ``resolution``: voxels along the longest side of the object's box, 48..512; fewer are used when a voxel would
    become smaller than a pixel. ``max_faces``: the mesh is simplified towards this many triangles, 2,500..1,000,000.
    ``texture_size``: side of the square texture in texels, 64..8192. ``solve_passes``: passes of the texture solve
    over the photographs, 0..50; 0 leaves the plain blend.
    """

    resolution: int = 256
    max_faces: int = 40_000
    texture_size: int = 1024
    solve_passes: int = 3

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> FusionSettings:
        """Settings from plain values; raises ``WrongSettings`` naming every unknown, mistyped or out-of-range one."""
        return checked("fusion", cls, values, LIMITS)


LIMITS: dict[str, tuple[int, int]] = {
    "resolution": (48, 512),
    "max_faces": (2_500, 1_000_000),
    "texture_size": (64, 8192),
    "solve_passes": (0, 50),
}
