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
from meshdrop.models.files.jpeg import JpegInfo, check_jpeg, ends_early, pixels_only, tail_is_complete
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
        assert np.array_equal(decoding.jpeg(content, INFO), np.asarray(picture))


def test_what_a_camera_notes_goes_to_no_decoder_and_turns_nothing() -> None:
    """Orientation 6 is "held upright": programs that obey it would turn the picture under its intrinsics."""
    exif = Image.Exif()
    exif[0x0112] = 6
    content = saved(exif=exif, comment=b"c" * 2000, icc_profile=bytes(3000))
    assert check_jpeg(content, LIMITS) == JpegInfo(64, 48)
    plain = pixels_only(content)
    assert len(plain) < len(content) - 5000
    assert b"Exif" not in plain
    assert np.array_equal(decoding.jpeg(content, INFO), decoding.jpeg(saved(), INFO))


REFUSED = {
    "no JPEG": (b"\x89PNG\r\n\x1a\n" + bytes(99), "not_png"),
    "nothing": (b"", "not_png"),
    "greyscale": (saved(mode="L"), "pixel_format"),
    "CMYK": (saved(mode="CMYK"), "pixel_format"),
    "too small": (saved((8, 8)), "dims"),
    "something behind the end": (GOOD + b"PK\3\4", "trailing"),
    "a second picture behind the end": (GOOD + GOOD, "trailing"),
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
                pixels = decoding.jpeg(bytes(content), found)
            except Exception:  # whatever the decoder says, the capture's reader turns it into a problem
                continue
            assert pixels.shape == (found.height, found.width, 3)
