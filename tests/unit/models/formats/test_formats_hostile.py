"""Files of cameras that no program would write: each ends as a refusal with a code, a sentence and a cure."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from meshdrop.models.capture.layout import Expectation, expect
from meshdrop.models.files.limits import CaptureLimits
from meshdrop.models.probe.inspection import inspect
from tests import formats
from tests.formats import odd_rig, polycam_camera
from tests.mutants import mutate_json

LIMITS = CaptureLimits()
RIG = odd_rig()
Table = dict[str, Any]


def look(files: dict[str, bytes], *names: str) -> Expectation:
    return expect((*files, *names), files.__getitem__, LIMITS)


def bop(change: Callable[[Table], object] = lambda table: None) -> Expectation:
    table = formats.bop_cameras(RIG)
    change(table)
    names = [f"{place}/{number:06d}.png" for place in ("rgb", "depth") for number in range(6)]
    return look({"scene_camera.json": json.dumps(table).encode()}, *names)


def polycam(change: Callable[[Table], object] = lambda table: None, text: bytes | None = None) -> Expectation:
    files = {f"keyframes/cameras/{name}.json": json.dumps(polycam_camera(camera)).encode() for name, camera in RIG}
    table = polycam_camera(RIG[0][1])
    change(table)
    files["keyframes/cameras/v000.json"] = json.dumps(table).encode() if text is None else text
    return look(files, *(f"keyframes/images/{name}.jpg" for name, _ in RIG))


def both(change: Callable[[Table], object]) -> Callable[[Table], object]:
    """The same change to every picture of a BOP scene."""
    return lambda table: [change(entry) for entry in table.values()]


def test_the_good_ones_are_good() -> None:
    assert bop().complete
    assert polycam().complete
    assert polycam().open_ended


BOP = {
    "a key that leaves the folder": (lambda t: t.update({"../../etc/passwd": t.pop("0")}), "sidecar"),
    "a key of a thousand digits": (lambda t: t.update({"9" * 1000: t.pop("0")}), "sidecar"),
    "a key in Arabic digits": (lambda t: t.update({"٣": t.pop("3")}), "sidecar"),
    "a key below 0": (lambda t: t.update({"-1": t.pop("0")}), "sidecar"),
    "an entry that is a list": (lambda t: t.update({"0": [1, 2]}), "sidecar"),
    "7,000 pictures": (lambda t: t.update({str(n): t["0"] for n in range(7000)}), "sidecar"),
    "two pictures": (lambda t: [t.pop(key) for key in ("0", "1", "2", "3")], "set"),
    "no pictures": (lambda t: t.clear(), "set"),
    "a matrix of NaN": (both(lambda e: e.update(cam_K=[float("nan")] * 9)), "calib"),
    "an infinite position": (both(lambda e: e.update(cam_t_w2c=[float("inf"), 0, 0])), "calib"),
    "a number of 400 digits": (both(lambda e: e.update(cam_t_w2c=[10**400, 0, 0])), "calib"),
    "a matrix of texts": (both(lambda e: e.update(cam_R_w2c=["1"] * 9)), "calib"),
    "eight numbers": (both(lambda e: e.update(cam_R_w2c=[0.0] * 8)), "calib"),
    "skew": (both(lambda e: e.update(cam_K=[100, 5, 50, 0, 100, 50, 0, 0, 1])), "calib"),
    "a focal length of 0": (both(lambda e: e.update(cam_K=[0, 0, 50, 0, 100, 50, 0, 0, 1])), "calib"),
    "no intrinsics": (both(lambda e: e.pop("cam_K")), "calib"),
    "a depth scale of 0": (both(lambda e: e.update(depth_scale=0)), "calib"),
    "a depth scale that is true": (both(lambda e: e.update(depth_scale=True)), "calib"),
    "two depth scales": (lambda t: t["0"].update(depth_scale=0.1), "sidecar"),
}


@pytest.mark.parametrize("what", BOP)
def test_a_bop_scene_that_cannot_be_is_refused(what: str) -> None:
    change, code = BOP[what]
    assert_refused(bop(change), code)


POLYCAM = {
    "NaN": (lambda t: t.update(t_11=float("nan")), "calib"),
    "infinity": (lambda t: t.update(fx=float("inf")), "calib"),
    "400 digits": (lambda t: t.update(t_03=10**400), "calib"),
    "a text": (lambda t: t.update(t_03="1.0"), "calib"),
    "nothing": (lambda t: t.pop("t_23"), "calib"),
    "a focal length below 0": (lambda t: t.update(fx=-1), "calib"),
    "a width of 0": (lambda t: t.update(width=0), "calib"),
}


@pytest.mark.parametrize("what", POLYCAM)
def test_a_polycam_camera_that_cannot_be_is_refused(what: str) -> None:
    change, code = POLYCAM[what]
    assert_refused(polycam(change), code)


@pytest.mark.parametrize("text", [b"[]", b"{", b"[" * 60_000, b"\xff\xfe", b'{"t_00": 1, "t_00": 2}', b" " * 70_000])
def test_a_polycam_file_that_is_no_table_is_refused(text: bytes) -> None:
    assert_refused(polycam(text=text), "sidecar")


def assert_refused(found: Expectation, code: str) -> None:
    assert not found.complete
    assert {problem.code for problem in found.problems} == {code}, found.problems
    assert all(problem.message and problem.fix and problem.file for problem in found.problems)


def test_two_thousand_damaged_files_end_as_values() -> None:
    chance = random.Random(20261121)
    for _ in range(1000):
        mutant = mutate_json(formats.bop_cameras(RIG), chance).content
        names = [f"rgb/{number:06d}.png" for number in range(6)]
        found = look({"scene_camera.json": mutant}, *names)
        assert all(problem.message and problem.fix for problem in (*found.problems, *found.awaited()))
        found = polycam(text=mutate_json(polycam_camera(RIG[0][1]), chance).content)
        assert all(problem.message and problem.fix for problem in (*found.problems, *found.awaited()))


@pytest.mark.parametrize("name", ["colmap binary", "polycam", "bop", "blender"])
def test_links_in_the_place_of_files_are_refused_and_not_followed(tmp_path: Path, name: str) -> None:
    """A link to /etc/passwd, or to a folder outside, in the place of every kind of file in turn."""
    writer = formats.FORMATS[name]
    writer.write(tmp_path / "x", odd_rig(plain=writer.plain))
    files = sorted(file for file in (tmp_path / "x").rglob("*") if file.is_file())
    for suffix in sorted({file.suffix for file in files}):
        victim = next(file for file in files if file.suffix == suffix)
        kept = victim.read_bytes()
        victim.unlink()
        victim.symlink_to("/etc/passwd")
        found = inspect(tmp_path / "x")
        assert "symlink" in {problem.code for problem in found.problems}, victim
        victim.unlink()
        victim.write_bytes(kept)
    assert inspect(tmp_path / "x").ok
    folder = victim.parent
    folder.rename(tmp_path / "outside")
    os.symlink(tmp_path / "outside", folder)
    assert "symlink" in {problem.code for problem in inspect(tmp_path / "x").problems}


@pytest.mark.parametrize("name", ["colmap text", "colmap binary", "bop", "blender", "nerfstudio"])
def test_a_frame_without_its_picture_is_left_out_and_named(tmp_path: Path, name: str) -> None:
    writer = formats.FORMATS[name]
    writer.write(tmp_path / "x", odd_rig(plain=writer.plain))
    picture = inspected_picture(tmp_path / "x")
    picture.unlink()
    found = inspect(tmp_path / "x")
    assert found.ok, found.problems
    assert len(found.views) == 5
    (warning,) = [warning for warning in found.warnings if "no picture here" in warning]
    assert warning.startswith("1 of 6 frames has")
    assert f"/{picture.stem}.png" in warning


def inspected_picture(folder: Path) -> Path:
    """The last photograph that is read."""
    files = {file.relative_to(folder).as_posix(): file for file in folder.rglob("*") if file.is_file()}
    views = expect(list(files), lambda name: files[name].read_bytes(), LIMITS).views
    return files[views[-1].image]


def test_a_file_of_cameras_that_is_too_large_is_refused_unread(tmp_path: Path) -> None:
    """Two megabytes and a byte of blanks, a hundred megabytes of COLMAP."""
    blanks = b" " * (LIMITS.max_cameras_bytes + 1)
    assert {p.code for p in look({"scene_camera.json": blanks}, "rgb/000000.png").problems} == {"sidecar"}
    formats.colmap_binary(tmp_path / "x", RIG)
    os.truncate(tmp_path / "x/sparse/0/images.bin", 100_000_000)
    assert {problem.code for problem in inspect(tmp_path / "x").problems} == {"too_big"}
