"""OBJ and MTL read back; knows the formats, and nothing of ``models/mesh/obj.py``."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from meshdrop.models.mesh.delivered import (
    DeliveredMesh,
    DeliveredSurface,
    check_agreement,
    check_surface,
    in_range,
    parsed,
)
from meshdrop.models.mesh.errors import MeshError


def check(files: DeliveredMesh) -> int:
    """The GLB's surface, with a material and a texture that lie beside it; how many places it has."""
    surface, library = parsed("mesh.obj", _read_obj, files.raw["mesh.obj"])
    _check_references(library, files.raw)
    check_surface("mesh.obj", surface)
    check_agreement("mesh.obj", surface, files.surface)
    return surface.vertices


def _read_obj(raw: bytes) -> tuple[DeliveredSurface, str]:
    """Positions and texture coordinates of an OBJ whose faces are all ``v/vt/vn`` triangles, and its MTL's name."""
    rows: dict[bytes, list[bytes]] = {b"v": [], b"vt": [], b"f": [], b"mtllib": []}
    for line in raw.splitlines():
        kind, _, rest = line.partition(b" ")
        if kind in rows:
            rows[kind].append(rest)
    positions = _numbers(b" ".join(rows[b"v"]), np.float64).reshape(-1, 3)
    texcoords = _numbers(b" ".join(rows[b"vt"]), np.float64).reshape(-1, 2)
    corners = _numbers(b" ".join(rows[b"f"]).replace(b"/", b" "), np.int64).reshape(-1, 3, 3) - 1
    faces, positions = in_range("mesh.obj", corners[..., 0], positions)
    named, texcoords = in_range("mesh.obj", corners[..., 1], texcoords)
    return DeliveredSurface(positions[faces], texcoords[named], len(positions)), rows[b"mtllib"][0].decode()


def _numbers(text: bytes, dtype: type) -> NDArray[Any]:
    """Numbers between spaces; four times as fast as splitting first. Raises ``ValueError`` for anything else."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # NumPy 2 only warns about text that is not a number
        try:
            return np.fromstring(text.decode("ascii"), dtype, sep=" ")
        except DeprecationWarning as warning:
            raise ValueError(str(warning)) from warning


def _check_references(library: str, raw: Mapping[str, bytes]) -> None:
    """The OBJ names the MTL beside it, and the MTL names the texture beside it."""
    if library not in raw:
        raise MeshError(f"mesh.obj refers to {library!r}, which is not among the files")
    statements = dict(line.split(None, 1) for line in raw[library].decode("ascii").splitlines() if " " in line)
    if statements.get("map_Kd") not in raw:
        raise MeshError(f"{library} refers to {statements.get('map_Kd')!r}, which is not among the files")
