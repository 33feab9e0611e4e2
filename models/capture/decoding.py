"""Pixels of pictures whose bytes were checked, one function for each kind of ``models/files/pictures.py``."""

from __future__ import annotations

import io
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from meshdrop.models.capture.colour import Said, as_srgb, said_by_png
from meshdrop.models.files.boxes import BoxesInfo
from meshdrop.models.files.exr import ExrInfo
from meshdrop.models.files.jpeg import JpegInfo, colour_profile
from meshdrop.models.files.jpeg import pixels_only as jpeg_pixels
from meshdrop.models.files.npy import NpyInfo
from meshdrop.models.files.png import Kind, PngInfo, colour_chunks, pixels_only
from meshdrop.models.files.tiff import TiffInfo
from meshdrop.models.files.webp import WebpInfo

#: Floating-point depth beyond this many units is what renderers write where there is nothing (Blender: 1e10; the
#: largest half: 65504).
_FARTHEST = 65_000.0
_MOST_COUNTS = 2**32 - 1
#: Channels of an OpenEXR file that hold depth, the likeliest first; else its only one.
_DEPTH_CHANNELS = ("Z", "Depth.Z", "ViewLayer.Depth.Z", "depth", "Depth.V", "V", "Y", "R")


class NotInstalled(Exception):
    """A library that most installations do without is needed: ``fix`` says how it comes."""

    def __init__(self, library: str, extra: str) -> None:
        super().__init__(f"What reads such pictures ({library}) is not installed here.")
        self.fix = (
            f"Ask whoever runs the service to install it (make {extra}, or requirements-{extra}.lock); or save the "
            "picture as PNG or JPEG, depth as 16-bit PNG."
        )


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


def tiff(content: bytes, info: TiffInfo, role: Kind) -> Pixels:
    """The first picture of a TIFF. The caller has checked the bytes."""
    told = ("the first of several pages taken",) if info.more else ()
    with _opened(content, "TIFF", info.width, info.height) as image:
        if role == "depth":
            found = _as_depth(np.asarray(image))
        else:
            said = Said(icc=_piece(content, info.profile)) if role == "image" else Said()
            plain = image if image.mode in _PLAIN else image.convert("RGB")
            found = _as_role(plain, role, said, info.orientation, info.bits)
    return Pixels(found.values, found.orientation, (*told, *found.told))


def webp(content: bytes, info: WebpInfo, role: Kind) -> Pixels:
    """A WebP. The caller has checked the bytes."""
    end = len(content) - info.behind
    with _opened(content[:end], "WEBP", info.width, info.height) as image:
        return _as_role(image, role, Said(icc=_piece(content, info.profile)), info.orientation)


def avif(content: bytes, info: BoxesInfo, role: Kind) -> Pixels:
    """An AVIF, not turned: Pillow tells of the turn that its boxes state as if it were a camera's note."""
    with _opened(content, "AVIF", info.width, info.height) as image:
        turn = image.getexif().get(0x0112, 1)
        said = Said(icc=image.info.get("icc_profile"), points=info.points)
        return _as_role(image, role, said, turn if turn in range(1, 9) else 1)


def heic(content: bytes, info: BoxesInfo, role: Kind) -> Pixels:
    """A HEIC, upright: the turn that its boxes state belongs to the format, so that no program sees it otherwise."""
    try:
        import pillow_heif  # noqa: PLC0415 - most installations do without
    except ImportError:
        raise NotInstalled("pillow-heif", "heic") from None
    found = pillow_heif.open_heif(io.BytesIO(content), convert_hdr_to_8bit=True)
    if sorted(found.size) != sorted((info.width, info.height)):
        raise ValueError(f"it is {found.size[0]} x {found.size[1]} pixels large and says otherwise")
    image = found.to_pillow()
    return _as_role(image, role, Said(icc=found.info.get("icc_profile") or None, points=info.points), 1)


def raw(content: bytes, info: TiffInfo, _: Kind) -> Pixels:
    """A camera's raw photograph, developed as its camera would: white as it measured it, colours sRGB, not turned."""
    try:
        import rawpy  # noqa: PLC0415 - most installations do without
    except ImportError:
        raise NotInstalled("rawpy", "raw") from None
    with rawpy.imread(io.BytesIO(content)) as photograph:
        sizes = photograph.sizes
        if max(sizes.raw_width, sizes.width) > 2 * info.width or max(sizes.raw_height, sizes.height) > 2 * info.height:
            raise ValueError("it is larger than it says")
        values = photograph.postprocess(
            use_camera_wb=True,
            no_auto_bright=True,  # each picture would get a brightness of its own
            output_color=rawpy.ColorSpace.sRGB,
            output_bps=8,
            user_flip=0,
        )
    return Pixels(np.ascontiguousarray(values), info.orientation, ("raw photographs developed with their own white",))


def exr(content: bytes, info: ExrInfo, _: Kind) -> Pixels:
    """The depth channel of an OpenEXR file, which its library reads from a file only."""
    try:
        import OpenEXR  # noqa: PLC0415 - most installations do without
    except ImportError:
        raise NotInstalled("openexr", "exr") from None
    wanted = next((name for name in _DEPTH_CHANNELS if name in info.channels), info.channels[0])
    if wanted not in _DEPTH_CHANNELS and len(info.channels) > 1:
        raise ValueError(f"none of its channels ({', '.join(info.channels)[:80]}) is called Z")
    with tempfile.NamedTemporaryFile(suffix=".exr") as file:
        file.write(content)
        file.flush()
        # The library prints what it stumbles over, among what `meshdrop check` says.
        with redirect_stdout(io.StringIO()), OpenEXR.File(file.name, separate_channels=True) as opened:
            values = np.array(opened.channels()[wanted].pixels)
    if values.shape != (info.height, info.width):
        raise ValueError("it is not as large as it says")
    return _as_depth(values)


def npy(content: bytes, info: NpyInfo, _: Kind) -> Pixels:
    """The numbers of an array, without NumPy's loader."""
    flat = np.frombuffer(content, np.dtype(info.dtype), info.width * info.height, info.start)
    shape = (info.width, info.height) if info.columns_first else (info.height, info.width)
    values = flat.reshape(shape)
    return _as_depth(values.T if info.columns_first else values)


def _piece(content: bytes, place: tuple[int, int] | None) -> bytes | None:
    return None if place is None else content[place[0] : place[0] + place[1]]


def _as_depth(values: NDArray[Any]) -> Pixels:
    """(H, W) numbers in the machine's order, 0 where nothing was measured: also where the file has the largest number
    of its kind, as Kinect writes it, a number below 0, none at all, or one that no camera reaches.
    """
    if values.dtype.kind == "f":
        with np.errstate(invalid="ignore", over="ignore"):
            depth = values.astype(np.float32)
            nothing = ~(np.isfinite(depth) & (depth < _FARTHEST) & (depth >= 0))
        what = "depth that is no number, below 0 or beyond 65,000 means nothing measured"
    else:
        largest = int(np.iinfo(values.dtype).max)
        depth = np.clip(values, 0, _MOST_COUNTS).astype(np.uint16 if largest <= 65535 else np.uint32)
        nothing = (values == largest) | (values < 0)
        what = f"depth {largest} means nothing measured"
    if not nothing.any():
        return Pixels(depth)
    return Pixels(np.where(nothing, depth.dtype.type(0), depth), told=(what,))


#: Pillow's modes that are taken as they are.
_PLAIN = ("1", "L", "LA", "I;16", "I;16B", "RGB", "RGBA", "CMYK")


def _as_role(image: Image.Image, role: Kind, said: Said, orientation: int, bit_depth: int = 8) -> Pixels:
    """A photograph as sRGB, or a mask as it is."""
    if role == "mask":
        levels = np.asarray(image if image.mode in _PLAIN else image.convert("RGB"))
        return Pixels(levels.astype(np.uint16) if image.mode.startswith("I;16") else levels, orientation)
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
