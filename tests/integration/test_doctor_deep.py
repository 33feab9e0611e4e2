"""``meshdrop doctor --deep``: a whole service on a root of its own with real workers, and then nothing is left."""

from __future__ import annotations

import fcntl
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from meshdrop.daemon.base.errors import ExitCode
from meshdrop.daemon.status.activity import SCHEMA
from tests.patience import PATIENCE_S
from tests.rig import Rig


def doctor(rig: Rig, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """The command, as somebody would give it who stands in front of this root."""
    return subprocess.run(
        [sys.executable, "-m", "meshdrop.daemon.cli", "doctor", "--json", *arguments],
        env=rig.environment(**settings),
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )


def trial(done: subprocess.CompletedProcess[str]) -> dict[str, dict[str, Any]]:
    """The lines about the trial, by name."""
    findings = json.loads(done.stdout)["findings"]
    return {finding["name"]: finding for finding in findings if finding["group"] == "trial"}


def is_late(says: str) -> bool:
    """Whether a line tells only that the answer did not come in time, as it may on a busy machine."""
    return says.startswith("no answer within ")


def names(rig: Rig) -> list[str]:
    """Everything below the root but compiled kernels, and the log that a trial leaves."""
    return sorted(str(path.relative_to(rig.root)) for path in rig.root.rglob("*") if path.name != "doctor-deep.log")


def test_each_model_is_tried_for_itself_and_nothing_is_left(rig: Callable[..., Rig], ball: Path) -> None:
    """One that works, one that cannot run here, one whose mesh is wrong: three lines, each with its own word."""
    here = rig()
    before = names(here)
    done = doctor(here, "--deep", "--sample", str(ball), MESHDROP_MODELS='["ball", "absent", "wrong_ball"]')
    lines = trial(done)
    assert list(lines) == ["trial ball", "trial absent", "trial wrong_ball"], done.stderr
    assert lines["trial ball"]["result"] == "ok"
    assert lines["trial ball"]["says"].startswith("normal: ")
    assert " dB, SSIM 0.9" in lines["trial ball"]["says"]
    assert "MiB of memory" in lines["trial ball"]["says"]
    assert (lines["trial absent"]["result"], bool(lines["trial absent"]["fix"])) == ("warn", True)
    assert lines["trial wrong_ball"]["result"] == "warn"
    assert lines["trial wrong_ball"]["says"].startswith("its mesh does not agree with the capture (failure: ")
    assert done.returncode == 0
    assert "trying: ball " in done.stderr
    assert names(here) == before
    assert (here.places.state / "doctor-deep.log").read_text().count("model started") == 3


def test_a_capture_that_is_refused_is_told_and_fails(rig: Callable[..., Rig], ball: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(ball, broken)
    (broken / "depth/depth_03.png").write_bytes((broken / "views/view_03.png").read_bytes())
    here = rig()
    done = doctor(here, "--deep", "--sample", str(broken))
    [line] = trial(done).values()
    assert (line["name"], line["result"]) == ("trial", "fail")
    assert "the capture was refused" in line["says"]
    assert done.returncode == ExitCode.PROBLEM
    assert not any(".doctor-" in name for name in names(here))


@pytest.mark.parametrize("working", [None, {"name": "chair", "note": "fusion", "progress": 0.1}])
def test_a_service_at_work_is_not_disturbed(
    rig: Callable[..., Rig], ball: Path, working: dict[str, Any] | None
) -> None:
    here = rig()
    page: dict[str, Any] = {"schema": SCHEMA, "working": working, "held": [], "stopped": False}
    here.places.live_status.write_text(json.dumps(page))
    with here.places.lock.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = doctor(here, "--deep", "--sample", str(ball))
    if working is None:
        assert trial(done)["trial ball"]["result"] == "ok"
        return
    assert done.returncode == ExitCode.PROBLEM
    assert "the service is working on chair" in done.stderr
    assert "meshdrop pause" in done.stderr


def test_without_a_capture_the_way_out_is_named(rig: Callable[..., Rig], tmp_path: Path) -> None:
    done = doctor(rig(), "--deep", "--sample", str(tmp_path / "gone"))
    assert done.returncode == ExitCode.PROBLEM
    assert "--sample DIR" in done.stderr


def test_a_private_folder_inside_a_public_one_stops_the_start(rig: Callable[..., Rig]) -> None:
    """What would lose accepted captures ends it before anything is made there; the doctor says the same."""
    here = rig()
    inside = here.places.status / "spool"
    assert here.run_once(MESHDROP_SPOOL_DIR=str(inside)) == ExitCode.CONFIGURATION
    assert "people at the share could delete or change captures" in here.log()
    assert not inside.exists()
    found = json.loads(doctor(here, MESHDROP_SPOOL_DIR=str(inside)).stdout)["findings"]
    failed = [one["name"] for one in found if one["result"] == "fail" and not is_late(one["says"])]
    assert failed == ["private folders"]


def test_what_is_not_in_order_is_in_the_log_of_a_start_that_goes_on(rig: Callable[..., Rig], ball: Path) -> None:
    here = rig()
    here.places.inbox.chmod(0o775)
    here.drop(ball)
    assert here.run_once(MESHDROP_SETLE_S="1") == 0
    lines = [json.loads(line) for line in here.log().splitlines() if line.startswith("{")]
    checks = {line["line"]: line for line in lines if line["event"] == "check" and not is_late(line["says"])}
    assert checks["permissions"]["fix"] == f"chmod g+s {here.places.inbox}"
    assert "MESHDROP_SETTLE_S" in checks["environment"]["says"]
    assert all(line["level"] == "warning" for line in checks.values())
    assert (here.places.outbox / "ball.done").exists()
