"""The environment light: where its texels lie, and what surfaces see of it."""

from __future__ import annotations

import math

import pytest

from tests.torch_needed import torch_or_skip

torch_or_skip()

import torch  # noqa: E402
from torch import Tensor  # noqa: E402
from torch.nn.functional import normalize  # noqa: E402

from meshdrop.models.nvdiffrec.light import LEVELS, Environment, LightFilter, greyness, radiance, uniform_light  # noqa: E402
from tests.unit.models.nvdiffrec.lightmap import texel_directions  # noqa: E402

X, Y, Z = (torch.eye(3, dtype=torch.float64)[k] for k in range(3))


@pytest.fixture(scope="module")
def light_filter() -> LightFilter:
    return LightFilter.build(16, 32, dtype=torch.float64)


def directions(count: int, seed: int = 0) -> Tensor:
    """Random unit directions (count, 3), the same every time."""
    generator = torch.Generator().manual_seed(seed)
    return normalize(torch.randn(count, 3, dtype=torch.float64, generator=generator), dim=-1)


def noise(height: int = 16, width: int = 32) -> Tensor:
    """A light of high contrast without any order, the hardest there is."""
    return torch.rand(height, width, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1)) ** 4 * 10


def lamps(height: int = 16, width: int = 32) -> Tensor:
    """A dim room with two lamps, one of them at the seam of the map (+Z) and one near the top."""
    towards = texel_directions(height, width)
    map_ = torch.full((height, width, 3), 0.2, dtype=torch.float64)
    for axis, sharpness, colour in ((Z + 0.3 * Y, 12, (6.0, 5.0, 4.0)), (Y + 0.2 * X, 20, (3.0, 4.0, 5.0))):
        lobe = torch.exp(sharpness * (towards @ normalize(axis, dim=0) - 1))
        map_ += lobe[..., None] * torch.tensor(colour, dtype=torch.float64)
    return map_


def sphere(height: int = 256) -> tuple[Tensor, Tensor]:
    """Directions (S, 3) all over the sphere and their solid angles (S,), for sums that stand in for integrals."""
    theta = (torch.arange(height, dtype=torch.float64) + 0.5) * math.pi / height
    angle = (torch.sin(theta) * (math.pi / height) ** 2)[:, None].expand(height, 2 * height)
    return texel_directions(height, 2 * height).reshape(-1, 3), angle.reshape(-1)


def seen(environment: Environment, towards: Tensor, roughness: float) -> Tensor:
    return environment.reflected(towards, torch.full((*towards.shape[:-1], 1), roughness, dtype=towards.dtype))


# -- conventions ------------------------------------------------------------------------------------------------------


def test_row_0_is_up_and_the_middle_looks_along_minus_z() -> None:
    # 2 x 4: rows at 45 and 135 degrees from +Y, columns at longitudes -135, -45, 45, 135 degrees from -Z towards +X
    towards = texel_directions(2, 4)
    half = 0.5
    assert towards[0, 2].tolist() == pytest.approx([half, math.sqrt(half), -half])
    assert towards[0, 1].tolist() == pytest.approx([-half, math.sqrt(half), -half])
    assert towards[1, 3].tolist() == pytest.approx([half, -math.sqrt(half), half])


@pytest.mark.parametrize(
    ("rows", "columns", "axis"),
    [
        (slice(6, 10), slice(22, 26), X),
        (slice(6, 10), slice(6, 10), -X),
        (slice(6, 10), slice(14, 18), -Z),
        (slice(6, 10), [31, 30, 0, 1], Z),
        (slice(0, 2), slice(0, 32), Y),
        (slice(14, 16), slice(0, 32), -Y),
    ],
    ids=["+X", "-X", "-Z", "+Z", "+Y", "-Y"],
)
def test_a_lamp_lights_the_normal_that_points_at_it(
    light_filter: LightFilter, rows: slice, columns: slice | list[int], axis: Tensor
) -> None:
    lamp = torch.full((16, 32, 3), 0.01, dtype=torch.float64)
    lamp[rows, columns] = 10.0
    environment = light_filter.apply(lamp)
    normals = torch.stack([X, -X, Y, -Y, Z, -Z])
    facing = normals @ axis
    for value in (environment.irradiance(normals)[:, 0], seen(environment, normals, 0.3)[:, 0]):
        assert value[facing > 0.5] > 5 * value[facing < 0.5].max()
        assert value[facing < -0.5] < 0.011


def test_a_mirror_shows_the_map_itself(light_filter: LightFilter) -> None:
    map_ = noise()
    assert seen(light_filter.apply(map_), texel_directions(16, 32), 0.0) == pytest.approx(map_, abs=2e-3)


def test_pictures_in_a_batch_are_looked_up_like_single_directions(light_filter: LightFilter) -> None:
    environment = light_filter.apply(noise())
    towards = directions(2 * 5 * 7)
    batch = towards.reshape(2, 5, 7, 3)
    assert torch.equal(environment.irradiance(batch).reshape(-1, 3), environment.irradiance(towards))
    assert torch.equal(seen(environment, batch, 0.4).reshape(-1, 3), seen(environment, towards, 0.4))


# -- seams ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("roughness", [0.0, 0.3, 1.0])
def test_nothing_jumps_where_the_longitude_closes(light_filter: LightFilter, roughness: float) -> None:
    environment = light_filter.apply(noise())
    theta = torch.linspace(0.05, 3.09, 40, dtype=torch.float64)
    left, right = (
        torch.stack([torch.sin(theta) * side, torch.cos(theta), torch.sin(theta)], dim=-1) for side in (-1e-9, 1e-9)
    )
    assert seen(environment, left, roughness) == pytest.approx(seen(environment, right, roughness), abs=1e-6)
    assert environment.irradiance(left) == pytest.approx(environment.irradiance(right), abs=1e-6)


@pytest.mark.parametrize("up", [1.0, -1.0])
def test_a_pole_looks_the_same_from_every_side(up: float) -> None:
    """Also where the map's columns are out of step with the directions that the constants were built from: 20 is."""
    light = LightFilter.build(16, 20, dtype=torch.float64)
    environment = light.apply(noise(16, 20))
    at_pole = light.glossy.reshape(LEVELS, 18, 20, -1)[:, 0 if up > 0 else -1]
    assert (at_pole - at_pole[:, :1]).abs().max() < 1e-12
    phi = torch.linspace(0, 6.28, 30, dtype=torch.float64)
    around = torch.stack([1e-7 * torch.cos(phi), up + 0 * phi, 1e-7 * torch.sin(phi)], dim=-1)
    for roughness in (0.0, 0.2, 1.0):
        values = seen(environment, around, roughness)
        assert (values - values[0]).abs().max() < 2e-5
    edge = noise(16, 20)[0 if up > 0 else -1].mean(dim=0)
    assert seen(environment, around[:1], 0.0)[0].tolist() == pytest.approx(edge.tolist(), abs=1e-3)


# -- what is averaged -------------------------------------------------------------------------------------------------


def test_a_uniform_light_stays_uniform(light_filter: LightFilter) -> None:
    environment = light_filter.apply(torch.ones(16, 32, 3, dtype=torch.float64))
    towards = directions(500)
    roughness = torch.rand(500, 1, dtype=torch.float64)
    assert environment.irradiance(towards) == pytest.approx(torch.ones(500, 3), abs=1e-12)
    assert environment.reflected(towards, roughness) == pytest.approx(torch.ones(500, 3), abs=1e-12)


def test_no_light_is_taken_away_from_any_other(light_filter: LightFilter) -> None:
    for matrix in (light_filter.diffuse, light_filter.glossy):
        assert matrix.min() >= 0
        assert matrix.sum(dim=1) == pytest.approx(torch.ones(len(matrix)), abs=1e-12)


def test_irradiance_of_a_gradient_is_two_thirds_of_it() -> None:
    # radiance 1 + d.a gives irradiance pi (1 + 2/3 n.a): Ramamoorthi and Hanrahan 2001, the first harmonic
    a = torch.tensor([0.2, -0.5, 0.4], dtype=torch.float64)
    light = LightFilter.build(32, 64, dtype=torch.float64)
    map_ = (1 + texel_directions(32, 64) @ a)[..., None].expand(32, 64, 3)
    normals = directions(300)
    expected = 1 + normals @ a * 2 / 3
    assert light.apply(map_).irradiance(normals)[:, 0] == pytest.approx(expected, abs=2e-3)


@pytest.mark.parametrize("light", [noise(), lamps()], ids=["noise", "lamps"])
def test_irradiance_agrees_with_the_integral(light_filter: LightFilter, light: Tensor) -> None:
    """The integral of the mirror's picture, which is the map between its texels too, over the cosine: to one per
    cent of the brightest.
    """
    environment, normals = light_filter.apply(light), directions(60)
    towards, angle = sphere(128)
    cosine = (normals @ towards.T).clamp(min=0)
    expected = (cosine * angle) @ seen(environment, towards, 0.0) / math.pi
    assert (environment.irradiance(normals) - expected).abs().max() < 0.01 * expected.max()


@pytest.mark.parametrize(("roughness", "bound"), [(0.3, 0.04), (0.4, 0.03), (0.5, 0.02), (0.8, 0.015), (1.0, 0.02)])
def test_glossy_look_ups_agree_with_the_integral(light_filter: LightFilter, roughness: float, bound: float) -> None:
    """Karis's n = v = r: D(h) n.l over light directions, h half-way between n and l: cos^2 h is (1 + n.l) / 2."""
    environment, axes = light_filter.apply(lamps()), directions(60)
    towards, angle = sphere(128)
    cosine = axes @ towards.T
    alpha2 = roughness**4
    lobe = alpha2 / ((1 + cosine) / 2 * (alpha2 - 1) + 1) ** 2 * cosine.clamp(min=0) * angle
    expected = lobe @ seen(environment, towards, 0.0) / lobe.sum(dim=1, keepdim=True)
    assert ((seen(environment, axes, roughness) - expected).abs() / expected).mean() < bound


@pytest.mark.parametrize("roughness", [0.2, 0.6, 1.0])
def test_all_directions_together_see_as_much_light_as_there_is(light_filter: LightFilter, roughness: float) -> None:
    """A lobe that only turns takes from one direction what it gives to another: the mean over the sphere stays."""
    environment = light_filter.apply(noise())
    towards, angle = sphere(96)
    there = angle @ seen(environment, towards, 0.0)
    assert angle @ seen(environment, towards, roughness) == pytest.approx(there, rel=0.01)
    assert angle @ environment.irradiance(towards) == pytest.approx(there, rel=0.01)


# -- parameters and gradients -----------------------------------------------------------------------------------------


def test_radiance_is_never_negative_and_starts_as_asked() -> None:
    start = uniform_light(4, 8, 0.5)
    assert radiance(start) == pytest.approx(torch.full((4, 8, 3), 0.5))
    assert radiance(start - 200).min() >= 0


def test_greyness_counts_colour_only() -> None:
    grey = torch.rand(4, 8, 1).expand(4, 8, 3)
    assert greyness(grey).item() == pytest.approx(0, abs=1e-7)
    # channels 3, 0, 0: mean 1, distances 2, 1, 1, of which the mean is 4/3
    assert greyness(torch.tensor([3.0, 0.0, 0.0]).expand(4, 8, 3)).item() == pytest.approx(4 / 3)


def test_gradients_are_those_of_the_values() -> None:
    light = LightFilter.build(3, 6, dtype=torch.float64)

    def looked_up(parameter: Tensor, towards: Tensor, roughness: Tensor) -> Tensor:
        environment = light.apply(radiance(parameter))
        unit = normalize(towards, dim=-1)
        return torch.cat([environment.irradiance(unit), environment.reflected(unit, roughness)])

    parameter = torch.randn(3, 6, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    roughness = torch.tensor([0.03, 0.31, 0.52, 0.77, 0.95], dtype=torch.float64)[:, None]
    inputs = [value.requires_grad_() for value in (parameter, directions(5, seed=3), roughness)]
    assert torch.autograd.gradcheck(looked_up, inputs)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_poles_and_empty_pixels_have_gradients_like_any_other(dtype: torch.dtype) -> None:
    light = LightFilter.build(4, 8, dtype=dtype)
    environment = light.apply(noise(4, 8).to(dtype))
    towards = torch.stack([Y, Y + 1e-9 * X, 1e-8 * Z - Y, 0 * Y, 1e-12 * X, Z, -Z]).to(dtype).requires_grad_()
    roughness = torch.full((7, 1), 0.5, dtype=dtype, requires_grad=True)
    (environment.irradiance(towards) + environment.reflected(towards, roughness)).sum().backward()  # type: ignore[no-untyped-call]
    assert towards.grad is not None
    assert roughness.grad is not None
    assert towards.grad[:3].abs().max() < 100
    assert torch.isfinite(towards.grad).all()
    assert torch.isfinite(roughness.grad).all()


@pytest.mark.parametrize("roughness", [0.0, 1.0])
def test_the_smoothest_and_the_roughest_surface_can_still_change(light_filter: LightFilter, roughness: float) -> None:
    start = torch.full((20, 1), roughness, dtype=torch.float64, requires_grad=True)
    light_filter.apply(noise()).reflected(directions(20), start).sum().backward()  # type: ignore[no-untyped-call]
    assert start.grad is not None
    assert start.grad.all()


def test_a_light_that_is_too_small_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 2 x 4"):
        LightFilter.build(1, 4)
    assert LightFilter.build(2, 4).glossy.shape == (LEVELS * 4 * 4, 8)
