"""A mesh with a material that answers to light: the metallic-roughness GLB beside the plain one.

Same container, same vertices and texture coordinates as ``models/mesh/mesh.py`` writes; added are the two textures of
the material and the tangents that its normals are meant in.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from meshdrop.models.mesh.errors import MeshError
from meshdrop.models.mesh.glb import GlbContent, GlbMaterial, encode_glb
from meshdrop.models.mesh.mesh import TexturedMesh, decode_picture, encode_picture
from meshdrop.models.mesh.output_formats import MATERIAL_FILES
from meshdrop.models.mesh.tangents import tangent_frames

__all__ = ["MATERIAL_FILES", "Material", "read_material", "write_pbr_glb"]

Picture = NDArray[np.uint8]


@dataclass(frozen=True)
class Material:
    """Three textures over one UV atlas, each (H, W, 3) uint8 with row 0 on top; sizes may differ.

    ``kd`` base colour, sRGB. ``orm`` linear: occlusion (255 = open), roughness, metallic (glTF 2.0, section 3.9.2 and
    3.9.3). ``normal`` linear: the tangent-space normal as (n + 1) / 2, +x along u, **+y up in the image**, +z out of
    the surface; (128, 128, 255) is flat.
    """

    kd: Picture
    orm: Picture
    normal: Picture

    def check(self) -> None:
        """Raise ``MeshError`` naming the first texture that breaks the promises above."""
        for field in fields(self):
            picture = getattr(self, field.name)
            if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3 or not picture.size:
                raise MeshError(f"{field.name} is {picture.dtype} {picture.shape}, expected uint8 height x width x 3")


def write_pbr_glb(mesh: TexturedMesh, material: Material, path: Path, extras: Mapping[str, Any]) -> None:
    """Write one binary glTF file: metres, +Y up by its node, three textures inside as PNG, tangents for the normals.

    The mesh gives the surface and its texture coordinates; its own texture and factors are not used. ``extras`` (plain
    JSON values) goes into ``asset.extras``. Raises ``MeshError`` or ``OSError``. The same input gives the same bytes.
    """
    material.check()
    mesh = mesh.cleaned()
    normals = mesh.vertex_normals()
    frames = tangent_frames(mesh.vertices, mesh.faces, mesh.uv, normals)
    down = np.stack([frames.uv[:, 0], 1 - frames.uv[:, 1]], axis=1)
    content = GlbContent(
        positions=mesh.vertices[frames.vertex],
        normals=normals[frames.vertex],
        texcoords=down,
        indices=frames.faces.astype(np.uint32),
        image=encode_picture(material.kd),
        image_type="image/png",
        roughness=1.0,
        metallic=1.0,
        asset={"units": "metre", "up_axis": "+Y", **extras},
        material=GlbMaterial(encode_picture(material.orm), encode_picture(material.normal), frames.tangent),
    )
    path.write_bytes(encode_glb(content))


def read_material(path: Path) -> Material:
    """The three textures of a metallic-roughness GLB; the surface itself is read by ``models.mesh.mesh.read_glb``.

    Raises ``MeshError`` when one is missing or damaged or scaled by a factor, ``OSError`` when it cannot be opened.
    """
    raw = path.read_bytes()
    try:
        length = struct.unpack_from("<I", raw, 12)[0]
        document, binary = json.loads(raw[20 : 20 + length]), raw[28 + length :]
        surface = document["materials"][0]
        metallic_roughness = surface["pbrMetallicRoughness"]
        named = [
            metallic_roughness["baseColorTexture"],
            metallic_roughness["metallicRoughnessTexture"],
            surface["normalTexture"],
        ]
        factors = [metallic_roughness.get(name, 1.0) for name in ("metallicFactor", "roughnessFactor")]
        pictures = [_image(document, binary, texture["index"]) for texture in named]
    except (LookupError, TypeError, ValueError, struct.error) as error:
        raise MeshError(f"{path.name}: no metallic-roughness material ({type(error).__name__}: {error})") from error
    if factors != [1.0, 1.0]:
        raise MeshError(f"{path.name}: its textures are scaled by factors, {factors}")
    kd, orm, normal = (decode_picture(picture, path.name) for picture in pictures)
    return Material(kd, orm, normal)


def _image(document: dict[str, Any], binary: bytes, texture: int) -> bytes:
    image = document["images"][document["textures"][texture]["source"]]
    view = document["bufferViews"][image["bufferView"]]
    start = int(view.get("byteOffset", 0))
    return binary[start : start + int(view["byteLength"])]
