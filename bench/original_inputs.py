"""Our captures as the NeRF-synthetic data sets that the original nvdiffrec reads."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from meshdrop.models.capture.capture import Capture
from meshdrop.models.formats.cameras import Camera

#: Its reader takes the stated world for Blender's, +Z up, and turns it by -90 degrees about x. Poses stated in a world
#: turned the other way come out right, so that its scene, and its mesh, have the capture's own axes.
TURN = np.array([[1.0, 0, 0, 0], [0, 0, -1, 0], [0, 1, 0, 0], [0, 0, 0, 1]])


def write_inputs(capture: Capture, truth: Path, folder: Path) -> None:
    """Write the capture and the held-out views as the NeRF-synthetic data set that the original reads.

    ``folder`` is created. Raises ``ValueError`` where its reader cannot express the cameras: it knows one size, square
    pixels, a principal point in the middle and one field of view. Held-out pictures are written opaque, over white.
    """
    held_out = held_out_views(truth)
    _one_lens([view.camera for view in capture.views] + [camera for camera, _ in held_out])
    (folder / "train").mkdir(parents=True)
    (folder / "test").mkdir()
    for number, view in enumerate(capture.views):
        alpha = np.rint(view.mask * 255).astype(np.uint8)
        Image.fromarray(np.dstack([view.rgb, alpha])).save(folder / "train" / f"{number:03d}.png")
    for number, (_, picture) in enumerate(held_out):
        opaque = np.dstack([picture, np.full(picture.shape[:2], 255, np.uint8)])
        Image.fromarray(opaque).save(folder / "test" / f"{number:03d}.png")
    _write_transforms(folder, "train", [view.camera for view in capture.views])
    _write_transforms(folder, "test", [camera for camera, _ in held_out])


def held_out_views(truth: Path) -> list[tuple[Camera, NDArray[np.uint8]]]:
    """The held-out cameras with their true pictures (H, W, 3) over white."""
    stated = json.loads((truth / "transforms.json").read_text())
    views = []
    for frame in stated["frames"]:
        pose = np.array(frame["transform_matrix"], np.float64)
        camera = Camera(stated["w"], stated["h"], stated["fl_x"], stated["fl_y"], stated["cx"], stated["cy"], pose)
        views.append((camera, np.asarray(Image.open(truth / frame["file_path"]))[..., :3]))
    return views


def _one_lens(cameras: Sequence[Camera]) -> None:
    first = cameras[0]
    for camera in cameras:
        if (camera.width, camera.height) != (first.width, first.height):
            raise ValueError("the original wants pictures of one size, held-out ones included")
        if not math.isclose(camera.fx, camera.fy, rel_tol=1e-6) or not math.isclose(camera.fx, first.fx, rel_tol=1e-6):
            raise ValueError("the original wants square pixels and one field of view for all pictures")
        if max(abs(camera.cx - camera.width / 2), abs(camera.cy - camera.height / 2)) > 1e-3:
            raise ValueError("the original wants the principal point in the middle of the picture")


def _write_transforms(folder: Path, split: str, cameras: Sequence[Camera]) -> None:
    stated = {
        "camera_angle_x": 2 * math.atan(cameras[0].width / (2 * cameras[0].fx)),
        "frames": [
            {"file_path": f"{split}/{number:03d}", "transform_matrix": (TURN @ camera.c2w).tolist()}
            for number, camera in enumerate(cameras)
        ],
    }
    (folder / f"transforms_{split}.json").write_text(json.dumps(stated, indent=1))
