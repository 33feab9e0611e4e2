"""One view, prepared for fusion: cleaned depth, outline distances and the facts that the volume needs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.cameras import Camera
from models.capture import View
from models.fusion.occlusion import clearance
from models.fusion.prefilter import depth_noise, smooth_depth, window_radius
from models.fusion.silhouette import signed_distance, touches_border

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class RangeView:
    """``depth`` (H, W) metres, 0 = not measured; ``factor`` (H, W) turns depth differences into distances to the
    surface; ``outline`` (H, W) signed distance to the silhouette in pixels, positive outside; ``clearance`` (H, W)
    pixels to the edge of what occludes the surroundings; ``open_border`` says that the
    object leaves the picture, so that nothing is known beyond it. ``noise`` is in metres."""

    camera: Camera
    depth: Floats
    factor: Floats
    outline: Floats
    clearance: Floats
    open_border: bool
    noise: float


def prepare(view: View) -> RangeView:
    """Filter one view's depth and measure its silhouette."""
    outline = signed_distance(view.mask)
    nothing = np.zeros(view.mask.shape, np.float32)
    if view.depth is None:
        return RangeView(view.camera, nothing, nothing, outline, nothing, touches_border(view.mask), 0.0)
    noise = depth_noise(view.depth, view.mask)
    radius = window_radius(noise, view.camera, view.depth)
    depth, factor = smooth_depth(view.depth, view.mask, view.camera, noise, radius)
    clear = clearance(depth, view.camera, noise)
    return RangeView(view.camera, depth, factor, outline, clear, touches_border(view.mask), noise)
