"""How a camera was held: the one number that is read of its notes, whatever else stands in them."""

from __future__ import annotations

import random
import struct

import pytest

from meshdrop.models.files.exif import orientation


def notes(value: int, order: str = "<", kind: int = 3, count: int = 1) -> bytes:
    """A TIFF header, one directory of a maker (tag 271) and the orientation (274)."""
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}I", 8)
    maker = struct.pack(f"{order}HHI4s", 271, 2, 4, b"abc\0")
    turn = struct.pack(f"{order}HHIHH", 274, kind, count, value, 0)
    return head + struct.pack(f"{order}H", 2) + maker + turn + bytes(4)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("value", range(1, 9))
def test_every_turn_is_read_in_either_order_of_bytes(value: int, order: str) -> None:
    assert orientation(notes(value, order)) == value
    assert orientation(b"Exif\0\0" + notes(value, order)) == value


@pytest.mark.parametrize(
    "odd",
    [
        b"",
        b"Exif\0\0",
        b"II*\0",
        b"II*\0\xff\xff\xff\xff",
        notes(0),
        notes(9),
        notes(6, kind=2),
        notes(6, count=2),
        notes(6)[:-8],
        b"PK\3\4" + notes(6),
        b"II*\0\4\0\0\0" + b"\xff" * 40,
    ],
)
def test_what_makes_no_sense_turns_nothing(odd: bytes) -> None:
    assert orientation(odd) == 1


def test_damaged_notes_end_as_a_number() -> None:
    chance = random.Random(3)
    for _ in range(3000):
        content = bytearray(notes(6, chance.choice("<>")))
        for _ in range(chance.choice([1, 3, 9])):
            content[chance.randrange(len(content))] = chance.randrange(256)
        assert 1 <= orientation(bytes(content[: chance.randrange(len(content) + 1)])) <= 8
