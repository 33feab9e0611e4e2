"""Cameras of Record3D: ``metadata.json`` beside ``rgb/`` (export as EXR + RGB), ``metadata`` beside ``rgbd/`` (.r3d).

record3d.app and its readers (github.com/marek-simonik/record3d; nerfstudio, ``record3d_utils.py``): ``poses`` are seven
numbers a picture, ``qx qy qz qw px py pz``, camera-to-world, ARKit's axes (OpenGL, +Y up), metres; ``K`` is the camera
matrix column by column, for pictures of ``w`` x ``h``. Pictures are numbered from 0. Depth is OpenEXR in metres, or, in
an .r3d, compressed by LZFSE, which is not read.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from meshdrop.models.axes.conventions import CONVENTIONS
from meshdrop.models.files.names import last_of, outer_folders
from meshdrop.models.files.pictures import suffixes
from meshdrop.models.formats.formats import Cameras, Folder
from meshdrop.models.formats.json_table import Complaints, as_float, is_number, load_object
from meshdrop.models.formats.quaternions import pose
from meshdrop.models.formats.sidecar import Intrinsics, Sidecar, StatedFrame

_PLACES = (("metadata.json", "rgb/"), ("metadata", "rgbd/"))
_FIX = 'Export the recording again from Record3D (as "EXR + RGB").'


def roots(names: Collection[str]) -> set[str]:
    """Folders with the one or the other pair."""
    folders = {folder for name in names for folder in outer_folders(name)}
    return {
        name[: -len(file)]
        for name in names
        for file, pictures in _PLACES
        if name.rpartition("/")[2] == file and name[: -len(file)] + pictures in folders
    }


def read(folder: Folder) -> Cameras:
    """Every picture that has a pose."""
    file, pictures = next(pair for pair in _PLACES if pair[0] in folder.names and folder.has(pair[1]))
    content = folder.content(file)
    if not content.strip(b"\0"):
        return Cameras("record3d", (file,), begun=(file,))
    complaints = Complaints(folder.root + file)
    table = load_object(content, complaints, folder.limits.max_cameras_bytes) or {}
    intrinsics = _intrinsics(table, complaints) if not complaints.count else Intrinsics()
    poses = table.get("poses")
    if not complaints.count and (not isinstance(poses, list) or not poses):
        complaints.add("sidecar", "Record3D: the file has no poses.", _FIX)
    frames: list[StatedFrame] = []
    for index, entry in enumerate(poses if isinstance(poses, list) and not complaints.count else ()):
        values = _numbers(entry, 7)
        matrix = pose(values[:4], values[4:]) if values is not None else None
        if matrix is None:
            complaints.add("calib", f"poses[{index}] is no turn and place of seven numbers.", _FIX)
            continue
        picture = folder.picture(f"{pictures}{index}", suffixes("image")) or f"{pictures}{index}.jpg"
        frames.append(
            StatedFrame(picture, folder.picture(f"depth/{index}", suffixes("depth")), None, matrix, intrinsics)
        )
    stated = Sidecar(
        frames=() if complaints.count else tuple(frames),
        depth_unit_m=1.0,
        coarse_depth=True,
        format_up=CONVENTIONS["record3d"].up,
    )
    return Cameras("record3d", (file,), stated, complaints.told(), notes=_notes(folder, frames))


def _notes(folder: Folder, frames: list[StatedFrame]) -> tuple[str, ...]:
    if any(frame.depth for frame in frames):
        return ()
    if any(last_of(name).endswith((".depth", ".exr")) for name in folder.names):
        kind = "an .r3d" if folder.has("rgbd/") else "OpenEXR"
        return (f"Record3D: depth as {kind} has it is not read; the photographs and their cameras are.",)
    return ()


def _intrinsics(table: dict[str, Any], complaints: Complaints) -> Intrinsics:
    K, size = _numbers(table.get("K"), 9), _numbers([table.get("w"), table.get("h")], 2)
    if K is None or size is None or min(K[0], K[4], *size) <= 0:
        complaints.add("calib", "Record3D: the file has no camera matrix K with the pictures' size w and h.", _FIX)
        return Intrinsics()
    return Intrinsics(w=size[0], h=size[1], fl_x=K[0], fl_y=K[4], cx=K[6], cy=K[7])


def _numbers(value: Any, count: int) -> list[float] | None:
    if not isinstance(value, list) or len(value) != count:
        return None
    found = [number for item in value if is_number(item) and (number := as_float(item)) is not None]
    return found if len(found) == count else None
