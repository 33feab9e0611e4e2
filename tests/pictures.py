"""Sound files of every kind of picture, 48 x 32 pixels, made by the libraries that write them."""

from __future__ import annotations

import io
import struct
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from meshdrop.models.files.png import Kind

WIDTH, HEIGHT = 48, 32
#: Incompressible, and without a zero, so that no stretch of a file is zeros.
NOISE = np.random.default_rng(1).integers(1, 255, (HEIGHT, WIDTH, 3), np.uint8)
#: Depth of a slope, in metres.
SLOPE = (1 + np.arange(HEIGHT * WIDTH, dtype=np.float32).reshape(HEIGHT, WIDTH) / 1000).astype(np.float32)


def saved(name: str, pixels: np.ndarray = NOISE, **options: Any) -> bytes:
    """What Pillow writes."""
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, name, **options)
    return stream.getvalue()


def npy(values: np.ndarray = SLOPE) -> bytes:
    stream = io.BytesIO()
    np.save(stream, values, allow_pickle=False)
    return stream.getvalue()


def exr(values: np.ndarray = SLOPE, **options: Any) -> bytes:
    import OpenEXR  # noqa: PLC0415

    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "a.exr")
        header = {"type": OpenEXR.scanlineimage, "compression": options.get("compression", OpenEXR.ZIP_COMPRESSION)}
        with OpenEXR.File(header, {options.get("channel", "Z"): values}) as file:
            file.write(path)
        return Path(path).read_bytes()


def heic(pixels: np.ndarray = NOISE, **options: Any) -> bytes:
    import pillow_heif  # noqa: PLC0415

    stream = io.BytesIO()
    pillow_heif.from_pillow(Image.fromarray(pixels)).save(stream, **options)
    return stream.getvalue()


def dng(orientation: int = 1) -> bytes:
    """A raw photograph: one channel of a Bayer mosaic (RGGB) of 16 bits, as DNG 1.4 has it, evenly grey."""
    side = 64
    mosaic = np.full((side, side), 20_000, "<u2").tobytes()
    entries: list[tuple[int, int, bytes]] = [
        (254, 4, struct.pack("<I", 0)),
        (256, 4, struct.pack("<I", side)),
        (257, 4, struct.pack("<I", side)),
        (258, 3, struct.pack("<H", 16)),
        (259, 3, struct.pack("<H", 1)),
        (262, 3, struct.pack("<H", 32803)),
        (271, 2, b"abc\0"),
        (272, 2, b"abc\0"),
        (273, 4, b"PIXL"),
        (274, 3, struct.pack("<H", orientation)),
        (277, 3, struct.pack("<H", 1)),
        (278, 4, struct.pack("<I", side)),
        (279, 4, struct.pack("<I", len(mosaic))),
        (284, 3, struct.pack("<H", 1)),
        (33421, 3, struct.pack("<2H", 2, 2)),
        (33422, 1, bytes([0, 1, 1, 2])),
        (50706, 1, bytes([1, 4, 0, 0])),
        (50707, 1, bytes([1, 1, 0, 0])),
        (50708, 2, b"abc one\0"),
        (50714, 3, struct.pack("<H", 0)),
        (50717, 4, struct.pack("<I", 65535)),
        (
            50721,
            10,
            b"".join(struct.pack("<2i", value, 10_000) for value in (10_000, 0, 0, 0, 10_000, 0, 0, 0, 10_000)),
        ),
        (50728, 5, struct.pack("<6I", 1, 1, 1, 1, 1, 1)),
        (50778, 3, struct.pack("<H", 21)),
    ]
    sizes = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 10: 8}
    data_start = 8 + 2 + 12 * len(entries) + 4
    long = b"".join(value.ljust(-(-len(value) // 2) * 2, b"\0") for _, _, value in entries if len(value) > 4)
    pixels_at = data_start + len(long)
    table, place = struct.pack("<H", len(entries)), data_start
    for tag, kind, stated in entries:
        value = struct.pack("<I", pixels_at) if stated == b"PIXL" else stated
        table += struct.pack("<HHI", tag, kind, len(value) // sizes[kind])
        if len(value) > 4:
            table += struct.pack("<I", place)
            place += -(-len(value) // 2) * 2
        else:
            table += value.ljust(4, b"\0")
    return b"II*\0" + struct.pack("<I", 8) + table + bytes(4) + long + mosaic


#: By the kind's name: what role it is tried in, and a maker.
SOUND: dict[str, tuple[Kind, Callable[[], bytes]]] = {
    "PNG": ("image", lambda: saved("PNG")),
    "JPEG": ("image", lambda: saved("JPEG")),
    "TIFF": ("image", lambda: saved("TIFF", compression="tiff_adobe_deflate")),
    "WebP": ("image", lambda: saved("WEBP", lossless=True)),
    "AVIF": ("image", lambda: saved("AVIF", quality=90)),
    "HEIC": ("image", heic),
    "raw photograph": ("image", dng),
    "OpenEXR": ("depth", exr),
    "NumPy array": ("depth", npy),
}
