"""What people at the share can say by files: that a capture is finished, and that it shall not be done."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from meshdrop.db.engine import reader
from meshdrop.db.records import find_jobs
from meshdrop.db.states import State
from tests.rig import Rig, assert_whole, contents, stop, wait_for

#: Long enough that nothing is taken by settling while a test runs.
PATIENT = {"MESHDROP_SETTLE_S": "600", "MESHDROP_NO_DEPTH_WAIT_S": "600"}


def finished(rig: Rig, shelf: str, name: str) -> bool:
    """Whether a job came to rest there."""
    return (rig.root / shelf / name / "receipt.json").exists() and os.listdir(rig.places.claimed) == []


def test_a_marker_spares_the_settle_window(light_rig: Callable[..., Rig], ball: Path) -> None:
    here = light_rig(**PATIENT, MESHDROP_READY_MARKER="DONE.txt")
    shutil.copytree(ball, here.places.inbox / "ball")
    daemon = here.start()
    wait_for(lambda: "nothing has changed for 600 s" in here.status_page())
    (here.places.inbox / "ball/DONE.txt").touch()
    wait_for(lambda: finished(here, "outbox", "ball"))
    assert stop(daemon) == 0


def test_a_folder_renamed_when_it_is_whole_is_taken_at_once(light_rig: Callable[..., Rig], ball: Path) -> None:
    here = light_rig(**PATIENT)
    daemon = here.start()
    wait_for(lambda: here.status_page() != "")
    shutil.copytree(ball, here.places.inbox / ".ball.part")
    wait_for(lambda: here.status_page().count("UTC") > 0)
    for _ in range(3):  # the scan must have met the temporary name once
        (here.places.inbox / "poke").mkdir()
        wait_for(lambda: "poke" in here.status_page())
        (here.places.inbox / "poke").rmdir()
        wait_for(lambda: "poke" not in here.status_page())
    (here.places.inbox / ".ball.part").rename(here.places.inbox / "ball")
    wait_for(lambda: finished(here, "outbox", "ball"))
    assert stop(daemon) == 0


@pytest.mark.parametrize(
    ("name", "state"), [("incomplete", None), ("second", State.QUEUED), ("poison-run-hang", State.RUNNING)]
)
def test_a_file_cancels_a_capture_wherever_it_is(
    light_rig: Callable[..., Rig], ball: Path, name: str, state: State | None
) -> None:
    """Dropping ``NAME.cancel`` sends it to failed/, whole, and the request disappears."""
    here = light_rig()
    daemon = here.start()
    wait_for(lambda: here.status_page() != "")
    here.drop(ball, "poison-run-hang")  # holds the line
    wait_for(lambda: state_of(here, "poison-run-hang") is State.RUNNING)
    if name == "incomplete":
        shutil.copytree(ball, here.places.inbox / name, ignore=shutil.ignore_patterns("depth_01.png"))
        wait_for(lambda: "11 of 12 files" in here.status_page())
    elif name == "second":
        here.drop(ball, name)
    wait_for(lambda: state_of(here, name) is state)
    (here.places.inbox / f"{name}.cancel").touch()
    wait_for((here.places.failed / name / "receipt.json").exists)
    assert json.loads((here.places.failed / name / "failure.json").read_text())["code"] == "cancelled"
    assert_whole(here.places.failed / name)
    expected = contents(ball)
    if name == "incomplete":
        del expected["depth/depth_01.png"]
    assert contents(here.places.failed / name / "capture") == expected
    wait_for(lambda: not (here.places.inbox / f"{name}.cancel").exists())
    assert stop(daemon) == 0


def state_of(rig: Rig, name: str) -> State | None:
    """The state of the job of this folder name, if there is one."""
    with reader(rig.places.database)() as session:
        found = find_jobs(session, name)
    return found[0].state if found else None


def test_a_request_that_fits_nothing_is_told_and_left(light_rig: Callable[..., Rig]) -> None:
    here = light_rig()
    (here.places.inbox / "nobody.cancel").touch()
    (here.places.inbox / "photo.png").touch()
    daemon = here.start()
    wait_for(lambda: "nothing of this name waits or runs" in here.status_page())
    assert "photo.png: a single file" in here.status_page()
    assert stop(daemon) == 0
    assert sorted(os.listdir(here.places.inbox)) == ["nobody.cancel", "photo.png"]


def test_a_share_that_is_not_mounted_at_the_start_is_waited_for(
    light_rig: Callable[..., Rig], ball: Path, tmp_path: Path
) -> None:
    """Nothing is written under the mount point meanwhile, and nobody has to start the service again."""
    here = light_rig(MESHDROP_STATE_DIR=str(tmp_path / "state"))
    here.drop(ball)
    away = tmp_path / "away"
    here.root.rename(away)
    here.root.mkdir()
    daemon = here.start()
    wait_for(lambda: "was never set up, or it is not mounted" in here.log())
    assert os.listdir(here.root) == []
    here.root.rmdir()
    away.rename(here.root)
    wait_for((here.places.outbox / "ball.done").exists)
    assert stop(daemon) == 0
