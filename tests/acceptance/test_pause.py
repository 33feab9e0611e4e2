"""pause, resume and drain: what runs is finished, what comes waits, and nothing of it depends on who is up when."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from meshdrop.daemon.base.pause import Pause
from tests.patience import PATIENCE_S
from tests.rig import Rig, stop, wait_for


def command(rig: Rig, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run ``meshdrop`` beside the service."""
    return subprocess.run(
        [sys.executable, "-m", "meshdrop.daemon.cli", *arguments],
        env=rig.environment(),
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_S,
    )


def published(rig: Rig) -> set[str]:
    return {folder.name for folder in rig.places.outbox.iterdir() if folder.is_dir()}


def told(rig: Rig) -> dict[str, Any]:
    return dict(json.loads(command(rig, "status", "--json").stdout))


def test_a_pause_lets_run_what_runs_and_holds_over_a_restart(light_rig: Callable[..., Rig], ball: Path) -> None:
    here = light_rig()
    here.hold("first", "second")
    daemon = here.start()
    here.drop(ball, "first")
    here.drop(ball, "second")
    wait_for(lambda: "standing in" in here.status_page() and len(os.listdir(here.places.claimed)) == 2)
    assert command(here, "pause").stdout == "Paused.\n"
    here.drop(ball, "third")
    here.let_go("first", "second")
    wait_for((here.places.outbox / "first.done").exists)
    wait_for(lambda: "third: the service is paused" in here.status_page())
    wait_for(lambda: "PAUSED since" in here.status_page())
    assert stop(daemon) == 0
    again = here.start()
    wait_for(lambda: told(here)["running"])
    wait_for(lambda: "third: the service is paused" in here.status_page())
    state = told(here)
    assert state["paused_since"] is not None
    assert [job["name"] for job in state["queue"]] == ["second"]
    assert published(here) == {"first"}
    assert os.listdir(here.places.inbox) == ["third"]
    assert command(here, "resume").stdout == "It goes on.\n"
    wait_for(lambda: published(here) == {"first", "second", "third"})
    wait_for(lambda: "PAUSED" not in here.status_page())
    assert command(here, "resume").returncode == 1
    assert stop(again) == 0


def test_a_pause_may_begin_and_end_while_no_service_runs(light_rig: Callable[..., Rig], ball: Path) -> None:
    here = light_rig()
    here.drop(ball, "chair")
    assert "No service runs here" in command(here, "pause").stdout
    begun = Pause(here.places.pause).since
    assert "No service runs here" in command(here, "pause").stdout
    assert Pause(here.places.pause).since == begun, "pausing twice is pausing once"
    assert here.run_once() == 1
    assert "the service is paused" in here.log()
    assert os.listdir(here.places.inbox) == ["chair"]
    assert "The pause is over" in command(here, "resume").stdout
    assert here.run_once() == 0
    assert published(here) == {"chair"}


def test_drain_finishes_what_runs_and_ends_with_success(light_rig: Callable[..., Rig], ball: Path) -> None:
    names = ("first", "second", "third")
    here = light_rig()
    here.hold(*names)
    daemon = here.start()
    for name in names:
        here.drop(ball, name)
    wait_for(lambda: "standing in" in here.status_page())
    assert "it ends when what runs is finished" in command(here, "drain", "--no-wait").stdout
    here.drop(ball, "late")
    here.let_go(*names)
    assert daemon.wait(PATIENCE_S) == 0
    assert os.listdir(here.places.inbox) == ["late"]
    # Not one attempt was cut short: what is published was run once, and what is not was never begun.
    done, waits = published(here), told(here)["open"]
    assert done
    assert done | {job["name"] for job in waits} == {"first", "second", "third"}
    assert {job["attempt"] for job in waits} <= {0}
    assert {(job.attempt, job.refunds) for job in here.jobs()} == {(1, 0)}
    assert command(here, "drain").returncode == 1  # nobody is there to be ended
    assert here.run_once() == 0
    assert published(here) == {"first", "second", "third", "late"}
    here.assert_at_rest()


def test_an_idle_service_is_drained_at_once(light_rig: Callable[..., Rig]) -> None:
    here = light_rig()
    daemon = here.start()
    wait_for(here.places.live_status.exists)
    assert command(here, "drain").stdout.endswith("It has ended.\n")
    assert daemon.wait(PATIENCE_S) == 0
