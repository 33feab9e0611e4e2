"""Reading a GLB strictly by the glTF 2.0 specification: one textured triangle mesh, as it lies, or a clear error.

Shares nothing with the writer in ``models/mesh_glb.py``, so that reading a file back proves something. That both mean
the same by a GLB as the rest of the world is proven in the tests, where trimesh and the Khronos validator read what
the writer wrote and this reader reads what trimesh wrote; importing trimesh for every measurement costs more time
than all of the measuring. Stricter than trimesh: everything that the file announces is compared with what it holds.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.mesh_errors import MeshError

#: Component types (glTF 2.0 section 3.6.2.2) and the number of components of an element type.
COMPONENT_DTYPES = {5120: "i1", 5121: "u1", 5122: "<i2", 5123: "<u2", 5125: "<u4", 5126: "<f4"}
ELEMENT_WIDTHS = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4}
INDEX_TYPES = (5121, 5123, 5125)
FLOAT = 5126
TRIANGLES = 4


@dataclass(frozen=True)
class GlbMesh:
    """What a GLB holds: ``positions`` and ``normals`` (V, 3) float32, ``texcoords`` (V, 2) float32 with v **down**,
    ``indices`` (F, 3) int32, ``image`` the encoded base-colour picture, ``extras`` the ``asset.extras``.
    """

    positions: NDArray[np.float32]
    normals: NDArray[np.float32]
    texcoords: NDArray[np.float32]
    indices: NDArray[np.int32]
    image: bytes
    roughness: float
    metallic: float
    extras: dict[str, Any]


def decode_glb(raw: bytes, name: str) -> GlbMesh:
    """The one mesh of a GLB; ``name`` is for messages.

    Raises ``MeshError`` when the file is damaged, contradicts itself, moves its mesh by a node's transform, or holds
    anything else than one mesh of triangles with positions, normals, texture coordinates and an embedded texture.
    """
    try:
        return _mesh(*_document_and_binary(raw))
    except (KeyError, IndexError, TypeError, ValueError, AttributeError, struct.error) as error:
        raise MeshError(f"{name}: not a readable textured GLB ({type(error).__name__}: {error})") from error


def _document_and_binary(raw: bytes) -> tuple[dict[str, Any], bytes]:
    magic, version, length = struct.unpack_from("<4sII", raw)
    if magic != b"glTF" or version != 2:
        raise ValueError(f"the file begins with {magic!r}, version {version}")
    if length != len(raw):
        raise ValueError(f"the header announces {length} bytes, the file has {len(raw)}")
    chunks = list(_chunks(raw))
    if [kind for kind, _ in chunks] != [b"JSON", b"BIN\0"]:
        raise ValueError(f"the chunks are {[kind for kind, _ in chunks]}")
    document = json.loads(chunks[0][1])
    if document["asset"]["version"] != "2.0":
        raise ValueError(f"glTF version {document['asset']['version']}")
    if document.get("extensionsRequired"):
        raise ValueError(f"requires the extensions {document['extensionsRequired']}")
    return document, chunks[1][1]


def _chunks(raw: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Type and content of every chunk (section 4.4.3)."""
    offset = 12
    while offset < len(raw):
        length, kind = struct.unpack_from("<I4s", raw, offset)
        offset += 8
        if length % 4 or offset + length > len(raw):
            raise ValueError(f"a chunk of {length} bytes at {offset} does not fit")
        yield kind, raw[offset : offset + length]
        offset += length


def _mesh(document: dict[str, Any], binary: bytes) -> GlbMesh:
    primitive = _only("primitives", _only("meshes", document["meshes"])["primitives"])
    if primitive.get("mode", TRIANGLES) != TRIANGLES:
        raise ValueError(f"primitive mode {primitive['mode']} instead of triangles")
    _check_scene(document)
    named = primitive["attributes"]
    positions, normals, texcoords = (
        _vectors(document, binary, named[attribute], width)
        for attribute, width in (("POSITION", 3), ("NORMAL", 3), ("TEXCOORD_0", 2))
    )
    if not len(positions) == len(normals) == len(texcoords):
        raise ValueError(f"{len(positions)} positions, {len(normals)} normals, {len(texcoords)} texture coordinates")
    _check_announced_box(document["accessors"][named["POSITION"]], positions)
    material = document["materials"][primitive["material"]].get("pbrMetallicRoughness", {})
    if "baseColorTexture" not in material:
        raise ValueError("no base-colour texture")
    return GlbMesh(
        positions=positions,
        normals=normals,
        texcoords=texcoords,
        indices=_indices(document, binary, primitive["indices"], len(positions)),
        image=_image(document, binary, material["baseColorTexture"]),
        roughness=float(material.get("roughnessFactor", 1.0)),
        metallic=float(material.get("metallicFactor", 1.0)),
        extras=document["asset"].get("extras", {}),
    )


def _only(what: str, items: list[dict[str, Any]]) -> dict[str, Any]:
    if len(items) != 1:
        raise ValueError(f"{len(items)} {what} instead of one")
    return items[0]


def _check_scene(document: dict[str, Any]) -> None:
    """The scene shows the mesh once, exactly where its positions say."""
    nodes = document["nodes"]
    open_nodes = list(document["scenes"][document.get("scene", 0)]["nodes"])
    shown = 0
    for _ in nodes:
        if not open_nodes:
            break
        node = nodes[open_nodes.pop()]
        if moved := {"translation", "rotation", "scale"} & node.keys():
            raise ValueError(f"a node moves the mesh by its {', '.join(sorted(moved))}")
        if not np.array_equal(node.get("matrix", np.eye(4).ravel()), np.eye(4).ravel()):
            raise ValueError("a node moves the mesh by its matrix")
        shown += node.get("mesh") == 0
        open_nodes += node.get("children", [])
    if shown != 1 or open_nodes:
        raise ValueError(f"the scene shows the mesh {shown} times")


def _vectors(document: dict[str, Any], binary: bytes, index: int, width: int) -> NDArray[np.float32]:
    accessor = document["accessors"][index]
    if accessor["componentType"] != FLOAT or ELEMENT_WIDTHS[accessor["type"]] != width:
        raise ValueError(f"an attribute is {accessor['type']} of component type {accessor['componentType']}")
    return _elements(document, binary, accessor).astype(np.float32)


def _indices(document: dict[str, Any], binary: bytes, index: int, count: int) -> NDArray[np.int32]:
    accessor = document["accessors"][index]
    if accessor["componentType"] not in INDEX_TYPES or accessor["type"] != "SCALAR" or accessor["count"] % 3:
        raise ValueError(f"indices are {accessor['count']} {accessor['type']} of type {accessor['componentType']}")
    indices = _elements(document, binary, accessor)
    if indices.size and indices.max() >= count:
        raise ValueError(f"index {indices.max()}, but there are {count} vertices")
    return indices.reshape(-1, 3).astype(np.int32)


def _elements(document: dict[str, Any], binary: bytes, accessor: dict[str, Any]) -> NDArray[Any]:
    """An accessor's elements (N, width), by the offsets and strides of sections 3.6.2.4 and 3.6.2.5."""
    if "sparse" in accessor:
        raise ValueError("sparse accessors are not read")
    dtype, width = np.dtype(COMPONENT_DTYPES[accessor["componentType"]]), ELEMENT_WIDTHS[accessor["type"]]
    view = document["bufferViews"][accessor["bufferView"]]
    content, offset = _content(document, binary, accessor["bufferView"]), accessor.get("byteOffset", 0)
    stride = view.get("byteStride", dtype.itemsize * width)
    count, element = accessor["count"], dtype.itemsize * width
    if offset < 0 or stride < element or offset + stride * (count - 1) + element > len(content):
        raise ValueError(f"{count} elements of {element} bytes do not fit into a view of {len(content)}")
    return np.ndarray((count, width), dtype, content, offset, (stride, dtype.itemsize))


def _content(document: dict[str, Any], binary: bytes, index: int) -> bytes:
    """The bytes of a buffer view, which must lie in the file's one buffer."""
    view = document["bufferViews"][index]
    first, length = view.get("byteOffset", 0), view["byteLength"]
    announced = _only("buffers", document["buffers"])["byteLength"]
    if view["buffer"] != 0 or first < 0 or first + length > min(announced, len(binary)):
        raise ValueError(f"bytes {first}..{first + length} of {len(binary)} in buffer {view['buffer']}")
    return binary[first : first + length]


def _image(document: dict[str, Any], binary: bytes, named: dict[str, Any]) -> bytes:
    if named.get("texCoord", 0) != 0:
        raise ValueError("the texture uses other texture coordinates than the first")
    picture = document["images"][document["textures"][named["index"]]["source"]]
    if picture["mimeType"] not in {"image/png", "image/jpeg"}:
        raise ValueError(f"a texture of type {picture['mimeType']}")
    return _content(document, binary, picture["bufferView"])


def _check_announced_box(accessor: dict[str, Any], positions: NDArray[np.float32]) -> None:
    """The announced bounding box (section 3.6.2.5) is the real one: viewers place their camera by it."""
    low, high = positions.min(axis=0, initial=np.inf), positions.max(axis=0, initial=-np.inf)
    announced = np.array([accessor["min"], accessor["max"]], np.float32)
    if np.isfinite(positions).all() and not np.array_equal(announced, [low, high]):
        raise ValueError(f"the positions span {low}..{high}, the file announces {announced[0]}..{announced[1]}")
