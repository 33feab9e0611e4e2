"""Split-sum shading: energy, glTF's material, normals, and the curve of sRGB."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tests.torch_needed import torch_or_skip

torch_or_skip()

import torch  # noqa: E402
from torch import Tensor  # noqa: E402
from torch.nn.functional import normalize  # noqa: E402

from meshdrop.models.mesh.tangents import tangent_frames  # noqa: E402
from meshdrop.models.nvdiffrec.light import Environment, LightFilter, radiance, uniform_light  # noqa: E402
from meshdrop.models.nvdiffrec.shading import (  # noqa: E402
    brdf_table,
    decode_normal,
    directional_albedo,
    facing_viewer,
    linear_to_srgb,
    shade,
    shading_normal,
    srgb_to_linear,
)
from tests.unit.models.nvdiffrec.lightmap import texel_directions  # noqa: E402

FLAT = torch.tensor([0.5, 0.5, 1.0], dtype=torch.float64)
UP = torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64)


@pytest.fixture(scope="module")
def table() -> Tensor:
    return brdf_table(dtype=torch.float64)


@pytest.fixture(scope="module")
def white_room() -> Environment:
    return LightFilter.build(8, 16, dtype=torch.float64).apply(torch.ones(8, 16, 3, dtype=torch.float64))


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def towards(cosine: Tensor) -> Tensor:
    """Unit views (N, 3) at the cosines (N,) to +z."""
    return torch.stack([torch.sqrt(1 - cosine**2), 0 * cosine, cosine], dim=-1)


def orm(occlusion: float, roughness: Tensor, metallic: float) -> Tensor:
    return torch.stack([torch.full_like(roughness, occlusion), roughness, torch.full_like(roughness, metallic)], dim=-1)


def sphere(height: int) -> tuple[Tensor, Tensor]:
    """Directions (S, 3) all over the sphere and their solid angles (S,)."""
    theta = (torch.arange(height, dtype=torch.float64) + 0.5) * math.pi / height
    angle = (torch.sin(theta) * (math.pi / height) ** 2)[:, None].expand(height, 2 * height)
    return texel_directions(height, 2 * height).reshape(-1, 3), angle.reshape(-1)


def brdf(light: Tensor, view: Tensor, normal: Tensor, kd: Tensor, roughness: float, metallic: float) -> Tensor:
    """glTF 2.0, appendix B.3, word by word: (S, 3) for light directions (S, 3)."""
    half = normalize(light + view, dim=-1)
    nl, nv, nh, vh = light @ normal, view @ normal, half @ normal, (half * view).sum(dim=-1)
    alpha2 = roughness**4
    D = alpha2 / (math.pi * (nh**2 * (alpha2 - 1) + 1) ** 2)
    G = 2 * nl * nv / (nv * torch.sqrt(alpha2 + (1 - alpha2) * nl**2) + nl * torch.sqrt(alpha2 + (1 - alpha2) * nv**2))
    microfacets = torch.where(nl > 0, G * D / (4 * nl * nv), 0.0)[:, None]
    weight = (1 - vh.abs())[:, None] ** 5
    fresnel = 0.04 + 0.96 * weight
    dielectric = (1 - fresnel) * kd / math.pi + fresnel * microfacets
    return (1 - metallic) * dielectric + metallic * (kd + (1 - kd) * weight) * microfacets


# -- the table --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("roughness", [0.25, 0.5, 0.75, 1.0])
@pytest.mark.parametrize("cosine", [0.15, 0.5, 0.95])
def test_the_table_agrees_with_the_integral(table: Tensor, roughness: float, cosine: float) -> None:
    """Over light directions instead of half vectors: nothing of the sampling is shared."""
    light, angle = sphere(256)
    view = towards(torch.tensor([cosine], dtype=torch.float64))[0]
    lit = (light @ UP).clamp(min=0) * angle
    black, white = (
        (brdf(light, view, UP, torch.full((3,), f0, dtype=torch.float64), roughness, 1.0)[:, 0] * lit).sum()
        for f0 in (0.0, 1.0)
    )
    where = torch.tensor([[cosine]], dtype=torch.float64), torch.tensor([[roughness]], dtype=torch.float64)
    scale, bias = directional_albedo(table, *where)
    assert bias.item() == pytest.approx(black.item(), abs=0.003)
    assert scale.item() == pytest.approx((white - black).item(), abs=0.005)


def test_a_rough_white_metal_seen_straight_on_reflects_1_minus_ln_2(table: Tensor) -> None:
    # alpha = 1: D = 1/pi and G = 2c / (1 + c), so the albedo is the integral of c / (1 + c) from 0 to 1
    scale, bias = directional_albedo(table, *torch.ones(2, 1, 1, dtype=torch.float64))
    assert (scale + bias).item() == pytest.approx(1 - math.log(2), abs=0.002)


def test_a_mirror_follows_schlick(table: Tensor) -> None:
    cosine = torch.linspace(0.05, 1, 50, dtype=torch.float64)[:, None]
    scale, bias = directional_albedo(table, cosine, torch.zeros_like(cosine))
    assert bias == pytest.approx((1 - cosine) ** 5, abs=0.002)
    assert scale + bias == pytest.approx(torch.ones_like(cosine), abs=0.002)


def test_no_surface_reflects_more_than_it_gets_and_rough_ones_less(table: Tensor) -> None:
    assert table.min() >= 0
    whole = table.sum(dim=0)
    assert whole.max() <= 1 + 1e-9
    assert (whole[1:] - whole[:-1])[:, 8:].max() <= 0.002  # columns: cosines above 1/8, where rows are smooth


# -- energy -----------------------------------------------------------------------------------------------------------


def test_a_white_dielectric_vanishes_in_a_white_room(table: Tensor, white_room: Environment) -> None:
    view, roughness = towards(random(200)), random(200, seed=1)
    normal, white = UP.expand(200, 3), torch.ones(200, 3, dtype=torch.float64)
    assert shade(white_room, table, white, orm(1, roughness, 0), normal, view) == pytest.approx(white, abs=1e-9)


def test_a_smooth_white_metal_vanishes_in_a_white_room(table: Tensor, white_room: Environment) -> None:
    view, roughness = towards(0.2 + 0.8 * random(200)), 0.2 * random(200, seed=1)
    normal, white = UP.expand(200, 3), torch.ones(200, 3, dtype=torch.float64)
    assert shade(white_room, table, white, orm(1, roughness, 1), normal, view) == pytest.approx(white, abs=0.02)


def test_no_material_shines_brighter_than_the_room(table: Tensor, white_room: Environment) -> None:
    view, material, kd = towards(random(2000)), random(2000, 3, seed=1), random(2000, 3, seed=2)
    colour = shade(white_room, table, kd, material, UP.expand(2000, 3), view)
    assert colour.min() >= 0
    assert colour.max() <= 1 + 1e-9


def test_channels_are_occlusion_roughness_metallic(table: Tensor, white_room: Environment) -> None:
    kd = torch.tensor([0.8, 0.4, 0.2], dtype=torch.float64)

    def colour(*material: float) -> Tensor:
        return shade(white_room, table, kd, torch.tensor(material, dtype=torch.float64), UP, UP)

    assert colour(0.25, 0.5, 0) == pytest.approx(0.25 * colour(1, 0.5, 0))
    # seen straight on a smooth metal has its base colour as reflectance, a dielectric 0.04 above what lies beneath
    assert colour(1, 0, 1) == pytest.approx(kd, abs=0.002)
    assert colour(1, 0, 0) == pytest.approx(0.96 * kd + 0.04, abs=0.002)
    assert (colour(1, 1, 1) < 0.5 * colour(1, 0, 1)).all()


@pytest.mark.parametrize(("roughness", "metallic"), [(0.5, 0.0), (0.9, 0.0), (0.5, 1.0), (0.9, 1.0), (0.7, 0.5)])
def test_split_sums_agree_with_the_whole_integral(table: Tensor, roughness: float, metallic: float) -> None:
    """Under a light that changes slowly the product of two means is nearly the mean of the product (Karis 2013)."""
    map_ = 1 + 0.5 * texel_directions(16, 32) @ torch.tensor(
        [[0.3, 0.1, -0.5], [0.4, 0.8, 0.2], [0.5, -0.4, 0.6]], dtype=torch.float64
    )
    environment = LightFilter.build(16, 32, dtype=torch.float64).apply(map_)
    light, angle = sphere(128)
    arriving = environment.reflected(light, torch.zeros(len(light), 1, dtype=torch.float64))
    kd = torch.tensor([0.8, 0.5, 0.2], dtype=torch.float64)
    for k, cosine in enumerate((0.4, 0.7, 1.0)):
        normal = normalize(random(3, seed=k) - 0.5, dim=0)
        side = normalize(torch.linalg.cross(normal, random(3, seed=9)), dim=0)
        view = cosine * normal + math.sqrt(1 - cosine**2) * side
        weight = brdf(light, view, normal, kd, roughness, metallic) * ((light @ normal).clamp(min=0) * angle)[:, None]
        expected = (weight * arriving).sum(dim=0)
        material = torch.tensor([1.0, roughness, metallic], dtype=torch.float64)
        assert shade(environment, table, kd, material, normal, view) == pytest.approx(expected, rel=0.06)


# -- normals ----------------------------------------------------------------------------------------------------------


def test_a_flat_map_changes_nothing() -> None:
    normal = normalize(random(50, 3) - 0.5, dim=-1)
    tangent = torch.cat([random(50, 3, seed=1) - 0.5, torch.ones(50, 1)], dim=-1)
    bump = decode_normal(FLAT).expand(50, 3)
    assert shading_normal(3 * normal, tangent, bump) == pytest.approx(normal, abs=1e-9)


def test_tangents_need_not_be_perpendicular() -> None:
    tilted = torch.tensor([1.0, 0.0, 1.0], dtype=torch.float64) / math.sqrt(2)
    leaning = torch.tensor([2.0, 0.0, 5.0, 1.0], dtype=torch.float64)
    assert shading_normal(UP, leaning, tilted) == pytest.approx(tilted)


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("channel", [0, 1])
def test_a_tilted_map_turns_the_normal_along_the_texture(mirrored: bool, turned: bool, channel: int) -> None:
    """Red tilts towards increasing u, green towards the top of the image, however the chart lies on the surface."""
    corners = np.array([(0, 0, 0), (1, 0, 0), (0, 1, 0)], np.float32)
    chart = corners[:, :2].copy()
    if turned:
        chart = np.stack([chart[:, 1], 1 - chart[:, 0]], axis=1)
    if mirrored:
        chart[:, 0] = 1 - chart[:, 0]
    faces = np.array([(0, 1, 2)], np.int32)
    frames = tangent_frames(corners, faces, chart[None], np.tile(np.array([0, 0, 1], np.float32), (3, 1)))
    # where does the chart's coordinate of this channel increase on the surface? chart = origin + rows @ xy
    rows = np.stack([chart[1] - chart[0], chart[2] - chart[0]], axis=1)
    downhill = rows[channel]
    texel = FLAT.clone()
    texel[channel] = 1.0
    tangent = torch.from_numpy(frames.tangent[frames.faces[0]]).double()
    normal = shading_normal(UP.expand(3, 3), tangent, decode_normal(texel).expand(3, 3))
    expected = torch.tensor([*downhill, 1.0], dtype=torch.float64) / math.sqrt(2)
    assert normal == pytest.approx(expected.expand(3, 3), abs=1e-6)


def test_the_back_of_a_triangle_is_lit_as_if_it_were_its_front() -> None:
    normal = normalize(torch.tensor([0.3, 0.2, 1.0], dtype=torch.float64), dim=0).expand(2, 3)
    view = torch.stack([UP, -UP])
    turned = facing_viewer(normal, UP.expand(2, 3), view)
    assert torch.equal(turned, torch.stack([normal[0], -normal[0]]))


def test_empty_pixels_stay_empty(table: Tensor, white_room: Environment) -> None:
    nothing = torch.zeros(4, 3, dtype=torch.float64, requires_grad=True)
    normal = shading_normal(nothing, torch.zeros(4, 4, dtype=torch.float64), decode_normal(FLAT).expand(4, 3))
    colour = shade(white_room, table, nothing, nothing, facing_viewer(normal, nothing, nothing), nothing)
    (colour * 0).sum().backward()  # type: ignore[no-untyped-call]
    assert nothing.grad is not None
    assert torch.isfinite(colour).all()
    assert torch.equal(nothing.grad, torch.zeros(4, 3, dtype=torch.float64))


# -- colours ----------------------------------------------------------------------------------------------------------


def test_srgb_is_decoded_as_gltf_says() -> None:
    # the worked example of glTF 2.0, section 3.9.2
    linear = srgb_to_linear(torch.tensor([64, 124, 231]) / 255)
    assert linear.tolist() == pytest.approx([0.051, 0.202, 0.799], abs=0.0006)


def test_both_curves_undo_each_other_and_meet_at_their_joint() -> None:
    encoded = torch.linspace(0, 1.5, 300, dtype=torch.float64)
    assert linear_to_srgb(srgb_to_linear(encoded)) == pytest.approx(encoded, abs=1e-7)
    joint = torch.tensor([0.0031307, 0.0031309], dtype=torch.float64)
    assert linear_to_srgb(joint).diff().item() == pytest.approx(12.92 * 2e-7, rel=0.2)


def test_black_has_a_gradient() -> None:
    black = torch.zeros(3, requires_grad=True)
    linear_to_srgb(black).sum().backward()  # type: ignore[no-untyped-call]
    assert black.grad is not None
    assert black.grad.tolist() == pytest.approx([12.92] * 3)


# -- gradients --------------------------------------------------------------------------------------------------------


def test_gradients_are_those_of_the_values(table: Tensor) -> None:
    light = LightFilter.build(3, 6, dtype=torch.float64)

    def picture(parameter: Tensor, kd: Tensor, material: Tensor, texel: Tensor, normal: Tensor) -> Tensor:
        tangent = torch.tensor([1.0, 0.2, 0.1, -1.0], dtype=torch.float64).expand(4, 4)
        n = facing_viewer(shading_normal(normal, tangent, decode_normal(texel)), UP, UP)
        return linear_to_srgb(shade(light.apply(radiance(parameter)), table, kd, material, n, UP.expand(4, 3)))

    normals = torch.tensor([0.0, 0.0, 1.0]) + 0.6 * (random(4, 3) - 0.5)
    kd, material, texel = random(4, 3, seed=1), 0.1 + 0.8 * random(4, 3, seed=2), 0.5 + 0.4 * random(4, 3)
    values = (random(3, 6, 3), kd, material, texel, normals)
    assert torch.autograd.gradcheck(picture, [value.requires_grad_() for value in values])


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_cuda_gives_the_same_picture_and_gradients_and_never_waits() -> None:
    kd, material, texel = random(2, 16, 16, 3), random(2, 16, 16, 3, seed=1), 0.4 + 0.2 * random(2, 16, 16, 3, seed=2)
    normal = normalize(random(2, 16, 16, 3, seed=3) - 0.5, dim=-1)
    view = normalize(normal + 0.5 * (random(2, 16, 16, 3, seed=4) - 0.5), dim=-1)
    tangent = torch.cat([random(2, 16, 16, 3, seed=5) - 0.5, torch.ones(2, 16, 16, 1)], dim=-1)

    def step(device: str, wait: str) -> list[Tensor]:
        light, lookup = LightFilter.build(8, 16, device), brdf_table(device)
        start = uniform_light(8, 16, 0.7, device) + random(8, 16, 3, seed=6).float().to(device)
        inputs = [value.float().to(device).requires_grad_() for value in (start, kd, material, texel, normal)]
        v, t = view.float().to(device), tangent.float().to(device)
        torch.cuda.synchronize()
        torch.cuda.set_sync_debug_mode(wait)
        try:
            n = facing_viewer(shading_normal(inputs[4], t, decode_normal(inputs[3])), inputs[4].detach(), v)
            picture = linear_to_srgb(shade(light.apply(radiance(inputs[0])), lookup, inputs[1], inputs[2], n, v))
            gradients = torch.autograd.grad((picture**2).mean(), inputs)
        finally:
            torch.cuda.set_sync_debug_mode("default")
        return [value.detach().cpu() for value in (picture, *gradients)]

    for ours, reference in zip(step("cuda", "error"), step("cpu", "default"), strict=True):
        assert (ours - reference).abs().max() <= 1e-3 * reference.abs().max()
