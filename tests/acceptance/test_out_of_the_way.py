"""Jobs that cannot be finished, whatever the reason, keep nobody waiting: the whole service, with its threads."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

from meshdrop.db.states import State
from tests.rig import Rig, assert_whole, contents, stop, wait_for

PATIENCE_S = 300.0
#: A service in which one kind of operation fails for each folder called ``odd-OPERATION-FOLDER-HOW``, every time.
FAULTY = """
from meshdrop.daemon.base import fsops
names = {}
def disturb(operation, *paths):
    if operation == "rename" and paths[0].parent.name == "inbox":
        names[paths[1].name] = paths[0].name
    parts = [part for path in paths for part in path.parts]
    job = next((part for part in parts if part in names), None)
    _, wanted, folder, how, *_ = [*names.get(job, "").split("-"), "", "", ""]
    if job and operation == wanted and folder in parts:
        raise ValueError("a defect") if how == "defect" else PermissionError(13, "Permission denied", str(paths[0]))
fsops.observer = disturb
from tests import light
light.main()
"""
ODD = [
    f"odd-{step}-{how}"
    for how in ("refused", "defect")
    for step in (
        "copy_file-staging",
        "write_file-staging",
        "sync_file-staging",
        "make_dir-staging",
        "rename-outbox",
        "write_file-report.json",
        "make_dir-measure",
        "remove_tree-work",
        "rename-kept",
        "make_dir-work",
        "make_dir-a1",
        "sync_dir-ball",
        "write_file-attempt.json",
    )
]


#: What stays where it is while the fault lasts: the capture, and what is said of it.
STAYING = {
    "odd-rename-outbox-refused": (True, "its result is complete in {staged} and cannot be moved to {root}/outbox"),
    "odd-rename-failed-refused": (False, "its failure is told in {staged}, which cannot be moved to {root}/failed"),
    "odd-make_dir-staging-defect": (False, "its failure cannot be told, because {staged} cannot be made"),
}


def start_faulty(here: Rig, *arguments: str) -> subprocess.Popen[bytes]:
    """The service with these faults."""
    log = open(here.log_file, "ab")  # noqa: SIM115 - the child keeps it
    here.started.append(
        subprocess.Popen(
            [sys.executable, "-c", FAULTY, "run", *arguments],
            env=here.environment(),
            stdout=log,
            stderr=log,
            cwd=here.root.parent,
        )
    )
    return here.started[-1]


def stands(here: Rig, name: bytes, state: State) -> bool:
    """Whether the job of this folder is in this state."""
    return (name, state) in [(job.name, job.state) for job in here.live_jobs()]


def cancel(here: Rig, name: str) -> str:
    """What ``meshdrop cancel`` answers."""
    command = [sys.executable, "-m", "meshdrop.daemon.cli", "cancel", name]
    ended = subprocess.run(command, env=here.environment(), capture_output=True, text=True, check=False)
    return " ".join((ended.stdout + ended.stderr).split())


def refuses(here: Rig, name: str, why: str) -> bool:
    """Whether ``meshdrop cancel`` says no, for this reason."""
    return why in cancel(here, name)


def are_out(here: Rig, names: list[str]) -> bool:
    """Whether all of these lie in outbox/ with their marks."""
    return all((here.places.outbox / f"{name}.done").is_file() for name in names)


def test_the_line_goes_on_whatever_fails_for_single_jobs(light_rig: Callable[..., Rig], ball: Path) -> None:
    here = light_rig()
    service = start_faulty(here)
    for name in ODD:
        here.drop(ball, name)
    wait_for(lambda: not os.listdir(here.places.inbox), PATIENCE_S)
    goods = [f"good-{number}" for number in range(5)]
    for name in goods:
        here.drop(ball, name)
    wait_for(lambda: are_out(here, goods), PATIENCE_S)
    assert service.poll() is None, here.log()[-3000:]
    for name, state, why in (
        ("odd-make_dir-staging-refused", State.FAIL_PENDING, "failed/ already"),
        ("odd-rename-outbox-refused", State.DELIVERING, "on its way"),
    ):  # asked earlier, it would still be cancelled
        wait_for(partial(stands, here, os.fsencode(name), state), PATIENCE_S)
        wait_for(partial(refuses, here, name, why), PATIENCE_S)
        assert "Permission denied" in cancel(here, name)
    assert stop(service) == 0
    # The same again after a start, where all that is held stands in the line at once.
    service = start_faulty(here)
    here.drop(ball, "late")
    wait_for(lambda: are_out(here, ["late"]), PATIENCE_S)
    assert stop(service) == 0
    # And with the faults gone everything comes out.
    assert here.run_once() == 0, here.log()[-3000:]
    for name in ODD:
        shelves = [shelf for shelf in (here.places.outbox, here.places.failed) if (shelf / name).is_dir()]
        assert len(shelves) == 1, f"{name} is in {shelves}"
        assert_whole(shelves[0] / name)
        if shelves[0] == here.places.failed:
            why = (shelves[0] / name / "WHY.txt").read_text()
            was_cancelled = name == "odd-make_dir-staging-refused" and "The job was cancelled" in why
            assert was_cancelled or "failed three times" in why
        job = json.loads((shelves[0] / name / "receipt.json").read_text())["job"]
        originals = [folder / job for folder in (here.places.kept, here.places.claimed)]
        assert [contents(one) for one in originals if one.exists()] == [contents(ball)], name


def test_a_run_to_the_end_ends_beside_what_stays_and_says_so(light_rig: Callable[..., Rig], ball: Path) -> None:
    here = light_rig()
    bad = shutil.copytree(ball, here.root.parent / "bad")
    (bad / "capture.json").write_text('{"nonsense": 1}')
    for name, (is_good, _) in STAYING.items():
        here.drop(ball if is_good else bad, name)
    here.drop(ball, "good")
    assert start_faulty(here, "--once").wait(PATIENCE_S) == 75, here.log()[-3000:]
    assert are_out(here, ["good"])
    told = here.log().partition("meshdrop: ")[2]
    jobs = {job.name.decode(): job.id for job in here.live_jobs()}
    assert set(jobs) == set(STAYING)
    for name, (_, where) in STAYING.items():
        line = next(line for line in told.splitlines() if line.startswith(f"{name}: "))
        assert where.format(staged=here.places.staging / jobs[name], root=here.root) in line
        assert ("a defect" if name.endswith("defect") else "Permission denied") in line
    assert "fix: mend what is named" in told
    # Nothing is lost: with the cause gone, the next run goes on from there.
    assert here.run_once() == 0, here.log()[-3000:]
    for name, (is_good, _) in STAYING.items():
        published = (here.places.outbox if is_good else here.places.failed) / name
        assert_whole(published)
        assert contents(published / "capture") == contents(ball if is_good else bad)
    here.assert_at_rest()


def test_returned_folders_with_a_file_where_another_has_a_folder_come_out(
    light_rig: Callable[..., Rig], ball: Path
) -> None:
    here = light_rig()
    odd = shutil.copytree(ball, here.root.parent / "odd")
    for path in ("receipt.json", "capture/a", "a/b"):
        (odd / path).parent.mkdir(exist_ok=True)
        (odd / path).write_text('{"schema": "meshdrop.receipt/1"}')
    for number in range(3):
        here.drop(odd, f"odd-{number}")
        bad = shutil.copytree(odd, here.root.parent / f"bad-{number}")
        (bad / "capture.json").write_text('{"nonsense": 1}')
        here.drop(bad)
    here.drop(ball, "good")
    assert here.run_once() == 0, here.log()[-3000:]
    assert are_out(here, ["good", *(f"odd-{number}" for number in range(3))])
    for number in range(3):
        there = contents(here.places.failed / f"bad-{number}/capture")
        assert {"capture/a", "a/b"} <= set(there)
    here.assert_at_rest()
