"""A rig profile out of any capture or file of cameras: poses in our axes and metres, checked as far as can be."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from meshdrop.models.capture.capture import Capture, read_stated_capture
from meshdrop.models.capture.layout import Expectation, ViewFiles, expect, most_bytes
from meshdrop.models.capture.rig_profile import FILE, SCHEMA, RigProfile, parse_profile
from meshdrop.models.capture.up import stated_up
from meshdrop.models.files.folder import CaptureFolder
from meshdrop.models.files.limits import CaptureLimits
from meshdrop.models.files.problem import CaptureError, Problem
from meshdrop.models.formats.cameras import Camera
from meshdrop.models.formats.lens import Lens
from meshdrop.models.formats.sidecar import StatedFrame
from meshdrop.models.formats.stated_camera import CameraError, camera_pose, stated_camera, stated_lens
from meshdrop.models.probe.inspection import Inspection, inspect


@dataclass(frozen=True)
class MadeProfile:
    """A profile, and what its source showed: the whole inspection where there were pictures, else None."""

    profile: RigProfile
    layout: str
    inspection: Inspection | None


def make_profile(name: str, source: Path, limits: CaptureLimits, *, require_depth: bool = False) -> MadeProfile:
    """The rig of ``source``: a capture folder, a folder of cameras without pictures, or one file of cameras.

    Pictures are read where they are there: they give sizes, and with depth the conventions are verified.
    ``require_depth``: captures of this rig wait for their depth. Raises ``CaptureError`` with everything that is wrong.
    """
    folder, names = (source, None) if source.is_dir() else (source.parent, _beside(source))
    found = _expectation(folder, names, limits)
    if found.kind == "canonical" and names is not None:
        raise CaptureError([_no_cameras()])
    if found.problems:
        raise CaptureError(found.problems)
    if found.kind == "unknown" or found.begun or any(name in found.missing for name in found.sidecars):
        raise CaptureError(found.awaited() or [_no_cameras()])
    if found.missing and found.kind == "canonical":
        raise CaptureError(found.awaited())
    if found.missing:
        return MadeProfile(_profile(name, _framed(found), found, limits, require_depth), found.layout, None)
    inspection = inspect(folder, limits)
    if not inspection.ok:
        raise CaptureError(inspection.problems)
    if found.kind == "canonical" and (inspection.probe is None or inspection.probe.verdict != "verified"):
        raise CaptureError([_unproven()])
    views = len(found.views)
    capture, found = read_stated_capture(folder, limits)
    if len(found.views) < views:
        raise CaptureError([_not_all(capture)])
    frames = [
        _photographed(found, files, frame, view.camera)
        for files, frame, view in zip(found.views, _stated_frames(found), capture.views, strict=True)
    ]
    return MadeProfile(_profile(name, frames, found, limits, require_depth), found.layout, inspection)


def _beside(file: Path) -> list[str]:
    """The one file, and what belongs to it: COLMAP's models are two files."""
    pair = {"images": "cameras", "cameras": "images"}.get(file.stem)
    partner = file.with_stem(pair) if pair and file.suffix in (".bin", ".txt") else None
    return [file.name, *([partner.name] if partner is not None and partner.is_file() else [])]


def _expectation(folder: Path, names: Iterable[str] | None, limits: CaptureLimits) -> Expectation:
    lying = CaptureFolder(folder, limits)
    there = lying.names if names is None else tuple(names)
    return expect(there, lambda name: lying.beginning(name, most_bytes(name, limits) + 1), limits)


def _no_cameras() -> Problem:
    fix = (
        "Name the whole capture's folder, or transforms.json, transforms_train.json, scene_camera.json, capture.json "
        "with frames, or the images file of a COLMAP model."
    )
    return Problem("set", None, "The file states no cameras in a format that is read.", fix)


def _not_all(capture: Capture) -> Problem:
    """A capture may do without an odd view; a rig is stored with all its cameras or not at all."""
    odd = " ".join(warning for warning in capture.warnings if warning.startswith("Left out"))
    return Problem("semantic", None, f"Not all views can be used. {odd}", "Take the calibration capture again.")


def _unproven() -> Problem:
    """Six pictures with a number each are the standard rig's by their names alone; a rig is not stored on that."""
    message = "The folder states no cameras, and no depth shows that its pictures are those of the standard rig."
    return Problem("poses", None, message, "Add the file of cameras. The standard rig itself needs no storing.")


def _framed(found: Expectation) -> list[dict[str, Any]]:
    """Frames of cameras without pictures: intrinsics as they are stated."""
    frames = found.stated.frames or ()
    told = []
    for files, frame in zip(found.views, frames, strict=True):
        try:
            told.append(_entry(found, files, camera_pose(frame, found.stated), _stated(frame)))
        except CameraError as error:
            where = found.sidecars[-1] if found.sidecars else None
            raise CaptureError([Problem("calib", where, f"View {files.name}: {error}", error.fix)]) from error
    return told


def _stated(frame: StatedFrame) -> dict[str, Any]:
    said = frame.intrinsics.said()
    lens: Lens | None = said.pop("lens", None)
    return said | ({} if lens is None else lens.stated())


def _stated_frames(found: Expectation) -> Sequence[StatedFrame | None]:
    """What was stated of each view; None for those of the standard rig."""
    return found.stated.frames or (None,) * len(found.views)


def _photographed(found: Expectation, files: ViewFiles, frame: StatedFrame | None, shown: Camera) -> dict[str, Any]:
    """The camera as it took the picture: in ``shown`` the lens is undone, and later captures come through it again."""
    camera = stated_camera(files.name, frame, found.stated, shown.width, shown.height)
    lens = stated_lens(frame, found.stated)
    numbers = {
        "w": camera.width,
        "h": camera.height,
        "fl_x": camera.fx,
        "fl_y": camera.fy,
        "cx": camera.cx,
        "cy": camera.cy,
    }
    return _entry(found, files, camera.c2w, numbers | ({} if lens is None else lens.stated()))


def _entry(
    found: Expectation, files: ViewFiles, c2w: NDArray[np.float64], intrinsics: dict[str, Any]
) -> dict[str, Any]:
    paths = {"file_path": files.image, "depth_file_path": files.depth, "mask_path": files.mask}
    inner = {key: path[len(found.root) :] for key, path in paths.items() if path is not None}
    return {**inner, **intrinsics, "transform_matrix": c2w.tolist()}


def _profile(
    name: str, frames: list[dict[str, Any]], found: Expectation, limits: CaptureLimits, require_depth: bool
) -> RigProfile:
    """Written and read again: what is stored is what the service will accept."""
    stated, up = found.stated, stated_up(found)
    table: dict[str, Any] = {"schema": SCHEMA, "rig": name}
    table |= {"depth_unit_m": stated.depth_unit_m} if stated.depth_unit_m is not None else {}
    table |= {"depth_type": stated.depth_type} if stated.depth_type is not None else {}
    table |= {"coarse_depth": True} if stated.coarse_depth else {}
    table |= {"world_up": list(up.direction)} if up is not None else {}
    table |= {"depth": True} if require_depth else {}
    text = json.dumps({**table, "frames": frames}, indent=1).encode()
    profile, problems = parse_profile(text, FILE, limits)
    if profile is None or problems:
        raise CaptureError(problems)
    return profile
