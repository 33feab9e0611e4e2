"""What real workers unpickle and run, seen by an audit hook from their first line on."""

from __future__ import annotations

import json
import os
import stat
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from meshdrop.daemon.workers import kernels
from meshdrop.daemon.workers.process import Home, TimeLimits, WorkerProcess, run_to_end, worker_request
from meshdrop.models.files.limits import CaptureLimits

LIMITS = TimeLimits(run_s=900, stall_s=900, grace_s=5)
#: Where numba reads its cache, and what compiled functions hold of constants.
_OF_KERNELS = ("/numba/core/caching.py", "/numba/core/serialize.py")
#: Stands in the interpreter's place: notes what is unpickled, what code runs and which programs are loaded, then is it.
WITNESS = """#!{python} -I
import json, os, runpy, sys
out = os.open({log!r}, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
def hook(event, arguments):
    if event == "pickle.find_class":
        frame, callers = sys._getframe(1), []
        while frame is not None:
            callers.append(frame.f_code.co_filename)
            frame = frame.f_back
        note = [event, ".".join(map(str, arguments)), callers]
    elif event == "exec":
        note = [event, arguments[0].co_filename, []]
    elif event == "import" and arguments[1]:
        note = [event, str(arguments[1]), []]
    elif event == "open" and str(arguments[0]).endswith((".nbi", ".nbc", ".pkl", ".pickle", ".pt", ".npy", ".npz")):
        note = [event, str(arguments[0]), []]
    else:
        return
    os.write(out, (json.dumps(note) + "\\n").encode())
sys.addaudithook(hook)
sys.argv = sys.argv[sys.argv.index("-m") + 1:]
runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
"""


@pytest.fixture
def witnessed(
    tmp_path: Path, kernel_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., list[tuple[str, str, list[str]]]]:
    """Runs a task in a real worker; what the hook noted: event, what, and who called."""

    def work(task: str, capture: Path, **fields: Any) -> list[tuple[str, str, list[str]]]:
        folder, log = tmp_path / task, tmp_path / f"{task}.jsonl"
        python = tmp_path / "witness"
        python.write_text(WITNESS.format(python=sys.executable, log=str(log)))
        python.chmod(0o700)
        request = worker_request(task, capture, folder / "result.json", CaptureLimits(), output=folder, **fields)
        folder.mkdir()
        with monkeypatch.context() as patched:
            patched.setattr("meshdrop.daemon.workers.process.sys.executable", str(python))
            process = WorkerProcess(f"witness {os.getpid()}", request, folder, Home(tmp_path, kernel_cache), LIMITS)
        ended = run_to_end(process, lambda: False)
        assert ended.error_class is None, ended.reason
        notes = [json.loads(line) for line in log.read_text().splitlines()]
        return [(event, what, callers) for event, what, callers in notes]

    return work


def test_nothing_is_unpickled_but_kernels_that_are_vouched_for(
    ball: Path, tmp_path: Path, kernel_cache: Path, witnessed: Callable[..., list[tuple[str, str, list[str]]]]
) -> None:
    """Reading, running and measuring; all code that they run lies where nobody else may write."""
    small = {"resolution": 48, "texture_size": 256, "max_faces": 2500}
    notes = {
        "inspect": witnessed("inspect", ball),
        "run": witnessed("run", ball, model="fusion", settings=small),
        "measure": witnessed("measure", ball, models={"fusion": str(tmp_path / "run")}),
    }
    assert any(event == "pickle.find_class" for event, _, _ in notes["run"]), "the hook sees numba at work"
    for task, events in notes.items():
        opened = {what for event, what, _ in events if event == "open"}
        strange = {path for path in opened if not path.startswith(f"{kernel_cache}/{kernels.OWN}")}
        assert strange == set(), task
        for event, what, callers in events:
            if event == "pickle.find_class":
                assert task != "inspect", f"{what} by {callers}"
                assert callers[0].endswith(_OF_KERNELS), f"{what} by {callers}"
        ran = {what for event, what, _ in events if event in ("exec", "import")}
        ours = (sys.prefix, sys.base_prefix, str(kernels.MODELS), str(tmp_path / "witness"))
        assert {what for what in ran if what.startswith("/") and not what.startswith(ours)} == set(), task
        open_ = {what for what in ran if os.path.exists(what) and others_may_write(Path(what))}
        assert open_ == set(), task


def others_may_write(path: Path) -> bool:
    """Whether another user than its own or root may change a file."""
    facts = path.stat()
    return facts.st_uid not in (0, os.geteuid()) or bool(facts.st_mode & stat.S_IWOTH)


def test_a_job_compiles_nothing_after_the_warming(
    ball: Path, tmp_path: Path, kernel_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With depth and without, at other sizes: else each job would compile that again, and throw it away."""
    added = {}
    for name, settings in {"with": {}, "without": {"texture_size": 128}}.items():
        folder, kept = tmp_path / name, tmp_path / f"{name}.kept"
        capture = ball if name == "with" else without_depth(ball, tmp_path / "bare")
        monkeypatch.setattr(kernels, "forget", lambda copy, kept=kept: copy.rename(kept))
        request = worker_request(
            "run",
            capture,
            folder / "result.json",
            CaptureLimits(),
            output=folder,
            model="fusion",
            settings={"resolution": 64, **settings},
        )
        folder.mkdir()
        ended = run_to_end(
            WorkerProcess(f"warm {os.getpid()}", request, folder, Home(tmp_path, kernel_cache), LIMITS), lambda: False
        )
        assert ended.error_class is None, ended.reason
        [listed] = kernel_cache.glob("numba-*.json")
        there = {str(file.relative_to(kept)) for file in kept.rglob("*") if file.is_file()}
        added[name] = there - {*json.loads(listed.read_text())["files"]}
    assert added == {"with": set(), "without": set()}


def without_depth(capture: Path, target: Path) -> Path:
    """The photographs alone."""
    (target / "views").mkdir(parents=True)
    for file in (capture / "views").iterdir():
        (target / "views" / file.name).write_bytes(file.read_bytes())
    return target
