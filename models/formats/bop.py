"""Cameras of a scene in the BOP format (https://bop.felk.cvut.cz): ``scene_camera.json`` beside ``rgb/``.

Poses are world-to-camera, OpenCV axes, translations in millimetres; ``depth_scale`` is millimetres a count. ``cam_K``
counts pixels from the centre of the first one, as OpenCV does; here its centre is (0.5, 0.5), hence the half pixel.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from meshdrop.models.axes.conventions import CONVENTIONS
from meshdrop.models.formats.formats import Cameras, Folder
from meshdrop.models.formats.json_table import Complaints, as_float, is_number, load_object, wrong
from meshdrop.models.formats.sidecar import Intrinsics, Matrix, Sidecar, StatedFrame

FILE = "scene_camera.json"
_NO_POSE = (
    "Give it cam_R_w2c and cam_t_w2c; for a scene of one object, cam_R_m2c and cam_t_m2c of scene_gt.json will do."
)


def roots(names: Collection[str]) -> set[str]:
    """Folders with a ``scene_camera.json``."""
    return {name[: -len(FILE)] for name in names if name.rpartition("/")[2] == FILE}


def read(folder: Folder) -> Cameras:
    """Every picture that the file lists."""
    content = folder.content(FILE)
    if not content.strip(b"\0"):
        return Cameras("bop", (FILE,), begun=(FILE,))
    complaints = Complaints(folder.root + FILE)
    table = load_object(content, complaints, folder.limits.max_cameras_bytes) or {}
    low, high = folder.limits.min_views, folder.limits.max_entries
    if not complaints.count and not low <= len(table) <= high:
        fix = "Take more views." if len(table) < low else "Send fewer views."
        complaints.add("set", f"The file lists {len(table)} pictures; a capture has {low} to {high}.", fix)
    frames: list[StatedFrame] = []
    units: set[float] = set()
    if not complaints.count:
        masks = _masks(folder)
        for key in sorted(table, key=lambda key: (len(key), key)):
            frame = _frame(key, table[key], folder, masks, units, complaints)
            frames += [frame] if frame is not None else []
        if len(units) > 1:
            complaints.add("sidecar", "The pictures have different values of depth_scale.", "Write depth in one unit.")
    stated = Sidecar(
        frames=() if complaints.count else tuple(frames),
        camera_axes="opencv",
        pose="world_to_camera",
        depth_unit_m=next(iter(units)) / 1000 if units else None,
        format_up=CONVENTIONS["bop"].up,
    )
    return Cameras("bop", (FILE,), stated, complaints.told(), notes=_notes(folder))


def _notes(folder: Folder) -> tuple[str, ...]:
    if folder.has("mask_visib/") or folder.has("mask/"):
        return ()
    return ("The scene has no masks: what its depth measured is taken for the object, the table too.",)


def _frame(
    key: str, entry: Any, folder: Folder, masks: dict[str, list[str]], units: set[float], complaints: Complaints
) -> StatedFrame | None:
    if not (key.isascii() and key.isdigit() and len(key) < 10) or not isinstance(entry, dict):
        wrong(f"{key!r:.20}", entry, "a picture's number with its camera", complaints)
        return None
    stem = f"{int(key):06d}"
    matrix, intrinsics = _pose(key, entry, complaints), _intrinsics(key, entry, complaints)
    depth = f"depth/{stem}.png" if folder.has("depth/") else None
    if depth is not None:
        scale = _numbers(entry.get("depth_scale", 1.0), 1)
        if scale is None or not 1e-6 < scale[0] < 1e6:
            wrong(f"{key}.depth_scale", entry.get("depth_scale"), "millimetres a count, above 0", complaints, "calib")
        else:
            units.add(scale[0])
    objects = masks.get(stem, [])
    if len(objects) > 1:
        message = f"Picture {stem} has masks of {len(objects)} objects."
        complaints.add("semantic", message, "Leave the masks of one object in the scene: the one to be reconstructed.")
    if matrix is None or intrinsics is None or len(objects) > 1:
        return None
    mask = (objects[0] if objects else f"{_mask_folder(folder)}{stem}_000000.png") if masks else None
    picture = folder.picture(f"rgb/{stem}") or f"rgb/{stem}.png"
    return StatedFrame(picture, depth, mask, matrix, intrinsics)


def _mask_folder(folder: Folder) -> str:
    """The whole of an object, where somebody tells it from what others leave visible: what they hide is no hole."""
    return "mask/" if folder.has("mask/") or not folder.has("mask_visib/") else "mask_visib/"


def _masks(folder: Folder) -> dict[str, list[str]]:
    """Masks by picture: ``mask_visib/000003_000000.png`` is of picture 3."""
    found: dict[str, list[str]] = {}
    place = _mask_folder(folder)
    for name in sorted(folder.names):
        if name.startswith(place) and name.endswith(".png"):
            found.setdefault(name[len(place) :].partition("_")[0].removesuffix(".png"), []).append(name)
    return found


def _pose(key: str, entry: dict[str, Any], complaints: Complaints) -> Matrix | None:
    if "cam_R_w2c" not in entry or "cam_t_w2c" not in entry:
        complaints.add("calib", f"Picture {key} has no camera pose: the file states intrinsics only.", _NO_POSE)
        return None
    R, t = _numbers(entry["cam_R_w2c"], 9), _numbers(entry["cam_t_w2c"], 3)
    if R is None or t is None:
        wrong(f"{key}.cam_R_w2c or cam_t_w2c", None, "9 and 3 finite numbers", complaints, "calib")
        return None
    return (*((*R[row : row + 3], t[row // 3] / 1000) for row in (0, 3, 6)), (0.0, 0.0, 0.0, 1.0))


def _intrinsics(key: str, entry: dict[str, Any], complaints: Complaints) -> Intrinsics | None:
    K = _numbers(entry.get("cam_K"), 9)
    if K is None or K[0] <= 0 or K[4] <= 0 or any(K[index] != 0 for index in (1, 3, 6, 7)) or K[8] != 1:
        wrong(f"{key}.cam_K", entry.get("cam_K"), "9 numbers: fx 0 cx 0 fy cy 0 0 1", complaints, "calib")
        return None
    return Intrinsics(fl_x=K[0], fl_y=K[4], cx=K[2] + 0.5, cy=K[5] + 0.5)


def _numbers(value: Any, count: int) -> list[float] | None:
    values = value if isinstance(value, list) else [value]
    read = [as_float(item) if is_number(item) else None for item in values]
    numbers = [number for number in read if number is not None]
    return numbers if len(numbers) == len(read) == count else None
