"""Misbehaving models: each crash, hang and lie of a real worker process ends as the table says, and leaves nothing."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from meshdrop.daemon.workers.attempts import Recipe
from meshdrop.daemon.workers.executor import Attempt
from meshdrop.daemon.workers.process import (
    LOG_HEAD,
    LOG_TAIL,
    RUN_KEY,
    Ended,
    Home,
    TimeLimits,
    WorkerProcess,
    run_to_end,
    worker_request,
)
from meshdrop.daemon.workers.runner import LocalExecutor, RunRules
from meshdrop.daemon.workers.strays import kill_marked
from meshdrop.daemon.workers.warming import Warming
from meshdrop.models.files.limits import CaptureLimits
from meshdrop.models.mesh.output_formats import MATERIAL_FILES
from tests.patience import PATIENCE_S
from tests.rig import ENGINES, is_gone, wait_for

PATIENT = TimeLimits(run_s=PATIENCE_S, stall_s=PATIENCE_S, grace_s=1)


@pytest.fixture
def start(ball: Path, tmp_path: Path, kernel_cache: Path) -> Callable[..., WorkerProcess]:
    """Starts a worker for one of the test engines."""

    def begin(engine: str, limits: TimeLimits = PATIENT) -> WorkerProcess:
        folder = tmp_path / "a1" / engine
        request = worker_request(
            "run",
            ball,
            folder / "result.json",
            CaptureLimits(),
            model=engine,
            settings={},
            custom_models={engine: f"{ENGINES}:{engine}"},
            output=folder,
        )
        return WorkerProcess(f"test-{os.getpid()}-{engine}", request, folder, Home(tmp_path, kernel_cache), limits)

    return begin


def end(process: WorkerProcess) -> Ended:
    """Wait for the end."""
    return run_to_end(process, lambda: False)


def test_a_good_model_answers_with_files_that_are_there(start: Callable[..., WorkerProcess], tmp_path: Path) -> None:
    ended = end(start("Ball"))
    assert ended.error_class is None, ended.reason
    assert ended.answer is not None
    assert {"mesh.glb", "mesh.obj", "mesh.mtl", "mesh.ply"} <= set(ended.answer["files"])
    for name, facts in ended.answer["files"].items():
        assert (tmp_path / "a1" / "Ball" / name).stat().st_size == facts["size"]
    assert ended.peak_rss_mib > 10
    assert ended.cpu_seconds > 0


def test_a_material_and_its_light_are_vouched_for_and_read_back(
    start: Callable[..., WorkerProcess], ball: Path, tmp_path: Path, kernel_cache: Path
) -> None:
    """Two real workers: one delivers the files, one measures them; a broken one or one not listed is an error."""
    ended = end(start("LitBall"))
    assert ended.error_class is None, ended.reason
    assert ended.answer is not None
    folder = tmp_path / "a1" / "LitBall"
    for name in MATERIAL_FILES:
        facts, content = ended.answer["files"][name], (folder / name).read_bytes()
        assert facts == {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}

    def measured(name: str) -> dict[str, Any]:
        output = tmp_path / "measured" / name
        request = worker_request(
            "measure",
            ball,
            output / "measurement.json",
            CaptureLimits(),
            models={"LitBall": str(folder)},
            output=output,
        )
        home = Home(tmp_path, kernel_cache)
        answer = end(WorkerProcess(f"test-{os.getpid()}-{name}", request, output, home, PATIENT)).answer
        assert answer is not None
        model: dict[str, Any] = answer["models"]["LitBall"]
        return model

    whole = measured("whole")
    assert whole["error"] is None
    assert set(MATERIAL_FILES) <= set(whole["files"]["file_bytes"])
    light = (folder / "probe.hdr").read_bytes()
    (folder / "probe.hdr").write_bytes(light[:-9])
    assert "probe.hdr" in measured("cut")["error"]["message"]
    (folder / "probe.hdr").write_bytes(light)
    answer = json.loads((folder / "result.json").read_text())
    del answer["files"]["pbr.glb"]
    (folder / "result.json").write_text(json.dumps(answer))
    assert "pbr.glb" in measured("unlisted")["error"]["message"]


def test_what_a_worker_says_is_a_number_and_a_text_or_is_not_heard(start: Callable[..., WorkerProcess]) -> None:
    """Status pages and the record hold no half of a surrogate pair, and no page tells of `nan` percent."""
    worker = start("Babbler")
    ended = end(worker)
    assert (worker.percent, worker.step) == (50.0, r"\ud800\x1b[2J")
    assert (ended.error_class, ended.reason, ended.fix) == ("bad_input", "no\n\\ud800", r"\udfff\x07")


@pytest.mark.parametrize(
    ("engine", "kind", "says"),
    [
        ("Stowaway", "defect", "no file called 'notes.txt' can be delivered"),
        ("Crash", "crash", "SIGSEGV"),
        ("Raises", "defect", "ArithmeticError: the sum does not add up"),
        ("Liar", "garbage", "no valid result"),
        ("Absent", "unavailable", "it needs a quantum computer"),
    ],
)
def test_each_way_to_fail_has_its_class_and_its_sentence(
    start: Callable[..., WorkerProcess], engine: str, kind: str, says: str
) -> None:
    ended = end(start(engine))
    assert ended.error_class == kind
    assert says in ended.reason
    assert ended.fix
    assert ended.answer is None


def test_a_hanging_model_is_stopped_with_everything_it_started(start: Callable[..., WorkerProcess]) -> None:
    """It ignores SIGTERM and its grandchild has left the process group."""
    process = start("Hang", TimeLimits(run_s=PATIENCE_S, stall_s=3, grace_s=0.5))
    ended = end(process)
    assert ended.error_class == "stalled"
    assert kill_marked(RUN_KEY, process.key) == 0
    with pytest.raises(ProcessLookupError):
        os.kill(process.pid, 0)


def test_a_model_that_takes_too_long_is_stopped_although_it_makes_progress(start: Callable[..., WorkerProcess]) -> None:
    ended = end(start("Slow", TimeLimits(run_s=3, stall_s=PATIENCE_S, grace_s=5)))
    assert ended.error_class == "timeout"


def test_progress_is_seen_and_a_stop_is_obeyed(start: Callable[..., WorkerProcess]) -> None:
    process = start("Slow")
    wait_for(lambda: process.step == "thinking" or process.poll() is not None)
    assert process.step == "thinking"
    process.stop("cancelled")
    assert end(process).error_class == "cancelled"


def test_noise_neither_fills_the_disk_nor_confuses_the_daemon(
    start: Callable[..., WorkerProcess], tmp_path: Path
) -> None:
    ended = end(start("Chatty"))
    assert ended.error_class is None, ended.reason
    log = (tmp_path / "a1" / "Chatty" / "result.log").stat().st_size
    assert LOG_HEAD <= log <= LOG_HEAD + LOG_TAIL + 100  # twenty megabytes were printed


def test_a_worker_dies_with_the_daemon(start: Callable[..., WorkerProcess], tmp_path: Path) -> None:
    """The kernel kills it when the process that started it is gone."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:  # the "daemon": starts a worker, tells its pid when that works, dies by SIGKILL
        try:
            worker = start("Slow")
            wait_for(lambda: worker.step == "thinking")
            os.write(writer, str(worker.pid).encode())
        finally:
            os.kill(os.getpid(), 9)
    os.close(writer)
    pid = int(os.read(reader, 100))
    os.close(reader)
    os.waitpid(child, 0)
    wait_for(lambda: is_gone(pid))


def test_workers_inherit_only_what_is_on_the_list(
    start: Callable[..., WorkerProcess], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET_TOKEN", "s3cret")
    process = start("Slow")
    variables = Path(f"/proc/{process.pid}/environ").read_bytes()
    assert b"s3cret" not in variables
    assert b"HF_HUB_OFFLINE=1" in variables
    process.stop("cancelled")
    end(process)


@pytest.mark.parametrize("engine", ["Hog", "HogFamily"])
def test_a_run_that_takes_too_much_memory_is_ended_and_told(
    ball: Path, tmp_path: Path, kernel_cache: Path, engine: str
) -> None:
    """By itself, and through a child; it would go on to 8 GiB."""
    folder = tmp_path / "a1" / engine
    request = worker_request(
        "run",
        ball,
        folder / "result.json",
        CaptureLimits(),
        model=engine,
        settings={},
        custom_models={engine: f"{ENGINES}:{engine}"},
        output=folder,
    )
    home = Home(tmp_path, kernel_cache, memory_mib=700)
    ended = end(WorkerProcess(f"test-{os.getpid()}-{engine}", request, folder, home, PATIENT))
    assert ended.error_class == "memory_limit"
    assert "worker_memory_mb allows 700 MiB" in ended.reason
    assert "worker_memory_mb" in ended.fix
    assert ended.answer is None
    assert kill_marked(RUN_KEY, f"test-{os.getpid()}-{engine}") == 0


@pytest.mark.parametrize("task", ["inspect", "measure"])
def test_every_other_task_has_the_limit_too(ball: Path, tmp_path: Path, kernel_cache: Path, task: str) -> None:
    """Nothing can work in 2 MiB."""
    folder = tmp_path / task
    request = worker_request(task, ball, folder / "answer.json", CaptureLimits(), models={}, output=folder)
    home = Home(tmp_path, kernel_cache, memory_mib=2)
    ended = end(WorkerProcess(f"test-{os.getpid()}-{task}", request, folder, home, PATIENT))
    assert (ended.error_class, ended.answer) == ("memory_limit", None)


def test_a_process_that_never_began_is_told_from_one_that_died_at_work(
    ball: Path, tmp_path: Path, kernel_cache: Path
) -> None:
    """It has seen nothing of the capture, so the capture is not to blame."""
    folder = tmp_path / "inspect"
    request = worker_request("inspect", ball, folder / "answer.json", CaptureLimits(), of_another_version=True)
    ended = end(WorkerProcess(f"test-{os.getpid()}-stranger", request, folder, Home(tmp_path, kernel_cache), PATIENT))
    assert (ended.error_class, ended.answer) == ("not_begun", None)


def test_an_attempt_that_nobody_waits_for_any_more_leaves_no_process(
    ball: Path, tmp_path: Path, kernel_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Warming, "is_due", lambda _: False)
    home = Home(tmp_path, kernel_cache)
    executor = LocalExecutor(RunRules(lambda _: PATIENCE_S, PATIENCE_S, 1.0, CaptureLimits(), home))
    key = f"test-{os.getpid()}.1"
    recipe = Recipe.of([("Hang", {})], {"Hang": f"{ENGINES}:Hang"}).to_text()
    executor.start(Attempt(key=key, recipe=recipe, src=str(ball), dir=str(tmp_path / "a1")))

    def carriers() -> list[int]:
        wanted = f"{RUN_KEY}={key}.Hang".encode()
        return [int(entry) for entry in os.listdir("/proc") if entry.isdigit() and wanted in environment_of(entry)]

    executor.poll()
    wait_for(lambda: len(carriers()) == 2)  # the worker, and what it has started
    there = carriers()
    executor.clear(key)
    wait_for(lambda: all(is_gone(pid) for pid in there))
    assert executor.free() == 1


def environment_of(entry: str) -> list[bytes]:
    """The environment of a process; nothing when it is gone or another's."""
    with contextlib.suppress(OSError):
        return Path("/proc", entry, "environ").read_bytes().split(b"\0")
    return []
