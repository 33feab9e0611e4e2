"""What a generation gives: plain values in upstream's canonical frame, nothing of torch."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from meshdrop.models.contract.base import NoResult

Floats = NDArray[np.float32]


class GenerationFailed(NoResult):
    """No usable object came out. ``stage`` names where it went wrong last; the message says why, for each seed."""

    def __init__(self, stage: str, message: str) -> None:
        super().__init__(message)
        self.stage = stage


@dataclass(frozen=True)
class StageRecord:
    """One stage as it was run. ``seconds`` without loading, ``load_seconds`` reading weights (0 where they were there);
    ``peak_mib`` of CUDA memory while loading and running, everything resident included; None on the CPU."""

    name: str
    seconds: float
    load_seconds: float
    peak_mib: int | None

    def to_json(self) -> dict[str, Any]:
        """Plain values, rounded for people."""
        return {**asdict(self), "seconds": round(self.seconds, 4), "load_seconds": round(self.load_seconds, 4)}


@dataclass(frozen=True)
class Gaussians:
    """Coloured Gaussians of one object, each array float32.

    ``positions`` (G, 3) in the mesh's frame; ``colours`` (G, 3) 0..1 sRGB as the photographs are; ``opacity`` (G,)
    0..1; ``scales`` (G, 3) standard deviations along the axes of ``rotations`` (G, 4), unit quaternions (w, x, y, z).
    """

    positions: Floats
    colours: Floats
    opacity: Floats
    scales: Floats
    rotations: Floats


@dataclass(frozen=True)
class Generated:
    """One generated object. Canonical frame: the cube [-0.5, 0.5]^3, **z up**, right-handed; no metric scale.

    ``vertices`` (V, 3) float32, ``faces`` (F, 3) int32 counter-clockwise from outside, ``vertex_colours`` (V, 3)
    float32 0..1 or None where the decoder gives none. ``voxels`` is the count of occupied cells that the surface was
    grown from. ``seed`` is the one that was used, which is not the one asked for after a retry. ``profile`` is the
    memory profile that fitted. ``notes`` are sentences for the operator.
    """

    vertices: Floats
    faces: NDArray[np.int32]
    vertex_colours: Floats | None
    gaussians: Gaussians
    voxels: int
    seed: int
    stages: tuple[StageRecord, ...]
    revision: str
    preset: str
    profile: str
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Everything but the geometry, as plain values."""
        return {
            "voxels": self.voxels,
            "vertices": len(self.vertices),
            "faces": len(self.faces),
            "gaussians": len(self.gaussians.positions),
            "seed": self.seed,
            "revision": self.revision,
            "preset": self.preset,
            "profile": self.profile,
            "stages": [stage.to_json() for stage in self.stages],
        }
