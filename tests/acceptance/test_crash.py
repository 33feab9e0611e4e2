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

#: How often each crash point is passed while one good capture goes to outbox/ and one bad one to failed/.
PASSED = {
    "GRAB": 1, "I2": 2, "I3": 2, "I4a": 4, "I4b": 4, "I4": 4, "I5a": 24, "I5b": 2, "I5": 2, "I6": 1,
    "R1": 1, "R2": 1, "R3": 1, "R4": 1, "R5": 1,
    "D1b": 2, "D1": 2, "D2a": 2, "D2": 1, "F2": 1, "D3a": 2, "D3b": 2, "D3": 2, "D4": 2, "D4a": 2, "D5a": 2,
    "D5b": 2, "D5": 2, "END": 1,
}  # fmt: skip
#: Passed as often as there are files to write, trees to remove and changes to record.
MANY = ("D1a", "rm", "tx_mid")
#: Of the commits every one is killed with MESHDROP_ALL_CRASHES=1, else one in this many.
COMMITS = 1 if os.environ.get("MESHDROP_ALL_CRASHES") else 4


def crashes(passed: dict[str, int], many: dict[str, int]) -> list[str]:
    """First and last arrival at each point (the bad capture is read sooner, so both captures are met); some commits."""
    chosen = [f"{name}:{nth}" for name, times in {**passed, **many}.items() for nth in sorted({1, times})]
    return chosen + [f"tx_mid:{nth}" for nth in range(1 + COMMITS, many["tx_mid"], COMMITS)]


@pytest.fixture(scope="module")
def bad(ball: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A capture whose third depth map is a colour picture."""
    folder = tmp_path_factory.mktemp("captures") / "bad"
    shutil.copytree(ball, folder)
    shutil.copyfile(folder / "views/view_00.png", folder / "depth/depth_02.png")
    return folder


def passed_points(rig: Rig, captures: dict[str, Path], log: Path) -> Counter[str]:
    """The crash points of one undisturbed run."""
    drop(rig, captures)
    assert rig.run_once(MESHDROP_CRASH_LOG=str(log)) == 0, rig.log()
    rig.assert_at_rest()
    return Counter(log.read_text().split())


def drop(rig: Rig, captures: dict[str, Path]) -> None:
    """Put one capture for each shelf into the inbox, named after the shelf it belongs on."""
    for shelf, capture in captures.items():
        rig.drop(capture, shelf)


def crash_and_recover(rig: Rig, captures: dict[str, Path], point: str) -> str | None:
    """Kill the daemon at ``point``, start it again, and say what is wrong; None when all is well."""
    onlooker = Onlooker(rig)
    onlooker.start()
    drop(rig, captures)
    code = rig.run_once(MESHDROP_CRASH_AT=point)
    if code != -signal.SIGKILL:
        return f"{point} was not reached (exit code {code})\n{rig.log()[-3000:]}"
    if rig.run_once() != 0:
        return f"{point}: the second start failed\n{rig.log()[-3000:]}"
    if half := onlooker.stop():
        return f"{point}: half-visible {sorted(half)[:3]}"
    rig.assert_at_rest()
    if left := os.listdir(rig.places.inbox):
        return f"{point}: the inbox still holds {left}"
    for shelf, capture in captures.items():
        published = [folder.name for folder in (rig.root / shelf).iterdir() if folder.is_dir()]
        if published != [shelf]:
            return f"{point}: {shelf}/ holds {published}\n{rig.log()[-3000:]}"
        if contents(rig.root / shelf / shelf / "capture") != contents(capture):
            return f"{point}: the capture in {shelf}/ is not the one that went in"
    return None


def test_a_kill_at_every_named_point_loses_nothing_doubles_nothing_and_shows_nothing_half(
    rig: Callable[..., Rig], ball: Path, bad: Path, tmp_path: Path
) -> None:
    """A good and a bad capture, each kill in a root of its own, one restart: both arrive once, whole and unchanged."""
    captures = {"outbox": ball, "failed": bad}
    passed = passed_points(rig(), captures, tmp_path / "points")
    many = {name: passed.pop(name) for name in MANY}
    assert dict(passed) == PASSED  # a new crash point must be named above, a lost one must be noticed
    points = crashes(PASSED, many)
    rigs = [rig() for _ in points]
    with ThreadPoolExecutor(max_workers=2) as pool:
        found = pool.map(lambda here, point: crash_and_recover(here, captures, point), rigs, points)
        assert [trouble for trouble in found if trouble] == []
