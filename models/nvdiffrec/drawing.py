"""A textured mesh as the scene's cameras see it, with gradients."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from meshdrop.models.nvdiffrec.scene import Scene
from meshdrop.models.raster.differentiable import Raster


@dataclass(frozen=True)
class Draft:
    """A textured mesh as tensors on one device: ``vertices`` (V, 3) metres, ``faces`` (F, 3) int32, ``uv`` (U, 2) with
    v down and ``uv_faces`` (F, 3) int32, the same triangles in the texture; ``texture`` (h, w, 3) sRGB 0..1."""

    vertices: Tensor
    faces: Tensor
    uv: Tensor
    uv_faces: Tensor
    texture: Tensor


@dataclass(frozen=True)
class Drawing:
    """The draft seen by all cameras: ``colour`` (N, H, W, 3) sRGB times coverage, ``coverage`` (N, H, W, 1) 0..1,
    ``depth`` (N, H, W, 1) planar metres, meaningful where ``whole`` (N, H, W, 1) is 1: all of the pixel's samples hit
    the mesh."""

    colour: Tensor
    coverage: Tensor
    depth: Tensor
    whole: Tensor


@dataclass(frozen=True)
class Projected:
    """The draft's triangles in all pictures, ``samples`` a side per pixel: what every way of colouring starts from."""

    clip: Tensor
    depth: Tensor
    fragments: Tensor
    hit: Tensor
    samples: int


def project(raster: Raster, scene: Scene, vertices: Tensor, faces: Tensor, samples: int) -> Projected:
    """Rasterise ``vertices`` (V, 3) and ``faces`` (F, 3) for every camera of the scene."""
    height, width = scene.size
    points = torch.nn.functional.pad(vertices, (0, 1), value=1.0)
    clip = torch.einsum("nij,vj->nvi", scene.clip, points).contiguous()
    depth = torch.einsum("nj,vj->nv", scene.camera[:, 2], points)[..., None].contiguous()
    fragments = raster.rasterize(clip, faces, (height * samples, width * samples))
    return Projected(clip, depth, fragments, (fragments[..., 3:] > 0).to(vertices.dtype), samples)


def compose(raster: Raster, seen: Projected, colour: Tensor, faces: Tensor) -> Drawing:
    """The drawing from the samples' ``colour`` (N, H * S, W * S, 3): silhouettes antialiased, samples averaged."""
    layers = torch.cat([colour * seen.hit, seen.hit], dim=-1).contiguous()
    picture = raster.antialias(layers, seen.fragments, seen.clip, faces)
    depth = raster.interpolate(seen.depth, seen.fragments, faces)
    pooled, behind, solid = (_pool(values, seen.samples) for values in (picture, depth, seen.hit))
    return Drawing(pooled[..., :3], pooled[..., 3:], behind, (solid > 0.999).to(colour.dtype))


def draw(raster: Raster, scene: Scene, draft: Draft, samples: int) -> Drawing:
    """Draw the draft in its texture's own colours, with ``samples`` x ``samples`` antialiased samples a pixel."""
    seen = project(raster, scene, draft.vertices, draft.faces, samples)
    uv = raster.interpolate(draft.uv, seen.fragments, draft.uv_faces)
    return compose(raster, seen, raster.texture(draft.texture, uv), draft.faces)


def _pool(values: Tensor, samples: int) -> Tensor:
    """Mean of each pixel's samples."""
    if samples == 1:
        return values
    n, height, width, channels = values.shape
    blocks = values.reshape(n, height // samples, samples, width // samples, samples, channels)
    return blocks.mean(dim=(2, 4))
