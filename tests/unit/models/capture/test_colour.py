"""Colours of photographs: whatever a file says of them ends as sRGB, and two ways of saying the same end alike."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, ImageCms

from meshdrop.models.capture.colour import Chromaticities, Said, as_srgb, said_by_png

D65 = (0.3127, 0.329)
P3: Chromaticities = (*D65, 0.68, 0.32, 0.265, 0.69, 0.15, 0.06)
ADOBE: Chromaticities = (*D65, 0.64, 0.33, 0.21, 0.71, 0.15, 0.06)
BT709: Chromaticities = (*D65, 0.64, 0.33, 0.3, 0.6, 0.15, 0.06)
#: Of the 16 million colours a grid of 18 levels a channel.
LEVELS = np.unique(np.r_[0:256:15, 255]).astype(np.uint8)
GRID = np.stack(np.meshgrid(LEVELS, LEVELS, LEVELS), axis=-1).reshape(-1, len(LEVELS), 3)


def profile(primaries: Chromaticities, gamma: float | None, name: str) -> bytes:
    """A display profile (ICC.1:2022): primaries under D50, and a gamma, or sRGB's curve for None."""
    x, y = primaries[0], primaries[1]
    white = np.array([x / y, 1, (1 - x - y) / y])
    columns = np.stack(
        [np.array([primaries[at], primaries[at + 1], 1 - primaries[at] - primaries[at + 1]]) for at in (2, 4, 6)], 1
    )
    matrix = columns * np.linalg.solve(columns, white)
    cone = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])
    d50 = np.array([0.96420288, 1.0, 0.82490540])
    matrix = np.linalg.inv(cone) @ np.diag((cone @ d50) / (cone @ white)) @ cone @ matrix

    def fixed(*values: float) -> bytes:
        return b"".join(struct.pack(">i", round(value * 65536)) for value in values)

    curve = (
        b"para\0\0\0\0" + struct.pack(">HH", 0, 0) + fixed(gamma)
        if gamma
        else b"para\0\0\0\0" + struct.pack(">HH", 3, 0) + fixed(2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)
    )
    text = name.encode("utf-16-be")
    tags = {b"desc": b"mluc\0\0\0\0" + struct.pack(">II2s2sII", 1, 12, b"en", b"US", len(text), 28) + text}
    tags[b"wtpt"] = b"XYZ \0\0\0\0" + fixed(*d50)
    for index, letter in enumerate("rgb"):
        tags[f"{letter}XYZ".encode()] = b"XYZ \0\0\0\0" + fixed(*matrix[:, index])
        tags[f"{letter}TRC".encode()] = curve
    body, table = b"", struct.pack(">I", len(tags))
    for tag, content in tags.items():
        table += tag + struct.pack(">II", 128 + 4 + 12 * len(tags) + len(body), len(content))
        body += content.ljust(-(-len(content) // 4) * 4, b"\0")
    head = struct.pack(">I4s4s4s4s4s12x4s", 0, b"\0\0\0\0", b"\4\x30\0\0", b"mntr", b"RGB ", b"XYZ ", b"acsp")
    head = head.ljust(68, b"\0") + fixed(*d50)
    whole = head.ljust(128, b"\0") + table + body
    return struct.pack(">I", len(whole)) + whole[4:]


def turned(said: Said, pixels: np.ndarray = GRID) -> tuple[np.ndarray, str | None]:
    image, told = as_srgb(Image.fromarray(pixels), said)
    return np.asarray(image).astype(int), told


def by_littlecms(icc: bytes) -> np.ndarray:
    image = ImageCms.profileToProfile(
        Image.fromarray(GRID),
        ImageCms.ImageCmsProfile(io.BytesIO(icc)),
        ImageCms.createProfile("sRGB"),
        renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
    )
    return np.asarray(image).astype(int)


@pytest.mark.parametrize(("primaries", "gamma"), [(P3, None), (ADOBE, 563 / 256)])
def test_a_profile_is_applied_as_littlecms_does(primaries: Chromaticities, gamma: float | None) -> None:
    icc = profile(primaries, gamma, "Some Display")
    found, told = turned(Said(icc=icc))
    assert np.abs(found - by_littlecms(icc)).max() <= 1
    assert told == "Some Display turned into sRGB"
    assert np.abs(found - GRID).max() > 10


def test_code_points_and_gamma_with_primaries_end_as_the_profile_of_the_same_colours_does() -> None:
    """Our own arithmetic beside littlecms': one level apart at most, which is its rounding."""
    display_p3, told = turned(Said(points=(12, 13)))
    assert told == "Display P3 turned into sRGB"
    assert np.abs(display_p3 - by_littlecms(profile(P3, None, "P3"))).max() <= 1
    adobe, told = turned(Said(gamma=256 / 563, primaries=ADOBE))
    assert told == "gamma 0.4547 and its own primaries turned into sRGB"
    inside = (adobe > 0).all(axis=-1) & (adobe < 255).all(axis=-1)
    assert np.abs(adobe - by_littlecms(profile(ADOBE, 563 / 256, "A")))[inside].max() <= 1
    linear, told = turned(Said(gamma=1.0))
    assert told == "gamma 1 turned into sRGB"
    assert np.abs(linear - by_littlecms(profile(BT709, 1.0, "L"))).max() <= 1


@pytest.mark.parametrize(
    "said",
    [
        Said(),
        Said(icc=profile(BT709, None, "any name")),
        Said(points=(1, 13)),
        Said(primaries=BT709),
        Said(points=(1, 1)),
    ],
)
def test_what_is_srgb_in_other_words_stays_as_it_is_and_is_not_told(said: Said) -> None:
    found, told = turned(said)
    assert np.array_equal(found, GRID)
    assert told is None


@pytest.mark.parametrize("icc", [b"", b"no profile", bytes(3000), profile(P3, None, "P3")[:200]])
def test_a_profile_that_cannot_be_read_is_told_and_passed_over(icc: bytes) -> None:
    found, told = turned(Said(icc=icc))
    assert np.array_equal(found, GRID)
    assert told == "a colour profile that cannot be read passed over"


def test_alpha_is_no_colour() -> None:
    pixels = np.dstack([GRID, np.arange(GRID.shape[0] * GRID.shape[1]).reshape(GRID.shape[:2]).astype(np.uint8)])
    for said in (Said(icc=profile(P3, None, "P3")), Said(points=(12, 13))):
        found, _ = turned(said, pixels)
        assert np.array_equal(found[..., 3], pixels[..., 3])
        assert np.abs(found[..., :3] - by_littlecms(profile(P3, None, "P3"))).max() <= 1


def test_white_paper_of_hdr_pictures_is_white_and_what_is_brighter_too() -> None:
    """BT.2408: paper white is 203 cd/m2, which is 58 % of PQ's signal and 75 % of HLG's."""
    for transfer, white in ((16, 148), (18, 191)):
        grey = np.array([[[0] * 3, [white // 2] * 3, [white] * 3, [white + 40] * 3, [255] * 3]], np.uint8)
        found, told = turned(Said(points=(9, transfer)), grey)
        assert told is not None
        assert "high dynamic range" in told
        assert found[0, 0].max() == 0
        assert 0 < found[0, 1, 0] < 200
        assert found[0, 2].min() >= 253
        assert (found[0, 3:] == 255).all()


def test_unknown_numbers_are_told() -> None:
    found, told = turned(Said(points=(77, 13)))
    assert np.array_equal(found, GRID)
    assert told is not None
    assert "77" in told


def test_the_chunk_that_counts_most_is_asked() -> None:
    """Third edition of the PNG specification: cICP, then iCCP, then sRGB, then gAMA and cHRM."""
    icc = profile(P3, None, "P3")
    chunks = {
        b"cICP": bytes([12, 13, 0, 1]),
        b"iCCP": b"name\0\0" + zlib.compress(icc),
        b"sRGB": b"\0",
        b"gAMA": struct.pack(">I", 100_000),
        b"cHRM": struct.pack(">8I", *(round(value * 100_000) for value in ADOBE)),
    }
    assert said_by_png(chunks) == Said(points=(12, 13))
    del chunks[b"cICP"]
    assert said_by_png(chunks) == Said(icc=icc)
    del chunks[b"iCCP"]
    assert said_by_png(chunks) == Said()
    del chunks[b"sRGB"]
    assert said_by_png(chunks) == Said(gamma=1.0, primaries=ADOBE)
    assert said_by_png({b"gAMA": struct.pack(">I", 45455)}) == Said(), "how everybody writes sRGB"


@pytest.mark.parametrize(
    "chunks",
    [
        {b"cHRM": bytes(32)},
        {b"cHRM": b"\xff" * 32},
        {b"cHRM": struct.pack(">8I", *[33_333] * 8)},
        {b"gAMA": bytes(4)},
        {b"gAMA": b"\xff" * 4},
        {b"gAMA": b"", b"cHRM": b"1", b"cICP": b""},
    ],
)
def test_impossible_chunks_say_nothing(chunks: dict[bytes, bytes]) -> None:
    assert said_by_png(chunks) == Said()


def test_a_profile_that_unpacks_without_end_says_only_that_it_cannot_be_read() -> None:
    assert said_by_png({b"iCCP": b"a\0\0" + zlib.compress(bytes(10_000_000))}) == Said(icc=b"")
    assert said_by_png({b"iCCP": b"a\0\0nothing"}) == Said(icc=b"")
