"""Judge an OpenEXR file by its header and its table of pieces. No pixel is decoded. Layout: OpenEXR File Layout."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from meshdrop.models.files.limits import CaptureLimits
from meshdrop.models.files.png import Kind
from meshdrop.models.files.structure import FileBytes, FlawError, UnfinishedError, begins, check_size

_MAGIC = b"v/1\x01"
_TILED, _DEEP, _PARTS = 0x200, 0x800, 0x1000
#: Rows that one piece holds, by compression: none, RLE, ZIPS, ZIP, PIZ, PXR24, B44, B44A, DWAA, DWAB.
_ROWS = (1, 1, 1, 16, 32, 16, 32, 32, 32, 256)
_MOST_ATTRIBUTES, _MOST_ATTRIBUTE, _MOST_HEADER, _MOST_CHANNELS = 256, 1 << 16, 1 << 20, 64
_SAVE_AGAIN = "Save the depth alone, as one part with one level, or as 16-bit PNG."


@dataclass(frozen=True)
class ExrInfo:
    """Size in pixels and the channels' names."""

    width: int
    height: int
    channels: tuple[str, ...]
    orientation: int = 1


def walk(source: FileBytes, _: Kind | None, limits: CaptureLimits) -> ExrInfo:
    """One part, of rows or of tiles with one level."""
    head = source.at(0, 8)
    if not begins(head, _MAGIC):
        raise FlawError("not_png", "The file is named like OpenEXR, but is none.", _SAVE_AGAIN)
    (flags,) = struct.unpack("<I", source.exactly(4, 4))
    if not flags:
        raise UnfinishedError()
    if flags & 0xFF != 2 or flags & (_DEEP | _PARTS):
        raise FlawError("pixel_format", "The OpenEXR file has several parts, or deep pixels.", _SAVE_AGAIN)
    attributes, table = _attributes(source)
    window = attributes.get("dataWindow", b"")
    if len(window) != 16 or len(attributes.get("compression", b"")) != 1:
        raise FlawError("picture", "The file does not say how large its picture is.", _SAVE_AGAIN)
    left, top, right, bottom = struct.unpack("<4i", window)
    width, height = right - left + 1, bottom - top + 1
    check_size(width, height, limits)
    tiled = bool(flags & _TILED)
    # before a piece's bytes stand its place (a row, or four numbers of a tile) and how many they are
    _check_pieces(source, table, _pieces(attributes, width, height, tiled=tiled), 16 if tiled else 4)
    return ExrInfo(width, height, _channels(attributes.get("channels", b"")))


def _attributes(source: FileBytes) -> tuple[dict[str, bytes], int]:
    """Values by name, and where the header ends."""
    found: dict[str, bytes] = {}
    position = 8
    for _number in range(_MOST_ATTRIBUTES):
        if position > _MOST_HEADER:
            break
        name, position = _text(source, position)
        if not name:
            return found, position
        _kind, position = _text(source, position)
        (size,) = struct.unpack("<i", source.exactly(position, 4))
        if not 0 <= size <= _MOST_ATTRIBUTE:
            if name in ("preview", "iccProfile") and 0 <= size <= _MOST_HEADER:
                position += 4 + size
                continue
            raise FlawError("ancillary", f"The file's header says {size:,} bytes of {name!r:.40}.", _SAVE_AGAIN)
        found.setdefault(name, source.exactly(position + 4, size))
        position += 4 + size
    raise FlawError("ancillary", "The file's header has no end.", _SAVE_AGAIN)


def _text(source: FileBytes, position: int) -> tuple[str, int]:
    raw = source.at(position, 256)
    end = raw.find(b"\0")
    if end < 0:
        if len(raw) < 256:
            raise UnfinishedError()
        raise FlawError("picture", "The file's header makes no sense.", _SAVE_AGAIN)
    return raw[:end].decode("latin-1"), position + end + 1


def _channels(listed: bytes) -> tuple[str, ...]:
    names: list[str] = []
    position = 0
    while position < len(listed) and listed[position] and len(names) < _MOST_CHANNELS:
        end = listed.find(b"\0", position)
        if end < 0:
            break
        names.append(listed[position:end].decode("latin-1"))
        position = end + 17
    if not names:
        raise FlawError("picture", "The file names no channels.", _SAVE_AGAIN)
    return tuple(names)


def _pieces(attributes: dict[str, bytes], width: int, height: int, *, tiled: bool) -> int:
    if not tiled:
        compression = attributes["compression"][0]
        if compression >= len(_ROWS):
            raise FlawError("pixel_format", "The file is compressed in a way that is not read.", _SAVE_AGAIN)
        return -(-height // _ROWS[compression])
    tiles = attributes.get("tiles", b"")
    if len(tiles) != 9 or tiles[8] & 0x0F:
        raise FlawError("pixel_format", "The OpenEXR file has several levels.", _SAVE_AGAIN)
    across, down = struct.unpack("<2I", tiles[:8])
    if not (0 < across <= 1 << 16 and 0 < down <= 1 << 16):
        raise FlawError("picture", "The file's tiles have an impossible size.", _SAVE_AGAIN)
    return int(-(-width // across) * -(-height // down))


def _check_pieces(source: FileBytes, table: int, count: int, before: int) -> None:
    """The table of where each piece lies is written last: until then it holds zeros."""
    if count > 1 << 16:
        raise FlawError("chunks", f"The picture is in {count:,} pieces.", _SAVE_AGAIN)
    places = struct.unpack(f"<{count}Q", source.exactly(table, 8 * count))
    if not all(places):
        raise UnfinishedError("The file does not say yet where its pieces lie.")
    if min(places) < table + 8 * count:
        raise FlawError("picture", "A piece of the picture lies in the file's header.", _SAVE_AGAIN)
    last = max(places)
    length = int.from_bytes(source.exactly(last + before, 4), "little")
    source.exactly(last + before + 4 + length, 0)
