"""A lens as files state it: the name of a model, and its coefficients. Standard library only.

What each model does to a ray is in ``models/lens/formulas.py``. The names are COLMAP's, and librealsense's for the
inverse Brown model; nerfstudio and instant-ngp use the same names and keys.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from meshdrop.models.formats.json_table import Complaints, as_float, is_number, short, wrong

#: The coefficients of each model, in the order in which COLMAP writes them.
COEFFICIENTS: Mapping[str, tuple[str, ...]] = {
    "SIMPLE_PINHOLE": (),
    "PINHOLE": (),
    "SIMPLE_RADIAL": ("k1",),
    "RADIAL": ("k1", "k2"),
    # COLMAP's and instant-ngp's have four; nerfstudio and Metashape's exports go on with k3 for r^6 and k4 for r^8
    "OPENCV": ("k1", "k2", "p1", "p2", "k3", "k4"),
    "FULL_OPENCV": ("k1", "k2", "p1", "p2", "k3", "k4", "k5", "k6"),
    "INVERSE_BROWN_CONRADY": ("k1", "k2", "p1", "p2", "k3"),
    "SIMPLE_DIVISION": ("k1",),
    "DIVISION": ("k1",),
    "FOV": ("omega",),
    "EUCM": ("alpha", "beta"),
    "SIMPLE_FISHEYE": (),
    "FISHEYE": (),
    "SIMPLE_RADIAL_FISHEYE": ("k1",),
    "RADIAL_FISHEYE": ("k1", "k2"),
    "OPENCV_FISHEYE": ("k1", "k2", "k3", "k4"),
    "THIN_PRISM_FISHEYE": ("k1", "k2", "p1", "p2", "k3", "k4", "sx1", "sy1"),
    "RAD_TAN_THIN_PRISM_FISHEYE": ("k1", "k2", "k3", "k4", "k5", "k6", "p1", "p2", "s1", "s2", "s3", "s4"),
}
#: Every coefficient that some model has.
LENS_NUMBERS = tuple(dict.fromkeys(name for names in COEFFICIENTS.values() for name in names))
#: Words so common that they say nothing of a lens where no model is named that has them.
_COMMON = ("alpha", "beta", "s1", "s2", "s3", "s4")
#: Every key that says something of the lens.
LENS_KEYS = ("camera_model", "is_fisheye", *LENS_NUMBERS)
#: One formula under five names: whatever their coefficients are, the name of the smallest says nothing more.
_BROWN = ("SIMPLE_PINHOLE", "PINHOLE", "SIMPLE_RADIAL", "RADIAL", "OPENCV")
_FIX = "Correct it, or undistort the pictures and state a pinhole."


@dataclass(frozen=True)
class Lens:
    """A model of ``COEFFICIENTS`` and the values of its coefficients, in that order; finite numbers."""

    model: str
    numbers: tuple[float, ...] = ()

    @property
    def is_pinhole(self) -> bool:
        """Whether straight lines stay straight, and nothing is to be undone."""
        harmless = self.model in (*_BROWN, "FULL_OPENCV", "INVERSE_BROWN_CONRADY", "SIMPLE_DIVISION", "DIVISION", "FOV")
        return harmless and not any(self.numbers)

    def stated(self) -> dict[str, Any]:
        """The keys that state it in ``capture.json``."""
        return {"camera_model": self.model, **dict(zip(COEFFICIENTS[self.model], self.numbers, strict=True))}


def read_lens(table: Mapping[str, Any], where: str, complaints: Complaints) -> Lens | None:
    """The lens that the keys of ``table`` state; None when none of them says anything, or after a complaint.

    ``where`` is put before each sentence. Without ``camera_model`` it is OpenCV's: the fisheye if ``is_fisheye`` says
    so, the rational one where ``k5`` or ``k6`` are there.
    """
    model = _model(table, where, complaints)
    asked = [key for key in LENS_NUMBERS if key not in _COMMON or key in COEFFICIENTS.get(model or "", ())]
    numbers = _numbers(table, asked, where, complaints)
    silent = not any(table.get(key) is not None for key in ("camera_model", "is_fisheye", *asked))
    if numbers is None or model is None or silent:
        return None
    if model in _BROWN:
        rational = "k5" in numbers or "k6" in numbers
        fitting = (name for name in (model, *_BROWN) if _has_all(name, numbers))
        model = "FULL_OPENCV" if rational else next(fitting, model)
    if not _has_all(model, numbers):
        more = next(key for key, value in numbers.items() if value and key not in COEFFICIENTS[model])
        complaints.add("calib", f"{where}{more} is stated, and camera_model {model} has no {more}.", _FIX)
        return None
    return Lens(model, tuple(numbers.get(key, 0.0) for key in COEFFICIENTS[model]))


def _has_all(model: str, numbers: Mapping[str, float]) -> bool:
    """Whether a model has every coefficient that is not 0."""
    return all(key in COEFFICIENTS[model] for key, value in numbers.items() if value)


def _numbers(
    table: Mapping[str, Any], keys: Iterable[str], where: str, complaints: Complaints
) -> dict[str, float] | None:
    read: dict[str, float] = {}
    sound = True
    for key in keys:
        value = table.get(key)
        number = as_float(value) if is_number(value) else None
        if number is not None:
            read[key] = number
        elif value is not None:
            sound = False
            if not (isinstance(value, float) and not math.isfinite(value)):  # NaN was complained about already
                wrong(f"{where}{key}", value, "a finite number", complaints, "calib")
    return read if sound else None


def _model(table: Mapping[str, Any], where: str, complaints: Complaints) -> str | None:
    stated, fisheye = table.get("camera_model"), table.get("is_fisheye") is True
    if stated is None:
        return "OPENCV_FISHEYE" if fisheye else "PINHOLE"
    model = stated.upper() if isinstance(stated, str) else ""
    if model not in COEFFICIENTS:
        message = f"{where}camera model {short(stated)} is none that Meshdrop can undo."
        known = ", ".join(COEFFICIENTS)
        complaints.add("calib", message, f"Undistort the pictures to a pinhole first. Known are: {known}.")
        return None
    if fisheye and "FISHEYE" not in model:
        complaints.add("calib", f"{where}is_fisheye is true, and camera_model {model} is no fisheye.", _FIX)
        return None
    return model
