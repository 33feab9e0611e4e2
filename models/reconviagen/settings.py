"""The options of reconviagen, checked as a whole, and what else the house knows of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from meshdrop.models.contract.entry import ModelEntry, Needs
from meshdrop.models.contract.options import one_of, settings_of, text, whole
from meshdrop.models.reconviagen.presets import PRESETS
from meshdrop.models.reconviagen.weights import CATALOGUE


@dataclass(frozen=True)
class ReconviagenSettings:
    """What an operator may choose."""

    preset: str = one_of(*PRESETS, default="gap-main")
    #: What chance starts from.
    seed: int = whole(42, 0, 2**31 - 1)
    #: How GPU memory is spent; ``auto`` asks the card.
    profile: str = one_of("auto", "resident", "staged", "tiny")
    #: The mesh is simplified towards this many triangles.
    max_faces: int = whole(40_000, 2_500, 1_000_000)
    #: Side of the square texture in texels.
    texture_size: int = whole(1024, 64, 8192)
    #: Whether a generated object stands upright, so that only its yaw is searched; ``auto``: known on the standard rig,
    #: whose +Y is up.
    up: str = one_of("auto", "known", "unknown")
    #: ``photographs`` colours the mesh from them, and from the Gaussians where no camera saw; ``to_glb`` is upstream's
    #: own function, from the Gaussians alone (``max_faces`` does not reach it).
    export: str = one_of("photographs", "to_glb")
    #: The folder of ReconViaGen's checkout; empty: where ``upstream.find`` looks.
    code: str = text()

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> ReconviagenSettings:
        """Settings from plain values; raises ``WrongSettings`` naming every unknown, mistyped or out-of-range one."""
        return settings_of("reconviagen", cls, values)


PLACE_VARIABLE = "MESHDROP_TRELLIS"
#: GPU memory in MiB that a card must have in all for each profile: ``auto`` takes the first. Cards are sold by the
#: power of ten and show a little less. ``tiny`` is tried below that, and not promised.
PROFILES_MIB = {"resident": 22_000, "staged": 7_500, "tiny": 0}


def _needs(settings: Mapping[str, Any]) -> Needs:
    profile = settings.get("profile", "auto")
    return Needs(torch=True, cuda=True, gpu_mib=PROFILES_MIB["staged" if profile == "auto" else profile])


def _code(settings: Mapping[str, Any]) -> str:
    """Looks at files only."""
    from meshdrop.models.reconviagen import upstream  # noqa: PLC0415 - only where this model is switched on

    root = upstream.probe(Path(settings["code"]) if settings.get("code") else None)
    return f"{upstream.revision(root)} in {root}"


ENTRY = ModelEntry(
    "meshdrop.models.reconviagen.model:Reconviagen",
    ReconviagenSettings,
    _needs,
    (
        "VGGT's weights, and what was derived from them: CC BY-NC 4.0, no commercial use",
        'export = "to_glb" needs nvdiffrast and diff-gaussian-rasterization: research only',
    ),
    CATALOGUE,
    _code,
    PLACE_VARIABLE,
)
