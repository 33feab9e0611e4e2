"""Judge a WebP by its chunks. No pixel is decoded. Container: WebP Container Specification (RFC 9649)."""

from __future__ import annotations

from dataclasses import dataclass

from meshdrop.models.files.exif import orientation
from meshdrop.models.files.limits import CaptureLimits
from meshdrop.models.files.png import Kind
from meshdrop.models.files.structure import FileBytes, FlawError, UnfinishedError, begins, check_size

_MOST_CHUNKS, _MOST_NOTES, _MOST_PROFILE = 256, 1 << 16, 1 << 22
_ANIMATED = 0x02
_SAVE_AGAIN = "Save it as an ordinary WebP, PNG or JPEG."


@dataclass(frozen=True)
class WebpInfo:
    """Size in pixels, the turn, where a profile lies (start, bytes), and how many bytes lie behind the end."""

    width: int
    height: int
    orientation: int = 1
    profile: tuple[int, int] | None = None
    behind: int = 0


def walk(source: FileBytes, _: Kind | None, limits: CaptureLimits) -> WebpInfo:
    """One picture, not animated."""
    head = source.at(0, 12)
    if not begins(head, b"RIFF") or not begins(head[8:], b"WEBP"):
        raise FlawError("not_png", "The file is named like a WebP, but is none.", _SAVE_AGAIN)
    end = 8 + int.from_bytes(head[4:8], "little")
    if end > source.size:
        raise UnfinishedError()
    position, canvas, picture, turn = 12, None, None, 1
    profile: tuple[int, int] | None = None
    for _number in range(_MOST_CHUNKS):
        if position + 8 > end:
            break
        name, size = source.exactly(position, 4), int.from_bytes(source.exactly(position + 4, 4), "little")
        body = position + 8
        if body + size > end:
            raise FlawError("picture", "A chunk of the file reaches past its end.", "Copy the file again.")
        if name == b"VP8X":
            canvas = _canvas(source.exactly(body, 10))
        elif name in (b"VP8 ", b"VP8L") and picture is None:
            picture = _size(name, source.at(body, 10))
        elif name == b"EXIF" and size <= _MOST_NOTES:
            turn = orientation(source.exactly(body, size))
        elif name == b"ICCP" and size <= _MOST_PROFILE:
            profile = body, size
        position = body + size + size % 2
    else:
        raise FlawError("chunks", f"The file has more than {_MOST_CHUNKS} chunks.", _SAVE_AGAIN)
    if picture is None or (canvas is not None and canvas != picture):
        raise FlawError("picture", "The file holds no picture of the size that it says.", _SAVE_AGAIN)
    check_size(*picture, limits)
    return WebpInfo(*picture, turn, profile, max(0, source.size - end - end % 2))


def _canvas(body: bytes) -> tuple[int, int]:
    if body[0] & _ANIMATED:
        raise FlawError("pixel_format", "The file is an animated WebP.", "Save a single picture.")
    return 1 + int.from_bytes(body[4:7], "little"), 1 + int.from_bytes(body[7:10], "little")


def _size(name: bytes, body: bytes) -> tuple[int, int]:
    if name == b"VP8 " and body[3:6] == b"\x9d\x01\x2a" and len(body) == 10:
        return int.from_bytes(body[6:8], "little") & 0x3FFF, int.from_bytes(body[8:10], "little") & 0x3FFF
    if name == b"VP8L" and body[:1] == b"\x2f" and len(body) >= 5:
        packed = int.from_bytes(body[1:5], "little")
        return 1 + (packed & 0x3FFF), 1 + (packed >> 14 & 0x3FFF)
    raise FlawError("picture", "The picture in the file has no header that makes sense.", "Copy the file again.")
