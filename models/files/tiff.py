"""Judge a TIFF, or a raw photograph that is one inside (DNG, CR2, NEF, ARW), by its directories. No pixel is decoded.

Directories, their entries and where the pixels lie: TIFF 6.0 (Adobe, 1992), sections 2 and 8; directories inside of
others: TIFF Technical Note 1; deflate and predictors: TIFF Technical Note 2.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from meshdrop.models.files.limits import CaptureLimits
from meshdrop.models.files.png import Kind
from meshdrop.models.files.structure import FileBytes, FlawError, UnfinishedError, begins, check_size

_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC = 256, 257, 258, 259, 262
_STRIPS, _ORIENTATION, _SAMPLES, _STRIP_BYTES = 273, 274, 277, 279
_TILES, _TILE_BYTES, _INSIDE, _EXTRA, _SAMPLE_FORMAT, _ICC = 324, 325, 330, 338, 339, 34675
_SIZES_TAGS = (_WIDTH, _HEIGHT, _BITS, _SAMPLES, _SAMPLE_FORMAT, _EXTRA)
_PLACES_TAGS = (_STRIPS, _STRIP_BYTES, _TILES, _TILE_BYTES, _INSIDE)
_WANTED = frozenset((*_SIZES_TAGS, *_PLACES_TAGS, _COMPRESSION, _PHOTOMETRIC, _ORIENTATION, _ICC))
#: Bytes of each type of value.
_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4}
_MOST_DIRECTORIES, _MOST_ENTRIES, _MOST_PIECES, _MOST_PROFILE = 64, 1024, 1 << 16, 1 << 22
#: None, LZW, deflate (two numbers), PackBits.
_COMPRESSIONS = (1, 5, 8, 32946, 32773)
_UNSIGNED, _SIGNED, _FLOAT = 1, 2, 3
#: (sample format, bits) of depth.
_DEPTH = ((_UNSIGNED, 16), (_UNSIGNED, 32), (_SIGNED, 16), (_SIGNED, 32), (_FLOAT, 32), (_FLOAT, 64))
_SAVE_AGAIN = "Save it as an ordinary 8- or 16-bit TIFF, uncompressed or with LZW or deflate, or as PNG."


@dataclass(frozen=True)
class TiffInfo:
    """What the first directory says: size in pixels, bits and kind of a sample, the turn, and where a profile lies
    (start, bytes); how many directories follow.
    """

    width: int
    height: int
    bits: int
    sample_format: int
    orientation: int = 1
    profile: tuple[int, int] | None = None
    more: int = 0


@dataclass(frozen=True)
class _Value:
    start: int
    size: int
    count: int


class _Directory:
    """One directory's wanted entries."""

    def __init__(self, source: FileBytes, order: Literal["little", "big"], start: int) -> None:
        self._source, self._order = source, order
        count = self.number(start, 2)
        if count == 0:
            raise UnfinishedError("A directory of the file is empty.")
        if count > _MOST_ENTRIES:
            raise FlawError("picture", f"A directory of the file has {count:,} entries.", _SAVE_AGAIN)
        self.next = self.number(start + 2 + 12 * count, 4)
        self._values: dict[int, _Value] = {}
        for entry in range(start + 2, start + 2 + 12 * count, 12):
            tag, kind, many = self.number(entry, 2), self.number(entry + 2, 2), self.number(entry + 4, 4)
            size = _SIZES.get(kind, 0)
            if tag in _WANTED and size and tag not in self._values:
                if tag != _ICC and many > _MOST_PIECES:
                    raise FlawError("chunks", f"The picture is in more than {_MOST_PIECES:,} pieces.", _SAVE_AGAIN)
                at = entry + 8 if size * many <= 4 else self.number(entry + 8, 4)
                self._values[tag] = _Value(at, size, many)

    def number(self, start: int, length: int) -> int:
        """Whole number at a place of the file."""
        return int.from_bytes(self._source.exactly(start, length), self._order)

    def all(self, tag: int) -> list[int]:
        """Every value of an entry; none where it has none."""
        value = self._values.get(tag)
        if value is None:
            return []
        content = self._source.exactly(value.start, value.size * value.count)
        return [int.from_bytes(content[at : at + value.size], self._order) for at in range(0, len(content), value.size)]

    def one(self, tag: int, default: int = 0) -> int:
        """The first value of an entry."""
        value = self._values.get(tag)
        return default if value is None or not value.count else self.number(value.start, value.size)

    def profile(self) -> tuple[int, int] | None:
        """Where an ICC profile lies."""
        value = self._values.get(_ICC)
        if value is None or value.size * value.count > _MOST_PROFILE:
            return None
        self._source.exactly(value.start + value.size * value.count, 0)
        return value.start, value.size * value.count

    def check_pixels(self) -> int:
        """Bytes of pixels; raises ``UnfinishedError`` where they lie beyond the file's end."""
        total = 0
        for places, sizes in ((_STRIPS, _STRIP_BYTES), (_TILES, _TILE_BYTES)):
            starts, lengths = self.all(places), self.all(sizes)
            if len(starts) != len(lengths):
                raise FlawError("picture", "The file does not say how long each of its pieces is.", _SAVE_AGAIN)
            for start, length in zip(starts, lengths, strict=True):
                if start == 0 and length:
                    raise UnfinishedError("A piece of the picture has no place in the file yet.")
                if start + length > self._source.size:
                    raise UnfinishedError()
                total += length
        return total


def walk(source: FileBytes, role: Kind | None, limits: CaptureLimits) -> TiffInfo:
    """An ordinary TIFF: its first directory is the picture."""
    first, more = _directories(source, inside=False)
    info = _info(first[0], more)
    pixels = first[0].check_pixels()
    for directory in first[1:]:
        directory.check_pixels()
    check_size(info.width, info.height, limits)
    _check_format(first[0], info, role)
    if first[0].one(_COMPRESSION, 1) == 1:
        samples = first[0].one(_SAMPLES, 1)
        due = info.height * ((info.width * info.bits * samples + 7) // 8)
        if pixels < due:
            raise FlawError("picture", f"The file has {pixels:,} bytes of pixels; {due:,} are due.", _SAVE_AGAIN)
    elif not pixels:
        raise FlawError("picture", "The file holds no pixels.", _SAVE_AGAIN)
    return info


def walk_raw(source: FileBytes, _: Kind | None, limits: CaptureLimits) -> TiffInfo:
    """A camera's raw photograph: its largest picture may lie in any directory."""
    found, _more = _directories(source, inside=True)
    infos = [_info(directory, 0) for directory in found if directory.one(_WIDTH) and directory.one(_HEIGHT)]
    for directory in found:
        directory.check_pixels()
    if not infos:
        raise FlawError("picture", "The file holds no picture.", "Send a DNG, or the photograph as JPEG or PNG.")
    largest = max(infos, key=lambda info: info.width * info.height)
    check_size(largest.width, largest.height, limits)
    return TiffInfo(largest.width, largest.height, largest.bits, largest.sample_format, infos[0].orientation)


def _directories(source: FileBytes, *, inside: bool) -> tuple[list[_Directory], int]:
    """Every directory, the first one first, those ``inside`` of others too; and how many follow the first."""
    head = source.at(0, 8)
    if head[:4] in (b"II+\0", b"MM\0+"):
        raise FlawError("pixel_format", "The file is a BigTIFF.", _SAVE_AGAIN)
    if not begins(head, b"II*", b"MM\0*"):
        raise FlawError("not_png", "The file is named like a TIFF or raw photograph, but is none.", _SAVE_AGAIN)
    order: Literal["little", "big"] = "little" if head[:1] == b"I" else "big"
    found: list[_Directory] = []
    seen: set[int] = set()
    start = int.from_bytes(head[4:8], order)
    if start == 0 or len(head) < 8:
        raise UnfinishedError("The file has no directory yet.")
    for place in _chain(start, found, seen):
        directory = _Directory(source, order, place)
        found.append(directory)
        if inside:
            pending = directory.all(_INSIDE)
            while pending:
                child = pending.pop()
                _once(child, seen)
                found.append(_Directory(source, order, child))
                pending += found[-1].all(_INSIDE)
    return found, len(found) - 1


def _chain(start: int, found: list[_Directory], seen: set[int]) -> Iterator[int]:
    """Places of directories, each named by the one before."""
    place, at = start, 0
    while place:
        _once(place, seen)
        at = len(found)
        yield place
        place = found[at].next


def _once(place: int, seen: set[int]) -> None:
    if place in seen:
        raise FlawError("picture", "The directories of the file lead round in a circle.", _SAVE_AGAIN)
    seen.add(place)
    if len(seen) > _MOST_DIRECTORIES:
        raise FlawError("chunks", f"The file has more than {_MOST_DIRECTORIES} directories.", _SAVE_AGAIN)


def _info(directory: _Directory, more: int) -> TiffInfo:
    turn = directory.one(_ORIENTATION, 1)
    return TiffInfo(
        directory.one(_WIDTH),
        directory.one(_HEIGHT),
        directory.one(_BITS, 1),
        directory.one(_SAMPLE_FORMAT, _UNSIGNED),
        turn if 1 <= turn <= 8 else 1,
        directory.profile(),
        more,
    )


def _check_format(directory: _Directory, info: TiffInfo, role: Kind | None) -> None:
    samples = directory.one(_SAMPLES, 1)
    alike = len(set(directory.all(_BITS))) <= 1 and len(set(directory.all(_SAMPLE_FORMAT))) <= 1
    compression = directory.one(_COMPRESSION, 1)
    if compression not in _COMPRESSIONS:
        raise FlawError("pixel_format", f"This compression of TIFF is not read ({compression}).", _SAVE_AGAIN)
    said = f"{info.bits}-bit{' floating-point' if info.sample_format == _FLOAT else ''} with {samples} channels"
    if role == "depth" and (samples != 1 or (info.sample_format, info.bits) not in _DEPTH):
        fix = "Save the raw depth as 16-bit or 32-bit TIFF with one channel, or as 16-bit PNG."
        raise FlawError("depth_format", f"The depth map is {said}.", fix)
    bits = (1, 8, 16) if role in ("mask", None) else (8, 16)
    if role in ("image", "mask") and not (
        alike and info.sample_format == _UNSIGNED and info.bits in bits and 1 <= samples <= 4
    ):
        raise FlawError("pixel_format", f"The {role} is {said}.", _SAVE_AGAIN)
