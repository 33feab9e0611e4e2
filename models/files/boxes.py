"""Judge an AVIF or HEIC by its boxes. No pixel is decoded. Boxes: ISO/IEC 14496-12; pictures in them: 23008-12."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from meshdrop.models.files.limits import CaptureLimits
from meshdrop.models.files.png import Kind
from meshdrop.models.files.structure import FileBytes, FlawError, UnfinishedError, begins, check_size

_MOST_BOXES, _MOST_META = 1024, 1 << 20
_SAVE_AGAIN = "Save it as JPEG or PNG."
_BRANDS = frozenset({b"avif", b"mif1", b"miaf", b"heic", b"heix", b"heim", b"heis", b"hevc"})
_SEQUENCES = frozenset({b"avis", b"msf1", b"hevc", b"hevx"})


@dataclass(frozen=True)
class BoxesInfo:
    """Size in pixels of the largest picture inside, and H.273's numbers of its primaries and transfer where stated.

    The turn that a file of this kind states belongs to its format: decoders obey it, or tell of it themselves.
    """

    width: int
    height: int
    orientation: int = 1
    points: tuple[int, int] | None = None


def walk(source: FileBytes, role: Kind | None, limits: CaptureLimits) -> BoxesInfo:
    """One picture, of one or many tiles."""
    return _walk(source, limits)[0]


def walk_heic(source: FileBytes, role: Kind | None, limits: CaptureLimits) -> BoxesInfo:
    """The same; encoders fill tiles up, and state the part that is the picture."""
    info, crop = _walk(source, limits)
    if crop is None:
        return info
    check_size(*crop, limits)
    return BoxesInfo(min(crop[0], info.width), min(crop[1], info.height), points=info.points)


def _walk(source: FileBytes, limits: CaptureLimits) -> tuple[BoxesInfo, tuple[int, int] | None]:
    head = source.at(0, 12)
    if not begins(head[4:], b"ftyp"):
        raise FlawError("not_png", "The file is named like an AVIF or HEIC picture, but is none.", _SAVE_AGAIN)
    if head[8:12] in _SEQUENCES:
        raise FlawError("pixel_format", "The file is a sequence of pictures.", "Save a single picture.")
    if not begins(head[8:], *_BRANDS):
        raise FlawError("pixel_format", f"The file's kind of pictures is not read ({head[8:12]!r}).", _SAVE_AGAIN)
    meta: bytes | None = None
    for name, start, end in _boxes(source, 0, source.size):
        if name == b"meta" and meta is None:
            if end - start > _MOST_META:
                raise FlawError("ancillary", f"The file says more than {_MOST_META:,} bytes of itself.", _SAVE_AGAIN)
            meta = source.exactly(start, end - start)
    if meta is None:
        raise UnfinishedError("The file does not say yet what it holds.")
    sizes, points, crop = _properties(FileBytes.of(meta[4:]))
    if not sizes:
        raise FlawError("picture", "The file does not say how large its picture is.", _SAVE_AGAIN)
    width, height = max(sizes, key=lambda size: size[0] * size[1])
    check_size(width, height, limits)
    return BoxesInfo(width, height, points=points), crop


def _properties(meta: FileBytes) -> tuple[list[tuple[int, int]], tuple[int, int] | None, tuple[int, int] | None]:
    """Every stated size, the first code points, and the size of the first part that is cut out (``clap``)."""
    sizes: list[tuple[int, int]] = []
    points = crop = None
    for name, start, end in _inside(meta, 0, meta.size, (b"iprp", b"ipco")):
        body = meta.exactly(start, min(end - start, 32))
        if name == b"ispe" and len(body) >= 12:
            sizes.append((int.from_bytes(body[4:8], "big"), int.from_bytes(body[8:12], "big")))
        elif name == b"colr" and body[:4] == b"nclx" and len(body) >= 10 and points is None:
            points = int.from_bytes(body[4:6], "big"), int.from_bytes(body[6:8], "big")
        elif name == b"clap" and len(body) >= 16 and crop is None:
            across, one, down, other = (int.from_bytes(body[at : at + 4], "big") for at in (0, 4, 8, 12))
            crop = (across // one, down // other) if one and other else None
    return sizes, points, crop


def _inside(source: FileBytes, start: int, end: int, path: tuple[bytes, ...]) -> Iterator[tuple[bytes, int, int]]:
    """The boxes below a path of boxes."""
    for name, first, last in _boxes(source, start, end):
        if not path:
            yield name, first, last
        elif name == path[0]:
            yield from _inside(source, first, last, path[1:])


def _boxes(source: FileBytes, start: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """(name, start, end) of the bodies of boxes that fill a stretch exactly."""
    for _number in range(_MOST_BOXES):
        if start == end:
            return
        size, name, body = int.from_bytes(source.exactly(start, 4), "big"), source.exactly(start + 4, 4), start + 8
        if size == 1:
            size, body = int.from_bytes(source.exactly(body, 8), "big"), body + 8
        last = end if size == 0 else start + size
        if last > end:
            raise UnfinishedError("A part of the file reaches past its end.")
        if last < body:
            raise FlawError("picture", "A part of the file is shorter than its own head.", _SAVE_AGAIN)
        yield name, body, last
        start = last
    raise FlawError("chunks", f"The file has more than {_MOST_BOXES:,} parts.", _SAVE_AGAIN)
