"""The options of reconviagen, checked as a whole."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from meshdrop.models.contract.options import checked
from meshdrop.models.reconviagen.presets import PRESETS


@dataclass(frozen=True)
class ReconviagenSettings:
    """What an operator may choose.

    ``preset``: a name of ``presets.PRESETS``; ``seed``: what chance starts from, 0..2,147,483,647. ``profile``: how GPU
    memory is spent, "resident", "staged" or "tiny"; "auto" asks the card. ``max_faces``: the mesh is simplified
    towards this many triangles, 2,500..1,000,000; ``texture_size``: side of the square texture in texels, 64..8192.
    ``up``: whether a generated object stands upright, so that only its yaw is searched: "known" or "unknown"; "auto":
    known on the standard rig, whose +Y is up. ``export``: "photographs" colours the mesh from them, and from the
    Gaussians where no camera saw; "to_glb" is upstream's own function, from the Gaussians alone (``max_faces`` does not
    reach it). ``code``: the folder of ReconViaGen's checkout; empty: where ``upstream.find`` looks.
    """

    preset: str = "gap-main"
    seed: int = 42
    profile: str = "auto"
    max_faces: int = 40_000
    texture_size: int = 1024
    up: str = "auto"
    export: str = "photographs"
    code: str = ""

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> ReconviagenSettings:
        """Settings from plain values; raises ``WrongSettings`` naming every unknown, mistyped or out-of-range one."""
        return checked("reconviagen", cls, values, LIMITS, CHOICES, ("code",))


LIMITS: dict[str, tuple[int, int]] = {
    "seed": (0, 2**31 - 1),
    "max_faces": (2_500, 1_000_000),
    "texture_size": (64, 8192),
}
CHOICES: dict[str, tuple[str, ...]] = {
    "preset": tuple(PRESETS),
    "profile": ("auto", "resident", "staged", "tiny"),
    "up": ("auto", "known", "unknown"),
    "export": ("photographs", "to_glb"),
}
