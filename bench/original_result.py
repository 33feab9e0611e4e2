"""What a run of the original nvdiffrec leaves, its log and its mesh, and whether that is whole.

It ends well even where a picture could not be written or the second pass never was, so its exit status says little.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from meshdrop.models.mesh.mesh import MeshError, TexturedMesh

#: Written after each pass; `mesh/` holds the second. The light, probe.hdr, is not scored and not asked for.
MESH_FILES = ("mesh.obj", "mesh.mtl", "texture_kd.png", "texture_ks.png", "texture_n.png")
#: Where each pass leaves its validation, and how its pictures on the way are called.
PASSES = (("dmtet_validate", "img_dmtet_pass1"), ("validate", "img_mesh_pass"))

_STEP = re.compile(r"iter=\s*(\d+), img_loss=(\S+), reg_loss=(\S+), lr=\S+, time=(\S+) ms")


@dataclass(frozen=True)
class Step:
    """One logged step: seconds since the launch, mean milliseconds of the last ten steps."""

    seconds: float
    iteration: int
    image_loss: float
    regularizer: float
    ms: float


@dataclass(frozen=True)
class Log:
    """What its log says: the steps of each pass in order, and figures, None where the log lacks them."""

    passes: tuple[tuple[Step, ...], ...]
    complaints: tuple[str, ...]
    seconds: float | None
    allocated_mib: float | None
    card_mib: float | None


def read_log(lines: Iterable[str], iterations: int) -> Log:
    """What a log (each line after its seconds) says, and what it lacks of a whole run of ``iterations`` steps."""
    passes: list[list[Step]] = []
    texts: list[str] = []
    figures: dict[str, float] = {}
    for line in lines:
        stamp, _, text = line.partition(" ")
        texts.append(text)
        if found := _STEP.search(text):
            step = Step(float(stamp), int(found[1]), float(found[2]), float(found[3]), float(found[4]))
            if step.iteration == 0 or not passes:
                passes.append([])
            passes[-1].append(step)
        elif found := re.fullmatch(r"peak (allocated|card) (\d+) MiB", text):
            figures[found[1]] = float(found[2])
        elif text.startswith("exit status"):
            figures["seconds"] = float(stamp)
    complaints = tuple(_log_complaints(texts, passes, iterations))
    whole = tuple(map(tuple, passes))
    return Log(whole, complaints, figures.get("seconds"), figures.get("allocated"), figures.get("card"))


def _log_complaints(texts: Sequence[str], passes: Sequence[Sequence[Step]], iterations: int) -> list[str]:
    complaints = []
    if not texts or texts[-1] != "exit status 0":
        complaints.append(f"it ended with {texts[-1] if texts else 'no log'!r}; its last lines:")
        complaints += [f"  {text}" for text in texts[-9:-1]]
    if len(passes) != len(PASSES):
        complaints.append(f"its log shows {len(passes)} passes, not {len(PASSES)}")
    for number, steps in enumerate(passes, 1):
        if steps[-1].iteration != iterations:
            complaints.append(f"pass {number} stops at iteration {steps[-1].iteration} of {iterations}")
        if not all(math.isfinite(step.image_loss + step.regularizer) for step in steps):
            complaints.append(f"pass {number} has losses that are not finite")
    for phrase, times in (("Base mesh has", 1), ("Done exporting mesh", 2), ("Running validation", 2)):
        if (seen := sum(text.startswith(phrase) for text in texts)) != times:
            complaints.append(f"its log says {phrase!r} {seen} times, not {times}")
    # It goes on, and ends well, when a picture could not be written. The light alone is not scored.
    complaints += [text for text in texts if "FAILED to save" in text and not text.endswith("probe.hdr")]
    return complaints


def mesh_complaints(folder: Path) -> list[str]:
    """What the folder of its final mesh lacks, or holds that cannot be right."""
    missing = [name for name in MESH_FILES if not (folder / name).is_file()]
    if missing:
        return [f"{folder} lacks {', '.join(missing)}"]
    try:
        read_obj(folder).check()
        pictures = {name: np.asarray(Image.open(folder / name)) for name in MESH_FILES if name.endswith(".png")}
    except (MeshError, ValueError, IndexError, OSError) as error:
        return [f"{folder}: {error}"]
    return [f"{folder / name} is one colour" for name, pixels in pictures.items() if not np.ptp(pixels, (0, 1)).any()]


def read_obj(folder: Path) -> TexturedMesh:
    """Its mesh, in the capture's axes (``original_inputs.TURN``); the texture is its base colour, without light."""
    points: list[list[str]] = []
    texcoords: list[list[str]] = []
    corners: list[list[str]] = []
    for line in (folder / "mesh.obj").read_text().splitlines():
        kind, *fields = line.split() or ("",)
        if kind in ("v", "vt"):
            (points if kind == "v" else texcoords).append(fields)
        elif kind == "f":
            corners += [corner.split("/")[:2] for corner in fields]
    indices = np.array(corners, np.int32).reshape(-1, 3, 2) - 1
    texture = np.asarray(Image.open(folder / "texture_kd.png"))[..., :3]
    uv = np.array(texcoords, np.float32).reshape(-1, 2)[indices[..., 1]]
    vertices = np.array(points, np.float32).reshape(-1, 3)
    return TexturedMesh(vertices, indices[..., 0], uv, texture, np.ones(texture.shape[:2], np.bool_))
