"""The promise under kills, power cuts and failing disks: nothing is lost, nothing doubled, nothing half-visible.

The short form of ``make torture`` (tests/torture has the disturbances and the checks), with stand-ins for the workers;
a few kills with real workers after that. ``MESHDROP_SEED`` draws the same cases again.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.rig import REPOSITORY, Onlooker, Rig, contents
from tests.torture import plan, points, promise
from tests.torture.ground import Ground

_SKIPPED = 77
#: Where a crash meets a real worker, or what one has just left: the answer of the reader, the model, the measuring.
_WITH_WORKERS = ("I6", "R2", "R5")
#: Beside the way of a good and a bad capture; tests/acceptance/test_service.py has its own test for it.
_ASIDE = {"I5r"}


@pytest.mark.parametrize("part", plan.PARTS)
def test_the_promise_holds(part: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Each part's short form breaks nothing; without a load-bearing flush it does break something."""
    arguments = [sys.executable, "-m", "tests.torture", "--short", part]
    done = subprocess.run(
        arguments,
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        check=False,
    )
    with capsys.disabled():
        print(f"\n{done.stdout.strip()}\n{done.stderr.partition(chr(10))[0]}")
    if done.returncode == _SKIPPED:
        pytest.skip(" ".join(done.stdout.split()))
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_good_and_a_bad_capture_pass_every_named_point(tmp_path: Path) -> None:
    """So the kills above leave none out: a point that is added to the code is met, or has a test of its own."""
    named = set()
    for room in ("daemon", "db"):
        for file in (REPOSITORY / room).rglob("*.py"):
            named |= set(re.findall(r'crashpoint\("(\w+)"\)', file.read_text(encoding="utf-8")))
    assert named - _ASIDE == set(points.learn(Ground(tmp_path / "ground")))


@pytest.mark.parametrize("point", _WITH_WORKERS)
def test_a_kill_among_real_workers_changes_nothing(
    rig: Callable[..., Rig], ball: Path, tmp_path: Path, point: str
) -> None:
    """The same checks with the real reader, a real model process and the real measuring."""
    bad = tmp_path / "failed"
    shutil.copytree(ball, bad)
    shutil.copyfile(bad / "views/view_00.png", bad / "depth/depth_02.png")
    captures, here = {"outbox": ball, "failed": bad}, rig()
    for shelf, capture in captures.items():
        here.drop(capture, shelf)
    onlooker = Onlooker(here)
    onlooker.start()
    assert here.run_once(MESHDROP_CRASH_AT=point) == -signal.SIGKILL, here.log()
    before = promise.look(here)
    assert here.run_once() == 0, here.log()
    assert onlooker.stop() == set()
    promise.check_at_rest(here, captures, before)


@pytest.mark.parametrize("record", ["there", "gone"])
def test_an_original_whose_last_move_was_lost_with_the_power_is_put_away_by_the_next_start(
    light_rig: Callable[..., Rig], ball: Path, record: str
) -> None:
    """The end of a job is in the record, and the flush of kept/ never came: its folder stands in claimed/ again."""
    here = light_rig()
    bad = shutil.copytree(ball, here.root.parent / "bad")
    (bad / "capture.json").write_text('{"nonsense": 1}')
    for folder in (ball, bad):
        here.drop(folder)
    assert here.run_once() == 0
    before = {shelf: contents(here.root / shelf) for shelf in ("outbox", "failed")}
    originals = {folder.name: contents(folder) for folder in here.places.kept.iterdir()}
    assert sorted(originals.values(), key=len) == sorted((contents(ball), contents(bad)), key=len)
    for job in originals:
        (here.places.kept / job).rename(here.places.claimed / job)
    if record == "gone":
        for file in here.places.state.rglob("meshdrop.db*"):
            file.unlink()
    assert here.run_once() == 0, here.log()[-2000:]
    assert {folder.name: contents(folder) for folder in here.places.kept.iterdir()} == originals
    assert {shelf: contents(here.root / shelf) for shelf in before} == before
    assert list(here.places.claimed.iterdir()) == []
