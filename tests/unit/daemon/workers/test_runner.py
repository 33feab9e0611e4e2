"""What the service believes of the folder that a model's worker has written to."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from meshdrop.daemon.base import fsops
from meshdrop.daemon.workers import runner
from meshdrop.daemon.workers.attempts import RESULT, Recipe, finished_before
from meshdrop.daemon.workers.executor import Attempt
from meshdrop.daemon.workers.process import Home, read_answer
from meshdrop.daemon.workers.runner import LocalExecutor, RunRules
from meshdrop.daemon.workers.warming import Warming
from meshdrop.models.files.limits import CaptureLimits
from tests.light import LightWorker
from tests.patience import PATIENCE_S

FIGURES = {"seconds": 1.0, "cpu_seconds": 1.0, "peak_rss_mib": 1, "peak_vram_mib": None}


def huge(path: Path) -> None:
    """More than the service could hold."""
    path.touch()
    os.truncate(path, 7 << 30)


LEFT: dict[str, Callable[[Path], object]] = {
    "pipe": os.mkfifo,
    "huge": huge,
    "endless": lambda path: path.symlink_to("/dev/zero"),
    "folder": lambda path: path.mkdir(),
    "deep": lambda path: path.write_text("[" * 100_000, encoding="ascii"),
    "list": lambda path: path.write_text("[]", encoding="ascii"),
}


@pytest.mark.parametrize("left", LEFT)
def test_whatever_a_model_that_failed_left_as_its_answer_is_no_result_and_holds_nobody_up(
    tmp_path: Path, left: str
) -> None:
    """The main loop asks before each further attempt: it must neither wait for a pipe nor read gigabytes."""
    LEFT[left](tmp_path / RESULT)
    found: list[object] = []
    asking = threading.Thread(target=lambda: found.append(finished_before(tmp_path)), daemon=True)
    asking.start()
    asking.join(PATIENCE_S)
    assert found == [None]


def test_a_model_that_was_finished_is_known_again(tmp_path: Path) -> None:
    (tmp_path / "mesh.glb").write_bytes(b"mesh")
    files = {"mesh.glb": {"size": 4, "sha256": hashlib.sha256(b"mesh").hexdigest()}}
    (tmp_path / RESULT).write_text(json.dumps({"files": files} | FIGURES), encoding="ascii")
    kept = finished_before(tmp_path)
    assert kept is not None
    assert (kept.state, kept.carried_over) == ("ok", True)
    (tmp_path / "mesh.glb").write_bytes(b"another")
    assert finished_before(tmp_path) is None


def test_an_answer_that_is_not_there_is_told_from_one_that_is_nonsense(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_answer(tmp_path / RESULT)


def test_links_and_pipes_among_a_models_files_do_not_keep_the_others_from_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A model may leave a link to its last checkpoint, or a pipe: nothing vouches for them."""
    (tmp_path / "model").mkdir()
    (tmp_path / "model/mesh.glb").write_bytes(b"mesh")
    (tmp_path / "model/latest").symlink_to("mesh.glb")
    os.mkfifo(tmp_path / "model/pipe")
    flushed: list[Path] = []
    monkeypatch.setattr(fsops, "recorder", lambda _, *paths: flushed.extend(paths))
    fsops.sync_tree(tmp_path / "model")
    assert flushed == [tmp_path / "model/mesh.glb", tmp_path / "model"]


def test_a_model_that_a_full_disk_keeps_from_starting_is_not_said_to_have_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is tried again every second: each try would be a line of the log."""
    refusals = [1, 2, 3]

    def start(*facts: Any) -> LightWorker:
        if refusals:
            refusals.pop()
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return LightWorker(*facts)

    monkeypatch.setattr(runner, "WorkerProcess", start)
    monkeypatch.setattr(Warming, "is_due", lambda _: False)
    rules = RunRules(lambda _: 60.0, 60.0, 1.0, CaptureLimits(), Home(tmp_path, tmp_path))
    executor = LocalExecutor(rules)
    recipe = Recipe.of([("fusion", {})], {}).to_text()
    with capture_logs() as said:
        folder = str(tmp_path)
        executor.start(Attempt(key="0" * 32 + ".1", src=folder, dir=f"{folder}/a1", digest="", recipe=recipe))
        for _ in range(len(refusals)):
            [report] = executor.poll() or []
            assert isinstance(report.trouble, OSError)
            assert report.state == "running"
        assert said == []
        executor.poll()
    assert [line["event"] for line in said] == ["model started"]
