"""Cameras of a TUM RGB-D sequence: ``rgb.txt``, ``depth.txt`` and ``groundtruth.txt``.

cvg.cit.tum.de, "RGB-D SLAM Dataset", File Formats: lines of a time in seconds and a file, or of a time and
``tx ty tz qx qy qz qw``, camera-to-world of the colour camera, OpenCV axes, metres. Depth is 16-bit, 5,000 counts a
metre, in the colour picture's place. Times are those of three clocks, and what lies within 0.02 s belongs together, as
in the data set's own ``associate.py``.

The intrinsics stand on the data set's page and in no file. They must be stated, since nothing here says which of the
three cameras it was.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Collection, Sequence
from typing import TypeVar

from meshdrop.models.axes.conventions import CONVENTIONS
from meshdrop.models.files.names import last_of
from meshdrop.models.files.problem import Problem
from meshdrop.models.formats.formats import Cameras, Folder
from meshdrop.models.formats.json_table import Complaints
from meshdrop.models.formats.number_text import is_cut, number, rows
from meshdrop.models.formats.quaternions import pose
from meshdrop.models.formats.sidecar import Intrinsics, Matrix, Sidecar, StatedFrame, tidy_path

_T = TypeVar("_T")
_PICTURES, _DEPTH, _POSES = "rgb.txt", "depth.txt", "groundtruth.txt"
_APART_S = 0.02
_UNIT_M = 1 / 5000
_AGAIN = "Copy the file again as the data set has it."
_UNSTATED = "TUM RGB-D: the intrinsics of a sequence stand in none of its files."
_CAMERAS = (
    "State w, h, fl_x, fl_y, cx and cy in capture.json: freiburg1 640, 480, 517.3, 516.5, 319.1, 255.8; freiburg2 640, "
    "480, 520.9, 521.0, 325.6, 250.2; freiburg3 640, 480, 535.4, 539.2, 320.6, 248.1 (half a pixel added to cx, cy)."
)


def roots(names: Collection[str]) -> set[str]:
    """Folders with a list of pictures and a trajectory."""
    return {
        name[: -len(_POSES)]
        for name in names
        if name.rpartition("/")[2] == _POSES and f"{name[: -len(_POSES)]}{_PICTURES}" in names
    }


def read(folder: Folder) -> Cameras:
    """Every picture with the pose, and the depth, that were taken nearest to it."""
    base = min((name for name in folder.names if last_of(name) == _POSES), key=len)[: -len(_POSES)]
    files = tuple(base + name for name in (_PICTURES, _POSES, _DEPTH) if base + name in folder.names)
    contents = {file: folder.content(file) for file in files}
    if begun := tuple(file for file, content in contents.items() if is_cut(content)):
        return Cameras("tum", files, begun=begun)
    complaints = Complaints(folder.root + base + _POSES)
    most = folder.limits.max_cameras_bytes
    if any(len(content) > most for content in contents.values()):
        complaints.add("sidecar", f"A list has more than {most:,} bytes.", "Send a shorter sequence.")
    pictures = _files(contents[base + _PICTURES], base)
    depth = _files(contents.get(base + _DEPTH, b""), base)
    poses = _poses(contents[base + _POSES])
    frames, lacking = [], 0
    for time, picture in pictures:
        matrix, measured = _nearest(time, poses), _nearest(time, depth)
        if matrix is None or (depth and measured is None):
            lacking += 1
            continue
        frames.append(StatedFrame(picture, measured, None, matrix, Intrinsics()))
    if not complaints.count and not folder.limits.min_views <= len(frames) <= folder.limits.max_entries:
        message = f"Of {len(pictures)} pictures {len(frames)} have a pose within {_APART_S} s."
        complaints.add("set", message, _AGAIN)
    stated = Sidecar(
        frames=() if complaints.count else tuple(frames),
        camera_axes="opencv",
        pose="camera_to_world",
        depth_unit_m=_UNIT_M,
        format_up=CONVENTIONS["tum"].up,
    )
    left = (f"{lacking} of {len(pictures)} pictures have no pose or depth within {_APART_S} s: left out.",)
    return Cameras(
        "tum",
        files,
        stated,
        complaints.told(),
        notes=left if lacking else (),
        open_ended=True,
        unless_stated=Problem("calib", None, _UNSTATED, _CAMERAS),
    )


def _files(content: bytes, base: str) -> list[tuple[float, str]]:
    """(time, path) of each line that has both, in the order of time."""
    found = []
    for words in rows(content):
        time = number(words[0])
        path = tidy_path(words[1].decode("utf-8", "replace")) if len(words) == 2 else None
        if time is not None and path is not None:
            found.append((time, base + path))
    return sorted(found)


def _poses(content: bytes) -> list[tuple[float, Matrix]]:
    found = []
    for words in rows(content):
        values = [value for value in (number(word) for word in words[:8]) if value is not None]
        matrix = pose(values[4:8], values[1:4]) if len(values) == len(words) == 8 else None
        if matrix is not None:
            found.append((values[0], matrix))
    return sorted(found)


def _nearest(time: float, among: Sequence[tuple[float, _T]]) -> _T | None:
    """What was taken nearest to ``time``, if that is near enough; ``among`` is in the order of time."""
    at = bisect_left(among, time, key=lambda one: one[0])
    near = min(among[max(0, at - 1) : at + 1], key=lambda one: abs(one[0] - time), default=None)
    return near[1] if near is not None and abs(near[0] - time) <= _APART_S else None
