"""What is taken when nobody waits any longer, and of a sequence that is longer than needed."""

from __future__ import annotations

import json
from typing import Any

import pytest

from meshdrop.models.capture.layout import Expectation, expect
from meshdrop.models.files.limits import CaptureLimits

POSE = [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 2], [0, 0, 0, 1]]


def look(stated: int, there: set[int], *, most: int = 200, more: tuple[str, ...] = (), **keys: Any) -> Expectation:
    frames = [{"file_path": f"images/{index:04d}.jpg", "transform_matrix": POSE} for index in range(stated)]
    files = {"transforms.json": json.dumps({"fl_x": 600, "frames": frames}).encode()}
    if keys:
        files["capture.json"] = json.dumps(keys).encode()
    names = [f"images/{index:04d}.jpg" for index in there]
    return expect((*names, *files, *more), files.__getitem__, CaptureLimits(max_views=most))


def numbers(found: Expectation) -> list[int]:
    return [int(view.name) for view in found.views]


def test_frames_without_a_picture_are_awaited_and_then_left_out_and_said_once() -> None:
    found = look(50, set(range(33)))
    assert len(found.missing) == 17
    assert not found.complete
    rest = found.settled()
    assert rest.complete
    assert numbers(rest) == list(range(33))
    assert len(rest.stated.frames or ()) == 33
    assert rest.required == (*(f"images/{index:04d}.jpg" for index in range(33)), "transforms.json")
    (note,) = rest.notes
    assert note.startswith("17 of 50 frames have no picture here and are left out: ")
    assert "images/0033.jpg, images/0034.jpg, images/0035.jpg and 14 more" in note


@pytest.mark.parametrize(("there", "views"), [(2, 9), (3, 3), (9, 9)])
def test_three_pictures_are_enough_and_two_are_not(there: int, views: int) -> None:
    rest = look(9, set(range(there))).settled()
    assert len(rest.views) == views
    assert rest.complete is (there >= 3)


def test_a_file_of_a_frame_whose_picture_is_there_is_not_given_up() -> None:
    """Depth that is missing beside its picture is a copy that went wrong."""
    frames = [
        {"file_path": f"images/{i}.png", "depth_file_path": f"depth/{i}.png", "transform_matrix": POSE}
        for i in range(5)
    ]
    text = json.dumps({"fl_x": 600, "frames": frames}).encode()
    names = [f"{kind}/{i}.png" for kind in ("images", "depth") for i in range(4)]
    rest = expect((*names[:-1], "transforms.json"), lambda _: text, CaptureLimits()).settled()
    assert len(rest.views) == 4
    assert rest.missing == ("depth/3.png",)


def test_a_long_sequence_is_thinned_evenly_once_all_of_it_is_there() -> None:
    """1,000 frames, 4 of them: both ends and what lies a third of the way between."""
    found = look(1000, set(range(1000)), most=4)
    assert found.complete
    assert numbers(found) == [0, 333, 666, 999]
    assert len(found.required) == 5
    assert "4 of them are used" in found.notes[0]
    awaited = look(1000, set(range(999)), most=4)
    assert awaited.missing == ("images/0999.jpg",)
    assert numbers(awaited.settled()) == [0, 333, 665, 998]


def test_the_copy_of_a_thinned_sequence_says_what_the_sequence_said() -> None:
    whole = look(1000, set(range(1000)), most=50)
    copied = look(1000, set(numbers(whole)), most=50).settled()
    assert copied.views == whole.views
    assert copied.notes == whole.notes


def test_a_capture_may_ask_for_more_views_than_the_site_takes_by_itself() -> None:
    assert len(look(30, set(range(30)), most=10, max_views=20).views) == 20
    assert len(look(30, set(range(30)), most=10, max_views=30).views) == 30


@pytest.mark.parametrize("value", [2, 0, -1, 1e9, "all", True, 10.5, [], 10**30])
def test_a_number_of_views_that_cannot_be_is_refused(value: object) -> None:
    (problem,) = look(5, set(range(5)), max_views=value).problems
    assert (problem.code, problem.file) == ("sidecar", "capture.json")
    assert "max_views" in problem.message


def test_the_standard_rigs_views_are_never_left_out() -> None:
    names = [f"views/view_{number:02d}.png" for number in range(5)]
    found = expect(names, lambda _: b"{}", CaptureLimits())
    assert found.settled() == found
    assert found.missing == ("views/view_05.png",)
