"""The cameras of a capture's views, as they are stated, and whether all of them together can be."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from meshdrop.models.capture.expectation import Expectation
from meshdrop.models.files.names import listing
from meshdrop.models.files.problem import Findings, Problem
from meshdrop.models.formats.cameras import Camera
from meshdrop.models.formats.stated_camera import (
    ROTATION_DOUBT,
    CameraError,
    PictureSizeError,
    rotation_error,
    stated_camera,
    stated_lens,
)
from meshdrop.models.lens.undone import LensesUndone

#: The nearest and farthest that a camera may stand from the others, in metres.
BASELINE_RANGE_M = (0.01, 100.0)


def view_cameras(
    expectation: Expectation, shapes: Mapping[str, tuple[int, ...]], lenses: LensesUndone, found: Findings
) -> dict[str, Camera]:
    """Cameras of the views whose picture could be read, by view name; ``shapes`` are those pictures' (H, W).

    Lenses are stated to ``lenses`` and left out of account.
    """
    cameras: dict[str, Camera] = {}
    where = (expectation.sidecars or (None,))[-1]
    frames = expectation.stated.frames or (None,) * len(expectation.views)
    for files, frame in zip(expectation.views, frames, strict=True):
        if files.name in shapes:
            height, width = shapes[files.name][:2]
            try:
                camera = stated_camera(files.name, frame, expectation.stated, width, height)
                lenses.state(files.name, stated_lens(frame, expectation.stated), camera)
                cameras[files.name] = camera
            except PictureSizeError as error:
                found.odd[files.name] = [Problem("calib", files.image, f"View {files.name}: {error}", error.fix)]
            except CameraError as error:
                found.report("calib", where, f"View {files.name}: {error}", error.fix)
    found.problems += lenses.problems(where)
    _check_baselines(expectation, cameras, found)
    _say_inexact_rotations(expectation, found)
    return cameras


def _say_inexact_rotations(expectation: Expectation, found: Findings) -> None:
    """The nearest rotations are used; data sets that were measured by hand have such poses."""
    frames = expectation.stated.frames or ()
    errors = {view.name: rotation_error(frame) for view, frame in zip(expectation.views, frames, strict=False)}
    inexact = {name: error for name, error in errors.items() if 2 * error > ROTATION_DOUBT}
    if inexact:
        found.warnings.append(
            f"{len(inexact)} of {len(errors)} poses are no exact rotations (up to {max(inexact.values()):.1%} off: "
            f"{listing(inexact)}); the nearest ones are used."
        )


def _check_baselines(expectation: Expectation, cameras: Mapping[str, Camera], found: Findings) -> None:
    if len(cameras) < 2 or len(cameras) < len(expectation.views):
        return
    where = (expectation.sidecars or (None,))[-1]
    poses = np.stack([camera.c2w for camera in cameras.values()])
    if np.abs(poses - poses[0]).max() < 1e-9:
        message = f"All {len(poses)} poses are the same: as stated, the camera never moved."
        found.report("calib", where, message, "Export the poses again; if the object was turned, state its turns.")
        return
    centres = np.stack([camera.centre for camera in cameras.values()])
    spread = float(np.linalg.norm(centres[:, None] - centres[None], axis=-1).max())
    low, high = BASELINE_RANGE_M
    # With depth the probe recognises coinciding cameras, and knows which reading of the file would part them.
    low = 0.0 if expectation.depth_stated else low
    # Of a model whose unit is arbitrary depth tells how large it is.
    high = float("inf") if expectation.depth_stated and expectation.layout in ("colmap", "llff") else high
    if not low <= spread <= high:
        found.report(
            "calib",
            where,
            f"The cameras stand at most {spread:.3g} m apart; {BASELINE_RANGE_M[0]:g} to {high:g} m is plausible.",
            'State positions in metres; if the poses are world-to-camera, add "pose": "world_to_camera".',
        )
