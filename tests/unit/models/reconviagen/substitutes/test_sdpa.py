"""Attention under flash-attn's names: each sequence attends to itself, and to nothing else."""

from __future__ import annotations

import pytest

from tests.torch_needed import torch_or_skip

torch_or_skip()

import torch  # noqa: E402
from torch import Tensor  # noqa: E402

from meshdrop.models.reconviagen.substitutes import sdpa  # noqa: E402

LENGTHS = [[5], [3, 1, 7, 2], [4, 4, 4], [1] * 9]


def packed(lengths: list[int], heads: int = 2, width: int = 8) -> tuple[Tensor, Tensor]:
    """Random queries, keys and values of all sequences end to end, (T, 3, H, C), and where each begins."""
    generator = torch.Generator().manual_seed(sum(lengths))
    starts = torch.tensor([0, *torch.tensor(lengths).cumsum(0).tolist()], dtype=torch.int32)
    return torch.randn(sum(lengths), 3, heads, width, generator=generator), starts


def one_by_one(q: Tensor, k: Tensor, v: Tensor, starts_q: Tensor, starts_k: Tensor) -> Tensor:
    """softmax(q k' / sqrt(C)) v of every sequence, head by head, written out."""
    parts = []
    for (a, b), (c, d) in zip(zip(starts_q, starts_q[1:]), zip(starts_k, starts_k[1:]), strict=True):  # noqa: B905, RUF007
        scores = torch.einsum("qhc,khc->hqk", q[a:b], k[c:d]) / q.shape[-1] ** 0.5
        parts.append(torch.einsum("hqk,khc->qhc", scores.softmax(-1), v[c:d]))
    return torch.cat(parts)


def thirds(qkv: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    q, k, v = qkv.unbind(1)
    return q, k, v


@pytest.mark.parametrize("lengths", LENGTHS, ids=str)
@pytest.mark.parametrize("padded_tokens", [1, 8, 1 << 16])
def test_self_attention_of_packed_sequences(
    lengths: list[int], padded_tokens: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sdpa, "PADDED_TOKENS", padded_tokens)
    qkv, starts = packed(lengths)
    found = sdpa.module().flash_attn_varlen_qkvpacked_func(qkv, starts, max(lengths))
    torch.testing.assert_close(found, one_by_one(*thirds(qkv), starts, starts))


def test_cross_attention_of_packed_sequences() -> None:
    """Queries and keys of different lengths, in both ways that upstream packs them."""
    (qkv, starts_q), (context, starts_k) = packed([3, 1, 4]), packed([2, 6, 1])
    q, k, v = qkv[:, 0], context[:, 1], context[:, 2]
    expected = one_by_one(q, k, v, starts_q, starts_k)
    flash = sdpa.module()
    torch.testing.assert_close(flash.flash_attn_varlen_func(q, k, v, starts_q, starts_k, 4, 6), expected)
    found = flash.flash_attn_varlen_kvpacked_func(q, context[:, 1:], starts_q, starts_k, 4, 6)
    torch.testing.assert_close(found, expected)


def test_batches_of_equal_length() -> None:
    qkv, starts = packed([4, 4, 4])
    batch = qkv.view(3, 4, 3, 2, 8)
    expected = one_by_one(*thirds(qkv), starts, starts).view(3, 4, 2, 8)
    flash = sdpa.module()
    torch.testing.assert_close(flash.flash_attn_qkvpacked_func(batch), expected)
    torch.testing.assert_close(flash.flash_attn_kvpacked_func(batch[:, :, 0], batch[:, :, 1:]), expected)
    torch.testing.assert_close(flash.flash_attn_func(*batch.unbind(2)), expected)


@pytest.mark.gpu
def test_half_precision_on_the_gpu() -> None:
    """There torch's own kernel for packed sequences is used; 0.01 is half precision's share of values around 1."""
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    qkv, starts = packed([30, 1, 70, 12], heads=4, width=64)
    expected = one_by_one(*thirds(qkv), starts, starts)
    found = sdpa.module().flash_attn_varlen_qkvpacked_func(qkv.cuda().half(), starts.cuda(), 70)
    torch.testing.assert_close(found.cpu().float(), expected, atol=0.01, rtol=0.01)
