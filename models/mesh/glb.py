"""The GLB container: arrays in, bytes out. glTF 2.0, one mesh, one material, nothing but the core.

Written here instead of through trimesh because importing trimesh costs seconds of every run, and because the
bytes must be the same for the same mesh and carry the buffer targets that the validator asks for (glTF 2.0
section 3.6.1.1). What is written is always read back by trimesh in ``models/mesh/glb_reader.py``, in the tests by
the Khronos validator too.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from meshdrop.models.axes.stance import Stance

if TYPE_CHECKING:
    from meshdrop.models.mesh.mesh import FinishedMesh

MAGIC = 0x46546C67  # "glTF"
CHUNK_JSON = 0x4E4F534A
CHUNK_BIN = 0x004E4942
ARRAY_BUFFER, ELEMENT_ARRAY_BUFFER = 34962, 34963
LINEAR, LINEAR_MIPMAP_LINEAR, CLAMP_TO_EDGE = 9729, 9987, 33071


@dataclass(frozen=True)
class GlbMaterial:
    """What a full metallic-roughness material adds to the base colour.

    ``orm`` (occlusion, roughness, metallic) and ``normal`` are encoded pictures of the same MIME type as the base
    colour; ``tangents`` (V, 4) float32, unit vectors with a fourth value of 1 or -1 (glTF 2.0 section 3.7.2.1).
    """

    orm: bytes
    normal: bytes
    tangents: NDArray[np.float32]


@dataclass(frozen=True)
class GlbContent:
    """What one Meshdrop GLB holds.

    ``positions`` and ``normals`` (V, 3) float32; ``texcoords`` (V, 2) float32 with **v down** (glTF: (0, 0) is
    the upper left corner of the image); ``indices`` (F, 3) uint32; ``image`` the encoded picture, ``image_type``
    its MIME type; ``asset`` goes into ``asset.extras``, and the mesh's node turns what it says is up to +Y
    (``models/axes/stance.py``). Without ``material`` the picture is all there is to the surface, with its two factors.
    """

    positions: NDArray[np.float32]
    normals: NDArray[np.float32]
    texcoords: NDArray[np.float32]
    indices: NDArray[np.uint32]
    image: bytes
    image_type: str
    roughness: float
    metallic: float
    asset: Mapping[str, Any]
    material: GlbMaterial | None = None


def write(finished: FinishedMesh, folder: Path) -> None:
    """Write ``mesh.glb``."""
    (folder / "mesh.glb").write_bytes(glb_of(finished))


def glb_of(finished: FinishedMesh, picture_type: str = "image/png") -> bytes:
    """One binary glTF file: metres, +Y up by its node, the picture inside, whose MIME type is ``picture_type``."""
    mesh, (texcoords, corner) = finished.mesh, finished.texcoords
    # a glTF vertex is one (position, uv) pair: split where the charts meet, nowhere else
    pair_of_corner = mesh.faces.ravel().astype(np.int64) << 32 | corner.ravel()
    pairs, indices = np.unique(pair_of_corner, return_inverse=True)
    vertex, texcoord = pairs >> 32, pairs & 0xFFFFFFFF
    down = np.stack([texcoords[:, 0], 1 - texcoords[:, 1]], axis=1)
    content = GlbContent(
        positions=mesh.vertices[vertex],
        normals=finished.normals[vertex],
        texcoords=down[texcoord],
        indices=indices.reshape(-1, 3).astype(np.uint32),
        image=finished.picture,
        image_type=picture_type,
        roughness=mesh.roughness,
        metallic=mesh.metallic,
        asset={"units": "metre", "up_axis": "+Y", **finished.extras},
    )
    return encode_glb(content)


def encode_glb(content: GlbContent) -> bytes:
    """One GLB file. The same content always gives the same bytes."""
    index_type = np.uint16 if len(content.positions) <= 0xFFFF else np.uint32
    blobs: list[tuple[bytes, int | None]] = [
        (content.positions.astype("<f4").tobytes(), ARRAY_BUFFER),
        (content.normals.astype("<f4").tobytes(), ARRAY_BUFFER),
        (content.texcoords.astype("<f4").tobytes(), ARRAY_BUFFER),
        (content.indices.astype(index_type).tobytes(), ELEMENT_ARRAY_BUFFER),
        (content.image, None),
    ]
    if content.material is not None:
        blobs += [
            (content.material.tangents.astype("<f4").tobytes(), ARRAY_BUFFER),
            (content.material.orm, None),
            (content.material.normal, None),
        ]
    views, binary = _lay_out(blobs)
    document = _document(content, views, len(binary), 5123 if index_type is np.uint16 else 5125)
    if content.material is not None:
        _add_material(document, content)
    text = json.dumps(document, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()
    text += b" " * (-len(text) % 4)
    total = 12 + 8 + len(text) + 8 + len(binary)
    return b"".join(
        [
            struct.pack("<III", MAGIC, 2, total),
            struct.pack("<II", len(text), CHUNK_JSON),
            text,
            struct.pack("<II", len(binary), CHUNK_BIN),
            binary,
        ]
    )


def _lay_out(blobs: list[tuple[bytes, int | None]]) -> tuple[list[dict[str, int]], bytes]:
    """Buffer views and the binary chunk, every view on a multiple of four bytes."""
    views: list[dict[str, int]] = []
    parts: list[bytes] = []
    offset = 0
    for blob, target in blobs:
        view = {"buffer": 0, "byteOffset": offset, "byteLength": len(blob)}
        views.append(view if target is None else view | {"target": target})
        parts += [blob, b"\0" * (-len(blob) % 4)]
        offset += len(blob) + len(parts[-1])
    return views, b"".join(parts)


def _document(content: GlbContent, views: list[dict[str, int]], length: int, index_type: int) -> dict[str, Any]:
    count = len(content.positions)
    generator = str(content.asset.get("generator", "Meshdrop"))
    return {
        "asset": {"version": "2.0", "generator": generator, "extras": dict(content.asset)},
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [_node(Stance.of(content.asset))],
        "meshes": [
            {
                "name": "mesh",
                "primitives": [
                    {
                        "attributes": {"POSITION": 0, "NORMAL": 1, "TEXCOORD_0": 2},
                        "indices": 3,
                        "material": 0,
                        "mode": 4,
                    }
                ],
            }
        ],
        "materials": [
            {
                "name": "surface",
                "pbrMetallicRoughness": {
                    "baseColorTexture": {"index": 0},
                    "metallicFactor": float(content.metallic),
                    "roughnessFactor": float(content.roughness),
                },
            }
        ],
        "textures": [{"source": 0, "sampler": 0}],
        "images": [{"name": "texture", "bufferView": 4, "mimeType": content.image_type}],
        # an atlas must not repeat: its borders belong to different charts
        "samplers": [
            {"magFilter": LINEAR, "minFilter": LINEAR_MIPMAP_LINEAR, "wrapS": CLAMP_TO_EDGE, "wrapT": CLAMP_TO_EDGE}
        ],
        "buffers": [{"byteLength": length}],
        "bufferViews": views,
        "accessors": [
            {
                "bufferView": 0,
                "componentType": 5126,
                "count": count,
                "type": "VEC3",
                "min": content.positions.min(axis=0).tolist(),
                "max": content.positions.max(axis=0).tolist(),
            },
            {"bufferView": 1, "componentType": 5126, "count": count, "type": "VEC3"},
            {"bufferView": 2, "componentType": 5126, "count": count, "type": "VEC2"},
            {"bufferView": 3, "componentType": index_type, "count": content.indices.size, "type": "SCALAR"},
        ],
    }


def _node(stance: Stance) -> dict[str, Any]:
    """The one node; a mesh that stands already is not turned at all (glTF 2.0 section 3.5.3)."""
    node: dict[str, Any] = {"mesh": 0, "name": "mesh"}
    return node if stance.is_upright else node | {"rotation": list(stance.quaternion)}


def _add_material(document: dict[str, Any], content: GlbContent) -> None:
    """Name what ``encode_glb`` laid behind the base colour: view 5 holds tangents, 6 and 7 the two pictures."""
    document["accessors"].append(
        {"bufferView": 5, "componentType": 5126, "count": len(content.positions), "type": "VEC4"}
    )
    document["meshes"][0]["primitives"][0]["attributes"]["TANGENT"] = 4
    for index, name in enumerate(("orm", "normal"), start=1):
        document["images"].append({"name": name, "bufferView": 5 + index, "mimeType": content.image_type})
        document["textures"].append({"source": index, "sampler": 0})
    surface = document["materials"][0]
    surface["pbrMetallicRoughness"]["metallicRoughnessTexture"] = {"index": 1}
    surface["occlusionTexture"] = {"index": 1}
    surface["normalTexture"] = {"index": 2}
