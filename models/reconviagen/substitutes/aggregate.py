"""VGGT's trunk, run so that only what is used stays.

Wang et al. 2025, "VGGT: Visual Geometry Grounded Transformer", section 3.2: attention within each frame and over all
frames in turn. Upstream keeps the outputs of all 24 turns, of which the conditioning reads four.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

#: Turns whose output the conditioning networks read.
TURNS = (4, 11, 17, 23)
#: Layers whose weights autocast rounds to half anyway: kept in half, they give the same and take half the memory.
HALVED = (nn.Linear, nn.Conv2d)


def aggregate(
    trunk: Any, images: Tensor, turns: Sequence[int] = TURNS, check: Callable[[], None] = lambda: None
) -> dict[int, Tensor]:
    """The trunk's outputs after ``turns``: turn -> (1, S, 5 + P, 2C), a camera and four register tokens first.

    ``trunk`` is upstream's ``Aggregator``; ``images`` (S, 3, H, W) are 0..1. ``check`` is called before every turn.
    """
    count = len(images)
    images = (images - trunk._resnet_mean[0]) / trunk._resnet_std[0]
    patches = trunk.patch_embed(images)
    patches = patches["x_norm_patchtokens"] if isinstance(patches, dict) else patches
    special = [_for_each_frame(token, count) for token in (trunk.camera_token, trunk.register_token)]
    tokens = torch.cat([*special, patches], dim=1)
    places = _places(trunk, images)
    length, kept = tokens.shape[1], dict[int, Tensor]()
    for turn in range(max(turns) + 1):
        check()
        within = trunk.frame_blocks[turn](tokens.view(count, length, -1), pos=places)
        tokens = trunk.global_blocks[turn](within.view(1, count * length, -1), pos=places.view(1, -1, 2))
        if turn in turns:
            both = [within.view(1, count, length, -1), tokens.view(1, count, length, -1)]
            kept[turn] = torch.cat(both, dim=-1)
    return kept


def _for_each_frame(token: Tensor, count: int) -> Tensor:
    """(1, 2, X, C): the first for the first frame, the second for all others -> (count, X, C)."""
    return torch.cat([token[0, :1], token[0, 1:].expand(count - 1, -1, -1)])


def _places(trunk: Any, images: Tensor) -> Tensor:
    """(S, 5 + P, 2) row and column of each patch, counted from 1; 0 for the tokens that have no place."""
    count, _, height, width = images.shape
    size = trunk.patch_size
    places = trunk.position_getter(count, height // size, width // size, device=images.device) + 1
    return torch.cat([places.new_zeros(count, trunk.patch_start_idx, 2), places], dim=1)
