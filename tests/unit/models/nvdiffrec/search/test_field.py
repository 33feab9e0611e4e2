"""The volumetric material: colours in range that can learn a pattern in space."""

from __future__ import annotations

from tests.torch_needed import torch_or_skip

torch_or_skip()

import torch  # noqa: E402

from meshdrop.models.nvdiffrec.search.encoding import HashSettings, TorchHash  # noqa: E402
from meshdrop.models.nvdiffrec.search.field import EPSILON, MaterialField  # noqa: E402

TINY = HashSettings(levels=4, log2_entries=10, coarsest=4, finest=32)
LOW, HIGH = torch.tensor([-2.0, 0.0, 1.0]), torch.tensor([0.0, 1.0, 1.5])


def spots(count: int, seed: int = 0) -> torch.Tensor:
    return LOW + (HIGH - LOW) * torch.rand(count, 3, generator=torch.Generator().manual_seed(seed))


def test_values_lie_in_range_and_start_near_grey() -> None:
    field = MaterialField(LOW, HIGH, channels=6, settings=TINY)
    values = field(spots(1000))
    assert values.shape == (1000, 6)
    assert values.dtype == torch.float32
    assert (values - 0.5).abs().max() < 0.01


def test_the_same_seed_gives_the_same_field() -> None:
    one, same = (MaterialField(LOW, HIGH, settings=TINY, seed=5)(spots(50)) for _ in range(2))
    assert torch.equal(one, same)


def test_the_box_is_scaled_alike_on_all_axes() -> None:
    """The longest side, 2 m, spans the unit cube; half a metre is a quarter of it on every axis."""
    field = MaterialField(LOW, HIGH, settings=TINY)
    assert float(field.side) == 2.0
    beyond = torch.tensor([[-2.0, 2.5, 1.0]])
    assert torch.equal(field(beyond), field(torch.tensor([[-2.0, 2.0, 1.0]])))


def test_it_learns_a_pattern_in_space() -> None:
    field = MaterialField(LOW, HIGH, settings=TINY)
    optimizer = torch.optim.Adam(field.parameters(), lr=0.01, eps=EPSILON)

    def pattern(points: torch.Tensor) -> torch.Tensor:
        return (0.5 + 0.4 * torch.sin(6 * points)).clamp(0, 1)

    for step in range(150):
        points = spots(500, seed=step)
        loss = (field(points) - pattern(points)).abs().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    fresh = spots(500, seed=999)
    assert (field(fresh) - pattern(fresh)).abs().mean() < 0.04


def test_tiny_gradients_still_move_the_tables() -> None:
    """A pixel's share of a mean over a million pixels: with the usual epsilon of 1e-8 the step would be lost."""
    field = MaterialField(LOW, HIGH, settings=TINY)
    assert isinstance(field.encoding, TorchHash)
    before = field.encoding.tables[-1].detach().clone()
    optimizer = torch.optim.Adam(field.parameters(), lr=0.01, eps=EPSILON)
    (1e-9 * field(spots(5)).sum()).backward()
    optimizer.step()
    assert (field.encoding.tables[-1] - before).abs().max() > 0.005


def test_gradients_reach_the_points() -> None:
    points = spots(20).requires_grad_(True)
    MaterialField(LOW, HIGH, settings=TINY)(points).sum().backward()
    assert points.grad is not None
    assert points.grad.abs().max() > 0
