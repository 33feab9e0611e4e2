"""JPEG photographs: whole and plain ones pass with their pixels untouched, others are named before they are decoded."""

from __future__ import annotations

import io
import os
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from meshdrop.models.capture import decoding
from meshdrop.models.files.jpeg import (
    JpegInfo,
    check_jpeg,
    colour_profile,
    ends_early,
    pixels_only,
    state,
    tail_is_complete,
)
from meshdrop.models.files.limits import CaptureLimits
from meshdrop.models.files.problem import Problem

LIMITS = CaptureLimits()
INFO = JpegInfo(64, 48)


def saved(size: tuple[int, int] = (64, 48), mode: str = "RGB", **options: object) -> bytes:
    file = io.BytesIO()
    noise = np.random.default_rng(1).integers(0, 255, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(noise).convert(mode).save(file, format="JPEG", **options)
    return file.getvalue()


GOOD = saved(progressive=True, quality=80)


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"quality": 100, "subsampling": 0}, {"optimize": True}])
def test_ordinary_pictures_pass(options: dict[str, Any]) -> None:
    content = saved(**options)
    assert check_jpeg(content, LIMITS) == JpegInfo(64, 48)
    with Image.open(io.BytesIO(content)) as picture:
        found = decoding.jpeg(content, INFO, "image")
        assert np.array_equal(found.values, np.asarray(picture))
    assert found.told == ()


def test_what_a_camera_notes_goes_to_no_decoder_and_its_turn_is_told() -> None:
    """Orientation 6 is "held upright": whose cameras these are decides whether the picture is turned."""
    exif = Image.Exif()
    exif[0x0112] = 6
    content = saved(exif=exif, comment=b"c" * 2000, icc_profile=bytes(3000))
    info = check_jpeg(content, LIMITS)
    assert info == JpegInfo(64, 48, orientation=6)
    plain = pixels_only(content)
    assert len(plain) < len(content) - 5000
    assert b"Exif" not in plain
    assert b"ICC_PROFILE" not in plain
    found = decoding.jpeg(content, info, "image")
    assert np.array_equal(found.values, decoding.jpeg(saved(), INFO, "image").values)
    assert found.orientation == 6


@pytest.mark.parametrize("behind", [GOOD, b"PK\3\4", bytes(5000) + b"ftypmp42", saved(mode="L")])
def test_what_follows_the_end_is_no_part_of_the_picture(behind: bytes) -> None:
    """A second picture (MPO, Ultra HDR), a film (motion photo): cameras write them, and no decoder gets them."""
    info = check_jpeg(GOOD + behind, LIMITS)
    assert info == JpegInfo(64, 48, behind=len(behind))
    assert pixels_only(GOOD + behind) == pixels_only(GOOD)
    found = decoding.jpeg(GOOD + behind, info, "image")
    assert np.array_equal(found.values, decoding.jpeg(GOOD, INFO, "image").values)
    assert found.told == ("what lies behind the picture's end passed over",)
    assert state(GOOD + behind, LIMITS) == "whole"


@pytest.mark.parametrize(("mode", "channels", "told"), [("L", 1, "grey made colour"), ("CMYK", 4, "CMYK made RGB")])
def test_grey_and_cmyk_photographs_become_colour(mode: str, channels: int, told: str) -> None:
    stream = io.BytesIO()
    Image.new("RGB", (64, 48), (200, 100, 50)).convert(mode).save(stream, "JPEG")
    info = check_jpeg(stream.getvalue(), LIMITS)
    assert info == JpegInfo(64, 48, channels)
    found = decoding.jpeg(stream.getvalue(), info, "image")
    assert (found.values.shape, found.told) == ((48, 64, 3), (told,))
    # Rec. 601 luma of that orange: 0.299 * 200 + 0.587 * 100 + 0.114 * 50 = 124.2
    wanted = [124] * 3 if mode == "L" else [200, 100, 50]
    assert np.abs(found.values.astype(int) - wanted).max() <= 3


def test_a_profile_is_put_together_from_its_segments_or_not_at_all() -> None:
    profile = bytes(range(256)) * 600  # three segments
    content = saved(icc_profile=profile)
    assert colour_profile(content) == profile
    second = content.index(b"ICC_PROFILE\0\2")
    assert colour_profile(content[: second + 12] + b"\1" + content[second + 13 :]) is None, "two times the first"
    assert colour_profile(GOOD) is None


REFUSED = {
    "no JPEG": (b"\x89PNG\r\n\x1a\n" + bytes(99), "not_png"),
    "nothing": (b"", "not_png"),
    "too small": (saved((8, 8)), "dims"),
    "cut off": (GOOD[: len(GOOD) // 2], "jpeg"),
    "zeros at the end": (GOOD[: len(GOOD) // 2] + bytes(len(GOOD) // 2), "jpeg"),
    "no picture in it": (b"\xff\xd8\xff\xd9", "jpeg"),
    "a segment that reaches too far": (b"\xff\xd8\xff\xe0\xff\xff" + bytes(30), "jpeg"),
    "a segment shorter than its length": (b"\xff\xd8\xff\xe0\x00\x01" + bytes(30), "jpeg"),
    "a thousand scans": (GOOD[: GOOD.index(b"\xff\xda")] + b"\xff\xda\x00\x02\x00" * 1000 + b"\xff\xd9", "jpeg"),
    "ten thousand segments": (b"\xff\xd8" + b"\xff\xe1\x00\x02" * 10_000 + b"\xff\xd9", "chunks"),
    "arithmetic coding": (GOOD.replace(b"\xff\xc2", b"\xff\xca", 1), "pixel_format"),
    "64,000 pixels wide": (GOOD.replace(b"\x00\x30\x00\x40", b"\x00\x30\xfa\x00", 1), "dims"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_others_are_refused_with_a_cure(what: str) -> None:
    content, code = REFUSED[what]
    found = check_jpeg(content, LIMITS, "images/a.jpg")
    assert isinstance(found, Problem)
    assert (found.code, found.file) == (code, "images/a.jpg")
    assert found.message
    assert found.fix


def test_every_cut_is_noticed_and_awaited(tmp_path: Path) -> None:
    for length in range(len(GOOD)):
        assert isinstance(check_jpeg(GOOD[:length], LIMITS), Problem), length
        assert not ends_early(GOOD[:length])
    for content, whole in ((GOOD, True), (GOOD[:-1], False), (b"", False), (bytes(500), False)):
        (tmp_path / "a.jpg").write_bytes(content)
        descriptor = os.open(tmp_path / "a.jpg", os.O_RDONLY)
        try:
            assert tail_is_complete(descriptor) is whole
        finally:
            os.close(descriptor)


def test_two_thousand_damaged_pictures_end_as_values_and_never_as_another_size() -> None:
    chance = random.Random(20261121)
    for _ in range(2000):
        content = bytearray(GOOD)
        for _ in range(chance.choice([1, 2, 9])):
            content[chance.randrange(len(content))] = chance.randrange(256)
        found = check_jpeg(bytes(content), LIMITS)
        if isinstance(found, JpegInfo):
            try:
                pixels = decoding.jpeg(bytes(content), found, "image").values
            except Exception:  # whatever the decoder says, the capture's reader turns it into a problem
                continue
            assert pixels.shape == (found.height, found.width, 3)
