"""Marching tetrahedra: closed, outward, exact where the field is linear, and honest about their capacity."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from tests.torch_needed import torch_or_skip

torch_or_skip()

import torch  # noqa: E402

from meshdrop.models.measure.topology import topology  # noqa: E402
from meshdrop.models.nvdiffrec.search.tets import (  # noqa: E402
    CLEAR_OF_ENDS,
    EDGES,
    SAFE_OFFSET,
    Lattice,
    MarchingTets,
    TetGrid,
    TetMesh,
    compact,
    triangle_table,
)

CPU = torch.device("cpu")


def unit_lattice(cells: int) -> Lattice:
    """The cube from -1 to 1."""
    return Lattice((-1.0, -1.0, -1.0), 2 / cells, (cells + 1,) * 3)


def whole_grid(lattice: Lattice) -> TetGrid:
    return TetGrid.around(lattice, torch.ones(len(lattice.points(CPU)), dtype=torch.bool))


def extract(grid: TetGrid, values: torch.Tensor) -> TetMesh:
    return MarchingTets.fitting(grid, values)(grid.points, values)


def sphere(points: torch.Tensor, radius: float = 0.6) -> torch.Tensor:
    from_centre: torch.Tensor = points.norm(dim=1)
    return from_centre - radius


def torus(points: torch.Tensor) -> torch.Tensor:
    ring = points[:, :2].norm(dim=1) - 0.55
    return torch.sqrt(ring**2 + points[:, 2] ** 2) - 0.25


def volumes(grid: TetGrid, points: torch.Tensor) -> torch.Tensor:
    a, b, c, d = (points[grid.tets[:, k].long()].double() for k in range(4))
    boxes: torch.Tensor = (torch.linalg.cross(b - a, c - a, dim=1) * (d - a)).sum(dim=1)
    return boxes / 6


def test_every_tetrahedron_has_a_twelfth_of_a_cube_and_is_turned_the_same_way() -> None:
    grid = whole_grid(unit_lattice(5))
    np.testing.assert_allclose(volumes(grid, grid.points), 0.4**3 / 12, rtol=1e-5)


def test_two_cubes_in_each_direction_make_the_tetrahedra_and_edges_that_can_be_counted() -> None:
    # 2 x 2 x 2 cubes: only the middle corner has all its tetrahedra. It touches 8 centres; each of the 12 pairs of
    # neighbouring centres has one face between them, with 2 sides that end in the middle: 24 tetrahedra. Their corners:
    # the middle, its 6 neighbours, 8 centres. Edges: 12 between centres, 6 from the middle to its neighbours, 8 from it
    # to the centres, 6 x 4 from its neighbours to the centres.
    grid = whole_grid(unit_lattice(2))
    assert (len(grid.points), len(grid.tets), len(grid.edges)) == (15, 24, 12 + 6 + 8 + 24)
    assert grid.rim.sum() == 14
    assert not grid.rim[(grid.points == 0).all(dim=1)].any()


def test_edges_are_distinct_and_match_their_tetrahedra() -> None:
    grid = whole_grid(unit_lattice(4))
    assert len({tuple(sorted(edge)) for edge in grid.edges.tolist()}) == len(grid.edges)
    for k, (a, b) in enumerate(EDGES):
        ends = grid.edges[grid.tet_edges[:, k].long()]
        assert torch.equal(ends, grid.tets[:, (a, b)].sort(dim=1).values)


def test_offsets_within_the_safe_share_turn_no_tetrahedron_inside_out() -> None:
    grid = whole_grid(unit_lattice(6))
    generator = torch.Generator().manual_seed(1)
    for _ in range(5):
        away = torch.randn(grid.points.shape, generator=generator)
        away = away / away.norm(dim=1, keepdim=True) * 0.999 * SAFE_OFFSET * grid.lattice.cell
        assert volumes(grid, grid.points + away).min() > 0


def test_the_table_cuts_off_one_corner_or_parts_two_from_two() -> None:
    table = triangle_table()
    counts = (table[:, :, 0] >= 0).sum(axis=1)
    inside = np.array([bin(pattern).count("1") for pattern in range(16)])
    np.testing.assert_array_equal(counts, np.array([0, 1, 2, 1, 0])[inside])
    for pattern in range(16):
        crossed = {e for e, (a, b) in enumerate(EDGES) if (pattern >> a ^ pattern >> b) & 1}
        assert set(table[pattern][table[pattern] >= 0].tolist()) == crossed


@pytest.mark.parametrize(("shape", "genus"), [(sphere, 0), (torus, 1)])
def test_a_known_shape_is_closed_outward_and_near(shape: Callable[[torch.Tensor], torch.Tensor], genus: int) -> None:
    lattice = unit_lattice(24)
    values = shape(lattice.points(CPU))
    grid = TetGrid.around(lattice, values < 2 * lattice.cell)
    vertices, faces = extract(grid, values[grid.number]).to_numpy()
    facts = topology(vertices.astype(np.float32), faces)
    assert facts.watertight
    assert facts.consistent_winding
    assert (facts.non_manifold_vertices, facts.components, facts.genus) == (0, 1, genus)
    assert facts.volume_m3 is not None
    assert facts.volume_m3 > 0
    assert shape(torch.from_numpy(vertices)).abs().max() < 0.06 * lattice.cell


def test_the_grid_around_a_shape_leaves_far_tetrahedra_out_and_changes_nothing() -> None:
    lattice = unit_lattice(16)
    values = sphere(lattice.points(CPU))
    whole, part = whole_grid(lattice), TetGrid.around(lattice, values < lattice.cell)
    assert len(part.tets) < 0.4 * len(whole.tets)
    vertices, faces = extract(whole, values[whole.number]).to_numpy()
    fewer, again = extract(part, values[part.number]).to_numpy()
    assert len(faces) == len(again)
    assert {tuple(v) for v in vertices.round(9).tolist()} == {tuple(v) for v in fewer.round(9).tolist()}


@pytest.mark.parametrize("seed", range(6))
def test_noise_is_closed_manifold_and_wound_consistently(seed: int) -> None:
    """Also where the noise is inside at the rim, and where values are exactly zero."""
    grid = whole_grid(unit_lattice(7))
    values = torch.randn(len(grid.points), generator=torch.Generator().manual_seed(seed))
    values[::9] = 0.0
    mesh = extract(grid, values)
    vertices, faces = mesh.to_numpy()
    assert np.isfinite(vertices).all()
    directed = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    forward = {tuple(edge) for edge in directed.tolist()}
    assert len(forward) == len(directed)
    assert all((b, a) in forward for a, b in forward)
    assert set(np.unique(faces)) == set(range(len(vertices)))


def test_padding_is_degenerate_finite_and_harmless() -> None:
    grid = whole_grid(unit_lattice(6))
    values = sphere(grid.points)
    exact, roomy = MarchingTets.fitting(grid, values, room=1.0), MarchingTets.fitting(grid, values, room=3.0)
    small, large = exact(grid.points, values), roomy(grid.points, values)
    assert len(large.faces) > len(small.faces)
    assert (large.faces[~large.real_faces] == 0).all()
    assert torch.isfinite(large.vertices).all()
    for one, other in zip(small.to_numpy(), large.to_numpy(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_surface_beyond_its_room_says_so_and_fits_after_growing() -> None:
    grid = whole_grid(unit_lattice(8))
    small, large = sphere(grid.points, 0.3), sphere(grid.points, 0.7)
    march = MarchingTets.fitting(grid, small, room=1.0)
    cut_off = march(grid.points, large)
    needs = int(cut_off.vertex_count), int(cut_off.tet_count)
    assert needs == march.needs(large)
    assert march.overflow(*needs)
    assert cut_off.faces.max() < len(cut_off.vertices)
    march.grow(*needs)
    assert not march.overflow(*needs)
    assert topology(*_single(march(grid.points, large))).watertight


def _single(mesh: TetMesh) -> tuple[np.ndarray, np.ndarray]:
    vertices, faces = mesh.to_numpy()
    return vertices.astype(np.float32), faces


def test_gradients_agree_with_finite_differences() -> None:
    grid = whole_grid(unit_lattice(3))
    values = (sphere(grid.points, 0.5) + 0.05 * torch.sin(7 * grid.points[:, 0])).double().requires_grad_(True)
    positions = grid.points.double().requires_grad_(True)
    march = MarchingTets.fitting(grid, values.detach())

    def vertices(p: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        return march(p, v).vertices

    mesh = march(positions, values)
    start, end = values[mesh.ends[:, 0]], values[mesh.ends[:, 1]]
    share = (start / (start - end))[mesh.live]
    assert share.min() > 2 * CLEAR_OF_ENDS, "the example must not touch the clamp"
    assert share.max() < 1 - 2 * CLEAR_OF_ENDS
    assert torch.autograd.gradcheck(vertices, (positions, values), eps=1e-6, atol=1e-6)


def test_a_crossing_at_an_end_keeps_clear_of_it_and_keeps_its_gradient() -> None:
    grid = whole_grid(unit_lattice(2))
    values = torch.ones(len(grid.points))
    middle = (grid.points == 0).all(dim=1)
    values[middle] = -1e-9
    values.requires_grad_(True)
    mesh = MarchingTets.fitting(grid, values)(grid.points, values)
    lengths = mesh.vertices[mesh.live].norm(dim=1)
    # six edges to the neighbours, one side long, and eight to the centres, sqrt(3) / 2 of it
    expected = [CLEAR_OF_ENDS * 3**0.5 / 2] * 8 + [CLEAR_OF_ENDS] * 6
    np.testing.assert_allclose(lengths.detach().sort().values, expected, rtol=1e-4)
    mesh.vertices[mesh.live].norm(dim=1).sum().backward()
    assert values.grad is not None
    # a lower value in the middle makes the surface larger
    assert values.grad[middle] < 0


def test_compact_lists_places_in_order_and_drops_what_finds_no_room() -> None:
    chosen = torch.tensor([False, True, True, False, True, True])
    places, used = compact(chosen, 6)
    assert places[used].tolist() == [1, 2, 4, 5]
    assert used.tolist() == [True] * 4 + [False] * 2
    assert compact(chosen, 3)[0].tolist() == [1, 2, 4]
    assert not compact(torch.zeros(4, dtype=torch.bool), 2)[1].any()


@pytest.mark.gpu
def test_cuda_gives_the_same_surface_without_waiting() -> None:
    if not torch.cuda.is_available():
        pytest.skip("torch sees no CUDA device")
    grid = whole_grid(unit_lattice(10))
    values = torus(grid.points)
    there = TetGrid.around(grid.lattice, torch.ones(len(grid.lattice.points(CPU)), dtype=torch.bool, device="cuda"))
    march = MarchingTets.fitting(there, values.cuda())
    moved = values.cuda().requires_grad_(True)
    torch.cuda.set_sync_debug_mode("error")
    try:
        mesh = march(there.points, moved)
        mesh.vertices.sum().backward()  # type: ignore[no-untyped-call]
    finally:
        torch.cuda.set_sync_debug_mode("default")
    vertices, faces = mesh.to_numpy()
    expected, same = extract(grid, values).to_numpy()
    np.testing.assert_allclose(vertices, expected, atol=1e-5)
    np.testing.assert_array_equal(faces, same)
