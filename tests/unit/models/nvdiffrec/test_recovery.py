"""Light and material are found again from pictures: everything of this room together, but for the surface."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pytest

from tests.torch_needed import torch_or_skip

torch_or_skip()

import torch  # noqa: E402
from torch import Tensor  # noqa: E402
from torch.nn.functional import normalize  # noqa: E402

from meshdrop.models.nvdiffrec.light import Environment, LightFilter, greyness, radiance, uniform_light  # noqa: E402
from meshdrop.models.nvdiffrec.shading import brdf_table, linear_to_srgb, shade  # noqa: E402
from tests.unit.models.nvdiffrec.lightmap import texel_directions  # noqa: E402

SIZE, STEPS = 32, 120
HEIGHT, WIDTH = 16, 32


@dataclass(frozen=True)
class Ball:
    """A unit sphere from the six sides, from far away: normals and views (6, S, S, 3), and which pixels show it."""

    normal: Tensor
    view: Tensor
    shown: Tensor

    @classmethod
    def photographed(cls) -> Ball:
        side = (torch.arange(SIZE) + 0.5) / SIZE * 2 - 1
        x, y = side[None, :].expand(SIZE, SIZE), -side[:, None].expand(SIZE, SIZE)
        z = torch.sqrt((1 - x * x - y * y).clamp(min=0))
        seen = torch.stack([x, y, z], dim=-1)
        poses = []
        for back, up in (([0, 0, 1], [0, 1, 0]), ([1, 0, 0], [0, 1, 0]), ([0, 1, 0], [0, 0, -1])):
            for sign in (1, -1):
                axis = sign * torch.tensor(back, dtype=torch.float32)
                top = torch.tensor(up, dtype=torch.float32)
                poses.append(torch.stack([torch.linalg.cross(top, axis), top, axis]))
        turned = torch.stack(poses)
        normal = normalize(torch.einsum("hwi,nij->nhwj", seen, turned), dim=-1)
        view = turned[:, None, None, 2].expand_as(normal)
        return cls(normal, view, (x * x + y * y < 0.97).expand(6, SIZE, SIZE))


@dataclass(frozen=True)
class Halves:
    """The upper and the lower half of the ball: ``kd`` (2, 3), ``roughness`` (2, 1), ``metallic`` (2, 1), each 0..1."""

    kd: Tensor
    roughness: Tensor
    metallic: Tensor

    def picture(self, environment: Environment, table: Tensor, ball: Ball) -> Tensor:
        """The sRGB pictures (6, S, S, 3)."""
        upper = torch.sigmoid(40 * ball.normal[..., 1:2])
        kd, roughness, metallic = (
            upper * value[0] + (1 - upper) * value[1] for value in (self.kd, self.roughness, self.metallic)
        )
        orm = torch.cat([torch.ones_like(upper), roughness, metallic], dim=-1)
        return linear_to_srgb(shade(environment, table, kd, orm, ball.normal, ball.view))


def lamps() -> Tensor:
    """A sky that darkens downwards, and four lamps of slightly different colours."""
    towards = texel_directions(HEIGHT, WIDTH).float()
    map_ = 0.15 + 0.18 * (towards[..., 1:2] + 1) + torch.zeros(3)
    for axis, sharpness, colour in (
        ((0.6, 0.5, 0.6), 40, (12.0, 11.4, 10.2)),
        ((-0.8, 0.2, 0.5), 60, (6.4, 7.2, 8.0)),
        ((0.1, 0.4, -0.9), 30, (5.0, 5.0, 5.0)),
        ((0.2, -0.8, 0.5), 50, (3.0, 3.0, 3.0)),
    ):
        lobe = torch.exp(sharpness * (towards @ normalize(torch.tensor(axis), dim=0) - 1))
        map_ = map_ + lobe[..., None] * torch.tensor(colour)
    return map_


def test_light_and_material_are_found_again_from_six_pictures() -> None:
    """From grey, half rough and half metal under an even light: the pictures fit to 40 dB, and each half becomes what
    it was (a smooth metal above, a rough dielectric below), though the light had to be found too.
    """
    ball, light, table = Ball.photographed(), LightFilter.build(HEIGHT, WIDTH), brdf_table()
    true = Halves(
        torch.tensor([[0.9, 0.5, 0.3], [0.1, 0.25, 0.6]]), torch.tensor([[0.25], [0.8]]), torch.tensor([[1.0], [0.0]])
    )
    photographs = true.picture(light.apply(lamps()), table, ball)

    start = uniform_light(HEIGHT, WIDTH, 0.5).requires_grad_()
    free = [torch.zeros(2, channels, requires_grad=True) for channels in (3, 1, 1)]
    optimiser = torch.optim.Adam([start, *free], lr=0.05, betas=(0.9, 0.99))
    psnr = []
    for _ in range(STEPS):
        found = Halves(*(value.sigmoid() for value in free))
        map_ = radiance(start)
        error = (found.picture(light.apply(map_), table, ball) - photographs)[ball.shown]
        psnr.append(-10 * math.log10(float(error.detach().square().mean())))
        optimiser.zero_grad()
        (error.abs().mean() + 0.005 * greyness(map_)).backward()  # type: ignore[no-untyped-call]
        optimiser.step()

    assert psnr[0] < 15
    assert psnr[-1] > 40
    assert found.roughness.flatten().tolist() == pytest.approx([0.25, 0.8], abs=0.15)
    assert found.metallic.flatten().tolist() == pytest.approx([1.0, 0.0], abs=0.2)
    # the lamps are where they were: the brightest texel found is next to the brightest one
    towards = texel_directions(HEIGHT, WIDTH).float().reshape(-1, 3)
    brightest, true_brightest = (towards[value.sum(dim=-1).argmax()] for value in (map_.detach(), lamps()))
    assert float(brightest @ true_brightest) > math.cos(math.radians(20))
