"""What is known of a delivered mesh, as values. The service reads this file too: nothing heavy is imported here."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class MeshFacts:
    """What the files of one model hold, as read back. ``vertices`` counts places, ``glb_vertices`` the GLB's own
    (split where charts meet). Shares are of the surface area, 0..1, and ``overlap_share`` of the used texels: that of
    those which two triangles or more use. ``bounds_m`` is the lower and upper corner.
    """

    file_bytes: dict[str, int]
    vertices: int
    glb_vertices: int
    faces: int
    texture_size: tuple[int, int]
    textured_share: float
    unseen_share: float
    overlap_share: float
    bounds_m: tuple[tuple[float, ...], tuple[float, ...]]
    asset: dict[str, Any]

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values under the names above."""
        return asdict(self)
