"""What stands still and why: people see it at once, and the log is not flooded."""

from __future__ import annotations

from typing import Any

import pytest

from meshdrop.daemon.status import holds as module
from meshdrop.daemon.status.activity import Activity
from meshdrop.daemon.status.holds import Holds


class Lines:
    """A log that keeps what it is told."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def warning(self, event: str, **fields: Any) -> None:
        """Keep it."""
        self.said.append(f"{event}: {fields['reason']}")

    def info(self, event: str) -> None:
        """Keep it."""
        self.said.append(event)


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    lines = Lines()
    monkeypatch.setattr(module, "log", lines)
    return lines.said


class Day:
    """Seconds of a day, set by hand."""

    now = 0.0


def test_a_day_of_tries_every_second_is_told_less_and_less_often(said: list[str]) -> None:
    day = Day()
    held = Holds(Activity(), lambda: day.now)
    for second in range(86_400):
        day.now = float(second)
        # The name of the temporary file is another one each time.
        held.hold("job", f"chair: no space left on the device: /spool/.{second:08x}.tmp")
    assert 25 < len(said) < 40  # 60, 120, 240 ... and then one an hour
    assert held.of("job") is not None
    held.release("job")
    assert held.of("job") is None
    assert said[-1] == "going on"


def test_one_that_flaps_is_told_once_and_another_reason_at_once(said: list[str]) -> None:
    day = Day()
    held = Holds(Activity(), lambda: day.now)
    for second in range(30):
        day.now = float(second)
        held.hold("loop", "the disk is full")
        held.release("loop")
    assert said == ["held: the disk is full", "going on"]
    held.hold("loop", "the disk is read-only")
    held.hold("inbox", "the disk is full")
    assert said[2:] == ["held: the disk is read-only", "held: the disk is full"]


def test_a_trouble_that_comes_back_after_a_day_is_news(said: list[str]) -> None:
    day = Day()
    held = Holds(Activity(), lambda: day.now)
    for start in (0.0, 86_400.0):
        for second in range(120):
            day.now = start + second
            held.hold("loop", "the disk is full")
        held.release("loop")
    assert said == ["held: the disk is full", "held: the disk is full", "going on"] * 2


def test_people_see_every_reason_at_once() -> None:
    activity = Activity()
    held = Holds(activity, lambda: 0.0)
    for sentence in ("a", "b"):
        held.hold("job", sentence)
        assert activity.facts()["held"] == [sentence]
    held.hold("job", "")
    assert activity.facts()["held"] == []
