"""Names: safe to print, safe to publish, never lost."""

from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshdrop.daemon.base.places import publishable, shown, with_suffix

NAMES = st.binary(min_size=1, max_size=255).filter(lambda name: b"/" not in name and b"\0" not in name)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (b"chair-001", b"chair-001"),
        ("Stühle 😀".encode(), "Stühle 😀".encode()),
        (b"CON", b"CON_"),
        (b"nul.txt", b"nul_.txt"),
        (b"trailing. . ", b"trailing"),
        (b"a:b", b"a_b"),
        (b"line\nbreak", b"line_break"),
        (b"...", b"_"),
    ],
)
def test_a_published_name_opens_on_windows_too(name: bytes, expected: bytes) -> None:
    assert publishable(name) == expected


@given(NAMES)
def test_every_name_can_be_published_with_a_suffix_and_a_done_mark(name: bytes) -> None:
    dest = with_suffix(publishable(name), "0123abcd")
    assert len(dest + b".done") <= 255
    assert b"/" not in dest
    assert dest not in (b".", b"..")
    assert not dest.startswith(b".")
    os.fsencode(os.fsdecode(dest))


@given(NAMES)
def test_a_shown_name_cannot_move_the_cursor_or_turn_the_text(name: bytes) -> None:
    text = shown(name)
    assert text.isprintable()
    text.encode("utf-8")
