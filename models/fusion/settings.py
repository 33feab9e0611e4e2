"""The options of fusion, checked as a whole, and what else the house knows of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from meshdrop.models.contract.entry import ModelEntry
from meshdrop.models.contract.options import settings_of, whole


@dataclass(frozen=True)
class FusionSettings:
    """What an operator may choose; the defaults suit captures of 512 x 512 up to a few megapixels."""

    #: Voxels along the longest side of the object's box; fewer are used when one would become smaller than a pixel.
    resolution: int = whole(256, 48, 512)
    #: The mesh is simplified towards this many triangles.
    max_faces: int = whole(40_000, 2_500, 1_000_000)
    #: Side of the square texture in texels.
    texture_size: int = whole(1024, 64, 8192)
    #: Passes of the texture solve over the photographs; 0 leaves the plain blend.
    solve_passes: int = whole(3, 0, 50)

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> FusionSettings:
        """Settings from plain values; raises ``WrongSettings`` naming every unknown, mistyped or out-of-range one."""
        return settings_of("fusion", cls, values)


ENTRY = ModelEntry("meshdrop.models.fusion.model:Fusion", FusionSettings, licences=())
