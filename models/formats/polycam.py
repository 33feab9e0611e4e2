"""Cameras of a Polycam raw export: one JSON file a picture, below ``keyframes/``.

The pose is ARKit's: camera-to-world in twelve numbers ``t_00`` ... ``t_23``, OpenGL axes, metres, +Y up; intrinsics in
pixels of the picture, and a lens under nerfstudio's keys where one is stated. ``corrected_cameras`` belong to
``corrected_images``, which Polycam undistorted and placed again; they are read where they are there, and never mixed
with the uncorrected ones. Depth is the phone's own, 16-bit in millimetres, planar, of the same field of view in fewer
pixels.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from meshdrop.models.axes.conventions import CONVENTIONS
from meshdrop.models.files.problem import Problem
from meshdrop.models.formats.formats import Cameras, Folder
from meshdrop.models.formats.json_table import Complaints, as_float, is_number, load_object
from meshdrop.models.formats.lens import read_lens
from meshdrop.models.formats.sidecar import Intrinsics, Matrix, Sidecar, StatedFrame

#: Folder of cameras and of the pictures they belong to, the better ones first.
_PAIRS = (("corrected_cameras/", "corrected_images/"), ("cameras/", "images/"))
_POSE = tuple(tuple(f"t_{row}{column}" for column in range(4)) for row in range(3))
_INTRINSICS = {"w": "width", "h": "height", "fl_x": "fx", "fl_y": "fy", "cx": "cx", "cy": "cy"}
_FIX = "Export the scan again (Polycam: raw data)."


def roots(names: Collection[str]) -> set[str]:
    """Folders that hold ``keyframes/`` with cameras in it."""
    found = set()
    for name in names:
        for cameras, _ in _PAIRS:
            root, inside, last = name.partition(f"keyframes/{cameras}")
            if inside and last.endswith(".json") and (not root or root.endswith("/")):
                found.add(root)
    return found


def read(folder: Folder) -> Cameras:
    """Every camera with its picture. A picture without camera, or a camera without picture, is awaited."""
    base = "keyframes/"
    cameras, images = next(
        ((base + cameras, base + images) for cameras, images in _PAIRS if folder.has(base + cameras)), ("", "")
    )
    stems = {name[len(cameras) : -5] for name in folder.names if name.startswith(cameras) and name.endswith(".json")}
    pictured = {name[len(images) :].rpartition(".")[0] for name in folder.names if name.startswith(images)}
    stems |= {stem for stem in pictured if stem}
    files = tuple(f"{cameras}{stem}.json" for stem in sorted(stems))
    has_depth, has_masks = folder.has(f"{base}depth/"), folder.has(f"{base}masks/")
    problems: list[Problem] = []
    frames, begun = [], []
    most = left = folder.limits.max_cameras_bytes
    for stem, file in zip(sorted(stems), files, strict=True):
        if file not in folder.names:
            continue
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
            picture = folder.picture(images + stem, ("jpg", "jpeg", "png")) or f"{images}{stem}.jpg"
            depth = f"{base}depth/{stem}.png" if has_depth else None
            mask = f"{base}masks/{stem}.png" if has_masks else None
            frames.append(StatedFrame(picture, depth, mask, *found))
    whole = len(frames) == len(stems)
    if whole and len(frames) < folder.limits.min_views:
        message = f"The scan has {len(frames)} pictures; a capture has {folder.limits.min_views} or more."
        problems.append(Problem("set", None, message, "Take more pictures."))
    stated = Sidecar(
        frames=tuple(frames) if whole else (),
        depth_unit_m=0.001,
        coarse_depth=True,
        format_up=CONVENTIONS["polycam"].up,
    )
    return Cameras("polycam", files, stated, tuple(problems[:20]), tuple(begun), _notes(folder), open_ended=True)


def _notes(folder: Folder) -> tuple[str, ...]:
    if folder.has("keyframes/masks/"):
        return ()
    return (
        "A Polycam scan has no masks: what its depth measured is taken for the object, ground and walls too. Put masks "
        "into keyframes/masks/, named like the pictures, to cut the object out.",
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
