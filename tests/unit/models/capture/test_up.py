"""Which way is up: stated by the sender or the format, else by how the cameras were held."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from meshdrop.models.axes.directions import AXES, name_of
from meshdrop.models.axes.stance import Stance
from meshdrop.models.capture.capture import CaptureError, read_capture
from meshdrop.models.capture.rig_profile import Rigs
from meshdrop.models.capture.up import Up, cameras_up, doubt, which_up
from meshdrop.models.files.limits import CaptureLimits
from meshdrop.models.formats.cameras import CANONICAL_VIEWS, Camera, canonical_camera, look_at
from meshdrop.models.probe.inspection import inspect
from meshdrop.models.probe.rig_making import make_profile
from tests import formats
from tests.formats import FORMATS, odd_rig
from tests.unit.models.synthetic import write_canonical

Array = NDArray[np.float64]
CANONICAL = [canonical_camera(name, 64, 64) for name in CANONICAL_VIEWS]
UPS = [*AXES.values(), (0.6, 0.0, -0.8)]


def ring(count: int = 12, arc: float = math.tau, down: float = 0.35, roll: float = 0.0) -> list[Camera]:
    """Cameras around +Y that look ``down`` by that slope, all rolled about their axes by ``roll`` radians."""
    found = []
    for angle in np.arange(count) * arc / count:
        c2w = look_at((math.sin(angle), down, math.cos(angle)), (0.0, 1.0, 0.0), 1.8)
        found.append(rolled(Camera(64, 64, 90, 90, 32, 32, c2w), roll))
    return found


def rolled(camera: Camera, angle: float) -> Camera:
    c, s = math.cos(angle), math.sin(angle)
    turn = np.eye(4)
    turn[:2, :2] = [(c, -s), (s, c)]
    return replace(camera, c2w=camera.c2w @ turn)


def in_world(cameras: list[Camera], up: tuple[float, float, float]) -> list[Camera]:
    """The same cameras in a world that has ``up`` where theirs has +Y."""
    turn = np.eye(4)
    turn[:3, :3] = Stance(up).rotation.T
    return [replace(camera, c2w=turn @ camera.c2w) for camera in cameras]


def degrees(found: tuple[float, float, float] | None, true: tuple[float, float, float]) -> float:
    assert found is not None
    return float(np.degrees(np.arccos(np.clip(np.dot(found, true), -1, 1))))


# -- stated --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_says_what_its_world_has_up(tmp_path: Path, name: str) -> None:
    """The writers' scene is one with +Y up, whose cameras are held about so; nerfstudio's world is a turned one."""
    FORMATS[name].write(tmp_path / "x", odd_rig(plain=FORMATS[name].plain))
    capture = read_capture(tmp_path / "x")
    expected = {
        "nerfstudio": "+Y",  # stored z, which applied_transform made of the capture's y
        "instant-ngp": "+Z",
        "blender": "+Z",
        "polycam": "+Y",
        "bop": None,
        "colmap text": None,
        "colmap binary": None,
        "capture.json": None,
        "llff": None,
        "7-scenes": None,
        "tum": None,
        "record3d": "+Y",
        "3d scanner app": "+Y",
    }[name]
    assert (None if capture.up is None else name_of(capture.up.direction)) == expected
    up = which_up(capture.up, None, [view.camera for view in capture.views])
    assert up.source == ("cameras" if expected is None else "format")
    if expected is None:
        assert degrees(up.direction, (0.0, 1.0, 0.0)) < 8  # the writers' cameras are turned about their axes


def test_the_standard_rig_has_plus_y_up(tmp_path: Path) -> None:
    up = read_capture(write_canonical(tmp_path / "x")).up
    assert up is not None
    assert (up.direction, up.source) == ((0, 1, 0), "format")


def test_instant_ngps_own_word_for_up_is_taken(tmp_path: Path) -> None:
    formats.instant_ngp(tmp_path / "x", odd_rig())
    file = tmp_path / "x/transforms.json"
    table = json.loads(file.read_text())
    for said, found in (([0, -3, 0], "-Y"), ([0, 0, 0], "+Z"), ("sky", "+Z"), (None, "+Z")):
        file.write_text(json.dumps({**table, "up": said}))
        up = read_capture(tmp_path / "x").up
        assert up is not None
        assert name_of(up.direction) == found


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize(("said", "found"), [("-y", "-Y"), ("+Z", "+Z"), ([-2, 0, 0], "-X")])
def test_what_the_sender_states_amends_every_format(tmp_path: Path, name: str, said: Any, found: str) -> None:
    """As any other key of ``capture.json`` does."""
    FORMATS[name].write(tmp_path / "x", odd_rig(plain=FORMATS[name].plain))
    ours = tmp_path / "x/capture.json"
    table = json.loads(ours.read_text()) if ours.exists() else {}
    ours.write_text(json.dumps({**table, "world_up": said}))
    up = read_capture(tmp_path / "x").up
    assert up is not None
    assert (name_of(up.direction), up.source) == (found, "world_up")


@pytest.mark.parametrize("word", AXES)
def test_each_direction_can_be_stated_on_the_standard_rig(tmp_path: Path, word: str) -> None:
    up = read_capture(write_canonical(tmp_path / "x", sidecar={"world_up": word})).up
    assert up is not None
    assert up.direction == AXES[word]


@pytest.mark.parametrize(
    "said", ["up", "z", "", "+w", [0, 0, 0], [0, 1], [0, 1, 0, 0], [True, 0, 0], 1, {"y": 1}, False]
)
def test_a_wrong_statement_is_refused_in_plain_words(tmp_path: Path, said: Any) -> None:
    folder = write_canonical(tmp_path / "x", sidecar={"world_up": said})
    with pytest.raises(CaptureError) as caught:
        read_capture(folder)
    [problem] = caught.value.problems
    assert (problem.code, problem.file) == ("sidecar", "capture.json")
    assert problem.message.startswith("world_up is ")
    assert '"+z"' in problem.message
    assert "three numbers" in problem.message
    assert problem.fix


@pytest.mark.parametrize("said", ["[0, NaN, 1]", "[0, 1e999, 0]"])
def test_a_number_that_is_none_is_told_once(tmp_path: Path, said: str) -> None:
    folder = write_canonical(tmp_path / "x")
    (folder / "capture.json").write_text(f'{{"world_up": {said}}}')
    with pytest.raises(CaptureError) as caught:
        read_capture(folder)
    [problem] = caught.value.problems
    assert "world_up[1]" in problem.message


@pytest.mark.parametrize(("name", "found"), [("instant-ngp", "+Z"), ("polycam", "+Y"), ("capture.json", None)])
def test_a_stored_rig_keeps_the_up_of_the_capture_that_it_was_made_of(
    tmp_path: Path, name: str, found: str | None
) -> None:
    FORMATS[name].write(tmp_path / "x", odd_rig())
    profile = make_profile("rig1", tmp_path / "x", CaptureLimits()).profile
    up = profile.stated.world_up
    assert (None if up is None else name_of(up)) == found
    if found is not None:
        (tmp_path / "x/rig.json").write_bytes(profile.text)
        for file in (tmp_path / "x").glob("transforms.json"):
            file.unlink()
        if name == "instant-ngp":
            again = read_capture(tmp_path / "x", rigs=Rigs()).up
            assert again is not None
            assert name_of(again.direction) == found


# -- how the cameras were held -------------------------------------------------------------------------------------


@pytest.mark.parametrize("up", UPS)
def test_cameras_that_are_held_upright_show_it_in_any_world(up: tuple[float, float, float]) -> None:
    for cameras in (CANONICAL, ring(), ring(count=30, down=1.7)):
        assert degrees(cameras_up(in_world(cameras, up)), up) < 0.01


@pytest.mark.parametrize("arc", [math.tau / 2, math.tau / 3, math.tau / 4])
def test_pictures_from_one_side_lean_less_than_their_mean(arc: float) -> None:
    """From a third of a circle, 35 degrees down: the mean alone leans by 30 degrees."""
    cameras = ring(count=20, arc=arc, down=0.7)
    mean = np.mean([camera.c2w[:3, 1] for camera in cameras], axis=0)
    mean /= np.linalg.norm(mean)
    found = cameras_up(cameras)
    assert degrees(found, (0.0, 1.0, 0.0)) < 0.5 * degrees(tuple(mean.tolist()), (0.0, 1.0, 0.0))
    assert degrees(found, (0.0, 1.0, 0.0)) < 10


@pytest.mark.parametrize("seed", range(4))
def test_a_hand_that_rolls_is_averaged(seed: int) -> None:
    """Up to 25 degrees to either side, each picture another: 14.4 of them are a standard deviation s. Levelling 24
    directions that lie evenly around has an error of s sqrt(2 / 24) = 4.2 degrees on each of two axes; three times that
    is 12.5.
    """
    rolls = np.random.default_rng(seed).uniform(-25, 25, 24)
    cameras = [rolled(camera, math.radians(roll)) for camera, roll in zip(ring(24), rolls, strict=True)]
    assert degrees(cameras_up(cameras), (0.0, 1.0, 0.0)) < 12.5


@pytest.mark.parametrize("roll", [-20.0, 20.0])
def test_a_mount_that_is_crooked_around_a_turntable_does_not_matter(roll: float) -> None:
    assert degrees(cameras_up(ring(roll=math.radians(roll))), (0.0, 1.0, 0.0)) < 0.01


@pytest.mark.parametrize("roll", [90.0, -90.0])
@pytest.mark.parametrize("up", UPS)
def test_pictures_that_lie_on_their_side_are_read_so(roll: float, up: tuple[float, float, float]) -> None:
    """A phone held upright stores what its sensor reads; whoever walks around an object looks down at it."""
    assert degrees(cameras_up(in_world(ring(roll=math.radians(roll)), up)), up) < 0.01


def test_cameras_that_do_not_agree_say_nothing() -> None:
    straight_down = [
        Camera(64, 64, 90, 90, 32, 32, look_at((0.0, 1.0, 0.0), (math.sin(a), 0.0, math.cos(a)), 2.0))
        for a in np.arange(8) * math.tau / 8
    ]
    assert cameras_up(straight_down) is None
    assert cameras_up([]) is None
    up = which_up(None, None, straight_down)
    assert (up.direction, up.source) == ((0, 1, 0), "nothing")
    assert "world_up" in str(doubt(up, straight_down))


# -- the order -----------------------------------------------------------------------------------------------------


def test_the_first_that_is_known_counts() -> None:
    stated, table, cameras = Up((1.0, 0.0, 0.0), "format", "x"), (0.0, 0.0, 1.0), ring()
    assert which_up(stated, table, cameras) is stated
    assert which_up(None, table, cameras).source == "table"
    assert which_up(None, table, cameras).direction == table
    assert which_up(None, None, cameras).source == "cameras"


def test_cameras_that_contradict_a_convention_are_told_of_and_do_not_decide(tmp_path: Path) -> None:
    """A world with +Y up in a format whose worlds have +Z up: nobody but its sender can know."""
    formats.instant_ngp(tmp_path / "x", odd_rig())
    found = inspect(tmp_path / "x")
    assert found.up is not None
    assert name_of(found.up.direction) == "+Z"
    assert found.ok
    assert any("world_up" in line and "degrees" in line for line in found.lines())
    (tmp_path / "x/capture.json").write_text('{"world_up": "+y"}')
    found = inspect(tmp_path / "x")
    assert found.up_doubt is None
    assert "  up: +Y, as world_up states it" in found.lines()
    assert found.to_json()["up"]["direction"] == [0, 1, 0]
