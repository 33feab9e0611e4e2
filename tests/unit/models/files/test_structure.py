"""Containers without checksums: what a hostile or half-written one may say, and what is said of it."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

from meshdrop.models.files.boxes import walk as walk_boxes
from meshdrop.models.files.exr import walk as walk_exr
from meshdrop.models.files.limits import CaptureLimits
from meshdrop.models.files.npy import walk as walk_npy
from meshdrop.models.files.png import Kind
from meshdrop.models.files.structure import FileBytes, FlawError, UnfinishedError, Walk
from meshdrop.models.files.tiff import TiffInfo, walk, walk_raw
from meshdrop.models.files.webp import walk as walk_webp
from tests.pictures import NOISE, SLOPE, exr, npy, saved

LIMITS = CaptureLimits()


def refused(look: Walk, content: bytes, role: Kind = "image") -> str:
    with pytest.raises(FlawError) as caught:
        look(FileBytes.of(content), role, LIMITS)
    assert all((caught.value.message, caught.value.fix))
    return "awaited" if isinstance(caught.value, UnfinishedError) else caught.value.code


def tiff(entries: dict[int, tuple[int, int, int]], after: int = 0, behind: bytes = bytes(10_000)) -> bytes:
    """A little-endian TIFF of one directory at byte 8: tag -> (type, count, value or place)."""
    table = b"".join(struct.pack("<HHII", tag, *entries[tag]) for tag in sorted(entries))
    return b"II*\0" + struct.pack("<IH", 8, len(entries)) + table + struct.pack("<I", after) + behind


def plain(**changes: tuple[int, int, int]) -> dict[int, tuple[int, int, int]]:
    """32 x 32, one channel of 8 bits, in one strip at byte 200."""
    entries = {256: (3, 1, 32), 257: (3, 1, 32), 258: (3, 1, 8), 259: (3, 1, 1), 262: (3, 1, 1)}
    entries |= {273: (4, 1, 200), 277: (3, 1, 1), 279: (4, 1, 1024)}
    return entries | {int(tag[1:]): value for tag, value in changes.items()}


def test_a_plain_tiff_is_read() -> None:
    assert walk(FileBytes.of(tiff(plain())), "image", LIMITS) == TiffInfo(32, 32, 8, 1)
    assert walk(FileBytes.of(tiff(plain(t274=(3, 1, 6)))), "image", LIMITS).orientation == 6


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (tiff(plain(t256=(4, 1, 100_000), t257=(4, 1, 100_000))), "dims"),
        (tiff(plain(t256=(4, 1, 0))), "dims"),
        (tiff(plain(t256=(4, 1, 0xFFFFFFFF), t257=(4, 1, 0xFFFFFFFF))), "dims"),
        (tiff(plain(), after=8), "picture"),
        (tiff(plain(t273=(4, 1, 9_900_000))), "awaited"),
        (tiff(plain(t279=(4, 1, 0xFFFFFFFF))), "awaited"),
        (tiff(plain(t279=(4, 1, 1023))), "picture"),
        (tiff(plain(t273=(4, 1, 0))), "awaited"),
        (tiff(plain(t273=(4, 2, 300))), "picture"),
        (tiff(plain(t273=(4, 1 << 30, 300), t279=(4, 1 << 30, 300))), "chunks"),
        (tiff(plain(t259=(3, 1, 7))), "pixel_format"),
        (tiff(plain(t258=(3, 1, 4))), "pixel_format"),
        (tiff(plain(t339=(3, 1, 3))), "pixel_format"),
        (tiff(plain(t277=(3, 1, 9))), "pixel_format"),
        (tiff(plain(), after=9_000_000), "awaited"),
        (b"II*\0\xff\xff\xff\xff" + bytes(100), "awaited"),
        (b"II*\0\x08\0\0\0\xff\xff" + bytes(100_000), "picture"),
        (b"II+\0" + bytes(100), "pixel_format"),
    ],
)
def test_impossible_tiffs_are_refused_or_awaited(content: bytes, code: str) -> None:
    assert refused(walk, content) == code


def test_directories_that_lead_round_in_a_circle_end() -> None:
    """One names itself, two name each other, one holds itself, and a thousand follow one another."""
    for look in (walk, walk_raw):
        assert refused(look, tiff(plain(), after=8)) == "picture"
    inside = tiff(plain(t330=(4, 1, 8)))
    assert refused(walk_raw, inside) == "picture"
    one = tiff(plain(), behind=b"")
    second = len(one)
    pair = one[:-4] + struct.pack("<I", second) + one[8:-4] + struct.pack("<I", 8)
    assert refused(walk, pair + bytes(2000)) == "picture"
    step = len(one) - 8
    chain = b"".join(one[8:-4] + struct.pack("<I", 8 + (number + 1) * step) for number in range(1000))
    assert refused(walk, one[:8] + chain) == "chunks"


def test_depth_may_be_whole_or_floating_point_with_one_channel() -> None:
    for pixels in (SLOPE, (SLOPE * 1000).astype(np.uint16), (SLOPE * 1000).astype(np.int32)):
        info = walk(FileBytes.of(saved("TIFF", pixels)), "depth", LIMITS)
        assert isinstance(info, TiffInfo)
        assert info.bits == 8 * pixels.itemsize
    assert refused(walk, saved("TIFF", NOISE), "depth") == "depth_format"
    assert refused(walk, saved("TIFF", NOISE[..., 0].copy()), "depth") == "depth_format"


def several() -> bytes:
    stream = io.BytesIO()
    image = Image.fromarray(NOISE)
    image.save(stream, "WEBP", save_all=True, append_images=[image.rotate(180)])
    return stream.getvalue()


def lied(content: bytes, at: int, value: bytes) -> bytes:
    return content[:at] + value + content[at + len(value) :]


WEBP = saved("WEBP", lossless=True)
AVIF = saved("AVIF")
SHAPES = {
    "an object": b"{'descr': '|O', 'fortran_order': False, 'shape': (32, 48), }",
    "an expression": b"{'descr': __import__('os').system('x'), 'fortran_order': False, 'shape': (32, 48), }",
    "a record": b"{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (32, 48), }",
    "three dimensions": b"{'descr': '<f4', 'fortran_order': False, 'shape': (3, 32, 48), }",
    "a string": b"{'descr': '<U8', 'fortran_order': False, 'shape': (32, 48), }",
    "complex numbers": b"{'descr': '<c8', 'fortran_order': False, 'shape': (32, 48), }",
}


def array(header: bytes, behind: bytes = b"") -> bytes:
    header = header.ljust(117) + b"\n"
    return b"\x93NUMPY\1\0" + struct.pack("<H", len(header)) + header + behind


@pytest.mark.parametrize(
    ("look", "content", "code"),
    [
        (walk_webp, several(), "pixel_format"),
        (walk_webp, lied(WEBP, 4, b"\xff\xff\xff\x7f"), "awaited"),
        (walk_webp, lied(WEBP, 16, b"\xff\xff\xff\x7f"), "picture"),
        (walk_webp, lied(WEBP, 12, b"none"), "picture"),
        (walk_boxes, lied(AVIF, 8, b"avis"), "pixel_format"),
        (walk_boxes, lied(AVIF, 8, b"qt  "), "pixel_format"),
        (walk_boxes, lied(AVIF, 0, b"\0\0\0\4"), "picture"),
        (walk_boxes, AVIF[:40] + struct.pack(">I4s", 8, b"free") * 2000, "awaited"),
        (walk_boxes, AVIF[:32] + struct.pack(">I4s", 8, b"free") * 2000, "chunks"),
        (walk_boxes, lied(AVIF, AVIF.index(b"ispe") + 8, b"\x7f\xff\xff\xff\x7f\xff\xff\xff"), "dims"),
        (walk_exr, lied(exr(), 5, b"\x10"), "pixel_format"),
        (walk_exr, lied(exr(), exr().index(b"dataWindow") + 29, b"\xff\xff\xff\x7f" * 2), "dims"),
        (walk_exr, exr()[: exr().index(b"dataWindow")], "awaited"),
        (walk_npy, npy(SLOPE) + b"more", "trailing"),
        (walk_npy, array(b"{'descr': '<f4', 'fortran_order': False, 'shape': (99999, 99999), }"), "dims"),
        *((walk_npy, array(header, bytes(9000)), "depth_format") for header in SHAPES.values()),
    ],
)
def test_impossible_containers_are_refused_or_awaited(look: Walk, content: bytes, code: str) -> None:
    assert refused(look, content) == code


def test_no_walk_reads_more_than_it_needs() -> None:
    """Looked at again and again while a folder arrives: a few kilobytes of however large a file."""
    sizes: dict[str, int] = {}

    def counting(name: str, content: bytes, look: Walk) -> None:
        read: list[int] = []

        def at(start: int, length: int) -> bytes:
            part = content[start : start + length]
            read.append(len(part))
            return part

        look(FileBytes(len(content), at), None, LIMITS)
        sizes[name] = sum(read)

    large = np.random.default_rng(1).integers(1, 255, (512, 512, 3), np.uint8)
    made: list[tuple[str, Callable[[], bytes], Walk]] = [
        ("TIFF", lambda: saved("TIFF", large), walk),
        ("WebP", lambda: saved("WEBP", large, lossless=True), walk_webp),
        ("AVIF", lambda: saved("AVIF", large), walk_boxes),
        ("EXR", lambda: exr(np.ones((512, 512), np.float32)), walk_exr),
        ("NPY", lambda: npy(np.ones((512, 512), np.float32)), walk_npy),
    ]
    for name, make, look in made:
        counting(name, make(), look)
    assert max(sizes.values()) < 20_000, sizes
