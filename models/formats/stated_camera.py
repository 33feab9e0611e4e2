"""A camera out of what a sidecar states: axes, direction and scale undone, intrinsics for the picture's size."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from meshdrop.models.formats.cameras import Camera, canonical_camera, nearest_rotation, opengl_camera_to_world
from meshdrop.models.formats.lens import Lens
from meshdrop.models.formats.sidecar import Intrinsics, Sidecar, StatedFrame, says_no_focal

#: R'R may differ from the identity by this much, which is columns that are a hundredth too long or not perpendicular.
ROTATION_TOLERANCE = 2e-2
#: From here on that is worth a warning; poses printed with four digits stay below.
ROTATION_DOUBT = 2e-3
FOCAL_PER_SIDE_RANGE = (0.1, 50.0)


class CameraError(Exception):
    """A stated camera cannot be: what is wrong, and what to do (``fix``)."""

    def __init__(self, message: str, fix: str) -> None:
        super().__init__(message)
        self.fix = fix


class PictureSizeError(CameraError):
    """The intrinsics are for pictures of another size: one that a phone took at another zoom, for example."""


def stated_camera(view: str, frame: StatedFrame | None, stated: Sidecar, width: int, height: int) -> Camera:
    """The camera that took one view, its lens left out of account; ``frame`` is None for the standard rig.

    Raises ``CameraError``.
    """
    axes, pose = stated.camera_axes or "opengl", stated.pose or "camera_to_world"
    if frame is None:
        camera = canonical_camera(view, width, height)
        said = stated.intrinsics
        said = replace(said, fl_x=camera.fx) if says_no_focal(said) else said
        fx, fy, cx, cy = _intrinsics(said, width, height)
        return Camera(width, height, fx, fy, cx, cy, _rigid(opengl_camera_to_world(camera.c2w, axes, pose)))
    fx, fy, cx, cy = _intrinsics(frame.intrinsics, width, height)
    return Camera(width, height, fx, fy, cx, cy, camera_pose(frame, stated))


def stated_lens(frame: StatedFrame | None, stated: Sidecar) -> Lens | None:
    """The lens of one view, to be undone in its pictures; None for a pinhole."""
    lens = stated.intrinsics.lens if frame is None else frame.intrinsics.lens
    return None if lens is None or lens.is_pinhole else lens


def camera_pose(frame: StatedFrame, stated: Sidecar) -> NDArray[np.float64]:
    """A frame's pose (4, 4) as OpenGL camera-to-world in metres; raises ``CameraError`` for one that cannot be."""
    axes, pose = stated.camera_axes or "opengl", stated.pose or "camera_to_world"
    matrix = np.array(frame.matrix, dtype=np.float64)
    try:
        c2w = opengl_camera_to_world(matrix, axes, pose)
        if stated.applied_transform is not None:
            c2w = np.linalg.inv(np.array(stated.applied_transform, dtype=np.float64)) @ c2w
    except np.linalg.LinAlgError:
        raise CameraError("the pose matrix is singular.", "Export the poses again.") from None
    c2w[:3, 3] /= stated.applied_scale or 1.0
    return _rigid(c2w)


def rotation_error(frame: StatedFrame) -> float:
    """By how much the columns of a frame's rotation differ in length and angle from those of one, as a share."""
    R = np.array(frame.matrix, dtype=np.float64)[:3, :3]
    with np.errstate(over="ignore", invalid="ignore"):
        return float(np.abs(R.T @ R - np.eye(3)).max()) / 2


def _rigid(c2w: NDArray[np.float64]) -> NDArray[np.float64]:
    """The pose with its rotation made exact; raises ``CameraError`` for anything that is no rigid motion."""
    R = c2w[:3, :3]
    with np.errstate(over="ignore", invalid="ignore"):  # entries of 1e200 overflow to something that is no rotation
        is_rotation = np.isfinite(c2w).all() and np.abs(R.T @ R - np.eye(3)).max() <= ROTATION_TOLERANCE
        lengths = ", ".join(f"{length:.4g}" for length in np.linalg.norm(R, axis=0))
    if not is_rotation:
        raise CameraError(
            f"the pose is no rotation: its columns have lengths {lengths}, or are not perpendicular.",
            "Export rigid poses, without scale or shear.",
        )
    if np.linalg.det(R) < 0:
        raise CameraError(
            "the pose mirrors the world (determinant -1).", "Export right-handed poses; one axis has a flipped sign."
        )
    exact = np.eye(4)
    exact[:3, :3] = nearest_rotation(R)
    exact[:3, 3] = c2w[:3, 3]
    return exact


def _intrinsics(stated: Intrinsics, width: int, height: int) -> tuple[float, float, float, float]:
    """(fx, fy, cx, cy) in pixels of this image; raises ``CameraError`` where they do not fit it."""
    for key, said, real in (("w", stated.w, width), ("h", stated.h, height)):
        if said is not None and said != real:
            raise PictureSizeError(
                f"the intrinsics are for {key} = {said:g}, but the image is {width} x {height}.",
                "State the intrinsics of this resolution, or send the pictures in the stated one.",
            )
    fx = stated.fl_x or _focal(stated.camera_angle_x, width) or stated.fl_y or _focal(stated.camera_angle_y, height)
    fy = stated.fl_y or _focal(stated.camera_angle_y, height) or fx
    if fx is None or fy is None:
        for key in ("camera_angle_x", "camera_angle_y"):
            if (angle := getattr(stated, key)) is not None and math.pi <= angle < 180:
                message = f"{key} is {angle:g}, which is no angle of view in radians."
                raise CameraError(message, f"If it is degrees, write {math.radians(angle):.6g}.")
        raise CameraError("no focal length is stated.", "State fl_x (pixels) or camera_angle_x (radians).")
    low, high = FOCAL_PER_SIDE_RANGE
    if not (low <= fx / width <= high and low <= fy / height <= high and 0.5 <= fx / fy <= 2):
        raise CameraError(f"a focal length of {fx:g} x {fy:g} px is implausible.", "State fl_x and fl_y in pixels.")
    cx = width / 2 if stated.cx is None else stated.cx
    cy = height / 2 if stated.cy is None else stated.cy
    if not (0 < cx < width and 0 < cy < height):
        raise CameraError(
            f"the principal point ({cx:g}, {cy:g}) lies outside the {width} x {height} image.",
            "State cx and cy in pixels from the top left corner.",
        )
    return fx, fy, cx, cy


def _focal(angle: float | None, side: int) -> float | None:
    return None if angle is None or not 0 < angle < math.pi else side / 2 / math.tan(angle / 2)
