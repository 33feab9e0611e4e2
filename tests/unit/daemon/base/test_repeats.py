"""How often the same is said."""

from __future__ import annotations

from meshdrop.daemon.base.repeats import _TEXTS_MOST, _THINGS_MOST, Repeats


class Hands:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def said(repeats: Repeats, hands: Hands, *, seconds: int, text: str = "no room") -> list[int]:
    """At which seconds something is said that is so all the time."""
    begun, told = int(hands.now), []
    for second in range(seconds):
        hands.now = begun + second
        told += [second] if repeats.is_worth("disk", text) else []
    return told


def test_what_stays_so_is_said_after_1_10_and_every_60_minutes() -> None:
    hands = Hands()
    assert said(Repeats(hands), hands, seconds=12_000) == [0, 60, 660, 4260, 7860, 11_460]


def test_what_changes_is_said_at_once_and_each_text_has_its_own_pauses() -> None:
    hands = Hands()
    repeats = Repeats(hands)
    assert repeats.is_worth("disk", "no room")
    assert repeats.is_worth("disk", "no disk")
    assert repeats.is_worth("share", "no disk")
    assert not repeats.is_worth("disk", "no room")


def test_what_comes_and_goes_all_the_time_is_not_said_all_the_time() -> None:
    hands = Hands()
    repeats, told = Repeats(hands), []
    for second in range(600):
        hands.now = float(second)
        told += ["held"] if repeats.is_worth("disk", "no room") else []
        told += ["over"] if repeats.is_over("disk") else []
    assert told == ["held", "over"] * 2
    assert not repeats.is_over("disk")


def test_what_comes_back_after_hours_is_new() -> None:
    hands = Hands()
    repeats = Repeats(hands)
    said(repeats, hands, seconds=700)
    hands.now += 7200
    assert said(repeats, hands, seconds=70) == [0, 60]


def test_a_text_that_differs_every_time_is_one_text() -> None:
    hands = Hands()
    repeats = Repeats(hands)
    assert sum(repeats.is_worth("disk", f"try {number}") for number in range(1000)) == _TEXTS_MOST + 1
    assert repeats.is_worth("page", "/x/.0a1b2c3d.tmp: no room")
    assert not repeats.is_worth("page", "/x/.ffffffff.tmp: no room")


def test_it_remembers_a_bounded_number_of_things() -> None:
    repeats = Repeats(Hands())
    for number in range(3 * _THINGS_MOST):
        assert repeats.is_worth(number, "odd")
    assert len(repeats._said) == _THINGS_MOST
