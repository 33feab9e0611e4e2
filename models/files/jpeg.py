"""Is this JPEG file what it claims to be, from its first byte to its last? Standard library only; no pixel is decoded.

Checked before any decoder runs: an ordinary 8-bit picture (baseline or progressive, Huffman coded; grey, colour or
CMYK) of a size that may be, whose segments lie within the file up to its end. What phones and cameras write behind that
end (a second picture, a gain map, a film) is no part of it and reaches no decoder. Markers: ITU-T T.81, annex B.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, replace

from meshdrop.models.files.exif import orientation
from meshdrop.models.files.limits import CaptureLimits
from meshdrop.models.files.problem import Problem
from meshdrop.models.files.wholeness import HOLE, State

SIGNATURE = b"\xff\xd8\xff"
EOI = b"\xff\xd9"
#: Ordinary pictures: baseline, extended and progressive, all Huffman coded.
_FRAMES = {0xC0: "baseline", 0xC1: "extended", 0xC2: "progressive"}
_OTHER_FRAMES = {*range(0xC3, 0xD0)} - {0xC4, 0xC8, 0xCC}
_SOS, _EOI = 0xDA, 0xD9
#: Markers without a length: TEM, RST0 to RST7, SOI.
_BARE = {0x01, *range(0xD0, 0xD9)}
#: APP1 to APP13, APP15 and COM.
_METADATA = {*range(0xE1, 0xF0), 0xFE} - {0xEE}
_APP1, _APP2 = 0xE1, 0xE2
_EXIF, _ICC = b"Exif\0\0", b"ICC_PROFILE\0"
_CHANNELS = (1, 3, 4)
#: A progressive picture of an ordinary program has about ten scans; each makes a decoder go over the whole picture.
_MOST_SCANS = 64
_MOST_SEGMENTS = 4096
#: What ends a run of fill bytes, and what ends a scan's pixels: FF 00 and restart markers belong to them.
_NO_FILL = re.compile(rb"[^\xff]")
_NEXT_MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")
#: Bytes searched at a time: other threads have to wait for the end of one search.
_STEP = 1 << 20

_COPY_AGAIN = "Copy the file again."
_SAVE_AGAIN = "Save it as an ordinary 8-bit RGB JPEG or PNG."


@dataclass(frozen=True)
class JpegInfo:
    """What the headers say: size in pixels, channels (1 grey, 3 colour, 4 CMYK), EXIF's number of the turn that brings
    the picture upright, and how many bytes lie behind its end.
    """

    width: int
    height: int
    channels: int = 3
    orientation: int = 1
    behind: int = 0


class _FlawError(Exception):
    """Ends the walk: (code, what is wrong, what to do)."""

    def __init__(self, code: str, message: str, fix: str) -> None:
        super().__init__(message)
        self.code, self.message, self.fix = code, message, fix


def is_jpeg_name(name: str) -> bool:
    """Whether a file's name promises a JPEG."""
    return name.casefold().endswith((".jpg", ".jpeg"))


def tail_is_complete(file: int) -> bool:
    """Whether an open file looks like a wholly written JPEG: the right start, and the end marker as its last bytes.

    Cheap enough for every scan. ``file`` is a descriptor whose position is left alone. Raises ``OSError``.
    """
    size = os.fstat(file).st_size
    return os.pread(file, 3, 0) == SIGNATURE and os.pread(file, 2, max(size - 2, 0)) == EOI


def is_awaited(descriptor: int, limits: CaptureLimits) -> bool:
    """Whether a picture may still be arriving. It is looked through for its end: phones write notes behind it."""
    head = os.pread(descriptor, 3, 0)
    if len(head) < 3 or (head != SIGNATURE and SIGNATURE.startswith(head.rstrip(b"\0"))):
        return True
    if head != SIGNATURE or os.fstat(descriptor).st_size > limits.max_file_bytes:
        return False
    return not ends_early(os.pread(descriptor, limits.max_file_bytes, 0))


def state(content: bytes, limits: CaptureLimits) -> State:
    """Whether a file that ends like a JPEG is one throughout. It has no checksums: its segments must lie one behind the
    other up to its end, and its pixels never hold so many zeros in a row.
    """
    if isinstance(check_jpeg(content, limits), JpegInfo):
        return "hole" if HOLE in pixels_only(content) else "whole"  # notes of cameras are full of zeros
    return "hole" if HOLE in content else "damaged"


def check_jpeg(content: bytes, limits: CaptureLimits, file: str | None = None) -> JpegInfo | Problem:
    """The size of a flawless JPEG photograph, or the first thing that is wrong with it. Never raises on content."""
    try:
        return _walk(content, limits)
    except _FlawError as flaw:
        return Problem(flaw.code, file, flaw.message, flaw.fix)


def ends_early(content: bytes) -> bool:
    """Whether the picture reaches its end before the file does."""
    try:
        return _walk(content, CaptureLimits(min_side=1, max_side=1 << 16, max_pixels=1 << 32)).behind > 0
    except _FlawError:
        return False


def pixels_only(content: bytes) -> bytes:
    """A JPEG that passed ``check_jpeg`` without comments, application data and whatever follows its end, so that no
    decoder parses those. Kept are JFIF's and Adobe's (APP0, APP14), which say how colours are coded.
    """
    kept, position = [content[:2]], 2
    while position < len(content):
        start = position
        marker, position = _marker(content, position)
        if marker == _EOI:
            return b"".join([*kept, EOI])
        if marker not in _BARE:
            position += _length(content, position)
        if marker == _SOS:
            position = _end_of_scan(content, position)
        if marker not in _METADATA:
            kept.append(content[start:position])
    return b"".join(kept)


def colour_profile(content: bytes) -> bytes | None:
    """The ICC profile of a JPEG that passed ``check_jpeg``, put together from its segments; None without a whole one.

    Each segment has its number and how many there are (ICC.1:2022, annex B.4).
    """
    parts: dict[int, bytes] = {}
    count, position = 0, 2
    while position < len(content):
        marker, position = _marker(content, position)
        if marker in (_SOS, _EOI):
            break
        if marker in _BARE:
            continue
        end = position + _length(content, position)
        body = content[position + 2 : end]
        if marker == _APP2 and body.startswith(_ICC) and len(body) > len(_ICC) + 2:
            number, count = body[len(_ICC)], body[len(_ICC) + 1]
            parts.setdefault(number, body[len(_ICC) + 2 :])
        position = end
    whole = count > 0 and set(parts) == set(range(1, count + 1))
    return b"".join(parts[number] for number in sorted(parts)) if whole else None


def _walk(content: bytes, limits: CaptureLimits) -> JpegInfo:
    if not content.startswith(SIGNATURE):
        raise _FlawError("not_png", "The file is named like a JPEG, but is none.", "Save it as PNG or JPEG.")
    position, scans, turn = 2, 0, 1
    info: JpegInfo | None = None
    for _ in range(_MOST_SEGMENTS):
        marker, position = _marker(content, position)
        if marker == _EOI:
            if info is None or not scans:
                raise _FlawError("jpeg", "The file holds no picture.", _COPY_AGAIN)
            return replace(info, orientation=turn, behind=len(content) - position)
        if marker in _BARE:
            continue
        end = position + _length(content, position)
        if marker in _FRAMES:
            if info is not None:
                raise _FlawError("jpeg", "The file holds two frame headers.", _SAVE_AGAIN)
            info = _frame(content[position + 2 : end], limits)
        elif marker in _OTHER_FRAMES:
            raise _FlawError("pixel_format", "The picture is coded as lossless or arithmetic JPEG.", _SAVE_AGAIN)
        elif marker == _APP1 and turn == 1 and content.startswith(_EXIF, position + 2):
            turn = orientation(content[position + 2 : end])
        elif marker == _SOS:
            scans += 1
            if info is None or scans > _MOST_SCANS:
                said = "has pixels before its header" if info is None else f"has more than {_MOST_SCANS} scans"
                raise _FlawError("jpeg", f"The picture {said}.", _SAVE_AGAIN)
            end = _end_of_scan(content, end)
        position = end
    raise _FlawError("chunks", f"The file has more than {_MOST_SEGMENTS} segments.", _SAVE_AGAIN)


def _marker(content: bytes, position: int) -> tuple[int, int]:
    """(marker code, where its segment's length stands); fill bytes are passed over."""
    if position < len(content) and content[position] != 0xFF:
        raise _FlawError("jpeg", f"There is no marker at byte {position:,}, where one must be.", _COPY_AGAIN)
    position = _first(_NO_FILL, content, position)
    if position < 0:
        raise _FlawError("jpeg", "The file stops in the middle.", _COPY_AGAIN)
    return content[position], position + 1


def _length(content: bytes, position: int) -> int:
    length = int.from_bytes(content[position : position + 2], "big")
    if length < 2 or position + length > len(content):
        raise _FlawError("jpeg", f"A segment at byte {position:,} reaches past the end of the file.", _COPY_AGAIN)
    return length


def _end_of_scan(content: bytes, position: int) -> int:
    """Where the next marker after a scan's pixels stands."""
    position = _first(_NEXT_MARKER, content, position)
    if position < 0:
        raise _FlawError("jpeg", "The file stops in the middle of the picture.", _COPY_AGAIN)
    return position


def _first(pattern: re.Pattern[bytes], content: bytes, position: int) -> int:
    """Where the pattern, of at most two bytes, is first found from ``position`` on; -1 where it is not."""
    for start in range(position, len(content), _STEP):
        if (found := pattern.search(content, start, start + _STEP + 1)) is not None:
            return found.start()
    return -1


def _frame(header: bytes, limits: CaptureLimits) -> JpegInfo:
    if len(header) < 6 or len(header) != 6 + 3 * header[5]:
        raise _FlawError("jpeg", "The frame header has a wrong length.", _COPY_AGAIN)
    bits, channels = header[0], header[5]
    height, width = int.from_bytes(header[1:3], "big"), int.from_bytes(header[3:5], "big")
    if bits != 8 or channels not in _CHANNELS:
        colour = {1: "greyscale", 3: "colour", 4: "CMYK"}.get(channels, f"{channels}-channel")
        raise _FlawError("pixel_format", f"The picture is {bits}-bit {colour} JPEG.", _SAVE_AGAIN)
    low, high = limits.min_side, limits.max_side
    if not (low <= width <= high and low <= height <= high) or width * height > limits.max_pixels:
        allowed = f"{low} to {high} a side and {limits.max_pixels // 10**6} million in all"
        raise _FlawError(
            "dims",
            f"The picture is {width} x {height} pixels; {allowed} are allowed.",
            "Send pictures of another size, with intrinsics to match.",
        )
    return JpegInfo(width, height, channels)
