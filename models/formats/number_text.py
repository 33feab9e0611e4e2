"""Numbers out of strangers' plain texts, within bounds. Standard library only."""

from __future__ import annotations

import math
from collections.abc import Iterator

#: Of one text; a trajectory of a hundred poses a second is three minutes long then.
_MOST_LINES, _MOST_WORDS = 30_000, 32


def numbers(content: bytes, count: int) -> tuple[float, ...] | None:
    """The ``count`` numbers that a text consists of, whatever its lines; None where it is anything else.

    NaN and infinities are numbers here: trackers write them where they were lost.
    """
    words = content.split(None, count)
    if len(words) != count or content.count(b"\n") > _MOST_LINES:
        return None
    found = [_number(word) for word in words]
    return None if None in found else tuple(number for number in found if number is not None)


def rows(content: bytes) -> Iterator[list[bytes]]:
    """The words of each line that is no comment. A last line without its end is left out."""
    whole = content[: content.rfind(b"\n") + 1]
    for line in whole.split(b"\n", _MOST_LINES)[:_MOST_LINES]:
        words = line.split(None, _MOST_WORDS)
        if words and not words[0].startswith(b"#"):
            yield words


def number(word: bytes) -> float | None:
    """One finite number, or None."""
    found = _number(word)
    return found if found is not None and math.isfinite(found) else None


def is_cut(content: bytes) -> bool:
    """Whether a text of lines is still being written: its last line has no end."""
    return not content.strip(b"\0") or not content.endswith(b"\n")


def _number(word: bytes) -> float | None:
    try:
        return float(word) if len(word) <= 64 and b"_" not in word else None
    except ValueError:
        return None
