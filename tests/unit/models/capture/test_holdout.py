"""Which views are kept from a model: none of few, every sixth of many, and always the same."""

from __future__ import annotations

import pytest

from meshdrop.models.capture.capture import Capture
from meshdrop.models.capture.holdout import hold_out
from tests.unit.models.synthetic import BALL, capture_of, ring_rig


def of(count: int) -> Capture:
    return capture_of(BALL, ring_rig(count, size=8))


@pytest.mark.parametrize(
    ("count", "held"), [(1, ()), (6, ()), (8, ()), (9, (3,)), (10, (3, 9)), (14, (3, 9)), (16, (3, 9, 15))]
)
def test_these_are_held_out(count: int, held: tuple[int, ...]) -> None:
    capture = of(count)
    fitted, names = hold_out(capture)
    assert names == tuple(capture.views[place].name for place in held)
    assert [view.name for view in fitted.views] == [view.name for view in capture.views if view.name not in names]


@pytest.mark.parametrize("count", [1, 8, 9, 11, 30, 97])
def test_eight_are_left_at_least_and_the_first_always(count: int) -> None:
    capture = of(count)
    fitted, names = hold_out(capture)
    assert len(fitted.views) >= min(count, 8)
    assert fitted.views[0].name == capture.views[0].name
    assert len(names) <= count / 6 + 1
