"""A submanifold convolution is a dense one, read where the inputs are."""

from __future__ import annotations

import pytest

from tests.torch_needed import torch_or_skip

torch_or_skip()

import torch  # noqa: E402
from torch import Tensor  # noqa: E402

from meshdrop.models.reconviagen.substitutes import submanifold  # noqa: E402

SIDE = 6


def cells(share: float, batch: int = 2) -> Tensor:
    """Some cells of a cube of ``SIDE``, its corners among them, in no order."""
    generator = torch.Generator().manual_seed(1)
    taken = torch.rand(batch, SIDE, SIDE, SIDE, generator=generator) < share
    taken[:, 0, 0, 0] = taken[:, -1, -1, -1] = True
    found = taken.nonzero().int()
    return found[torch.randperm(len(found), generator=generator)]


def dense(conv: submanifold.SubMConv3d, features: Tensor, where: Tensor) -> Tensor:
    """The same weights as a dense convolution with zeros where nothing is."""
    b, x, y, z = where.long().unbind(1)
    volume = torch.zeros(2, SIDE, SIDE, SIDE, conv.in_channels)
    volume[b, x, y, z] = features
    whole = torch.nn.functional.conv3d(
        volume.permute(0, 4, 1, 2, 3),
        conv.weight.permute(0, 4, 1, 2, 3),
        conv.bias,
        padding=conv.kernel_size // 2 * conv.dilation,
        dilation=conv.dilation,
    )
    return whole.permute(0, 2, 3, 4, 1)[b, x, y, z]


@pytest.mark.parametrize(("kernel", "dilation"), [(1, 1), (3, 1), (3, 2), (5, 1)])
@pytest.mark.parametrize("share", [0.0, 0.2, 1.0])
@pytest.mark.parametrize("piece", [1, 700, 1 << 20])
@pytest.mark.parametrize("bias", [True, False])
def test_equals_a_dense_convolution(
    kernel: int, dilation: int, share: float, piece: int, bias: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(submanifold, "PIECE_BYTES", piece)
    torch.manual_seed(0)
    conv = submanifold.SubMConv3d(5, 4, kernel, dilation=dilation, bias=bias)
    where = cells(share)
    features = torch.randn(len(where), 5)
    with torch.no_grad():
        if bias:
            assert conv.bias is not None
            conv.bias.normal_()
        found = conv(submanifold.SparseConvTensor(features, where, [SIDE] * 3, 2)).features
        torch.testing.assert_close(found, dense(conv, features, where))


def test_weights_have_the_layout_of_spconv() -> None:
    conv = submanifold.SubMConv3d(5, 4, 3)
    assert {name: tuple(value.shape) for name, value in conv.state_dict().items()} == {
        "weight": (4, 3, 3, 3, 5),
        "bias": (4,),
    }


def test_neighbours_are_found_once_for_the_same_cells_and_forgotten_with_them() -> None:
    where = cells(0.5)
    first = submanifold.neighbours(where, 3, 1)
    assert submanifold.neighbours(where, 3, 1) is first
    assert submanifold.neighbours(where.clone(), 3, 1) is not first
    known = len(submanifold._KNOWN)
    del where
    assert len(submanifold._KNOWN) < known


def test_a_convolution_that_changes_the_cells_is_refused() -> None:
    spconv = submanifold.modules()["spconv.pytorch"]
    with pytest.raises(NotImplementedError, match="install spconv"):
        spconv.SparseConv3d(3, 4, 3, stride=2)
