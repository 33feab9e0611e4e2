"""One view, prepared for fusion: cleaned depth, outline distances and the facts that the volume needs."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from meshdrop.models.capture.capture import View
from meshdrop.models.formats.cameras import Camera
from meshdrop.models.surface.occlusion import clearance
from meshdrop.models.surface.prefilter import depth_noise, smooth_depth, window_radius
from meshdrop.models.surface.silhouette import signed_distance, touches_border

Floats = NDArray[np.float32]

#: Filters see this many pixels beyond the object, more than any of them reaches.
AROUND = 8


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
    depth, factor, clear = (np.zeros(view.mask.shape, np.float32) for _ in range(3))
    noise = 0.0
    if view.depth is not None and (view.mask >= 0.5).any():
        window = _object_window(view.mask)
        y, x = window
        camera = replace(
            view.camera,
            width=x.stop - x.start,
            height=y.stop - y.start,
            cx=view.camera.cx - x.start,
            cy=view.camera.cy - y.start,
        )
        measured, mask = view.depth[window], view.mask[window]
        noise = depth_noise(measured, mask)
        depth[window], factor[window] = smooth_depth(
            measured, mask, camera, noise, window_radius(noise, camera, measured)
        )
        clear[window] = clearance(depth[window], camera, noise)
    return RangeView(view.camera, depth, factor, outline, clear, touches_border(view.mask), noise)


def _object_window(mask: Floats) -> tuple[slice, slice]:
    """The rows and columns that hold the object, and AROUND more pixels on each side."""
    spans = []
    for axis in (1, 0):
        used = np.flatnonzero((mask >= 0.5).any(axis=axis))
        spans.append(slice(max(int(used[0]) - AROUND, 0), min(int(used[-1]) + AROUND + 1, mask.shape[1 - axis])))
    return spans[0], spans[1]
