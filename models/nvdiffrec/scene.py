"""The capture as tensors: what every step of the optimisation compares itself with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import maximum_filter, minimum_filter
from torch import Tensor

from meshdrop.models.capture.capture import View
from meshdrop.models.formats.cameras import Camera
from meshdrop.models.surface.range_view import RangeView
from meshdrop.models.surface.silhouette import signed_distance

Floats = NDArray[np.float32]

#: Depth counts this many pixels inside the outline, and where it does not jump within a window of DEPTH_WINDOW pixels.
DEPTH_INSIDE_PX = 2.0
DEPTH_WINDOW = 5
#: A smooth surface turned by 84 degrees climbs 10 footprints a pixel.
STEEPEST = 10.0
#: The views are cut to the object and this many pixels around it: beyond, nothing can change.
AROUND_PX = 8
#: The clip planes lie this factor nearer and farther than the object's nearest and farthest point.
CLIP_MARGIN = 0.5


@dataclass(frozen=True)
class Scene:
    """N views padded to one size (H, W); float32 tensors on one device.

    ``clip`` (N, 4, 4) takes homogeneous world points (columns) to clip space with y down, ``camera`` (N, 4, 4) to the
    camera's axes x right, y down, z forward in metres. ``target`` (N, H, W, 3) sRGB 0..1 in the views' common exposure,
    multiplied by ``mask`` (N, H, W, 1), the coverage 0..1. ``depth`` (N, H, W, 1) planar metres, 0 where none can be
    trusted. ``noise`` (N,) standard deviation of the depth in metres. ``inside`` (N, H, W, 1) is 0 on the padding.
    """

    clip: Tensor
    camera: Tensor
    target: Tensor
    mask: Tensor
    depth: Tensor
    noise: Tensor
    inside: Tensor

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return int(self.mask.shape[1]), int(self.mask.shape[2])


def build_scene(
    views: Sequence[View],
    prepared: Sequence[RangeView],
    gains: Floats,
    bounds: NDArray[np.float64],
    shrink: int,
    device: torch.device,
) -> Scene:
    """Tensors of ``views``, cut to the object, each ``shrink`` times smaller a side (whole blocks of pixels averaged).

    ``bounds`` (2, 3) is the world box that holds the object: it sets the clip planes. ``gains`` (N, 3)
    take each view's colours to the common exposure.
    """
    small = [
        _Small.of(_cut(view), ready.noise, gain, shrink)
        for view, ready, gain in zip(views, prepared, gains, strict=True)
    ]
    height, width = max(one.mask.shape[0] for one in small), max(one.mask.shape[1] for one in small)

    def stack(name: str) -> Tensor:
        out = np.zeros((len(small), height, width, getattr(small[0], name).shape[2]), np.float32)
        for n, one in enumerate(small):
            field = getattr(one, name)
            out[n, : field.shape[0], : field.shape[1]] = field
        return torch.from_numpy(out).to(device)

    corners = np.stack(np.meshgrid(*bounds.T, indexing="ij"), axis=-1).reshape(-1, 3)
    matrices = [_matrices(one.camera, width, height, corners) for one in small]
    return Scene(
        clip=_tensor(np.stack([clip for clip, _ in matrices]), device),
        camera=_tensor(np.stack([pose for _, pose in matrices]), device),
        target=stack("target"),
        mask=stack("mask"),
        depth=stack("depth"),
        inside=stack("inside"),
        noise=_tensor(np.array([ready.noise for ready in prepared]), device),
    )


def object_sizes(views: Sequence[View]) -> tuple[int, int]:
    """Height and width in pixels of the scene that ``build_scene`` makes of ``views`` without shrinking."""
    cuts = [_window(view) for view in views]
    return max(y.stop - y.start for y, _ in cuts), max(x.stop - x.start for _, x in cuts)


def _window(view: View) -> tuple[slice, slice]:
    """The rows and columns that hold the object and a little around it; the whole picture when there is none."""
    spans = []
    for axis in (1, 0):
        used, size = np.flatnonzero((view.mask > 0).any(axis=axis)), view.mask.shape[1 - axis]
        first, last = (int(used[0]), int(used[-1])) if len(used) else (0, size - 1)
        spans.append(slice(max(first - AROUND_PX, 0), min(last + AROUND_PX + 1, size)))
    return spans[0], spans[1]


def _cut(view: View) -> View:
    y, x = _window(view)
    camera = replace(
        view.camera,
        width=x.stop - x.start,
        height=y.stop - y.start,
        cx=view.camera.cx - x.start,
        cy=view.camera.cy - y.start,
    )
    depth = None if view.depth is None else view.depth[y, x]
    return replace(view, camera=camera, rgb=view.rgb[y, x], mask=view.mask[y, x], depth=depth)


@dataclass(frozen=True)
class _Small:
    """One view's arrays (h, w, C), shrunk."""

    camera: Camera
    target: Floats
    mask: Floats
    depth: Floats
    inside: Floats

    @classmethod
    def of(cls, view: View, noise: float, gain: Floats, shrink: int) -> _Small:
        mask = view.mask[..., None]
        depth = trusted_depth(view)[..., None] if noise > 0 else np.zeros_like(mask)
        target = gain * view.rgb.astype(np.float32) / np.float32(255) * mask
        whole = _blocks(depth > 0, shrink).all(axis=(1, 3))
        height, width = whole.shape[:2]
        camera = replace(view.camera.scaled(1 / shrink), width=width, height=height)
        return cls(
            camera,
            _blocks(target, shrink).mean(axis=(1, 3)),
            _blocks(mask, shrink).mean(axis=(1, 3)),
            _blocks(depth, shrink).mean(axis=(1, 3)) * whole,
            np.ones((height, width, 1), np.float32),
        )


def trusted_depth(view: View) -> Floats:
    """The view's measured depth (H, W) in metres where it surely shows one smooth surface, else 0."""
    if view.depth is None:
        return np.zeros(view.mask.shape, np.float32)
    near = np.where(view.depth > 0, view.depth, np.inf)
    spread = maximum_filter(view.depth, DEPTH_WINDOW) - minimum_filter(near, DEPTH_WINDOW)
    footprint = view.depth / min(view.camera.fx, view.camera.fy)
    smooth = spread < STEEPEST * DEPTH_WINDOW * footprint
    certain = (view.depth > 0) & smooth & (signed_distance(view.mask) < -DEPTH_INSIDE_PX)
    return np.where(certain, view.depth, 0).astype(np.float32)


def _blocks(image: NDArray[Any], side: int) -> NDArray[Any]:
    """(H, W, C) -> (h, side, w, side, C); what is left over at the right and at the bottom is cut off."""
    height, width = image.shape[0] // side, image.shape[1] // side
    return image[: height * side, : width * side].reshape(height, side, width, side, -1)


def _matrices(
    camera: Camera, width: int, height: int, corners: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """World to clip and world to camera of a view padded on the right and at the bottom to ``width`` x ``height``."""
    pose = np.diag([1.0, -1.0, -1.0, 1.0]) @ camera.w2c
    depths = corners @ pose[2, :3] + pose[2, 3]
    far = max(float(depths.max()), 1e-6) / CLIP_MARGIN
    near = max(float(depths.min()) * CLIP_MARGIN, 1e-3 * far)
    projection = np.array(
        [
            [2 * camera.fx / width, 0, 2 * camera.cx / width - 1, 0],
            [0, 2 * camera.fy / height, 2 * camera.cy / height - 1, 0],
            [0, 0, (far + near) / (far - near), -2 * far * near / (far - near)],
            [0, 0, 1, 0],
        ]
    )
    return projection @ pose, pose


def _tensor(values: NDArray[np.floating], device: torch.device) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32)).to(device)
