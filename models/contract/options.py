"""A model's settings: a dataclass whose fields say what each may be, checked as a whole: every wrong one is named.

Not done with pydantic, which the service has: a worker reads its settings before anything but the standard library may
be imported, and with pydantic takes 0.15 s of a processor and 11 MiB to begin instead of 0.06 s (seven runs each, two
cores, 2026-11-30). Its own messages would have to be written anew too, which is most of this file.
"""

from __future__ import annotations

import warnings
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, fields
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeVar

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

T = TypeVar("T", bound="DataclassInstance")

#: What stands in place of a number that follows from the capture.
Auto = Literal["auto"]
AUTO: Auto = "auto"

_VALUE_SHOWN = 60
_RULE = "rule"
_NO_CHOICES: Mapping[str, tuple[str, ...]] = {}


class WrongSettings(ValueError):
    """Settings that a model cannot be run with, whatever the capture. ``problems`` names every one, in a sentence."""

    def __init__(self, model: str, problems: Sequence[str]) -> None:
        super().__init__(f"{model} settings: " + "; ".join(problems))
        self.problems = tuple(problems)


class _Rule(Protocol):
    """What one setting may be."""

    def problem(self, name: str, value: Any, default: object) -> str | None:
        """What is wrong with ``value``, in a sentence."""


@dataclass(frozen=True)
class _Whole:
    low: int
    high: int

    def problem(self, name: str, value: Any, default: object) -> str | None:
        if isinstance(value, bool) or not isinstance(value, int):
            allowed = f"a whole number from {self.low} to {self.high}"
            return f"{name} must be {allowed}, not {_short(value)} (default: {default})"
        if not self.low <= value <= self.high:
            return f"{name} = {_short(value)} is outside {self.low}..{self.high} (default: {default})"
        return None


@dataclass(frozen=True)
class _WholeOrAuto(_Whole):
    def problem(self, name: str, value: Any, default: object) -> str | None:
        if value == AUTO:
            return None
        if isinstance(value, bool) or not isinstance(value, int):
            return f'{name} must be a whole number from {self.low} to {self.high} or "{AUTO}", not {_short(value)}'
        return super().problem(name, value, default)


@dataclass(frozen=True)
class _OneOf:
    words: tuple[str, ...]

    def problem(self, name: str, value: Any, default: object) -> str | None:
        return None if value in self.words else f"{name} must be one of {', '.join(self.words)}, not {_short(value)}"


class _Text:
    def problem(self, name: str, value: Any, default: object) -> str | None:
        return None if isinstance(value, str) else f"{name} must be a text, not {_short(value)}"


def whole(default: int, low: int, high: int) -> int:
    """A field that holds a whole number of ``low``..``high``."""
    made: int = field(default=default, metadata={_RULE: _Whole(low, high)})
    return made


def whole_or_auto(low: int, high: int) -> int | Auto:
    """A field that holds a whole number of ``low``..``high``, or, as it does by default, ``"auto"``: the model finds it
    from the capture."""
    made: int | Auto = field(default=AUTO, metadata={_RULE: _WholeOrAuto(low, high)})
    return made


def one_of(*words: str, default: str = "") -> str:
    """A field that holds one of ``words``, the first of them by default."""
    made: str = field(default=default or words[0], metadata={_RULE: _OneOf(words)})
    return made


def text(default: str = "") -> str:
    """A field that holds any text."""
    made: str = field(default=default, metadata={_RULE: _Text()})
    return made


def settings_of(model: str, kind: type[T], values: Mapping[str, Any]) -> T:
    """``kind``, a dataclass of the fields above, from the plain ``values`` of an operator.

    Raises ``WrongSettings`` naming every unknown, mistyped or out-of-range value, ``TypeError`` when a field of
    ``kind`` is none of the above.
    """
    return _checked(model, kind, values, {one.name: one.metadata[_RULE] for one in fields(kind) if one.metadata})


def checked(
    model: str,
    kind: type[T],
    values: Mapping[str, Any],
    limits: Mapping[str, tuple[int, int]],
    choices: Mapping[str, tuple[str, ...]] = _NO_CHOICES,
    texts: Collection[str] = (),
) -> T:
    """``settings_of`` as models of somebody's own called it in 0.1; goes with 0.3."""
    warnings.warn("checked() is settings_of() now, and goes with 0.3", FutureWarning, stacklevel=2)
    rules: dict[str, _Rule] = {name: _Whole(*pair) for name, pair in limits.items()}
    rules |= {name: _OneOf(tuple(words)) for name, words in choices.items()} | dict.fromkeys(texts, _Text())
    return _checked(model, kind, values, rules)


def _checked(model: str, kind: type[T], values: Mapping[str, Any], rules: Mapping[str, _Rule]) -> T:
    defaults = {one.name: one.default for one in fields(kind)}
    if set(rules) != set(defaults):
        raise TypeError(f"every setting of {model} needs its limits, its choices or to be a text")
    problems = [_unknown(name, defaults) for name in values if name not in defaults]
    found = (rules[name].problem(name, value, defaults[name]) for name, value in values.items() if name in rules)
    problems += [problem for problem in found if problem is not None]
    if problems:
        raise WrongSettings(model, problems)
    return kind(**values)


def choices_of(kind: type[DataclassInstance], name: str) -> tuple[str, ...]:
    """The words that a field of ``one_of`` may hold, in their order."""
    [rule] = [one.metadata[_RULE] for one in fields(kind) if one.name == name]
    words: tuple[str, ...] = rule.words
    return words


def _unknown(name: str, there: Collection[str]) -> str:
    near = get_close_matches(name, there, 1)
    return f"there is no {name!r}; " + (f"is {near[0]} meant?" if near else f"there are {', '.join(there)}")


def _short(value: object) -> str:
    """A value in a sentence; whoever wrote pages of it knows which one is meant."""
    try:
        shown = repr(value)
    except (ValueError, RecursionError):  # a number of thousands of digits
        return "that"
    return shown if len(shown) <= _VALUE_SHOWN else f"{shown[:_VALUE_SHOWN]}..."
