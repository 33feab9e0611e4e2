"""How far the views' surfaces lie apart is measured where two views see the same."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from meshdrop.models.capture.capture import Capture
from meshdrop.models.formats.cameras import look_at
from meshdrop.models.surface.range_view import RangeView, prepare
from meshdrop.models.views.agreement import agreed, disagreements, median_by_view, pairs
from meshdrop.models.views.assembly import assemble
from tests.unit.models.synthetic import Scene
from tests.unit.models.views.scenes import BALL, around, beside, camera_at, changed, jittered, photographed

#: A sheet of 24 mm, whose two sides lie as near to each other as surfaces that are one.
SHEET = Scene(boxes=(((-0.012, -0.4, -0.3), (0.012, 0.4, 0.3)),))


def prepared(capture: Capture) -> list[RangeView]:
    return [prepare(view) for view in capture.views]


def apart(views: Sequence[RangeView]) -> np.ndarray:
    """In metres at the distance of the surface, which is 2.1 m and more."""
    return median_by_view(disagreements(views), len(views)) * 2.2**2


def test_exact_views_of_one_surface_lie_on_each_other() -> None:
    assert apart(prepared(photographed(BALL, around(12)))).max() < 0.001


def test_poses_that_are_off_show_and_noise_within_a_view_does_not_hide_them() -> None:
    for noise in (0.0, 0.003):
        capture = photographed(BALL, around(12), noise)
        exact, off = apart(prepared(capture)), apart(prepared(jittered(capture, 0.008, 0.0)))
        assert np.median(off) > 2 * np.median(exact)
        assert 0.002 < np.median(off) < 0.012


@pytest.mark.parametrize("factor", [0.95, 0.98, 1.03, 1.05])
def test_one_view_nearer_or_farther_than_the_others_stands_out(factor: float) -> None:
    capture = photographed(BALL, around(12), 0.002)
    wrong = capture.views[3].depth
    assert wrong is not None
    found = apart(prepared(changed(capture, 3, depth=wrong * np.float32(factor))))
    assert found.argmax() == 3
    assert found[3] > 3 * np.median(found)


def test_spread_never_falls_and_follows_what_lies_apart() -> None:
    views = prepared(jittered(photographed(BALL, around(12), 0.002), 0.008, 0.0))
    for before, after in zip(views, agreed(views), strict=True):
        assert (after.spread >= before.spread).all()
        assert after.slack > 0
    widened = np.median([view.spread[view.depth > 0].mean() for view in agreed(views)])
    assert widened > 2 * np.median([view.spread[view.depth > 0].mean() for view in views])


def test_the_two_sides_of_a_sheet_are_not_one_surface() -> None:
    """A sheet of 24 mm that six views see from either side, without any error: nothing lies apart."""
    views = prepared(photographed(SHEET, around(6, 320)))
    assert apart(views).max() < 0.001
    assert len(assemble(photographed(SHEET, around(6, 320))).views) == 6


def test_views_that_share_a_rim_alone_are_not_compared() -> None:
    def ball_from(*degrees: float) -> list[RangeView]:
        turns = np.deg2rad(degrees)
        poses = [look_at((float(np.sin(a)), 0.0, float(np.cos(a))), (0.0, 1.0, 0.0), 2.5) for a in turns]
        return prepared(photographed(BALL, [camera_at(pose, 200, 2.0) for pose in poses]))

    assert set(disagreements(ball_from(0, 40))) == {(0, 1), (1, 0)}
    assert disagreements(ball_from(0, 105)) == {}


def test_views_without_depth_or_neighbours_are_left_as_they_are() -> None:
    capture = photographed(BALL, around(6))
    blind = prepared(replace(capture, views=tuple(replace(view, depth=None) for view in capture.views)))
    assert pairs(blind) == []
    assert agreed(blind) == blind
    one = prepared(capture)[:1]
    assert agreed(one) == one
    # two that look in opposite directions see nothing in common
    away = [one[0], replace(one[0], camera=beside(one[0].camera, np.zeros(3), np.array([0.0, 180.0, 0.0])))]
    assert disagreements(away) == {}


def test_every_view_has_neighbours_and_pairs_do_not_grow_with_the_square() -> None:
    small = [prepare(view) for view in photographed(BALL, around(60, 24)).views]
    couples = pairs(small)
    assert {n for couple in couples for n in couple} == set(range(60))
    assert len(couples) <= 6 * 60
