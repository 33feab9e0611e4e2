"""Judge a NumPy array by its header: numbers of one size, nothing that would be run. No pickle is ever read.

Layout: NumPy Enhancement Proposal 1 (the .npy format). The header is Python's text of a dictionary; it is matched,
never evaluated.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from meshdrop.models.files.limits import CaptureLimits
from meshdrop.models.files.png import Kind
from meshdrop.models.files.structure import FileBytes, FlawError, UnfinishedError, begins, check_size

_MAGIC = b"\x93NUMPY"
_MOST_HEADER = 1024
#: Little or big endian, or one byte; whole or floating-point numbers.
_NUMBER = re.compile(r"'descr': '([<>|=]?[uif](1|2|4|8))'")
_ORDER = re.compile(r"'fortran_order': (True|False)")
_SHAPE = re.compile(r"'shape': \((\d{1,9}), (\d{1,9})(?:, 1)?,?\)")
_FIX = "Save one array of depth, (height, width) of 16- or 32-bit numbers: numpy.save, with allow_pickle=False."


@dataclass(frozen=True)
class NpyInfo:
    """Size in pixels, NumPy's word for the numbers, whether columns come first, and where the numbers begin."""

    width: int
    height: int
    dtype: str
    columns_first: bool
    start: int
    orientation: int = 1


def walk(source: FileBytes, _: Kind | None, limits: CaptureLimits) -> NpyInfo:
    """An array of (height, width), or (height, width, 1), plain numbers, and nothing behind it."""
    head = source.at(0, 12)
    if begins(head, _MAGIC) and not begins(head[6:8], b"\1\0", b"\2\0", b"\3\0"):
        raise FlawError("depth_format", "The array is of a version that is not read.", _FIX)
    if not begins(head, _MAGIC):
        raise FlawError("not_png", "The file is named like a NumPy array, but is none.", _FIX)
    if len(head) < 12:
        raise UnfinishedError()
    wide = 2 if head[6] == 1 else 4
    length, start = int.from_bytes(head[8 : 8 + wide], "little"), 8 + wide
    if length > _MOST_HEADER:
        raise FlawError("depth_format", "The array's header is too long for plain numbers.", _FIX)
    text = source.exactly(start, length).decode("latin-1")
    if not text.endswith("\n"):
        raise UnfinishedError()
    number, order, shape = _NUMBER.search(text), _ORDER.search(text), _SHAPE.search(text)
    if number is None or order is None or shape is None:
        raise FlawError("depth_format", "The file is no array of (height, width) plain numbers.", _FIX)
    height, width = int(shape[1]), int(shape[2])
    check_size(width, height, limits)
    due = start + length + math.prod((height, width, int(number[2])))
    if source.size < due:
        raise UnfinishedError()
    if source.size > due:
        raise FlawError("trailing", f"{source.size - due:,} bytes follow the end of the array.", _FIX)
    return NpyInfo(width, height, number[1], order[1] == "True", start + length)
