"""Presets mean the same whatever revision their numbers were chosen for."""

from __future__ import annotations

import pytest

from meshdrop.models.reconviagen.presets import PRESETS, Sampling, from_clone


@pytest.mark.parametrize("strength", [0.0, 3.0, 7.5])
def test_the_clones_guidance_is_translated(strength: float) -> None:
    """(1 + w) * pos - w * neg, with w + 1 in w * pos + (1 - w) * neg."""
    positive, negative = 1.7, -0.4
    w = from_clone(strength)
    assert w * positive + (1 - w) * negative == pytest.approx((1 + strength) * positive - strength * negative)


def test_the_seeds_settings() -> None:
    """Seed 42, 30 steps / 7.5, 12 steps / 3.0 by the clone's formula; the rest as the checkpoint says."""
    seeds = PRESETS["seeds"]
    assert (seeds.seed, seeds.structure.steps, seeds.latents.steps) == (42, 30, 12)
    assert (seeds.structure.strength, seeds.latents.strength) == (8.5, 4.0)
    said = {"steps": 25, "cfg_strength": 5.0, "cfg_interval": [0.5, 1.0], "rescale_t": 3.0}
    assert seeds.structure.over(said) == Sampling(30, 8.5, (0.5, 1.0), 0.0, 3.0)


def test_what_a_preset_states_is_not_taken_from_the_checkpoint() -> None:
    said = {"cfg_interval": [0.1, 0.2], "rescale_t": 9.0}
    assert PRESETS["gap-main"].structure.over(said) == PRESETS["gap-main"].structure
    assert Sampling(2, 3.0).over({}) == Sampling(2, 3.0, (0.0, 1.0), 0.0, 1.0)


def test_names_are_those_of_the_table() -> None:
    assert all(name == preset.name for name, preset in PRESETS.items())
