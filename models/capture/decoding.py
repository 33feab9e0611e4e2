"""Pixels of pictures whose bytes were checked, one function for each kind of ``models/files/pictures.py``."""

from __future__ import annotations

import io
import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from meshdrop.models.files.jpeg import JpegInfo
from meshdrop.models.files.jpeg import pixels_only as jpeg_pixels
from meshdrop.models.files.png import PngInfo, pixels_only


def png(content: bytes, info: PngInfo) -> NDArray[Any]:
    """(H, W) or (H, W, C) as the file has it: bool, uint8 or uint16. The caller has checked the bytes."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        with Image.open(io.BytesIO(pixels_only(content)), formats=("PNG",)) as image:
            image.load()
            pixels = np.asarray(image)
    return pixels.astype(np.uint16) if info.bit_depth == 16 else pixels


def jpeg(content: bytes, _: JpegInfo) -> NDArray[np.uint8]:
    """(H, W, 3) as the file has it, not turned. The caller has checked the bytes."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        with Image.open(io.BytesIO(jpeg_pixels(content)), formats=("JPEG",)) as image:
            return np.asarray(image.convert("RGB"))
