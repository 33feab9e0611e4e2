"""Pixels of pictures whose bytes were checked, one function for each kind of ``models/files/pictures.py``."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from meshdrop.models.capture.colour import Said, as_srgb, said_by_png
from meshdrop.models.files.jpeg import JpegInfo, colour_profile
from meshdrop.models.files.jpeg import pixels_only as jpeg_pixels
from meshdrop.models.files.png import Kind, PngInfo, colour_chunks, pixels_only


@dataclass(frozen=True)
class Pixels:
    """One decoded file.

    ``values`` are (H, W, 3) or (H, W, 4) uint8 sRGB of a photograph; (H, W) of depth, in the unit that is stated, 0
    where nothing was measured; (H, W) or (H, W, C) of a mask, as they are stored. ``orientation`` is EXIF's number of
    the turn that would bring them upright. ``told`` are phrases that follow "N pictures: ".
    """

    values: NDArray[Any]
    orientation: int = 1
    told: tuple[str, ...] = ()


def png(content: bytes, info: PngInfo, role: Kind) -> Pixels:
    """A PNG. The caller has checked the bytes."""
    with _opened(pixels_only(content), "PNG", info.width, info.height) as image:
        if role == "depth":
            return _as_depth(np.asarray(image).astype(np.uint16))
        said = said_by_png(colour_chunks(content)) if role == "image" else Said()
        plain = image.convert("RGBA" if "transparency" in image.info else "RGB") if info.has_palette else image
        return _as_role(plain, role, said, info.orientation, info.bit_depth)


def jpeg(content: bytes, info: JpegInfo, role: Kind) -> Pixels:
    """A JPEG up to its end. The caller has checked the bytes."""
    told = ("what lies behind the picture's end passed over",) if info.behind else ()
    with _opened(jpeg_pixels(content), "JPEG", info.width, info.height) as image:
        found = _as_role(image, role, Said(icc=colour_profile(content)), info.orientation)
    return Pixels(found.values, found.orientation, (*told, *found.told))


def _as_depth(values: NDArray[Any]) -> Pixels:
    """(H, W) numbers, 0 where nothing was measured: also where the file has the largest number, as Kinect writes it."""
    nothing = values == np.iinfo(values.dtype).max
    if not nothing.any():
        return Pixels(values)
    return Pixels(np.where(nothing, 0, values), told=(f"depth {np.iinfo(values.dtype).max} means nothing measured",))


def _as_role(image: Image.Image, role: Kind, said: Said, orientation: int, bit_depth: int = 8) -> Pixels:
    """A photograph as sRGB, or a mask as it is."""
    if role == "mask":
        grey = image if image.mode in ("1", "L", "LA", "I;16", "RGB", "RGBA") else image.convert("RGB")
        return Pixels(np.asarray(grey), orientation)
    told = {"L": ("grey made colour",), "LA": ("grey made colour",), "CMYK": ("CMYK made RGB",)}
    told["I;16"] = told["I"] = told["L"]
    first: tuple[str, ...] = told.get(image.mode, ())
    first += ("16-bit levels made 8-bit",) if bit_depth == 16 else ()
    if image.mode in ("I;16", "I;16B", "I"):
        image = Image.fromarray((np.asarray(image).astype(np.uint32) / 257 + 0.5).astype(np.uint8))
    image, turned = as_srgb(image, said)
    return Pixels(np.asarray(image), orientation, (*first, *([turned] if turned else [])))


@contextmanager
def _opened(content: bytes, kind: str, width: int, height: int) -> Iterator[Image.Image]:
    """A picture of exactly the size that was checked, with its pixels read; raises whatever a decoder does not like."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        with Image.open(io.BytesIO(content), formats=(kind,)) as image:
            if image.size != (width, height):
                raise ValueError(
                    f"it says {image.width} x {image.height} pixels in one place, {width} x {height} in another"
                )
            image.load()
            yield image
