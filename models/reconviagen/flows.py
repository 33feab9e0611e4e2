"""Sampling the two flows, step by step, with upstream's own sampler and networks."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from meshdrop.models.reconviagen.presets import Sampling
from meshdrop.models.reconviagen.substitutes import contexts as known
from meshdrop.models.reconviagen.substitutes.contexts import NEGATIVE, POSITIVE, ContextStandIn

#: Told before each step how many are done; may raise to end the run.
Step = Callable[[int, int], None]


def times(sampling: Sampling) -> list[tuple[float, float]]:
    """Euler's steps from noise at 1 to the sample at 0. ``rescale_t`` r bends t into r t / (1 + (r - 1) t), which takes
    more of the steps near the noise (Esser et al. 2024, "Scaling Rectified Flow Transformers", equation 23)."""
    t = np.linspace(1, 0, sampling.steps + 1)
    bend = 1.0 if sampling.rescale_t is None else sampling.rescale_t
    bent = bend * t / (1 + (bend - 1) * t)
    return list(itertools.pairwise(bent))


def sample_structure(
    sampler: Any, flow: Any, noise: Tensor, context: Tensor, sampling: Sampling, step: Step, *, keep: bool
) -> Tensor:
    """Where matter is, as a latent: ``noise`` (1, C, R, R, R) -> the same shape. ``context`` (1, L, D)."""
    both = _BothAtOnce(flow, lambda x: torch.cat([x, x]), lambda x: (x[:1], x[1:]))
    with known.known_contexts(flow, known.DenseKnown, context, keep=keep):
        return _sample(sampler, both, noise, (POSITIVE, NEGATIVE), sampling, step)  # type: ignore[no-any-return]


def sample_latents(
    sampler: Any, flow: Any, noise: Any, contexts: Tensor, sampling: Sampling, step: Step, *, keep: bool
) -> Any:
    """What it looks like: ``noise`` is upstream's ``SparseTensor`` of (N, C). ``contexts`` (V, L, D), one a view."""
    second = noise.coords.clone()
    second[:, 0] = 1
    # made once: what is known of the cells' neighbours is kept with them
    twice = type(noise)(feats=torch.cat([noise.feats] * 2), coords=torch.cat([noise.coords, second]))
    both = _BothAtOnce(
        flow,
        lambda x: twice.replace(torch.cat([x.feats, x.feats])),
        lambda x: tuple(noise.replace(half) for half in x.feats.split(len(second))),
    )
    pairs = known.standing_views(len(contexts), positive=True), known.standing_views(len(contexts), positive=False)
    with known.known_contexts(flow, known.SparseKnown, contexts, keep=keep):
        return _sample(sampler, both, noise, pairs, sampling, step)


def _sample(sampler: Any, flow: _BothAtOnce, x: Any, contexts: tuple[Any, Any], sampling: Sampling, step: Step) -> Any:
    """Upstream's ``sample`` without its lists of every step's tensors, and with a word before each."""
    positive, negative = contexts
    low, high = sampling.interval or (0.0, 1.0)
    for done, (t, t_next) in enumerate(times(sampling)):
        step(done, sampling.steps)
        flow.guided = low <= t <= high and sampling.strength != 1
        x = sampler.sample_once(
            flow,
            x,
            t,
            t_next,
            positive,
            neg_cond=negative,
            cfg_strength=sampling.strength,
            cfg_interval=(low, high),
            guidance_rescale=sampling.rescale,
        ).pred_x_prev
    return x


class _BothAtOnce:
    """A flow that, while ``guided``, computes the negative prediction beside the positive one: half the launches.

    The sampler asks for the positive and then for the negative prediction of the same input. ``doubled`` makes one
    input of two, ``halves`` two answers of one.
    """

    def __init__(self, flow: Any, doubled: Callable[[Any], Any], halves: Callable[[Any], tuple[Any, ...]]) -> None:
        self._flow = flow
        self._doubled, self._halves = doubled, halves
        self._negative: Any = None
        self.guided = False

    def __call__(self, x: Any, t: Tensor, context: ContextStandIn | list[ContextStandIn]) -> Any:
        positive = (context[0] if isinstance(context, list) else context).positive
        if positive and self.guided:
            answer, self._negative = self._halves(self._flow(self._doubled(x), torch.cat([t, t]), context))
            return answer
        if positive:
            return self._flow(x, t, context)
        if self._negative is None:
            raise RuntimeError("the sampler asked for the negative prediction first; this is not the pinned revision")
        negative, self._negative = self._negative, None
        return negative
