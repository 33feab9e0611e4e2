"""Cameras of a Polycam raw export: one JSON file a picture, below ``keyframes/``.

The pose is ARKit's: camera-to-world in twelve numbers ``t_00`` ... ``t_23``, OpenGL axes, metres, +Y up; intrinsics in
pixels of the picture, and a lens under nerfstudio's keys where one is stated. ``corrected_cameras`` belong to
``corrected_images``, which Polycam undistorted and placed again; they are read where they are as many, and never mixed
with the uncorrected ones. Depth is the phone's own, 16-bit in millimetres, planar, of the same field of view in fewer
pixels.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from meshdrop.models.axes.conventions import CONVENTIONS
from meshdrop.models.files.names import last_of
from meshdrop.models.files.pictures import suffixes
from meshdrop.models.files.problem import Problem
from meshdrop.models.formats.formats import Cameras, Folder
from meshdrop.models.formats.json_table import Complaints, as_float, is_number, load_object
from meshdrop.models.formats.lens import read_lens
from meshdrop.models.formats.sidecar import Intrinsics, Matrix, Sidecar, StatedFrame

#: Folder of cameras and of the pictures they belong to, the better ones first.
_PAIRS = (("corrected_cameras/", "corrected_images/"), ("cameras/", "images/"))
_BASE = "keyframes/"
_CAMERAS = (".json",)
_PICTURES = tuple(f".{ending}" for ending in suffixes("image"))
_POSE = tuple(tuple(f"t_{row}{column}" for column in range(4)) for row in range(3))
_INTRINSICS = {"w": "width", "h": "height", "fl_x": "fx", "fl_y": "fy", "cx": "cx", "cy": "cy"}
_FIX = "Export the scan again (Polycam: raw data)."


def roots(names: Collection[str]) -> set[str]:
    """Folders that hold ``keyframes/`` with cameras in it."""
    found = set()
    for name in names:
        for cameras, _ in _PAIRS:
            root, inside, last = name.partition(f"keyframes/{cameras}")
            if inside and last.casefold().endswith(_CAMERAS) and (not root or root.endswith("/")):
                found.add(root)
    return found


def read(folder: Folder) -> Cameras:
    """Every camera of the set that has most pictures. A camera that a picture lacks is awaited, and then done without;
    so is a picture that a camera lacks.
    """
    cameras, images = _fullest(folder)
    stems, pictured = _stems(folder, cameras, _CAMERAS), _stems(folder, images, _PICTURES)
    files = tuple(stems.get(stem, f"{cameras}{stem}.json") for stem in sorted({*stems, *pictured}))
    has_depth, has_masks = folder.has(f"{_BASE}depth/"), folder.has(f"{_BASE}masks/")
    problems: list[Problem] = []
    frames, begun = [], []
    most = left = folder.limits.max_cameras_bytes
    for stem, file in sorted(stems.items()):
        if left < 0:
            problems.insert(0, Problem("sidecar", None, f"The cameras have more than {most:,} bytes together.", _FIX))
            break
        complaints = Complaints(folder.root + file)
        content = folder.content(file)
        left -= len(content)
        begun += [] if content.strip(b"\0") else [file]
        found = _camera(content, complaints, folder.limits.max_sidecar_bytes)
        problems += complaints.told()
        if found is not None:
            picture = pictured.get(stem) or f"{images}{stem}.jpg"
            depth = f"{_BASE}depth/{stem}.png" if has_depth else None
            mask = f"{_BASE}masks/{stem}.png" if has_masks else None
            frames.append(StatedFrame(picture, depth, mask, *found, source=file))
    if stems and not (begun or problems) and stems.keys() >= pictured.keys() and len(frames) < folder.limits.min_views:
        message = f"The scan has {len(frames)} pictures; a capture has {folder.limits.min_views} or more."
        problems.append(Problem("set", None, message, "Take more pictures."))
    stated = Sidecar(
        frames=tuple(frames) if not begun else (),
        depth_unit_m=0.001,
        coarse_depth=True,
        format_up=CONVENTIONS["polycam"].up,
    )
    notes = _passed_over(folder, cameras, len(frames))
    spare = tuple(f"{cameras}{stem}.json" for stem in sorted(pictured.keys() - stems.keys()))
    return Cameras("polycam", files, stated, tuple(problems[:20]), tuple(begun), notes, open_ended=True, spare=spare)


def _stems(folder: Folder, place: str, endings: tuple[str, ...]) -> dict[str, str]:
    """Files in a folder with these endings, in any case, by their names without ending."""
    inside = (name for name in sorted(folder.names) if name.startswith(place) and last_of(name).endswith(endings))
    found = {name[len(place) :].rpartition(".")[0]: name for name in inside}
    return {stem: name for stem, name in found.items() if stem}


def _paired(folder: Folder, cameras: str, images: str) -> int:
    """How many pictures of a set have a camera."""
    return len(_stems(folder, cameras, _CAMERAS).keys() & _stems(folder, images, _PICTURES).keys())


def _fullest(folder: Folder) -> tuple[str, str]:
    """Folders of cameras and pictures of the set with most pictures that have a camera; the corrected one of equals."""
    pairs = [(_BASE + cameras, _BASE + images) for cameras, images in _PAIRS if folder.has(_BASE + cameras)]
    return max(pairs, key=lambda pair: _paired(folder, *pair))


def _passed_over(folder: Folder, taken: str, frames: int) -> tuple[str, ...]:
    """The corrected cameras where the uncorrected ones are more."""
    corrected = _BASE + _PAIRS[0][0]
    if taken == corrected or not folder.has(corrected):
        return ()
    fewer = _paired(folder, corrected, _BASE + _PAIRS[0][1])
    return (
        f"Polycam corrected only {fewer} of {frames} pictures: the uncorrected ones are used for all, with their "
        "cameras.",
    )


def _camera(content: bytes, complaints: Complaints, most: int) -> tuple[Matrix, Intrinsics] | None:
    if not content.strip(b"\0"):
        return None
    table = load_object(content, complaints, most)
    if table is None:
        return None
    rows = [[_number(table, key, complaints) for key in row] for row in _POSE]
    read = {ours: _number(table, theirs, complaints) for ours, theirs in _INTRINSICS.items()}
    if complaints.count:
        return None
    if not all(read[key] > 0 for key in ("w", "h", "fl_x", "fl_y")):
        complaints.add("calib", "Size and focal length must be above 0.", _FIX)
        return None
    lens = read_lens(table, "", complaints)
    if complaints.count:
        return None
    matrix = (*(tuple(row) for row in rows), (0.0, 0.0, 0.0, 1.0))
    return matrix, Intrinsics(**read, lens=lens)


def _number(table: dict[str, Any], key: str, complaints: Complaints) -> float:
    value = table.get(key)
    number = as_float(value) if is_number(value) else None
    if number is None:
        complaints.add("calib", f"{key} is no finite number, and must be one.", _FIX)
        return 0.0
    return number
