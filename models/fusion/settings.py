"""The options of fusion, checked as a whole, and what else the house knows of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from meshdrop.models.contract.entry import ModelEntry
from meshdrop.models.contract.options import settings_of, whole_or_auto


@dataclass(frozen=True)
class FusionSettings:
    """What an operator may choose; by default each follows what the photographs and the depth resolve."""

    #: Voxels along the longest side of the object's box; fewer are used when one would become smaller than a pixel.
    resolution: int | Literal["auto"] = whole_or_auto(48, 512)
    #: The mesh is simplified towards this many triangles.
    max_faces: int | Literal["auto"] = whole_or_auto(2_500, 1_000_000)
    #: Side of the square texture in texels.
    texture_size: int | Literal["auto"] = whole_or_auto(64, 8192)
    #: Passes of the texture solve over the photographs; 0 leaves the plain blend.
    solve_passes: int | Literal["auto"] = whole_or_auto(0, 50)

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> FusionSettings:
        """Settings from plain values; raises ``WrongSettings`` naming every unknown, mistyped or out-of-range one."""
        return settings_of("fusion", cls, values)


ENTRY = ModelEntry("meshdrop.models.fusion.model:Fusion", FusionSettings, licences=())
