"""GLBs that break the standard, each in one way, made from a sound one of ours by changing its bytes."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from meshdrop.models.mesh.mesh import write_glb
from tests import meshes

Json = dict[str, Any]


def parts(raw: bytes) -> tuple[Json, bytearray]:
    """The JSON document and the binary chunk."""
    length = struct.unpack_from("<I", raw, 12)[0]
    return json.loads(raw[20 : 20 + length]), bytearray(raw[28 + length :])


def joined(document: Json, binary: bytes) -> bytes:
    """Both as one file again."""
    text = json.dumps(document).encode()
    text += b" " * (-len(text) % 4)
    chunks = struct.pack("<I4s", len(text), b"JSON") + text + struct.pack("<I4s", len(binary), b"BIN\0") + binary
    return struct.pack("<4sII", b"glTF", 2, 12 + len(chunks)) + chunks


def _fill(raw: bytes, accessor: int, values: bytes) -> bytes:
    """The same file with the beginning of an accessor's data replaced (in ours accessor N uses view N)."""
    document, binary = parts(raw)
    start = document["bufferViews"][accessor]["byteOffset"]
    binary[start : start + len(values)] = values
    return joined(document, bytes(binary))


def _announced(raw: bytes) -> bytes:
    document, binary = parts(raw)
    document["accessors"][0]["max"][1] += 0.25
    return joined(document, bytes(binary))


def _crowded(raw: bytes) -> bytes:
    """Twelve thousand materials that nothing uses, each worth a remark, before the one error: a bad index."""
    document, binary = parts(raw)
    document["materials"] += [{"name": f"spare {number}"} for number in range(12_000)]
    start = document["bufferViews"][3]["byteOffset"]
    binary[start : start + 2] = b"\xf0\xff"
    return joined(document, bytes(binary))


_ZERO, _NAN = np.zeros(3, "<f4").tobytes(), np.full(3, np.nan, "<f4").tobytes()
#: name -> (how the sound file is broken, the validator's code for it)
BREAKS: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "wrong bounds": (_announced, "ACCESSOR_MAX_MISMATCH"),
    "a position that is no number": (lambda raw: _fill(raw, 0, _NAN), "ACCESSOR_INVALID_FLOAT"),
    "a normal without length": (lambda raw: _fill(raw, 1, _ZERO), "ACCESSOR_VECTOR3_NON_UNIT"),
    "an index out of range": (lambda raw: _fill(raw, 3, b"\xf0\xff"), "ACCESSOR_INDEX_OOB"),
    "cut off": (lambda raw: raw[:-200], "GLB_UNEXPECTED_END_OF_CHUNK_DATA"),
    "not a GLB": (lambda raw: b"hello, this is no glTF", "GLB_INVALID_MAGIC"),
    "empty": (lambda raw: b"", "GLB_UNEXPECTED_END_OF_HEADER"),
    "an error behind more remarks than are counted": (_crowded, "ACCESSOR_INDEX_OOB"),
}


def sound(path: Path) -> bytes:
    """Write a valid GLB, a torus of 1,536 vertices, and return it."""
    write_glb(meshes.torus(), path, {})
    return path.read_bytes()


def write_broken(path: Path, how: str) -> Path:
    """Write the file that is broken in this way."""
    path.write_bytes(BREAKS[how][0](sound(path)))
    return path
