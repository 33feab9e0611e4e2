"""The table of picture files that are read: how each is known, judged and decoded. Standard library only.

A new kind is a judge like ``png.py``, a decoder like those of ``models/capture/decoding.py``, and an entry here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from meshdrop.models.files import boxes, exr, jpeg, npy, png, tiff, webp
from meshdrop.models.files.limits import CaptureLimits
from meshdrop.models.files.png import Kind
from meshdrop.models.files.problem import Problem
from meshdrop.models.files.structure import Judge, PictureInfo, Walk
from meshdrop.models.files.wholeness import State


@dataclass(frozen=True)
class PictureKind:
    """One kind of file. ``suffixes`` are without dot, in lower case; ``roles`` are what it may hold.

    Three are asked while it may still be arriving. ``is_complete`` (descriptor): does it look wholly written? At every
    scan, so by a few reads. ``is_awaited`` (descriptor, limits): if not, is its end still to come, or is it there and
    wrong? ``state`` (content, limits): now that all of it can be read, is it whole? No answer may depend on a decoder.

    ``check`` (content, role, limits, name) is what a decoder is protected by; it never raises. ``decode`` is
    "package.module:function" of (content, info, role) that gives ``models.capture.decoding.Pixels``. ``undecodable`` is
    the code of what it cannot.
    """

    name: str
    suffixes: tuple[str, ...]
    roles: frozenset[Kind]
    is_complete: Callable[[int], bool]
    is_awaited: Callable[[int, CaptureLimits], bool]
    state: Callable[[bytes, CaptureLimits], State]
    check: Callable[[bytes, Kind, CaptureLimits, str | None], PictureInfo | Problem]
    decode: str
    undecodable: str


def _check_jpeg(content: bytes, _: Kind, limits: CaptureLimits, file: str | None) -> PictureInfo | Problem:
    return jpeg.check_jpeg(content, limits, file)


PNG = PictureKind(
    "PNG",
    ("png",),
    frozenset({"image", "depth", "mask"}),
    png.tail_is_complete,
    png.is_awaited,
    png.state,
    png.check_png,
    "meshdrop.models.capture.decoding:png",
    "png_decode",
)
JPEG = PictureKind(
    "JPEG",
    ("jpg", "jpeg"),
    frozenset({"image", "mask"}),
    jpeg.tail_is_complete,
    jpeg.is_awaited,
    jpeg.state,
    _check_jpeg,
    "meshdrop.models.capture.decoding:jpeg",
    "jpeg",
)


def _structured(
    name: str, suffixes: tuple[str, ...], roles: frozenset[Kind], walk: Walk, decoder: str, *, compressed: bool = True
) -> PictureKind:
    """A kind whose container says itself how long it is."""
    judge = Judge(walk, compressed)
    place = f"meshdrop.models.capture.decoding:{decoder}"
    return PictureKind(
        name, suffixes, roles, judge.is_complete, judge.is_awaited, judge.state, judge.check, place, "picture"
    )


_IMAGE: frozenset[Kind] = frozenset({"image"})
_DEPTH: frozenset[Kind] = frozenset({"depth"})
TIFF = _structured("TIFF", ("tif", "tiff"), _IMAGE | _DEPTH | {"mask"}, tiff.walk, "tiff", compressed=False)
WEBP = _structured("WebP", ("webp",), _IMAGE | {"mask"}, webp.walk, "webp")
AVIF = _structured("AVIF", ("avif",), _IMAGE, boxes.walk, "avif")
HEIC = _structured("HEIC", ("heic", "heif"), _IMAGE, boxes.walk_heic, "heic")
RAW = _structured("raw photograph", ("dng", "cr2", "nef", "arw"), _IMAGE, tiff.walk_raw, "raw", compressed=False)
EXR = _structured("OpenEXR", ("exr",), _DEPTH, exr.walk, "exr", compressed=False)
NPY = _structured("NumPy array", ("npy",), _DEPTH, npy.walk, "npy", compressed=False)
#: Where several files could be the same picture, the first kind of this list is taken.
KINDS = (PNG, TIFF, NPY, EXR, JPEG, WEBP, AVIF, HEIC, RAW)


def kind_of(name: str) -> PictureKind | None:
    """What a file's name promises; None for what is no picture that is read."""
    folded = name.casefold()
    return next((kind for kind in KINDS if folded.endswith(tuple(f".{suffix}" for suffix in kind.suffixes))), None)


def judge_of(name: str, role: Kind) -> PictureKind:
    """Who judges a file that is to hold ``role``: PNG's judge wherever no other may, and it says what is wrong."""
    kind = kind_of(name)
    return kind if kind is not None and role in kind.roles else PNG


def suffixes(role: Kind) -> tuple[str, ...]:
    """Endings, without dot, that a file may have that holds ``role``."""
    return tuple(suffix for kind in KINDS if role in kind.roles for suffix in kind.suffixes)
