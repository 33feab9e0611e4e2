"""Textures as tensors and as bytes."""

from __future__ import annotations

import numpy as np

from tests.torch_needed import torch_or_skip

torch_or_skip()

import torch  # noqa: E402

from meshdrop.models.mesh.pbr import Material  # noqa: E402
from meshdrop.models.nvdiffrec.material import Textures, from_file, to_file  # noqa: E402


def test_bytes_survive_the_way_through_tensors() -> None:
    every = np.stack(np.meshgrid(np.arange(256), [0, 128, 255]), axis=-1).astype(np.uint8)
    kd = np.concatenate([every, every[..., :1]], axis=-1)
    normal = kd.copy()
    normal[..., 2] = np.maximum(normal[..., 2], 128)
    read = to_file(from_file(Material(kd, kd, normal)))
    for name, expected in (("kd", kd), ("orm", kd), ("normal", normal)):
        assert np.array_equal(getattr(read, name), expected), name


def test_only_the_base_colour_is_encoded() -> None:
    # half the light is 188 in sRGB: 1.055 x 0.5^(1/2.4) - 0.055 = 0.7354
    half = torch.full((1, 1, 3), 0.5)
    written = to_file(Textures(half, half, half))
    assert written.kd.tolist() == [[[188] * 3]]
    assert written.orm.tolist() == [[[128] * 3]]


def test_nothing_leaves_its_range_and_no_normal_points_inwards() -> None:
    wild = torch.tensor([[[-0.5, 0.2, 1.7]]])
    written = to_file(Textures(wild, wild, torch.tensor([[[0.5, 0.5, 0.1]]])))
    assert written.kd[0, 0, [0, 2]].tolist() == [0, 255]
    assert written.orm.tolist() == [[[0, 51, 255]]]
    assert written.normal.tolist() == [[[128, 128, 128]]]
