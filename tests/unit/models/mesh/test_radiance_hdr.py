"""Radiance pictures: what is written is what the format means, and what others pack is read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from meshdrop.models.axes.stance import Stance
from meshdrop.models.mesh.radiance_hdr import HdrError, read_hdr, turned, write_hdr

HEADER = b"#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n\n"


@pytest.mark.parametrize("shape", [(16, 32), (5, 7), (3, 300), (1, 1)])
def test_every_texel_comes_back_to_a_256th_of_its_brightest_channel(tmp_path: Path, shape: tuple[int, int]) -> None:
    radiance = np.exp(np.random.default_rng(1).normal(0, 5, (*shape, 3))).astype(np.float32)
    write_hdr(tmp_path / "probe.hdr", radiance)
    read = read_hdr(tmp_path / "probe.hdr")
    assert read.shape == radiance.shape
    assert (np.abs(read - radiance) <= radiance.max(axis=2, keepdims=True) / 256).all()


def test_bytes_are_mantissas_and_an_exponent(tmp_path: Path) -> None:
    # 1 = 128/256 x 2^1, 0.5 = 64/256 x 2^1; 3 = 192/256 x 2^2; 0.999 rounds up to 256/256 x 2^0 = 128/256 x 2^1
    texels = [(1.0, 0.5, 0.0), (0.0, 0.0, 0.0), (3.0, 0.0, 3.0), (0.9999, 0.0, 0.0)]
    write_hdr(tmp_path / "probe.hdr", np.array([texels], np.float32))
    body = bytes([128, 64, 0, 129, 0, 0, 0, 0, 192, 0, 192, 130, 128, 0, 0, 129])
    assert (tmp_path / "probe.hdr").read_bytes() == HEADER + b"-Y 1 +X 4\n" + body


def test_what_is_too_dark_or_too_bright_stays_in_range(tmp_path: Path) -> None:
    write_hdr(tmp_path / "probe.hdr", np.array([[(1e-40, 0, 0), (3e38, 1.0, 0)]], np.float32))
    dark, bright = read_hdr(tmp_path / "probe.hdr")[0]
    assert dark.tolist() == [0, 0, 0]
    assert bright[0] > 1e38
    assert np.isfinite(bright).all()


def test_packed_rows_are_read(tmp_path: Path) -> None:
    # red: a run of eight 128; green: four bytes as they are, then a run of four 7; blue: 5 + 3 bytes; exponent 129
    row = bytes([2, 2, 0, 8, 136, 128, 4, 1, 2, 3, 4, 132, 7, 5, 9, 8, 7, 6, 5, 3, 4, 3, 2, 136, 129])
    (tmp_path / "packed.hdr").write_bytes(HEADER + b"-Y 2 +X 8\n" + row * 2)
    expected = np.array([[128] * 8, [1, 2, 3, 4, 7, 7, 7, 7], [9, 8, 7, 6, 5, 4, 3, 2]]).T / 128
    assert read_hdr(tmp_path / "packed.hdr").tolist() == [expected.tolist()] * 2


def test_other_lines_of_a_header_are_passed_over(tmp_path: Path) -> None:
    head = b"#?RGBE\n# by hand\nGAMMA=1.0\nFORMAT=32-bit_rle_rgbe\nEXPOSURE=1.0\n\n"
    (tmp_path / "probe.hdr").write_bytes(head + b"-Y 1 +X 1\n" + bytes([128, 0, 64, 129]))
    assert read_hdr(tmp_path / "probe.hdr").tolist() == [[[1.0, 0.0, 0.5]]]


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\x89PNG\r\n\x1a\n",
        b"#?RADIANCE\nFORMAT=32-bit_rle_xyze\n\n-Y 1 +X 1\n" + bytes(4),
        HEADER + b"+Y 1 +X 1\n" + bytes(4),
        HEADER + b"-Y 1 +X\n",
        HEADER + b"-Y 1 +X 1\n" + bytes(3),
        HEADER + b"-Y 1 +X 8\n" + bytes([2, 2, 0, 8, 136]),
        HEADER + b"-Y 1 +X 8\n" + bytes([2, 2, 0, 8, 137, 1]),
        HEADER + b"-Y 1 +X 8\n" + bytes([2, 2, 0, 8, 0, 1]),
        HEADER + b"-Y 2 +X 8\n" + bytes([2, 2, 0, 8, *[136, 1] * 4]),
        HEADER + b"-Y 1 +X 8\n" + bytes([2, 2, 0, 8, *[136, 1] * 4, 0]),
    ],
    ids=["empty", "PNG", "XYZ", "turned", "no width", "short", "cut run", "long run", "no count", "cut row", "long"],
)
def test_anything_else_is_refused_by_name(tmp_path: Path, raw: bytes) -> None:
    (tmp_path / "odd.hdr").write_bytes(raw)
    with pytest.raises(HdrError, match=r"odd\.hdr"):
        read_hdr(tmp_path / "odd.hdr")


@pytest.mark.parametrize("value", [-1.0, np.nan, np.inf])
def test_light_that_cannot_be_is_not_written(tmp_path: Path, value: float) -> None:
    with pytest.raises(ValueError, match="finite and not negative"):
        write_hdr(tmp_path / "probe.hdr", np.full((2, 2, 3), value, np.float32))
    assert not (tmp_path / "probe.hdr").exists()


def lamp(direction: tuple[float, float, float], height: int = 32) -> np.ndarray:
    """A map with a soft lamp in one direction; the texels' directions as the module says: +Y up, -Z in the middle."""
    theta = (np.arange(height) + 0.5)[:, None] * np.pi / height
    phi = ((np.arange(2 * height) + 0.5) / (2 * height) - 0.5)[None] * 2 * np.pi
    to = np.stack([np.sin(theta) * np.sin(phi), np.cos(theta) + 0 * phi, -np.sin(theta) * np.cos(phi)], axis=-1)
    bright = np.exp(8 * (to @ np.array(direction) - 1))
    return np.stack([bright, 0.5 * bright, 1 + 0 * bright], axis=-1).astype(np.float32)


@pytest.mark.parametrize(
    "up", [(0.0, 0.0, 1.0), (0.0, 0.0, -1.0), (0.0, -1.0, 0.0), (1.0, 0.0, 0.0), (0.36, -0.48, 0.8)]
)
@pytest.mark.parametrize("lit", [(0.0, 1.0, 0.0), (0.6, 0.0, -0.8), (0.0, 0.6, 0.8)])
def test_a_turned_light_comes_from_the_turned_direction(
    up: tuple[float, float, float], lit: tuple[float, float, float]
) -> None:
    rotation = Stance(up).rotation
    x, y, z = (rotation @ np.array(lit)).tolist()
    assert np.abs(turned(lamp(lit), rotation) - lamp((x, y, z))).max() < 0.03


def test_a_light_that_is_not_turned_stays_as_it_is() -> None:
    assert turned(lamp((0.6, 0.0, -0.8)), np.eye(3)) == pytest.approx(lamp((0.6, 0.0, -0.8)), abs=1e-5)
