"""The options of nvdiffrec, checked as a whole."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any


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
        """Settings from plain values; raises ``ValueError`` naming every unknown, mistyped or out-of-range one."""
        names = [field.name for field in fields(cls)]
        problems = [f"there is no {name!r}; there are {', '.join(names)}" for name in values if name not in names]
        for name, (low, high) in LIMITS.items():
            value = values.get(name, low)
            if isinstance(value, bool) or not isinstance(value, int):
                problems.append(f"{name} must be a whole number, not {value!r}")
            elif not low <= value <= high:
                problems.append(f"{name} = {value} is outside {low}..{high}")
        for name, choices in CHOICES.items():
            if values.get(name, choices[0]) not in choices:
                problems.append(f"{name} must be one of {', '.join(choices)}, not {values[name]!r}")
        if problems:
            raise ValueError("nvdiffrec settings: " + "; ".join(problems))
        return cls(**values)


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
if set(LIMITS) | set(CHOICES) != {field.name for field in fields(NvdiffrecSettings)}:
    raise TypeError("every nvdiffrec setting needs its limits or choices")
