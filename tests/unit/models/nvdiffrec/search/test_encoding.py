"""The hash encoding: levels as published, continuous, trilinear, with gradients, and alike in both implementations."""

from __future__ import annotations

import numpy as np
import pytest

from tests.torch_needed import torch_or_skip

torch_or_skip()

import torch  # noqa: E402

from meshdrop.models.nvdiffrec.search.encoding import (  # noqa: E402
    FIRST_FEATURES,
    FULL,
    SMALL,
    HashSettings,
    TinyCudaHash,
    TorchHash,
    best_encoding,
    tiny_cuda_problem,
)

TINY = HashSettings(levels=3, features=2, log2_entries=8, coarsest=4, finest=16)


def points(count: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(count, 3, generator=torch.Generator().manual_seed(seed))


def test_resolutions_grow_geometrically_from_coarsest_to_finest() -> None:
    # b = exp(ln(4096 / 16) / 15) = 1.4473: 16, 23.2, 33.5, ...
    assert FULL.growth == pytest.approx(1.4473, abs=1e-4)
    assert FULL.resolutions[:3] == (16, 23, 33)
    assert FULL.resolutions[-1] == 4096
    assert SMALL.resolutions[-1] == 256
    assert HashSettings(levels=1, coarsest=7).resolutions == (7,)


def test_tables_are_dense_where_they_fit_and_capped_where_they_do_not() -> None:
    # levels of 4, 8 and 16 cells have 125, 729 and 4913 corners; 256 is the most
    assert [len(table) for table in TorchHash(TINY).tables] == [125, 256, 256]


def test_a_new_encoding_is_small_noise_that_the_seed_decides() -> None:
    one, same, other = (best_encoding(torch.device("cpu"), TINY, seed)(points(500)) for seed in (3, 3, 4))
    assert one.shape == (500, 6)
    assert one.dtype == torch.float32
    assert 0 < one.abs().max() <= FIRST_FEATURES
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


def test_a_dense_level_that_stores_a_linear_function_reproduces_it() -> None:
    encoding = TorchHash(HashSettings(levels=1, features=2, log2_entries=10, coarsest=6, finest=6))
    axis = torch.arange(7) / 6
    x, y, z = torch.meshgrid(axis, axis, axis, indexing="ij")
    with torch.no_grad():
        encoding.tables[0].copy_(torch.stack([x + 2 * y - z, 1 - z], dim=-1).reshape(-1, 2))
    # the far corner too
    where = torch.cat([points(200), torch.ones(1, 3), torch.zeros(1, 3)])
    expected = torch.stack([where @ torch.tensor([1.0, 2.0, -1.0]), 1 - where[:, 2]], dim=1)
    np.testing.assert_allclose(encoding(where).detach(), expected, atol=1e-6)


@pytest.mark.parametrize("axis", range(3))
def test_features_are_continuous_across_the_borders_of_cells(axis: int) -> None:
    encoding = TorchHash(TINY)
    with torch.no_grad():
        for table in encoding.tables:
            table.copy_(torch.randn(table.shape, generator=torch.Generator().manual_seed(1)))
    before = points(300)
    # a border of the finest level's cells; every second of them is one of the next level
    before[:, axis] = torch.arange(300) % 15 / 16 + 1 / 16 - 1e-5
    after = before.clone()
    after[:, axis] += 2e-5
    steps = (encoding(after) - encoding(before)).abs().max()
    # a slope of at most 2 x |corner| x 16 cells: far less than a jump between unrelated corners
    assert steps < 2e-5 * 16 * 12


def test_gradients_agree_with_finite_differences() -> None:
    encoding = TorchHash(TINY).double()
    # in the middle of the finest cells: the encoding has kinks at their borders
    where = ((torch.randint(0, 16, (6, 3), generator=torch.Generator().manual_seed(2)) + 0.4) / 16).double()
    where.requires_grad_(True)

    def features(spots: torch.Tensor, *tables: torch.Tensor) -> torch.Tensor:
        levels = zip(TINY.resolutions, tables, strict=True)
        return torch.cat([encoding._level(spots, cells, table) for cells, table in levels], dim=1)

    tables = [torch.randn(table.shape, dtype=torch.float64, requires_grad=True) for table in encoding.tables]
    assert torch.autograd.gradcheck(features, (where, *tables), eps=1e-6, atol=1e-6, fast_mode=True)


def test_points_outside_the_cube_take_the_nearest_points_features() -> None:
    encoding = TorchHash(TINY)
    outside = torch.tensor([[-0.5, 0.3, 1.7]])
    assert torch.equal(encoding(outside), encoding(outside.clamp(0, 1)))


def test_without_cuda_plain_torch_is_chosen_and_the_reason_named() -> None:
    assert isinstance(best_encoding(torch.device("cpu")), TorchHash)
    if not torch.cuda.is_available():
        assert tiny_cuda_problem() == "torch sees no CUDA device"


@pytest.mark.gpu
def test_tiny_cuda_nn_has_the_same_shape_range_and_gradients() -> None:
    problem = tiny_cuda_problem()
    if problem is not None:
        pytest.skip(problem)
    cuda = torch.device("cuda")
    encoding = best_encoding(cuda, TINY)
    assert isinstance(encoding, TinyCudaHash)
    where = points(1000).to(cuda).requires_grad_(True)
    features = encoding(where)
    plain = TorchHash(TINY).to(cuda)(where)
    assert features.shape == plain.shape
    assert features.dtype == torch.float32
    assert 0 < features.abs().max() <= 1.01 * FIRST_FEATURES
    features.square().sum().backward()
    assert where.grad is not None
    assert where.grad.abs().max() > 0
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in encoding.parameters())
