"""One view, prepared for fusion: cleaned depth, outline distances and the facts that the volume needs."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from meshdrop.models.capture.capture import View
from meshdrop.models.formats.cameras import Camera
from meshdrop.models.surface.occlusion import clearance
from meshdrop.models.surface.prefilter import depth_noise, smooth_depth, window_radius
from meshdrop.models.surface.silhouette import FAR_PX, signed_distance, touches_border

Floats = NDArray[np.float32]

#: Filters see this many pixels beyond the object, more than any of them reaches.
AROUND = 8


@dataclass(frozen=True)
class RangeView:
    """``depth`` (H, W) metres, 0 = not measured; ``factor`` (H, W) turns depth differences into distances to the
    surface; ``outline`` (H, W) signed distance to the silhouette in pixels, positive outside; ``clearance`` (H, W)
    pixels to the edge of what occludes the surroundings; ``spread`` (H, W) the standard deviation of ``depth`` in
    metres; ``open_border`` says that the object leaves the picture, so that nothing is known beyond it. ``noise`` is in
    metres. ``slack`` is what the outline may be off beside its own sharpness, a standard deviation in pixels: cameras
    and depth that do not quite agree."""

    camera: Camera
    depth: Floats
    factor: Floats
    outline: Floats
    clearance: Floats
    spread: Floats
    open_border: bool
    noise: float
    slack: float = 0.0


def prepare(view: View) -> RangeView:
    """Filter one view's depth and measure its silhouette."""
    outline = signed_distance(view.mask)
    depth, factor, clear, spread = (np.zeros(view.mask.shape, np.float32) for _ in range(4))
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
        depth[window], factor[window], spread[window] = smooth_depth(
            measured, mask, camera, noise, window_radius(noise, camera, measured)
        )
        clear[window] = clearance(depth[window], camera, noise)
    return RangeView(view.camera, depth, factor, outline, clear, spread, touches_border(view.mask), noise)


def prepare_scene(view: View) -> RangeView:
    """Filter one view's depth; there is no silhouette, and beyond what was measured nothing is known.

    The filter is the narrowest: of a scene there are many views, and a pixel spans more of it.
    """
    whole = np.ones(view.mask.shape, np.float32)
    nothing = np.zeros(view.mask.shape, np.float32)
    depth, factor, clear, spread, noise = nothing, nothing, nothing, nothing, 0.0
    if view.depth is not None:
        noise = depth_noise(view.depth, whole)
        depth, factor, spread = smooth_depth(view.depth, whole, view.camera, noise, 1)
        clear = clearance(depth, view.camera, noise)
    outline = np.full(view.mask.shape, -FAR_PX, np.float32)
    return RangeView(view.camera, depth, factor, outline, clear, spread, open_border=True, noise=noise)


def _object_window(mask: Floats) -> tuple[slice, slice]:
    """The rows and columns that hold the object, and AROUND more pixels on each side."""
    spans = []
    for axis in (1, 0):
        used = np.flatnonzero((mask >= 0.5).any(axis=axis))
        spans.append(slice(max(int(used[0]) - AROUND, 0), min(int(used[-1]) + AROUND + 1, mask.shape[1 - axis])))
    return spans[0], spans[1]
