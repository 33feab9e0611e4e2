"""A model's settings, checked as a whole: every wrong one is named at once."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import fields
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

T = TypeVar("T", bound="DataclassInstance")

_NO_CHOICES: Mapping[str, tuple[str, ...]] = {}


def checked(
    model: str, kind: type[T], values: Mapping[str, Any], limits: Mapping[str, tuple[int, int]],
    choices: Mapping[str, tuple[str, ...]] = _NO_CHOICES, texts: Collection[str] = (),
) -> T:
    """``kind``, a dataclass with defaults, from the plain ``values`` of an operator.

    ``limits``: the lowest and highest whole number of each numeric field; ``choices``: the words that others may be;
    ``texts``: the fields that hold any text. Raises ``ValueError`` naming every unknown, mistyped or out-of-range
    value, ``TypeError`` when a field of ``kind`` has none of them.
    """
    names = [field.name for field in fields(kind)]
    if {*limits, *choices, *texts} != set(names):
        raise TypeError(f"every setting of {model} needs its limits, its choices or to be a text")
    problems = [f"there is no {name!r}; there are {', '.join(names)}" for name in values if name not in names]
    for name, (low, high) in limits.items():
        value = values.get(name, low)
        if isinstance(value, bool) or not isinstance(value, int):
            problems.append(f"{name} must be a whole number, not {value!r}")
        elif not low <= value <= high:
            problems.append(f"{name} = {value} is outside {low}..{high}")
    for name, words in choices.items():
        if values.get(name, words[0]) not in words:
            problems.append(f"{name} must be one of {', '.join(words)}, not {values[name]!r}")
    problems += [
        f"{name} must be a text, not {values[name]!r}"
        for name in texts if not isinstance(values.get(name, ""), str)
    ]
    if problems:
        raise ValueError(f"{model} settings: " + "; ".join(problems))
    return kind(**values)
