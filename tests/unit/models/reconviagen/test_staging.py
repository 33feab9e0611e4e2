"""Networks are there for their stage and gone after it, unless they are to stay."""

from __future__ import annotations

import weakref

import pytest

from tests.torch_needed import torch_or_skip

torch_or_skip()

import torch  # noqa: E402
from torch import nn  # noqa: E402

from meshdrop.models.reconviagen.checks import InputLimits, StageFault, need_finite, need_surface, need_voxels  # noqa: E402
from meshdrop.models.reconviagen.staging import PROFILES, StagedRun, profile_for, smaller  # noqa: E402


class Shop:
    """Builders that count what they make and know what lives."""

    def __init__(self) -> None:
        self.made: list[str] = []
        self.alive: weakref.WeakSet[nn.Module] = weakref.WeakSet()

    def builder(self, name: str) -> nn.Module:
        """A network under a name."""
        self.made.append(name)
        network = nn.Linear(2, 2)
        self.alive.add(network)
        return network

    def stages(self, profile: str) -> StagedRun:
        """Stages over two networks."""
        builders = {name: lambda name=name: self.builder(name) for name in ("a", "b")}
        return StagedRun(builders, torch.device("cpu"), PROFILES[profile])


@pytest.mark.parametrize("profile", ["staged", "tiny"])
def test_each_network_is_released_after_its_stage(profile: str) -> None:
    shop = Shop()
    stages = shop.stages(profile)
    assert stages.run("one", lambda a: len(shop.alive), "a") == 1
    assert len(shop.alive) == 0
    assert stages.run("two", lambda a, b: len(shop.alive), "a", "b") == 2
    assert len(shop.alive) == 0
    assert shop.made == ["a", "a", "b"]
    assert [record.name for record in stages.records] == ["one", "two"]


def test_nothing_refers_to_the_networks_when_memory_is_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """The driver gets back only what is free at that moment."""
    shop, left = Shop(), list[int]()
    stages = shop.stages("staged")
    real = stages.release

    def release() -> None:
        real()
        left.append(len(shop.alive))

    monkeypatch.setattr(stages, "release", release)
    stages.run("one", lambda a, b: None, "a", "b")
    assert left == [0]


def test_resident_networks_are_made_once_and_stay() -> None:
    shop = Shop()
    stages = shop.stages("resident")
    stages.load_all()
    stages.run("one", lambda a: None, "a")
    stages.run("two", lambda a: None, "a")
    assert shop.made == ["a", "b"]
    stages.release()
    assert len(shop.alive) == 0


def test_a_failed_stage_is_recorded_and_released() -> None:
    shop = Shop()
    stages = shop.stages("staged")

    def work(network: nn.Module) -> None:
        raise KeyError

    with pytest.raises(KeyError):
        stages.run("one", work, "a")
    assert [record.name for record in stages.records] == ["one"]
    assert len(shop.alive) == 0


def test_a_run_that_is_ended_loads_nothing_more() -> None:
    shop = Shop()
    stages = shop.stages("staged")

    def end() -> None:
        raise KeyboardInterrupt

    stages.check = end
    with pytest.raises(KeyboardInterrupt):
        stages.run("one", lambda a: None, "a")
    assert shop.made == []


@pytest.mark.parametrize(
    ("mib", "profile"),
    [
        (None, "staged"),
        (6_000, "tiny"),
        (8_188, "staged"),
        (16_376, "staged"),
        (24_564, "resident"),
        (143_771, "resident"),
    ],
)
def test_the_profile_is_chosen_by_the_card(mib: int | None, profile: str) -> None:
    assert profile_for(mib) == profile


def test_profiles_shrink_to_an_end() -> None:
    names, profile = ["resident"], smaller(PROFILES["resident"])
    while profile is not None:
        names.append(profile.name)
        profile = smaller(profile)
    assert names == ["resident", "staged", "tiny"]


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_what_is_not_finite_names_its_stage(bad: float) -> None:
    need_finite("vggt", torch.zeros(3), by_chance=False)
    with pytest.raises(StageFault, match="vggt: 1 of 3 numbers are not finite") as fault:
        need_finite("vggt", torch.tensor([0, bad, 1]), by_chance=False)
    assert not fault.value.by_chance
    with pytest.raises(StageFault, match="vggt: the result is empty"):
        need_finite("vggt", torch.zeros(0), by_chance=True)


def test_counts_have_limits_on_both_sides() -> None:
    for count in (501, 59_999):
        need_voxels("occupancy", count, InputLimits())
    for count in (0, 500, 60_000):
        with pytest.raises(StageFault, match=f"occupancy: {count:,} occupied cells"):
            need_voxels("occupancy", count, InputLimits())
    need_surface("mesh", torch.zeros(1001, 3), torch.zeros(1, 3), InputLimits())
    with pytest.raises(StageFault, match="1,000 vertices and 9 faces are no mesh"):
        need_surface("mesh", torch.zeros(1000, 3), torch.zeros(9, 3), InputLimits())
    with pytest.raises(StageFault, match="0 faces"):
        need_surface("mesh", torch.zeros(2000, 3), torch.zeros(0, 3), InputLimits())
    with pytest.raises(StageFault, match="not finite"):
        need_surface("mesh", torch.full((2000, 3), torch.nan), torch.zeros(9, 3), InputLimits())
