"""The options of nvdiffrec, checked as a whole."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from meshdrop.models.contract.options import checked


@dataclass(frozen=True)
class NvdiffrecSettings:
    """What an operator may choose.

    ``iterations`` of each pass at most, 1..100,000. ``texture_size``: side of the square texture in texels, 64..8192.
    ``start``: what the surface is taken from, "fusion" (pass 2 alone), "silhouettes" (pass 1 first, depth unused) or
    "auto": fusion where any view has depth. ``search_resolution``: cells of pass 1 along the object, 16..192.
    ``preset``: how finely pictures are drawn and so how much memory is used, "fine", "normal" or "small"; when the GPU
    is full the next smaller one is tried once. ``device``: "cuda", or "cpu" for those who can wait. ``materials``:
    whether physically based materials and light are tried: "auto" (where views can be spared to judge them), "never".
    """

    iterations: int = 500
    texture_size: int = 1024
    start: str = "auto"
    search_resolution: int = 96
    preset: str = "fine"
    device: str = "cuda"
    materials: str = "auto"

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> NvdiffrecSettings:
        """Settings from plain values; raises ``WrongSettings`` naming every unknown, mistyped or out-of-range one."""
        return checked("nvdiffrec", cls, values, LIMITS, CHOICES)


LIMITS: dict[str, tuple[int, int]] = {
    "iterations": (1, 100_000),
    "texture_size": (64, 8192),
    "search_resolution": (16, 192),
}
CHOICES: dict[str, tuple[str, ...]] = {
    "start": ("auto", "fusion", "silhouettes"),
    "preset": ("fine", "normal", "small"),
    "device": ("cuda", "cpu"),
    "materials": ("auto", "never"),
}
#: Samples of all pictures together that a preset may draw at once.
SAMPLES = {"fine": 16_000_000, "normal": 6_000_000, "small": 2_000_000}
