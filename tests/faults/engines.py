"""Models that behave, and models that misbehave: each really crashes, hangs or lies, in a real worker process.

Named in settings as ``custom_models = {name = "<this file>:Class"}``.
"""

from __future__ import annotations

import ctypes
import json
import os
import pickle
import resource
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from meshdrop.models.capture.capture import Capture
from meshdrop.models.contract.base import ModelResult, ModelUnavailable, ReconstructionModel
from meshdrop.models.mesh.mesh import TexturedMesh
from meshdrop.models.mesh.pbr import Material, write_pbr_glb
from meshdrop.models.mesh.radiance_hdr import write_hdr

_SET_DEATH_SIGNAL, _SET_DUMPABLE = 1, 4
_PTRACE_ATTACH, _MS_BIND, _NEW_USERS, _NEW_NETWORK = 16, 4096, 0x10000000, 0x40000000


def ball_mesh(colour: tuple[int, int, int], radius: float = 0.5, rings: int = 40) -> TexturedMesh:
    """A closed ball of one colour around the origin, with 2 + (rings - 1) * 2 rings vertices."""
    segments = 2 * rings
    polar = np.linspace(0, np.pi, rings + 1)[1:-1]
    turn = np.arange(segments) * 2 * np.pi / segments
    ring = np.stack(
        [
            np.outer(np.sin(polar), np.sin(turn)),
            np.outer(np.cos(polar), np.ones(segments)),
            np.outer(np.sin(polar), np.cos(turn)),
        ],
        axis=-1,
    ).reshape(-1, 3)
    vertices = np.concatenate([ring, [[0, 1, 0], [0, -1, 0]]]) * radius
    top, bottom = len(ring), len(ring) + 1
    faces = []
    for i in range(rings - 2):
        for j in range(segments):
            a, b = i * segments + j, i * segments + (j + 1) % segments
            c, d = a + segments, b + segments
            faces += [(a, c, b), (b, c, d)]
    last = (rings - 2) * segments
    for j in range(segments):
        k = (j + 1) % segments
        faces += [(top, j, k), (bottom, last + k, last + j)]
    index = np.array(faces, dtype=np.int32)
    uv = (vertices[index][..., :2] / radius / 2.2 + 0.5).astype(np.float32)
    texture = np.full((64, 64, 3), colour, np.uint8)
    texture[0, 0] = 255 - texture[0, 0]  # a constant texture would be refused as an empty one
    return TexturedMesh(vertices.astype(np.float32), index, uv, texture, np.ones((64, 64), bool))


class Ball(ReconstructionModel):
    """Answers every capture with a ball of the photographs' mean colour: right for a capture of a ball."""

    name = "ball"

    def inference(self, capture: Capture, output_dir: Path) -> ModelResult:
        """A ball of radius 0.5 m."""
        self.report_progress(50, "blowing up the ball")
        inside = np.concatenate([view.rgb[view.mask > 0.99] for view in capture.views])
        red, green, blue = (int(value) for value in np.median(inside, axis=0))
        return ModelResult(ball_mesh((red, green, blue)))


class LitBall(Ball):
    """A ball with a material and a light of its own."""

    name = "lit_ball"

    def inference(self, capture: Capture, output_dir: Path) -> ModelResult:
        """The ball, half rough, in a white room."""
        result = super().inference(capture, output_dir)
        orm, normal = (np.full_like(result.mesh.texture, level) for level in ((255, 128, 0), (128, 128, 255)))
        material = Material(result.mesh.texture, orm, normal)
        return replace(
            result,
            extra_files={
                "pbr.glb": lambda path, extras: write_pbr_glb(result.mesh, material, path, extras),
                "probe.hdr": lambda path, extras: write_hdr(path, np.ones((4, 8, 3), np.float32)),
            },
        )


class AstrayBall(Ball):
    """A ball in a frame of its own."""

    name = "astray_ball"

    def inference(self, capture: Capture, output_dir: Path) -> ModelResult:
        """The ball, nobody knows where."""
        note = "it could not be registered: no turn of it fits the silhouettes"
        return replace(super().inference(capture, output_dir), registered=False, notes=(note,))


class Stowaway(Ball):
    """Wants a file delivered that nobody knows."""

    name = "stowaway"

    def inference(self, capture: Capture, output_dir: Path) -> ModelResult:
        """The ball and something else."""
        result = super().inference(capture, output_dir)
        return replace(result, extra_files={"notes.txt": lambda path, extras: None})


class WrongBall(Ball):
    """A ball half as large as it should be: a mesh that does not agree with the capture."""

    name = "wrong_ball"

    def inference(self, capture: Capture, output_dir: Path) -> ModelResult:
        """A green ball of radius 0.2 m."""
        return ModelResult(ball_mesh((0, 255, 0), radius=0.2))


class Crash(Ball):
    """Dies by a segmentation fault."""

    name = "crash"

    def inference(self, capture: Capture, output_dir: Path) -> ModelResult:
        """Kill this process as a wild pointer would."""
        print("about to touch memory that is not there")
        os.kill(os.getpid(), signal.SIGSEGV)
        return super().inference(capture, output_dir)


class Raises(Ball):
    """Ends with a Python error."""

    name = "raises"

    def inference(self, capture: Capture, output_dir: Path) -> ModelResult:
        """Raise."""
        raise ArithmeticError("the sum does not add up")


class FailsOnce(Ball):
    """Fails in the first attempt and works in the second."""

    name = "fails_once"

    def inference(self, capture: Capture, output_dir: Path) -> ModelResult:
        """Attempt folders are called a1, a2, ..."""
        if output_dir.parents[1].name == "a1":
            raise ConnectionError("not at the first try")
        return super().inference(capture, output_dir)


class Hang(Ball):
    """Makes no progress, ignores SIGTERM, and leaves a grandchild in a session of its own."""

    name = "hang"

    def inference(self, capture: Capture, output_dir: Path) -> ModelResult:
        """Sleep."""
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        subprocess.Popen([sys.executable, "-c", "import time; time.sleep(300)"], start_new_session=True)
        time.sleep(300)
        return super().inference(capture, output_dir)


_RUNAWAY = """
import os, sys, time
for _ in range(2):
    if os.fork():
        os._exit(0)
    os.setsid()
for turn in range(1200):
    with open(sys.argv[1], "a") as file:
        file.write(f"{os.getpid()}\\n")
    if sys.argv[2] == "relay" and os.fork():
        os._exit(0)
    time.sleep(0.05)
"""


class Runaway(Ball):
    """Leaves a process that has shed its session, its parent and its environment, and lives for a minute."""

    name = "runaway"

    def inference(self, capture: Capture, output_dir: Path) -> ModelResult:
        """Fail when it is seen to live."""
        pids = Path.home() / "pids"
        subprocess.run([sys.executable, "-I", "-c", _RUNAWAY, str(pids), self.name], env={}, check=True)
        while not pids.exists() or pids.read_bytes().count(b"\n") < 5:
            time.sleep(0.05)
        raise ArithmeticError("it is gone")


class Relay(Runaway):
    """As above, by one process after another, of which none lives for long."""

    name = "relay"


class Slow(Ball):
    """Works for a long time, with progress."""

    name = "slow"

    def inference(self, capture: Capture, output_dir: Path) -> ModelResult:
        """An hour in steps of 0.1 s: whoever looks has the time, however busy the machine is."""
        for step in range(36_000):
            self.report_progress(step / 360, "thinking")
            time.sleep(0.1)
        return super().inference(capture, output_dir)


class Chatty(Ball):
    """Prints twenty megabytes, garbage bytes among them, and rubbish on the message channel."""

    name = "chatty"

    def inference(self, capture: Capture, output_dir: Path) -> ModelResult:
        """Print, then behave."""
        for _ in range(200):
            os.write(1, os.urandom(100_000))
        os.write(3, b'not json\n{"type": "progress"}\n[1, 2]\n{"type": "progress", "percent": NaN, "step": 3}\n')
        os.write(3, b"[" * 60_000 + b"\n")
        return super().inference(capture, output_dir)


class Babbler(Ball):
    """Says on the message channel what is no number and no text, as somebody who broke into a worker would."""

    name = "babbler"

    def inference(self, capture: Capture, output_dir: Path) -> ModelResult:
        """Say it and leave."""
        for percent in ("NaN", "Infinity", "1" + "0" * 400, "50"):
            os.write(3, b'{"type": "progress", "percent": %b, "step": "\\ud800\\u001b[2J"}\n' % percent.encode())
        os.write(3, b'{"type": "error", "class": "bad_input", "message": "no\\n\\ud800", "fix": "\\udfff\\u0007"}\n')
        os._exit(1)


class Liar(Ball):
    """Exits with code 0 and no result."""

    name = "liar"

    def inference(self, capture: Capture, output_dir: Path) -> ModelResult:
        """Leave at once, politely."""
        os._exit(0)


class Absent(Ball):
    """Cannot run on any machine."""

    name = "absent"

    @classmethod
    def probe(cls) -> None:
        """Say so."""
        raise ModelUnavailable("it needs a quantum computer", "buy one")


class Forger(Ball):
    """Writes an answer of its own that vouches for a file outside its folder, then leaves."""

    name = "forger"

    def inference(self, capture: Capture, output_dir: Path) -> ModelResult:
        """Exit as if all were well."""
        (output_dir.parent / "result.json").write_text('{"files": {"../../input/views/view_00.png": {}}}')
        os._exit(0)


class Burglar(Ball):
    """Tries to break out of its worker. ``plan``, a setting, names the file that lists the places it goes for."""

    name = "burglar"

    def inference(self, capture: Capture, output_dir: Path) -> ModelResult:
        """The ball, and ``loot.json`` beside the scratch folder: by try, what it came to."""
        plan = json.loads(Path(self.settings["plan"]).read_text(encoding="utf-8"))
        loot = {name: _outcome(attempt) for name, attempt in _attempts(plan).items()}
        (output_dir.parent / "loot.json").write_text(json.dumps(loot), encoding="utf-8")
        return super().inference(capture, output_dir)


def _outcome(attempt: Callable[[], object]) -> str:
    """``done``, or the error's name."""
    try:
        attempt()
    except OSError as error:
        return type(error).__name__
    except subprocess.CalledProcessError:
        return "CalledProcessError"
    return "done"


def _unpickle(file: Path) -> object:
    return pickle.loads(file.read_bytes())  # noqa: S301


def _attempts(plan: dict[str, Any]) -> dict[str, Callable[[], object]]:
    libc = ctypes.CDLL(None, use_errno=True)

    def call(name: str, *arguments: Any) -> None:
        if getattr(libc, name)(*arguments) < 0:
            raise OSError(ctypes.get_errno(), name)

    found: dict[str, Callable[[], object]] = {
        "tcp": lambda: socket.create_connection(("127.0.0.1", plan["port"]), 5),
        "udp": lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"x", ("127.0.0.1", plan["port"])),
        "ipv6": lambda: socket.socket(socket.AF_INET6, socket.SOCK_STREAM),
        "netlink": lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW),
        "packet": lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW),
        "control socket": lambda: socket.socket(socket.AF_UNIX, socket.SOCK_STREAM).connect(plan["control"]),
        "a pair turned round": lambda: socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)[0].connect(plan["control"]),
        "by a child": lambda: subprocess.run(
            [sys.executable, "-I", "-c", f"import socket; socket.create_connection(('127.0.0.1', {plan['port']}), 5)"],
            check=True,
            stderr=subprocess.DEVNULL,
        ),
        "trace the service": lambda: call("ptrace", _PTRACE_ATTACH, plan["service"], None, None),
        "stop the service": lambda: os.kill(plan["service"], signal.SIGCONT),
        "signal a sibling": lambda: os.kill(plan["sibling"], signal.SIGCONT),
        "read a sibling's memory": lambda: os.open(f"/proc/{plan['sibling']}/mem", os.O_RDONLY),
        "read the service's environment": lambda: Path(f"/proc/{plan['service']}/environ").read_bytes(),
        "limit the service": lambda: resource.prlimit(plan["service"], resource.RLIMIT_NOFILE, (4096, 4096)),
        "mount": lambda: call("mount", b"/proc", os.fsencode(os.environ["TMPDIR"]), None, _MS_BIND, None),
        "new namespaces": lambda: call("unshare", _NEW_USERS | _NEW_NETWORK),
        "hide from the service": lambda: call("prctl", _SET_DUMPABLE, 0, 0, 0, 0),
        "outlive the service": lambda: call("prctl", _SET_DEATH_SIGNAL, 0, 0, 0, 0),
        "shared memory": lambda: call("shmget", 4711, 4096, 0o1600),
    }
    for path in plan["read"]:
        found[f"read {path}"] = Path(path).read_bytes
        found[f"unpickle {path}"] = partial(_unpickle, Path(path))
    for path in plan["list"]:
        found[f"list {path}"] = partial(os.listdir, path)
    for path in plan["write"]:
        found[f"write {path}"] = partial(Path(path, "swag").write_text, "was here")
        found[f"link {path}"] = partial(os.symlink, "/", Path(path, "swag-link"))
    for path in plan["change"]:
        found[f"overwrite {path}"] = partial(os.open, path, os.O_RDWR)
        found[f"remove {path}"] = partial(os.unlink, path)
        found[f"rename {path}"] = partial(os.rename, path, f"{path}.gone")
        found[f"open up {path}"] = partial(os.chmod, path, 0o777)
        found[f"date {path}"] = partial(os.utime, path, (0, 0))
    return found


class Hog(Ball):
    """Takes ever more memory."""

    name = "hog"

    def inference(self, capture: Capture, output_dir: Path) -> ModelResult:
        """8 GiB in pieces of 64 MiB, each touched; a machine that is in no hurry has time to see it."""
        held = []
        for _ in range(128):
            held.append(np.ones(64 << 20, np.uint8))
            time.sleep(0.05)
        return super().inference(capture, output_dir)


class HogFamily(Ball):
    """Lets a child take it."""

    name = "hog_family"

    def inference(self, capture: Capture, output_dir: Path) -> ModelResult:
        """The same in another process."""
        greed = "import time\nheld = []\nfor _ in range(128):\n    held.append(b'x' * (64 << 20)); time.sleep(0.05)\n"
        subprocess.run([sys.executable, "-I", "-c", greed], check=True)
        return super().inference(capture, output_dir)
