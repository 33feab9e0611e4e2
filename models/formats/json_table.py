"""Strangers' JSON as a table that is safe to read, and what is wrong with it as sentences. Standard library only."""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Mapping
from typing import Any

from meshdrop.models.files.problem import Problem

#: Nobody reads a page of thousands of problems.
MOST_COMPLAINTS = 20
#: Whoever reads our answers later may be less patient with brackets than Python is.
DEEPEST = 32


_Place = tuple[Any, str | int]


class Complaints:
    """Collects the problems of one file: all are counted, the first few are told."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.count = 0
        self.found: list[Problem] = []

    @property
    def full(self) -> bool:
        """Whether one more would only be counted."""
        return self.count >= MOST_COMPLAINTS

    def add(self, code: str, message: str, fix: str) -> None:
        """One more problem of this file."""
        self.count += 1
        if self.count <= MOST_COMPLAINTS:
            self.found.append(Problem(code, self.file, message, fix))

    def told(self) -> tuple[Problem, ...]:
        """The problems, and how many more there are."""
        more = self.count - len(self.found)
        if not more:
            return tuple(self.found)
        rest = Problem("sidecar", self.file, f"The file has {more:,} more problems.", "Correct these first.")
        return (*self.found, rest)


class _DuplicateKeyError(ValueError):
    pass


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table: dict[str, Any] = {}
    for key, value in pairs:
        if key in table:
            raise _DuplicateKeyError(key)
        table[key] = value
    return table


def load_object(content: bytes, complaints: Complaints, most: int) -> dict[str, Any] | None:
    """The one JSON object that a file of at most ``most`` bytes holds, or None and a complaint. Never raises."""
    fix = "Correct the file and copy the folder again."
    if len(content) > most:
        complaints.add(
            "sidecar",
            f"The file is larger than {most:,} bytes, the most that a sidecar may have.",
            "Keep pictures and logs out of it.",
        )
        return None
    try:
        loaded = json.loads(content.decode("utf-8-sig"), object_pairs_hook=_unique_keys)
        json.dumps(loaded, ensure_ascii=False).encode("utf-8")  # half surrogates cannot be stored or shown
    except _DuplicateKeyError as error:
        complaints.add("sidecar", f"The key {error.args[0]!r:.60} appears twice in one object.", fix)
    except UnicodeDecodeError as error:
        complaints.add("sidecar", f"Byte {error.start} is not valid UTF-8.", "Save the file as UTF-8.")
    except UnicodeEncodeError:
        complaints.add("sidecar", "A text holds half of a surrogate pair (\\ud800..\\udfff).", fix)
    except RecursionError:
        complaints.add("sidecar", "The brackets are nested too deeply.", fix)
    except json.JSONDecodeError as error:
        complaints.add("sidecar", f"Not valid JSON: {error.msg} at line {error.lineno}, column {error.colno}.", fix)
    except ValueError:  # an integer with thousands of digits
        complaints.add("sidecar", "A number has too many digits.", fix)
    else:
        if not isinstance(loaded, dict):
            complaints.add("sidecar", "The file does not hold one JSON object { ... }.", fix)
        elif _is_deeper_than(loaded, DEEPEST):
            complaints.add("sidecar", "The brackets are nested too deeply.", fix)
        else:
            return loaded
    return None


def _is_deeper_than(value: Any, levels: int) -> bool:
    """Whether objects and lists lie in each other more than ``levels`` deep, found without recursion."""
    layer = [value]
    for _ in range(levels):
        layer = [
            inner
            for outer in layer
            if isinstance(outer, dict | list)
            for inner in (outer.values() if isinstance(outer, dict) else outer)
        ]
    return any(isinstance(value, dict | list) for value in layer)


def refuse_non_finite(table: Mapping[str, Any], complaints: Complaints, camera_keys: Collection[str]) -> None:
    """One problem for the first NaN or infinite number (1e999 reads as infinity): ``calib`` below ``camera_keys``."""
    # A place is (the place around it, key or index): its name is put together for the one that is told of.
    stack: list[tuple[_Place, Any]] = [((None, ""), table)]
    while stack:
        place, value = stack.pop()
        if isinstance(value, float) and not math.isfinite(value):
            top, where = _named(place)
            code = "calib" if top in camera_keys else "sidecar"
            complaints.add(code, f"{where} is {value}, which is not a number.", "Write a finite number there.")
            return
        if isinstance(value, dict):
            stack.extend(((place, key), item) for key, item in value.items())
        elif isinstance(value, list):
            stack.extend(((place, index), item) for index, item in enumerate(value))


def _named(place: _Place) -> tuple[str, str]:
    """The topmost key over a place, and the place as a sentence can carry it: ``frames[1].w``."""
    steps: list[str | int] = []
    around: _Place | None = place
    while around is not None:
        around, step = around
        steps.append(step)
    steps = steps[-2::-1]
    parts = [f"[{step}]" if isinstance(step, int) else f".{step:.60}" for step in steps]
    return str(steps[0]), "".join(parts).removeprefix(".")


def is_number(value: object) -> bool:
    """Whether a JSON value is a number; true and false are none."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def as_float(value: Any) -> float | None:
    """A finite float, or None: JSON integers may be larger than any float."""
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def wrong(key: str, value: object, wanted: str, complaints: Complaints, code: str = "sidecar") -> None:
    """Complain about the value of ``key``, which must be ``wanted``."""
    complaints.add(code, f"{key} is {short(value)}; it must be {wanted}.", "Correct the value or leave the key out.")


def short(value: object) -> str:
    """A value as a sentence can carry it."""
    text = json.dumps(value, default=str)
    return text if len(text) <= 40 else text[:37] + "..."
