"""The promise under kill -9: at every named crash point nothing is lost, nothing doubled, nothing half-visible."""

from __future__ import annotations

import os
import shutil
import signal
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.rig import Onlooker, Rig, contents

#: How often each crash point is passed on the way of one good capture from inbox/ to outbox/ ...
GOOD = {
    "GRAB": 1, "I2": 1, "I3": 1, "I4a": 2, "I4b": 2, "I4": 2, "I5a": 12, "I5b": 1, "I5": 1, "I6": 1,
    "R1": 1, "R2": 1, "R3": 1, "R4": 1, "R5": 1, "D1b": 1, "D1": 1, "D2a": 1, "D2": 1, "D3a": 1, "D3b": 1, "D3": 1,
    "D4": 1, "D4a": 1, "D5a": 1, "D5b": 1, "D5": 1, "END": 1,
}  # fmt: skip
#: ... and of one bad capture to failed/.
BAD = {
    "GRAB": 1, "I2": 1, "I3": 1, "I4a": 2, "I4b": 2, "I4": 2, "I5a": 12, "I5b": 1, "I5": 1,
    "D1b": 1, "D1": 1, "D2a": 1, "F2": 1, "D3a": 1, "D3b": 1, "D3": 1, "D4": 1, "D4a": 1, "D5a": 1, "D5b": 1,
    "D5": 1, "END": 1,
}  # fmt: skip
#: Passed as often as there are files to write, trees to remove and changes to record.
MANY = ("D1a", "rm", "tx_mid")


def crashes(passed: dict[str, int], many: dict[str, int]) -> list[str]:
    """First and last arrival at each point; for the commits every one of them."""
    chosen = [f"{name}:{nth}" for name, times in passed.items() for nth in sorted({1, times})]
    chosen += [f"{name}:{nth}" for name, times in many.items() for nth in sorted({1, times})]
    return chosen + [f"tx_mid:{nth}" for nth in range(1, many["tx_mid"] + 1)]


@pytest.fixture(scope="module")
def bad(ball: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A capture whose third depth map is a colour picture."""
    folder = tmp_path_factory.mktemp("captures") / "bad"
    shutil.copytree(ball, folder)
    shutil.copyfile(folder / "views/view_00.png", folder / "depth/depth_02.png")
    return folder


def passed_points(rig: Rig, capture: Path, log: Path) -> Counter[str]:
    """The crash points of one undisturbed run."""
    rig.drop(capture)
    assert rig.run_once(MESHDROP_CRASH_LOG=str(log)) == 0, rig.log()
    rig.assert_at_rest()
    return Counter(log.read_text().split())


def crash_and_recover(rig: Rig, capture: Path, shelf: str, point: str) -> str | None:
    """Kill the daemon at ``point``, start it again, and say what is wrong; None when all is well."""
    original = contents(capture)
    onlooker = Onlooker(rig)
    onlooker.start()
    rig.drop(capture)
    code = rig.run_once(MESHDROP_CRASH_AT=point)
    if code != -signal.SIGKILL:
        return f"{point} was not reached (exit code {code})\n{rig.log()[-3000:]}"
    if rig.run_once() != 0:
        return f"{point}: the second start failed\n{rig.log()[-3000:]}"
    half = onlooker.stop()
    rig.assert_at_rest()
    published = [
        folder for place in (rig.places.outbox, rig.places.failed) for folder in place.iterdir() if folder.is_dir()
    ]
    if half:
        return f"{point}: half-visible {sorted(half)[:3]}"
    if [folder.parent.name for folder in published] != [shelf]:
        return f"{point}: published {published}"
    if contents(published[0] / "capture") != original:
        return f"{point}: the capture that came out is not the one that went in"
    if os.listdir(rig.places.inbox):
        return f"{point}: the inbox still holds {os.listdir(rig.places.inbox)}"
    return None


def all_points(make: Callable[..., Rig], capture: Path, shelf: str, named: dict[str, int], log: Path) -> list[str]:
    """Crash once at each chosen point, each in a root of its own; returns what went wrong."""
    passed = passed_points(make(), capture, log)
    many = {name: passed.pop(name) for name in MANY}
    assert dict(passed) == named  # a new crash point must be named above, a lost one must be noticed
    points = crashes(named, many)
    rigs = [make() for _ in points]
    with ThreadPoolExecutor(max_workers=2) as pool:
        found = pool.map(lambda here, point: crash_and_recover(here, capture, shelf, point), rigs, points)
        return [trouble for trouble in found if trouble]


def test_a_good_capture_survives_a_kill_at_every_named_point(
    rig: Callable[..., Rig], ball: Path, tmp_path: Path
) -> None:
    """It arrives in outbox/ exactly once, whole, with its bytes unchanged."""
    assert all_points(rig, ball, "outbox", GOOD, tmp_path / "points") == []


def test_a_bad_capture_survives_a_kill_at_every_named_point(
    rig: Callable[..., Rig], bad: Path, tmp_path: Path
) -> None:
    """It arrives in failed/ exactly once, whole, with its bytes unchanged."""
    assert all_points(rig, bad, "failed", BAD, tmp_path / "points") == []
