"""Rig profiles: made from every format, found under any usual name, and never guessed."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from meshdrop.models.capture.capture import CaptureError, read_capture
from meshdrop.models.capture.layout import Expectation, expect
from meshdrop.models.capture.rig_profile import Rigs, parse_profile, rig_of
from meshdrop.models.files.limits import CaptureLimits
from meshdrop.models.files.problem import CaptureError as Refused
from meshdrop.models.probe.inspection import inspect
from meshdrop.models.probe.rig_making import make_profile
from tests import formats
from tests.formats import FORMATS, odd_rig
from tests.unit.models.synthetic import write_canonical

LIMITS = CaptureLimits()
RIG = odd_rig()


def profile_text(**changes: object) -> bytes:
    frames = [
        {
            "file_path": f"images/{name}.png",
            "depth_file_path": f"depth/{name}.png",
            "fl_x": camera.fx,
            "w": camera.width,
            "h": camera.height,
            "transform_matrix": camera.c2w.tolist(),
        }
        for name, camera in RIG
    ]
    return json.dumps({"schema": "meshdrop.rig/1", "rig": "rig1", "frames": frames, **changes}).encode()


STORED = {"rig1": profile_text(), "rig2": profile_text(rig="rig2")}


def look(*names: str, dropped_for: str = "", stored: dict[str, bytes] = STORED, **files: object) -> Expectation:
    texts = {
        name.replace("__", "/") + ".json": value if isinstance(value, bytes) else json.dumps(value).encode()
        for name, value in files.items()
    }
    return expect((*names, *texts), texts.__getitem__, LIMITS, Rigs(stored, dropped_for))


def pictures(pattern: str) -> tuple[str, ...]:
    return tuple(pattern.format(name=name) for name, _ in RIG)


# -- making ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FORMATS)
def test_a_profile_of_any_format_has_the_same_cameras_as_its_source(tmp_path: Path, name: str) -> None:
    """The round trip's last leg: stored, put into a folder of pictures alone, read."""
    writer = FORMATS[name]
    rig = odd_rig(plain=writer.plain)
    writer.write(tmp_path / "source", rig)
    made = make_profile("rig1", tmp_path / "source", LIMITS)
    assert made.inspection is not None
    assert made.layout == writer.layout
    source = read_capture(tmp_path / "source")
    pinned = tmp_path / "source/rig.json"
    for ending in ("json", "bin", "txt", "npy"):
        for file in (tmp_path / "source").rglob(f"*.{ending}"):
            file.unlink()
    pinned.write_bytes(made.profile.text)
    again = read_capture(tmp_path / "source")
    assert again.layout == "rig"
    for one, other in zip(again.views, source.views, strict=True):
        np.testing.assert_allclose(one.camera.c2w, other.camera.c2w, rtol=0, atol=1e-9)
        assert (one.camera.fx, one.camera.fy, one.camera.cx, one.camera.cy) == pytest.approx(
            (other.camera.fx, other.camera.fy, other.camera.cx, other.camera.cy), abs=1e-9
        )
        assert (one.depth is None) == (other.depth is None)
        if one.depth is not None and other.depth is not None:
            np.testing.assert_array_equal(one.depth, other.depth)


def test_a_profile_of_the_standard_rig_and_of_one_file(tmp_path: Path) -> None:
    made = make_profile("box", write_canonical(tmp_path / "a"), LIMITS)
    assert [frame.image for frame in made.profile.stated.frames or ()][:2] == ["views/view_00.png", "views/view_01.png"]
    formats.colmap_binary(tmp_path / "b", RIG)
    for source in ("b/sparse/0", "b/sparse/0/images.bin", "b/sparse/0/cameras.bin"):
        made = make_profile("box", tmp_path / source, LIMITS)
        assert made.inspection is None
        assert len(made.profile.stated.frames or ()) == 6


def test_nothing_is_stored_of_a_source_that_is_wrong(tmp_path: Path) -> None:
    formats.nerfstudio(tmp_path / "a", RIG)
    table = json.loads((tmp_path / "a/transforms.json").read_text())
    for frame in table["frames"]:
        frame["transform_matrix"] = np.linalg.inv(np.array(frame["transform_matrix"])).tolist()
    (tmp_path / "a/transforms.json").write_text(json.dumps(table))
    with pytest.raises(Refused) as caught:
        make_profile("rig1", tmp_path / "a", LIMITS)
    assert caught.value.problems[0].code == "convention"
    (tmp_path / "b").mkdir()
    (tmp_path / "b/notes.txt").write_text("nothing")
    with pytest.raises(Refused):
        make_profile("rig1", tmp_path / "b/notes.txt", LIMITS)
    with pytest.raises(Refused):
        make_profile("rig1", tmp_path / "b", LIMITS)


def test_pictures_alone_are_no_rig(tmp_path: Path) -> None:
    """Six pictures with a number look like the standard rig's; without depth nothing shows that they are."""
    write_canonical(tmp_path / "a")
    with pytest.raises(Refused) as caught:
        make_profile("rig1", tmp_path / "a/views/view_00.png", LIMITS)
    assert [problem.code for problem in caught.value.problems] == ["set"]
    assert "states no cameras" in caught.value.problems[0].message
    shutil.rmtree(tmp_path / "a/depth")
    with pytest.raises(Refused) as caught:
        make_profile("rig1", tmp_path / "a", LIMITS)
    assert [problem.code for problem in caught.value.problems] == ["poses"]


def test_the_version_changes_with_every_word(tmp_path: Path) -> None:
    one, _ = parse_profile(profile_text(), "rig.json", LIMITS)
    other, _ = parse_profile(profile_text(depth_unit_m=0.0001), "rig.json", LIMITS)
    assert one is not None
    assert other is not None
    assert one.version != other.version


# -- finding the files ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pattern", ["images/{name}.png", "views/{name}.png", "rgb/{name}.PNG", "{name}.jpg"])
@pytest.mark.parametrize("root", ["", "scan/"])
def test_pictures_are_found_where_people_put_them(pattern: str, root: str) -> None:
    found = look(*pictures(root + pattern), dropped_for="rig1")
    assert found.complete, (found.problems, found.missing)
    assert (found.root, found.layout) == (root, "rig")
    assert [view.image for view in found.views] == list(pictures(root + pattern))
    assert found.rig is not None
    assert not found.pinned


def test_depth_is_wanted_as_soon_as_one_map_is_there_and_a_missing_picture_is_awaited_beside_the_others() -> None:
    images = pictures("views/{name}.png")
    assert not look(*images, dropped_for="rig1").depth_stated
    assert look(*images, "depth/v000.png", dropped_for="rig1").missing == pictures("depth/{name}.png")[1:]
    assert look(*images[:5], dropped_for="rig1").missing == images[5:]
    assert look(*images, dropped_for="rig1", capture={"depth": True}).missing == pictures("depth/{name}.png")
    assert look(*images, "depth/v000.png", dropped_for="rig1", capture={"depth": False}).complete


def test_a_picture_that_no_camera_of_the_rig_took_is_refused() -> None:
    found = look(*pictures("images/{name}.png"), "images/v006.png", dropped_for="rig1")
    assert [problem.code for problem in found.problems] == ["set"]
    assert "v006.png is no view of the rig rig1, which has 6 cameras" in found.problems[0].message


def test_two_files_for_one_camera_are_refused() -> None:
    """Yesterday's pictures in rgb/ and today's in images/: nobody can tell which are meant."""
    found = look(*pictures("images/{name}.png"), *pictures("rgb/{name}.png"), dropped_for="rig1")
    assert [problem.code for problem in found.problems] == ["set"]
    assert "images/v000.png and rgb/v000.png" in found.problems[0].message


# -- choosing -------------------------------------------------------------------------------------------------------

IMAGES = pictures("images/{name}.png")


def test_the_rig_is_named_by_the_file_the_folder_or_a_reference() -> None:
    reference = {"schema": "meshdrop.rig/1", "rig": "rig2"}
    for found in (
        look(*IMAGES, capture={"rig": "rig2", "priority": 3}),
        look(*IMAGES, dropped_for="rig2"),
        look(*IMAGES, rig=reference),
        look(*IMAGES, rig=reference, dropped_for="rig2"),
        look(*(f"capture/{name}" for name in IMAGES), rig=reference),
    ):
        assert found.complete, found.problems
        assert found.rig is not None
        assert found.rig.name == "rig2"


def test_a_profile_in_the_folder_wins_over_the_stored_one_of_its_name() -> None:
    """The pictures of an old result belong to the cameras of their day."""
    old = profile_text(depth_unit_m=0.01)
    found = look(*IMAGES, rig=old, dropped_for="rig1")
    assert found.complete, found.problems
    assert found.pinned
    assert found.stated.depth_unit_m == 0.01
    assert "rig.json" in found.required


FRAMES = json.loads(profile_text())["frames"]
QUARRELS: dict[str, dict[str, Any]] = {
    "two rigs": {"capture": {"rig": "rig1"}, "dropped_for": "rig2"},
    "a rig and a file of cameras": {"transforms": {"frames": []}, "dropped_for": "rig1"},
    "a rig and the file's own frames": {"capture": {"frames": FRAMES}, "dropped_for": "rig1"},
    "an unknown rig": {"capture": {"rig": "rig9"}},
    "an unknown folder": {"dropped_for": "rig9"},
    "a folder whose name no rig can have": {"dropped_for": "my rig"},
    "a damaged rig.json": {"rig": b"{"},
    "another's rig.json": {"rig": {"robot": "arm"}},
    "a rig.json with a path that leaves": {
        "rig": profile_text(frames=[{**frame, "file_path": "../x.png"} for frame in FRAMES])
    },
    "a damaged profile": {"dropped_for": "rig1", "stored": {"rig1": b"[" * 5000}},
    "a profile without cameras": {
        "dropped_for": "rig1",
        "stored": {"rig1": b'{"schema": "meshdrop.rig/1", "rig": "rig1"}'},
    },
    "a profile of NaN": {"dropped_for": "rig1", "stored": {"rig1": profile_text(depth_unit_m=float("nan"))}},
}


@pytest.mark.parametrize("what", QUARRELS)
@pytest.mark.parametrize("names", [IMAGES, pictures("views/view_{name}.png")], ids=["rig's", "others"])
def test_whatever_is_unclear_is_refused_and_never_read_as_the_standard_rig(what: str, names: tuple[str, ...]) -> None:
    found = look(*names, **QUARRELS[what])
    assert not found.complete
    assert found.problems
    assert found.kind != "canonical"
    assert all(problem.message and problem.fix for problem in found.problems)


def test_an_unknown_rig_is_answered_with_the_known_ones() -> None:
    (problem,) = look(*IMAGES, capture={"rig": "rig9"}).problems
    assert (problem.code, problem.file) == ("rig", "capture.json")
    assert "No rig called rig9 is stored; there are: rig1, rig2." in problem.message
    (problem,) = look(*IMAGES, dropped_for="rig9", stored={}).problems
    assert "none is stored yet" in problem.message


def test_a_rig_file_whose_copy_has_begun_is_awaited() -> None:
    found = look(*IMAGES, rig=bytes(40))
    assert found.begun == ("rig.json",)
    assert not found.problems


@pytest.mark.parametrize(
    ("path", "rig"), [("chair", ""), ("@rig1/chair", "rig1"), ("@Rig1/chair", "rig1"), ("@typo", "typo"), ("a@b", "")]
)
def test_which_rig_a_folder_of_the_inbox_was_dropped_for(path: str, rig: str) -> None:
    assert rig_of(path) == rig


def test_check_uses_the_stored_rig(tmp_path: Path) -> None:
    formats.nerfstudio(tmp_path / "a", RIG)
    (tmp_path / "a/transforms.json").unlink()
    with pytest.raises(CaptureError):
        read_capture(tmp_path / "a")
    stored = make_profile("rig1", _shot(tmp_path / "b"), LIMITS).profile.text
    found = inspect(tmp_path / "a", LIMITS, Rigs({"rig1": stored}, "rig1"))
    assert found.ok, found.problems
    assert found.rig is not None
    assert found.rig[0] == "rig1"
    assert any("rig layout rig1 (version" in line for line in found.lines())


def _shot(folder: Path) -> Path:
    formats.nerfstudio(folder, RIG)
    return folder
