"""Odd folders, forged answers, restarts and missing rights: each once hurt the service and must not again."""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from meshdrop.daemon.base import fsops
from tests.rig import Rig, assert_whole, contents, stop, wait_for


def test_orderly_restarts_are_never_held_against_a_capture(rig: Callable[..., Rig], ball: Path) -> None:
    """Four stops in the first moments, with far more folders claimed than can be read: all arrive in outbox/."""
    here = rig()
    names = [f"ball{number}" for number in range(6)]
    for name in names:
        here.drop(ball, name)
    for _ in range(4):
        daemon = here.start()
        wait_for(lambda: os.listdir(here.places.claimed) != [])
        time.sleep(0.3)
        assert stop(daemon) in (0, -signal.SIGTERM)  # the latter before it is ready: nothing was begun then
    assert here.run_once() == 0, here.log()
    assert sorted(folder.name for folder in here.places.outbox.iterdir() if folder.is_dir()) == names
    assert os.listdir(here.places.failed) == []
    here.assert_at_rest()


def test_a_folder_a_thousand_levels_deep_is_set_aside_and_can_be_removed(
    light_rig: Callable[..., Rig], ball: Path
) -> None:
    here = light_rig(MESHDROP_RETAIN_DAYS="0")
    here.drop(ball, "deep")
    inner = here.places.inbox / "deep"
    for _ in range(1200):
        os.mkdir(inner / "d")
        inner = inner / "d"
    (inner / "precious.txt").write_text("keep")
    here.drop(ball, "good")
    assert here.run_once() == 0, here.log()
    assert (here.places.outbox / "good").exists()
    assert "lies deeper than a capture goes" in (here.places.failed / "deep" / "WHY.txt").read_text()
    assert (here.places.failed / "deep" / "capture" / Path(*["d"] * 1200) / "precious.txt").read_text() == "keep"
    assert os.listdir(here.places.claimed) == []
    fsops.remove_tree(here.root)  # deeper than pytest's own cleaning can go
    assert not here.root.exists()


def test_a_forged_answer_publishes_nothing_and_stops_nothing(rig: Callable[..., Rig], ball: Path) -> None:
    engines = Path(__file__).parents[1] / "faults" / "engines.py"
    here = rig(MESHDROP_MODELS='["forger"]', MESHDROP_CUSTOM_MODELS=json.dumps({"forger": f"{engines}:Forger"}))
    here.drop(ball)
    assert here.run_once() == 0, here.log()
    folder = here.places.failed / "ball"
    assert_whole(folder)
    assert "left no valid result" in (folder / "WHY.txt").read_text()
    assert not (folder / "forger").exists()


def test_a_name_that_looks_like_a_mark_blocks_nobody(light_rig: Callable[..., Rig], ball: Path) -> None:
    here = light_rig()
    for name in ("x.done", "x"):
        here.drop(ball, name)
    (here.places.outbox / "y.done").mkdir()
    here.drop(ball, "y")
    assert here.run_once() == 0, here.log()
    assert {"x", "x.done", "x.done_", "x.done_.done", "y", "y.done"} == set(os.listdir(here.places.outbox))
    assert (here.places.outbox / "x.done").is_file()


def test_a_stale_mark_never_vouches_for_a_new_result(light_rig: Callable[..., Rig], ball: Path) -> None:
    here = light_rig()
    here.drop(ball)
    assert here.run_once() == 0
    first = (here.places.outbox / "ball.done").read_text()
    shutil.rmtree(here.places.outbox / "ball")  # a consumer took the folder and left the mark
    here.drop(ball)
    assert here.run_once(MESHDROP_CRASH_AT="D3a") == -signal.SIGKILL
    assert (here.places.outbox / "ball").exists()
    assert not (here.places.outbox / "ball.done").exists()
    assert here.run_once() == 0
    assert (here.places.outbox / "ball.done").read_text() != first


def test_a_missing_working_copy_fails_its_job_and_not_the_line(light_rig: Callable[..., Rig], ball: Path) -> None:
    here = light_rig()
    here.drop(ball, "damaged")
    assert here.run_once(MESHDROP_CRASH_AT="I6") == -signal.SIGKILL
    (work,) = (here.places.state / "work").iterdir()
    shutil.rmtree(work / "input")
    here.drop(ball, "good")
    assert here.run_once() == 0, here.log()
    assert (here.places.outbox / "good").exists()
    assert contents(here.places.failed / "damaged" / "capture") == contents(ball)


def test_everything_that_was_received_comes_out_and_a_mended_sidecar_wins(
    light_rig: Callable[..., Rig], ball: Path, tmp_path: Path
) -> None:
    """Notes, hidden files and logs of the operator's own; and the round trip failed -> mended -> outbox."""
    here = light_rig()
    capture = shutil.copytree(ball, tmp_path / "capture")
    extras = {"notes.txt": b"scan 3", "logs/rig.txt": b"ok", "rig.log": b"fine", ".hidden": b"x"}
    for name, data in extras.items():
        (capture / name).parent.mkdir(exist_ok=True)
        (capture / name).write_bytes(data)
    (capture / "capture.json").write_text('{"depth_unit": 0.001}')
    here.drop(capture, "scan")
    assert here.run_once() == 0
    assert contents(here.places.failed / "scan" / "capture") == contents(capture)
    (here.places.failed / "scan" / "capture" / "capture.json").write_text('{"depth_unit_m": 0.001}')
    (here.places.failed / "scan").rename(here.places.inbox / "scan")
    assert here.run_once() == 0
    expected = {**contents(capture), "capture.json": b'{"depth_unit_m": 0.001}'}
    assert contents(here.places.outbox / "scan" / "capture") == expected


def test_a_capture_that_is_far_too_large_is_refused_and_holds_nobody(light_rig: Callable[..., Rig], ball: Path) -> None:
    """A sparse terabyte costs nothing to send; it must neither wait for a terabyte of room nor be read."""
    here = light_rig()
    here.drop(ball, "large")
    os.truncate(here.places.inbox / "large/views/view_00.png", 1 << 40)
    with open(here.places.inbox / "large/views/view_00.png", "r+b") as file:
        file.seek(-12, os.SEEK_END)
        file.write(bytes.fromhex("0000000049454e44ae426082"))
    here.drop(ball, "good")
    assert here.run_once() == 0, here.log()
    assert (here.places.outbox / "good").exists()
    assert "MB" in (here.places.failed / "large" / "WHY.txt").read_text()


@pytest.mark.parametrize("name", ["depth/.depth_00.png.Ab12Cd", ".syncthing.depth_00.png.tmp", "view.filepart"])
def test_a_temporary_name_keeps_a_folder_waiting(light_rig: Callable[..., Rig], ball: Path, name: str) -> None:
    here = light_rig()
    (here.places.inbox / "ball").mkdir()
    shutil.copytree(ball / "views", here.places.inbox / "ball" / "views")
    (here.places.inbox / "ball" / name).parent.mkdir(exist_ok=True)
    (here.places.inbox / "ball" / name).write_bytes(b"x")
    daemon = here.start()
    wait_for(lambda: "still being copied" in here.status_page())
    time.sleep(1)
    assert os.listdir(here.places.inbox) == ["ball"]
    assert stop(daemon) == 0


def test_a_root_may_have_any_name(rig: Callable[..., Rig], ball: Path, tmp_path: Path, kernel_cache: Path) -> None:
    here = Rig(tmp_path / "q?a#b%20c d", kernel_cache)
    here.drop(ball)
    assert here.run_once() == 0, here.log()
    assert here.places.database.exists()
    assert [job.name for job in here.jobs()] == [b"ball"]


@pytest.mark.parametrize("task", ["inspect", "run", "measure"])
def test_a_capture_that_takes_the_service_down_is_the_only_one_to_be_blamed(
    light_rig: Callable[..., Rig], ball: Path, task: str
) -> None:
    """Its neighbours are read and measured at the very moments when it kills; each of them is delivered."""
    here = light_rig(LIGHT_STAGE_S="0.3")
    names = [f"good-{number}" for number in range(4)]
    for name in [*names[:2], f"poison-{task}-daemon", *names[2:]]:
        here.drop(ball, name)
    codes = [here.run_once()]
    while codes[-1] != 0:
        assert codes[-1] == -signal.SIGKILL, here.log()
        assert len(codes) <= 4, here.log()
        codes.append(here.run_once())
    assert sorted(folder.name for folder in here.places.outbox.iterdir() if folder.is_dir()) == names
    why = json.loads((here.places.failed / f"poison-{task}-daemon" / "failure.json").read_text())
    assert why["code"] == ("unreadable" if task == "inspect" else "poison")
    here.assert_at_rest()
