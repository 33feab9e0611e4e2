"""Strict PNG: every flaw has its code, nothing raises, memory stays small, and what passes decodes."""

from __future__ import annotations

import io
import os
import random
import struct
import tracemalloc
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from meshdrop.models.files.limits import CaptureLimits
from meshdrop.models.files.png import IEND, SIGNATURE, Kind, PngInfo, check_png, pixels_only, tail_is_complete
from meshdrop.models.files.problem import Problem

LIMITS = CaptureLimits()
SIDE = 16


def chunk(name: bytes, body: bytes = b"", crc: int | None = None) -> bytes:
    checksum = zlib.crc32(name + body) if crc is None else crc
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", checksum)


def header(width: int = SIDE, height: int = SIDE, bits: int = 8, colour: int = 2, interlace: int = 0) -> bytes:
    return chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, interlace))


def pixels(rows: int = SIDE, row_bytes: int = SIDE * 3, filter_byte: int = 0) -> bytes:
    return zlib.compress((bytes([filter_byte]) + bytes(row_bytes)) * rows)


def png(*chunks: bytes) -> bytes:
    return SIGNATURE + b"".join(chunks)


def rgb(*between: bytes) -> bytes:
    """A flawless 16 x 16 RGB picture with extra chunks before the pixels."""
    return png(header(), *between, chunk(b"IDAT", pixels()), IEND)


def verdict(content: bytes, kind: Kind = "image") -> PngInfo | Problem:
    return check_png(content, kind, LIMITS, "x.png")


def code(content: bytes, kind: Kind = "image") -> str:
    result = verdict(content, kind)
    return result.code if isinstance(result, Problem) else "ok"


SPLIT = pixels()
BIG_ROWS = zlib.compress(bytes(1 + 16 * 3) * 2_000_000, 9)  # 98 MB of pixels behind a 16 x 16 header
ZEROS = zlib.compress(bytes(200_000_000), 9)
HALF_A_MEGABYTE = zlib.compress(bytes(500_000), 9)

FLAWS = {
    "empty file": (b"", "not_png"),
    "all zeros": (bytes(500), "not_png"),
    "a JPEG": (b"\xff\xd8\xff\xe0" + bytes(200), "not_png"),
    "a TIFF": (b"II*\0" + bytes(200), "not_png"),
    "an ELF": (b"\x7fELF" + bytes(200), "not_png"),
    "PostScript": (b"%!PS-Adobe-3.0 EPSF-3.0\n" + bytes(200), "not_png"),
    "a NumPy array": (b"\x93NUMPY" + bytes(200), "not_png"),
    "cut in IDAT": (rgb()[:-30], "png_struct"),
    "no IEND": (rgb()[:-12], "png_struct"),
    "half of IEND": (rgb()[:-5], "png_struct"),
    "header good, rest zero": (rgb()[:33] + bytes(len(rgb()) - 33), "png_struct"),
    "chunk length 0xffffffff": (png(header(), b"\xff\xff\xff\xffIDATabcd"), "png_struct"),
    "second IHDR": (png(header(), header(), chunk(b"IDAT", pixels()), IEND), "png_struct"),
    "IDAT first": (png(chunk(b"IDAT", pixels()), header(), IEND), "png_struct"),
    "no IDAT": (png(header(), IEND), "png_struct"),
    "IDAT interrupted": (
        png(header(), chunk(b"IDAT", SPLIT[:5]), chunk(b"tEXt", b"a\0b"), chunk(b"IDAT", SPLIT[5:]), IEND),
        "png_struct",
    ),
    "unknown critical chunk": (rgb(chunk(b"HACK", b"x")), "png_struct"),
    "chunk type no letters": (rgb(chunk(b"\x00\x01\x02\x03", b"x")), "png_struct"),
    "IEND with content": (png(header(), chunk(b"IDAT", pixels()), chunk(b"IEND", b"x")), "png_struct"),
    "bit depth 3": (png(header(bits=3), chunk(b"IDAT", pixels()), IEND), "png_struct"),
    "IHDR checksum": (rgb().replace(header(), header()[:-1] + b"\0"), "png_crc"),
    "IDAT checksum": (png(header(), chunk(b"IDAT", pixels(), crc=1), IEND), "png_crc"),
    "row missing": (png(header(), chunk(b"IDAT", pixels(SIDE - 1)), IEND), "idat_short"),
    "byte missing": (png(header(), chunk(b"IDAT", zlib.compress(bytes(SIDE * 49 - 1))), IEND), "idat_short"),
    "no pixel at all": (png(header(), chunk(b"IDAT", zlib.compress(b"")), IEND), "idat_short"),
    "row too many": (png(header(), chunk(b"IDAT", pixels(SIDE + 1)), IEND), "idat_long"),
    "byte too many": (png(header(), chunk(b"IDAT", zlib.compress(bytes(SIDE * 49 + 1))), IEND), "idat_long"),
    "98 MB too many": (png(header(), chunk(b"IDAT", BIG_ROWS), IEND), "idat_long"),
    "junk after zlib's end": (png(header(), chunk(b"IDAT", pixels() + b"junk"), IEND), "idat_long"),
    "filter 5": (png(header(), chunk(b"IDAT", pixels(filter_byte=5)), IEND), "png_decode"),
    "no zlib stream": (png(header(), chunk(b"IDAT", b"not zlib at all"), IEND), "png_decode"),
    "zlib checksum cut": (png(header(), chunk(b"IDAT", pixels()[:-4]), IEND), "png_decode"),
    "0 x 0": (png(header(0, 0), chunk(b"IDAT", pixels()), IEND), "dims"),
    "15 wide": (png(header(15), chunk(b"IDAT", pixels()), IEND), "dims"),
    "2^31 - 1 squared": (png(header(0x7FFFFFFF, 0x7FFFFFFF), chunk(b"IDAT", pixels()), IEND), "dims"),
    "30000 squared": (png(header(30000, 30000), chunk(b"IDAT", pixels()), IEND), "dims"),
    "8000 x 8000": (png(header(8000, 8000), chunk(b"IDAT", pixels()), IEND), "dims"),  # 64 of 40 million pixels
    "2 MB of text": (rgb(chunk(b"tEXt", bytes(2_000_000))), "ancillary"),
    "many texts": (rgb(chunk(b"tEXt", bytes(300_000)) * 4), "ancillary"),
    "a text of 200 MB": (rgb(chunk(b"zTXt", b"a\0\0" + ZEROS)), "ancillary"),
    "an international text of 200 MB": (rgb(chunk(b"iTXt", b"a\0\1\0en\0a\0" + ZEROS)), "ancillary"),
    "a profile of 200 MB": (rgb(chunk(b"iCCP", b"a\0\0" + ZEROS)), "ancillary"),
    "three profiles of half a megabyte": (rgb(chunk(b"iCCP", b"a\0\0" + HALF_A_MEGABYTE) * 3), "ancillary"),
    "100,000 chunks": (rgb(chunk(b"tEXt", b"a\0") * 100_000), "chunks"),
    "bytes behind": (rgb() + b"PK\x03\x04", "trailing"),
    "animated": (rgb(chunk(b"acTL", struct.pack(">II", 2, 0))), "pixel_format"),
    "numbers of colours without colours": (
        png(header(colour=3), chunk(b"IDAT", pixels(SIDE, SIDE)), IEND),
        "png_struct",
    ),
    "colours of two numbers": (
        png(header(colour=3), chunk(b"PLTE", bytes(8)), chunk(b"IDAT", pixels(SIDE, SIDE)), IEND),
        "png_struct",
    ),
    "257 colours": (
        png(header(colour=3), chunk(b"PLTE", bytes(771)), chunk(b"IDAT", pixels(SIDE, SIDE)), IEND),
        "png_struct",
    ),
    "photograph in black and white": (
        png(header(bits=1, colour=0), chunk(b"IDAT", pixels(SIDE, SIDE // 8)), IEND),
        "pixel_format",
    ),
    "interlaced": (png(header(interlace=1), chunk(b"IDAT", pixels()), IEND), "pixel_format"),
    "too large a file": (rgb() + bytes(20_000_001), "too_big"),
}


@pytest.mark.parametrize("name", FLAWS)
def test_each_flaw_has_its_code(name: str) -> None:
    content, expected = FLAWS[name]
    result = verdict(content)
    assert isinstance(result, Problem)
    assert result.code == expected
    assert result.file == "x.png"
    assert result.message.endswith(".")
    assert result.fix.endswith(".")


def test_a_plain_picture_passes_with_its_header() -> None:
    assert verdict(rgb()) == PngInfo(width=16, height=16, bit_depth=8, channels=3, has_alpha=False)


def test_small_metadata_and_split_pixels_pass() -> None:
    content = png(header(), chunk(b"tEXt", b"a\0b"), chunk(b"IDAT", SPLIT[:9]), chunk(b"IDAT", SPLIT[9:]), IEND)
    assert code(content) == "ok"


@pytest.mark.parametrize(
    "odd", [b"", b"a", b"a\0", b"a\0\0", b"a\0\0no zlib", b"a\0\1\0en", b"a\0\1\0en\0a\0" + zlib.compress(b"hi")[:-5]]
)
@pytest.mark.parametrize("name", [b"zTXt", b"iTXt", b"iCCP"])
def test_odd_metadata_is_nobodys_business(name: bytes, odd: bytes) -> None:
    assert code(rgb(chunk(name, odd))) == "ok"


def test_the_decoder_is_given_pixels_and_nothing_else() -> None:
    extras = (chunk(b"tEXt", b"a\0<script>"), chunk(b"tRNS", bytes(6)), chunk(b"gAMA", bytes(4)))
    assert pixels_only(rgb(*extras)) == rgb()


@pytest.mark.parametrize(
    ("bits", "colour", "row_bytes", "kinds"),
    [
        (8, 2, 48, ("image", "mask")),
        (8, 6, 64, ("image", "mask")),
        (16, 0, 32, ("image", "depth", "mask")),
        (8, 0, 16, ("image", "mask")),
        (1, 0, 2, ("mask",)),
        (8, 4, 32, ("image", "mask")),
        (16, 2, 96, ("image", "mask")),
        (4, 0, 8, ("mask",)),
        (4, 3, 8, ("image", "mask")),
    ],
)
def test_each_kind_takes_its_own_formats_only(bits: int, colour: int, row_bytes: int, kinds: tuple[str, ...]) -> None:
    colours = chunk(b"PLTE", bytes(48)) if colour == 3 else b""
    content = png(header(bits=bits, colour=colour), colours, chunk(b"IDAT", pixels(SIDE, row_bytes)), IEND)
    assert {kind for kind in ("image", "depth", "mask") if code(content, kind) == "ok"} == set(kinds)


def test_an_eight_bit_depth_map_is_called_a_preview() -> None:
    result = verdict(png(header(colour=0), chunk(b"IDAT", pixels(SIDE, SIDE)), IEND), "depth")
    assert isinstance(result, Problem)
    assert result.code == "depth_format"
    assert "preview" in result.message
    assert "raw 16-bit" in result.fix


def saved(array: np.ndarray) -> bytes:
    out = io.BytesIO()
    Image.fromarray(array).save(out, "PNG")
    return out.getvalue()


@settings(max_examples=60)
@given(st.integers(16, 70), st.integers(16, 70), st.integers(0, 2**32 - 1), st.booleans())
def test_what_pillow_writes_passes(width: int, height: int, seed: int, noisy: bool) -> None:
    grid = np.random.default_rng(seed).integers(0, 256 if noisy else 2, (height, width, 4), dtype=np.uint8)
    assert code(saved(grid)) == "ok"
    assert code(saved(grid[..., :3].copy())) == "ok"
    assert code(saved(grid[..., 0].astype(np.uint16) * 256), "depth") == "ok"


def walk(content: bytes) -> list[tuple[int, int]]:
    """(start of type, length of body) of each chunk that still lies inside the file."""
    found, position = [], 8
    while position + 12 <= len(content):
        length = int.from_bytes(content[position : position + 4], "big")
        if position + 12 + length > len(content):
            break
        found.append((position + 4, length))
        position += 12 + length
    return found


def with_checksums(content: bytes) -> bytes:
    fixed = bytearray(content)
    for start, length in walk(content):
        end = start + 4 + length
        fixed[end : end + 4] = zlib.crc32(fixed[start:end]).to_bytes(4, "big")
    return bytes(fixed)


def mutated(content: bytes, chance: random.Random) -> bytes:
    """1 to 16 byte changes, insertions, deletions or swaps of ranges."""
    work = bytearray(content)
    for _ in range(chance.randint(1, 16)):
        at = chance.randrange(len(work))
        match chance.randrange(5):
            case 0:
                work[at] = chance.randrange(256)
            case 1:
                work[at] ^= 1 << chance.randrange(8)
            case 2:
                work[at:at] = chance.randbytes(chance.randint(1, 8))
            case 3:
                del work[at : at + chance.randint(1, 8)]
            case _:
                work[at : at + 4] = chance.choice([b"\xff\xff\xff\xff", bytes(4), b"\x7f\xff\xff\xff", b"IDAT"])
        if not work:
            return b""
    return bytes(work)


def test_two_thousand_mutations_get_a_verdict_in_little_memory() -> None:
    """Half of them with their checksums put right again, so that the inner checks are reached too."""
    chance = random.Random(20261120)
    grid = np.random.default_rng(3).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
    sound = saved(grid)
    seen: set[str] = set()
    tracemalloc.start()
    for index in range(2000):
        content = mutated(sound, chance)
        content = with_checksums(content) if index % 2 else content
        result = verdict(content)
        seen.add(result.code if isinstance(result, Problem) else "ok")
        if isinstance(result, PngInfo):
            with Image.open(io.BytesIO(content), formats=("PNG",)) as image:
                image.load()
                assert image.size == (result.width, result.height)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 50_000_000
    # The walk reached its inner rooms: otherwise this test would prove nothing.
    assert {"png_crc", "png_struct", "png_decode", "not_png", "dims"} <= seen


@pytest.mark.parametrize("name", ["98 MB too many", "30000 squared", "100,000 chunks"])
def test_bombs_are_refused_in_little_memory(name: str) -> None:
    content, _ = FLAWS[name]
    tracemalloc.start()
    assert isinstance(verdict(content), Problem)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 5_000_000


# -- the cheap check of the settle rule ----------------------------------------------------------------------------


def tail(tmp_path: Path, content: bytes) -> bool:
    path = tmp_path / "x.png"
    path.write_bytes(content)
    file = os.open(path, os.O_RDONLY)
    try:
        return tail_is_complete(file)
    finally:
        os.close(file)


def test_a_whole_file_has_a_complete_tail(tmp_path: Path) -> None:
    assert tail(tmp_path, rgb())


@pytest.mark.parametrize("length", [0, 1, 32, 33, 66])
def test_every_shorter_beginning_is_incomplete(tmp_path: Path, length: int) -> None:
    assert not tail(tmp_path, rgb()[:length])


def test_no_proper_beginning_of_a_file_is_complete(tmp_path: Path) -> None:
    whole = rgb()
    assert not any(tail(tmp_path, whole[:length]) for length in range(len(whole)))


def test_preallocated_zeros_are_incomplete(tmp_path: Path) -> None:
    """A writer that reserves the space first has the right size and a good start long before it has the end."""
    whole = rgb()
    assert not tail(tmp_path, bytes(len(whole)))
    assert not tail(tmp_path, whole[:60] + bytes(len(whole) - 60))


def test_a_damaged_header_counts_as_written(tmp_path: Path) -> None:
    """No waiting mends it: the strict check names the flaw."""
    damaged = rgb().replace(b"\x00\x00\x00\x10\x00\x00\x00\x10", bytes(8))
    assert tail(tmp_path, damaged)
    assert code(damaged) == "png_crc"
