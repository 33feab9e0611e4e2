"""Pass 1's pictures of a surface that changes its topology, and what they are compared with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import huber_loss, max_pool2d, pad, softplus

from meshdrop.models.nvdiffrec.search.tets import TetMesh
from meshdrop.models.raster.differentiable import Raster

#: Colours are looked up this many pixels beyond the masks: antialiasing mixes neighbours, farther ones never count.
COLOUR_BEYOND_MASK = 3


@dataclass(frozen=True)
class SearchViews:
    """N photographs of H x W pixels, float32 tensors on the raster's device.

    ``clip`` (N, 4, 4) takes world points (columns) to clip space, y down; ``camera`` (N, 4, 4) to the camera's axes
    x right, y down, z forward, metres. ``rgb`` (N, H, W, 3) sRGB 0..1, not multiplied by ``mask`` (N, H, W, 1),
    coverage 0..1. ``depth`` (N, H, W, 1) planar metres where it can be trusted, else 0; None without any. ``inside``
    (N, H, W, 1) is 0 on pixels that no photograph has (padding); None when all have.
    """

    clip: Tensor
    camera: Tensor
    rgb: Tensor
    mask: Tensor
    depth: Tensor | None = None
    inside: Tensor | None = None

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return int(self.mask.shape[1]), int(self.mask.shape[2])

    def object_pixels(self) -> Tensor:
        """Numbers (P,) int64 of the pixels (of N x H x W) whose colour can count. Waits for the device."""
        side = 2 * COLOUR_BEYOND_MASK + 1
        near = max_pool2d(self.mask.movedim(-1, 1), side, stride=1, padding=COLOUR_BEYOND_MASK)
        return torch.nonzero(near.reshape(-1) > 0).reshape(-1)


@dataclass(frozen=True)
class Shot:
    """The surface seen by all cameras: ``colour`` (N, H, W, 3) times coverage, ``coverage`` (N, H, W, 1), both with
    blended silhouettes; ``points`` (P, 3) world points behind the object pixels and ``hit`` (P, 1), 1 where there is
    one."""

    colour: Tensor
    coverage: Tensor
    points: Tensor
    hit: Tensor

    def over(self, background: Tensor) -> Tensor:
        """Composited (N, H, W, 3)."""
        return self.colour + (1 - self.coverage) * background


def shoot(raster: Raster, views: SearchViews, pixels: Tensor, mesh: TetMesh, field: Callable[[Tensor], Tensor]) -> Shot:
    """Draw the surface with the field's colours at the object pixels; elsewhere the object is black."""
    corners = pad(mesh.vertices, (0, 1), value=1.0)
    clip = torch.einsum("nij,vj->nvi", views.clip, corners).contiguous()
    fragments = raster.rasterize(clip, mesh.faces, views.size)
    hit = (fragments[..., 3:] > 0).to(torch.float32)
    points = raster.interpolate(mesh.vertices.contiguous(), fragments, mesh.faces).reshape(-1, 3)
    points = points.index_select(0, pixels)
    there = hit.reshape(-1, 1).index_select(0, pixels)
    colours = field(points) * there
    canvas = torch.zeros(hit.numel(), 3, device=hit.device).index_copy(0, pixels, colours)
    flat = torch.cat([canvas.reshape(*hit.shape[:3], 3), hit], dim=-1)
    smooth = raster.antialias(flat.contiguous(), fragments, clip, mesh.faces)
    return Shot(smooth[..., :3], smooth[..., 3:], points, there)


def coverage_loss(shot: Shot, views: SearchViews) -> Tensor:
    """Squared error of coverage per object pixel."""
    return ((shot.coverage - views.mask).square() * _inside(views)).sum() / views.mask.sum()


def colour_loss(shot: Shot, views: SearchViews, background: Tensor) -> Tensor:
    """Absolute sRGB error (0..1) per object pixel, both sides over ``background``: holes cost colour.

    sRGB is what the field yields and what people see; a further tone curve, needed for light beyond 1, would change
    nothing but weights.
    """
    wanted = views.rgb * views.mask + (1 - views.mask) * background
    return ((shot.over(background) - wanted).abs() * _inside(views)).sum() / (3 * views.mask.sum())


def sign_loss(mesh: TetMesh, values: Tensor) -> Tensor:
    """The binary cross entropy that pulls both ends of every crossed edge to one side: fewer stray surfaces.

    Munkberg et al. 2022, section 3, equation 2, as a mean over the crossed edges.
    """
    start, end = values.index_select(0, mesh.ends[:, 0]), values.index_select(0, mesh.ends[:, 1])
    # sigmoid(value) = chance of being outside; the other end's sign is the label
    loss = softplus(torch.where(end > 0, -start, start)) + softplus(torch.where(start > 0, -end, end))
    return (loss * mesh.live).sum() / mesh.live.sum().clamp_min(1)


def depth_loss(shot: Shot, views: SearchViews, pixels: Tensor, cell: float) -> Tensor:
    """Huber loss of the planar depth in cells, mean over the pixels where a trusted depth meets the surface."""
    if views.depth is None:
        return shot.points.new_zeros(())
    wanted = views.depth.reshape(-1)[pixels]
    view = torch.div(pixels, views.depth[0].numel(), rounding_mode="floor")
    row = views.camera[view, 2]
    depth = (row[:, :3] * shot.points).sum(dim=1) + row[:, 3]
    known = shot.hit[:, 0] * (wanted > 0)
    error = huber_loss(depth / cell, wanted / cell, reduction="none", delta=1.0)
    return (error * known).sum() / known.sum().clamp_min(1)


def masked_error(shot: Shot, views: SearchViews, background: Tensor) -> tuple[Tensor, Tensor]:
    """The mean squared colour error over ``background`` where object or surface are, and the silhouettes' IoU."""
    inside = _inside(views)
    weight = torch.maximum(views.mask, shot.coverage) * inside
    wanted = views.rgb * views.mask + (1 - views.mask) * background
    error = ((shot.over(background) - wanted).square() * weight).sum() / (3 * weight.sum().clamp_min(1e-12))
    overlap = (torch.minimum(views.mask, shot.coverage) * inside).sum()
    return error, overlap / weight.sum().clamp_min(1e-12)


def _inside(views: SearchViews) -> Tensor:
    return views.inside if views.inside is not None else views.mask.new_ones(())
