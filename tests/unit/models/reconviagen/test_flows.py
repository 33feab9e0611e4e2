"""Sampling with kept contexts gives what upstream's own forward passes and samplers give."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.torch_needed import torch_or_skip

torch_or_skip()

import torch  # noqa: E402

from meshdrop.models.reconviagen import flows, parts, weights  # noqa: E402
from meshdrop.models.reconviagen.presets import Sampling  # noqa: E402
from meshdrop.models.reconviagen.substitutes.contexts import (  # noqa: E402
    ContextStandIn,
    DenseKnown,
    SparseKnown,
    known_contexts,
    standing_views,
)
from meshdrop.models.reconviagen.upstream import Upstream  # noqa: E402

VIEWS = 6


@pytest.fixture(scope="module")
def networks(upstream: Upstream, weights_folder: Path) -> dict[str, Any]:
    """The two tiny flows."""
    places = weights.paths(weights_folder)
    made = parts.builders(upstream, places, parts.read_recipe(places), torch.device("cpu"))
    return {name: made[name]() for name in ("structure_flow", "latents_flow")}


@pytest.fixture(scope="module")
def sampler(upstream: Upstream) -> Any:
    """Upstream's sampler."""
    return upstream.module("trellis.pipelines.samplers").FlowEulerGuidanceIntervalSampler(sigma_min=1e-5)


def cloud(upstream: Upstream, channels: int = 8) -> Any:
    """A sparse tensor of random values at 40 cells of 8^3."""
    torch.manual_seed(4)
    number = torch.randperm(512)[:40].sort().values
    coords = torch.stack([number * 0, number // 64, number // 8 % 8, number % 8], dim=1).int()
    return upstream.module("trellis.modules.sparse").SparseTensor(feats=torch.randn(40, channels), coords=coords)


def contexts(width: int, views: int = VIEWS) -> Any:
    """Random contexts, a different one a view."""
    return torch.randn(views, 9, width, generator=torch.Generator().manual_seed(5))


@pytest.mark.parametrize("keep", [True, False])
@torch.no_grad()
def test_a_latent_step_is_upstreams(upstream: Upstream, networks: dict[str, Any], keep: bool) -> None:
    """Positive and negative, six views; the tolerance is that of sums in another order, values are around 1."""
    flow, x, t, given = networks["latents_flow"], cloud(upstream), torch.tensor([700.0]), contexts(1024)
    positive = flow(x, t, list(given[:, None])).feats
    negative = flow(x, t, list(torch.zeros_like(given)[:, None])).feats
    with known_contexts(flow, SparseKnown, given, keep=keep):
        ours = flow(x, t, standing_views(VIEWS, positive=True)).feats
        ours_negative = flow(x, t, standing_views(VIEWS, positive=False)).feats
    torch.testing.assert_close(ours, positive, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(ours_negative, negative, atol=1e-5, rtol=1e-5)
    assert (positive - negative).abs().max() > 1e-3
    torch.testing.assert_close(flow(x, t, list(given[:, None])).feats, positive, atol=0, rtol=0)  # put back as it was


@torch.no_grad()
def test_a_structure_step_is_upstreams(networks: dict[str, Any]) -> None:
    flow, t, given = networks["structure_flow"], torch.tensor([300.0]), contexts(32, views=1)
    x = torch.randn(1, 8, 2, 2, 2, generator=torch.Generator().manual_seed(6))
    expected = torch.cat([flow(x, t, given), flow(x, t, torch.zeros_like(given))])
    with known_contexts(flow, DenseKnown, given, keep=True):
        both = flow(torch.cat([x, x]), torch.cat([t, t]), ContextStandIn())
        alone = flow(x, t, ContextStandIn())
    torch.testing.assert_close(both, expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(alone, expected[:1], atol=1e-5, rtol=1e-5)
    assert (expected[0] - expected[1]).abs().max() > 1e-3


@pytest.mark.parametrize(
    "sampling",
    [
        Sampling(5, 7.5, (0.5, 1.0), 0.0, 3.0),
        Sampling(4, 3.0, (0.0, 1.0), 0.7, 5.0),
        Sampling(4, 1.0, (0.0, 1.0), 0.0, 1.0),
        Sampling(1, 2.0, (0.2, 0.4), 0.0, 3.0),
    ],
    ids=["interval", "rescaled", "unguided", "one step outside"],
)
def test_whole_samplings_are_upstreams(
    upstream: Upstream, networks: dict[str, Any], sampler: Any, sampling: Sampling
) -> None:
    """Both flows, against upstream's ``sample`` with whole context tensors."""
    asked = {
        "steps": sampling.steps,
        "cfg_strength": sampling.strength,
        "cfg_interval": sampling.interval,
        "guidance_rescale": sampling.rescale,
        "rescale_t": sampling.rescale_t,
        "verbose": False,
    }
    flow, given = networks["structure_flow"], contexts(32, views=1)
    noise = torch.randn(1, 8, 2, 2, 2, generator=torch.Generator().manual_seed(6))
    said: list[tuple[int, int]] = []
    with torch.no_grad():
        theirs = sampler.sample(flow, noise, given, torch.zeros_like(given), **asked).samples
        ours = flows.sample_structure(sampler, flow, noise, given, sampling, lambda *s: said.append(s), keep=True)
    torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)
    assert said == [(step, sampling.steps) for step in range(sampling.steps)]

    flow, given, start = networks["latents_flow"], contexts(1024), cloud(upstream)
    with torch.no_grad():
        views, nothing = list(given[:, None]), list(torch.zeros_like(given)[:, None])
        theirs = sampler.sample(flow, start, views, nothing, **asked).samples.feats
        ours = flows.sample_latents(sampler, flow, start, given, sampling, lambda *_: None, keep=True).feats
    torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)


def test_times_are_bent_towards_the_noise() -> None:
    """Two steps and r = 3: the half way at 0.5 becomes 3 * 0.5 / (1 + 2 * 0.5) = 0.75."""
    assert flows.times(Sampling(2, 1.0, None, 0.0, 3.0)) == [(1.0, 0.75), (0.75, 0.0)]
    assert flows.times(Sampling(2, 1.0)) == [(1.0, 0.5), (0.5, 0.0)]


def test_a_sampling_that_is_ended_leaves_the_flow_as_it_was(networks: dict[str, Any], sampler: Any) -> None:
    flow, given = networks["structure_flow"], contexts(32, views=1)
    before = [block.cross_attn for block in flow.blocks]

    def step(done: int, steps: int) -> None:
        if done == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), torch.no_grad():
        flows.sample_structure(sampler, flow, torch.zeros(1, 8, 2, 2, 2), given, Sampling(3, 2.0), step, keep=True)
    assert [block.cross_attn for block in flow.blocks] == before
