"""The environment light: a small map of radiance around the object, and what surfaces see of it.

**The map** (H, W, 3), linear radiance. Row 0 is the top of the world (+Y), row i's centre lies at the polar
angle pi (i + 0.5) / H from it. The middle of the map looks along -Z, as an OpenGL camera does; columns go on to the
right, so that +X lies at three quarters of the width and -X at one quarter; column j's centre lies at the longitude
2 pi (j + 0.5) / W - pi. It is the picture that somebody at the object would see, not its mirror image. Between texel
centres radiance is bilinear, columns go round, and at either pole it is the mean of the row next to it.

**What surfaces see** are averages of the map over a lobe: cosine for diffuse surfaces, GGX for glossy ones (the first
of the two sums of Karis 2013, "Real Shading in Unreal Engine 4"). Averages are linear in the radiance, so each is one
product with a constant matrix, rebuilt every step at the price of one small product; a look-up is one
``grid_sample``. Plain torch: the same on every device, differentiable in radiance, direction and roughness, and no
step waits for the device.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import grid_sample, normalize

from meshdrop.models.nvdiffrec.ggx import cosine_directions, ggx_half_vectors, reflect

#: Levels of the glossy look-up, evenly spaced over roughness 0..1; level 0 is the mirror.
LEVELS = 6
#: Directions per lobe: rings times spokes.
RINGS, SPOKES = 96, 64
#: Keeps a roughness of 0 or 1 off the ends of its range, where ``grid_sample`` has no gradient.
MARGIN = 1e-5


@dataclass(frozen=True)
class Environment:
    """What surfaces see of one light: made by ``LightFilter.apply``, used for one step.

    ``diffuse`` (3, H + 2, W + 2) and ``glossy`` (3, LEVELS, H + 2, W + 2): on the map's texel centres with one row
    for each pole and the first and last column repeated beyond the seam.
    """

    diffuse: Tensor
    glossy: Tensor

    def irradiance(self, normal: Tensor) -> Tensor:
        """Irradiance over pi (..., 3) at unit normals (..., 3): the radiance that a white diffuse surface sends out."""
        where = torch.stack(_normalised(normal, self.diffuse.shape[-2:]), dim=-1)
        return _sampled(self.diffuse, where)

    def reflected(self, direction: Tensor, roughness: Tensor) -> Tensor:
        """Mean radiance (..., 3) over the GGX lobe around unit directions (..., 3) for roughness (..., 1) in 0..1.

        The lobe is that of a surface seen straight on, whose normal is the direction (Karis 2013: n = v = r).
        Between two levels, and between texels for lobes narrower than one, it is a blend.
        """
        x, y = _normalised(direction, self.glossy.shape[-2:])
        where = torch.stack([x, y, (2 * roughness[..., 0] - 1) * (1 - MARGIN)], dim=-1)
        return _sampled(self.glossy, where)


@dataclass(frozen=True)
class LightFilter:
    """The constant matrices of one map size on one device: ``diffuse`` (nodes, H W), ``glossy`` (LEVELS nodes, H W).

    Nodes are the texel centres and one row for each pole, (H + 2) W of them. Every row of a matrix sums to one: a
    uniform light stays what it is.
    """

    height: int
    width: int
    diffuse: Tensor
    glossy: Tensor

    @classmethod
    def build(
        cls, height: int, width: int, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32
    ) -> LightFilter:
        """The matrices for maps of ``height`` x ``width`` texels; raises ``ValueError`` for less than 2 x 4.

        Takes a tenth of a second for 16 x 32; memory grows with the square of the number of texels.
        """
        if height < 2 or width < 4:
            raise ValueError(f"a light of {height} x {width} texels; it needs at least 2 x 4")
        diffuse = _matrix(*cosine_directions(RINGS, SPOKES), height, width)
        glossy = torch.cat([_matrix(*_ggx_lobe(k / (LEVELS - 1)), height, width) for k in range(LEVELS)])
        return cls(height, width, diffuse.to(device, dtype), glossy.to(device, dtype))

    def apply(self, radiance: Tensor) -> Environment:
        """What surfaces see of the map ``radiance`` (H, W, 3)."""
        texels = radiance.reshape(self.height * self.width, 3)
        shape = (self.height + 2, self.width, 3)
        diffuse = (self.diffuse @ texels).reshape(shape).permute(2, 0, 1)
        glossy = (self.glossy @ texels).reshape(LEVELS, *shape).permute(3, 0, 1, 2)
        return Environment(_around(diffuse), _around(glossy))


def uniform_light(height: int, width: int, value: float, device: torch.device | str = "cpu") -> Tensor:
    """Where an optimisation starts: the parameter (H, W, 3) of a grey light of radiance ``value`` > 0 everywhere."""
    return torch.full((height, width, 3), math.log(value), device=device)


def radiance(parameter: Tensor) -> Tensor:
    """The radiance map of a free parameter (H, W, 3): its exponential, never negative.

    A step of the optimiser is then a change in per cent, the same for a dim sky and for a lamp a thousand times
    brighter.
    """
    return torch.exp(parameter)


def greyness(radiance_map: Tensor) -> Tensor:
    """The mean distance of each texel's channels from their mean, zero for a grey light.

    The prior of Munkberg et al. 2022, "Extracting Triangular 3D Models, Materials, and Lighting From Images", that
    light is rather white: else a coloured light on a surface of the opposite tint explains the pictures as well.
    """
    return (radiance_map - radiance_map.mean(dim=-1, keepdim=True)).abs().mean()


# -- look-ups ---------------------------------------------------------------------------------------------------------


def _grid_position(direction: Tensor, height: int, width: int) -> tuple[Tensor, Tensor]:
    """Column (0.5 .. W + 0.5) and row (0 .. H + 1) of unit directions in the grid of an ``Environment``.

    Rows 0 and H + 1 are the poles, half a texel beyond their neighbours.
    """
    x, y, z = direction.unbind(dim=-1)
    side = x * x + z * z
    # a direction along a pole has no longitude, and next to it a gradient without bounds: any constant will do
    at_pole = side < 1e-12
    phi = torch.atan2(torch.where(at_pole, 0.0, x), torch.where(at_pole, 1.0, -z))
    theta = torch.atan2(torch.sqrt(side + 1e-12), y)
    texel = theta * (height / math.pi)
    row = texel + 0.5 - (0.5 - texel).clamp(min=0) + (texel - (height - 0.5)).clamp(min=0)
    return (phi / (2 * math.pi) + 0.5) * width + 0.5, row


def _normalised(direction: Tensor, grid: torch.Size) -> tuple[Tensor, Tensor]:
    """Column and row of a grid (H + 2, W + 2) as ``grid_sample`` counts them: -1 .. 1 from the first to the last."""
    column, row = _grid_position(direction, grid[0] - 2, grid[1] - 2)
    return column * (2 / (grid[1] - 1)) - 1, row * (2 / (grid[0] - 1)) - 1


def _sampled(grid: Tensor, where: Tensor) -> Tensor:
    """A grid (3, ...) with two or three axes at ``where`` (..., 2 or 3) in -1..1, last axis first, as (..., 3).

    Pictures (N, H, W, ...) stay a batch: each adds up its own gradient, which collides less often.
    """
    axes = where.shape[-1]
    batch = where.shape[0] if where.ndim > 3 else 1
    points = where.reshape(batch, -1, *[1] * (axes - 1), axes)
    values = grid_sample(
        grid.expand(batch, *grid.shape), points, mode="bilinear", padding_mode="border", align_corners=True
    )
    return values.reshape(batch, 3, -1).transpose(1, 2).reshape(*where.shape[:-1], 3)


def _around(grid: Tensor) -> Tensor:
    """The grid (..., W) with its last column repeated in front and its first behind."""
    return torch.cat([grid[..., -1:], grid, grid[..., :1]], dim=-1)


# -- constant matrices ------------------------------------------------------------------------------------------------


def _ggx_lobe(roughness: float) -> tuple[Tensor, Tensor]:
    """Light directions (S, 3) and weights (S,) of the lobe for n = v = r = +z; alpha is the squared roughness."""
    half, weight = ggx_half_vectors(roughness**2, RINGS, SPOKES)
    light = reflect(torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64), half)
    return light, weight * light[:, 2].clamp(min=0)


def _matrix(lobe: Tensor, weight: Tensor, height: int, width: int) -> Tensor:
    """The averages over a lobe around every node, as a matrix ((H + 2) W, H W) that acts on a map's texels.

    A turn about +Y by one column moves the nodes onto each other: the first column's rows serve all.
    """
    theta = torch.arange(-0.5, height + 1, dtype=torch.float64).clamp(0, height) * (math.pi / height)
    axis = _direction(theta, torch.full_like(theta, math.pi / width - math.pi))
    rows = _texel_weights(_turned(lobe, axis), weight, height, width)
    for pole in (0, -1):  # here all columns are the same direction: exactly the same average too
        rows[pole] = rows[pole].mean(dim=-1, keepdim=True)
    every_column = torch.stack([rows.roll(column, dims=-1) for column in range(width)], dim=1)
    return every_column.reshape((height + 2) * width, height * width)


def _texel_weights(directions: Tensor, weight: Tensor, height: int, width: int) -> Tensor:
    """How much each texel counts (R, H, W) in R means over ``directions`` (R, S, 3); each sums to one."""
    count = len(directions)
    column, row = _grid_position(directions, height, width)
    left, above = column.floor(), row.floor().clamp(max=height)
    grid = torch.zeros(count, (height + 2) * width, dtype=torch.float64)
    for down in (0, 1):
        for right in (0, 1):
            share = (1 - (row - above - down).abs()) * (1 - (column - left - right).abs()) * weight
            node = (above + down) * width + (left + right - 1) % width
            grid.scatter_add_(1, node.long(), share)
    nodes = grid.reshape(count, height + 2, width)
    texels = nodes[:, 1:-1].clone()
    texels[:, 0] += nodes[:, 0].mean(dim=-1, keepdim=True)
    texels[:, -1] += nodes[:, -1].mean(dim=-1, keepdim=True)
    return texels / texels.sum(dim=(1, 2), keepdim=True)


def _turned(lobe: Tensor, axis: Tensor) -> Tensor:
    """The lobe's directions (S, 3), given about +z, about each unit axis (R, 3): (R, S, 3)."""
    other = torch.where(axis[:, 1:2].abs() < 0.7, torch.tensor([0.0, 1.0, 0.0]), torch.tensor([1.0, 0.0, 0.0]))
    across = normalize(torch.linalg.cross(other.to(axis.dtype), axis), dim=-1)
    return lobe @ torch.stack([across, torch.linalg.cross(axis, across), axis], dim=1)


def _direction(theta: Tensor, phi: Tensor) -> Tensor:
    """Unit directions at a polar angle from +Y and a longitude from -Z towards +X, in radians."""
    x, z = torch.sin(theta) * torch.sin(phi), -torch.sin(theta) * torch.cos(phi)
    return torch.stack([x, torch.cos(theta).expand_as(x), z], dim=-1)
