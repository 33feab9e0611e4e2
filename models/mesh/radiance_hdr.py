"""Radiance pictures (``.hdr``): how the environment light leaves the product and how others bring theirs.

RGBE of Ward 1991, "Real Pixels" (Graphics Gems II): three mantissas of eight bits with one exponent, so that every
texel is exact to 1/256 of its brightest channel. Values are written to the nearest step and read as the step itself,
as most readers do; Radiance's own adds half a step. Rows are written flat: our maps are a few kilobytes, and every
reader takes them; packed ones are read too.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Bytes = NDArray[np.uint8]

#: Widths that may be packed run by run (Radiance's file formats, "Picture").
PACKED_WIDTHS = range(8, 32768)


class HdrError(ValueError):
    """A file is no Radiance picture that is read here; the message says why."""


def write_hdr(path: Path, radiance: Floats) -> None:
    """Write linear radiance (H, W, 3), finite and not negative, row 0 on top. Raises ``ValueError`` for anything else.

    A latitude-longitude map of ``models.nvdiffrec.light`` is written as it is: +Y up, -Z in the middle of the picture.
    """
    if radiance.ndim != 3 or radiance.shape[2] != 3 or not np.isfinite(radiance).all() or (radiance < 0).any():
        raise ValueError(f"radiance must be height x width x 3, finite and not negative; it is {radiance.shape}")
    height, width = radiance.shape[:2]
    header = f"#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n\n-Y {height} +X {width}\n"
    path.write_bytes(header.encode("ascii") + _to_rgbe(radiance).tobytes())


def turned(radiance: Floats, rotation: NDArray[np.float64]) -> Floats:
    """A latitude-longitude map (H, W, 3), +Y up and -Z in its middle, after ``rotation`` (3, 3): what came from one
    direction comes from where that is taken. Read between the texels, so that a coarse map gets a little softer."""
    height, width = radiance.shape[:2]
    theta = (np.arange(height) + 0.5)[:, None] * np.pi / height
    phi = ((np.arange(width) + 0.5) / width - 0.5)[None] * 2 * np.pi
    flat = np.sin(theta)
    to = np.stack([flat * np.sin(phi), np.cos(theta) + 0 * phi, -flat * np.cos(phi)], axis=-1)
    x, y, z = np.moveaxis(to @ rotation, -1, 0)  # rows: the inverse, where each texel's light came from
    column = (np.arctan2(x, -z) / (2 * np.pi) + 0.5) * width - 0.5
    row = np.arccos(np.clip(y, -1, 1)) * height / np.pi - 0.5
    left, above = np.floor(column).astype(int), np.floor(row).astype(int)
    found = np.zeros(radiance.shape)
    for down in (0, 1):
        for right in (0, 1):
            share = (1 - np.abs(row - above - down)) * (1 - np.abs(column - left - right))
            texel = radiance[np.clip(above + down, 0, height - 1), (left + right) % width]
            found += share[..., None] * texel
    return found.astype(np.float32)


def read_hdr(path: Path) -> Floats:
    """Linear radiance (H, W, 3) of a picture with rows from the top (``-Y H +X W``), packed or flat.

    Raises ``HdrError`` for anything else, ``OSError`` when it cannot be opened.
    """
    raw = path.read_bytes()
    head, _, body = raw.partition(b"\n\n")
    line, _, body = body.partition(b"\n")
    words = line.split()
    if not head.startswith(b"#?") or b"FORMAT=32-bit_rle_rgbe" not in head.splitlines():
        raise HdrError(f"{path.name} is no Radiance RGBE picture")
    if len(words) != 4 or words[0] != b"-Y" or words[2] != b"+X" or not (words[1].isdigit() and words[3].isdigit()):
        raise HdrError(f"{path.name} is turned ({line[:40]!r}); only -Y height +X width is read")
    return _from_rgbe(_rows(np.frombuffer(body, np.uint8), int(words[1]), int(words[3]), path.name))


def _to_rgbe(radiance: Floats) -> Bytes:
    values = radiance.astype(np.float64)
    brightest = values.max(axis=2)
    _, exponent = np.frexp(brightest)
    exponent += np.rint(np.ldexp(brightest, 8 - exponent)) == 256  # rounding up needs one bit more
    exponent = np.minimum(exponent, 127)
    mantissa = np.minimum(np.rint(np.ldexp(values, 8 - exponent[..., None])), 255)
    rgbe = np.concatenate([mantissa, exponent[..., None] + 128], axis=2)
    return np.where((exponent < -127)[..., None] | (brightest == 0)[..., None], 0, rgbe).astype(np.uint8)


def _from_rgbe(rgbe: Bytes) -> Floats:
    exponent = rgbe[..., 3:].astype(np.int32) - 128 - 8
    radiance = np.where(rgbe[..., 3:] > 0, np.ldexp(rgbe[..., :3].astype(np.float64), exponent), 0.0)
    return radiance.astype(np.float32)


def _rows(body: Bytes, height: int, width: int, name: str) -> Bytes:
    """The picture (H, W, 4) of a body; packed where its first row says so."""
    packed = width in PACKED_WIDTHS and body[:4].tolist() == [2, 2, width >> 8, width & 255]
    if not packed:
        if len(body) != height * width * 4:
            raise HdrError(f"{name} holds {len(body)} bytes of picture, {height * width * 4} were announced")
        return body.reshape(height, width, 4)
    picture = np.empty((height, 4, width), np.uint8)
    at = 0
    for row in picture:
        if body[at : at + 4].tolist() != [2, 2, width >> 8, width & 255]:
            raise HdrError(f"{name} ends early or mixes packed and flat rows")
        at += 4
        for channel in row:
            at = _unpack(body, at, channel, name)
    if at != len(body):
        raise HdrError(f"{name} goes on after its last row")
    return picture.transpose(0, 2, 1)


def _unpack(body: Bytes, at: int, channel: Bytes, name: str) -> int:
    """Fill one channel of a row from ``body[at:]``; returns where the next one starts."""
    filled = 0
    while filled < len(channel):
        count = int(body[at]) if at < len(body) else 0
        run = count - 128 if count > 128 else 0
        values = body[at + 1 : at + 1 + (1 if run else count)]
        length = run or count
        if not length or filled + length > len(channel) or len(values) != (1 if run else count):
            raise HdrError(f"{name} is damaged or ends early")
        channel[filled : filled + length] = values
        filled, at = filled + length, at + 1 + len(values)
    return at
