"""How a fixed mesh is coloured: a picture pasted on, or a material under a light. Both are drawn in the same way."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.nn.functional import normalize

from meshdrop.models.nvdiffrec.drawing import Drawing, compose
from meshdrop.models.nvdiffrec.light import LightFilter, greyness, radiance, uniform_light
from meshdrop.models.nvdiffrec.losses import Weights, roughness
from meshdrop.models.nvdiffrec.material import Textures, from_file, to_file
from meshdrop.models.nvdiffrec.samples import Samples
from meshdrop.models.nvdiffrec.shading import (
    DIELECTRIC,
    brdf_table,
    decode_normal,
    facing_viewer,
    linear_to_srgb,
    shade,
    shading_normal,
    srgb_to_linear,
)
from meshdrop.models.raster.differentiable import Raster

#: Texels of the light: one is eleven degrees wide.
LIGHT_SIZE = (16, 32)
#: Where materials start: half rough and no metal; from 0.8 a gleam is found three times as slowly. Surfaces smoother
#: than ``LEAST_ROUGHNESS`` show nothing more in so coarse a light.
START_ROUGHNESS, LEAST_ROUGHNESS = 0.5, 0.1
#: Colours brighter than white are white in a photograph; this share of the excess tells an optimiser to come back.
BEYOND_WHITE = 0.05


@dataclass(frozen=True)
class Optics:
    """The constants of shading on one device; the same for every material and light."""

    light: LightFilter
    table: Tensor

    @classmethod
    def on(cls, device: torch.device) -> Optics:
        """Takes half a second."""
        return cls(LightFilter.build(*LIGHT_SIZE, device), brdf_table(device))


class Colouring(Protocol):
    """A way of colouring a mesh."""

    def colour(self, raster: Raster, samples: Samples) -> Tensor:
        """Every sample's sRGB colour (N, H, W, 3)."""
        ...


class Appearance(Colouring, Protocol):
    """A way of colouring a mesh that an optimiser may change."""

    def parameters(self) -> list[tuple[Tensor, float]]:
        """What may change, with the size of a step."""
        ...

    def prior(self) -> Tensor:
        """How unlikely the state is without looking at pictures, in squared standard deviations."""
        ...

    def confine(self) -> None:
        """Bring the parameters back into their ranges, in place."""
        ...


def draw(raster: Raster, samples: Samples, colouring: Colouring) -> Drawing:
    """The pictures of some samples, with the silhouettes and means of pixels that every drawing has."""
    return compose(raster, samples.seen, colouring.colour(raster, samples), samples.faces)


class Painted:
    """The captured colours pasted on: the same from everywhere. ``start`` (h, w, 3) sRGB."""

    def __init__(self, start: Tensor, weights: Weights) -> None:
        self._start, self._weights = start, weights
        self.texture = start.clone().requires_grad_(True)

    def parameters(self) -> list[tuple[Tensor, float]]:
        """As ``Colouring`` promises."""
        return [(self.texture, 0.02)]

    def colour(self, raster: Raster, samples: Samples) -> Tensor:
        """Every sample's sRGB colour (N, H, W, 3)."""
        return raster.texture(self.texture, samples.uv)

    def prior(self) -> Tensor:
        """As ``Colouring`` promises."""
        return self._weights.texture / self._weights.colour**2 * roughness(self.texture - self._start)

    def confine(self) -> None:
        """As ``Colouring`` promises."""
        with torch.no_grad():
            self.texture.clamp_(0, 1)

    def as_delivered(self) -> Painted:
        """The same in bytes, as a file holds it."""
        return Painted((self.texture.detach() * 255).round() / 255, self._weights)


@dataclass(frozen=True)
class LitWeights:
    """Priors of materials and light, in units of a squared deviation of one pixel's colour.

    ``detail`` of roughness and metal and ``relief`` of the normals weigh the differences of neighbouring texels,
    ``plain`` how far a texel is from the whole object's mean. ``grey`` weighs the light's colour
    (``light.greyness``) and ``even`` the contrast of its neighbouring texels; those two per pixel of the pictures.
    """

    detail: float = 0.3
    relief: float = 1.0
    plain: float = 0.01
    grey: float = 0.005
    even: float = 1e-4


class Lit:
    """A metallic-roughness material under an environment light, of the world's or (``attached``) of the camera's axes.

    ``start`` (h, w, 3) are the captured colours, sRGB; ``pixels`` how many the object has in all pictures. Roughness
    and metal are one value for the object plus a difference for every texel, so that few views of a texel suffice; the
    normals are tilts. The occlusion stays 1: shadows that stay where they are belong into the base colour.
    """

    def __init__(
        self,
        start: Tensor,
        pixels: float,
        attached: bool,
        optics: Optics,
        weights: Weights,
        priors: LitWeights | None = None,
    ) -> None:
        self.attached, self._optics = attached, optics
        self._weights, self._priors, self._pixels = weights, priors or LitWeights(), pixels
        device, shape = start.device, start.shape[:2]
        captured = srgb_to_linear(start)
        level = float(torch.quantile(captured[::4, ::4].amax(dim=-1), 0.9).clamp_min(0.02)) / 0.8
        self.light = uniform_light(*LIGHT_SIZE, level, device).requires_grad_(True)
        self._start = linear_to_srgb((captured / level - DIELECTRIC).clamp(0, 1))
        self.kd = self._start.clone().requires_grad_(True)
        self._least = torch.tensor([LEAST_ROUGHNESS, 0.0], device=device)
        self.base = torch.tensor([START_ROUGHNESS, 0.0], device=device).requires_grad_(True)
        self.detail = torch.zeros(*shape, 2, device=device).requires_grad_(True)
        self.tilt = torch.zeros(*shape, 2, device=device).requires_grad_(True)

    def parameters(self) -> list[tuple[Tensor, float]]:
        """As ``Colouring`` promises."""
        return [(self.kd, 0.02), (self.light, 0.3), (self.base, 0.1), (self.detail, 0.02), (self.tilt, 0.003)]

    def textures(self) -> Textures:
        """The material, each texture (h, w, 3)."""
        rough_metal = torch.maximum(self.base + self.detail, self._least).clamp(max=1)
        orm = torch.cat([torch.ones_like(rough_metal[..., :1]), rough_metal], dim=-1)
        bump = normalize(torch.nn.functional.pad(self.tilt, (0, 1), value=1.0), dim=-1)
        return Textures(srgb_to_linear(self.kd), orm, bump * 0.5 + 0.5)

    def radiance(self) -> Tensor:
        """The light's map (LIGHT_SIZE, 3)."""
        return radiance(self.light)

    def colour(self, raster: Raster, samples: Samples) -> Tensor:
        """Every sample's sRGB colour (N, H, W, 3); the excess over white is kept in small."""
        return self.shaded(raster, samples, self.textures())

    def as_delivered(self) -> Delivered:
        """The same, with the textures that a file holds."""
        return Delivered(self, from_file(to_file(self.textures()), self.kd.device))

    def prior(self) -> Tensor:
        """As ``Colouring`` promises."""
        unit, priors = 1 / self._weights.colour**2, self._priors
        around, down = self.light - self.light.roll(1, dims=1), self.light[1:] - self.light[:-1]
        contrast = around.square().mean() + down.square().mean()
        relative = torch.exp(self.light - self.light.detach().mean())
        return unit * (
            self._weights.texture * roughness(self.kd - self._start)
            + priors.detail * roughness(self.detail)
            + priors.relief * roughness(self.tilt)
            + priors.plain * (self.detail.square().sum() + self.tilt.square().sum())
            + self._pixels * (priors.grey * self._weights.colour * greyness(relative) + priors.even * contrast)
        )

    def confine(self) -> None:
        """As ``Colouring`` promises."""
        with torch.no_grad():
            self.kd.clamp_(0, 1)
            self.base[:1].clamp_(LEAST_ROUGHNESS, 1)
            self.base[1:].clamp_(0, 1)
            self.tilt.clamp_(-1, 1)

    def shaded(self, raster: Raster, samples: Samples, textures: Textures) -> Tensor:
        """Every sample's sRGB colour (N, H, W, 3) with other textures; the excess over white is kept in small."""
        stacked = torch.cat([textures.kd, textures.orm, textures.normal], dim=-1)
        kd, orm, bump = raster.texture(stacked, samples.uv).chunk(3, dim=-1)
        normal = shading_normal(samples.normal, samples.tangent, decode_normal(bump))
        normal, view = facing_viewer(normal, samples.facing, samples.towards), samples.towards
        if self.attached:
            normal, view = (torch.einsum("nij,nhwj->nhwi", samples.camera, one) for one in (normal, view))
        environment = self._optics.light.apply(self.radiance())
        colour = linear_to_srgb(shade(environment, self._optics.table, kd, orm, normal, view))
        return torch.where(colour > 1, 1 + BEYOND_WHITE * (colour - 1), colour)


class Delivered:
    """A ``Lit`` as a viewer sees its files: textures in bytes, nothing brighter than white."""

    def __init__(self, lit: Lit, textures: Textures) -> None:
        self._lit, self._textures = lit, textures

    def colour(self, raster: Raster, samples: Samples) -> Tensor:
        """Every sample's sRGB colour (N, H, W, 3), 0..1, by the textures of the file."""
        return self._lit.shaded(raster, samples, self._textures).clamp(max=1)
