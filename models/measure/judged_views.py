"""What of each view a mesh is judged by: the capture's own masks, those that the model handed back, or all of a scene.

A model that cut an object free from its table knows masks that the capture has not. It leaves them beside its files, in
``masks/``: PNGs as large as their views, 8 bits of grey, 255 where the object is, and ``index.json`` with the file of
each view by the view's name. A view that the model did not have, because it was held out, stands not in it: it is
judged by what its depth and the other views' masks tell of the object, and without depth not at all.

A model that refined poses leaves ``cameras.json``: camera-to-world (4, 4) by view, OpenGL axes, metres. Its mesh is
compared with the photographs from where it says that they were taken, within what a refinement may move.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from meshdrop.models.capture.capture import Capture, Subject, View
from meshdrop.models.files import walk
from meshdrop.models.formats.cameras import Camera
from meshdrop.models.measure.told_masks import told_mask
from meshdrop.models.mesh.errors import MeshError
from meshdrop.models.surface.range_view import prepare, prepare_scene
from meshdrop.models.views.pose_refinement import MOST_TURN_DEG, join_others

Mask = NDArray[np.float32]
MASKS, INDEX, CAMERAS = "masks", "index.json", "cameras.json"
#: A mask of one's own is a file of few colours: a larger one is none.
_MASK_BYTES, _INDEX_BYTES = 64_000_000, 4_000_000


def hand_back(folder: Path, masks: Mapping[str, Mask], poses: Mapping[str, NDArray[np.float64]]) -> list[str]:
    """Write a model's masks and refined poses into its ``folder``, as the head of this file tells; the names of the
    files, relative to it."""
    files: list[str] = []
    if masks:
        (folder / MASKS).mkdir(exist_ok=True)
        index = {name: f"{number:02d}.png" for number, name in enumerate(masks)}
        for name, mask in masks.items():
            Image.fromarray(np.round(mask * 255).astype(np.uint8)).save(folder / MASKS / index[name], "PNG")
        (folder / MASKS / INDEX).write_text(json.dumps(index, indent=1), encoding="utf-8")
        files += [f"{MASKS}/{name}" for name in (*index.values(), INDEX)]
    if poses:
        told = {name: pose.tolist() for name, pose in poses.items()}
        (folder / CAMERAS).write_text(json.dumps(told, indent=1), encoding="utf-8")
        files.append(CAMERAS)
    return files


def subject_of(figures: object) -> Subject:
    """What a model's figures say that the capture is of; an object where they say nothing that is known."""
    told = figures.get("subject") if isinstance(figures, dict) else None
    return told if told in ("table", "scene") else "object"


def handed_masks(folder: Path, capture: Capture) -> dict[str, NDArray[np.float32]] | None:
    """The masks that a model left in its ``folder``, (H, W) 0..1 by the name of their view; None where it left none.

    Raises ``MeshError`` when the index names no view of the capture, or one is unreadable or of another size.
    """
    if not (folder / MASKS).is_dir():
        return None
    index = _index(folder / MASKS / INDEX)
    views = [view for view in capture.views if view.name in index]
    if not views:
        raise MeshError(f"{MASKS}/{INDEX} names no view of the capture")
    return {view.name: _mask(folder / MASKS / index[view.name], f"{MASKS}/{index[view.name]}", view) for view in views}


def _index(file: Path) -> dict[str, str]:
    """Plain file names by the name of their view."""
    try:
        told = json.loads(walk.read_file(file, _INDEX_BYTES))
    except (OSError, ValueError, RecursionError) as error:
        raise MeshError(f"{MASKS}/{INDEX} cannot be read: {error}") from None
    plain = isinstance(told, dict) and all(
        isinstance(name, str) and name == Path(name).name and name[:1] not in ("", ".") for name in told.values()
    )
    if not plain:
        raise MeshError(f"{MASKS}/{INDEX} must hold a plain file name for each view")
    return dict(told)


def _mask(file: Path, name: str, view: View) -> NDArray[np.float32]:
    wanted = ("L", (view.camera.width, view.camera.height))
    try:
        with Image.open(io.BytesIO(walk.read_file(file, _MASK_BYTES)), formats=("PNG",)) as picture:
            given = (picture.mode, picture.size)
            pixels = np.asarray(picture, np.float32) / np.float32(255) if given == wanted else None
    except (OSError, ValueError, SyntaxError) as error:
        raise MeshError(f"{name} cannot be read: {error}") from None
    if pixels is None:
        raise MeshError(f"{name} is {given}; the mask of {view.name} must be {wanted}")
    return pixels


def handed_cameras(folder: Path, capture: Capture, subject: Subject) -> dict[str, Camera]:
    """The cameras that a model refined, by the name of their view; empty where it left none. Those of views that were
    held out from it are brought to agree with them.

    Raises ``MeshError`` when they cannot be read, are no rigid motions, or are turned farther than by
    ``pose_refinement``'s bounds from what the capture states.
    """
    file = folder / CAMERAS
    if not file.is_file():
        return {}
    try:
        told = json.loads(walk.read_file(file, _INDEX_BYTES))
        poses = {str(name): np.array(pose, np.float64) for name, pose in told.items()}
    except (OSError, ValueError, TypeError, AttributeError, RecursionError) as error:
        raise MeshError(f"{CAMERAS} cannot be read: {error}") from None
    refined = {view.name: _moved(view, poses[view.name]) for view in capture.views if view.name in poses}
    if len(refined) == len(capture.views):
        return refined
    ready = [(prepare_scene if subject == "scene" else prepare)(view) for view in capture.views]
    cameras = join_others(capture.views, ready, refined)
    return {view.name: camera for view, camera in zip(capture.views, cameras, strict=True)}


def _moved(view: View, c2w: NDArray[np.float64]) -> Camera:
    if c2w.shape != (4, 4) or not np.isfinite(c2w).all():
        raise MeshError(f"{CAMERAS}: the pose of {view.name} is not 4 x 4 finite numbers")
    turn = c2w[:3, :3] @ view.camera.c2w[:3, :3].T
    angle = float(np.rad2deg(np.arccos(np.clip((np.trace(turn) - 1) / 2, -1, 1))))
    rigid = np.abs(turn @ turn.T - np.eye(3)).max() < 1e-6 and (c2w[3] == (0, 0, 0, 1)).all()
    if not rigid or angle > 1.01 * MOST_TURN_DEG:
        raise MeshError(f"{CAMERAS}: the pose of {view.name} is no small motion of the stated one")
    return replace(view.camera, c2w=c2w)


def views_to_judge(
    capture: Capture,
    subject: Subject = "object",
    masks: Mapping[str, NDArray[np.float32]] | None = None,
    cameras: Mapping[str, Camera] | None = None,
) -> Capture:
    """The capture with the masks that count: in a scene everything belongs to what was captured, and where a model has
    masks, a view that it has none for takes what ``told_mask`` says, or is not judged; ``cameras`` stand in for those
    of the views that they name."""
    if cameras:
        moved = (replace(view, camera=cameras.get(view.name, view.camera)) for view in capture.views)
        capture = replace(capture, views=tuple(moved))
    if subject == "scene":
        return replace(capture, views=tuple(replace(view, mask=np.ones_like(view.mask)) for view in capture.views))
    if masks is None:
        return capture
    masked = [replace(view, mask=masks[view.name]) for view in capture.views if view.name in masks]

    def mask(view: View) -> Mask:
        told = masks[view.name] if view.name in masks else told_mask(view, masked)
        return np.zeros_like(view.mask) if told is None else told

    return replace(capture, views=tuple(replace(view, mask=mask(view)) for view in capture.views))
