"""From a capture to views that agree: what is left out, mended, cut free, refused, told and written."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from meshdrop.models.capture.capture import Capture
from meshdrop.models.measure.judged_views import hand_back
from meshdrop.models.surface.volume import EmptyCapture
from meshdrop.models.views.assembly import FEWEST_VIEWS, LEAST_SHARE, assemble
from tests.unit.models.views.scenes import (
    BALL,
    BUMPY,
    ON_TABLE,
    ROOM,
    TABLE_ALONE,
    above,
    around,
    beside,
    changed,
    jittered,
    outward,
    photographed,
)


def whole(capture: Capture) -> Capture:
    """As a sensor that measures everything gives it: the mask is where there is depth."""
    masks = [np.zeros(v.mask.shape, np.float32) if v.depth is None else (v.depth > 0) * 1 for v in capture.views]
    views = [
        replace(view, mask=mask.astype(np.float32), mask_source="depth")
        for view, mask in zip(capture.views, masks, strict=True)
    ]
    return replace(capture, views=tuple(views))


def farther(capture: Capture, index: int, factor: float) -> Capture:
    depth = capture.views[index].depth
    assert depth is not None
    return changed(capture, index, depth=depth * np.float32(factor))


def names(capture: Capture) -> list[str]:
    return [view.name for view in capture.views]


def test_of_a_clean_capture_nothing_is_changed_and_nothing_told() -> None:
    capture = photographed(BUMPY, around(8))
    made = assemble(capture)
    assert made.subject == "object"
    assert made.notes == ()
    assert made.cameras == {}
    assert made.masks == {}
    assert made.table is None
    assert made.table_up is None
    assert all(a is b for a, b in zip(made.capture.views, capture.views, strict=True)) or (
        [view.mask.tobytes() for view in made.capture.views] == [view.mask.tobytes() for view in capture.views]
    )
    assert made.figures["left_out"] == []
    assert made.figures["masks_mended"] == made.figures["depth_outvoted"] == {}


@pytest.mark.parametrize("factor", [0.95, 1.05])
def test_one_view_five_percent_off_is_left_out_and_named(factor: float) -> None:
    made = assemble(farther(photographed(BUMPY, around(12), 0.002), 5, factor))
    assert made.figures["left_out"] == ["v05"]
    assert "v05" not in names(made.capture)
    assert len(made.views) == len(made.capture.views) == 11
    assert any("made without v05" in note for note in made.notes)


def test_a_camera_that_stands_elsewhere_is_left_out() -> None:
    capture = photographed(BUMPY, around(12), 0.002)
    wrong = beside(capture.views[5].camera, np.array([0.1, 0.15, 0.0]), np.zeros(3))
    made = assemble(changed(capture, 5, camera=wrong))
    assert made.figures["left_out"] == ["v05"]


@pytest.mark.parametrize("count", [3, 4, 6, 9, 12])
def test_never_fewer_than_three_views_or_two_thirds_remain(count: int) -> None:
    capture = photographed(BUMPY, around(count), 0.002)
    random = np.random.default_rng(1)
    for n in range(count):
        capture = farther(capture, n, float(random.uniform(0.9, 1.1)))
    made = assemble(capture)
    assert len(made.views) >= max(FEWEST_VIEWS, LEAST_SHARE * count)
    assert len(made.views) + len(made.figures["left_out"]) == count


def test_a_mask_that_lacks_a_part_is_mended_and_named() -> None:
    capture = photographed(BALL, around(6), 0.002)
    mask = capture.views[0].mask.copy()
    mask[:, 62:] = 0
    made = assemble(changed(capture, 0, mask=mask))
    true, got = capture.views[0].mask >= 0.5, made.capture.views[0].mask >= 0.5
    assert (true & got).sum() / (true | got).sum() > 0.97
    assert list(made.figures["masks_mended"]) == ["v00"]
    assert any("masks lack" in note and "v00 (30% of the object)" in note for note in made.notes)


def test_a_patch_of_depth_too_far_is_not_believed_and_named() -> None:
    capture = photographed(BALL, around(12), 0.002)
    depth = capture.views[2].depth
    assert depth is not None
    wrong = depth.copy()
    wrong[40:56, 40:56] += 0.4
    made = assemble(changed(capture, 2, depth=wrong))
    assert list(made.figures["depth_outvoted"]) == ["v02"]
    used = made.capture.views[2].depth
    assert used is not None
    assert (used[41:55, 41:55] == 0).all()
    assert any("was not believed: v02" in note for note in made.notes)


def test_poses_that_were_refined_are_told_and_handed_back(tmp_path: Path) -> None:
    made = assemble(jittered(photographed(BUMPY, around(12, 128), 0.002), 0.006, 0.15))
    assert set(made.cameras) == {f"v{n:02d}" for n in range(12)}
    assert any("cameras were moved" in note for note in made.notes)
    figures = made.figures["poses"]
    assert figures["after_mm"] < figures["before_mm"]
    hand_back(tmp_path, made.masks, made.cameras)
    told = json.loads((tmp_path / "cameras.json").read_text("utf-8"))
    for name, pose in made.cameras.items():
        np.testing.assert_array_equal(told[name], pose)
    for view in made.capture.views:
        np.testing.assert_array_equal(view.camera.c2w, made.cameras[view.name])
    assert [file.name for file in tmp_path.iterdir()] == ["cameras.json"]


def test_an_object_on_a_table_is_cut_free_and_its_masks_are_handed_back(tmp_path: Path) -> None:
    capture = whole(photographed(ON_TABLE, above(8, 128), 0.002))
    made = assemble(capture)
    assert made.subject == "table"
    assert made.table_up is not None
    np.testing.assert_allclose(made.table_up, (0, 1, 0), atol=0.01)
    hand_back(tmp_path, made.masks, made.cameras)
    assert sorted(file.name for file in (tmp_path / "masks").iterdir()) == [
        *(f"{n:02d}.png" for n in range(8)),
        "index.json",
    ]
    ball = replace(ON_TABLE, boxes=())
    for n, view in enumerate(capture.views):
        with Image.open(tmp_path / "masks" / f"{n:02d}.png") as picture:
            assert picture.mode == "L"
            pixels = np.asarray(picture)
        true = ball.depth(view.camera) > 0
        assert ((pixels >= 128) & true).sum() / ((pixels >= 128) | true).sum() > 0.95
        np.testing.assert_array_equal(pixels, np.rint(made.masks[view.name] * 255))
    assert any("cut free" in note for note in made.notes)


def test_masks_are_handed_back_by_the_number_of_the_capture_s_view() -> None:
    """A view that was left out keeps its number and gets its mask."""
    capture = farther(whole(photographed(ON_TABLE, above(9, 128), 0.002)), 0, 1.08)
    made = assemble(capture)
    assert made.figures["left_out"] == ["v00"]
    assert list(made.masks) == names(capture)


def test_a_plane_on_which_nothing_stands_is_a_scene_unless_a_table_was_stated() -> None:
    capture = whole(photographed(TABLE_ALONE, above(8), 0.002))
    assert assemble(capture).subject == "scene"
    with pytest.raises(EmptyCapture, match="no plane was found that something stands on"):
        assemble(replace(capture, subject="table"))


@pytest.mark.parametrize("noise", [0.0, 0.002])
def test_a_stated_table_in_a_room_looked_at_outward_is_refused_for_that_and_nothing_else(noise: float) -> None:
    capture = whole(photographed(ROOM, outward(9), noise))
    with pytest.raises(EmptyCapture, match="no plane was found") as caught:
        assemble(replace(capture, subject="table"))
    assert '"subject": "scene"' in caught.value.problems[0].fix


@pytest.mark.parametrize("subject", ["table", "scene"])
def test_without_depth_neither_a_table_nor_a_scene_is_made(subject: str) -> None:
    capture = photographed(BALL, around(6))
    blind = replace(
        capture,
        views=tuple(replace(view, depth=None) for view in capture.views),
        subject=subject,  # type: ignore[arg-type]
    )
    with pytest.raises(EmptyCapture, match=f"a {subject} is found from depth, which no view has"):
        assemble(blind)


def test_what_is_stated_is_done() -> None:
    assert assemble(replace(whole(photographed(ON_TABLE, above(8), 0.002)), subject="scene")).subject == "scene"
    assert assemble(replace(whole(photographed(ON_TABLE, above(8), 0.002)), subject="object")).subject == "object"


@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize("blind", [0, 1])
def test_few_views_and_some_without_depth_are_assembled(count: int, blind: int) -> None:
    capture = replace((every := photographed(BALL, around(6))), views=every.views[:count])
    for n in range(min(blind, count)):
        capture = changed(capture, n, depth=None)
    assert len(assemble(capture).views) == count
    if capture.has_depth:
        assert len(assemble(replace(capture, subject="scene")).views) == count


def test_a_view_whose_mask_is_empty_and_views_of_other_sizes_are_no_trouble() -> None:
    cameras = [replace(c, width=150, height=110, cx=75, cy=55) if n % 2 else c for n, c in enumerate(around(8))]
    capture = photographed(BALL, cameras)
    assert len(assemble(capture).views) == 8
    empty = np.zeros_like(capture.views[0].mask)
    assert len(assemble(changed(capture, 0, mask=empty, depth=empty)).views) == 8
