"""The queue between threads: who is served when, and when it is known to be empty."""

from __future__ import annotations

import threading
from collections.abc import Generator
from itertools import islice

from meshdrop.daemon.base.handover import Handover
from tests.patience import PATIENCE_S


def test_the_oldest_comes_first_and_what_is_in_hand_is_still_open() -> None:
    line: Handover[int] = Handover()
    for number in range(3):
        line.put(number)
    served = line.until(threading.Event())
    assert (next(served), line.open) == (0, 3)
    assert (next(served), line.open) == (1, 2)
    assert (next(served), line.open) == (2, 1)
    assert isinstance(served, Generator)
    served.close()
    assert line.open == 0


def test_whoever_comes_behind_a_thousand_is_served_second_and_nobody_starves() -> None:
    line: Handover[int] = Handover(from_both_ends=True)
    for number in range(1001):
        line.put(number)
    served = list(islice(line.until(threading.Event()), 1001))
    assert served[:4] == [0, 1000, 1, 999]
    assert sorted(served) == list(range(1001))


def test_it_waits_for_items_and_ends_when_it_is_told_to() -> None:
    line: Handover[str] = Handover()
    stop = threading.Event()
    got: list[str] = []
    taker = threading.Thread(target=lambda: got.extend(line.until(stop)))
    taker.start()
    line.put("a")
    while line.open:
        stop.wait(0.01)
    stop.set()
    taker.join(PATIENCE_S)
    assert not taker.is_alive()
    assert got == ["a"]


class Hand:
    """A clock that is turned by hand."""

    def __init__(self) -> None:
        self.at = 0.0

    def __call__(self) -> float:
        """Its time."""
        return self.at


def test_what_was_put_off_keeps_nobody_waiting_and_comes_when_its_time_has_come() -> None:
    now = Hand()
    line: Handover[str] = Handover(now=now)
    served = line.until(threading.Event())
    for held in ("held 1", "held 2"):
        line.put_off(held, 10.0)
    line.put("new 1")
    assert (line.open, line.fresh) == (3, 1)
    assert next(served) == "new 1"
    now.at = 11.0
    for new in ("new 2", "new 3"):
        line.put(new)
    assert [next(served) for _ in range(4)] == ["held 1", "new 2", "held 2", "new 3"]
    assert (line.open, line.fresh) == (1, 1)


def test_a_hundred_that_are_tried_again_and_again_do_not_count_as_new_ones() -> None:
    now = Hand()
    line: Handover[int] = Handover(now=now)
    for held in range(100):
        line.put_off(held, 1.0)
    served = line.until(threading.Event())
    for _ in range(300):
        now.at += 1.0
        assert line.fresh == 0
        line.put_off(next(served), 1.0)
        assert line.fresh == 0
    assert line.open == 101  # one of them is in hand and put off again
