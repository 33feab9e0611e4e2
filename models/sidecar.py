"""Read ``capture.json`` and ``transforms.json`` into one checked value. Standard library only.

The daemon's settle rule calls this on files that strangers wrote, perhaps while they are still being written: it
never raises on content, is bounded by ``CaptureLimits.max_sidecar_bytes``, and answers with plain sentences.
The meaning of each key is in ``docs/capture-format.md``.
"""

from __future__ import annotations

import difflib
import json
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

from models.limits import CaptureLimits
from models.problem import CaptureError, Problem

Axes = Literal["opengl", "opencv"]
Pose = Literal["camera_to_world", "world_to_camera"]
Matrix = tuple[tuple[float, ...], ...]

#: The rig's view names in the order of their numbers: ``view_00`` is front. `models.cameras` holds their poses.
CANONICAL_NAMES = ("front", "back", "right", "left", "top", "bottom")

#: Nobody reads a page of thousands of problems.
MOST_COMPLAINTS = 20
#: Whoever reads our answers later may be less patient with brackets than Python is.
DEEPEST = 32

PRIORITY_RANGE = (-100, 100)

#: Keys of ``capture.json`` that are ours.
OWN_KEYS = (
    "version", "rig", "views", "frames", "camera_axes", "pose", "depth_unit_m",
    "depth", "mask", "models", "priority", "labels",
)  # fmt: skip
#: Keys of nerfstudio and instant-ngp that carry intrinsics; globally or per frame.
INTRINSIC_KEYS = ("w", "h", "fl_x", "fl_y", "cx", "cy", "camera_angle_x", "camera_angle_y")
FOCAL_KEYS = ("fl_x", "fl_y", "camera_angle_x", "camera_angle_y")
#: Lens distortion: read only to refuse it.
DISTORTION_KEYS = ("k1", "k2", "k3", "k4", "k5", "k6", "p1", "p2")
#: Other keys of theirs that change what the numbers mean.
SCALE_KEYS = ("applied_transform", "applied_scale", "depth_unit_scale_factor", "integer_depth_scale")
#: Keys of theirs that mean nothing here and are passed over.
PASSED_OVER_KEYS = (
    "camera_model", "is_fisheye", "aabb", "aabb_scale", "scale", "offset", "ply_file_path", "orientation_override",
    "enable_depth_loading", "train_filenames", "val_filenames", "test_filenames", "name", "rotation", "up",
)  # fmt: skip
KNOWN_KEYS = OWN_KEYS + INTRINSIC_KEYS + DISTORTION_KEYS + SCALE_KEYS + PASSED_OVER_KEYS
FRAME_KEYS = ("file_path", "depth_file_path", "mask_path", "transform_matrix", *INTRINSIC_KEYS, *DISTORTION_KEYS)

#: Camera models that are pinholes once their distortion is zero.
PINHOLE_MODELS = ("OPENCV", "PINHOLE", "SIMPLE_PINHOLE", "RADIAL", "SIMPLE_RADIAL")

_MODEL_NAME = re.compile(r"[a-z][a-z0-9_-]{0,31}")
_DRIVE = re.compile(r"[A-Za-z]:")


@dataclass(frozen=True)
class Intrinsics:
    """A frame's intrinsics as stated, in pixels; None where nothing was said. Angles are radians."""

    w: float | None = None
    h: float | None = None
    fl_x: float | None = None
    fl_y: float | None = None
    cx: float | None = None
    cy: float | None = None
    camera_angle_x: float | None = None
    camera_angle_y: float | None = None


@dataclass(frozen=True)
class Frame:
    """One camera position: files relative to the sidecar's folder, and the (4, 4) pose as written in the file."""

    image: str
    depth: str | None
    mask: str | None
    matrix: Matrix
    intrinsics: Intrinsics


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
    ``stored = applied_scale * applied_transform @ original``.
    """

    views: tuple[str, ...] | None = None
    frames: tuple[Frame, ...] | None = None
    intrinsics: Intrinsics = field(default_factory=Intrinsics)
    camera_axes: Axes | None = None
    pose: Pose | None = None
    depth_unit_m: float | None = None
    depth: bool | None = None
    mask: bool | None = None
    applied_transform: Matrix | None = None
    applied_scale: float = 1.0
    options: Options = field(default_factory=Options)


class _Complaints:
    """Collects the problems of one file: all are counted, the first few are told."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.count = 0
        self.found: list[Problem] = []

    def add(self, code: str, message: str, fix: str) -> None:
        self.count += 1
        if self.count <= MOST_COMPLAINTS:
            self.found.append(Problem(code, self.file, message, fix))

    def told(self) -> tuple[Problem, ...]:
        """The problems, and how many more there are."""
        more = self.count - len(self.found)
        if not more:
            return tuple(self.found)
        rest = Problem("sidecar", self.file, f"The file has {more:,} more problems.", "Correct these first.")
        return (*self.found, rest)


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
    complaints = _Complaints(file)
    table = _load_object(content, complaints, limits)
    if table is None:
        return Sidecar(), complaints.told()
    _refuse_non_finite(table, complaints)
    if file.rsplit("/", 1)[-1].casefold() == "capture.json":
        _refuse_unknown(table, KNOWN_KEYS, "", complaints)
    _refuse_lens(table, "", complaints)
    stated = Sidecar(
        views=_views(table, complaints),
        frames=_frames(table, complaints, limits),
        intrinsics=_intrinsics(table, "", complaints),
        camera_axes=_choice(table, "camera_axes", ("opengl", "opencv"), complaints),  # type: ignore[arg-type]
        pose=_choice(table, "pose", ("camera_to_world", "world_to_camera"), complaints),  # type: ignore[arg-type]
        depth_unit_m=_depth_unit(table, complaints),
        depth=_flag(table, "depth", complaints),
        mask=_flag(table, "mask", complaints),
        applied_transform=_matrix(table.get("applied_transform"), "applied_transform", complaints)
        if "applied_transform" in table
        else None,
        applied_scale=_positive(table, "applied_scale", complaints) or 1.0,
        options=Options(_models(table, complaints), _priority(table, complaints), _labels(table, complaints)),
    )
    _rig(table, stated, complaints)
    return stated, complaints.told()


def merge_sidecars(ours: Sidecar, theirs: Sidecar) -> Sidecar:
    """``capture.json`` beside a ``transforms.json``: the cameras are theirs, every statement of ours wins."""
    return Sidecar(
        views=None,
        frames=theirs.frames and tuple(_overruled(frame, ours.intrinsics) for frame in theirs.frames),
        intrinsics=ours.intrinsics,
        camera_axes=ours.camera_axes or theirs.camera_axes,
        pose=ours.pose or theirs.pose,
        depth_unit_m=ours.depth_unit_m or theirs.depth_unit_m,
        depth=theirs.depth if ours.depth is None else ours.depth,
        mask=theirs.mask if ours.mask is None else ours.mask,
        applied_transform=theirs.applied_transform,
        applied_scale=theirs.applied_scale,
        options=ours.options,
    )


def _overruled(frame: Frame, intrinsics: Intrinsics) -> Frame:
    stated = {key: value for key, value in asdict(intrinsics).items() if value is not None}
    return replace(frame, intrinsics=replace(frame.intrinsics, **stated))


# -- bytes to a table ----------------------------------------------------------------------------------------------


class _DuplicateKeyError(ValueError):
    pass


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table: dict[str, Any] = {}
    for key, value in pairs:
        if key in table:
            raise _DuplicateKeyError(key)
        table[key] = value
    return table


def _load_object(content: bytes, complaints: _Complaints, limits: CaptureLimits) -> dict[str, Any] | None:
    fix = "Correct the file and copy the folder again."
    if len(content) > limits.max_sidecar_bytes:
        complaints.add(
            "sidecar",
            f"The file is larger than {limits.max_sidecar_bytes:,} bytes, the most that a sidecar may have.",
            "Keep pictures and logs out of it.",
        )
        return None
    if content.startswith(b"\xef\xbb\xbf"):
        complaints.add("sidecar", "The file starts with a byte order mark.", "Save it as UTF-8 without BOM.")
        return None
    try:
        loaded = json.loads(content.decode("utf-8"), object_pairs_hook=_unique_keys)
        json.dumps(loaded, ensure_ascii=False).encode("utf-8")  # half surrogates cannot be stored or shown
    except _DuplicateKeyError as error:
        complaints.add("sidecar", f"The key {error.args[0]!r:.60} appears twice in one object.", fix)
    except UnicodeDecodeError as error:
        complaints.add("sidecar", f"Byte {error.start} is not valid UTF-8.", "Save the file as UTF-8.")
    except UnicodeEncodeError:
        complaints.add("sidecar", "A text holds half of a surrogate pair (\\ud800..\\udfff).", fix)
    except RecursionError:
        complaints.add("sidecar", "The brackets are nested too deeply.", fix)
    except json.JSONDecodeError as error:
        complaints.add("sidecar", f"Not valid JSON: {error.msg} at line {error.lineno}, column {error.colno}.", fix)
    except ValueError:  # an integer with thousands of digits
        complaints.add("sidecar", "A number has too many digits.", fix)
    else:
        if not isinstance(loaded, dict):
            complaints.add("sidecar", "The file does not hold one JSON object { ... }.", fix)
        elif _is_deeper_than(loaded, DEEPEST):
            complaints.add("sidecar", "The brackets are nested too deeply.", fix)
        else:
            return loaded
    return None


def _is_deeper_than(value: Any, levels: int) -> bool:
    """Whether objects and lists lie in each other more than ``levels`` deep, found without recursion."""
    layer = [value]
    for _ in range(levels):
        layer = [
            inner
            for outer in layer
            if isinstance(outer, dict | list)
            for inner in (outer.values() if isinstance(outer, dict) else outer)
        ]
    return any(isinstance(value, dict | list) for value in layer)


def _refuse_non_finite(table: Mapping[str, Any], complaints: _Complaints) -> None:
    """One problem for the first NaN or infinite number (1e999 reads as infinity): ``calib`` in camera data."""
    stack: list[tuple[str, Any]] = [("", table)]
    while stack:
        where, value = stack.pop()
        if isinstance(value, float) and not math.isfinite(value):
            top = where.split(".")[1].split("[")[0]
            camera = top in ("frames", "applied_transform", *INTRINSIC_KEYS)
            code = "calib" if camera else "sidecar"
            complaints.add(code, f"{where[1:]} is {value}, which is not a number.", "Write a finite number there.")
            return
        if isinstance(value, dict):
            stack.extend((f"{where}.{key}", item) for key, item in value.items())
        elif isinstance(value, list):
            stack.extend((f"{where}[{index}]", item) for index, item in enumerate(value))


def _refuse_unknown(table: Mapping[str, Any], known: Iterable[str], where: str, complaints: _Complaints) -> None:
    for key in table:
        if key not in known:
            near = difflib.get_close_matches(key, list(known), 1)
            hint = f"Did you mean {near[0]!r}?" if near else "Put data of your own under \"labels\"."
            complaints.add("sidecar", f"{where}{key!r:.60} is not a key that Meshdrop knows.", hint)


# -- single keys ---------------------------------------------------------------------------------------------------


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _as_float(value: Any) -> float | None:
    """A finite float, or None: JSON integers may be larger than any float."""
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def _wrong(key: str, value: object, wanted: str, complaints: _Complaints, code: str = "sidecar") -> None:
    complaints.add(code, f"{key} is {_short(value)}; it must be {wanted}.", "Correct the value or leave the key out.")


def _short(value: object) -> str:
    text = json.dumps(value, default=str)
    return text if len(text) <= 40 else text[:37] + "..."


def _choice(table: Mapping[str, Any], key: str, allowed: tuple[str, ...], complaints: _Complaints) -> str | None:
    value = table.get(key)
    if value is None or value in allowed:
        return value
    _wrong(key, value, " or ".join(f'"{name}"' for name in allowed), complaints)
    return None


def _flag(table: Mapping[str, Any], key: str, complaints: _Complaints) -> bool | None:
    value = table.get(key)
    if value is None or isinstance(value, bool):
        return value
    _wrong(key, value, "true or false", complaints)
    return None


def _positive(table: Mapping[str, Any], key: str, complaints: _Complaints) -> float | None:
    value = table.get(key)
    if value is None:
        return None
    number = _as_float(value) if _is_number(value) else None
    if number is not None and 1e-9 < number < 1e9:
        return number
    _wrong(key, value, "a number above 0", complaints)
    return None


def _depth_unit(table: Mapping[str, Any], complaints: _Complaints) -> float | None:
    """Metres per depth count. Three spellings exist; two that disagree are refused, not ranked."""
    keys = ("depth_unit_m", "depth_unit_scale_factor", "integer_depth_scale")
    stated = {key: unit for key in keys if (unit := _positive(table, key, complaints)) is not None}
    if len({round(math.log(unit), 6) for unit in stated.values()}) > 1:
        listing = ", ".join(f"{key} = {unit:g}" for key, unit in stated.items())
        complaints.add("sidecar", f"The depth unit is stated twice, differently: {listing}.", "Keep the right one.")
    return next(iter(stated.values()), None)


def _views(table: Mapping[str, Any], complaints: _Complaints) -> tuple[str, ...] | None:
    value = table.get("views")
    if value is None:
        return None
    names = tuple(name.casefold() for name in value if isinstance(name, str)) if isinstance(value, list) else ()
    if not names or len(names) != len(value) or set(names) - set(CANONICAL_NAMES) or len(set(names)) < len(names):
        _wrong("views", value, f"a list of different names out of {', '.join(CANONICAL_NAMES)}", complaints)
        return None
    return names


def _models(table: Mapping[str, Any], complaints: _Complaints) -> tuple[str, ...] | None:
    value = table.get("models")
    if value is None:
        return None
    if isinstance(value, list) and 0 < len(value) <= 16:
        names = [name for name in value if isinstance(name, str) and _MODEL_NAME.fullmatch(name)]
        if len(names) == len(value):
            return tuple(dict.fromkeys(names))
    _wrong("models", value, 'a list of model names such as ["fusion"]', complaints)
    return None


def _priority(table: Mapping[str, Any], complaints: _Complaints) -> int:
    value = table.get("priority", 0)
    if not _is_number(value) or (isinstance(value, float) and not value.is_integer()):
        if _is_number(value) and not math.isfinite(value):
            return 0  # complained about already
        _wrong("priority", value, "a whole number", complaints)
        return 0
    low, high = PRIORITY_RANGE
    return int(min(max(value, low), high))


def _labels(table: Mapping[str, Any], complaints: _Complaints) -> dict[str, Any]:
    value = table.get("labels", {})
    if isinstance(value, dict):
        return value
    _wrong("labels", value, "a JSON object", complaints)
    return {}


def _rig(table: Mapping[str, Any], stated: Sidecar, complaints: _Complaints) -> None:
    rig = table.get("rig")
    if rig is not None and rig != "canonical":
        _wrong("rig", rig, '"canonical" (other rigs state their cameras under "frames")', complaints)
    if stated.frames is not None and (rig == "canonical" or stated.views is not None):
        complaints.add(
            "sidecar",
            "The file states cameras under \"frames\" and asks for the canonical rig too.",
            "Keep \"frames\", or keep \"rig\" and \"views\".",
        )
    if table.get("version", 1) != 1:
        _wrong("version", table["version"], "1", complaints)


# -- frames --------------------------------------------------------------------------------------------------------


def _refuse_lens(table: Mapping[str, Any], where: str, complaints: _Complaints) -> None:
    """Meshdrop's camera is a pinhole: anything else is refused, because ignoring it bends the mesh unseen."""
    bent = [key for key in DISTORTION_KEYS if table.get(key) not in (None, 0)]
    model = table.get("camera_model", "PINHOLE")
    fisheye = " with is_fisheye" if table.get("is_fisheye") else ""
    if bent:
        complaints.add(
            "calib",
            f"{where}lens distortion is stated ({bent[0]} = {_short(table[bent[0]])}).",
            "Undistort images, depth and masks first (colmap image_undistorter, cv2.undistort), then set it to 0.",
        )
    elif table.get("is_fisheye") is True or model not in PINHOLE_MODELS:
        complaints.add(
            "calib",
            f"{where}camera model {_short(model)}{fisheye} is no pinhole.",
            "Undistort the pictures to a pinhole camera first.",
        )


def _frames(table: Mapping[str, Any], complaints: _Complaints, limits: CaptureLimits) -> tuple[Frame, ...] | None:
    value = table.get("frames")
    if value is None:
        return None
    if not isinstance(value, list) or not all(isinstance(frame, dict) for frame in value):
        _wrong("frames", value, "a list of JSON objects", complaints)
        return ()
    if not limits.min_views <= len(value) <= limits.max_entries:
        complaints.add(
            "set",
            f"\"frames\" lists {len(value)} views; a capture has {limits.min_views} to {limits.max_entries}.",
            "Take more views." if len(value) < limits.min_views else "Send fewer views.",
        )
        return ()
    # Values that are wrong for all views are complained about once, at the top.
    shared = {key: table[key] for key in INTRINSIC_KEYS if _is_number(table.get(key)) and _above_zero(key, table[key])}
    needs_focal = not any(key in table for key in FOCAL_KEYS)
    read = [_frame(frame, index, shared, needs_focal, complaints) for index, frame in enumerate(value)]
    frames = tuple(frame for frame in read if frame is not None)
    return () if len(frames) < len(value) else frames


def _frame(
    frame: Mapping[str, Any], index: int, shared: Mapping[str, Any], needs_focal: bool, complaints: _Complaints
) -> Frame | None:
    where = f"frames[{index}]"
    before = complaints.count
    if complaints.file.rsplit("/", 1)[-1].casefold() == "capture.json":
        _refuse_unknown(frame, FRAME_KEYS + PASSED_OVER_KEYS, f"{where}.", complaints)
    _refuse_lens({key: frame[key] for key in DISTORTION_KEYS if key in frame}, f"{where}: ", complaints)
    image = _path(frame, "file_path", where, complaints)
    depth = _path(frame, "depth_file_path", where, complaints)
    mask = _path(frame, "mask_path", where, complaints)
    matrix = _matrix(frame.get("transform_matrix"), f"{where}.transform_matrix", complaints)
    intrinsics = _intrinsics({**shared, **frame}, where, complaints)
    if needs_focal and not any(key in frame for key in FOCAL_KEYS):
        complaints.add("calib", f"{where} has no focal length.", "State fl_x (pixels) or camera_angle_x (radians).")
    if image is None and "file_path" not in frame:
        complaints.add("sidecar", f"{where} has no file_path.", "Name the image of this view there.")
    if image is None or matrix is None or complaints.count > before:
        return None
    return Frame(image, depth, mask, matrix, intrinsics)


def _path(frame: Mapping[str, Any], key: str, where: str, complaints: _Complaints) -> str | None:
    """A path that stays inside the capture, posix, with a suffix; Blender's files leave ``.png`` out."""
    value = frame.get(key)
    if value is None:
        return None
    name = f"{where}.{key}"
    if not isinstance(value, str) or not value or not value.isprintable() or len(value) > 1024:
        _wrong(name, value, "a relative path such as \"images/front.png\"", complaints)
        return None
    parts = [part for part in value.split("/") if part not in ("", ".")]
    if value.startswith("/") or "\\" in value or _DRIVE.match(value) or ".." in parts or not parts:
        _wrong(name, value, "a path inside the capture: relative, forward slashes, no \"..\"", complaints)
        return None
    stem, dot, suffix = parts[-1].rpartition(".")
    if not (stem and dot) or suffix.isdigit():
        parts[-1] += ".png"
    elif suffix.casefold() != "png":
        complaints.add(
            "not_png", f"{name} is {_short(value)}; Meshdrop reads PNG only.", "Convert it to PNG and correct the path."
        )
        return None
    return "/".join(parts)


def _matrix(value: object, where: str, complaints: _Complaints) -> Matrix | None:
    """A 3x4 or 4x4 affine matrix as (4, 4); its last row must be 0 0 0 1."""
    rows = value if isinstance(value, list) else []
    if len(rows) not in (3, 4) or not all(isinstance(row, list) and len(row) == 4 for row in rows):
        _wrong(where, value, "4 rows of 4 numbers", complaints, "calib")
        return None
    numbers = [_as_float(item) if _is_number(item) else None for row in rows for item in row]
    if None in numbers:
        if not any(problem.code == "calib" and problem.message.startswith("frames[") for problem in complaints.found):
            _wrong(where, value, "4 rows of 4 finite numbers", complaints, "calib")
        return None
    flat = [number for number in numbers if number is not None]
    matrix = tuple(tuple(flat[start : start + 4]) for start in range(0, len(flat), 4))
    if len(matrix) == 3:
        matrix = (*matrix, (0.0, 0.0, 0.0, 1.0))
    if any(abs(got - want) > 1e-6 for got, want in zip(matrix[3], (0, 0, 0, 1), strict=True)):
        _wrong(f"{where}[3]", list(matrix[3]), "0 0 0 1", complaints, "calib")
        return None
    return matrix


def _above_zero(key: str, value: float) -> bool:
    number = _as_float(value)
    return number is not None and (key in ("cx", "cy") or number > 0)


def _intrinsics(table: Mapping[str, Any], where: str, complaints: _Complaints) -> Intrinsics:
    read: dict[str, float | None] = {}
    for key in INTRINSIC_KEYS:
        value = table.get(key)
        number = _as_float(value) if _is_number(value) else None
        if value is not None and (number is None or not _above_zero(key, number)):
            if not (isinstance(value, float) and not math.isfinite(value)):  # NaN was complained about already
                _wrong(f"{where}.{key}" if where else key, value, "a number above 0", complaints, "calib")
            number = None
        read[key] = number
    return Intrinsics(**read)
