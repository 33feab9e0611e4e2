"""Cameras of an LLFF capture: ``poses_bounds.npy`` beside ``images/``.

github.com/Fyusion/LLFF, "Using your own poses without running COLMAP": a row of 17 numbers a picture, in the order of
the pictures' names. Fifteen of them are a matrix of 3 x 5: camera-to-world, whose columns are the camera's down, right
and backwards and its place, then height, width and focal length in pixels. Two are the nearest and farthest content,
which nothing here needs. The unit is that of COLMAP, by which most of these are made: arbitrary.

The array is read here: of NumPy's format (numpy.lib.format, versions 1 and 2) only plain numbers, never a pickle.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Collection

from meshdrop.models.axes.conventions import CONVENTIONS
from meshdrop.models.files.names import is_rendered_pass
from meshdrop.models.files.pictures import suffixes
from meshdrop.models.formats.formats import Cameras, Folder
from meshdrop.models.formats.json_table import Complaints
from meshdrop.models.formats.sidecar import Intrinsics, Sidecar, StatedFrame

FILE = "poses_bounds.npy"
_COLUMNS = 17
_HEADER = re.compile(
    rb"\{'descr': ?'([<>])f([48])', ?'fortran_order': ?False, ?'shape': ?\((\d{1,6}), ?(\d{1,6}),?\),? ?\}[ \n]*"
)
_AGAIN = "Make the file again (LLFF: imgs2poses.py), or send a COLMAP model."
_UNIT = (
    "The unit of length of poses_bounds.npy is arbitrary, and there is no depth to check it by: sizes are right only "
    'if the poses were scaled to metres. If not, state "applied_scale" in capture.json.'
)


class _Unfinished(Exception):
    """The file stops before what its header announces."""


def roots(names: Collection[str]) -> set[str]:
    """Folders with a ``poses_bounds.npy``."""
    return {name[: -len(FILE)] for name in names if name.rpartition("/")[2] == FILE}


def read(folder: Folder) -> Cameras:
    """A camera for each picture in ``images/``, in the order of their names."""
    file = min((name for name in folder.names if name.rpartition("/")[2] == FILE), key=lambda name: name.count("/"))
    complaints = Complaints(folder.root + file)
    try:
        table = _array(folder.content(file), complaints, folder.limits.max_cameras_bytes)
    except _Unfinished:
        return Cameras("llff", (file,), begun=(file,))
    pictures, rows = _pictures(folder), table or []
    if len(pictures) > len(rows) and not complaints.count:
        message = f"It has {len(rows)} cameras, and there are {len(pictures)} pictures: nothing says which are whose."
        complaints.add("set", message, "Send the pictures that the file was made of, and no others.")
    awaited = [f"{_place(folder)}picture {len(pictures) + 1} of {len(rows)}"] if len(pictures) < len(rows) else []
    frames: tuple[StatedFrame, ...] = ()
    if not complaints.count and not awaited:
        frames = tuple(_frame(row, name, folder) for row, name in zip(rows, pictures, strict=True))
    notes = () if any(frame.depth for frame in frames) else (_UNIT,)
    stated = Sidecar(frames=frames, format_up=CONVENTIONS["llff"].up)
    return Cameras("llff", (file, *awaited), stated, complaints.told(), notes=notes, by_order=True)


def _place(folder: Folder) -> str:
    return "images/" if folder.has("images/") else ""


def _pictures(folder: Folder) -> list[str]:
    place, endings = _place(folder), tuple(f".{ending}" for ending in suffixes("image"))
    return sorted(
        name
        for name in folder.names
        if name.startswith(place)
        and "/" not in name[len(place) :]
        and name.casefold().endswith(endings)
        and not is_rendered_pass(name)
    )


def _frame(row: tuple[float, ...], picture: str, folder: Folder) -> StatedFrame:
    """Columns down, right, backwards, place, (height, width, focal length) as OpenGL: right, up, backwards, place."""
    lines = [row[start : start + 5] for start in (0, 5, 10)]
    height, width, focal = (line[4] for line in lines)
    matrix = (*((line[1], -line[0], line[2], line[3]) for line in lines), (0.0, 0.0, 0.0, 1.0))
    stem = picture.rpartition("/")[2].rpartition(".")[0]
    depth = f"depth/{stem}.png" if folder.has("depth/") else None
    mask = f"masks/{stem}.png" if folder.has("masks/") else None
    return StatedFrame(picture, depth, mask, matrix, Intrinsics(w=width, h=height, fl_x=focal, fl_y=focal))


def _array(content: bytes, complaints: Complaints, most: int) -> list[tuple[float, ...]] | None:
    """Rows of 17 finite numbers, the sizes and focal lengths above 0; None and a complaint for anything else."""
    if len(content) > most:
        complaints.add("sidecar", f"The file is larger than {most:,} bytes.", _AGAIN)
        return None
    if not content.strip(b"\0"):
        raise _Unfinished
    header, data = _parts(content)
    found = _HEADER.fullmatch(header) if header is not None else None
    if found is None or int(found[4]) != _COLUMNS:
        message = "The file is no array of numbers with 17 columns, as LLFF writes it with NumPy."
        complaints.add("sidecar", message, _AGAIN)
        return None
    order, size, count = found[1].decode(), int(found[2]), int(found[3])
    if len(data) < count * _COLUMNS * size:
        raise _Unfinished
    if len(data) > count * _COLUMNS * size:
        complaints.add("sidecar", "Bytes follow where the array should end.", _AGAIN)
        return None
    rows = list(struct.Struct(f"{order}{_COLUMNS}{'f' if size == 4 else 'd'}").iter_unpack(data))
    if any(not all(abs(value) < 1e9 for value in row[:15]) or min(row[4], row[9], row[14]) <= 0 for row in rows):
        complaints.add("calib", "A number is none, or a size or focal length is not above 0.", _AGAIN)
        return None
    return rows


def _parts(content: bytes) -> tuple[bytes | None, bytes]:
    """Header and data of an .npy file; no header where it is none."""
    magic = b"\x93NUMPY"
    if not content.startswith(magic):
        if magic.startswith(content):
            raise _Unfinished
        return None, b""
    lengths = {1: struct.Struct("<H"), 2: struct.Struct("<I")}
    length = lengths.get(content[6] if len(content) > 6 else 1)
    if length is None:
        return None, b""
    start = 8 + length.size
    if len(content) < start:
        raise _Unfinished
    end = start + int(length.unpack_from(content, 8)[0])
    if end > 1024:
        return None, b""
    if len(content) < end:
        raise _Unfinished
    return content[start:end], content[end:]
