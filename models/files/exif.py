"""How a camera was held, out of what it noted (EXIF). Standard library only; nothing else of the notes is read."""

from __future__ import annotations

from typing import Literal

_ORIENTATION = 0x0112
_SHORT = 3
#: The first directory of an ordinary camera has about fifteen entries.
_MOST_ENTRIES = 512


def orientation(notes: bytes) -> int:
    """EXIF's number of the turn that brings a stored picture upright, 1 to 8; 1 (none) where nothing sound says so.

    ``notes`` begin with the TIFF header (``II*`` or ``MM*``); "Exif" and two zeros before it are passed over. CIPA
    DC-008, section 4.6.4: 3 is half a turn, 6 and 8 are quarters, even numbers up to 4, and 5 and 7, are mirrored.
    """
    notes = notes.removeprefix(b"Exif\0\0")
    if notes[:4] not in (b"II*\0", b"MM\0*"):
        return 1
    order: Literal["little", "big"] = "little" if notes[:1] == b"I" else "big"

    def number(start: int, length: int) -> int:
        return int.from_bytes(notes[start : start + length], order)

    first = number(4, 4)
    for entry in range(first + 2, first + 2 + 12 * min(number(first, 2), _MOST_ENTRIES), 12):
        if len(notes) < entry + 12:
            return 1
        if number(entry, 2) == _ORIENTATION:
            value = number(entry + 8, 2) if number(entry + 2, 2) == _SHORT and number(entry + 4, 4) == 1 else 1
            return value if 1 <= value <= 8 else 1
    return 1
