"""The process entry: one request, one task, then gone. Speaks JSON lines on file descriptor 3.

Started as ``python -I -m meshdrop.models.worker REQUEST.json``. Tasks: ``inspect`` a capture folder, ``run`` one model
on it, ``measure`` finished meshes against it, ``validate`` their GLBs, ``warm`` the kernel cache. The answer is a file
named by the request, written whole and last; the lines on descriptor 3 only say how it goes:

    {"type": "hello", "task": ..., "pid": ..., "walls": ...}   once, when the walls of ``models.walls`` stand;
                                                       then it waits until its standard input is closed
    {"type": "heartbeat"}                              every 5 seconds
    {"type": "progress", "percent": 0..100, "step": "..."}
    {"type": "result"}                                 the answer file is complete
    {"type": "error", "class": ..., "message": ..., "fix": ...}

Libraries print to stdout and stderr as they like; those are the log.
"""

from __future__ import annotations

import ctypes
import errno
import hashlib
import json
import os
import re
import resource
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from meshdrop.models.contract import former_names
from meshdrop.models.contract.base import ModelResult, ModelUnavailable, NoResult
from meshdrop.models.contract.failures import RUN_FAILURES, RunClass
from meshdrop.models.contract.options import WrongSettings
from meshdrop.models.contract.registry import CODE_VARIABLES, load_class, places_of
from meshdrop.models.contract.weights import WEIGHTS_KEY
from meshdrop.models.files.limits import CaptureLimits
from meshdrop.models.files.problem import CaptureError
from meshdrop.models.walls.confinement import FileView, NotConfined, Walls, confine

MESSAGE_FD = 3
HEARTBEAT_S = 5.0
#: Progress lines closer together than this are dropped, except the first of a step.
PROGRESS_EVERY_S = 0.1
_PR_SET_PDEATHSIG = 1
_STEP_MAX = 200
#: Words of errors that torch raises for a GPU or a machine in trouble; its wrong shapes are RuntimeErrors too.
_OF_THE_MACHINE = re.compile(r"cuda|cudnn|cublas|cusolver|nccl|nvrtc|driver|device-side|start new thread", re.I)


class Line:
    """The way out to the parent; silent when descriptor 3 is not open (a run by hand)."""

    def __init__(self, descriptor: int = MESSAGE_FD) -> None:
        self._descriptor = descriptor
        self._lock = threading.Lock()
        self._last_step = ""
        self._last_at = 0.0

    def say(self, kind: str, **fields: Any) -> None:
        """Send one message; a parent that is gone ends this process."""
        line = (json.dumps({"type": kind, **fields}) + "\n").encode()
        try:
            with self._lock:
                os.write(self._descriptor, line)
        except BrokenPipeError:
            os._exit(1)
        except OSError:
            return

    def progress(self, percent: float, step: str) -> None:
        """Report how far the task is; never more than ten lines a second."""
        now = time.monotonic()
        if step == self._last_step and now - self._last_at < PROGRESS_EVERY_S:
            return
        self._last_step, self._last_at = step, now
        self.say("progress", percent=round(min(max(percent, 0.0), 100.0), 1), step=step[:_STEP_MAX])

    def keep_alive(self) -> None:
        """Send heartbeats from a thread of their own."""

        def beat() -> None:
            while True:
                time.sleep(HEARTBEAT_S)
                self.say("heartbeat")

        threading.Thread(target=beat, daemon=True, name="heartbeat").start()


def write_answer(path: Path, answer: Mapping[str, Any]) -> None:
    """The answer appears whole or not at all."""
    partial = path.with_suffix(".partial")
    with partial.open("w", encoding="utf-8") as file:
        json.dump(answer, file, indent=1, allow_nan=False, default=_plain)
        file.flush()
        os.fsync(file.fileno())
    os.replace(partial, path)


def _plain(value: Any) -> Any:
    """NumPy scalars and paths as plain JSON values."""
    if hasattr(value, "item"):
        return value.item()
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, tuple | set | frozenset):
        return list(value)
    raise TypeError(f"{type(value).__name__} does not belong into an answer")


@dataclass(frozen=True)
class Request:
    """What the parent wants. Paths are absolute; ``answer`` is the file to write last."""

    task: str
    capture: Path
    answer: Path
    limits: CaptureLimits
    parent: int
    model: str = ""
    settings: Mapping[str, Any] | None = None
    custom_models: Mapping[str, str] | None = None
    output: Path | None = None
    models: Mapping[str, Path] | None = None
    name: str = ""
    memory_mib: int | None = None
    digest: str | None = None
    engine: str | None = None
    extra_formats: tuple[str, ...] = ()
    #: How the walls are put up: ``strict`` wants all of them, ``off`` none.
    confinement: str = "best"

    @classmethod
    def read(cls, path: Path) -> Request:
        """Read a request file that the daemon wrote."""
        fields = json.loads(path.read_text(encoding="utf-8"))
        for key in ("capture", "answer", "output"):
            if fields.get(key) is not None:
                fields[key] = Path(fields[key])
        limits = fields["limits"]
        fields["limits"] = CaptureLimits(**{**limits, "custom_models": tuple(limits.get("custom_models", ()))})
        if fields.get("models") is not None:
            fields["models"] = {name: Path(folder) for name, folder in fields["models"].items()}
        return cls(**fields)

    @property
    def view(self) -> FileView:
        """What this task needs to see: its capture and the finished models to read, one folder to write to."""
        own = [self.answer.parent, self.output, *(Path(os.environ[key]) for key in _OWN_FOLDERS if key in os.environ)]
        read = [self.capture, *(self.models or {}).values()]
        if self.task != "run":
            return FileView(read=tuple(read), write=tuple(path for path in own if path))
        weights = [Path(os.environ[WEIGHTS_KEY])] if WEIGHTS_KEY in os.environ else []
        target = (self.custom_models or {}).get(self.model, "").rpartition(":")[0]
        code = places_of(target) if target else []
        code += [Path(os.environ[variable]) for variable in sorted(CODE_VARIABLES) if os.environ.get(variable)]
        # Settings are the operator's; a path in them is there to be read.
        named = [Path(value) for value in (self.settings or {}).values() if isinstance(value, str) and value[:1] == "/"]
        return FileView((*code, *named), (*read, *weights), tuple(path for path in own if path), gpu=True)


#: Variables that name a folder of the worker's own.
_OWN_FOLDERS = ("TMPDIR", "NUMBA_CACHE_DIR")


def inspect(request: Request, line: Line) -> dict[str, Any]:
    """Say everything about a capture folder without running a model."""
    from meshdrop.models.probe.inspection import inspect as inspect_folder  # noqa: PLC0415 - each task loads only what it needs

    line.progress(0, "checking the files")
    return inspect_folder(request.capture, request.limits).to_json()


def run(request: Request, line: Line) -> dict[str, Any]:
    """Run one model and write its files and ``result.json``."""
    output = request.output
    if output is None:
        raise ValueError("a run needs an output folder")
    model_class = load_class(request.model, request.custom_models or {})
    model_class.probe()
    from meshdrop.models.capture.capture import read_capture  # noqa: PLC0415
    from meshdrop.models.capture.holdout import hold_out  # noqa: PLC0415
    from meshdrop.models.capture.local_origin import near  # noqa: PLC0415
    from meshdrop.models.measure.judged_views import hand_back  # noqa: PLC0415
    from meshdrop.models.measure.provenance import provenance, software_versions  # noqa: PLC0415
    from meshdrop.models.measure.standing import doubts, standing, up_of  # noqa: PLC0415
    from meshdrop.models.mesh.extra_formats import write_extra_formats  # noqa: PLC0415
    from meshdrop.models.mesh.mesh import write_all  # noqa: PLC0415

    started, cpu = time.monotonic(), time.process_time()
    line.progress(0, "reading the capture")
    whole = near(read_capture(request.capture, request.limits))
    capture, held_out = hold_out(whole)
    # The model's own share of the bar leaves room for writing the files.
    model = model_class(request.settings or {}, lambda percent, step: line.progress(2 + 0.9 * percent, step))
    scratch = output / "scratch"
    scratch.mkdir()
    try:
        model.load_weights()
        result = model.inference(capture, scratch)
    finally:
        model.cleanup()
    line.progress(93, "writing the files")
    versions = software_versions()
    asset = provenance(request.model, model.entry, request.settings or {}, request.digest, result, versions)
    up = up_of(whole, result)
    asset |= standing(whole, up)
    files = [*write_all(result.mesh, output, asset), *_write_extra(result, output, asset)]
    more, notes = write_extra_formats(output, request.extra_formats)
    answer = _run_answer(request, result, [*files, *more], versions)
    return answer | {
        "handed_back": hand_back(output, result.masks, result.cameras),
        "notes": [*result.notes, *notes, *doubts(whole, up), *filter(None, [former_names.note()])],
        "asset": asset,
        "held_out": list(held_out),
        "seconds": round(time.monotonic() - started, 3),
        "cpu_seconds": round(time.process_time() - cpu, 3),
    }


def _write_extra(result: ModelResult, folder: Path, extras: Mapping[str, Any]) -> list[Path]:
    """Write what the model delivers beside its mesh; a name that nobody would check is its mistake."""
    if not result.extra_files:
        return []
    from meshdrop.models.mesh.output_formats import MATERIAL_FILES  # noqa: PLC0415

    if strange := [name for name in result.extra_files if name not in MATERIAL_FILES]:
        raise ValueError(f"no file called {strange[0]!r} can be delivered; there are {', '.join(MATERIAL_FILES)}")
    for name, write in result.extra_files.items():
        write(folder / name, extras)
    return [folder / name for name in result.extra_files]


def _run_answer(
    request: Request, result: ModelResult, files: list[Path], versions: Mapping[str, str]
) -> dict[str, Any]:
    return {
        "model": request.model,
        "made_by": result.made_by or request.model,
        "registered": result.registered,
        "peak_rss_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        "peak_vram_mib": result.figures.get("peak_vram_mib"),
        "figures": dict(result.figures),
        "unseen_fraction": float(result.unseen_fraction),
        "settings": dict(request.settings or {}),
        "versions": dict(versions),
        "files": {
            file.name: {"size": file.stat().st_size, "sha256": hashlib.sha256(file.read_bytes()).hexdigest()}
            for file in files
        },
    }


def measure(request: Request, line: Line) -> dict[str, Any]:
    """Read the finished files back, measure them against the capture and draw the pictures."""
    from meshdrop.models.capture.capture import read_capture  # noqa: PLC0415
    from meshdrop.models.capture.local_origin import near  # noqa: PLC0415
    from meshdrop.models.measure.judged_views import subject_of  # noqa: PLC0415
    from meshdrop.models.measure.measure import measure as measure_models  # noqa: PLC0415

    if request.output is None or request.models is None:
        raise ValueError("measuring needs an output folder and the models' folders")
    capture = near(read_capture(request.capture, request.limits))
    answers = {
        name: json.loads((folder / "result.json").read_text(encoding="utf-8"))
        for name, folder in request.models.items()
    }
    held_out = {name: answer.get("held_out", []) for name, answer in answers.items()}
    listed = {name: list(answer["files"]) for name, answer in answers.items()}
    elsewhere = [name for name, answer in answers.items() if not answer.get("registered", True)]
    subjects = {name: subject_of(answer.get("figures")) for name, answer in answers.items()}
    return measure_models(
        capture, request.models, request.output, line.progress, held_out, listed, elsewhere, subjects
    ).to_json()


def warm(request: Request, line: Line) -> dict[str, Any]:
    """Have every kernel of ``fusion`` and of the measuring compiled, by a capture that nobody but us made."""
    from meshdrop.models.warming import warm_up  # noqa: PLC0415

    if request.output is None:
        raise ValueError("warming needs an output folder")
    warm_up(request.capture, request.output, request.limits, line.progress)
    return {"compiled": True}


def validate(request: Request, line: Line) -> dict[str, Any]:
    """Let the Khronos validator judge every GLB that the models' answers vouch for."""
    from meshdrop.models.mesh.gltf_validation import validate_models  # noqa: PLC0415

    if request.models is None:
        raise ValueError("validating needs the models' folders")
    line.progress(0, "validating")
    return {name: found.to_json() for name, found in validate_models(request.models, request.engine).items()}


TASKS: dict[str, Callable[[Request, Line], dict[str, Any]]] = {
    "inspect": inspect,
    "run": run,
    "measure": measure,
    "validate": validate,
    "warm": warm,
}


def die_with_parent(parent: int) -> None:
    """Ask the kernel to kill this process when its parent ends, and check that it has not ended already."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def wait_for_go() -> None:
    """Begin only when the service knows what this process and all that it starts can be found by; it then closes our
    standard input, which is nothing from there on."""
    os.read(0, 1)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)


def be_modest(memory_mib: int | None) -> None:
    """No core dumps, bounded files, first in line when the machine runs out of memory."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (8 << 30, 8 << 30))
    if memory_mib is not None:
        resource.setrlimit(resource.RLIMIT_AS, (memory_mib << 20, memory_mib << 20))
    os.umask(0o022)
    try:
        Path("/proc/self/oom_score_adj").write_text("900", encoding="ascii")
    except OSError:
        return


def classify(error: BaseException) -> tuple[RunClass, str, str]:
    """Class, message and cure of an exception that ended a task; the cure is the table's where there is no better."""
    kind, message, fix = _told(error)
    return kind, message, fix or (RUN_FAILURES[kind].fix if kind in RUN_FAILURES else "see `meshdrop doctor`")


def _told(error: BaseException) -> tuple[RunClass, str, str]:
    if isinstance(error, CaptureError):
        return RunClass.BAD_INPUT, str(error.problems[0]), error.problems[0].fix
    if isinstance(error, WrongSettings):
        return RunClass.SETTINGS, str(error), ""
    if isinstance(error, ModelUnavailable):
        return RunClass.UNAVAILABLE, error.reason, error.fix
    if isinstance(error, NotConfined):
        return RunClass.UNAVAILABLE, str(error), 'see `meshdrop doctor`, or set worker_confinement = "best"'
    if isinstance(error, NoResult):
        return RunClass.NO_RESULT, str(error), error.fix or ""
    if isinstance(error, MemoryError):
        return RunClass.HOST_MEMORY, RUN_FAILURES[RunClass.HOST_MEMORY].says, ""
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO):
        return RunClass.DISK, f"{RUN_FAILURES[RunClass.DISK].says}: {error}", ""
    if type(error).__name__ == "OutOfMemoryError":  # torch.cuda's own class, named without importing torch
        return RunClass.GPU_MEMORY, str(error), ""
    kind = RunClass.ERROR if _may_pass(error) else RunClass.DEFECT
    return kind, f"{type(error).__name__}: {error}", ""


def _may_pass(error: BaseException) -> bool:
    """Whether the same work on the same files may end otherwise, because the machine had a part in this or in what it
    was raised from: the system's calls, other programs, the GPU. An error out of sums alone comes again.
    """
    by_gpu = isinstance(error, RuntimeError) and _OF_THE_MACHINE.search(str(error)) is not None
    if by_gpu or isinstance(error, OSError | EOFError | MemoryError | subprocess.SubprocessError):
        return True
    before = error.__cause__ or error.__context__
    return before is not None and _may_pass(before)


def main() -> int:
    """Read the request named on the command line, do its task, say how it ended."""
    request = Request.read(Path(sys.argv[1]))
    die_with_parent(request.parent)
    be_modest(request.memory_mib)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    line = Line()
    try:
        walls = (
            Walls() if request.confinement == "off" else confine(request.view, strictly=request.confinement == "strict")
        )
        line.say("hello", task=request.task, pid=os.getpid(), walls=walls.to_json())
        wait_for_go()
        line.keep_alive()
        write_answer(request.answer, TASKS[request.task](request, line))
    except Exception as error:
        traceback.print_exc()
        kind, message, fix = classify(error)
        line.say("error", **{"class": kind, "message": message[:4000], "fix": fix[:1000]})
        return 1
    line.say("result")
    return 0


if __name__ == "__main__":
    sys.exit(main())
