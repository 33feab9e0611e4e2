"""Attributes at pixels, and how they follow attributes and barycentrics."""

from __future__ import annotations

import numpy as np
import pytest

from tests.torch_needed import torch_or_skip

torch_or_skip()

import torch  # noqa: E402

from meshdrop.models.raster.torch_numba import NumbaRaster  # noqa: E402 - torch may be absent
from tests.unit.models.raster.scenes import each_raster, random_scene, raster_called, triangles  # noqa: E402


@each_raster
def test_corners_weigh_by_u_v_and_the_rest(name: str) -> None:
    raster = raster_called(name)
    fragments = torch.tensor([[[[0.25, 0.5, 0.0, 2.0], [1.0, 0.0, 0.0, 1.0], [0.9, 0.9, 0.9, 0.0]]]])
    attribute = torch.tensor([[1.0, 10.0], [2.0, 20.0], [4.0, 40.0], [8.0, 80.0]])
    faces = triangles([[3, 0, 1], [0, 1, 2]])
    values = raster.interpolate(*(tensor.to(raster.device) for tensor in (attribute, fragments, faces)))
    # 0.25 * 1 + 0.5 * 2 + 0.25 * 4 = 2.25; all of corner 3; background
    np.testing.assert_allclose(values.cpu().numpy(), [[[[2.25, 22.5], [8.0, 80.0], [0.0, 0.0]]]], rtol=1e-6)


@each_raster
def test_another_set_of_indices_and_an_attribute_for_each_picture(name: str) -> None:
    raster = raster_called(name)
    scene = random_scene(3, (20, 26))
    clip, faces = scene.clip.to(raster.device), scene.faces.to(raster.device)
    fragments = raster.rasterize(clip, faces, scene.size)
    attribute = torch.rand((3, clip.shape[1], 2), generator=torch.Generator().manual_seed(0)).to(raster.device)
    own = raster.interpolate(attribute, fragments, faces)
    for k in range(3):
        shared = raster.interpolate(attribute[k], fragments, faces)
        np.testing.assert_allclose(own[k].cpu().numpy(), shared[k].cpu().numpy(), rtol=1e-6)
    # corners of their own, as in a UV atlas: the same values under other indices
    corners = torch.arange(3 * len(faces), dtype=torch.int32, device=raster.device).reshape(-1, 3)
    unwelded = raster.interpolate(attribute[0][faces.flatten().long()], fragments, corners)
    np.testing.assert_allclose(
        unwelded.cpu().numpy(), raster.interpolate(attribute[0], fragments, faces).cpu().numpy(), rtol=1e-6
    )


@pytest.mark.parametrize("shared", [True, False])
def test_gradients_agree_with_finite_differences(shared: bool) -> None:
    scene = random_scene(4, (11, 12), views=2, corners=12)
    raster = NumbaRaster()
    fragments = raster.rasterize(scene.clip.double(), scene.faces, scene.size)
    assert (fragments[..., 3] > 0).sum() > 20
    shape = (scene.clip.shape[1], 3) if shared else (2, scene.clip.shape[1], 3)
    attribute = torch.rand(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1)).requires_grad_()
    weights = fragments[..., :2].clone().requires_grad_()
    assert torch.autograd.gradcheck(
        lambda values, uv: raster.interpolate(values, torch.cat([uv, fragments[..., 2:]], -1), scene.faces),
        (attribute, weights),
    )


def test_a_gradient_through_all_of_it_reaches_only_what_is_asked_for() -> None:
    scene = random_scene(5, (20, 26))
    raster = NumbaRaster()
    clip = scene.clip.requires_grad_()
    positions = torch.tensor(scene.vertices, dtype=torch.float32)
    fragments = raster.rasterize(clip, scene.faces, scene.size)
    raster.interpolate(positions, fragments, scene.faces).square().sum().backward()  # type: ignore[no-untyped-call]
    assert clip.grad is not None
    assert clip.grad[..., [0, 1, 3]].any()
    assert not clip.grad[..., 2].any()
