"""Cameras of the 3d Scanner App (Laan Labs, "All Data"): one ``frame_00000.json`` a picture.

3dscannerapp.com; read alike by nerfstudio's issue 3464 and by github.com/pwais/psegs: ``cameraPoseARFrame`` are the
sixteen numbers of a camera-to-world matrix, row by row, ARKit's axes (OpenGL, +Y up), metres; ``intrinsics`` the nine
of the camera matrix, row by row. ``frame_00000.jpg`` is the picture, ``depth_00000.png`` its depth of the LiDAR, 16-bit
in millimetres, of the same field of view in fewer pixels. The app saves more poses than pictures.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Any

from meshdrop.models.axes.conventions import CONVENTIONS
from meshdrop.models.formats.formats import Cameras, Folder
from meshdrop.models.formats.json_table import Complaints, as_float, is_number, load_object
from meshdrop.models.formats.sidecar import Intrinsics, Matrix, Sidecar, StatedFrame

_FRAME = re.compile(r"frame_(\d{1,9})\.json")
_FIX = 'Export the scan again (3d Scanner App: "All Data").'


def roots(names: Collection[str]) -> set[str]:
    """Folders with ``frame_NUMBER.json`` in them."""
    return {name[: name.rfind("/") + 1] for name in names if _FRAME.fullmatch(name.rpartition("/")[2])}


def read(folder: Folder) -> Cameras:
    """Every frame that has a picture, and the cameras of those whose picture may still come."""
    pictured = [name for name in folder.names if name.startswith("frame_") and name.endswith(".jpg")]
    files = sorted(name for name in folder.names if _FRAME.fullmatch(name))
    # The app saves a pose many times a second, and a picture now and then.
    files = [file for file in files if not pictured or f"{file[:-5]}.jpg" in folder.names]
    has_depth = any(name.startswith("depth_") and name.endswith(".png") for name in folder.names)
    complaints = Complaints(folder.root + (files[0] if files else "frame_00000.json"))
    frames: list[StatedFrame] = []
    begun: list[str] = []
    left = folder.limits.max_cameras_bytes
    for file in files:
        content = folder.content(file)
        left -= len(content)
        if left < 0:
            complaints.add("sidecar", "The cameras have too many bytes together.", _FIX)
            break
        if not content.strip(b"\0"):
            begun.append(file)
            continue
        frame = _frame(folder, file, content, complaints, has_depth=has_depth)
        frames += [frame] if frame is not None else []
    stated = Sidecar(
        frames=() if begun or complaints.count else tuple(frames),
        depth_unit_m=0.001,
        coarse_depth=True,
        format_up=CONVENTIONS["3d-scanner-app"].up,
    )
    belonging = tuple(files)
    return Cameras("3d-scanner-app", belonging, stated, complaints.told(), tuple(begun), open_ended=True)


def _frame(folder: Folder, file: str, content: bytes, complaints: Complaints, *, has_depth: bool) -> StatedFrame | None:
    table = load_object(content, complaints, folder.limits.max_sidecar_bytes)
    if table is None:
        return None
    values, K = _numbers(table, "cameraPoseARFrame", 16), _numbers(table, "intrinsics", 9)
    if values is None or K is None or min(K[0], K[4]) <= 0:
        complaints.add(
            "calib", f"3d Scanner App: {file} has no cameraPoseARFrame of 16 numbers and intrinsics of 9.", _FIX
        )
        return None
    matrix: Matrix = tuple(tuple(values[start : start + 4]) for start in range(0, 16, 4))
    stem = file[:-5]
    depth = f"depth_{stem.removeprefix('frame_')}.png" if has_depth else None
    return StatedFrame(
        folder.picture(stem) or f"{stem}.jpg",
        depth,
        None,
        matrix,
        Intrinsics(fl_x=K[0], fl_y=K[4], cx=K[2], cy=K[5]),
        source=file,
    )


def _numbers(table: dict[str, Any], key: str, count: int) -> list[float] | None:
    value = table.get(key)
    if not isinstance(value, list) or len(value) != count:
        return None
    found = [number for item in value if is_number(item) and (number := as_float(item)) is not None]
    return found if len(found) == count else None
