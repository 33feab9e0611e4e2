"""Validating through real processes: engines that hang, die or are not there cost no job anything."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from meshdrop.daemon.base.errors import Stopping
from meshdrop.daemon.base.settings import Settings
from meshdrop.daemon.outbox import gltf_validation
from meshdrop.daemon.workers import process
from meshdrop.daemon.workers.process import RUN_KEY
from meshdrop.models.mesh.gltf_engines import MINI_RACER, NODE, engine
from meshdrop.models.mesh.gltf_validation import MISSING
from tests.broken_glb import sound, write_broken
from tests.patience import PATIENCE_S
from tests.rig import is_gone, wait_for


@pytest.fixture
def made(tmp_path: Path) -> dict[str, Path]:
    """Two models' folders: one with a sound GLB, one with a broken second one; other files are not looked at."""
    folders = {name: tmp_path / name for name in ("good", "bad")}
    for folder in folders.values():
        folder.mkdir()
        sound(folder / "mesh.glb")
    write_broken(folders["bad"] / "pbr.glb", "wrong bounds")
    for name, files in {"good": ["mesh.glb", "mesh.obj"], "bad": ["mesh.glb", "pbr.glb"]}.items():
        (folders[name] / "result.json").write_text(json.dumps({"files": {file: {} for file in files}}))
    return folders


def validate(
    tmp_path: Path, made: dict[str, Path], limit_s: float = PATIENCE_S, stopping: Callable[[], bool] = lambda: False
) -> dict[str, dict[str, Any]]:
    """As the service does it."""
    settings = Settings(root=tmp_path, check_limit_s=limit_s, stop_grace_s=1)
    settings.places.cache.mkdir(parents=True, exist_ok=True)
    (tmp_path / "work").mkdir(exist_ok=True)
    found = gltf_validation.validate("job", made, tmp_path / "work", settings, stopping)
    return {name: one.to_json() for name, one in found.items()}


def use(monkeypatch: pytest.MonkeyPatch, name: str | None) -> None:
    """Let the service see only this engine."""
    found = engine(name) if name else None
    if name and found is None:
        pytest.skip(f"{name} is not installed")
    monkeypatch.setattr(gltf_validation, "engine", lambda: found)


def as_node(folder: Path, monkeypatch: pytest.MonkeyPatch, does: str) -> None:
    """Put a program in Node's place."""
    folder.mkdir()
    (folder / "node").write_text(f"#!/bin/sh\n{does}\n")
    (folder / "node").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    use(monkeypatch, NODE)


@pytest.mark.parametrize("name", [MINI_RACER, NODE])
def test_each_model_gets_its_own_result(
    tmp_path: Path, made: dict[str, Path], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    use(monkeypatch, name)
    found = validate(tmp_path, made)
    assert (found["good"]["status"], found["good"]["files"]) == ("passed", ["mesh.glb"])
    assert (found["bad"]["status"], found["bad"]["files"]) == ("failed", ["mesh.glb", "pbr.glb"])
    assert found["bad"]["messages"][0]["file"] == "pbr.glb"
    assert found["good"]["by"].startswith(name)


def test_without_an_engine_no_process_is_started(
    tmp_path: Path, made: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    use(monkeypatch, None)
    found = validate(tmp_path, made)
    assert not list((tmp_path / "work").iterdir())
    assert {name: one["status"] for name, one in found.items()} == {"good": "not run", "bad": "not run"}
    assert found["good"]["reason"] == MISSING
    assert "make validate" in found["good"]["fix"]


def test_an_engine_that_hangs_is_ended_with_what_it_started(
    tmp_path: Path, made: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its time is over at the moment when it hangs, however long this machine takes to start it."""
    pid = tmp_path / "work" / "validate-good" / "pid"  # where the walls let it write
    as_node(tmp_path / "bin", monkeypatch, f"sleep 600 &\necho $$ > {pid}.part; mv {pid}.part {pid}; wait")
    later = SimpleNamespace(**vars(time))
    later.monotonic = lambda: time.monotonic() + (2 * PATIENCE_S if pid.exists() else 0)
    monkeypatch.setattr(process, "time", later)
    found = validate(tmp_path, {"good": made["good"]})["good"]
    assert (found["status"], found["errors"], found["by"]) == ("not run", None, NODE)
    assert f"took longer than {PATIENCE_S:g} s" in found["reason"]
    wait_for(lambda: is_gone(int(pid.read_text())))
    marked = f"{RUN_KEY}=job.validate".encode()
    for left in Path("/proc").glob("[0-9]*/environ"):
        try:
            assert marked not in left.read_bytes().split(b"\0"), left
        except OSError:
            continue


def test_an_engine_that_dies_is_said_to_have_died(
    tmp_path: Path, made: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    as_node(tmp_path / "bin", monkeypatch, "kill -ILL $$")
    found = validate(tmp_path, made)
    assert all(one["status"] == "not run" for one in found.values())
    assert "SIGILL" in found["good"]["reason"]


def test_one_that_takes_its_whole_process_along_is_said_to_have_died(
    tmp_path: Path, made: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As V8 does inside Python when its memory does not suffice."""
    as_node(tmp_path / "bin", monkeypatch, "kill -ABRT $PPID")
    found = validate(tmp_path, made)["good"]
    assert found["status"] == "not run"
    assert "SIGABRT" in found["reason"]


def test_when_the_service_ends_the_job_stays_where_it_is(
    tmp_path: Path, made: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    as_node(tmp_path / "bin", monkeypatch, "exec sleep 600")
    with pytest.raises(Stopping):
        validate(tmp_path, made, stopping=lambda: True)
