"""Cross-attention whose contexts do not change: their keys and values are computed once a job, not once a step.

The pictures are the same in all steps, and without classifier-free guidance's pictures there are none: its negative
context is all zeros. Every token of it then has the same key and value, so that attention gives that value whatever the
query asks; no attention is needed to know it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from meshdrop.models.reconviagen.substitutes.sdpa import attend


@dataclass(frozen=True)
class ContextStandIn:
    """Stands for a context tensor in upstream's arguments: the ``view``-th of a list of ``views``, or the negative."""

    view: int = 0
    views: int = 1
    positive: bool = True

    def type(self, dtype: torch.dtype) -> ContextStandIn:
        """Upstream converts contexts to its own dtype; this has none."""
        return self


POSITIVE, NEGATIVE = ContextStandIn(), ContextStandIn(positive=False)


def standing_views(count: int, *, positive: bool) -> list[ContextStandIn]:
    """A list of contexts as upstream's latent flow takes it, one a view."""
    return [ContextStandIn(view, count, positive) for view in range(count)]


class KnownContexts(nn.Module):
    """A cross-attention with its contexts (V, L, C): projected now if ``keep``, else at every use (less memory)."""

    def __init__(self, attention: Any, contexts: Tensor, *, keep: bool) -> None:
        super().__init__()
        if attention.qk_rms_norm:
            raise ValueError("cross-attention with normalised keys is not what these checkpoints have")
        self._attention = attention
        self._contexts = contexts
        self._kept = self._project(contexts) if keep else None
        self._nothing = attention.to_out(self._project(torch.zeros_like(contexts[:1, :1]))[1].flatten(2))[0]

    def _project(self, contexts: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values (V, L, H, D) each."""
        views, length, _ = contexts.shape
        both = self._attention.to_kv(contexts).view(views, length, 2, self._attention.num_heads, -1)
        keys, values = both.unbind(2)
        return keys, values

    def _answers(self, x: Tensor) -> Tensor:
        """What each view answers to the queries of ``x`` (N, C): (V, N, C)."""
        keys, values = self._kept or self._project(self._contexts)
        queries = self._attention.to_q(x).view(1, len(x), self._attention.num_heads, -1)
        found = attend(queries.expand(len(keys), -1, -1, -1), keys, values)
        return self._attention.to_out(found.flatten(2))  # type: ignore[no-any-return]


class SparseKnown(KnownContexts):
    """For upstream's latent flow, which asks view by view: all views are answered at the first, in one attention.

    Of two objects in one tensor the first is answered by the contexts, the second by nothing.
    """

    def __init__(self, attention: Any, contexts: Tensor, *, keep: bool) -> None:
        super().__init__(attention, contexts, keep=keep)
        self._waiting: Tensor | None = None

    def forward(self, x: Any, context: ContextStandIn) -> Any:
        """``x`` is upstream's ``SparseTensor``, of one object or of the same one twice."""
        if not context.positive:
            return x.replace(self._nothing.expand(len(x.feats), -1))
        if context.view == 0:
            self._waiting = self._answers(x.feats[x.layout[0]])
        if self._waiting is None:
            raise RuntimeError("views are asked for in order, from the first")
        answer = self._waiting[context.view]
        if context.view == context.views - 1:
            self._waiting = None
        return x.replace(answer if x.shape[0] == 1 else torch.cat([answer, self._nothing.expand_as(answer)]))


class DenseKnown(KnownContexts):
    """For upstream's structure flow with the guided and the unguided prediction in one batch.

    Entry 0 of the batch is answered by the contexts, entry 1 (if there) by nothing.
    """

    def forward(self, x: Tensor, context: ContextStandIn) -> Tensor:
        """(B, N, C) with B of 1 or 2."""
        answer = self._answers(x[0])
        if len(x) == 1:
            return answer
        return torch.cat([answer, self._nothing.expand_as(answer)])


@contextmanager
def known_contexts(flow: Any, kind: type[KnownContexts], contexts: Tensor, *, keep: bool) -> Iterator[None]:
    """Give every block of a flow model its known contexts, and take them away again."""
    contexts = contexts.to(flow.dtype)
    before = [block.cross_attn for block in flow.blocks]
    try:
        for block in flow.blocks:
            block.cross_attn = kind(block.cross_attn, contexts, keep=keep)
        yield
    finally:
        for block, attention in zip(flow.blocks, before, strict=True):
            block.cross_attn = attention
