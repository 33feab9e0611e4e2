"""PLY read back; knows the format, and nothing of ``models/mesh/ply.py``."""

from __future__ import annotations

import numpy as np

from meshdrop.models.mesh.delivered import (
    DeliveredMesh,
    DeliveredSurface,
    check_agreement,
    check_surface,
    in_range,
    parsed,
)
from meshdrop.models.mesh.errors import MeshError

PLY_TYPES = {
    "char": "i1",
    "uchar": "u1",
    "short": "i2",
    "ushort": "u2",
    "int": "i4",
    "uint": "u4",
    "int8": "i1",
    "uint8": "u1",
    "int16": "i2",
    "uint16": "u2",
    "int32": "i4",
    "uint32": "u4",
    "float": "f4",
    "double": "f8",
    "float32": "f4",
    "float64": "f8",
}


def check(files: DeliveredMesh) -> int:
    """The GLB's surface, with colours; how many places it has."""
    surface = parsed("mesh.ply", _read_ply, files.raw["mesh.ply"])
    check_surface("mesh.ply", surface)
    check_agreement("mesh.ply", surface, files.surface)
    return surface.vertices


def _read_ply(raw: bytes) -> DeliveredSurface:
    """Positions of a binary little-endian PLY with scalar vertex properties and triangles."""
    head, _, body = raw.partition(b"end_header\n")
    lines = head.decode("ascii").splitlines()
    if lines[:2] != ["ply", "format binary_little_endian 1.0"]:
        raise MeshError("mesh.ply is not a binary little-endian PLY")
    counts = {words[1]: int(words[2]) for words in map(str.split, lines) if words[0] == "element"}
    scalars = [words for words in map(str.split, lines) if words[0] == "property" and words[1] != "list"]
    lists = [words for words in map(str.split, lines) if words[0] == "property" and words[1] == "list"]
    vertex = np.dtype([(name, "<" + PLY_TYPES[kind]) for _, kind, name in scalars])
    face = np.dtype([("count", "<" + PLY_TYPES[lists[0][2]]), ("corners", "<" + PLY_TYPES[lists[0][3]], 3)])
    split = counts["vertex"] * vertex.itemsize
    if len(body) != split + counts["face"] * face.itemsize:
        raise MeshError(f"mesh.ply holds {len(body)} bytes of data, its header announces another number")
    points, triangles = np.frombuffer(body[:split], vertex), np.frombuffer(body[split:], face)
    if not (triangles["count"] == 3).all():
        raise MeshError("mesh.ply holds faces that are no triangles")
    if not {"red", "green", "blue"} <= set(vertex.names or ()):
        raise MeshError("mesh.ply has no vertex colours")
    positions = np.stack([points[axis] for axis in "xyz"], axis=1).astype(np.float64)
    faces, positions = in_range("mesh.ply", triangles["corners"].astype(np.int64), positions)
    return DeliveredSurface(positions[faces], None, len(positions))
