"""Colours of photographs as 8-bit sRGB, whatever a file says that its numbers mean. Never asked of depth or masks.

A file speaks by an ICC profile, which littlecms applies (Pillow's ImageCms), by code points (ITU-T H.273), or by PNG's
gamma and primaries. Matrices and curves: IEC 61966-2-1 (sRGB), SMPTE EG 432-1 (Display P3), ITU-R BT.2020, BT.2100 (PQ
and HLG), BT.2408 (203 cd/m2 is white). Other white points are brought to D65 by Bradford's method (ICC.1:2022, E).
"""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms

Array = NDArray[np.float64]
Rgb = NDArray[np.uint8]
Chromaticities = tuple[float, float, float, float, float, float, float, float]

#: White, red, green, blue: x and y of each.
_D65 = (0.3127, 0.329)
_BT709: Chromaticities = (*_D65, 0.64, 0.33, 0.3, 0.6, 0.15, 0.06)
_P3: Chromaticities = (*_D65, 0.68, 0.32, 0.265, 0.69, 0.15, 0.06)
#: Code points of primaries (H.273, table 2) with a name for people.
_PRIMARIES: Mapping[int, tuple[str, Chromaticities]] = {
    1: ("BT.709", _BT709),
    5: ("BT.601 (625 lines)", (*_D65, 0.64, 0.33, 0.29, 0.6, 0.15, 0.06)),
    6: ("BT.601 (525 lines)", (*_D65, 0.63, 0.34, 0.31, 0.595, 0.155, 0.07)),
    9: ("BT.2020", (*_D65, 0.708, 0.292, 0.17, 0.797, 0.131, 0.046)),
    11: ("DCI-P3", (0.314, 0.351, 0.68, 0.32, 0.265, 0.69, 0.15, 0.06)),
    12: ("Display P3", _P3),
}
_PQ, _HLG = 16, 18
#: Luminance of white paper in HDR pictures, and PQ's largest, in cd/m2; HLG's share of its largest.
_WHITE_NITS, _PQ_NITS, _HLG_WHITE = 203.0, 10_000.0, 0.75
#: Nothing changes by more than this many levels: then the file says sRGB in its own words.
_SAME_LEVELS = 1
#: libpng's, and everybody's, way of writing sRGB's 1/2.2.
_USUAL_GAMMA = 45455
#: Rows turned at a time: the arithmetic takes 24 bytes a pixel and channel.
_ROWS = 128
_BRADFORD = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])


@dataclass(frozen=True)
class Said:
    """What a file says of its colours: one of them, or nothing, which means sRGB.

    ``icc`` is a profile; ``points`` are H.273's numbers of primaries and transfer; ``gamma`` is the exponent that a
    PNG's light was stored with, ``primaries`` its chromaticities.
    """

    icc: bytes | None = None
    points: tuple[int, int] | None = None
    gamma: float | None = None
    primaries: Chromaticities | None = None


def said_by_png(chunks: Mapping[bytes, bytes], most: int = 1 << 22) -> Said:
    """What a PNG's chunks say, by the one that counts most: cICP, iCCP, sRGB, gAMA and cHRM (third edition, 4.3).

    A profile that does not unpack, or to more than ``most`` bytes, says nothing.
    """
    if len(chunks.get(b"cICP", b"")) == 4:
        return Said(points=(chunks[b"cICP"][0], chunks[b"cICP"][1]))
    if b"iCCP" in chunks:
        inflater = zlib.decompressobj()
        try:
            profile = inflater.decompress(chunks[b"iCCP"].partition(b"\0")[2][1:], most)
        except zlib.error:
            profile = b""
        return Said(icc=profile if inflater.eof else b"")
    if b"sRGB" in chunks:
        return Said()
    gamma = primaries = None
    if len(chunks.get(b"gAMA", b"")) == 4:
        (number,) = struct.unpack(">I", chunks[b"gAMA"])
        gamma = number / 100_000 if 1_000 <= number <= 1_000_000 and number != _USUAL_GAMMA else None
    if len(chunks.get(b"cHRM", b"")) == 32:
        stated = tuple(value / 100_000 for value in struct.unpack(">8I", chunks[b"cHRM"]))
        primaries = stated[0:8] if _is_sound(stated) else None
    return Said(gamma=gamma, primaries=primaries)


def as_srgb(image: Image.Image, said: Said) -> tuple[Image.Image, str | None]:
    """A picture of mode L, LA, RGB, RGBA or CMYK as RGB or RGBA in sRGB, and what was done to its colours.

    None where nothing was. A profile that cannot be used is passed over, and that is said.
    """
    if said.icc is not None:
        return _by_profile(image, said.icc)
    plain = image.convert("RGBA" if "A" in image.getbands() else "RGB")
    if said.points is not None:
        return _by_points(plain, *said.points)
    if said.gamma is None and said.primaries is None:
        return plain, None
    gamma = said.gamma
    curve = _srgb_light if gamma is None else (lambda levels: levels ** (1 / gamma))
    turned = _turned(plain, curve, _to_srgb(said.primaries or _BT709))
    if _is_same(plain, turned):
        return plain, None
    words = [f"gamma {gamma:.4g}"] if gamma else []
    words += ["its own primaries"] if said.primaries and not np.allclose(said.primaries, _BT709, atol=2e-3) else []
    return turned, f"{' and '.join(words) or 'gamma and primaries'} turned into sRGB"


# -- profiles ------------------------------------------------------------------------------------------------------


def _by_profile(image: Image.Image, icc: bytes) -> tuple[Image.Image, str | None]:
    alpha = image.getchannel("A") if "A" in image.getbands() else None
    bare = image.convert({"LA": "L", "RGBA": "RGB"}.get(image.mode, image.mode))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            profile = ImageCms.ImageCmsProfile(io.BytesIO(icc))
            space = profile.profile.xcolor_space.strip()
            bare = bare.convert("RGB") if space == "RGB" and bare.mode == "L" else bare
            if space != {"L": "GRAY"}.get(bare.mode, bare.mode):
                plain = bare.convert("RGB")
                return _with(plain, alpha), "a colour profile for other kinds of picture passed over"
            transform = ImageCms.buildTransform(
                profile,
                ImageCms.createProfile("sRGB"),
                bare.mode,
                "RGB",
                ImageCms.Intent.RELATIVE_COLORIMETRIC,
                ImageCms.Flags.BLACKPOINTCOMPENSATION,
            )
            turned = ImageCms.applyTransform(bare, transform)
            named = ImageCms.getProfileDescription(profile).strip()
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return _with(bare.convert("RGB"), alpha), "a colour profile that cannot be read passed over"
    if turned is None:  # only of transforms in place
        return _with(bare.convert("RGB"), alpha), None
    plain = bare.convert("RGB")
    if bare.mode != "CMYK" and _is_same(plain, turned):
        return _with(plain, alpha), None
    name = "".join(letter for letter in named if letter.isprintable())[:60] or "a nameless colour profile"
    return _with(turned, alpha), f"{name} turned into sRGB"


def _with(rgb: Image.Image, alpha: Image.Image | None) -> Image.Image:
    if alpha is None:
        return rgb
    whole = rgb.convert("RGBA")
    whole.putalpha(alpha)
    return whole


# -- code points ---------------------------------------------------------------------------------------------------


def _by_points(image: Image.Image, primaries: int, transfer: int) -> tuple[Image.Image, str | None]:
    light = _CURVES.get(transfer)
    if primaries not in _PRIMARIES or light is None:
        return image, f"colours by numbers that mean nothing here ({primaries}, {transfer}) taken for sRGB"
    name, place = _PRIMARIES[primaries]
    turned = _turned(image, light, _to_srgb(place))
    if _is_same(image, turned):
        return image, None
    if transfer in (_PQ, _HLG):
        hdr = "PQ" if transfer == _PQ else "HLG"
        return (
            turned,
            f"{name} with high dynamic range ({hdr}) turned into sRGB; what is brighter than white was cut off",
        )
    return turned, f"{name} turned into sRGB"


def _srgb_light(levels: Array) -> Array:
    return np.where(levels <= 0.04045, levels / 12.92, ((levels + 0.055) / 1.055) ** 2.4)


def _pq_light(levels: Array) -> Array:
    """BT.2100, table 4: the share of paper white."""
    root = levels ** (1 / 78.84375)
    nits = _PQ_NITS * (np.maximum(root - 0.8359375, 0) / (18.8515625 - 18.6875 * root)) ** (1 / 0.1593017578125)
    return np.asarray(nits / _WHITE_NITS)


def _hlg_scene(levels: Array) -> Array:
    """BT.2100, table 5."""
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    return np.where(levels <= 0.5, levels**2 / 3, (np.exp((levels - c) / a) + b) / 12)


def _hlg_light(levels: Array) -> Array:
    """The share of paper white, on a display of 1,000 cd/m2 (its system gamma is 1.2, on each channel)."""
    white = float(_hlg_scene(np.array(_HLG_WHITE)))
    return np.asarray((_hlg_scene(levels) / white) ** 1.2)


#: H.273, table 3. What was filmed for televisions (1, 6, 14, 15) is looked at as sRGB is.
_CURVES: Mapping[int, Callable[[Array], Array]] = {
    **dict.fromkeys((1, 2, 6, 13, 14, 15), _srgb_light),
    4: lambda levels: levels**2.2,
    5: lambda levels: levels**2.8,
    8: lambda levels: levels,
    _PQ: _pq_light,
    _HLG: _hlg_light,
}

# -- arithmetic ----------------------------------------------------------------------------------------------------


def _is_sound(stated: tuple[float, ...]) -> bool:
    """Whether chromaticities span a triangle around their white."""
    if any(not 0 <= value <= 1 for value in stated) or not all(stated[1::2]):
        return False
    try:
        gains = np.linalg.solve(_columns(stated), _xyz(*stated[:2]))
    except np.linalg.LinAlgError:
        return False
    return bool(np.isfinite(gains).all() and (gains > 1e-3).all() and np.linalg.cond(_columns(stated)) < 1e3)


def _xyz(x: float, y: float) -> Array:
    return np.array([x / y, 1.0, (1 - x - y) / y])


def _columns(stated: tuple[float, ...]) -> Array:
    return np.stack([_xyz(*stated[at : at + 2]) for at in (2, 4, 6)], axis=1)


def _to_xyz(stated: Chromaticities) -> Array:
    """(3, 3): linear RGB to XYZ under D65."""
    white = _xyz(*stated[:2])
    columns = _columns(stated)
    matrix = columns * np.linalg.solve(columns, white)
    gain = (_BRADFORD @ _xyz(*_D65)) / (_BRADFORD @ white)
    return np.asarray(np.linalg.inv(_BRADFORD) @ np.diag(gain) @ _BRADFORD @ matrix)


def _to_srgb(stated: Chromaticities) -> Array:
    return np.asarray(np.linalg.inv(_to_xyz(_BT709)) @ _to_xyz(stated))


def _turned(image: Image.Image, light: Callable[[Array], Array], matrix: Array) -> Image.Image:
    """The picture with its levels made light by ``light``, other primaries, and sRGB's curve; alpha stays."""
    levels = np.array(image)
    table = light(np.arange(256) / 255)
    for start in range(0, len(levels), _ROWS):
        rows = table[levels[start : start + _ROWS, :, :3]] @ matrix.T
        rows = np.clip(rows, 0, 1)
        coded = np.where(rows <= 0.0031308, 12.92 * rows, 1.055 * rows ** (1 / 2.4) - 0.055)
        levels[start : start + _ROWS, :, :3] = np.rint(coded * 255)
    return Image.fromarray(levels)


def _is_same(one: Image.Image, other: Image.Image) -> bool:
    pixels, others = np.asarray(one), np.asarray(other)
    return all(
        int(np.abs(pixels[row : row + _ROWS].astype(np.int16) - others[row : row + _ROWS]).max()) <= _SAME_LEVELS
        for row in range(0, len(pixels), _ROWS)
    )
