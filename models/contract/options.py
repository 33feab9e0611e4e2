"""A model's settings, checked as a whole: every wrong one is named at once."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import fields
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

T = TypeVar("T", bound="DataclassInstance")

_VALUE_SHOWN = 60
_NO_CHOICES: Mapping[str, tuple[str, ...]] = {}


class WrongSettings(ValueError):
    """Settings that a model cannot be run with, whatever the capture. ``problems`` names every one, in a sentence."""

    def __init__(self, model: str, problems: Sequence[str]) -> None:
        super().__init__(f"{model} settings: " + "; ".join(problems))
        self.problems = tuple(problems)


def checked(
    model: str,
    kind: type[T],
    values: Mapping[str, Any],
    limits: Mapping[str, tuple[int, int]],
    choices: Mapping[str, tuple[str, ...]] = _NO_CHOICES,
    texts: Collection[str] = (),
) -> T:
    """``kind``, a dataclass with defaults, from the plain ``values`` of an operator.

    ``limits``: the lowest and highest whole number of each numeric field; ``choices``: the words that others may be;
    ``texts``: the fields that hold any text. Raises ``WrongSettings`` naming every unknown, mistyped or out-of-range
    value, ``TypeError`` when a field of ``kind`` has none of them.
    """
    defaults = {field.name: field.default for field in fields(kind)}
    if {*limits, *choices, *texts} != set(defaults):
        raise TypeError(f"every setting of {model} needs its limits, its choices or to be a text")
    problems = [_unknown(name, defaults) for name in values if name not in defaults]
    for name, value in values.items():
        if name in limits:
            problems += _no_number(name, value, limits[name], defaults[name])
        elif name in choices and value not in choices[name]:
            problems.append(f"{name} must be one of {', '.join(choices[name])}, not {_short(value)}")
        elif name in texts and not isinstance(value, str):
            problems.append(f"{name} must be a text, not {_short(value)}")
    if problems:
        raise WrongSettings(model, problems)
    return kind(**values)


def _unknown(name: str, there: Collection[str]) -> str:
    near = get_close_matches(name, there, 1)
    return f"there is no {name!r}; " + (f"is {near[0]} meant?" if near else f"there are {', '.join(there)}")


def _no_number(name: str, value: Any, limits: tuple[int, int], default: object) -> list[str]:
    low, high = limits
    if isinstance(value, bool) or not isinstance(value, int):
        return [f"{name} must be a whole number from {low} to {high}, not {_short(value)} (default: {default})"]
    if not low <= value <= high:
        return [f"{name} = {_short(value)} is outside {low}..{high} (default: {default})"]
    return []


def _short(value: object) -> str:
    """A value in a sentence; whoever wrote pages of it knows which one is meant."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # a number of thousands of digits
        return "that"
    return text if len(text) <= _VALUE_SHOWN else f"{text[:_VALUE_SHOWN]}..."
