"""Directions: unit vectors, their words and names. Standard library only."""

from __future__ import annotations

import math
from collections.abc import Mapping

Direction = tuple[float, float, float]

#: The words for a direction, as ``world_up`` takes them.
AXES: Mapping[str, Direction] = {
    "+x": (1.0, 0.0, 0.0),
    "-x": (-1.0, 0.0, 0.0),
    "+y": (0.0, 1.0, 0.0),
    "-y": (0.0, -1.0, 0.0),
    "+z": (0.0, 0.0, 1.0),
    "-z": (0.0, 0.0, -1.0),
}
#: A vector's longest entry may not be smaller: what is left of it would be rounding.
_LEAST = 1e-9


def direction(value: object) -> Direction | None:
    """The unit vector of three numbers, or None when they have no direction."""
    if not isinstance(value, list | tuple) or len(value) != 3:
        return None
    numbers = [_finite(item) for item in value]
    longest = max(map(abs, numbers))
    if not _LEAST <= longest < math.inf:  # also catches NaN
        return None
    shares = [number / longest for number in numbers]
    length = math.hypot(*shares)
    x, y, z = (share / length + 0.0 for share in shares)
    return x, y, z


def name_of(up: Direction) -> str:
    """A direction for people: ``+Z`` for an axis, else its three numbers."""
    for word, axis in AXES.items():
        if max(abs(a - b) for a, b in zip(up, axis, strict=True)) < 1e-6:
            return word.upper()
    return " ".join(f"{number:.6f}" for number in up)


def _finite(value: object) -> float:
    """A number as a float; infinity for what is none, or too large."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        return math.inf
    try:
        return float(value) if math.isfinite(value) else math.inf
    except OverflowError:
        return math.inf
