"""Every way to misread a capture: is the truth taken, and is every other reading refused?

    python bench/probe.py            # the whole table, some minutes
    python bench/probe.py --quick    # each truth read in the usual way only

Three rigs look at one object. Its cameras are written in each of 24 conventions (OpenGL or OpenCV axes, camera-to-world
or world-to-camera, six depth units), and each file is read in each of the 24. The depth has 0 to 3 mm of noise and a
fifth of its pixels missing. The reading that was written must be taken; every other must be refused, and nothing may be
taken with other cameras than the true ones. What the refusal proposes is counted too.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import json
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import numpy as np
from numpy.typing import NDArray

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from meshdrop.models.capture.capture import Capture, View  # noqa: E402
from meshdrop.models.formats.cameras import OPENCV_TO_OPENGL, Camera, look_at, opengl_camera_to_world  # noqa: E402
from meshdrop.models.formats.sidecar import Axes, Pose, Sidecar  # noqa: E402
from meshdrop.models.probe.probe import ProbeResult, Reading, probe  # noqa: E402
from tests.unit.models.synthetic import ANIMAL, BALL, CUBE, PLATE, ROD, Scene, capture_of  # noqa: E402

UNITS_M = (1e-3, 1e-4, 1 / 5000, 1 / 6553.5, 1 / 256, 1e-2)
READINGS = tuple(
    Reading(axes, pose, unit) for axes, pose, unit in itertools.product(get_args(Axes), get_args(Pose), UNITS_M)
)
USUAL = READINGS[0]
OBJECTS = {"animal": ANIMAL, "cube": CUBE, "ball": BALL, "plate": PLATE, "rod": ROD}
NOISE_M = (0.0, 0.001, 0.003)
HOLES = 0.2


def _camera(direction: tuple[float, float, float], up: tuple[float, float, float] = (0.0, 1.0, 0.0)) -> Camera:
    return Camera(160, 120, 250.0, 250.0, 80.0, 60.0, look_at(direction, up, 1.6))


def _ring(count: int, start: float, arc: float, lift: float) -> list[tuple[str, Camera]]:
    angles = [start + arc * index / count for index in range(count)]
    return [(f"r{n}", _camera((float(np.sin(a)), lift, float(np.cos(a))))) for n, a in enumerate(angles)]


#: A ring of five and one from above, a ring of six, an arc of four in front.
RIGS = {
    "ring and top": [*_ring(5, 0.1, 2 * np.pi, 0.3), ("top", _camera((0.0, 1.0, 0.02), (0.0, 0.0, -1.0)))],
    "ring of six": _ring(6, 0.0, 2 * np.pi, 0.35),
    "front arc": _ring(4, -0.9, 2.4, 0.2),
}


def written(camera: Camera, reading: Reading) -> NDArray[np.float64]:
    """The pose matrix as a file in this convention holds it."""
    c2w = camera.c2w @ OPENCV_TO_OPENGL if reading.axes == "opencv" else camera.c2w
    return np.linalg.inv(c2w).astype(np.float64) if reading.pose == "world_to_camera" else c2w


def misread(true: Capture, truth: Reading, reading: Reading) -> Capture:
    """What comes out when a file written as ``truth`` is read as ``reading``."""
    factor = np.float32(reading.depth_unit_m / truth.depth_unit_m)

    def view(one: View) -> View:
        pose = opengl_camera_to_world(written(one.camera, truth), reading.axes, reading.pose)
        depth = None if one.depth is None else one.depth * factor
        return dataclasses.replace(one, camera=dataclasses.replace(one.camera, c2w=pose), depth=depth)

    return dataclasses.replace(true, views=tuple(map(view, true.views)), depth_unit_m=reading.depth_unit_m)


@dataclass(frozen=True)
class Case:
    """One file, written as ``truth`` and read as ``reading``."""

    rig: str
    noise_m: float
    truth: Reading
    reading: Reading

    @property
    def is_true(self) -> bool:
        """Whether it was read as it was written."""
        return self.reading == self.truth


def cases(
    readings: Iterable[Reading], noises: Iterable[float] = NOISE_M, scene: Scene = ANIMAL
) -> Iterator[tuple[Case, ProbeResult]]:
    """Every truth on every rig, read in each of ``readings`` and in its own, with what the probe said."""
    for (rig, cameras), noise, truth in itertools.product(RIGS.items(), noises, READINGS):
        true = capture_of(scene, cameras, noise, HOLES, truth.depth_unit_m)
        for reading in dict.fromkeys((truth, *readings)):
            stated = Sidecar(camera_axes=reading.axes, pose=reading.pose, depth_unit_m=reading.depth_unit_m)
            yield Case(rig, noise, truth, reading), probe(misread(true, truth, reading), stated)


def outcome(case: Case, result: ProbeResult) -> str:
    """``right``, ``refused`` (with the true line or without it), or taken with cameras that are not so: with the
    warning that nothing could be checked, or ``WRONG``, without a word.
    """
    if result.verdict != "contradicted":
        if case.is_true or _same_cameras(case, result):
            return "right"
        return "WRONG" if result.verdict == "verified" or result.warning is None else "taken with a warning"
    if case.is_true:
        return "refused, though true"
    return "refused with the true line" if _names(result, case) else "refused with another or no line"


def _same_cameras(case: Case, result: ProbeResult) -> bool:
    """Two conventions may mean the same cameras up to a motion of the world, which no capture can show."""
    twins = result.stated.same_as if result.stated is not None else ()
    return case.truth in twins


def _names(result: ProbeResult, case: Case) -> bool:
    if result.problem is None or "{" not in result.problem.fix:
        return False
    text = result.problem.fix
    line = json.loads(text[text.index("{") : text.index("}") + 1])
    unit = line.get("depth_unit_m", case.reading.depth_unit_m)
    return bool(
        line.get("camera_axes", case.reading.axes) == case.truth.axes
        and line.get("pose", case.reading.pose) == case.truth.pose
        and abs(unit / case.truth.depth_unit_m - 1) < 1e-4
    )


def main() -> None:
    """Print the table."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--quick", action="store_true", help="each truth read in the usual way only")
    arguments.add_argument("--object", choices=OBJECTS, default="animal", help="what is looked at")
    options = arguments.parse_args()
    counts: dict[tuple[str, float], Counter[str]] = {}
    least, started = 1.0, time.process_time()
    for case, result in cases((USUAL,) if options.quick else READINGS, scene=OBJECTS[options.object]):
        told = outcome(case, result)
        counts.setdefault((case.rig, case.noise_m), Counter())[told] += 1
        if case.is_true and result.stated is not None:
            least = min(least, result.stated.score)
        if told in ("WRONG", "refused, though true"):
            print("!", told, case, result.reason)
    kinds = sorted({kind for counter in counts.values() for kind in counter})
    print("| rig | noise | " + " | ".join(kinds) + " |")
    print("|---|---|" + "---|" * len(kinds))
    for (rig, noise), counter in counts.items():
        print(f"| {rig} | {noise * 1000:g} mm | " + " | ".join(str(counter[kind]) for kind in kinds) + " |")
    seconds, total = time.process_time() - started, sum(sum(counter.values()) for counter in counts.values())
    print(f"{total} readings, {seconds / total * 1000:.0f} ms of CPU each; the least score of a true one: {least:.2f}")


if __name__ == "__main__":
    main()
