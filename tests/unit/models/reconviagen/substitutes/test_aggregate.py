"""The trunk that keeps four outputs against upstream's own forward pass, which keeps all."""

from __future__ import annotations

import pytest

from tests.torch_needed import torch_or_skip

torch_or_skip()

import torch  # noqa: E402

from meshdrop.models.reconviagen.substitutes.aggregate import aggregate  # noqa: E402
from meshdrop.models.reconviagen.upstream import Upstream  # noqa: E402


@pytest.mark.parametrize("frames", [1, 2, 5])
@torch.no_grad()
def test_the_kept_outputs_are_upstreams(upstream: Upstream, frames: int) -> None:
    """Upstream's real blocks with rotary places, narrow ones; not square, so that rows and columns differ."""
    torch.manual_seed(1)
    trunk = upstream.module("vggt.models.aggregator").Aggregator(
        img_size=42, embed_dim=32, depth=6, num_heads=2, patch_embed="conv"
    )
    for weight in trunk.parameters():
        weight.normal_(0, 0.2)
    trunk.eval()
    images = torch.rand(frames, 3, 28, 42)
    listed, special = trunk(images[None])
    turns: list[int] = []
    found = aggregate(trunk, images, (1, 3, 4), lambda: turns.append(len(turns)))
    assert sorted(found) == [1, 3, 4]
    for turn, kept in found.items():
        torch.testing.assert_close(kept, listed[turn])
        assert kept.shape == (1, frames, special + 6, 64)
    assert turns == [0, 1, 2, 3, 4]  # the last block is not run: nobody reads it
