"""Models that behave, and models that misbehave: each really crashes, hangs or lies, in a real worker process.

Named in settings as ``custom_models = {name = "<this file>:Class"}``.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from models.base import ModelResult, ModelUnavailable, ReconstructionModel
from models.capture import Capture
from models.mesh import TexturedMesh
from models.mesh_pbr import Material, write_pbr_glb
from models.radiance_hdr import write_hdr


def ball_mesh(colour: tuple[int, int, int], radius: float = 0.5, rings: int = 40) -> TexturedMesh:
    """A closed ball of one colour around the origin, with 2 + (rings - 1) * 2 rings vertices."""
    segments = 2 * rings
    polar = np.linspace(0, np.pi, rings + 1)[1:-1]
    turn = np.arange(segments) * 2 * np.pi / segments
    ring = np.stack(
        [np.outer(np.sin(polar), np.sin(turn)), np.outer(np.cos(polar), np.ones(segments)),
         np.outer(np.sin(polar), np.cos(turn))], axis=-1,
    ).reshape(-1, 3)  # fmt: skip
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
        return replace(result, extra_files={
            "pbr.glb": lambda path, extras: write_pbr_glb(result.mesh, material, path, extras),
            "probe.hdr": lambda path, extras: write_hdr(path, np.ones((4, 8, 3), np.float32)),
        })  # fmt: skip


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
    """A ball half as large as it should be: a mesh that does not look like the photographs."""

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
