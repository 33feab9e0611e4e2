"""Settings of a model: each field says what it may be, and every wrong one is named."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from meshdrop.models.contract.options import WrongSettings, checked, choices_of, one_of, settings_of, text, whole


@dataclass(frozen=True)
class Some:
    size: int = whole(3, 1, 9)
    kind: str = one_of("plain", "fine", default="fine")
    place: str = text()


@dataclass(frozen=True)
class Bare:
    size: int = 3


def test_what_is_not_given_is_the_default() -> None:
    assert settings_of("mine", Some, {}) == Some(3, "fine", "")
    assert settings_of("mine", Some, {"size": 9, "kind": "plain", "place": "/x"}) == Some(9, "plain", "/x")
    assert choices_of(Some, "kind") == ("plain", "fine")


def test_every_wrong_one_is_named_with_what_is_allowed() -> None:
    with pytest.raises(WrongSettings) as caught:
        settings_of("mine", Some, {"size": 10, "kind": "odd", "place": 1, "siez": 1})
    assert caught.value.problems == (
        "there is no 'siez'; is size meant?",
        "size = 10 is outside 1..9 (default: 3)",
        "kind must be one of plain, fine, not 'odd'",
        "place must be a text, not 1",
    )


def test_a_field_that_says_nothing_is_the_authors_mistake() -> None:
    with pytest.raises(TypeError, match="every setting of mine"):
        settings_of("mine", Bare, {})


def test_models_of_01_are_checked_as_before_and_told_of_the_new_name() -> None:
    with pytest.warns(FutureWarning, match="settings_of"):
        assert checked("mine", Bare, {"size": 4}, {"size": (1, 9)}) == Bare(4)
    with pytest.warns(FutureWarning), pytest.raises(WrongSettings, match="size = 10 is outside"):
        checked("mine", Bare, {"size": 10}, {"size": (1, 9)})
