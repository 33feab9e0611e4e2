"""The service with worker processes that answer at once: every file operation, commit, thread and recovery is real.

``python -m tests.light run --once`` takes the same arguments and settings as ``meshdrop``. What is replaced is one
class, ``daemon.workers.process.WorkerProcess``: instead of starting ``models.worker`` it does a stand-in's work in the
polling thread and writes the same files (request, log, answer, meshes, pictures). So no picture is decoded, nothing is
reconstructed, and the limits, signals and messages of real workers are not exercised; tests/faults and
tests/acceptance/test_service.py do that with real ones. All else is the product's own code, unpatched.

The stand-in refuses a capture with a depth map that is no one-channel picture, as the real reader does. A capture
called ``poison-TASK-HOW`` (more may follow) misbehaves in ``inspect``, ``run``, ``measure`` or ``validate``: HOW is a
key of ``RUN_FAILURES``, ``unavailable``, ``hang`` (until the limits end it) or ``daemon`` (kills the whole service).

Environment, all optional:

    LIGHT_STAGE_S=0.5     seconds that each stand-in takes
    LIGHT_HOLD=FOLDER     a model's run of a capture lasts while a file of the capture's name is in there
    LIGHT_REAL=validate   tasks, between blanks, that real worker processes do
    LIGHT_GLB=FILE        what every model delivers as its mesh.glb
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import struct
import sys
import time
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from meshdrop.daemon.workers import process
from meshdrop.daemon.workers.process import Ended, Home, TimeLimits
from meshdrop.models.contract.failures import RUN_FAILURES
from meshdrop.models.files.problem import Problem
from meshdrop.models.worker import classify, write_answer
from tests.figures import quality

#: Test seam: called with the folder into which a stand-in has written.
wrote: Callable[[Path], None] | None = None

_VIEWS = ("front", "back", "right", "left", "top", "bottom")
_GREY_16 = b"\x10\x00"  # bit depth 16, colour type 0


class LightWorker:
    """What ``WorkerProcess`` looks like to the service, without a process: the work is done while it is polled."""

    def __init__(self, key: str, request: Mapping[str, Any], folder: Path, home: Home, limits: TimeLimits) -> None:
        self.key, self.pid = key, os.getpid()
        self.percent, self.step = 0.0, "starting"
        self._request, self._limits = request, limits
        self._answer = Path(request["answer"])
        self._stopped_for: str | None = None
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "tmp").mkdir(exist_ok=True)
        self._answer.unlink(missing_ok=True)
        (folder / f"{self._answer.stem}.request.json").write_text(json.dumps(dict(request)), encoding="utf-8")
        (folder / f"{self._answer.stem}.log").write_text(f"{request['task']} by a stand-in\n", encoding="utf-8")
        self._started = time.monotonic()
        self._poison = poison_of(request)
        self._hold = hold_of(request)

    def poll(self) -> Ended | None:
        """How it ended, or None while its time is not up."""
        took = time.monotonic() - self._started
        wanted = float(os.environ.get("LIGHT_STAGE_S", "0"))
        if self._stopped_for is None and self._poison == "hang":
            self._stopped_for = "timeout" if took > self._limits.run_s else None
            self._stopped_for = "stalled" if took > self._limits.stall_s else self._stopped_for
        if self._stopped_for is not None:
            return self._ended(self._stopped_for, took)
        if self._hold is not None and self._hold.exists():
            self.percent, self.step = 50, "standing in"
            return None
        if took < wanted or self._poison == "hang":
            self.percent, self.step = 100 * min(took / max(wanted, 1e-9), 1.0), "standing in"
            return None
        if self._poison == "daemon":
            os.kill(os.getpid(), signal.SIGKILL)
        if self._poison:
            return self._ended(self._poison, took)
        try:
            answer = TASKS[self._request["task"]](self._request)
            write_answer(self._answer, answer)
            if wrote is not None:
                wrote(self._answer.parent)
        except OSError as error:  # in a worker of its own this is its trouble, told to the service as a class
            return self._ended(classify(error)[0], took)
        return self._ended(None, took, answer)

    def stop(self, why: str) -> None:
        """End at the next poll, for ``why``."""
        self._stopped_for = self._stopped_for or why

    @staticmethod
    def _ended(error_class: str | None, seconds: float, answer: dict[str, Any] | None = None) -> Ended:
        failure = RUN_FAILURES.get(error_class or "")
        says, fix = (failure.says, failure.fix) if failure else ("", "")
        if error_class == "unavailable":
            says, fix = "the stand-in was told to be absent", "rename the capture"
        return Ended(error_class, says, fix, seconds, seconds, 1, answer)


def poison_of(request: Mapping[str, Any]) -> str | None:
    """How this task is to misbehave, by the name under which the capture was dropped."""
    try:
        word, task, how, *_ = name_of(request).decode("ascii", "replace").split("-")
    except (OSError, ValueError):
        return None
    return how if word == "poison" and task == request["task"] else None


def hold_of(request: Mapping[str, Any]) -> Path | None:
    """The file that keeps this run from its end."""
    folder = os.environ.get("LIGHT_HOLD")
    if not folder or request["task"] != "run":
        return None
    try:
        return Path(folder, os.fsdecode(name_of(request)))
    except (OSError, ValueError):
        return None


def name_of(request: Mapping[str, Any]) -> bytes:
    """The name under which the capture was dropped. Raises ``OSError`` or ``ValueError`` where nothing tells it."""
    identity = json.loads((Path(request["capture"]).parent / "job.json").read_text(encoding="utf-8"))
    return bytes.fromhex(identity["name"])


# -- the four tasks ---------------------------------------------------------------------------------------------------


def inspect(request: Mapping[str, Any]) -> dict[str, Any]:
    """An inspection as ``models.probe.inspection`` gives one, without looking at a pixel."""
    capture = Path(request["capture"])
    problems = [
        Problem(
            "depth_format",
            str(depth.relative_to(capture)),
            "is a colour picture, not a depth map.",
            "Write depth maps as 16-bit greyscale PNG.",
        )
        for depth in sorted(capture.glob("depth/*.png"))
        if depth.read_bytes()[24:26] != _GREY_16
    ]
    view = {
        "width": 64,
        "height": 64,
        "mask_source": "alpha",
        "mask_coverage": 0.6,
        "depth_coverage": 1.0,
        "depth_range_m": [2.0, 2.4],
    }
    return {
        "name": capture.name,
        "ok": not problems,
        "layout": "canonical",
        "warnings": [],
        "depth_unit_m": 0.001,
        "problems": [problem.to_json() for problem in problems],
        "views": [{"name": name, **view} for name in _VIEWS],
        "options": {"models": None, "priority": 0, "labels": {}},
        "probe": None,
    }


def run(request: Mapping[str, Any]) -> dict[str, Any]:
    """A small tetrahedron in the files that a model leaves, and the answer that vouches for them."""
    output = Path(request["output"])
    glb = os.environ.get("LIGHT_GLB")
    files = {
        "mesh.glb": Path(glb).read_bytes() if glb else tetrahedron_glb(),
        "mesh.obj": _OBJ,
        "mesh.mtl": b"newmtl skin\nmap_Kd texture.png\n",
        "mesh.ply": _PLY,
        "texture.png": noise_png(48, "texture"),
    }
    for name, content in files.items():
        (output / name).write_bytes(content)
    return {
        "model": request["model"],
        "made_by": request["model"],
        "registered": True,
        "figures": {},
        "notes": [],
        "peak_rss_mib": 1,
        "peak_vram_mib": None,
        "unseen_fraction": 0.0,
        "settings": {},
        "versions": {},
        "held_out": [],
        "seconds": 0.0,
        "cpu_seconds": 0.0,
        "files": {
            name: {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
            for name, content in files.items()
        },
    }


def measure(request: Mapping[str, Any]) -> dict[str, Any]:
    """Figures of a good mesh for every model, and pictures of noise."""
    previews = Path(request["output"]) / "previews"
    pictures = ["capture.png", "contact.png"]
    models: dict[str, Any] = {}
    for model, folder in request["models"].items():
        # The real one reads every mesh back: a file that a crash emptied must not pass here either.
        vouched = json.loads((Path(folder) / "result.json").read_text(encoding="utf-8"))["files"]
        broken = [name for name, facts in vouched.items() if (Path(folder) / name).stat().st_size != facts["size"]]
        error = {"code": "unreadable", "message": f"{broken[0]} is not whole", "fix": ""} if broken else None
        own = [f"{model}/{name}" for name in ("clay.png", "turntable_00.png", "turntable_01.png")]
        models[model] = {
            "error": error,
            "files": None,
            "topology": None,
            "pictures": own,
            "quality": None if error else quality(psnr_masked_db=31.0),
        }
        pictures += own
    for name in pictures:
        (previews / name).parent.mkdir(parents=True, exist_ok=True)
        (previews / name).write_bytes(noise_png(48, name))
    return {"models": models, "pictures": ["capture.png", "contact.png"]}


def validate(request: Mapping[str, Any]) -> dict[str, Any]:
    """A validator that is content with everything."""
    return {
        model: {
            "status": "passed",
            "files": ["mesh.glb"],
            "errors": 0,
            "warnings": 0,
            "infos": 0,
            "hints": 0,
            "truncated": False,
            "messages": [],
            "by": "a stand-in",
            "version": "0",
            "reason": None,
            "fix": None,
        }
        for model in request["models"]
    }


def warm(request: Mapping[str, Any]) -> dict[str, Any]:
    """Nothing is computed here, so there are no kernels."""
    return {"compiled": True}


TASKS = {"inspect": inspect, "run": run, "measure": measure, "validate": validate, "warm": warm}

# -- small valid files ------------------------------------------------------------------------------------------------

_CORNERS = ((1.0, 1.0, 1.0), (1.0, -1.0, -1.0), (-1.0, 1.0, -1.0), (-1.0, -1.0, 1.0))
_FACES = ((0, 1, 2), (0, 3, 1), (0, 2, 3), (1, 3, 2))
_OBJ = "".join(
    [f"v {x} {y} {z}\n" for x, y, z in _CORNERS] + [f"f {a + 1} {b + 1} {c + 1}\n" for a, b, c in _FACES]
).encode()
_PLY = "".join(
    [
        "ply\nformat ascii 1.0\nelement vertex 4\nproperty float x\nproperty float y\nproperty float z\n"
        "element face 4\nproperty list uchar int vertex_indices\nend_header\n"
    ]
    + [f"{x} {y} {z}\n" for x, y, z in _CORNERS]
    + [f"3 {a} {b} {c}\n" for a, b, c in _FACES]
).encode()


def tetrahedron_glb() -> bytes:
    """A binary glTF of one tetrahedron, two metres wide."""
    points = b"".join(struct.pack("<3f", *corner) for corner in _CORNERS)
    indices = b"".join(struct.pack("<3H", *face) for face in _FACES)
    scene = {
        "asset": {"version": "2.0"},
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0}],
        "meshes": [{"primitives": [{"attributes": {"POSITION": 0}, "indices": 1}]}],
        "buffers": [{"byteLength": len(points + indices)}],
        "bufferViews": [
            {"buffer": 0, "byteOffset": 0, "byteLength": len(points), "target": 34962},
            {"buffer": 0, "byteOffset": len(points), "byteLength": len(indices), "target": 34963},
        ],
        "accessors": [
            {"bufferView": 0, "componentType": 5126, "count": 4, "type": "VEC3", "min": [-1] * 3, "max": [1] * 3},
            {"bufferView": 1, "componentType": 5123, "count": 12, "type": "SCALAR"},
        ],
    }
    text = json.dumps(scene).encode()
    text += b" " * (-len(text) % 4)
    binary = points + indices
    chunks = struct.pack("<I4s", len(text), b"JSON") + text + struct.pack("<I4s", len(binary), b"BIN\0") + binary
    return struct.pack("<4sII", b"glTF", 2, 12 + len(chunks)) + chunks


def noise_png(width: int, seed: str) -> bytes:
    """A square grey picture of noise, the same for the same seed: a few blocks of disk that do not compress away."""
    noise = hashlib.shake_128(seed.encode()).digest(width * width)
    rows = b"".join(b"\0" + noise[y * width : (y + 1) * width] for y in range(width))

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = chunk(b"IHDR", struct.pack(">2I5B", width, width, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(rows, 1)) + chunk(b"IEND", b"")


# -- starting ---------------------------------------------------------------------------------------------------------


def install() -> None:
    """Put the stand-in in place for the rest of this process, wherever the real one is known by its name already."""
    real, wanted = process.WorkerProcess, os.environ.get("LIGHT_REAL", "").split()

    def worker(
        key: str, request: Mapping[str, Any], folder: Path, home: Home, limits: TimeLimits
    ) -> LightWorker | process.WorkerProcess:
        kind = real if request["task"] in wanted else LightWorker
        return kind(key, request, folder, home, limits)

    for module in list(sys.modules.values()):
        if vars(module).get("WorkerProcess") is real:
            module.WorkerProcess = worker  # type: ignore[attr-defined]


def main() -> None:
    """``meshdrop`` with stand-ins."""
    install()
    from meshdrop.daemon.cli import main as cli  # noqa: PLC0415 - after install()

    cli.main()


if __name__ == "__main__":
    main()
