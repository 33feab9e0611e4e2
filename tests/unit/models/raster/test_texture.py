"""Look-ups: where texels lie, what happens at the border, and gradients."""

from __future__ import annotations

import numpy as np
import pytest

from tests.torch_needed import torch_or_skip

torch_or_skip()

import torch  # noqa: E402

from meshdrop.models.raster.torch_numba import NumbaRaster  # noqa: E402 - torch may be absent
from tests.unit.models.raster.scenes import each_raster, raster_called  # noqa: E402


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


@each_raster
def test_texel_centres_return_the_texels_row_zero_at_v_zero(name: str) -> None:
    raster = raster_called(name)
    image = noise(5, 7, 3)
    i, j = torch.meshgrid(torch.arange(5), torch.arange(7), indexing="ij")
    uv = torch.stack([(j + 0.5) / 7, (i + 0.5) / 5], dim=-1)[None]
    values = raster.texture(image.to(raster.device), uv.to(raster.device))
    np.testing.assert_allclose(values[0].cpu().numpy(), image.numpy(), atol=2e-6)


@each_raster
def test_between_centres_it_is_bilinear_and_beyond_them_clamped(name: str) -> None:
    raster = raster_called(name)
    image = torch.tensor([[[0.0], [1.0]], [[10.0], [31.0]]])  # rows 0 1 and 10 31
    uv = torch.tensor([[[0.5, 0.25], [0.25, 0.5], [0.375, 0.625], [-3.0, -3.0], [1.0, 7.0], [0.5, 0.0]]])[None]
    # middle of the upper row; middle of the left column; a quarter right and three quarters down:
    # .75 * (.25 * 0 + .75 * 10) + .25 * (.25 * 1 + .75 * 31) = 11.5; corners; the upper row again
    expected = [0.5, 5.0, 11.5, 0.0, 31.0, 0.5]
    values = raster.texture(image.to(raster.device), uv.to(raster.device))
    np.testing.assert_allclose(values.cpu().numpy().ravel(), expected, rtol=1e-5, atol=1e-6)


@each_raster
def test_each_picture_may_have_its_own_image(name: str) -> None:
    raster = raster_called(name)
    images, uv = noise(3, 8, 9, 4).to(raster.device), noise(3, 5, 6, 2, seed=1).to(raster.device)
    own = raster.texture(images, uv)
    for k in range(3):
        np.testing.assert_allclose(
            own[k].cpu().numpy(), raster.texture(images[k], uv)[k].cpu().numpy(), rtol=1e-5, atol=1e-6
        )


def test_coordinates_that_are_no_numbers_look_up_the_border() -> None:
    uv = torch.tensor([[[[float("nan"), 0.5], [float("inf"), 0.5], [-float("inf"), 0.5]]]])
    image = torch.tensor([[[1.0], [2.0], [3.0]]])
    assert NumbaRaster().texture(image, uv).flatten().tolist() == [1.0, 3.0, 1.0]


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("seed", range(3))
def test_gradients_agree_with_finite_differences(shared: bool, seed: int) -> None:
    # a fifth of the coordinates lies beyond the border, where only the texels have a gradient
    uv = (noise(2, 4, 5, 2, seed=seed).double() * 1.2 - 0.1).requires_grad_()
    image = noise(*(() if shared else (2,)), 6, 7, 3, seed=seed + 9).double().requires_grad_()
    assert torch.autograd.gradcheck(NumbaRaster().texture, (image, uv), eps=1e-7, atol=1e-4)


def test_a_texture_of_one_texel_is_constant() -> None:
    uv = noise(1, 3, 4, 2).requires_grad_()
    values = NumbaRaster().texture(torch.full((1, 1, 2), 0.3), uv)
    values.sum().backward()  # type: ignore[no-untyped-call]
    assert (values == torch.tensor(0.3)).all()
    assert uv.grad is not None
    assert not uv.grad.any()
