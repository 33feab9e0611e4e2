"""Cameras of a COLMAP model, text or binary: intrinsics of ``cameras``, poses and picture names of ``images``.

Read here and not by pycolmap, for three reasons. The settle rule must know the pictures' names, in the service, at
every scan, from files that may be half copied; that is all but ten lines of the reader. pycolmap wants
``points3D`` too, which a capture does not need, and says of a half-copied model only that some rig does not exist. And
it is 135 MB of native code to which strangers' bytes would be given. A test writes models by pycolmap, in both forms,
and holds this reader to them.

The formats: COLMAP's documentation, "Output format". Poses are world-to-camera, axes OpenCV, quaternions w x y z; the
first pixel's centre is (0.5, 0.5), as here. Counts and lengths in the files are believed only as far as bytes follow.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from typing import TypeVar

from meshdrop.models.axes.conventions import CONVENTIONS
from meshdrop.models.files.limits import CaptureLimits
from meshdrop.models.files.names import last_of
from meshdrop.models.files.png import Kind
from meshdrop.models.files.problem import Problem
from meshdrop.models.formats.files_beside import FilesBeside
from meshdrop.models.formats.formats import Cameras, Folder
from meshdrop.models.formats.json_table import Complaints
from meshdrop.models.formats.lens import COEFFICIENTS, Lens
from meshdrop.models.formats.quaternions import pose
from meshdrop.models.formats.sidecar import Intrinsics, Matrix, Sidecar, StatedFrame, tidy_path

_T = TypeVar("_T")
#: Each camera model by its number: where it has one focal length for both axes, and where two.
_ONE_FOCAL = {0: "SIMPLE_PINHOLE", 2: "SIMPLE_RADIAL", 3: "RADIAL", 8: "SIMPLE_RADIAL_FISHEYE", 9: "RADIAL_FISHEYE"}
_ONE_FOCAL |= {12: "SIMPLE_DIVISION", 14: "SIMPLE_FISHEYE"}
_TWO_FOCALS = {1: "PINHOLE", 4: "OPENCV", 5: "OPENCV_FISHEYE", 6: "FULL_OPENCV", 7: "FOV", 10: "THIN_PRISM_FISHEYE"}
_TWO_FOCALS |= {11: "RAD_TAN_THIN_PRISM_FISHEYE", 13: "DIVISION", 15: "FISHEYE", 16: "EUCM"}
#: The one that is no perspective picture, with its parameters: without their count the next camera cannot be found.
_PANORAMA, _PANORAMA_SIZE = 17, 2
_NAMES = {**_ONE_FOCAL, **_TWO_FOCALS, _PANORAMA: "EQUIRECTANGULAR"}
_NUMBERS = {name: key for key, name in _NAMES.items()}
#: The last two of its name's coefficients are not COLMAP's.
_OPENCV_NUMBERS = 4
_POINT_BYTES = 24
_LONGEST_NAME = 1024
#: Of a text: two for each picture, and comments. And words of one line, of which no camera has so many.
_MOST_LINES, _MOST_WORDS = 20_000, 32
_EXPORT = "Export the model again (colmap model_converter)."


def _coefficients(model: int) -> int:
    """How many numbers of a model say what its lens does."""
    return _OPENCV_NUMBERS if _NAMES[model] == "OPENCV" else len(COEFFICIENTS[_NAMES[model]])


def _size(model: int) -> int:
    """How many numbers follow on a camera: focal lengths, principal point, coefficients."""
    return _PANORAMA_SIZE if model == _PANORAMA else (3 if model in _ONE_FOCAL else 4) + _coefficients(model)


class _Unfinished(Exception):
    """The file stops before what it announces."""


class _Refused(Exception):
    """The file is whole and cannot be used: code, sentence, cure."""

    def __init__(self, code: str, message: str, fix: str) -> None:
        super().__init__(message)
        self.code, self.message, self.fix = code, message, fix


@dataclass(frozen=True)
class _Camera:
    model: int
    width: int
    height: int
    numbers: tuple[float, ...]


@dataclass(frozen=True)
class _Image:
    name: str
    camera: int
    quaternion: tuple[float, ...]
    translation: tuple[float, ...]


def roots(names: Collection[str]) -> set[str]:
    """Folders with ``sparse/`` below them, or with the two files of a model in them."""
    found = set()
    for name in names:
        folder, _, last = name.rpartition("/")
        if last.casefold() in ("images.bin", "images.txt"):
            parts = folder.split("/") if folder else []
            for level, part in enumerate(parts):
                if part.casefold() == "sparse":
                    found.add("".join(f"{outer}/" for outer in parts[:level]))
                    break
            else:
                pair = f"{name[: -len(last)]}cameras.{last[-3:]}"
                found |= {f"{folder}/" if folder else ""} if pair in names else set()
    return found


def most_bytes(name: str, limits: CaptureLimits) -> int | None:
    """A model's images list the points seen in every picture beside its pose, and may be as large as a picture."""
    last = name.rpartition("/")[2].casefold()
    if last in ("images.bin", "images.txt"):
        return limits.max_file_bytes
    return limits.max_cameras_bytes if last in ("cameras.bin", "cameras.txt") else None


def read(folder: Folder) -> Cameras:
    """The largest model of the capture; binary wins where both forms are there, as in COLMAP."""
    models = _models(folder)
    place, kind = _largest(folder, models)
    files = (_file(folder, place, kind, "cameras"), _file(folder, place, kind))
    told = _Told(folder)
    parse_cameras, parse_images = (_cameras_bin, _images_bin) if kind == "bin" else (_cameras_txt, _images_txt)
    cameras, images = told.parsed(files[0], parse_cameras), told.parsed(files[1], parse_images)
    frames: tuple[StatedFrame, ...] = ()
    if cameras is not None and images is not None:
        complaints = Complaints(folder.root + files[1])
        frames = _frames(folder, cameras, images, complaints)
        told.problems += complaints.told()
    stated = Sidecar(frames=frames, camera_axes="opencv", pose="world_to_camera", format_up=CONVENTIONS["colmap"].up)
    return Cameras(
        "colmap", files, stated, tuple(told.problems), tuple(told.begun), _notes(folder, models, place, frames)
    )


class _Told:
    """Parses a model's files; keeps what is wrong with them, and which are there in part."""

    def __init__(self, folder: Folder) -> None:
        self._folder = folder
        self.problems: list[Problem] = []
        self.begun: list[str] = []

    def parsed(self, file: str, parse: Callable[[bytes, CaptureLimits], _T]) -> _T | None:
        if file not in self._folder.names:
            return None
        try:
            return parse(self._content(file), self._folder.limits)
        except _Unfinished:
            self.begun.append(file)
        except _Refused as why:
            self.problems.append(Problem(why.code, self._folder.root + file, why.message, why.fix))
        return None

    def _content(self, file: str) -> bytes:
        content, most = self._folder.content(file), most_bytes(file, self._folder.limits) or 0
        if len(content) > most:
            fix = "Leave the points out of it, or raise max_file_mb."
            raise _Refused("too_big", f"The file has more than {most:,} bytes.", fix)
        if not content.strip(b"\0"):
            raise _Unfinished
        return content


def _models(folder: Folder) -> list[tuple[str, str]]:
    """(place, "bin" or "txt") of the models that lie in one ``sparse/``, the outermost, or beside the pictures."""
    kinds: dict[str, str] = {}
    for name in sorted(folder.names):  # .bin before .txt
        place, last = name[: name.rfind("/") + 1], last_of(name)
        if last in ("images.bin", "images.txt"):
            kinds.setdefault(place, last[-3:])
    outermost = min(kinds, key=lambda place: (_around_sparse(place).count("/"), _around_sparse(place)))
    together = [place for place in kinds if _around_sparse(place) == _around_sparse(outermost)]
    return [(place, kinds[place]) for place in sorted(together, key=lambda place: (len(place), place))]


def _around_sparse(place: str) -> str:
    """The folder around a model's ``sparse/``; its own where there is none."""
    parts = place.split("/")
    inside = next((level for level, part in enumerate(parts) if part.casefold() == "sparse"), None)
    return place if inside is None else "".join(f"{part}/" for part in parts[:inside])


def _largest(folder: Folder, models: list[tuple[str, str]]) -> tuple[str, str]:
    """The model with most pictures: COLMAP writes one for each part that it could not join to the others."""
    if len(models) == 1:
        return models[0]
    counts = {model: _count(folder.content(_file(folder, *model))) for model in models}
    return max(models, key=lambda model: counts[model])


def _count(content: bytes) -> int:
    """How many pictures a model's images file has, as far as a glance tells."""
    if content[:1] == b"#" or content[:1].isdigit():
        rows = [line for line in content.split(b"\n", _MOST_LINES) if not line.startswith(b"#")]
        return len(rows) // 2
    return min(int(_COUNT.unpack_from(content)[0]), _MOST_LINES) if len(content) >= _COUNT.size else 0


def _file(folder: Folder, place: str, kind: str, what: str = "images") -> str:
    """The name of a model's file, as it is written in the folder."""
    plain = f"{place}{what}.{kind}"
    return next((name for name in sorted(folder.names) if name.casefold() == plain.casefold()), plain)


def _notes(
    folder: Folder, models: list[tuple[str, str]], place: str, frames: Collection[StatedFrame]
) -> tuple[str, ...]:
    notes = []
    if frames and not any(frame.depth for frame in frames):
        notes.append(
            "COLMAP's own unit of length is arbitrary, and there is no depth to check it by: sizes are right only if "
            'the model was scaled to metres. If not, state "applied_scale" in capture.json.'
        )
    if len(models) > 1:
        notes.append(
            f"COLMAP split the pictures into {len(models)} models; only {place.rstrip('/')} is read, which has most "
            f"pictures ({len(frames)})."
        )
    if folder.has("stereo/"):
        notes.append("stereo/: depth that COLMAP computed from the photographs is no measurement and is not used.")
    return tuple(notes)


# -- binary --------------------------------------------------------------------------------------------------------


class _Bytes:
    """Reads little-endian records off a file's content; raises ``_Unfinished`` where it ends too early."""

    def __init__(self, content: bytes) -> None:
        self._content = content
        self._position = 0

    def take(self, pattern: struct.Struct) -> tuple[int | float, ...]:
        if self._position + pattern.size > len(self._content):
            raise _Unfinished
        found = pattern.unpack_from(self._content, self._position)
        self._position += pattern.size
        return found

    def name(self) -> str:
        end = self._content.find(b"\0", self._position, self._position + _LONGEST_NAME + 1)
        if end < 0 and len(self._content) - self._position <= _LONGEST_NAME:
            raise _Unfinished
        if end < 0:
            raise _too_long()
        text = self._content[self._position : end]
        self._position = end + 1
        return _text(text)

    def skip(self, size: int) -> None:
        if size > len(self._content) - self._position:
            raise _Unfinished
        self._position += size

    @property
    def left(self) -> int:
        return len(self._content) - self._position


_COUNT = struct.Struct("<Q")
_CAMERA = struct.Struct("<iiQQ")
_IMAGE = struct.Struct("<I4d3dI")


def _cameras_bin(content: bytes, limits: CaptureLimits) -> dict[int, _Camera]:
    reader = _Bytes(content)
    found: dict[int, _Camera] = {}
    for _ in range(_counted(reader, "cameras", limits)):
        number, model, width, height = (int(value) for value in reader.take(_CAMERA))
        if model not in _NAMES:
            raise _Refused("calib", f"Camera {number} has the model {model}, which Meshdrop does not know.", _EXPORT)
        numbers = reader.take(struct.Struct(f"<{_size(model)}d"))
        _once(number, found, "camera")
        found[number] = _Camera(model, width, height, numbers)
    _nothing_left(reader)
    return found


def _images_bin(content: bytes, limits: CaptureLimits) -> list[_Image]:
    reader = _Bytes(content)
    found: list[_Image] = []
    seen: set[int] = set()
    for _ in range(_counted(reader, "pictures", limits)):
        values = reader.take(_IMAGE)
        name = reader.name()
        (points,) = reader.take(_COUNT)
        reader.skip(int(points) * _POINT_BYTES)
        _once(int(values[0]), seen, "picture")
        seen.add(int(values[0]))
        found.append(_Image(name, int(values[8]), values[1:5], values[5:8]))
    _nothing_left(reader)
    return found


def _counted(reader: _Bytes, what: str, limits: CaptureLimits) -> int:
    count = int(reader.take(_COUNT)[0])
    if count > limits.max_entries:
        message = f"The file announces {count:,} {what}; a capture has at most {limits.max_entries:,}."
        raise _Refused("set", message, "Send fewer pictures, with a model of only those.")
    return count


def _nothing_left(reader: _Bytes) -> None:
    if reader.left:
        message = f"{reader.left:,} bytes follow where the file should end: it is no COLMAP model, or damaged."
        raise _Refused("sidecar", message, _EXPORT)


# -- text ----------------------------------------------------------------------------------------------------------


def _cameras_txt(content: bytes, limits: CaptureLimits) -> dict[int, _Camera]:
    found: dict[int, _Camera] = {}
    for line in _lines(content):
        words = line.split(None, _MOST_WORDS)
        if not words or words[0].startswith(b"#"):
            continue
        number, model = _whole(words[0]), _NUMBERS.get(_text(words[1]) if len(words) > 1 else "")
        if model is None:
            raise _Refused("calib", f"Camera {number} has a model that Meshdrop does not know.", _EXPORT)
        if len(words) != 4 + _size(model):
            raise _Refused("sidecar", f"Camera {number} has {len(words)} words, not {4 + _size(model)}.", _EXPORT)
        _once(number, found, "camera")
        _few(len(found) + 1, "cameras", limits)
        numbers = tuple(_real(word) for word in words[4:])
        found[number] = _Camera(model, _whole(words[2]), _whole(words[3]), numbers)
    return found


def _images_txt(content: bytes, limits: CaptureLimits) -> list[_Image]:
    """Two lines a picture: its pose and name, then its points, which may be none."""
    found: list[_Image] = []
    seen: set[int] = set()
    announced, lines = 0, _lines(content)
    for line in lines:
        if line[:64].lstrip().startswith(b"#"):
            announced = _announced(line) or announced
            continue
        words = line.split(None, 9)
        if not words:
            continue
        if len(words) < 10:
            raise _Refused("sidecar", f"Picture {len(found) + 1} has {len(words)} words, not 10.", _EXPORT)
        numbers = tuple(_real(word) for word in words[1:8])
        _once(_whole(words[0]), seen, "picture")
        seen.add(_whole(words[0]))
        _few(len(found) + 1, "pictures", limits)
        if len(words[9]) > _LONGEST_NAME:
            raise _too_long()
        found.append(_Image(_text(words[9].rstrip()), _whole(words[8]), numbers[:4], numbers[4:]))
        _check_points(next(lines, b""), len(found))
    if len(found) < announced:
        raise _Unfinished
    return found


def _check_points(line: bytes, picture: int) -> None:
    """A picture's second line ends with a point's number; one that ends with a name is the next picture's first."""
    last = line[-64:].split()[-1:]
    if last and not last[0].removeprefix(b"-").isdigit():
        message = f"The line after that of picture {picture} holds no points: each picture has two lines."
        fix = f"Put an empty line after the line of each picture that has no points. {_EXPORT}"
        raise _Refused("sidecar", message, fix)


def _lines(content: bytes) -> Iterator[bytes]:
    """The whole lines of a text; a last one without its end is still being written."""
    position = 0
    for _ in range(_MOST_LINES):
        if (end := content.find(b"\n", position)) < 0:
            break
        yield content[position:end]
        position = end + 1
    else:
        raise _Refused("sidecar", f"The file has more than {_MOST_LINES:,} lines.", _EXPORT)
    if content[position:].strip():
        raise _Unfinished


def _announced(line: bytes) -> int:
    """COLMAP's own files say in a comment how many pictures follow."""
    _, found, rest = line[:1024].partition(b"Number of images:")
    words = rest.replace(b",", b" ").split()
    return int(words[0]) if found and words and words[0].isdigit() and len(words[0]) < 9 else 0


def _few(count: int, what: str, limits: CaptureLimits) -> None:
    if count > limits.max_entries:
        message = f"The file lists more than {limits.max_entries:,} {what}."
        raise _Refused("set", message, "Send fewer pictures, with a model of only those.")


def _whole(word: bytes) -> int:
    if word.isdigit() and len(word) < 12:
        return int(word)
    raise _Refused("sidecar", f"{_show(word)} stands where a whole number must be.", _EXPORT)


def _real(word: bytes) -> float:
    try:
        return float(word)
    except ValueError:
        raise _Refused("sidecar", f"{_show(word)} stands where a number must be.", _EXPORT) from None


def _show(word: bytes) -> str:
    return repr(word[:40].decode("utf-8", "replace"))


# -- both ----------------------------------------------------------------------------------------------------------


def _too_long() -> _Refused:
    return _Refused("sidecar", f"A picture's name is longer than {_LONGEST_NAME} bytes.", _EXPORT)


def _text(raw: bytes) -> str:
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        raise _Refused("sidecar", f"The name {_show(raw)} is not valid UTF-8.", _EXPORT) from None


def _once(number: int, seen: Collection[int], what: str) -> None:
    if number in seen:
        raise _Refused("sidecar", f"There are two {what}s with the number {number}.", _EXPORT)


def _frames(
    folder: Folder, cameras: dict[int, _Camera], images: list[_Image], complaints: Complaints
) -> tuple[StatedFrame, ...]:
    if len(images) < folder.limits.min_views:
        message = f"The model has {len(images)} pictures; a capture has {folder.limits.min_views} or more."
        complaints.add("set", message, "Take more views, or send the model that holds them.")
        return ()
    images = sorted(images, key=lambda image: image.name)
    names = [tidy_path(image.name) for image in images]
    pictures = "" if any(name in folder.names for name in names if name) else "images/"
    depth = _Beside(folder, ("depth/", "depths/", "depth_maps/"))
    masks = _Beside(folder, ("masks/", "mask/"))
    frames = []
    for image, name in zip(images, names, strict=True):
        if name is None:
            complaints.add(
                "sidecar",
                f"The picture {image.name!r:.60} has a name that no file can have.",
                "Name pictures relative to images/, as front.png.",
            )
            continue
        intrinsics = _intrinsics(image, cameras, complaints)
        matrix = _matrix(image, complaints)
        if intrinsics is not None and matrix is not None:
            frames.append(StatedFrame(pictures + name, depth.of(name), masks.of(name), matrix, intrinsics))
    return tuple(frames) if len(frames) == len(images) else ()


class _Beside:
    """Depth or masks that lie beside COLMAP's pictures under their names: all of them, once there is one."""

    def __init__(self, folder: Folder, places: tuple[str, ...]) -> None:
        place = next((place for place in places if folder.has(place)), None)
        role: Kind = "mask" if places[0] == "masks/" else "depth"
        self._files = None if place is None else FilesBeside(folder.names, place, role)

    def of(self, picture: str) -> str | None:
        """``depth/a.png`` for ``a.jpg``; ``masks/a.jpg.png`` too, which is how COLMAP names masks."""
        return None if self._files is None else self._files.of(picture)


def _intrinsics(image: _Image, cameras: dict[int, _Camera], complaints: Complaints) -> Intrinsics | None:
    camera = cameras.get(image.camera)
    if camera is None:
        complaints.add("calib", f"{image.name}: there is no camera {image.camera} in the model.", _EXPORT)
        return None
    if camera.model == _PANORAMA:
        message = f"{image.name}: the camera model {_NAMES[camera.model]} is a panorama."
        complaints.add("calib", message, "Cut pictures of one direction each out of it, and find their cameras.")
        return None
    focals = 1 if camera.model in _ONE_FOCAL else 2
    focal, (cx, cy), lens = camera.numbers[:focals], camera.numbers[focals : focals + 2], camera.numbers[focals + 2 :]
    sound = all(math.isfinite(number) for number in camera.numbers)
    if not sound or min(focal) <= 0 or not (0 < camera.width < 1e6 and 0 < camera.height < 1e6):
        message = f"{image.name}: camera {image.camera} is impossible (size, focal length or a number that is none)."
        complaints.add("calib", message, _EXPORT)
        return None
    missing = (0.0,) * (len(COEFFICIENTS[_NAMES[camera.model]]) - len(lens))
    return Intrinsics(
        w=camera.width,
        h=camera.height,
        fl_x=focal[0],
        fl_y=focal[-1],
        cx=cx,
        cy=cy,
        lens=Lens(_NAMES[camera.model], (*lens, *missing)),
    )


def _matrix(image: _Image, complaints: Complaints) -> Matrix | None:
    """World-to-camera (4, 4) of a quaternion w x y z and a translation."""
    w, x, y, z = image.quaternion
    found = pose((x, y, z, w), image.translation)
    if found is None:
        complaints.add("calib", f"{image.name}: the pose is no rotation and translation.", _EXPORT)
    return found
