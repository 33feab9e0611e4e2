"""Cameras of RGB-D frames as 7-Scenes and tsdf-fusion have them: a ``.pose.txt`` beside each picture.

Microsoft Research, "RGB-D Dataset 7-Scenes": ``frame-000000.color.png``, ``.depth.png`` (16 bit, millimetres, 65535 is
nothing) and ``.pose.txt``, camera-to-world in sixteen numbers, metres, OpenCV axes. tsdf-fusion (github.com/andyzeng)
adds ``camera-intrinsics.txt``, nine numbers, there or in the folder above; without that file the intrinsics must be
stated. Pixels are counted from the centre of the first one, hence the half pixel. Where the tracker was lost a pose
holds NaN or infinity: such a frame is none.
"""

from __future__ import annotations

import math
from collections.abc import Collection

from meshdrop.models.axes.conventions import CONVENTIONS
from meshdrop.models.files.names import last_of, listing
from meshdrop.models.files.problem import Problem
from meshdrop.models.formats.formats import Cameras, Folder
from meshdrop.models.formats.json_table import Complaints
from meshdrop.models.formats.number_text import numbers
from meshdrop.models.formats.sidecar import Intrinsics, Matrix, Sidecar, StatedFrame

_POSE = ".pose.txt"
_INTRINSICS = "camera-intrinsics.txt"
_UNSTATED = "7-Scenes: there is no camera-intrinsics.txt beside the frames, or in the folder above them."
_STATE = (
    "State w, h, fl_x, fl_y, cx and cy in capture.json (for Microsoft's 7-Scenes 640, 480, 585, 585, 320.5, 240.5), or "
    "add that file."
)
_AGAIN = "Write sixteen numbers, four a line: the camera-to-world matrix."


def roots(names: Collection[str]) -> set[str]:
    """The folder around all poses, and around the intrinsics beside or above them."""
    poses = {name[: name.rfind("/") + 1] for name in names if last_of(name).endswith(_POSE)}
    above = {folder[: folder.rfind("/", 0, -1) + 1] for folder in poses if folder}
    outer = {folder for folder in above if f"{folder}{_INTRINSICS}" in names}
    return outer | {folder for folder in poses if not folder.startswith(tuple(outer) or "\0")}


def read(folder: Folder) -> Cameras:
    """Every frame that has a pose."""
    files = sorted(name for name in folder.names if last_of(name).endswith(_POSE))
    intrinsics, begun, problems = _intrinsics(folder)
    frames: list[StatedFrame] = []
    lost: list[str] = []
    complaints = Complaints(folder.root + files[0])
    left = folder.limits.max_cameras_bytes
    has_depth = any(name.endswith(".depth.png") for name in folder.names)
    for file in files:
        content = folder.content(file)
        left -= len(content)
        if left < 0:
            complaints.add("sidecar", "The poses have too many bytes together.", "Leave out what is no pose.")
            break
        found = numbers(content, 16)
        if found is None and (not content.strip(b"\0") or len(content.split(None, 16)) < 16):
            begun.append(file)
        elif found is None:
            complaints.add("calib", f"{file} does not hold sixteen numbers.", _AGAIN)
        elif not all(math.isfinite(value) for value in found):
            lost.append(file)
        else:
            frames.append(_frame(folder, file, found, intrinsics, has_depth=has_depth))
    stated = Sidecar(
        frames=() if begun or complaints.count else tuple(frames),
        camera_axes="opencv",
        pose="camera_to_world",
        depth_unit_m=0.001,
        coarse_depth=True,
        format_up=CONVENTIONS["7-scenes"].up,
    )
    shared = (intrinsics[0],) if intrinsics[0] else ()
    belonging = (*shared, *(frame.source for frame in frames if frame.source), *begun)
    told = (*problems, *complaints.told())
    lacking = None if intrinsics[0] else Problem("calib", None, _UNSTATED, _STATE)
    return Cameras(
        "7-scenes", belonging, stated, told, tuple(begun), _notes(lost), open_ended=True, unless_stated=lacking
    )


def _intrinsics(folder: Folder) -> tuple[tuple[str | None, Intrinsics], list[str], tuple[Problem, ...]]:
    """The file of intrinsics and what it states; whether it is there in part; what is wrong with it."""
    file = next((name for name in sorted(folder.names, key=len) if last_of(name) == _INTRINSICS), None)
    if file is None:
        return (None, Intrinsics()), [], ()
    content = folder.content(file)
    found = numbers(content, 9)
    if found is None and len(content.split(None, 9)) < 9:
        return (file, Intrinsics()), [file], ()
    complaints = Complaints(folder.root + file)
    if found is None or not all(math.isfinite(value) for value in found) or min(found[0], found[4]) <= 0:
        fix = "Write fx 0 cx, 0 fy cy, 0 0 1, in pixels."
        complaints.add("calib", "The file does not hold the nine numbers of a camera matrix.", fix)
        return (file, Intrinsics()), [], complaints.told()
    return (file, Intrinsics(fl_x=found[0], fl_y=found[4], cx=found[2] + 0.5, cy=found[5] + 0.5)), [], ()


def _frame(
    folder: Folder, file: str, found: tuple[float, ...], intrinsics: tuple[str | None, Intrinsics], *, has_depth: bool
) -> StatedFrame:
    stem = file[: -len(_POSE)]
    matrix: Matrix = tuple(found[start : start + 4] for start in range(0, 16, 4))
    picture = folder.picture(f"{stem}.color") or folder.picture(stem) or f"{stem}.color.png"
    depth = f"{stem}.depth.png" if has_depth else None
    return StatedFrame(picture, depth, None, matrix, intrinsics[1], source=file)


def _notes(lost: list[str]) -> tuple[str, ...]:
    if not lost:
        return ()
    return (f"{len(lost)} frames have no pose, because their tracker was lost: {listing(lost)}.",)
