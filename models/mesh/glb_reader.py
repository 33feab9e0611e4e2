"""The GLB container as trimesh reads it: the other side of ``models/mesh/glb.py``, and none of its code.

Added is what trimesh passes over: ``asset.extras``, and whether the file holds what it announces.
"""

from __future__ import annotations

import io
import json
import struct
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from meshdrop.models.mesh.errors import MeshError


@dataclass(frozen=True)
class GlbMesh:
    """What a GLB holds: ``positions`` (V, 3) float32 in its scene, ``texcoords`` (V, 2) float32 with **v up**,
    ``indices`` (F, 3) int32, the base-colour ``texture`` (H, W, 3) uint8, ``extras`` the ``asset.extras``.
    """

    positions: NDArray[np.float32]
    texcoords: NDArray[np.float32]
    indices: NDArray[np.int32]
    texture: NDArray[np.uint8]
    roughness: float
    metallic: float
    extras: dict[str, Any]


def decode_glb(raw: bytes, name: str) -> GlbMesh:
    """The one textured mesh of a GLB; ``name`` is for messages.

    Raises ``MeshError`` when the file is damaged, holds anything else, or contradicts its own header.
    """
    try:
        mesh = _mesh(raw)
        document = _document(raw)
        _check_announced_box(document, mesh.vertices)
        material = mesh.visual.material
        return GlbMesh(
            positions=np.asarray(mesh.vertices, np.float32),
            texcoords=np.asarray(mesh.visual.uv, np.float32),
            indices=np.asarray(mesh.faces, np.int32),
            texture=np.asarray(material.baseColorTexture.convert("RGB")),
            roughness=1.0 if material.roughnessFactor is None else float(material.roughnessFactor),
            metallic=1.0 if material.metallicFactor is None else float(material.metallicFactor),
            extras=document["asset"].get("extras", {}),
        )
    except Exception as error:  # trimesh raises nearly anything on a damaged file
        raise MeshError(f"{name}: not a readable textured GLB ({type(error).__name__}: {error})") from error


def _mesh(raw: bytes) -> Any:
    """The only mesh of the scene, a textured ``trimesh.Trimesh``, where the scene's nodes place it."""
    import trimesh  # noqa: PLC0415 - costs more than all writing; only reading needs it

    shown = trimesh.load_scene(io.BytesIO(raw), file_type="glb", process=False).dump()
    if len(shown) != 1:
        raise ValueError(f"the scene shows {len(shown)} meshes instead of one")
    mesh: Any = shown[0]
    if len(mesh.faces) and mesh.faces.max() >= len(mesh.vertices):
        raise ValueError(f"index {mesh.faces.max()}, but there are {len(mesh.vertices)} vertices")
    if mesh.visual.material.baseColorTexture is None:
        raise ValueError("no base-colour texture")
    return mesh


def _document(raw: bytes) -> dict[str, Any]:
    """The JSON part of a file that is as long as its header says (glTF 2.0 section 4.4)."""
    length, json_length = struct.unpack_from("<8xII", raw)
    if length != len(raw):
        raise ValueError(f"the header announces {length} bytes, the file has {len(raw)}")
    document: dict[str, Any] = json.loads(raw[20 : 20 + json_length])
    return document


def _check_announced_box(document: dict[str, Any], positions: NDArray[np.float64]) -> None:
    """The announced bounding box (section 3.6.2.5) is the real one, in the scene: viewers place their camera by it."""
    attributes = document["meshes"][0]["primitives"][0]["attributes"]
    accessor = document["accessors"][attributes["POSITION"]]
    announced = np.array([accessor["min"], accessor["max"]], np.float32)
    found = np.array([positions.min(axis=0), positions.max(axis=0)], np.float32)
    if not np.array_equal(announced, found):
        raise ValueError(f"the positions span {found.tolist()}, the file announces {announced.tolist()}")
