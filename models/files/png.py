"""Judge a PNG by its bytes before any image decoder sees it. Standard library only.

Stricter than decoders are: Pillow accepts files without IEND, with wrong checksums, with too few or too many rows, and
with a zip archive behind the picture. Chunk layout and checksums: PNG specification (W3C, third edition) sections 5
and 11; row lengths and filter bytes: sections 7 and 9.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from meshdrop.models.files.exif import orientation
from meshdrop.models.files.limits import CaptureLimits
from meshdrop.models.files.problem import Problem
from meshdrop.models.files.wholeness import HOLE, State

Kind = Literal["image", "depth", "mask"]

SIGNATURE = b"\x89PNG\r\n\x1a\n"
#: Length 0, type IEND, CRC: the last twelve bytes of every whole PNG.
IEND = b"\x00\x00\x00\x00IEND\xaeB`\x82"
#: Signature, IHDR, an empty IDAT, IEND: no PNG is shorter.
SMALLEST_BYTES = 67

_GREY, _RGB, _PALETTE, _GREY_ALPHA, _RGBA = 0, 2, 3, 4, 6
_CHANNELS = {_GREY: 1, _RGB: 3, _PALETTE: 1, _GREY_ALPHA: 2, _RGBA: 4}
_BIT_DEPTHS = {_GREY: (1, 2, 4, 8, 16), _RGB: (8, 16), _PALETTE: (1, 2, 4, 8), _GREY_ALPHA: (8, 16), _RGBA: (8, 16)}
#: (bit depth, colour type) that each kind of picture may have.
ALLOWED_FORMATS: dict[Kind, frozenset[tuple[int, int]]] = {
    "image": frozenset((bits, colour) for colour, all_bits in _BIT_DEPTHS.items() for bits in all_bits)
    - {(bits, _GREY) for bits in (1, 2, 4)},
    "depth": frozenset({(16, _GREY)}),
    "mask": frozenset((bits, colour) for colour, all_bits in _BIT_DEPTHS.items() for bits in all_bits),
}
FORMATS_IN_WORDS: dict[Kind, str] = {
    "image": "8- or 16-bit RGB, RGBA or greyscale, or have a palette",
    "depth": "16-bit greyscale",
    "mask": "any PNG",
}
#: What a decoder needs besides the pixels where these are numbers of colours.
_PALETTE_CHUNKS = (b"PLTE", b"tRNS")
#: What says which colours the pixels mean, in the order in which the first one counts (section 4.3 of the third
#: edition): code points, ICC profile, sRGB, and gamma with primaries.
COLOUR_CHUNKS = (b"cICP", b"iCCP", b"sRGB", b"gAMA", b"cHRM")
_MOST_COLOURS = 256
_ANIMATION = (b"acTL", b"fcTL", b"fdAT")
#: Bytes inflated and compressed bytes fed at a time: what is left unconsumed is copied, so both stay small.
_INFLATE_STEP = 1 << 18
_FEED_STEP = 1 << 16


@dataclass(frozen=True)
class PngInfo:
    """What the header says: size in pixels, bits per channel, channels, whether the last channel is alpha, whether
    pixels are numbers of a palette's colours, and EXIF's number of the turn that brings the picture upright.
    """

    width: int
    height: int
    bit_depth: int
    channels: int
    has_alpha: bool
    has_palette: bool = False
    orientation: int = 1


@dataclass(frozen=True)
class _Header:
    width: int
    height: int
    bit_depth: int
    colour: int
    interlaced: bool

    @property
    def row_bytes(self) -> int:
        """Bytes of one row with its filter byte."""
        return 1 + (self.width * self.bit_depth * _CHANNELS[self.colour] + 7) // 8

    @property
    def in_words(self) -> str:
        names = {_GREY: "greyscale", _RGB: "RGB", _PALETTE: "palette", _GREY_ALPHA: "grey+alpha", _RGBA: "RGBA"}
        return f"{self.bit_depth}-bit {names[self.colour]}"


class _FlawError(Exception):
    """Ends the walk: (code, what is wrong, what to do)."""

    def __init__(self, code: str, message: str, fix: str) -> None:
        super().__init__(message)
        self.code, self.message, self.fix = code, message, fix


_COPY_AGAIN = "Copy the file again from the rig."
_EXPORT_AGAIN = "Export the picture again with an ordinary PNG writer."


def tail_is_complete(file: int) -> bool:
    """Whether an open file looks like a wholly written PNG: right start, a header there, IEND as its last bytes.

    Cheap enough for every scan: one ``fstat`` and two reads, at most 28 bytes. It does not tell good from bad, only
    written from still being written; a preallocated file whose end is zeros is told apart. A damaged header counts as
    written: waiting would not mend it, and the check names the flaw.
    ``file`` is a descriptor whose position is left alone. Raises ``OSError`` when it cannot be read.
    """
    size = os.fstat(file).st_size
    if size < SMALLEST_BYTES:
        return False
    head = os.pread(file, 16, 0)
    if not head.startswith(SIGNATURE) or not any(head[8:]):
        return False
    return os.pread(file, len(IEND), size - len(IEND)) == IEND


def is_awaited(descriptor: int, _: CaptureLimits) -> bool:
    """Whether a picture may still be arriving: empty, zero-filled ahead of its content, or a PNG without its end.

    A file that is whole but wrong (no PNG at all, or with something after its end) is not awaited: it goes on to the
    check that refuses it.
    """
    if tail_is_complete(descriptor):
        return False
    head = os.pread(descriptor, len(SIGNATURE), 0)
    # the signature has no zeros: what stands before them has been written, and be it only a part of it
    if len(head) < len(SIGNATURE) or (head != SIGNATURE and SIGNATURE.startswith(head.rstrip(b"\0"))):
        return True
    return head == SIGNATURE and not _ends_early(descriptor)


def _ends_early(descriptor: int, most_chunks: int = 4096) -> bool:
    """Whether the chunks of a PNG reach IEND before the file ends."""
    size, position = os.fstat(descriptor).st_size, len(SIGNATURE)
    for _ in range(most_chunks):
        header = os.pread(descriptor, 8, position)
        if len(header) < 8:
            return False
        position += 12 + int.from_bytes(header[:4], "big")
        if header[4:] == b"IEND":
            return position < size
    return False


def state(content: bytes, limits: CaptureLimits) -> State:
    """Whether a file that ends like a PNG is one throughout: ``damaged`` when a checksum fails. One with too many
    chunks counts as whole: it is refused for that.
    """
    if _is_sound(memoryview(content), limits.max_png_chunks):
        return "whole"
    return "hole" if HOLE in content else "damaged"


def _is_sound(content: memoryview, most_chunks: int) -> bool:
    position = len(SIGNATURE)
    for _ in range(most_chunks + 2):  # IEND is not counted, and one more is refused
        if position + 12 > len(content):
            return False
        end = position + 12 + int.from_bytes(content[position : position + 4], "big")
        if end > len(content):
            return False
        if zlib.crc32(content[position + 4 : end - 4]) != int.from_bytes(content[end - 4 : end], "big"):
            return False
        if bytes(content[position + 4 : position + 8]) == b"IEND":
            return True
        position = end
    return True


def check_png(content: bytes, kind: Kind, limits: CaptureLimits, file: str | None = None) -> PngInfo | Problem:
    """The header of a flawless PNG that ``kind`` may have, or the first thing that is wrong with it.

    Sizes are refused before anything is inflated; inflating streams in steps of 256 KiB and stops at the byte where
    the picture should end, so memory stays small whatever the file claims. Never raises on content.
    """
    try:
        header, turn = _walk(memoryview(content), kind, limits)
    except _FlawError as flaw:
        return Problem(flaw.code, file, flaw.message, flaw.fix)
    has_alpha = header.colour in (_GREY_ALPHA, _RGBA)
    channels = _CHANNELS[header.colour]
    palette = header.colour == _PALETTE
    return PngInfo(header.width, header.height, header.bit_depth, channels, has_alpha, palette, turn)


def pixels_only(content: bytes) -> bytes:
    """A PNG that passed ``check_png`` without its metadata: no decoder needs to be trusted with more than pixels, and
    with the palette that they are numbers of.
    """
    kept: list[bytes] = [SIGNATURE]
    palette = content[25] == _PALETTE
    for name, chunk in _whole_chunks(content):
        if name in (b"IHDR", b"IDAT", b"IEND") or (palette and name in _PALETTE_CHUNKS):
            kept.append(chunk)
    return b"".join(kept)


def colour_chunks(content: bytes) -> dict[bytes, bytes]:
    """What a PNG that passed ``check_png`` says of its colours: the body of the first of each of ``COLOUR_CHUNKS``."""
    found: dict[bytes, bytes] = {}
    for name, chunk in _whole_chunks(content):
        if name == b"IDAT":
            break
        if name in COLOUR_CHUNKS:
            found.setdefault(name, chunk[8:-4])
    return found


def _whole_chunks(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    """(name, chunk with its length and checksum) of a PNG that passed ``check_png``."""
    position = len(SIGNATURE)
    while position < len(content):
        end = position + 12 + int.from_bytes(content[position : position + 4], "big")
        yield content[position + 4 : position + 8], content[position:end]
        position = end


def _walk(content: memoryview, kind: Kind, limits: CaptureLimits) -> tuple[_Header, int]:
    if len(content) > limits.max_file_bytes:
        raise _FlawError(
            "too_big",
            f"The file is {len(content):,} bytes; the limit is {limits.max_file_bytes:,}.",
            "Send a smaller picture, or raise the limit in the settings.",
        )
    if bytes(content[:8]) != SIGNATURE:
        raise _FlawError("not_png", _what_it_is(bytes(content[:64])), "Save the picture as PNG.")
    header: _Header | None = None
    rows: _Rows | None = None
    pixels_over, colours, turn = False, 0, 1
    for name, body in _chunks(content, limits):
        if header is None:
            header = _read_header(name, body)
            _check_header(header, kind, limits)
            rows = _Rows(header)
        elif name == b"IHDR":
            raise _FlawError("png_struct", "The file has a second header (IHDR).", _EXPORT_AGAIN)
        elif name == b"IDAT" and rows is not None:
            if pixels_over:
                raise _FlawError("png_struct", "The pixel data (IDAT) is interrupted.", _EXPORT_AGAIN)
            if header.colour == _PALETTE and not colours:
                raise _FlawError("png_struct", "The pixels are numbers of colours, but there are none.", _EXPORT_AGAIN)
            rows.feed(body)
        else:
            pixels_over = rows is not None and rows.fed
            if name == b"PLTE":
                colours = _colours(body)
            elif name == b"eXIf":
                turn = orientation(bytes(body))
    if header is None or rows is None or not rows.fed:
        raise _FlawError("png_struct", "The file has no pixel data.", _COPY_AGAIN)
    rows.finish()
    return header, turn


def _colours(body: memoryview) -> int:
    """How many colours a palette has."""
    if not body or len(body) % 3 or len(body) > 3 * _MOST_COLOURS:
        raise _FlawError("png_struct", "The palette (PLTE) has an impossible length.", _EXPORT_AGAIN)
    return len(body) // 3


def _what_it_is(head: bytes) -> str:
    if not head.strip(b"\0"):
        return "The file is empty or starts with zeros: the copy did not finish."
    known = (
        (b"\xff\xd8\xff", "a JPEG"),
        (b"II*\0", "a TIFF"),
        (b"MM\0*", "a TIFF"),
        (b"GIF8", "a GIF"),
        (b"BM", "a BMP"),
        (b"%!PS", "PostScript"),
        (b"PK\3\4", "a zip archive"),
        (b"v/1\x01", "an OpenEXR image"),
        (b"\x93NUMPY", "a NumPy array"),
    )
    name = next((name for magic, name in known if head.startswith(magic)), None)
    return f"The file is {name}, not a PNG." if name else "The file is not a PNG."


def _chunks(content: memoryview, limits: CaptureLimits) -> Iterator[tuple[bytes, memoryview]]:
    """Chunks (type, body) between the signature and IEND, with every length, checksum and budget checked."""
    position, count, ancillary = len(SIGNATURE), 0, 0
    while True:
        if position + 12 > len(content):
            raise _FlawError("png_struct", "The file ends before its last chunk (IEND): it is cut off.", _COPY_AGAIN)
        length = int.from_bytes(content[position : position + 4], "big")
        name = bytes(content[position + 4 : position + 8])
        end = position + 12 + length
        if length > 0x7FFFFFFF or end > len(content):
            raise _FlawError("png_struct", f"The {_show(name)} chunk reaches past the end of the file.", _COPY_AGAIN)
        if not (name.isalpha() and name.isascii()):
            raise _FlawError("png_struct", f"A chunk has the impossible type {_show(name)}.", _COPY_AGAIN)
        body = content[position + 8 : end - 4]
        if zlib.crc32(content[position + 4 : end - 4]) != int.from_bytes(content[end - 4 : end], "big"):
            raise _FlawError("png_crc", f"The {_show(name)} chunk has a wrong checksum.", _COPY_AGAIN)
        if name == b"IEND":
            break
        count += 1
        if count > limits.max_png_chunks:
            raise _FlawError("chunks", f"The file has more than {limits.max_png_chunks:,} chunks.", _EXPORT_AGAIN)
        if name not in (b"IHDR", b"IDAT", b"PLTE"):
            ancillary += max(length, _inflated_size(name, bytes(body), limits.max_ancillary_bytes))
        _check_chunk(name, ancillary, limits)
        yield name, body
        position = end
    if length:
        raise _FlawError("png_struct", "The end chunk (IEND) is not empty.", _EXPORT_AGAIN)
    if end < len(content):
        rest = len(content) - end
        raise _FlawError("trailing", f"{rest:,} bytes follow the end of the picture.", _EXPORT_AGAIN)


def _check_chunk(name: bytes, ancillary: int, limits: CaptureLimits) -> None:
    """Refuse what no plain picture needs; ``ancillary`` counts the metadata so far, compressed texts inflated."""
    if name in _ANIMATION:
        raise _FlawError("pixel_format", "The file is an animated PNG.", "Save a single picture.")
    if name[:1].isupper() and name not in (b"IHDR", b"IDAT", b"PLTE"):
        raise _FlawError("png_struct", f"The file needs the unknown chunk {_show(name)}.", _EXPORT_AGAIN)
    if ancillary > limits.max_ancillary_bytes:
        raise _FlawError(
            "ancillary",
            f"Metadata (the last: {_show(name)}) takes more than {limits.max_ancillary_bytes:,} bytes.",
            "Save the picture without comments and colour profiles.",
        )


def _inflated_size(name: bytes, body: bytes, most: int) -> int:
    """Bytes in a compressed text or colour profile, counted to ``most + 1``; 0 for other or unreadable chunks.

    Nothing here uses them, but the picture is passed on, and a megabyte may hold a gigabyte.
    """
    if name in (b"zTXt", b"iCCP"):  # name, 0, method, stream
        packed = body.partition(b"\0")[2][1:]
    elif name == b"iTXt":  # name, 0, is it compressed, method, language, 0, translated name, 0, stream
        after = body.partition(b"\0")[2]
        packed = after[2:].partition(b"\0")[2].partition(b"\0")[2] if after[:1] == b"\1" else b""
    else:
        return 0
    inflater, size = zlib.decompressobj(), 0
    try:
        while packed and size <= most and not inflater.eof:
            size += len(inflater.decompress(packed, min(_INFLATE_STEP, most + 1 - size)))
            packed = inflater.unconsumed_tail
    except zlib.error:
        return size
    return size


def _read_header(name: bytes, body: memoryview) -> _Header:
    if name != b"IHDR" or len(body) != 13:
        raise _FlawError("png_struct", "The file does not start with a header (IHDR).", _EXPORT_AGAIN)
    width, height = int.from_bytes(body[:4], "big"), int.from_bytes(body[4:8], "big")
    bits, colour, compression, filtering, interlace = body[8:13]
    if bits not in _BIT_DEPTHS.get(colour, ()) or compression or filtering or interlace > 1:
        raise _FlawError("png_struct", "The header (IHDR) holds values that PNG does not know.", _EXPORT_AGAIN)
    return _Header(width, height, bits, colour, bool(interlace))


def _check_header(header: _Header, kind: Kind, limits: CaptureLimits) -> None:
    short, long = sorted((header.width, header.height))
    if short < limits.min_side or long > limits.max_side or header.width * header.height > limits.max_pixels:
        raise _FlawError(
            "dims",
            f"The picture is {header.width} x {header.height} pixels; sides may have {limits.min_side} to "
            f"{limits.max_side:,} and the whole {limits.max_pixels / 1e6:g} million.",
            "Send the picture in another size.",
        )
    if (header.bit_depth, header.colour) not in ALLOWED_FORMATS[kind]:
        raise _FlawError(*_wrong_format(header, kind))
    if header.interlaced:
        raise _FlawError("pixel_format", "The PNG is interlaced.", "Save it without interlacing (Adam7).")


def _wrong_format(header: _Header, kind: Kind) -> tuple[str, str, str]:
    if kind == "depth":
        return (
            "depth_format",
            f"The depth map is {header.in_words}; this looks like a colourised preview.",
            "Save the raw 16-bit greyscale depth.",
        )
    message = f"The {kind} is {header.in_words}; it must be {FORMATS_IN_WORDS[kind]}."
    return "pixel_format", message, f"Save it as {FORMATS_IN_WORDS[kind]}."


class _Rows:
    """Inflates IDAT to nowhere, counting bytes and looking at each row's filter byte."""

    def __init__(self, header: _Header) -> None:
        self._row_bytes = header.row_bytes
        self._due = header.row_bytes * header.height
        self._done = 0
        self._inflater = zlib.decompressobj()
        self.fed = False

    def feed(self, body: memoryview) -> None:
        """One IDAT chunk."""
        self.fed = True
        for start in range(0, len(body), _FEED_STEP):
            self._inflate(bytes(body[start : start + _FEED_STEP]))

    def _inflate(self, pending: bytes) -> None:
        while pending:
            if self._inflater.eof:
                raise _FlawError("idat_long", "Bytes follow the end of the compressed pixel data.", _EXPORT_AGAIN)
            # One byte more than is due is enough to see that there is too much.
            room = min(_INFLATE_STEP, self._due - self._done + 1)
            try:
                got = self._inflater.decompress(pending, room)
            except zlib.error:
                message = "The compressed pixel data is damaged."
                raise _FlawError("png_decode", message, _COPY_AGAIN) from None
            self._count(got)
            pending = self._inflater.unconsumed_tail or self._inflater.unused_data

    def _count(self, got: bytes) -> None:
        first = -self._done % self._row_bytes
        if got[first :: self._row_bytes].translate(None, b"\0\1\2\3\4"):
            raise _FlawError("png_decode", "A row of pixels has an unknown filter.", _COPY_AGAIN)
        self._done += len(got)
        if self._done > self._due:
            raise _FlawError("idat_long", "The file holds more pixels than its header says.", _EXPORT_AGAIN)

    def finish(self) -> None:
        """After the last IDAT: exactly the picture must have come out."""
        while not self._inflater.eof and self._done <= self._due:
            try:
                got = self._inflater.decompress(b"", min(_INFLATE_STEP, self._due - self._done + 1))
            except zlib.error:
                raise _FlawError("png_decode", "The compressed pixel data is damaged.", _COPY_AGAIN) from None
            if not got:
                break
            self._count(got)
        if self._done < self._due:
            missing = -(-(self._due - self._done) // self._row_bytes)
            raise _FlawError("idat_short", f"The last {missing:,} rows of pixels are missing.", _COPY_AGAIN)
        if not self._inflater.eof:
            raise _FlawError("png_decode", "The compressed pixel data does not end.", _COPY_AGAIN)


def _show(name: bytes) -> str:
    return name.decode("ascii", "backslashreplace") if name.isalpha() else name.hex()
