"""Broken variants of a sound capture, each with the code of the problem that it must be refused for.

``python samples/broken.py SAMPLE TARGET [NAME ...]`` makes some by hand, ``meshdrop demo --broken`` drops five to show
what a refusal looks like, and the tests check every one. They are made on demand from a canonical capture with depth,
so nothing broken is stored.
"""

from __future__ import annotations

import io
import json
import os
import shutil
import struct
import sys
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

FRONT, BACK = "views/view_00.png", "views/view_01.png"
FRONT_DEPTH, LAST_DEPTH = "depth/depth_00.png", "depth/depth_05.png"
VIEWS = tuple(f"views/view_{index:02d}.png" for index in range(6))
DEPTHS = tuple(f"depth/depth_{index:02d}.png" for index in range(6))


@dataclass(frozen=True)
class Broken:
    """One way to break a capture. ``code`` is what ``meshdrop check`` must report; ``breaks`` edits a copy in place."""

    name: str
    code: str
    happened: str
    breaks: Callable[[Path], object]


def make_broken(sample: Path, target: Path, case: Broken) -> Path:
    """A copy of ``sample`` under ``target``, broken as ``case`` says; returns the new folder ``target/<case name>``."""
    folder = target / case.name
    shutil.copytree(sample, folder, copy_function=shutil.copyfile)
    case.breaks(folder)
    return folder


# -- editing files -------------------------------------------------------------------------------------------------


def rewrite(name: str, change: Callable[[bytes], bytes]) -> Callable[[Path], object]:
    """An edit that changes the bytes of one file."""

    def apply(folder: Path) -> None:
        (folder / name).write_bytes(change((folder / name).read_bytes()))

    return apply


def repaint(name: str, change: Callable[[np.ndarray], np.ndarray]) -> Callable[[Path], object]:
    """An edit that changes the pixels of one picture, (H, W) or (H, W, C)."""

    def apply(folder: Path) -> None:
        with Image.open(folder / name) as image:
            pixels = np.asarray(image)
        Image.fromarray(change(pixels)).save(folder / name)

    return apply


def state(**keys: object) -> Callable[[Path], object]:
    """An edit that writes ``capture.json`` with these keys."""
    return lambda folder: (folder / "capture.json").write_text(json.dumps(keys), encoding="utf-8")


def _each(names: tuple[str, ...], edit: Callable[[str], Callable[[Path], object]]) -> Callable[[Path], object]:
    return lambda folder: [edit(name)(folder) for name in names]


def chunks_of(content: bytes) -> list[tuple[bytes, bytes]]:
    """Names and bodies of a PNG's chunks."""
    found, position = [], 8
    while position < len(content):
        (length,) = struct.unpack_from(">I", content, position)
        found.append((content[position + 4 : position + 8], content[position + 8 : position + 8 + length]))
        position += 12 + length
    return found


def joined(chunks: list[tuple[bytes, bytes]]) -> bytes:
    """A PNG of these chunks, checksums and all."""
    parts = [b"\x89PNG\r\n\x1a\n"]
    for name, body in chunks:
        parts.append(struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body)))
    return b"".join(parts)


def _flip_a_bit(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


def _with_rows(content: bytes, more: int) -> bytes:
    """The same picture with ``more`` rows of pixels than its header says (fewer when negative)."""
    chunks = chunks_of(content)
    pixels = zlib.decompress(b"".join(body for name, body in chunks if name == b"IDAT"))
    (height,) = struct.unpack_from(">I", chunks[0][1], 4)
    row = len(pixels) // height
    changed = pixels[: row * (height + more)] if more < 0 else pixels + pixels[:row] * more
    return joined([chunks[0], (b"IDAT", zlib.compress(changed)), (b"IEND", b"")])


def _nine_rows_less(content: bytes) -> bytes:
    return _with_rows(content, -9)


def _nine_rows_more(content: bytes) -> bytes:
    return _with_rows(content, 9)


def header_says(content: bytes, width: int, height: int) -> bytes:
    """The same PNG with a header that tells another size."""
    chunks = chunks_of(content)
    header = struct.pack(">II", width, height) + chunks[0][1][8:]
    return joined([(b"IHDR", header), *chunks[1:]])


def _as_jpeg(content: bytes) -> bytes:
    saved = io.BytesIO()
    with Image.open(io.BytesIO(content)) as image:
        image.convert("RGB").save(saved, format="JPEG")
    return saved.getvalue()


def _to_eight_bits(depth: np.ndarray) -> np.ndarray:
    return np.asarray(depth.astype(np.float64) / max(1, depth.max()) * 255).astype(np.uint8)


def _without_light(rgba: np.ndarray) -> np.ndarray:
    return rgba * np.array([0, 0, 0, 1], dtype=np.uint8)


def _without_object(rgba: np.ndarray) -> np.ndarray:
    return rgba * np.array([1, 1, 1, 0], dtype=np.uint8)


def _to_one_bit(rgba: np.ndarray) -> np.ndarray:
    return np.asarray(rgba[..., 0] > 127)


def upper_half(pixels: np.ndarray) -> np.ndarray:
    """Every row but the lower half's."""
    return np.ascontiguousarray(pixels[: len(pixels) // 2])


def half_size(pixels: np.ndarray) -> np.ndarray:
    """Every second row and column."""
    return np.ascontiguousarray(pixels[::2, ::2])


def _swap(folder: Path) -> None:
    """Files of two cameras exchanged: the commonest wiring mistake."""
    for left, right in ((VIEWS[2], VIEWS[4]), (DEPTHS[2], DEPTHS[4])):
        (folder / left).rename(folder / "swap")
        (folder / right).rename(folder / left)
        (folder / "swap").rename(folder / right)


CASES: tuple[Broken, ...] = (
    Broken("missing-depth", "set", "five depth maps for six views", lambda folder: (folder / LAST_DEPTH).unlink()),
    Broken("missing-view", "set", "the top view was not copied", lambda folder: (folder / VIEWS[4]).unlink()),
    Broken(
        "seventh-view",
        "set",
        "a view that the canonical rig does not have",
        lambda folder: shutil.copyfile(folder / FRONT, folder / "views/view_06.png"),
    ),
    Broken(
        "two-fronts",
        "set",
        "two files claim to be the front view",
        lambda folder: shutil.copyfile(folder / FRONT, folder / "views/front.png"),
    ),
    Broken("cut-off", "png_struct", "the copy stopped in the middle", rewrite(FRONT, lambda b: b[: len(b) // 2])),
    Broken("preallocated", "not_png", "right size, nothing but zeros", rewrite(BACK, lambda b: bytes(len(b)))),
    Broken("bit-flip", "png_crc", "one bit changed on the way", rewrite(FRONT, _flip_a_bit)),
    Broken("rows-missing", "idat_short", "fewer rows than the header says", rewrite(FRONT, _nine_rows_less)),
    Broken("rows-too-many", "idat_long", "more rows than the header says", rewrite(FRONT, _nine_rows_more)),
    Broken("bomb", "dims", "30000 x 30000 pixels", rewrite(FRONT, lambda b: header_says(b, 30000, 30000))),
    Broken("jpeg", "not_png", "a JPEG with a PNG's name", rewrite(FRONT, _as_jpeg)),
    Broken("zip-behind", "trailing", "a zip archive behind the picture", rewrite(FRONT, lambda b: b + b"PK\3\4" * 99)),
    Broken("eight-bit-depth", "depth_format", "a preview saved as depth", repaint(FRONT_DEPTH, _to_eight_bits)),
    Broken("bilevel-view", "pixel_format", "a photograph in black and white", repaint(FRONT, _to_one_bit)),
    # One odd view of six would be left out: half of them are too many.
    Broken(
        "half-depth",
        "dims",
        "depth of the upper half of its image",
        _each(DEPTHS[:3], lambda name: repaint(name, upper_half)),
    ),
    Broken(
        "empty-depth",
        "semantic",
        "the depth sensor measured nothing",
        _each(DEPTHS[:3], lambda name: repaint(name, np.zeros_like)),
    ),
    Broken("black", "semantic", "the lamp was off", _each(VIEWS[:3], lambda name: repaint(name, _without_light))),
    Broken(
        "nothing-there",
        "semantic",
        "alpha is 0 everywhere",
        _each(VIEWS[:3], lambda name: repaint(name, _without_object)),
    ),
    Broken(
        "one-camera",
        "semantic",
        "six copies of one picture",
        _each(VIEWS[1:], lambda name: lambda folder: shutil.copyfile(folder / FRONT, folder / name)),
    ),
    Broken("wrong-unit", "convention", "depth is in millimetres, 0.1 mm is stated", state(depth_unit_m=0.0001)),
    Broken("wrong-axes", "convention", "OpenCV axes are stated for OpenGL poses", state(camera_axes="opencv")),
    Broken("wrong-direction", "convention", "poses are stated the wrong way round", state(pose="world_to_camera")),
    Broken("wrong-focal", "convention", "the focal length of another image size", state(fl_x=711, fl_y=711)),
    Broken("swapped-cameras", "convention", "the right camera writes the top camera's files", _swap),
    Broken("zero-focal", "calib", "a focal length of 0", state(fl_x=0)),
    Broken("no-json", "sidecar", "capture.json is not JSON", rewrite("capture.json", lambda _: b"unit = mm\n")),
    Broken("typing-error", "sidecar", "a key that does not exist", state(depth_unit=0.001)),
    Broken("symlink", "symlink", "a symbolic link among the pictures", lambda folder: _link(folder, os.symlink)),
    Broken("hard-link", "nlink", "a file with two names", lambda folder: os.link(folder / FRONT, folder / "other")),
    Broken("pipe", "not_regular", "a pipe with a picture's name", lambda folder: _fifo(folder / FRONT)),
)

BY_NAME = {case.name: case for case in CASES}


def _link(folder: Path, link: Callable[[str, Path], None]) -> None:
    (folder / FRONT).unlink()
    link("/etc/hostname", folder / FRONT)


def _fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


#: What `meshdrop demo --broken` shows: the mistakes that rigs make most often.
FAMILIAR = ("missing-depth", "eight-bit-depth", "wrong-axes", "wrong-unit", "cut-off")


def main(sample: str, target: str, *names: str) -> None:
    """Make the named variants (or the familiar five) of ``sample`` as ``target/broken-<name>``."""
    for name in names or FAMILIAR:
        folder = make_broken(Path(sample), Path(target) / ".making", BY_NAME[name])
        folder.rename(Path(target) / f"broken-{name}")
    (Path(target) / ".making").rmdir()


if __name__ == "__main__":
    main(*sys.argv[1:])
