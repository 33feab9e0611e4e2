"""A capture in memory: images, masks, depth in metres and cameras, whatever layout it came in."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from models.cameras import Camera

MaskSource = Literal["file", "alpha", "depth", "border"]


@dataclass(frozen=True)
class View:
    """One photograph with its camera.

    ``rgb`` (H, W, 3) uint8, sRGB, not multiplied by alpha. ``mask`` (H, W) float32, coverage of the object in 0..1
    (binary masks hold 0 and 1). ``depth`` (H, W) float32, planar z in metres, 0 where nothing was measured; None
    when the capture has no depth.
    """

    name: str
    camera: Camera
    rgb: NDArray[np.uint8]
    mask: NDArray[np.float32]
    depth: NDArray[np.float32] | None
    mask_source: MaskSource


@dataclass(frozen=True)
class Capture:
    """A whole capture. ``warnings`` are sentences for the operator; ``labels`` come from ``capture.json`` as they are."""

    name: str
    layout: Literal["canonical", "transforms"]
    views: tuple[View, ...]
    depth_unit_m: float | None
    warnings: tuple[str, ...] = ()
    labels: dict[str, Any] = field(default_factory=dict)

    @property
    def has_depth(self) -> bool:
        """Whether any view has depth."""
        return any(view.depth is not None for view in self.views)
