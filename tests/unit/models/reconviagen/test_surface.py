"""The surface from the cells it passes through is the one that upstream finds on dense grids."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from tests.torch_needed import torch_or_skip

torch_or_skip()

import torch  # noqa: E402
from torch import Tensor  # noqa: E402

from meshdrop.models.reconviagen.surface import CORNERS, GeneratedSurface, extract  # noqa: E402
from meshdrop.models.reconviagen.upstream import Upstream  # noqa: E402
from tests.unit.models.reconviagen.on_cpu import upstream_on_cpu  # noqa: E402

RES = 16


def shell(thickness: float) -> Tensor:
    """The cells near a sphere of radius 5 in the middle of the grid, in no order."""
    grid = torch.cartesian_prod(*[torch.arange(RES)] * 3)
    near = ((grid + 0.5 - RES / 2).norm(dim=1) - 5).abs() < thickness
    return grid[near][torch.randperm(int(near.sum()), generator=torch.Generator().manual_seed(0))].int()


def features(coords: Tensor, noise: float, channels: int, seed: int = 0) -> Tensor:
    """Signed distances to that sphere with ``noise``, in units of the grid, and random weights and colours."""
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(len(coords), channels, generator=generator)
    corners = coords[:, None] + torch.tensor(CORNERS)
    values[:, :8] = ((corners - RES / 2).norm(dim=-1) - 5) + noise * values[:, :8]
    return values


def theirs(upstream: Upstream, coords: Tensor, values: Tensor, *, colours: bool) -> Any:
    """Upstream's extraction on dense grids."""
    real = upstream.module("trellis.representations.mesh").SparseFeatures2Mesh
    batched = torch.cat([torch.zeros_like(coords[:, :1]), coords], dim=1)
    return real(device="cpu", res=RES, use_color=colours)(SimpleNamespace(coords=batched, feats=values.clone()))


def ours(upstream: Upstream, coords: Tensor, values: Tensor, *, colours: bool) -> GeneratedSurface:
    """Ours; of upstream's extractor only the layout of channels."""
    real = upstream.module("trellis.representations.mesh").SparseFeatures2Mesh
    layout = object.__new__(real)
    layout.res, layout.use_color, layout.sdf_bias = RES, colours, -1.0 / RES
    layout._calc_layout()
    return extract(upstream, layout, coords, values)


@pytest.mark.parametrize("colours", [True, False])
@pytest.mark.parametrize(
    ("thickness", "noise"),
    [(3.0, 0.0), (2.0, 0.3), (1.2, 0.0), (2.0, 30.0), (20.0, 30.0)],
    ids=["smooth", "rough", "thin", "chaos", "chaos up to the grid's edge"],
)
def test_the_same_vertices_faces_and_colours(upstream: Upstream, thickness: float, noise: float, colours: bool) -> None:
    """Chaos has every ambiguous configuration, thin shells end where nothing was decoded, and the last fills the grid
    to its edge, where faces have fewer than four cells."""
    coords = shell(thickness)
    values = features(coords, noise, 101 if colours else 53)
    with upstream_on_cpu(upstream):
        told = theirs(upstream, coords, values, colours=colours)
    found = ours(upstream, coords, values, colours=colours)
    assert len(told.faces) > 300
    torch.testing.assert_close(found.faces, told.faces)
    torch.testing.assert_close(found.vertices, told.vertices, atol=1e-6, rtol=1e-5)
    if colours:
        torch.testing.assert_close(found.colours, told.vertex_attrs[:, :3], atol=1e-5, rtol=1e-5)
    else:
        assert found.colours is None


def test_a_sphere_lies_where_its_distances_say(upstream: Upstream) -> None:
    """All cells decoded, no deformation, even weights: radius 5 cells, moved out by the bias of 1/16; a vertex is the
    mean of points around it, which takes it about 1/8/5 below the sphere. The triangles turn outwards."""
    coords = shell(20.0)
    values = features(coords, 0.0, 101)
    values[:, 8:] = 0
    found = ours(upstream, coords, values, colours=True)
    radius = found.vertices.norm(dim=1) * RES
    assert radius.mean() == pytest.approx(5 + 1 / 16 - 1 / 40, abs=0.03)
    a, b, c = found.vertices[found.faces].unbind(1)
    assert ((torch.linalg.cross(b - a, c - a) * (a + b + c)).sum(1) > 0).all()


@pytest.mark.parametrize("distance", [1.0, float("nan")])
def test_nothing_inside_is_no_surface(upstream: Upstream, distance: float) -> None:
    coords = shell(2.0)
    values = features(coords, 0.0, 101)
    values[:, :8] = distance
    found = ours(upstream, coords, values, colours=True)
    assert found.vertices.shape == (0, 3)
    assert found.faces.shape == (0, 3)
