"""Read ``capture.json`` and ``transforms.json`` into one checked value. Standard library only.

The daemon's settle rule calls this on files that strangers wrote, perhaps while they are still being written: it
never raises on content, is bounded by ``most_sidecar_bytes``, and answers with plain sentences.
The meaning of each key is in ``docs/capture-format.md``.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from meshdrop.models.axes.directions import AXES, Direction, direction
from meshdrop.models.files.limits import CaptureLimits
from meshdrop.models.files.pictures import suffixes
from meshdrop.models.files.problem import CaptureError, Problem
from meshdrop.models.formats.json_table import Complaints, as_float, is_number, load_object, refuse_non_finite, wrong
from meshdrop.models.formats.lens import LENS_KEYS, Lens, read_lens

Axes = Literal["opengl", "opencv"]
Pose = Literal["camera_to_world", "world_to_camera"]
#: What a capture shows; see ``docs/capture-format.md``.
Subject = Literal["object", "table", "scene"]
#: Distance along the optical axis, or along each pixel's ray.
DepthType = Literal["planar", "ray"]
Matrix = tuple[tuple[float, ...], ...]

#: The rig's view names in the order of their numbers: ``view_00`` is front. `models.formats.cameras` holds their poses.
CANONICAL_NAMES = ("front", "back", "right", "left", "top", "bottom")

PRIORITY_RANGE = (-100, 100)

OWN_SIDECAR = "capture.json"
#: Keys of ``capture.json`` that are ours.
OWN_KEYS = (
    "version",
    "rig",
    "views",
    "frames",
    "camera_axes",
    "pose",
    "depth_unit_m",
    "depth_type",
    "depth",
    "coarse_depth",
    "mask",
    "world_up",
    "subject",
    "max_views",
    "models",
    "priority",
    "labels",
)
#: Keys of nerfstudio and instant-ngp that carry intrinsics; globally or per frame.
INTRINSIC_KEYS = ("w", "h", "fl_x", "fl_y", "cx", "cy", "camera_angle_x", "camera_angle_y")
FOCAL_KEYS = ("fl_x", "fl_y", "camera_angle_x", "camera_angle_y")
#: Where a number that is none makes an impossible camera.
CAMERA_KEYS = ("frames", "applied_transform", *INTRINSIC_KEYS, *LENS_KEYS)
#: Other keys of theirs that change what the numbers mean.
SCALE_KEYS = ("applied_transform", "applied_scale", "depth_unit_scale_factor", "integer_depth_scale")
#: Keys of theirs that mean nothing here and are passed over.
PASSED_OVER_KEYS = (
    "aabb",
    "aabb_scale",
    "scale",
    "offset",
    "ply_file_path",
    "orientation_override",
    "enable_depth_loading",
    "train_filenames",
    "val_filenames",
    "test_filenames",
    "name",
    "rotation",
)
#: instant-ngp's own word for which way is up, in the world of the file's poses.
FILE_UP_KEY = "up"
KNOWN_KEYS = (*OWN_KEYS, *INTRINSIC_KEYS, *LENS_KEYS, *SCALE_KEYS, *PASSED_OVER_KEYS, FILE_UP_KEY)
#: nerfstudio says ``depth_file_path``, instant-ngp ``depth_path``.
DEPTH_PATH_KEYS = ("depth_file_path", "depth_path")
FRAME_KEYS = ("file_path", *DEPTH_PATH_KEYS, "mask_path", "transform_matrix", *INTRINSIC_KEYS, *LENS_KEYS)
#: Endings of photographs; JPEG changes values, so that depth and masks are none.
PHOTOGRAPHS = suffixes("image")

#: A longer key is no slip of the pen in one of ours.
_LONGEST_KEY = 64
_MODEL_NAME = re.compile(r"[a-z][a-z0-9_-]{0,31}")
#: A rig's name is part of folder and file names on every system, and ends at the first character that is not here.
RIG_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,31}")
STANDARD_RIG = "canonical"
_DRIVE = re.compile(r"^[A-Za-z]:")
_LONGEST_PATH = 1024


@dataclass(frozen=True)
class Intrinsics:
    """A frame's intrinsics as stated, in pixels; None where nothing was said. Angles are radians.

    They are of the picture as it lies there: ``lens`` is what is to be undone in it.
    """

    w: float | None = None
    h: float | None = None
    fl_x: float | None = None
    fl_y: float | None = None
    cx: float | None = None
    cy: float | None = None
    camera_angle_x: float | None = None
    camera_angle_y: float | None = None
    lens: Lens | None = None

    def said(self) -> dict[str, Any]:
        """What was stated, by its field."""
        return {key: value for key, value in vars(self).items() if value is not None}


@dataclass(frozen=True)
class StatedFrame:
    """One camera position: files as they are stated, and the (4, 4) pose as written in the file.

    ``source`` is the file that states this one alone, relative to the root, where there is such.
    """

    image: str
    depth: str | None
    mask: str | None
    matrix: Matrix
    intrinsics: Intrinsics
    source: str | None = None


@dataclass(frozen=True)
class Options:
    """What the sender asks of the daemon. ``models`` None means the daemon's own list; higher priority runs first."""

    models: tuple[str, ...] | None = None
    priority: int = 0
    labels: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Sidecar:
    """Everything the sidecars of one capture state. None means: not stated.

    ``intrinsics`` are those of all views (the frames have them merged in already).
    ``applied_transform`` (4, 4) and ``applied_scale`` are what nerfstudio did to the original world:
    ``stored = applied_scale * applied_transform @ original``. ``rig`` names a stored profile that has the cameras,
    ``standard_rig`` tells that the file says that they are those of the standard rig.
    ``coarse_depth``: depth maps of a sensor with fewer pixels than its photographs, and the same field of view.
    ``world_up`` is the sender's own word for which way is up in the world that the mesh comes out in, ``format_up`` the
    format's, in the world of the poses as they are stored. ``subject`` says what was captured, ``max_views`` how many
    views of a longer sequence are used.
    """

    rig: str | None = None
    standard_rig: bool = False
    views: tuple[str, ...] | None = None
    frames: tuple[StatedFrame, ...] | None = None
    intrinsics: Intrinsics = field(default_factory=Intrinsics)
    camera_axes: Axes | None = None
    pose: Pose | None = None
    depth_unit_m: float | None = None
    depth_type: DepthType | None = None
    depth: bool | None = None
    mask: bool | None = None
    applied_transform: Matrix | None = None
    applied_scale: float | None = None
    coarse_depth: bool = False
    world_up: Direction | None = None
    format_up: Direction | None = None
    subject: Subject | None = None
    max_views: int | None = None
    options: Options = field(default_factory=Options)


def says_no_focal(stated: Intrinsics) -> bool:
    """Whether nothing tells the focal length."""
    return not any(getattr(stated, key) for key in FOCAL_KEYS)


def most_sidecar_bytes(file: str, limits: CaptureLimits) -> int:
    """How large a sidecar may be: ours says little, others list hundreds of cameras."""
    own = file.rsplit("/", 1)[-1].casefold() == OWN_SIDECAR
    return limits.max_sidecar_bytes if own else limits.max_cameras_bytes


def read_options(sidecar: bytes) -> Options:
    """The daemon's options out of ``capture.json``; raises ``CaptureError`` when the file cannot be used."""
    stated, problems = parse_sidecar(sidecar, "capture.json", CaptureLimits())
    if problems:
        raise CaptureError(problems)
    return stated.options


def parse_sidecar(content: bytes, file: str, limits: CaptureLimits) -> tuple[Sidecar, tuple[Problem, ...]]:
    """What one sidecar file states, and everything that is wrong with it. Never raises on content.

    ``file`` is its path as it should appear in the problems; a name ending in ``capture.json`` is held to our own
    key list, any other is somebody else's format, whose unknown keys are passed over.
    """
    complaints = Complaints(file)
    table = load_object(content, complaints, most_sidecar_bytes(file, limits))
    if table is None:
        return Sidecar(), complaints.told()
    return state(table, complaints, limits), complaints.told()


def state(table: Mapping[str, Any], complaints: Complaints, limits: CaptureLimits) -> Sidecar:
    """What a table of these keys states."""
    refuse_non_finite(table, complaints, CAMERA_KEYS)
    if _is_ours(complaints):
        _refuse_unknown(table, KNOWN_KEYS, "", complaints)
    lens = read_lens(table, "", complaints)
    stated = Sidecar(
        rig=_rig(table, complaints),
        standard_rig=table.get("rig") == STANDARD_RIG or "views" in table,
        views=_views(table, complaints),
        frames=_frames(table, lens, complaints, limits),
        intrinsics=replace(_intrinsics(table, "", complaints), lens=lens),
        camera_axes=_choice(table, "camera_axes", ("opengl", "opencv"), complaints),  # type: ignore[arg-type]
        pose=_choice(table, "pose", ("camera_to_world", "world_to_camera"), complaints),  # type: ignore[arg-type]
        depth_unit_m=_depth_unit(table, complaints),
        depth_type=_choice(table, "depth_type", ("planar", "ray"), complaints),  # type: ignore[arg-type]
        depth=_flag(table, "depth", complaints),
        mask=_flag(table, "mask", complaints),
        coarse_depth=bool(_flag(table, "coarse_depth", complaints)),
        applied_transform=_matrix(table.get("applied_transform"), "applied_transform", complaints)
        if "applied_transform" in table
        else None,
        applied_scale=_positive(table, "applied_scale", complaints),
        world_up=_world_up(table, complaints),
        format_up=direction(table.get(FILE_UP_KEY)),
        subject=_choice(table, "subject", ("object", "table", "scene"), complaints),  # type: ignore[arg-type]
        max_views=_max_views(table, complaints, limits),
        options=Options(_models(table, complaints), _priority(table, complaints), _labels(table, complaints)),
    )
    _refuse_two_rigs(table, stated, complaints)
    return stated


def merge_sidecars(ours: Sidecar, theirs: Sidecar) -> Sidecar:
    """``capture.json`` beside a ``transforms.json``: the cameras are theirs, every statement of ours wins."""
    return Sidecar(
        views=None,
        frames=theirs.frames and tuple(_overruled(frame, ours.intrinsics) for frame in theirs.frames),
        intrinsics=ours.intrinsics,
        camera_axes=ours.camera_axes or theirs.camera_axes,
        pose=ours.pose or theirs.pose,
        depth_unit_m=ours.depth_unit_m or theirs.depth_unit_m,
        depth_type=ours.depth_type or theirs.depth_type,
        depth=theirs.depth if ours.depth is None else ours.depth,
        mask=theirs.mask if ours.mask is None else ours.mask,
        applied_transform=theirs.applied_transform,
        applied_scale=ours.applied_scale or theirs.applied_scale,
        coarse_depth=ours.coarse_depth or theirs.coarse_depth,
        world_up=ours.world_up or theirs.world_up,
        format_up=theirs.format_up,
        subject=ours.subject or theirs.subject,
        max_views=ours.max_views or theirs.max_views,
        options=ours.options,
    )


def _overruled(frame: StatedFrame, intrinsics: Intrinsics) -> StatedFrame:
    return replace(frame, intrinsics=replace(frame.intrinsics, **intrinsics.said()))


# -- single keys ---------------------------------------------------------------------------------------------------


def _is_ours(complaints: Complaints) -> bool:
    """Whether the file is held to our own key list."""
    return complaints.file.rsplit("/", 1)[-1].casefold() == OWN_SIDECAR


def _refuse_unknown(table: Mapping[str, Any], known: Iterable[str], where: str, complaints: Complaints) -> None:
    for key in table:
        if key not in known:
            # Comparing costs a thousand times as much as reading: only for those that are told.
            near = [] if complaints.full or len(key) > _LONGEST_KEY else difflib.get_close_matches(key, list(known), 1)
            hint = f"Did you mean {near[0]!r}?" if near else 'Put data of your own under "labels".'
            complaints.add("sidecar", f"{where}{key!r:.60} is not a key that Meshdrop knows.", hint)


def _choice(table: Mapping[str, Any], key: str, allowed: tuple[str, ...], complaints: Complaints) -> str | None:
    value = table.get(key)
    if value is None or value in allowed:
        return value
    wrong(key, value, " or ".join(f'"{name}"' for name in allowed), complaints)
    return None


def _flag(table: Mapping[str, Any], key: str, complaints: Complaints) -> bool | None:
    value = table.get(key)
    if value is None or isinstance(value, bool):
        return value
    wrong(key, value, "true or false", complaints)
    return None


def _positive(table: Mapping[str, Any], key: str, complaints: Complaints) -> float | None:
    value = table.get(key)
    if value is None:
        return None
    number = as_float(value) if is_number(value) else None
    if number is not None and 1e-9 < number < 1e9:
        return number
    wrong(key, value, "a number above 0", complaints)
    return None


def _depth_unit(table: Mapping[str, Any], complaints: Complaints) -> float | None:
    """Metres per depth count. Three spellings exist; two that disagree are refused, not ranked."""
    keys = ("depth_unit_m", "depth_unit_scale_factor", "integer_depth_scale")
    stated = {key: unit for key in keys if (unit := _positive(table, key, complaints)) is not None}
    if len({round(math.log(unit), 6) for unit in stated.values()}) > 1:
        listing = ", ".join(f"{key} = {unit:g}" for key, unit in stated.items())
        complaints.add("sidecar", f"The depth unit is stated twice, differently: {listing}.", "Keep the right one.")
    return next(iter(stated.values()), None)


def _views(table: Mapping[str, Any], complaints: Complaints) -> tuple[str, ...] | None:
    value = table.get("views")
    if value is None:
        return None
    names = tuple(name.casefold() for name in value if isinstance(name, str)) if isinstance(value, list) else ()
    if not names or len(names) != len(value) or set(names) - set(CANONICAL_NAMES) or len(set(names)) < len(names):
        wrong("views", value, f"a list of different names out of {', '.join(CANONICAL_NAMES)}", complaints)
        return None
    return names


def _models(table: Mapping[str, Any], complaints: Complaints) -> tuple[str, ...] | None:
    value = table.get("models")
    if value is None:
        return None
    if isinstance(value, list) and 0 < len(value) <= 16:
        names = [name for name in value if isinstance(name, str) and _MODEL_NAME.fullmatch(name)]
        if len(names) == len(value):
            return tuple(dict.fromkeys(names))
    wrong("models", value, 'a list of model names such as ["fusion"]', complaints)
    return None


def _priority(table: Mapping[str, Any], complaints: Complaints) -> int:
    value = table.get("priority", 0)
    if not is_number(value) or (isinstance(value, float) and not value.is_integer()):
        if is_number(value) and not math.isfinite(value):
            return 0  # complained about already
        wrong("priority", value, "a whole number", complaints)
        return 0
    low, high = PRIORITY_RANGE
    return int(min(max(value, low), high))


def _max_views(table: Mapping[str, Any], complaints: Complaints, limits: CaptureLimits) -> int | None:
    value = table.get("max_views")
    if value is None or (isinstance(value, float) and not math.isfinite(value)):  # complained about already
        return None
    if isinstance(value, int) and not isinstance(value, bool) and limits.min_views <= value <= limits.max_entries:
        return value
    wrong("max_views", value, f"a whole number, {limits.min_views} to {limits.max_entries}", complaints)
    return None


def _labels(table: Mapping[str, Any], complaints: Complaints) -> dict[str, Any]:
    value = table.get("labels", {})
    if isinstance(value, dict):
        return value
    wrong("labels", value, "a JSON object", complaints)
    return {}


def _world_up(table: Mapping[str, Any], complaints: Complaints) -> Direction | None:
    """One of the words for an axis, or a vector of any length."""
    value = table.get("world_up")
    found = AXES.get(value.casefold()) if isinstance(value, str) else direction(value)
    is_told = isinstance(value, list) and any(isinstance(item, float) and not math.isfinite(item) for item in value)
    if found is None and value is not None and not is_told:  # a number that is none was complained about already
        words = ", ".join(f'"{word}"' for word in AXES)
        wrong("world_up", value, f"{words}, or three numbers that are not all 0", complaints)
    return found


def _rig(table: Mapping[str, Any], complaints: Complaints) -> str | None:
    """The name of a stored rig; None for the standard one, which is the default."""
    rig = table.get("rig")
    if rig is None or rig == STANDARD_RIG:
        return None
    if isinstance(rig, str) and RIG_NAME.fullmatch(rig.casefold()):
        return rig.casefold()
    wrong("rig", rig, '"canonical" or the name of a stored rig (lower-case letters, digits, "-")', complaints)
    return None


def _refuse_two_rigs(table: Mapping[str, Any], stated: Sidecar, complaints: Complaints) -> None:
    """Cameras come from one place: the file's frames, the standard rig, or a stored one."""
    named = table.get("rig") == STANDARD_RIG or stated.rig is not None
    if stated.frames is not None and (named or stated.views is not None):
        asked = f"the rig {stated.rig}" if stated.rig else "the canonical rig"
        complaints.add(
            "sidecar",
            f'The file states cameras under "frames" and asks for {asked} too.',
            'Keep "frames", or keep "rig" and "views".',
        )
    elif stated.rig is not None and stated.views is not None:
        wrong("views", list(stated.views), "left out: the stored rig says which views there are", complaints)
    if table.get("version", 1) != 1:
        wrong("version", table["version"], "1", complaints)


# -- frames --------------------------------------------------------------------------------------------------------


def _frames(
    table: Mapping[str, Any], lens: Lens | None, complaints: Complaints, limits: CaptureLimits
) -> tuple[StatedFrame, ...] | None:
    value = table.get("frames")
    if value is None:
        return None
    if not isinstance(value, list) or not all(isinstance(frame, dict) for frame in value):
        wrong("frames", value, "a list of JSON objects", complaints)
        return ()
    if not limits.min_views <= len(value) <= limits.max_entries:
        complaints.add(
            "set",
            f'"frames" lists {len(value)} views; a capture has {limits.min_views} to {limits.max_entries}.',
            "Take more views." if len(value) < limits.min_views else "Send fewer views.",
        )
        return ()
    # Values that are wrong for all views are complained about once, at the top.
    shared = {key: table[key] for key in INTRINSIC_KEYS if is_number(table.get(key)) and _above_zero(key, table[key])}
    needs_focal = not any(key in table for key in FOCAL_KEYS)
    lenses = _Lenses({key: table[key] for key in LENS_KEYS if key in table}, lens)
    read = [_frame(frame, index, shared, lenses, needs_focal, complaints) for index, frame in enumerate(value)]
    frames = tuple(frame for frame in read if frame is not None)
    return () if len(frames) < len(value) else frames


@dataclass(frozen=True)
class _Lenses:
    """The lens of all frames, and the keys that state it: a frame may say some of them otherwise."""

    shared: Mapping[str, Any]
    lens: Lens | None

    def of(self, frame: Mapping[str, Any], where: str, complaints: Complaints) -> Lens | None:
        own = {key: frame[key] for key in LENS_KEYS if key in frame}
        return read_lens({**self.shared, **own}, f"{where}.", complaints) if own else self.lens


def _frame(
    frame: Mapping[str, Any],
    index: int,
    shared: Mapping[str, Any],
    lenses: _Lenses,
    needs_focal: bool,
    complaints: Complaints,
) -> StatedFrame | None:
    where = f"frames[{index}]"
    before = complaints.count
    if _is_ours(complaints):
        _refuse_unknown(frame, (*FRAME_KEYS, *PASSED_OVER_KEYS, FILE_UP_KEY), f"{where}.", complaints)
    image = _path(frame, "file_path", where, complaints)
    depth = _path(frame, next((key for key in DEPTH_PATH_KEYS if key in frame), "depth_file_path"), where, complaints)
    mask = _path(frame, "mask_path", where, complaints)
    matrix = _matrix(frame.get("transform_matrix"), f"{where}.transform_matrix", complaints)
    intrinsics = replace(_intrinsics({**shared, **frame}, where, complaints), lens=lenses.of(frame, where, complaints))
    if needs_focal and not any(key in frame for key in FOCAL_KEYS):
        complaints.add("calib", f"{where} has no focal length.", "State fl_x (pixels) or camera_angle_x (radians).")
    if image is None and "file_path" not in frame:
        complaints.add("sidecar", f"{where} has no file_path.", "Name the image of this view there.")
    if image is None or matrix is None or complaints.count > before:
        return None
    return StatedFrame(image, depth, mask, matrix, intrinsics)


def _path(frame: Mapping[str, Any], key: str, where: str, complaints: Complaints) -> str | None:
    """A path tidied, with a suffix; Blender's files leave ``.png`` out."""
    value = frame.get(key)
    if value is None:
        return None
    path = tidy_path(value) if isinstance(value, str) else None
    if path is None:
        wrong(f"{where}.{key}", value, 'a path such as "images/front.png"', complaints)
        return None
    stem, dot, suffix = path.rpartition("/")[2].rpartition(".")
    return path if stem and dot and not suffix.isdigit() else f"{path}.png"


def tidy_path(value: str) -> str | None:
    """A path as it was written on any machine, as relative posix parts without dots; None when it cannot be shown.

    What leads out of the capture is cut off: such a path means the file that its end leads to, if there is one. Nothing
    is ever opened by it (``models.capture.stated_paths``).
    """
    if not value.isprintable() or len(value) > _LONGEST_PATH:
        return None
    parts: list[str] = []
    for part in _DRIVE.sub("", value.replace("\\", "/")).split("/"):
        if part == "..":
            parts = parts[:-1]
        elif part not in ("", "."):
            parts.append(part)
    return "/".join(parts) or None


def _matrix(value: object, where: str, complaints: Complaints) -> Matrix | None:
    """A 3x4 or 4x4 affine matrix as (4, 4); its last row must be 0 0 0 1."""
    rows = value if isinstance(value, list) else []
    if len(rows) not in (3, 4) or not all(isinstance(row, list) and len(row) == 4 for row in rows):
        wrong(where, value, "4 rows of 4 numbers", complaints, "calib")
        return None
    numbers = [as_float(item) if is_number(item) else None for row in rows for item in row]
    if None in numbers:
        if not any(problem.code == "calib" and problem.message.startswith("frames[") for problem in complaints.found):
            wrong(where, value, "4 rows of 4 finite numbers", complaints, "calib")
        return None
    flat = [number for number in numbers if number is not None]
    matrix = tuple(tuple(flat[start : start + 4]) for start in range(0, len(flat), 4))
    if len(matrix) == 3:
        matrix = (*matrix, (0.0, 0.0, 0.0, 1.0))
    if any(abs(got - want) > 1e-6 for got, want in zip(matrix[3], (0, 0, 0, 1), strict=True)):
        wrong(f"{where}[3]", list(matrix[3]), "0 0 0 1", complaints, "calib")
        return None
    return matrix


def _above_zero(key: str, value: float) -> bool:
    number = as_float(value)
    return number is not None and (key in ("cx", "cy") or number > 0)


def _intrinsics(table: Mapping[str, Any], where: str, complaints: Complaints) -> Intrinsics:
    read: dict[str, Any] = {}
    for key in INTRINSIC_KEYS:
        value = table.get(key)
        number = as_float(value) if is_number(value) else None
        if value is not None and (number is None or not _above_zero(key, number)):
            if not (isinstance(value, float) and not math.isfinite(value)):  # NaN was complained about already
                wrong(f"{where}.{key}" if where else key, value, "a number above 0", complaints, "calib")
            number = None
        read[key] = number
    return Intrinsics(**read)
