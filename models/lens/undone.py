"""The lenses of one capture: which were stated, what undoes them, and what people are told of it."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from meshdrop.models.files.problem import Problem
from meshdrop.models.formats.cameras import Camera
from meshdrop.models.formats.lens import Lens
from meshdrop.models.formats.stated_camera import CameraError
from meshdrop.models.lens.pinhole import WIDEST, Undoing, undoing
from meshdrop.models.lens.resampling import resampled

Pictures = tuple[NDArray[np.uint8], NDArray[np.float32], NDArray[np.float32] | None]

#: A lens that moves no pixel farther than this is left alone: drawing a picture again blurs it more.
LEAST_PX = 0.05
#: Losing less than this share of a picture is not worth a word.
_WORTH_SAYING = 0.02


class LensesUndone:
    """Collects the lenses of a capture's views; each is thought through once, however many views have it."""

    def __init__(self) -> None:
        self._known: dict[tuple[Lens, tuple[float, ...]], Undoing | CameraError] = {}
        self._by_view: dict[str, Undoing] = {}
        self._refused: dict[str, tuple[CameraError, list[str]]] = {}

    def state(self, view: str, lens: Lens | None, camera: Camera) -> None:
        """``view`` was taken by ``camera`` through ``lens``; None for a pinhole."""
        if lens is None:
            return
        key = (lens, (camera.width, camera.height, camera.fx, camera.fy, camera.cx, camera.cy))
        if key not in self._known:
            try:
                self._known[key] = undoing(lens, camera)
            except CameraError as error:
                self._known[key] = error
        found = self._known[key]
        if isinstance(found, CameraError):
            self._refused.setdefault(str(found), (found, []))[1].append(view)
        elif found.most_px > LEAST_PX:
            self._by_view[view] = found

    def problems(self, file: str | None) -> list[Problem]:
        """One for each lens that cannot be undone; ``file`` states them."""
        return [
            Problem("calib", file, f"View {views[0]}{_more(len(views))}: {error}", error.fix)
            for error, views in self._refused.values()
        ]

    def undone(self, view: str, camera: Camera, pictures: Pictures) -> tuple[Camera, Pictures]:
        """The pinhole of a view and its pictures; both as they are where there is no lens."""
        found = self._by_view.get(view)
        if found is None:
            return camera, pictures
        pinhole = found.camera
        same_pose = Camera(pinhole.width, pinhole.height, pinhole.fx, pinhole.fy, pinhole.cx, pinhole.cy, camera.c2w)
        return same_pose, resampled(found, *pictures)

    def sentences(self) -> list[str]:
        """What was done, in one line for each model."""
        told = []
        for model in dict.fromkeys(one.lens.model for one in self._by_view.values()):
            of_it = [one for one in self._by_view.values() if one.lens.model == model]
            most = max(one.most_px for one in of_it)
            done = f"Lens undone: {model}, up to {most:.1f} px, in {len(of_it)} views. They are a pinhole's now, of "
            told.append(f"{done}{_focal(of_it)} times the stated focal length.{_lost(of_it)}")
        return told


def _focal(undone: list[Undoing]) -> str:
    scales = sorted({f"{one.camera.fx / one.lensed.fx:.3f}" for one in undone}, key=float)
    return scales[0] if len(scales) == 1 else f"{scales[0]} to {scales[-1]}"


def _lost(undone: list[Undoing]) -> str:
    """What of the pictures a pinhole does not show."""
    least = min(one.kept for one in undone)
    if 1 - least < _WORTH_SAYING:
        return ""
    why = "a pinhole has no place for it"
    if any(one.widest for one in undone):
        why = f"it lies more than {math.degrees(WIDEST):.0f} degrees from the axis, or in a corner"
    return f" Up to {1 - least:.0%} of a picture, at its border, is cut off: {why}."


def _more(count: int) -> str:
    return "" if count == 1 else f" and {count - 1} more"
