"""Files of apps and sensors that no program would write, or that are still being copied."""

from __future__ import annotations

import json
import pickle
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from meshdrop.models.capture.layout import Expectation, expect
from meshdrop.models.files.limits import CaptureLimits
from meshdrop.models.formats import llff, number_text, quaternions, record3d, scanner_app, seven_scenes, tum
from meshdrop.models.probe.inspection import inspect
from tests import formats
from tests.formats import FORMATS, llff_table, odd_rig
from tests.pictures import npy

LIMITS = CaptureLimits()
RIG = odd_rig()
NEW = ("llff", "7-scenes", "tum", "record3d", "3d scanner app")


def files_of(folder: Path) -> dict[str, bytes]:
    return {file.relative_to(folder).as_posix(): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def look(files: dict[str, bytes]) -> Expectation:
    return expect(tuple(files), files.__getitem__, LIMITS)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, bytes]]:
    """Each format's folder as {path: content}."""
    found = {}
    for name in NEW:
        folder = tmp_path_factory.mktemp("formats")
        FORMATS[name].write(folder, odd_rig(plain=FORMATS[name].plain))
        found[name] = files_of(folder)
    return found


def test_each_is_known_by_its_names_alone() -> None:
    assert llff.roots({"a/poses_bounds.npy"}) == {"a/"}
    assert seven_scenes.roots({"camera-intrinsics.txt", "x/frame-000000.pose.txt"}) == {""}
    assert seven_scenes.roots({"x/frame-000000.pose.txt"}) == {"x/"}
    assert tum.roots({"s/rgb.txt", "s/groundtruth.txt"}) == {"s/"}
    assert tum.roots({"s/groundtruth.txt"}) == set()
    assert record3d.roots({"e/metadata.json", "e/rgb/0.jpg"}) == {"e/"}
    assert record3d.roots({"metadata.json"}) == set()
    assert scanner_app.roots({"s/frame_00000.json", "s/frame_x.json"}) == {"s/"}


@pytest.mark.parametrize("name", NEW)
def test_a_file_of_cameras_that_stops_anywhere_is_awaited_or_named_and_never_taken_for_less(
    written: dict[str, dict[str, bytes]], name: str
) -> None:
    """What is cut of a text's last number cannot be seen, nor a list that ends with a whole line; all else is."""
    whole = written[name]
    good = look(whole)
    assert good.complete, (good.missing, good.problems)
    for file in [file for file in good.sidecars if not file.endswith("capture.json")][:3]:
        content = whole[file]
        for length in range(0, len(content) - 30, max(1, len(content) // 60)):
            if name == "tum" and content[:length].endswith(b"\n"):
                continue
            found = look({**whole, file: content[:length]})
            assert not found.complete, (file, length)


@pytest.mark.parametrize("name", NEW)
def test_hundreds_of_damaged_files_end_as_values(written: dict[str, dict[str, bytes]], name: str) -> None:
    chance = random.Random(20261201)
    whole = written[name]
    sidecars = look(whole).sidecars
    for _ in range(300):
        file = chance.choice(sidecars)
        content = bytearray(whole[file])
        for _ in range(chance.choice([1, 1, 2, 8])):
            at = chance.randrange(len(content) + 1)
            content[at : at + chance.randint(0, 9)] = chance.randbytes(chance.randint(0, 9))
        found = look({**whole, file: bytes(content)})
        assert all(problem.code and problem.message and problem.fix for problem in found.problems)
        assert not any(".." in name.split("/") for name in found.required)


def array(change: Callable[[Any], Any]) -> bytes:
    return npy(change(llff_table(RIG)))


LLFF = {
    "a pickle": (pickle.dumps(llff_table(RIG).tolist()), "sidecar"),
    "an array of objects": (npy(llff_table(RIG)).replace(b"'<f8'", b"'|O' "), "sidecar"),
    "a header that is a program": (
        npy(llff_table(RIG)).replace(b"{'descr': '<f8', ", b"{__import__('os'),"),
        "sidecar",
    ),
    "another number of columns": (array(lambda t: t[:, :16]), "sidecar"),
    "three dimensions": (array(lambda t: t.reshape(6, 17, 1)), "sidecar"),
    "columns first": (array(np.asfortranarray), "sidecar"),
    "whole numbers": (array(lambda t: t.astype(int)), "sidecar"),
    "NaN": (array(lambda t: t * np.nan), "calib"),
    "infinity": (array(lambda t: np.where(t > 1, np.inf, t)), "calib"),
    "a focal length of 0": (array(lambda t: np.where(np.arange(17) == 14, 0, t)), "calib"),
    "bytes behind the end": (npy(llff_table(RIG)) + b"x", "sidecar"),
    "a header of 60,000 bytes": (b"\x93NUMPY\x01\x00\x60\xea" + b" " * 60_000, "sidecar"),
    "version 9": (b"\x93NUMPY\x09\x00" + bytes(200), "sidecar"),
    "five cameras for six pictures": (array(lambda t: t[:5]), "set"),
    "no cameras": (array(lambda t: t[:0]), "set"),
}


@pytest.mark.parametrize("what", LLFF)
def test_an_llff_file_that_cannot_be_is_refused(written: dict[str, dict[str, bytes]], what: str) -> None:
    content, code = LLFF[what]
    found = look({**written["llff"], "poses_bounds.npy": content})
    assert {problem.code for problem in found.problems} == {code}, (found.problems, found.missing)


def test_a_picture_that_llffs_cameras_lack_is_awaited_and_never_skipped(written: dict[str, dict[str, bytes]]) -> None:
    """Cameras belong to pictures by their order: with one left out all behind it would have another's camera."""
    files = {name: content for name, content in written["llff"].items() if name != "images/v003.png"}
    found = look(files)
    assert found.missing == ("images/picture 6 of 6",)
    assert not found.settled().complete


def test_arrays_of_either_order_and_size_are_read(tmp_path: Path) -> None:
    rig = odd_rig(plain=True)
    formats.llff(tmp_path, rig)
    for kind in ("<f8", ">f8", "<f4", ">f4"):
        (tmp_path / "poses_bounds.npy").write_bytes(npy(llff_table(rig).astype(kind)))
        assert inspect(tmp_path).ok, kind


def changed(files: dict[str, bytes], name: str, change: Callable[[Any], Any]) -> dict[str, bytes]:
    table = json.loads(files[name])
    change(table)
    return {**files, name: json.dumps(table).encode()}


RECORD3D: dict[str, Callable[[Any], Any]] = {
    "no poses": lambda t: t.pop("poses"),
    "poses that are a text": lambda t: t.update(poses="x" * 7),
    "a pose of six numbers": lambda t: t["poses"][1].pop(),
    "a pose of NaN": lambda t: t["poses"].__setitem__(0, [float("nan")] * 7),
    "a turn of zeros": lambda t: t["poses"].__setitem__(0, [0.0] * 7),
    "no camera matrix": lambda t: t.pop("K"),
    "a focal length below 0": lambda t: t["K"].__setitem__(0, -5),
    "no size": lambda t: t.pop("w"),
}


@pytest.mark.parametrize("what", RECORD3D)
def test_a_record3d_file_that_cannot_be_is_refused(written: dict[str, dict[str, bytes]], what: str) -> None:
    found = look(changed(written["record3d"], "metadata.json", RECORD3D[what]))
    assert found.problems
    assert all(problem.file == "metadata.json" for problem in found.problems)


SCANNER: dict[str, Callable[[Any], Any]] = {
    "no pose": lambda t: t.pop("cameraPoseARFrame"),
    "a pose of twelve numbers": lambda t: t.update(cameraPoseARFrame=t["cameraPoseARFrame"][:12]),
    "a pose of texts": lambda t: t.update(cameraPoseARFrame=["1"] * 16),
    "infinite intrinsics": lambda t: t.update(intrinsics=[float("inf")] * 9),
    "a focal length of 0": lambda t: t["intrinsics"].__setitem__(4, 0),
}


@pytest.mark.parametrize("what", SCANNER)
def test_a_scanner_apps_file_that_cannot_be_is_refused(written: dict[str, dict[str, bytes]], what: str) -> None:
    found = look(changed(written["3d scanner app"], "frame_00002.json", SCANNER[what]))
    assert {problem.code for problem in found.problems} == {"calib"}


def test_a_tracker_that_was_lost_leaves_its_frame_out(written: dict[str, dict[str, bytes]]) -> None:
    """ScanNet writes -inf, others NaN or -1.#IND, which is no number."""
    files = written["7-scenes"]
    pose = "rgbd-frames/frame-000002.pose.txt"
    for word in (b"nan", b"-inf"):
        found = look({**files, pose: b" ".join([word] * 16) + b"\n"})
        assert found.complete
        assert len(found.views) == 5
        assert any("tracker was lost" in note for note in found.notes)
    assert look({**files, pose: b"-1.#IND " * 16 + b"\n"}).problems[0].code == "calib"


def test_pictures_and_poses_of_a_sequence_that_were_taken_apart_do_not_belong_together(
    written: dict[str, dict[str, bytes]],
) -> None:
    """0.02 s is the data set's own bound: a trajectory that is a second off has no pose for any picture."""
    files = dict(written["tum"])
    lines = files["groundtruth.txt"].decode().splitlines()
    late = [f"{float(line.split()[0]) + 1:.4f} {line.split(None, 1)[1]}" for line in lines if line[0] != "#"]
    files["groundtruth.txt"] = ("\n".join(late) + "\n").encode()
    (problem,) = look(files).problems
    assert problem.code == "set"
    assert "0 have a pose" in problem.message


@pytest.mark.parametrize(
    ("name", "lacks", "number"),
    [("tum", "capture.json", "freiburg1 640, 480, 517.3"), ("7-scenes", "camera-intrinsics.txt", "585, 585")],
)
def test_a_sequence_whose_intrinsics_are_not_stated_is_refused_in_one_sentence_with_the_numbers(
    written: dict[str, dict[str, bytes]], tmp_path: Path, name: str, lacks: str, number: str
) -> None:
    for file, content in written[name].items():
        if file != lacks:
            (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / file).write_bytes(content)
    (problem,) = inspect(tmp_path).problems
    assert (problem.code, problem.file) == ("calib", None)
    assert number in problem.fix


@pytest.mark.parametrize("name", ["tum", "7-scenes"])
def test_intrinsics_that_are_stated_are_not_asked_for(
    written: dict[str, dict[str, bytes]], tmp_path: Path, name: str
) -> None:
    intrinsics = written["tum"]["capture.json"]
    for file, content in {**written[name], "capture.json": intrinsics}.items():
        if file != "camera-intrinsics.txt":
            (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / file).write_bytes(content)
    found = inspect(tmp_path)
    assert found.problems == ()
    assert not any("capture.json" in warning for warning in found.warnings)


#: What happens to names on their way: other systems, other people, other folders.
RENAMED: tuple[Callable[[str], str], ...] = (
    str.upper,
    str.title,
    lambda name: f"x/{name}",
    lambda name: name.rpartition("/")[2],
    lambda name: f"{name}/{name}",
    lambda name: f"{name}.bak",
    lambda name: name.replace("/", "_"),
    lambda name: name.rpartition("/")[0] + name[name.rfind("/") :].upper() if "/" in name else name,
)


@pytest.mark.parametrize("name", FORMATS)
def test_hundreds_of_folders_with_other_names_end_as_values(tmp_path: Path, name: str) -> None:
    """No reader asks for a file that is not there, whatever the others are called."""
    FORMATS[name].write(tmp_path, odd_rig(24, plain=FORMATS[name].plain))
    sound, chance = files_of(tmp_path), random.Random(17)
    for _ in range(150):
        files = dict(sound)
        for file in sorted(sound):
            fate = chance.random()
            if fate < 0.3:
                content = files.pop(file)
                if fate > 0.1:
                    files[chance.choice(RENAMED)(file)] = content
        found = look(files)
        assert found.settled().awaited() is not None


def test_polycams_other_files_are_no_cameras_and_endings_have_any_case(tmp_path: Path) -> None:
    FORMATS["polycam"].write(tmp_path, odd_rig(24))
    files = {
        name.replace(".json", ".JSON") if "/cameras/" in name or "/corrected_cameras/" in name else name: content
        for name, content in files_of(tmp_path).items()
    }
    files |= {"keyframes/cameras/README.txt": b"", "keyframes/corrected_cameras/v000.JSON.bak": b""}
    files |= {"keyframes/corrected_images/notes.md": b""}
    found = look(files)
    assert (found.layout, found.problems, found.missing) == ("polycam", (), ())
    assert len(found.views) == 6


def test_record3d_is_the_pair_that_is_whole(written: dict[str, dict[str, bytes]]) -> None:
    files = written["record3d"]
    assert look({"METADATA.JSON" if name == "metadata.json" else name: files[name] for name in files}).kind != "frames"
    rgbd = {name.replace("metadata.json", "metadata").replace("rgb/", "rgbd/"): files[name] for name in files}
    found = look({**rgbd, "metadata.json": b"{}"})
    assert (found.layout, found.problems, found.missing) == ("record3d", (), ())


def test_texts_of_numbers_are_read_within_bounds() -> None:
    assert number_text.numbers(b"1 2\n3", 3) == (1.0, 2.0, 3.0)
    assert number_text.numbers(b"1 2 3 4", 3) is None
    assert number_text.numbers(b"1 2", 3) is None
    assert number_text.numbers(b"1 x 3", 3) is None
    assert number_text.numbers(b"1_0 2 3", 3) is None
    assert number_text.numbers(b"1" * 100 + b" 2 3", 3) is None
    assert list(number_text.rows(b"# a\n1 2\n\n3 4\n5")) == [[b"1", b"2"], [b"3", b"4"]]
    assert number_text.number(b"nan") is None


def test_a_turn_and_a_place_are_a_pose() -> None:
    """A quarter about z: x goes to y."""
    half = 0.5**0.5
    found = quaternions.pose((0, 0, half, half), (1, 2, 3))
    assert found is not None
    np.testing.assert_allclose(found, [[0, -1, 0, 1], [1, 0, 0, 2], [0, 0, 1, 3], [0, 0, 0, 1]], atol=1e-12)
    assert quaternions.pose((0, 0, 0, 0), (0, 0, 0)) is None
    assert quaternions.pose((0, 0, 0, 1), (float("nan"), 0, 0)) is None
