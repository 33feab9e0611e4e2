"""What a capture shows is told from masks, from where depth ends, and from where the cameras look."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from meshdrop.models.capture.capture import Capture, MaskSource
from meshdrop.models.formats.cameras import common_point, look_at
from meshdrop.models.views.subject import likely_subject, looks_at_one_thing
from tests.unit.models.synthetic import Scene
from tests.unit.models.views.scenes import BALL, ON_TABLE, ROOM, above, around, camera_at, outward, photographed

WALL = Scene(boxes=(((-3, -3, -1.05), (3, 3, -1.0)), ((-0.3, -0.3, -1.0), (0.3, 0.3, -0.7))))


def facing_a_wall() -> Capture:
    """Seven views from one side, within 35 degrees."""
    turns = np.linspace(-0.3, 0.3, 7)
    poses = [look_at((float(np.sin(a)), 0.1, float(np.cos(a))), (0, 1, 0), 1.5) for a in turns]
    return photographed(WALL, [camera_at(c2w, 96, 1.0) for c2w in poses], mask_source="depth")


@pytest.mark.parametrize("source", ["file", "alpha", "border"])
def test_whoever_sends_masks_shows_an_object(source: MaskSource) -> None:
    for scene, cameras in ((BALL, around(6)), (ON_TABLE, above(6)), (ROOM, outward(6))):
        assert likely_subject(photographed(scene, cameras, mask_source=source).views) == "object"


def test_depth_that_ends_at_the_object_shows_an_object() -> None:
    assert likely_subject(photographed(BALL, around(6), mask_source="depth").views) == "object"


def test_a_ball_on_a_plane_that_was_measured_too_is_a_table() -> None:
    assert likely_subject(photographed(ON_TABLE, above(6), mask_source="depth").views) == "table"


def test_a_room_looked_at_outward_and_a_wall_from_one_side_are_scenes() -> None:
    assert likely_subject(photographed(ROOM, outward(9), mask_source="depth").views) == "scene"
    assert likely_subject(facing_a_wall().views) == "scene"


def test_one_view_never_surrounds_anything() -> None:
    capture = photographed(ON_TABLE, above(6), mask_source="depth")
    assert not looks_at_one_thing(capture.views[:1])


def test_gaps_in_the_middle_of_the_pictures_are_not_looked_at() -> None:
    capture = photographed(ON_TABLE, above(6), mask_source="depth")
    views = []
    for view in capture.views:
        assert view.depth is not None
        hole = view.depth.copy()
        hole[30:66, 30:66] = 0
        views.append(replace(view, depth=hole))
    assert likely_subject(views) == "scene"


def test_the_point_that_all_look_at_is_found_and_none_among_parallels() -> None:
    offset = np.array([3.0, -1.0, 2.0])
    cameras = [replace(c, c2w=c.c2w + np.pad(offset[:, None], ((0, 1), (3, 0)))) for c in above(5)]
    found = common_point(cameras)
    assert found is not None
    np.testing.assert_allclose(found, offset, atol=1e-9)
    side_by_side = [camera_at(np.eye(4) + np.pad([[float(n)]], ((0, 3), (3, 0))), 96, 1.0) for n in range(4)]
    assert common_point(side_by_side) is None
