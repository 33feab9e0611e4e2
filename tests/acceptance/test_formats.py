"""Captures of every format through the inbox, with the real reader; and rigs whose cameras are stored."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from meshdrop.daemon.base.rigs import RigShelf
from meshdrop.models.capture.capture import read_capture
from meshdrop.models.files.limits import CaptureLimits
from meshdrop.models.probe.rig_making import make_profile
from tests import formats
from tests.formats import FORMATS, odd_rig
from tests.rig import REPOSITORY, Rig, assert_whole, contents, stop, wait_for

pytestmark = pytest.mark.usefixtures("reading")


@pytest.fixture
def reading(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every picture is read by the real worker; models and measuring are stand-ins."""
    monkeypatch.setenv("LIGHT_REAL", "inspect")


def test_every_format_is_taken_read_and_delivered_as_it_came(light_rig: Callable[..., Rig], tmp_path: Path) -> None:
    here = light_rig()
    for name, writer in FORMATS.items():
        writer.write(tmp_path / name, odd_rig(plain=writer.plain))
        here.drop(tmp_path / name)
    assert here.run_once() == 0, here.log()[-4000:]
    for name, writer in FORMATS.items():
        folder = here.places.outbox / name
        assert folder.is_dir(), (here.places.failed / name / "WHY.txt").read_text()
        assert contents(folder / "capture") == contents(tmp_path / name)
        assert report(folder)["layout"] == writer.layout
        assert read_capture(folder / "capture").layout == writer.layout
    said = report(here.places.outbox / "blender")["warnings"]
    assert any("8-bit depth" in line for line in said), said
    here.assert_at_rest()


def report(folder: Path) -> dict[str, Any]:
    """What report.json says of the capture."""
    found: dict[str, Any] = json.loads((folder / "report.json").read_text())["capture"]
    return found


AWAITED = {
    "colmap binary": ("sparse/0/cameras.bin", "sparse/0/cameras.bin"),
    "colmap text": ("sparse/0/images.txt", "nothing that says where the cameras stood"),
    "bop": ("depth/000004.png", "depth/000004.png"),
    "polycam": ("keyframes/depth/v003.png", "keyframes/depth/v003.png"),
    "blender": ("train/v005.png", "train/v005.png"),
    "instant-ngp": ("images/v002.png", "images/v002.png"),
}


def test_each_format_waits_for_its_last_file(light_rig: Callable[..., Rig], tmp_path: Path) -> None:
    """All of them wait at the same time, and each says for what."""
    here = light_rig()
    late: dict[str, Path] = {}
    for name, (file, _) in AWAITED.items():
        writer = FORMATS[name]
        writer.write(tmp_path / name, odd_rig(plain=writer.plain))
        late[name] = tmp_path / f"late-{name.replace(' ', '-')}"
        (tmp_path / name / file).rename(late[name])
        shutil.copytree(tmp_path / name, here.places.inbox / name)
    daemon = here.start()
    for name, (_, awaited) in AWAITED.items():
        wait_for(partial(is_told, here, name, awaited))
    assert here.jobs() == []
    for name, (file, _) in AWAITED.items():
        shutil.move(late[name], here.places.inbox / name / file)
    for name in AWAITED:
        wait_for((here.places.outbox / f"{name}.done").exists)
    assert stop(daemon) == 0


def page(here: Rig, name: str) -> dict[str, Any]:
    """The folder's page, with nothing in it while there is none."""
    try:
        found: dict[str, Any] = json.loads((here.places.status / f"{name}.json").read_text())
    except FileNotFoundError:
        return {"sentence": ""}
    return found


def is_told(here: Rig, name: str, awaited: str) -> bool:
    return awaited in page(here, name)["sentence"]


def test_a_colmap_model_that_is_still_being_copied_is_awaited(light_rig: Callable[..., Rig], tmp_path: Path) -> None:
    """Half of images.bin is there, and nothing changes for longer than the settle window."""
    formats.colmap_binary(tmp_path / "a", odd_rig())
    here = light_rig()
    shutil.copytree(tmp_path / "a", here.places.inbox / "a")
    images = here.places.inbox / "a/sparse/0/images.bin"
    whole = images.read_bytes()
    images.write_bytes(whole[: len(whole) // 2])
    daemon = here.start()
    wait_for(lambda: "its content has not arrived" in page(here, "a")["sentence"])
    images.write_bytes(whole)
    wait_for((here.places.outbox / "a.done").exists)
    assert stop(daemon) == 0


def test_frames_without_a_picture_are_left_out_and_long_sequences_thinned(
    light_rig: Callable[..., Rig], tmp_path: Path
) -> None:
    """What the first look finds is what the reader of the copy finds, and both are told in the report, once."""
    here = light_rig(MESHDROP_INCOMPLETE_AFTER_S="1", MESHDROP_MAX_VIEWS="5")
    for name, writer in {"long": formats.seven_scenes, "holes": formats.nerfstudio}.items():
        writer(tmp_path / name, odd_rig())
    for number in (1, 4):
        (tmp_path / f"holes/images/v{number:03d}.png").unlink()
    for name in ("long", "holes"):
        shutil.copytree(tmp_path / name, here.places.inbox / name)
    daemon = here.start()
    for name, word in {"long": "5 of them are used", "holes": "2 of 6 frames have no picture here"}.items():
        wait_for((here.places.outbox / f"{name}.done").exists)
        said = [line for line in report(here.places.outbox / name)["warnings"] if word in line]
        assert len(said) == 1, report(here.places.outbox / name)["warnings"]
    assert stop(daemon) == 0


def test_what_has_no_poses_comes_back_with_the_sentence(light_rig: Callable[..., Rig]) -> None:
    here = light_rig(MESHDROP_INCOMPLETE_AFTER_S="0.5")
    for name, file in {"video": "clip.MOV", "heic": "IMG_1.HEIC", "mesh": "scan.glb", "photos": "IMG_1.jpg"}.items():
        (here.places.inbox / name).mkdir()
        (here.places.inbox / name / file).write_bytes(b"x")
    daemon = here.start()
    for name, word in {"video": "video", "heic": "HEIC", "mesh": "mesh", "photos": "where the cameras"}.items():
        wait_for((here.places.failed / name / "receipt.json").exists)
        assert word in " ".join((here.places.failed / name / "WHY.txt").read_text().split()), name
    assert stop(daemon) == 0


# -- stored rigs ----------------------------------------------------------------------------------------------------


def meshdrop(here: Rig, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The command, on this root."""
    return subprocess.run(
        [sys.executable, "-m", "meshdrop.daemon.cli", *arguments],
        env=here.environment(PYTHONPATH=str(REPOSITORY)),
        capture_output=True,
        text=True,
        check=False,
    )


def pictures_only(folder: Path, target: Path) -> Path:
    """Photographs and depth of a nerfstudio capture, without the file that states its cameras."""
    shutil.copytree(folder, target, ignore=shutil.ignore_patterns("*.json", "masks"))
    return target


@pytest.fixture
def shot(tmp_path: Path) -> Path:
    """A capture of a rig, with its cameras."""
    formats.nerfstudio(tmp_path / "shot", odd_rig())
    return tmp_path / "shot"


def test_a_rig_copies_only_pictures(light_rig: Callable[..., Rig], shot: Path, tmp_path: Path) -> None:
    """By its folder in the inbox and by capture.json; the result lies under the capture's own name."""
    here = light_rig()
    added = meshdrop(here, "rig", "add", "rig1", "--from", str(shot))
    assert added.returncode == 0, added.stdout + added.stderr
    assert "6 cameras" in added.stdout
    assert "verified" in added.stdout
    bare = pictures_only(shot, tmp_path / "bare")
    (here.places.inbox / "@rig1").mkdir()
    shutil.copytree(bare, here.places.inbox / "@rig1/chair")
    shutil.copytree(bare, here.places.inbox / "stool")
    (here.places.inbox / "stool/capture.json").write_text('{"rig": "rig1", "labels": {"part": "A"}}')
    assert here.run_once() == 0, here.log()[-3000:]
    version = RigShelf(here.places.rigs).profile("rig1").version
    for name in ("chair", "stool"):
        folder = here.places.outbox / name
        assert_whole(folder)
        assert report(folder)["rig"] == {"name": "rig1", "version": version}
        assert report(folder)["layout"] == "rig"
        ours, theirs = read_capture(folder / "capture"), read_capture(shot)
        for one, other in zip(ours.views, theirs.views, strict=True):
            assert abs(one.camera.c2w - other.camera.c2w).max() < 1e-9
            assert one.camera.fx == other.camera.fx
    assert os.listdir(here.places.inbox) == ["@rig1"]
    assert os.listdir(here.places.inbox / "@rig1") == []
    assert (here.places.status / "@rig1_chair.json").is_file()
    here.assert_at_rest()


def test_a_profile_that_changes_changes_no_queued_job(
    light_rig: Callable[..., Rig], shot: Path, ball: Path, tmp_path: Path
) -> None:
    """The first job holds the line while the second waits; then the rig is stored anew, as one twice as large."""
    here = light_rig()
    RigShelf(here.places.rigs).store(make_profile("rig1", shot, CaptureLimits()).profile)
    before = RigShelf(here.places.rigs).profile("rig1").version
    daemon = here.start()
    here.drop(ball, "poison-run-hang")
    wait_for(lambda: page(here, "poison-run-hang").get("state") == "running")
    (here.places.inbox / "@rig1").mkdir()
    pictures_only(shot, tmp_path / ".x")
    (tmp_path / ".x").rename(here.places.inbox / "@rig1/chair")
    wait_for(lambda: page(here, "@rig1_chair").get("state") == "queued")
    formats.nerfstudio(tmp_path / "far", odd_rig(metres=3.6))
    assert meshdrop(here, "rig", "add", "rig1", "--from", str(tmp_path / "far")).returncode == 0
    assert RigShelf(here.places.rigs).profile("rig1").version != before
    (here.places.inbox / "poison-run-hang.cancel").touch()
    wait_for((here.places.outbox / "chair.done").exists)
    assert stop(daemon) == 0
    assert report(here.places.outbox / "chair")["rig"]["version"] == before


def test_an_unknown_rig_is_refused_with_the_ones_there_are(
    light_rig: Callable[..., Rig], shot: Path, tmp_path: Path
) -> None:
    """Named in the file or by a folder: never read as the standard rig, though the pictures would fit."""
    here = light_rig()
    for name in ("rig1", "rig2"):
        RigShelf(here.places.rigs).store(make_profile(name, shot, CaptureLimits()).profile)
    bare = pictures_only(shot, tmp_path / "bare")
    shutil.copytree(bare, here.places.inbox / "stool")
    (here.places.inbox / "stool/capture.json").write_text('{"rig": "rig3"}')
    shutil.copytree(bare, here.places.inbox / "@rig4/chair")
    assert here.run_once() == 0, here.log()[-3000:]
    for name, rig in {"stool": "rig3", "@rig4": "rig4"}.items():
        why = " ".join((here.places.failed / name / "WHY.txt").read_text().split())
        assert f"No rig called {rig} is stored; there are: rig1, rig2." in why
        assert f"meshdrop rig add {rig} --from FILE" in why


def test_a_failed_capture_of_a_rig_keeps_its_rig_when_it_comes_back_to_the_inbox_itself(
    light_rig: Callable[..., Rig], shot: Path, tmp_path: Path
) -> None:
    """Six pictures called view_00 to view_05 would else be read as the standard rig's, without a word."""
    six = tmp_path / "six"
    formats.own(six, [(f"view_{n:02d}", camera) for n, (_, camera) in enumerate(odd_rig())])
    (six / "images").rename(six / "views")
    text = (six / "capture.json").read_text().replace("images/", "views/")
    (six / "capture.json").write_text(text)
    here = light_rig(MESHDROP_INCOMPLETE_AFTER_S="0.5")
    RigShelf(here.places.rigs).store(make_profile("rig1", six, CaptureLimits()).profile)
    target = here.places.inbox / "@rig1/chair"
    shutil.copytree(six, target, ignore=shutil.ignore_patterns("*.json", "masks", "depth"))
    late = (target / "views/view_05.png").rename(tmp_path / "late.png")
    daemon = here.start()
    wait_for((here.places.failed / "chair/receipt.json").exists)
    failed = here.places.failed / "chair"
    assert "view_05.png" in (failed / "WHY.txt").read_text()
    shutil.move(late, failed / "capture/views/view_05.png")
    failed.rename(here.places.inbox / "chair")
    wait_for((here.places.outbox / "chair.done").exists)
    assert stop(daemon) == 0
    assert report(here.places.outbox / "chair")["rig"]["name"] == "rig1"


@pytest.mark.parametrize(
    ("point", "gone"), [("I3", False), ("I4a", False), ("I4a", True), ("I5b", True), ("D3a", False)]
)
def test_a_kill_loses_nothing_of_a_rigs_folder(
    light_rig: Callable[..., Rig], shot: Path, tmp_path: Path, point: str, gone: bool
) -> None:
    """Nor when somebody deletes the rig's folder before the service comes back."""
    here = light_rig(LIGHT_REAL="")
    RigShelf(here.places.rigs).store(make_profile("rig1", shot, CaptureLimits()).profile)
    folder = here.places.inbox / "@rig1"
    folder.mkdir()
    pictures_only(shot, folder / "chair")
    before = contents(folder / "chair")
    assert here.run_once(MESHDROP_CRASH_AT=point) == -signal.SIGKILL, here.log()[-3000:]
    if gone and not os.listdir(folder):
        folder.rmdir()
    assert here.run_once() == 0, here.log()[-3000:]
    assert sorted(os.listdir(here.places.outbox)) == ["chair", "chair.done"]
    delivered = contents(here.places.outbox / "chair/capture")
    assert delivered.pop("rig.json") == RigShelf(here.places.rigs).profile("rig1").text
    assert delivered == before
    here.assert_at_rest()


def test_the_rig_commands(light_rig: Callable[..., Rig], shot: Path, tmp_path: Path) -> None:
    here = light_rig()
    assert "No rig is stored" in meshdrop(here, "rig", "list").stdout
    refused = meshdrop(here, "rig", "add", "Rig 1", "--from", str(shot))
    assert refused.returncode == 1
    assert "cannot be a rig's name" in refused.stderr
    assert meshdrop(here, "rig", "add", "rig1", "--from", str(tmp_path / "nothing")).returncode == 1
    assert meshdrop(here, "rig", "add", "rig1", "--from", str(shot / "transforms.json")).returncode == 0
    assert "6 cameras" in meshdrop(here, "rig", "list").stdout
    (here.places.rigs / "old.json").write_text("{")
    listed = meshdrop(here, "rig", "list").stdout
    assert "6 cameras" in listed
    assert "the profile of old is damaged" in listed
    assert json.loads(meshdrop(here, "rig", "list", "--json").stdout)[0]["cameras"] is None
    assert meshdrop(here, "rig", "remove", "old").returncode == 0
    assert "rig list" in meshdrop(here, "rig", "remove", "old").stderr
    assert "v003" in meshdrop(here, "rig", "show", "rig1").stdout
    assert json.loads(meshdrop(here, "rig", "show", "rig1", "--json").stdout)["rig"] == "rig1"
    bare = pictures_only(shot, tmp_path / "bare")
    assert meshdrop(here, "check", str(bare)).returncode == 1
    checked = meshdrop(here, "check", str(bare), "--rig", "rig1")
    assert checked.returncode == 0, checked.stdout
    assert "rig layout rig1" in checked.stdout
    (here.places.inbox / "@rig1/chair").mkdir(parents=True)
    kept = meshdrop(here, "rig", "remove", "rig1")
    assert kept.returncode == 1
    assert "would be refused" in kept.stderr
    (here.places.inbox / "@rig1/chair").rmdir()
    assert meshdrop(here, "rig", "remove", "rig1").returncode == 0
    missing = meshdrop(here, "rig", "show", "rig1")
    assert missing.returncode == 1
    assert "meshdrop rig add rig1" in missing.stderr


@pytest.mark.parametrize("point", ["I4a", "I4b", "I4", "I5a", "I5b", "I5", "I5r"])
@pytest.mark.parametrize("goal", ["outbox", ".meshdrop/rigs", ".meshdrop/state"])
def test_a_folder_is_never_put_back_through_a_link(
    light_rig: Callable[..., Rig], shot: Path, tmp_path: Path, point: str, goal: str
) -> None:
    """Whoever writes to the share changes what was taken, and makes its rig's folder a link to where he may not go."""
    here = light_rig(LIGHT_REAL="")
    RigShelf(here.places.rigs).store(make_profile("rig1", shot, CaptureLimits()).profile)
    (here.places.inbox / "@rig1").mkdir()
    folder = pictures_only(shot, tmp_path / "forged")
    (folder / "note").write_text("a")
    with open(folder / "note", "ab") as note:
        shutil.copytree(folder, here.places.inbox / "@rig1/forged")
        if point == "I5r":
            assert here.run_once(MESHDROP_CRASH_AT="I4") == -signal.SIGKILL, here.log()[-3000:]
            _change_what_was_taken(here)
        assert here.run_once(MESHDROP_CRASH_AT=point) == -signal.SIGKILL, here.log()[-3000:]
        note.write(b"changed")
    _change_what_was_taken(here)
    (here.places.inbox / "@rig1").rmdir()
    (here.places.inbox / "@rig1").symlink_to(here.root / goal)
    assert here.run_once() == 0, here.log()[-3000:]
    ours = {"forged", "forged.done"} if goal == "outbox" else set()
    assert not {"forged", "note", "images"} & set(os.listdir(here.root / goal)) - ours
    published = [shelf / "forged" for shelf in (here.places.outbox, here.places.failed) if (shelf / "forged").exists()]
    assert len(published) == 1
    assert_whole(published[0])
    here.assert_at_rest()


def _change_what_was_taken(here: Rig) -> None:
    """As by a handle that was opened before."""
    for claimed in here.places.claimed.iterdir():
        with open(claimed / "note", "ab") as note:
            note.write(b"changed after the claim")
