"""Which masks a mesh is judged by: the capture's, those that a model handed back, or none in a scene."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from meshdrop.models.capture.capture import Capture
from meshdrop.models.measure import pictures
from meshdrop.models.measure.judged_views import INDEX, MASKS, handed_masks, subject_of, views_to_judge
from meshdrop.models.measure.measure import compare_all, measure
from meshdrop.models.mesh.errors import MeshError
from meshdrop.models.mesh.mesh import write_all
from tests import meshes
from tests.photographs import SIZE, photographed


@pytest.fixture
def capture() -> Capture:
    return photographed(meshes.torus(), ["front", "top"])


def leave(folder: Path, mask: np.ndarray, index: int) -> None:
    (folder / MASKS).mkdir(exist_ok=True)
    (folder / MASKS / INDEX).write_text(json.dumps({"front": "00.png", "top": "01.png"}), encoding="ascii")
    Image.fromarray((mask * 255).astype(np.uint8)).save(folder / MASKS / f"{index:02d}.png")


def test_a_model_that_left_none_is_judged_by_the_capture_s(tmp_path: Path, capture: Capture) -> None:
    assert handed_masks(tmp_path, capture) is None
    assert views_to_judge(capture) is capture


def test_masks_that_a_model_handed_back_count(tmp_path: Path, capture: Capture) -> None:
    half = np.zeros((SIZE, SIZE))
    half[:, : SIZE // 2] = 1
    for index in (0, 1):
        leave(tmp_path, half, index)
    masks = handed_masks(tmp_path, capture)
    judged = views_to_judge(capture, "table", masks)
    assert [view.name for view in judged.views] == ["front", "top"]
    assert all((view.mask == half).all() for view in judged.views)


@pytest.mark.parametrize("broken", ["missing", "size", "colour", "nonsense", "link", "pipe"])
def test_a_mask_that_cannot_be_used_is_named(tmp_path: Path, capture: Capture, broken: str) -> None:
    leave(tmp_path, np.ones((SIZE, SIZE)), 0)
    leave(tmp_path, np.ones((SIZE, SIZE)), 1)
    file = tmp_path / MASKS / "01.png"
    file.unlink()
    match broken:
        case "size":
            leave(tmp_path, np.ones((SIZE, SIZE - 1)), 1)
        case "colour":
            Image.new("RGB", (SIZE, SIZE)).save(file)
        case "nonsense":
            file.write_bytes(b"no picture")
        case "link":
            file.symlink_to(tmp_path / MASKS / "00.png")
        case "pipe":
            os.mkfifo(file)
    with pytest.raises(MeshError, match=r"masks/01\.png"):
        handed_masks(tmp_path, capture)


@pytest.mark.parametrize(
    "index", ["[]", "{", '{"front": 3}', '{"front": "../00.png"}', '{"left": "00.png"}', "[" * 9999]
)
def test_an_index_that_is_none_is_named(tmp_path: Path, capture: Capture, index: str) -> None:
    leave(tmp_path, np.ones((SIZE, SIZE)), 0)
    (tmp_path / MASKS / INDEX).write_text(index, encoding="ascii")
    with pytest.raises(MeshError, match=r"masks/index\.json"):
        handed_masks(tmp_path, capture)


def test_a_view_that_the_model_had_no_mask_for_is_not_judged(tmp_path: Path) -> None:
    """It was held out: what of it is the object nobody knows."""
    mesh = meshes.torus()
    capture = photographed(mesh, ["front", "top"])
    seen = views_to_judge(capture, "table", {"front": capture.views[0].mask})
    front, top = compare_all(mesh, seen, ["top"]).views
    assert front.coverage == 1.0
    assert (top.silhouette, top.depth, top.colour, top.coverage) == (None, None, None, None)


def test_in_a_scene_everything_belongs_to_it(tmp_path: Path, capture: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pictures, "STILL_PX", 24)
    assert all((view.mask == 1).all() for view in views_to_judge(capture, "scene").views)
    write_all(meshes.torus(), tmp_path / "fusion", {})
    folders = {"fusion": tmp_path / "fusion"}
    found = measure(capture, folders, tmp_path / "out", lambda *_: None, subjects={"fusion": "scene"})
    quality = found.models["fusion"].quality
    assert quality is not None
    assert quality.mean.silhouette_rim_iou is None  # there is no outline
    assert quality.mean.coverage == 1.0  # of what was measured, all
    assert quality.mean.depth_within_tolerance == 1.0


@pytest.mark.parametrize(
    ("figures", "subject"),
    [
        ({"subject": "scene"}, "scene"),
        ({"subject": "table"}, "table"),
        ({"subject": ["x"]}, "object"),
        (None, "object"),
    ],
)
def test_what_a_capture_is_of_is_one_of_three_words(figures: object, subject: str) -> None:
    assert subject_of(figures) == subject
