"""From material, normal, light and view to the colour of a picture: split-sum shading of glTF's material.

The material is metallic-roughness as in glTF 2.0, appendix B: alpha is the squared roughness, GGX with Smith's joint
masking, Schlick's Fresnel term, reflectance at normal incidence 0.04 for dielectrics and the base colour for metals.
The integral over the light is split in two as in Karis 2013, "Real Shading in Unreal Engine 4": a lobe's mean
radiance (``models.nvdiffrec.light``) times the directional albedo F0 A + B, whose A and B are tabulated here. Light
that a dielectric's surface reflects does not reach the colour beneath it (appendix B.3.5 weighs the diffuse part by
1 - F); in a split sum that weight is one minus the albedo of the layer: a white dielectric in a white room is white.

Two things are left out, as in glTF's core: light that bounces more than once between microfacets (a rough white
metal in a white room is darker than white), and shadows other than the occlusion texture.

All functions are pure; colours are linear unless a name says sRGB; pictures are (..., 3) and one-channel values
(..., 1). Nothing waits for the device.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import grid_sample, normalize

from meshdrop.models.nvdiffrec.ggx import reflect, smith_lambda, visible_half_vectors
from meshdrop.models.nvdiffrec.light import Environment

#: Reflectance at normal incidence of every dielectric: an index of refraction of 1.5 (glTF 2.0, appendix B.2.2).
DIELECTRIC = 0.04
#: Cells of the table and half vectors (rings x spokes) for each of its entries.
TABLE_SIZE, RINGS, SPOKES = 64, 48, 32
#: Grazing views are looked up this far inside, where the quotients of the table are still numbers.
LEAST_COSINE = 1e-3
#: Keeps look-ups off the ends of the table, where ``grid_sample`` has no gradient.
MARGIN = 1e-5
#: Lengths below this count as none, so that empty pixels give zeros with zero gradients.
NO_LENGTH = 1e-6


def shade(environment: Environment, table: Tensor, kd: Tensor, orm: Tensor, normal: Tensor, view: Tensor) -> Tensor:
    """The linear radiance (..., 3) that surfaces under ``environment`` send towards ``view``.

    ``kd`` (..., 3) base colour, linear, 0..1. ``orm`` (..., 3) in glTF's order: occlusion (1 = open, multiplies all
    light), roughness, metallic, 0..1. ``normal`` and ``view`` (..., 3) unit vectors in the light's frame, the view
    away from the surface. ``table`` is ``brdf_table()``.
    """
    occlusion, roughness, metallic = orm[..., 0:1], orm[..., 1:2], orm[..., 2:3]
    scale, bias = directional_albedo(table, (normal * view).sum(dim=-1, keepdim=True), roughness)
    layer = DIELECTRIC * scale + bias
    diffuse = kd * (1 - metallic) * (1 - layer) * environment.irradiance(normal)
    albedo = (DIELECTRIC * (1 - metallic) + kd * metallic) * scale + bias
    specular = albedo * environment.reflected(dominant_direction(normal, view, roughness), roughness)
    return occlusion * (diffuse + specular)


def dominant_direction(normal: Tensor, view: Tensor, roughness: Tensor) -> Tensor:
    """The unit direction (..., 3) around which a lobe's mean is taken: from the mirror direction towards the normal.

    Lagarde and de Rousiers 2014, "Moving Frostbite to Physically Based Rendering", course notes, page 69: masking turns
    the lobe of a rough surface towards its normal. Without this, rough metals seen at an angle come out wrong by a
    third under lamps, with it by a tenth; an optimiser would paint the difference into the material.
    """
    alpha = roughness * roughness
    smooth = 1 - alpha
    kept = smooth**1.5 + smooth * alpha
    return normalize(normal + (reflect(view, normal) - normal) * kept, dim=-1, eps=NO_LENGTH)


def directional_albedo(table: Tensor, cosine: Tensor, roughness: Tensor) -> tuple[Tensor, Tensor]:
    """A and B (..., 1): the share F0 A + B of a uniform light that is reflected towards a view at ``cosine``.

    ``cosine`` (..., 1) between normal and view, taken as barely above zero where it is less; ``roughness`` (..., 1).
    """
    where = torch.cat([cosine.clamp(LEAST_COSINE, 1), roughness], dim=-1) * 2 - 1
    points = where.reshape(1, 1, -1, 2) * (1 - MARGIN)
    values = grid_sample(table[None], points, mode="bilinear", padding_mode="border", align_corners=True)
    scale, bias = values.reshape(2, *cosine.shape)
    return scale, bias


def brdf_table(device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32) -> Tensor:
    """The table (2, TABLE_SIZE, TABLE_SIZE) of A and B; rows are roughness, columns the cosine, both 0..1 inclusive.

    The sums of Karis 2013, "Environment BRDF", with the masking of glTF (appendix B.3.2) in place of his approximation
    of it, and over the half vectors that the view can see. Takes about half a second.
    """
    cosine = torch.linspace(0, 1, TABLE_SIZE, dtype=torch.float64).clamp(min=LEAST_COSINE)
    rows = [_albedo_row(roughness**2, cosine) for roughness in torch.linspace(0, 1, TABLE_SIZE).tolist()]
    return torch.stack(rows, dim=1).to(device, dtype)


def _albedo_row(alpha: float, cosine: Tensor) -> Tensor:
    """A and B (2, N) for one alpha at the cosines (N,)."""
    view = torch.stack([torch.sqrt(1 - cosine * cosine), torch.zeros_like(cosine), cosine], dim=-1)
    half, share = visible_half_vectors(alpha, view, RINGS, SPOKES)
    facing = (view[:, None] * half).sum(dim=-1)
    light = reflect(view[:, None], half)[..., 2]
    towards, back = smith_lambda(alpha, light.clamp(min=LEAST_COSINE)), smith_lambda(alpha, cosine)[:, None]
    # joint masking over that of the view alone, which the choice of half vectors already holds
    weight = torch.where(light > 0, share * (1 + back) / (1 + back + towards), 0.0)
    fresnel = (1 - facing).clamp(0, 1) ** 5
    return torch.stack([(weight * (1 - fresnel)).sum(dim=-1), (weight * fresnel).sum(dim=-1)])


# -- normals ----------------------------------------------------------------------------------------------------------


def decode_normal(texel: Tensor) -> Tensor:
    """Unit tangent-space normals (..., 3) of a normal texture's colours in 0..1: +x along u, +y up in the image, +z out
    of the surface (glTF 2.0, section 3.9.3).
    """
    return normalize(texel * 2 - 1, dim=-1, eps=NO_LENGTH)


def shading_normal(normal: Tensor, tangent: Tensor, bump: Tensor) -> Tensor:
    """Unit normals (..., 3) after the normal texture.

    ``normal`` (..., 3) interpolated from the vertices, of any length; ``tangent`` (..., 4) interpolated from
    ``models.mesh.tangents``, made perpendicular to the normal here, its fourth value the side on which the
    bitangent lies (glTF 2.0, section 3.7.2.1: bitangent = cross(normal, tangent) * w); ``bump`` (..., 3) from
    ``decode_normal``.
    """
    n = normalize(normal, dim=-1, eps=NO_LENGTH)
    along = tangent[..., :3]
    t = normalize(along - (along * n).sum(dim=-1, keepdim=True) * n, dim=-1, eps=NO_LENGTH)
    b = torch.linalg.cross(n, t) * torch.sign(tangent[..., 3:])
    return normalize(bump[..., 0:1] * t + bump[..., 1:2] * b + bump[..., 2:3] * n, dim=-1, eps=NO_LENGTH)


def facing_viewer(normal: Tensor, face_normal: Tensor, view: Tensor) -> Tensor:
    """The shading normals (..., 3), reversed where the *triangle* shows its back (glTF 2.0, section 3.9.5).

    A smooth normal may point away from the viewer on a triangle that faces him; it is left alone, as viewers leave it.
    """
    back = (face_normal * view).sum(dim=-1, keepdim=True) < 0
    return torch.where(back, -normal, normal)


# -- colours ----------------------------------------------------------------------------------------------------------


def linear_to_srgb(linear: Tensor) -> Tensor:
    """The sRGB transfer function (IEC 61966-2-1), continued beyond 1; zero and below stay on its straight part."""
    curve = 1.055 * linear.clamp(min=0.0031308) ** (1 / 2.4) - 0.055
    return torch.where(linear <= 0.0031308, 12.92 * linear, curve)


def srgb_to_linear(encoded: Tensor) -> Tensor:
    """The inverse of ``linear_to_srgb``."""
    curve = ((encoded.clamp(min=0.04045) + 0.055) / 1.055) ** 2.4
    return torch.where(encoded <= 0.04045, encoded / 12.92, curve)
