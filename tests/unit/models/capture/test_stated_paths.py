"""Which file a stated path means: by itself, by its letters, by its stem, by its end; and never one that is unclear."""

from __future__ import annotations

import json
import unicodedata
from pathlib import Path
from typing import Any

import pytest

from meshdrop.models.capture.layout import Expectation, expect
from meshdrop.models.capture.stated_paths import StatedPaths
from meshdrop.models.files.limits import CaptureLimits
from meshdrop.models.probe.inspection import inspect
from tests import formats
from tests.formats import colmap_images, odd_rig

POSE = [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 2], [0, 0, 0, 1]]
COMPOSED = "sch\u00f6n"

MEANT = {
    "itself": ("images/a.png", ["images/a.png", "images/A.png"], "images/a.png"),
    "another case": ("images/a.png", ["Images/A.PNG"], "Images/A.PNG"),
    "another form of its letters": (
        f"images/{COMPOSED}.png",
        [f"images/{unicodedata.normalize('NFD', COMPOSED)}.png"],
        f"images/{unicodedata.normalize('NFD', COMPOSED)}.png",
    ),
    "another ending": ("images/a.jpg", ["images/a.png"], "images/a.png"),
    "an ending that is not read": ("images/a.gif", ["images/a.jpeg"], "images/a.jpeg"),
    "another machine's folders": ("home/ann/data/mug/images/a.png", ["images/a.png"], "images/a.png"),
    "a folder more": ("images/a.png", ["scan/images/a.png"], "scan/images/a.png"),
    "another folder": ("images/a.png", ["photos/a.png"], "photos/a.png"),
    "the top": ("images/a.png", ["a.png"], "a.png"),
    "another folder and ending": ("data/images/a.jpg", ["photos/a.png"], "photos/a.png"),
    "the longest end": ("data/left/a.png", ["left/a.png", "right/a.png"], "left/a.png"),
    "not depth of the same name": ("images/a.png", ["depth/a.png"], None),
    "not a mask of the same name": ("images/a.png", ["masks/a.png"], None),
    "not the sensor's doubts": ("images/a.png", ["confidence/a.png"], None),
    "not another stem": ("images/a.png", ["images/aa.png", "images/b.png"], None),
}


@pytest.mark.parametrize("what", MEANT)
def test_a_path_means_the_file_that_it_leads_to(what: str) -> None:
    path, names, meant = MEANT[what]
    found = StatedPaths(names).find(path, "image")
    assert (found.name if found.there else None) == meant
    assert found.twins == ()


@pytest.mark.parametrize(
    ("path", "names"),
    [
        ("images/a.png", ["one/a.png", "other/a.png"]),
        ("images/a.png", ["images/A.png", "IMAGES/a.png"]),
        ("images/a.tif", ["images/a.png", "images/a.jpg"]),
    ],
)
def test_a_path_that_could_mean_two_files_means_neither(path: str, names: list[str]) -> None:
    found = StatedPaths(names).find(path, "image")
    assert (found.name, found.there, found.twins) == (path, False, tuple(sorted(names)))


def test_depth_is_found_in_a_folder_of_depth_only() -> None:
    paths = StatedPaths(["images/a.png", "scan/depth/a.png"])
    assert paths.find("data/a.png", "depth").name == "scan/depth/a.png"
    assert not StatedPaths(["images/a.png"]).find("depth/a.png", "depth").there


def capture(paths: list[str], *names: str, **more: Any) -> Expectation:
    stated = {"fl_x": 600, "frames": [{"file_path": path, "transform_matrix": POSE, **more} for path in paths]}
    text = json.dumps(stated).encode()
    return expect((*names, "transforms.json"), lambda _: text, CaptureLimits())


def test_what_is_unclear_is_refused_in_one_sentence() -> None:
    names = [f"{folder}/{stem}.png" for folder in ("one", "other") for stem in "abc"]
    (problem,) = capture(["data/a.png", "data/b.png", "data/c.png"], *names).problems
    assert problem.code == "set"
    assert "one/a.png, other/a.png" in problem.message
    assert "2 more paths" in problem.message


def test_one_file_is_not_the_picture_of_two_frames() -> None:
    found = capture(["left/a.png", "right/a.png", "b.png"], "photos/a.png", "b.png")
    assert set(found.missing) == {"left/a.png", "right/a.png"}


def test_a_set_that_was_found_by_ends_of_paths_settles_longer() -> None:
    """The pictures in their own folder may still be on their way."""
    assert capture(["i/a.png", "i/b.png", "i/c.png"], "thumbs2/a.png", "thumbs2/b.png", "thumbs2/c.png").open_ended
    assert not capture(["i/a.png", "i/b.png", "i/c.png"], "i/a.jpg", "i/b.png", "i/c.png").open_ended


def test_a_file_of_a_kind_that_is_not_read_is_named_once() -> None:
    names = [f"i/{stem}.{ending}" for stem in "abc" for ending in ("gif",)]
    (problem,) = capture(["i/a.gif", "i/b.gif", "i/c.gif"], *names).problems
    assert problem.code == "not_png"
    assert problem.message.startswith("i/a.gif, i/b.gif, i/c.gif: photographs are read from .png")


@pytest.mark.parametrize(
    "written",
    [
        "images\\{}.png",
        "./../data/mug/images/{}.png",
        "data/nerf/mug/images/{}.png",
        "C:\\scans\\mug\\images\\{}.jpg",
        "/home/ann/mug/images/{}.png",
        "IMAGES/{}.PNG",
    ],
)
def test_pictures_are_found_however_their_paths_were_written(tmp_path: Path, written: str) -> None:
    formats.instant_ngp(tmp_path / "x", odd_rig())
    file = tmp_path / "x/transforms.json"
    table = json.loads(file.read_text())
    for frame in table["frames"]:
        frame["file_path"] = written.format(Path(frame["file_path"]).stem)
        frame["depth_path"] = frame["depth_path"].replace("/", "\\")
    file.write_text(json.dumps(table))
    found = inspect(tmp_path / "x")
    assert found.ok, found.problems
    assert len(found.views) == 6
    assert found.probe is not None
    assert found.probe.verdict == "verified"


def test_colmaps_pictures_are_found_beside_a_folder_called_colmap(tmp_path: Path) -> None:
    """As nerfstudio leaves them: colmap/sparse/0 beside images/."""
    formats.colmap_binary(tmp_path / "x", odd_rig())
    (tmp_path / "x/colmap").mkdir()
    (tmp_path / "x/sparse").rename(tmp_path / "x/colmap/sparse")
    found = inspect(tmp_path / "x")
    assert found.ok, found.problems
    assert found.layout == "colmap"
    assert len(found.views) == len(colmap_images(odd_rig()))
    assert found.probe is not None
    assert found.probe.verdict == "verified"


def test_cameras_in_a_folder_beside_their_pictures_are_found(tmp_path: Path) -> None:
    formats.nerfstudio(tmp_path / "x", odd_rig())
    (tmp_path / "x/cameras").mkdir()
    (tmp_path / "x/transforms.json").rename(tmp_path / "x/cameras/transforms.json")
    found = inspect(tmp_path / "x")
    assert found.ok, found.problems
    assert len(found.views) == 6
