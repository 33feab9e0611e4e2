"""What upstream asks of flash-attn, answered by torch's own attention.

Upstream's sparse attention knows flash-attn and xformers only. Both are built per Python, torch, CUDA and compiler, and
torch ships the same kernels. Softmax scale is 1 / sqrt(C), no mask, no dropout, as in every call that upstream makes.
"""

from __future__ import annotations

from importlib.machinery import ModuleSpec
from types import ModuleType

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

#: Padded tokens that are attended to at once where sequences have to be padded.
PADDED_TOKENS = 1 << 16


def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Every query with every key of its batch entry: (B, L, H, C), (B, M, H, C), (B, M, H, C) -> (B, L, H, C)."""
    return scaled_dot_product_attention(q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)).transpose(1, 2)


def attend_each(
    q: Tensor, k: Tensor, v: Tensor, starts_q: Tensor, starts_k: Tensor, longest_q: int, longest_k: int
) -> Tensor:
    """Sequences of many lengths, laid end to end: (T, H, C), (S, H, C), (S, H, C) -> (T, H, C).

    Sequence i has the queries ``starts_q[i]:starts_q[i + 1]`` and the keys ``starts_k[i]:starts_k[i + 1]``, int32
    (B + 1,) each.
    """
    if len(starts_q) == 2:
        return attend(q[None], k[None], v[None])[0]
    if q.is_cuda and q.dtype in (torch.float16, torch.bfloat16):
        flash = torch.ops.aten._flash_attention_forward
        return flash(q, k, v, starts_q, starts_k, longest_q, longest_k, 0.0, False, False)[0]  # type: ignore[no-any-return]
    each = max(1, PADDED_TOKENS // max(longest_q, longest_k))
    parts = [
        _attend_padded(q, k, v, starts_q[at : at + each + 1], starts_k[at : at + each + 1], longest_q, longest_k)
        for at in range(0, len(starts_q) - 1, each)
    ]
    return torch.cat(parts)


def _attend_padded(
    q: Tensor, k: Tensor, v: Tensor, starts_q: Tensor, starts_k: Tensor, longest_q: int, longest_k: int
) -> Tensor:
    """The same by padding all sequences to the longest; padded keys are masked, padded queries dropped."""
    rows_q, real_q = _rows(starts_q, longest_q)
    rows_k, real_k = _rows(starts_k, longest_k)
    rows_q, rows_k = rows_q.clamp(max=len(q) - 1), rows_k.clamp(max=len(k) - 1)
    padded = scaled_dot_product_attention(
        q[rows_q].transpose(1, 2), k[rows_k].transpose(1, 2), v[rows_k].transpose(1, 2), attn_mask=real_k[:, None, None]
    )
    return padded.transpose(1, 2)[real_q]


def _rows(starts: Tensor, longest: int) -> tuple[Tensor, Tensor]:
    """(B, longest) row of each padded place, and whether it belongs to the sequence."""
    places = torch.arange(longest, device=starts.device)
    rows = starts[:-1, None].long() + places
    return rows, rows < starts[1:, None]


def module() -> ModuleType:
    """A module that answers to the functions of ``flash_attn`` which upstream calls, by upstream's argument order."""

    def packed(qkv: Tensor) -> Tensor:
        return attend(*qkv.unbind(2))

    def kv_packed(q: Tensor, kv: Tensor) -> Tensor:
        return attend(q, *kv.unbind(2))

    def varlen_packed(qkv: Tensor, starts: Tensor, longest: int) -> Tensor:
        q, k, v = qkv.unbind(1)
        return attend_each(q, k, v, starts, starts, longest, longest)

    def varlen_kv_packed(q: Tensor, kv: Tensor, starts_q: Tensor, starts_k: Tensor, lq: int, lk: int) -> Tensor:
        k, v = kv.unbind(1)
        return attend_each(q, k, v, starts_q, starts_k, lq, lk)

    made = ModuleType("flash_attn", "torch's attention under flash-attn's names")
    made.__spec__ = ModuleSpec("flash_attn", None)  # others ask whether it is installed
    for name, function in {
        "flash_attn_func": attend,
        "flash_attn_qkvpacked_func": packed,
        "flash_attn_kvpacked_func": kv_packed,
        "flash_attn_varlen_func": attend_each,
        "flash_attn_varlen_qkvpacked_func": varlen_packed,
        "flash_attn_varlen_kvpacked_func": varlen_kv_packed,
    }.items():
        setattr(made, name, function)
    return made
