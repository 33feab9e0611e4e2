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

from meshdrop.models.axes.stance import Stance
from meshdrop.models.mesh.errors import MeshError

#: How far entries of the node's rotation may be from what the extras say.
_TURN_TOLERANCE = 1e-6


@dataclass(frozen=True)
class GlbMesh:
    """What a GLB holds: ``positions`` (V, 3) float32 in the capture's world (as they are stored, before the node turns
    them), ``texcoords`` (V, 2) float32 with **v up**, ``indices`` (F, 3) int32, the base-colour ``texture`` (H, W, 3)
    uint8, ``extras`` the ``asset.extras``.
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
        mesh, turn = _mesh(raw)
        document = _document(raw)
        extras = document["asset"].get("extras", {})
        _check_turn(turn, Stance.of(extras))
        _check_announced_box(document, mesh.vertices)
        material = mesh.visual.material
        return GlbMesh(
            positions=np.asarray(mesh.vertices, np.float32),
            texcoords=np.asarray(mesh.visual.uv, np.float32),
            indices=np.asarray(mesh.faces, np.int32),
            texture=np.asarray(material.baseColorTexture.convert("RGB")),
            roughness=1.0 if material.roughnessFactor is None else float(material.roughnessFactor),
            metallic=1.0 if material.metallicFactor is None else float(material.metallicFactor),
            extras=extras,
        )
    except Exception as error:  # trimesh raises nearly anything on a damaged file
        raise MeshError(f"{name}: not a readable textured GLB ({type(error).__name__}: {error})") from error


def _mesh(raw: bytes) -> tuple[Any, NDArray[np.float64]]:
    """The only mesh of the scene, a textured ``trimesh.Trimesh`` as it is stored, and the (4, 4) by which the scene's
    nodes place it."""
    import trimesh  # noqa: PLC0415 - costs more than all writing; only reading needs it

    scene: Any = trimesh.load_scene(io.BytesIO(raw), file_type="glb", process=False)
    shown = scene.graph.nodes_geometry
    if len(shown) != 1:
        raise ValueError(f"the scene shows {len(shown)} meshes instead of one")
    turn, name = scene.graph[shown[0]]
    mesh: Any = scene.geometry[name]
    if len(mesh.faces) and mesh.faces.max() >= len(mesh.vertices):
        raise ValueError(f"index {mesh.faces.max()}, but there are {len(mesh.vertices)} vertices")
    if mesh.visual.material.baseColorTexture is None:
        raise ValueError("no base-colour texture")
    return mesh, np.asarray(turn, np.float64)


def _document(raw: bytes) -> dict[str, Any]:
    """The JSON part of a file that is as long as its header says (glTF 2.0 section 4.4)."""
    length, json_length = struct.unpack_from("<8xII", raw)
    if length != len(raw):
        raise ValueError(f"the header announces {length} bytes, the file has {len(raw)}")
    document: dict[str, Any] = json.loads(raw[20 : 20 + json_length])
    return document


def _check_turn(turn: NDArray[np.float64], stance: Stance) -> None:
    """The nodes do what the extras say: the way back to the capture's world is the one that is told, and no other."""
    told = np.eye(4)
    told[:3, :3] = stance.rotation
    if not np.abs(turn - told).max() <= _TURN_TOLERANCE:
        raise ValueError(f"its nodes place the mesh by {turn.tolist()}, what it announces is {told.tolist()}")


def _check_announced_box(document: dict[str, Any], positions: NDArray[np.float64]) -> None:
    """The announced bounding box (section 3.6.2.5) is the real one: viewers place their camera by it."""
    attributes = document["meshes"][0]["primitives"][0]["attributes"]
    accessor = document["accessors"][attributes["POSITION"]]
    announced = np.array([accessor["min"], accessor["max"]], np.float32)
    found = np.array([positions.min(axis=0), positions.max(axis=0)], np.float32)
    if not np.array_equal(announced, found):
        raise ValueError(f"the positions span {found.tolist()}, the file announces {announced.tolist()}")
