"""Sidecars from strangers: every wrong file is one plain sentence, never an exception."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meshdrop.models.files.limits import CaptureLimits
from meshdrop.models.files.problem import CaptureError
from meshdrop.models.formats.json_table import MOST_COMPLAINTS
from meshdrop.models.formats.lens import Lens
from meshdrop.models.formats.sidecar import KNOWN_KEYS, Options, Sidecar, merge_sidecars, parse_sidecar, read_options

LIMITS = CaptureLimits()
POSE = [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 2], [0, 0, 0, 1]]


def parse(content: object, file: str = "capture.json") -> tuple[Sidecar, tuple[str, ...]]:
    """(what is stated, codes of the problems)."""
    raw = content if isinstance(content, bytes) else json.dumps(content).encode()
    stated, problems = parse_sidecar(raw, file, LIMITS)
    assert all(problem.file == file and problem.message and problem.fix for problem in problems)
    return stated, tuple(problem.code for problem in problems)


def framed(**changes: Any) -> dict[str, Any]:
    """A valid file of three frames; ``changes`` go into the second one."""
    frames: list[dict[str, Any]] = [{"file_path": f"images/{i}.png", "transform_matrix": POSE} for i in range(3)]
    frames[1] |= changes
    return {"fl_x": 600.0, "w": 64, "h": 64, "frames": frames}


@pytest.mark.parametrize(
    "content",
    [
        b"[" * 60_000,
        b"{" + b'"a":{' * 10_000,
        b'{"priority": NaN}',
        b'{"priority": 1e999}',
        b'{"depth": true, "depth": false}',
        b"\xff\xfe{\x00}\x00",
        b'{"labels": {"a": "\\ud800"}}',
        b"not json",
        b'{"a": ',
        b"[]",
        b"17",
        b'{"priority": ' + b"9" * 50_000 + b"}",
        b" " * 70_000,
        b'{"depth": "yes"}',
        b'{"mask": 1}',
        b'{"priority": "high"}',
        b'{"priority": 1.5}',
        b'{"priority": true}',
        b'{"models": "fusion"}',
        b'{"models": []}',
        b'{"models": ["../fusion"]}',
        b'{"labels": []}',
        b'{"depth_unit_m": 0}',
        b'{"depth_unit_m": -1}',
        b'{"depth_unit_m": "mm"}',
        b'{"depth_unit_m": 0.001, "depth_unit_scale_factor": 0.0001}',
        b'{"camera_axes": "opengl "}',
        b'{"pose": "c2w"}',
        b'{"rig": "no/name"}',
        b'{"rig": 7}',
        b'{"rig": "rig1", "views": ["front", "back", "top"]}',
        b'{"version": 2}',
        b'{"views": ["front", "front", "back"]}',
        b'{"views": ["nose"]}',
        b'{"views": "front"}',
        b'{"frames": {}}',
        b'{"frames": [1, 2, 3]}',
        b'{"retries": 1000000000}',
    ],
)
def test_a_bad_file_is_exactly_one_problem(content: bytes) -> None:
    assert parse(content)[1] == ("sidecar",)


def test_a_200_kilobyte_bracket_bomb_is_refused_by_size() -> None:
    assert parse(b"[" * 200_000)[1] == ("sidecar",)


def test_an_unknown_key_is_named_with_the_nearest_known_one() -> None:
    _, problems = parse_sidecar(b'{"depth_unit": 0.001}', "capture.json", LIMITS)
    assert "'depth_unit'" in problems[0].message
    assert "depth_unit_m" in problems[0].fix


def test_unknown_keys_of_other_programs_are_passed_over() -> None:
    assert parse(framed() | {"their_own_key": 1}, "transforms.json")[1] == ()


@pytest.mark.parametrize("path", ["", "a\0.png", "..", "/", "C:", "./../", 3, "x" * 1025])
def test_paths_that_lead_to_no_file_are_refused(path: object) -> None:
    for key in ("file_path", "depth_file_path", "mask_path"):
        assert parse(framed(**{key: path}), "transforms.json")[1] == ("sidecar",), key


@pytest.mark.parametrize(
    ("path", "tidy"),
    [
        ("/etc/passwd.png", "etc/passwd.png"),
        ("../x.png", "x.png"),
        ("a/../../x.png", "x.png"),
        ("a/b/../x.png", "a/x.png"),
        ("C:/x.png", "x.png"),
        ("images\\0.png", "images/0.png"),
        ("//host/x.png", "host/x.png"),
        ("images/1.tif", "images/1.tif"),
    ],
)
def test_no_path_leads_out_however_it_was_written(path: str, tidy: str) -> None:
    for key, attribute in (("file_path", "image"), ("depth_file_path", "depth"), ("mask_path", "mask")):
        stated, codes = parse(framed(**{key: path}), "transforms.json")
        assert codes == ()
        assert stated.frames is not None
        assert getattr(stated.frames[1], attribute) == tidy


def test_paths_are_tidied() -> None:
    stated, codes = parse(framed(file_path="./images//1.png", depth_file_path="depth/r_1"), "transforms.json")
    assert codes == ()
    assert stated.frames is not None
    assert (stated.frames[1].image, stated.frames[1].depth) == ("images/1.png", "depth/r_1.png")


def test_a_byte_order_mark_of_windows_is_no_content() -> None:
    content = json.dumps(framed()).encode()
    assert parse(b"\xef\xbb\xbf" + content, "transforms.json") == parse(content, "transforms.json")


def test_instant_ngps_name_for_depth_is_known() -> None:
    stated, codes = parse(framed(depth_path="depth/1.png"), "transforms.json")
    assert codes == ()
    assert stated.frames is not None
    assert stated.frames[1].depth == "depth/1.png"


def test_a_rigs_name_is_read_without_regard_to_case() -> None:
    assert parse(b'{"rig": "Rig-1"}')[0].rig == "rig-1"
    assert parse(b'{"rig": "canonical"}')[0].rig is None


@pytest.mark.parametrize(
    "change",
    [
        {"transform_matrix": None},
        {"transform_matrix": POSE[:2]},
        {"transform_matrix": [[1, 2], [3, 4]]},
        {"transform_matrix": [*POSE[:3], [0, 0, 0, 2]]},
        {"transform_matrix": [["1", 0, 0, 0], *POSE[1:]]},
        {"transform_matrix": [[float("nan"), 0, 0, 0], *POSE[1:]]},
        {"transform_matrix": [[10**400, 0, 0, 0], *POSE[1:]]},
        {"fl_x": 0},
        {"fl_x": -5},
        {"fl_x": "600"},
        {"fl_x": float("inf")},
        {"k1": "0.1"},
        {"k1": [0.1]},
        {"p2": float("nan")},
        {"k3": 10**400},
        {"camera_model": "CYLINDER"},
        {"camera_model": 7},
        {"camera_model": "EQUIRECTANGULAR"},
        {"camera_model": "PINHOLE", "is_fisheye": True},
        {"camera_model": "RADIAL_FISHEYE", "p1": 0.1},
        {"omega": 0.5},
    ],
)
def test_bad_camera_data_is_one_calibration_problem(change: dict[str, Any]) -> None:
    assert parse(framed(**change), "transforms.json")[1] == ("calib",)


LENSES: dict[str, tuple[dict[str, Any], Lens]] = {
    "one number": ({"k1": 0.05}, Lens("SIMPLE_RADIAL", (0.05,))),
    "two numbers": ({"k1": 0.05, "k2": -0.1, "p1": 0}, Lens("RADIAL", (0.05, -0.1))),
    "instant-ngp": (
        {"k1": 0.05, "k2": -0.08, "p1": -0.001, "p2": 0.0002},
        Lens("OPENCV", (0.05, -0.08, -0.001, 0.0002, 0.0, 0.0)),
    ),
    "nerfstudio": (
        {"camera_model": "OPENCV", "k1": 0.05, "k4": 0.01, "p1": 0.0},
        Lens("OPENCV", (0.05, 0.0, 0.0, 0.0, 0.0, 0.01)),
    ),
    "k5 is there": ({"k1": 0.05, "k4": 0.01, "k5": 0}, Lens("FULL_OPENCV", (0.05, 0.0, 0.0, 0.0, 0.0, 0.01, 0.0, 0.0))),
    "a name that says too little": (
        {"camera_model": "SIMPLE_RADIAL", "k1": 0.05, "p2": 0.01},
        Lens("OPENCV", (0.05, 0.0, 0.0, 0.01, 0.0, 0.0)),
    ),
    "a fisheye of instant-ngp": ({"is_fisheye": True, "k1": 0.05}, Lens("OPENCV_FISHEYE", (0.05, 0.0, 0.0, 0.0))),
    "a fisheye by name": ({"camera_model": "OPENCV_FISHEYE", "is_fisheye": True}, Lens("OPENCV_FISHEYE", (0.0,) * 4)),
    "in small letters": ({"camera_model": "radial_fisheye", "k2": 0.1}, Lens("RADIAL_FISHEYE", (0.0, 0.1))),
    "RealSense": (
        {"camera_model": "INVERSE_BROWN_CONRADY", "k1": 0.1, "k3": 0.2},
        Lens("INVERSE_BROWN_CONRADY", (0.1, 0.0, 0.0, 0.0, 0.2)),
    ),
    "field of view": ({"camera_model": "FOV", "omega": 0.9}, Lens("FOV", (0.9,))),
}


@pytest.mark.parametrize("name", LENSES)
def test_a_lens_is_stated_for_all_or_for_one_frame(name: str) -> None:
    keys, lens = LENSES[name]
    for file in ("transforms.json", "capture.json"):
        stated, codes = parse(framed() | keys, file)
        assert codes == ()
        assert stated.intrinsics.lens == lens
        assert [frame.intrinsics.lens for frame in stated.frames or ()] == [lens] * 3
        stated, codes = parse(framed(**keys), file)
        assert codes == ()
        assert [frame.intrinsics.lens for frame in stated.frames or ()] == [None, lens, None]
        again, codes = parse(framed() | lens.stated(), file)
        assert codes == ()
        assert again.intrinsics.lens == lens


def test_a_frame_says_otherwise_of_its_lens_key_by_key() -> None:
    stated, codes = parse(framed(k2=0.0) | {"camera_model": "OPENCV_FISHEYE", "k1": 0.1, "k2": 0.2}, "transforms.json")
    assert codes == ()
    numbers = [frame.intrinsics.lens and frame.intrinsics.lens.numbers for frame in stated.frames or ()]
    assert numbers == [(0.1, 0.2, 0.0, 0.0), (0.1, 0.0, 0.0, 0.0), (0.1, 0.2, 0.0, 0.0)]


@pytest.mark.parametrize("keys", [{"k1": 0.0, "k2": 0, "p1": 0.0, "camera_model": "OPENCV"}, {"is_fisheye": False}, {}])
def test_distortion_of_zero_is_a_pinhole(keys: dict[str, Any]) -> None:
    stated, codes = parse(framed() | keys, "transforms.json")
    assert codes == ()
    assert stated.intrinsics.lens is None or stated.intrinsics.lens.is_pinhole


def test_keys_of_rare_models_mean_nothing_without_their_model() -> None:
    """Whoever writes transforms.json may mean something else by them."""
    stated, codes = parse(framed() | {"alpha": "straight", "s1": [1], "beta": True, "k1": 0.1}, "transforms.json")
    assert codes == ()
    assert stated.intrinsics.lens == Lens("SIMPLE_RADIAL", (0.1,))
    assert parse(framed() | {"camera_model": "EUCM", "alpha": "straight"}, "transforms.json")[1] == ("calib",)


def test_our_own_file_can_say_that_pictures_have_no_lens_any_more() -> None:
    theirs, _ = parse(framed() | {"k1": 0.1}, "transforms.json")
    ours, codes = parse({"camera_model": "PINHOLE"})
    assert codes == ()
    merged = merge_sidecars(ours, theirs)
    assert all(frame.intrinsics.lens == Lens("PINHOLE") for frame in merged.frames or ())
    assert merge_sidecars(parse({})[0], theirs).frames == theirs.frames


def test_no_focal_length_at_all_is_refused() -> None:
    assert set(parse({key: value for key, value in framed().items() if key != "fl_x"})[1]) == {"calib"}


def test_a_frame_overrides_the_shared_intrinsics() -> None:
    stated, codes = parse(framed(fl_x=700, cx=30), "transforms.json")
    assert codes == ()
    assert stated.frames is not None
    assert [frame.intrinsics.fl_x for frame in stated.frames] == [600, 700, 600]
    assert [frame.intrinsics.cx for frame in stated.frames] == [None, 30, None]


def test_two_frames_are_too_few() -> None:
    assert parse({"fl_x": 6, "frames": framed()["frames"][:2]})[1] == ("set",)


def test_depth_units_of_every_spelling() -> None:
    assert parse({"depth_unit_m": 0.0001})[0].depth_unit_m == 0.0001
    assert parse(framed() | {"integer_depth_scale": 0.0002}, "transforms.json")[0].depth_unit_m == 0.0002
    assert parse(framed() | {"depth_unit_scale_factor": 1e-3}, "transforms.json")[0].depth_unit_m == 1e-3
    assert parse(framed(), "transforms.json")[0].depth_unit_m is None


def test_options_are_read_and_clamped() -> None:
    content = b'{"models": ["fusion", "nvdiffrec", "fusion"], "priority": 1000000000, "labels": {"part": [1, null]}}'
    assert read_options(content) == Options(("fusion", "nvdiffrec"), 100, {"part": [1, None]})
    assert read_options(b'{"priority": -1e30}').priority == -100
    assert read_options(b"{}") == Options()


def test_options_of_a_broken_file_raise_the_same_problems() -> None:
    with pytest.raises(CaptureError) as caught:
        read_options(b"{")
    assert [problem.code for problem in caught.value.problems] == ["sidecar"]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=12,
)
FRAME = st.dictionaries(st.sampled_from(["file_path", "transform_matrix", "fl_x", "k1", "mask_path"]), JSON, max_size=4)


@settings(max_examples=120)
@given(st.dictionaries(st.sampled_from(KNOWN_KEYS), JSON | st.lists(FRAME, max_size=5), max_size=6))
def test_no_value_under_a_known_key_raises(table: dict[str, Any]) -> None:
    parse_sidecar(json.dumps(table).encode(), "capture.json", LIMITS)


@settings(max_examples=300)
@given(st.binary(max_size=80))
def test_no_bytes_raise(content: bytes) -> None:
    parse_sidecar(content, "capture.json", LIMITS)


def test_thousands_of_problems_are_counted_and_a_few_told() -> None:
    content = json.dumps({f"key_{number}": 1 for number in range(3000)}).encode()
    _, problems = parse_sidecar(content, "capture.json", LIMITS)
    assert len(problems) == MOST_COMPLAINTS + 1
    assert problems[-1].message == "The file has 2,980 more problems."
