"""The GLB reader understands what others write, and nothing that contradicts itself gets past it."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trimesh
from PIL import Image

from models.mesh import write_glb
from models.mesh_errors import MeshError
from models.mesh_glb_reader import decode_glb
from tests import meshes

Json = dict[str, Any]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("glb") / "mesh.glb"
    write_glb(meshes.charts(meshes.torus()), path, {"model": "fusion"})
    return path.read_bytes()


def parts(raw: bytes) -> tuple[Json, bytes]:
    (length,) = struct.unpack_from("<I", raw, 12)
    return json.loads(raw[20 : 20 + length]), raw[28 + length :]


def packed(document: Json, binary: bytes) -> bytes:
    text = json.dumps(document).encode()
    text += b" " * (-len(text) % 4)
    head = struct.pack("<4sII", b"glTF", 2, 28 + len(text) + len(binary))
    return head + struct.pack("<I4s", len(text), b"JSON") + text + struct.pack("<I4s", len(binary), b"BIN\0") + binary


def test_what_trimesh_wrote_is_read_as_trimesh_reads_it() -> None:
    """Another writer: other order of buffers, no targets, a scene with a parent node, uv turned by itself."""
    ours = meshes.torus()
    image = Image.fromarray(np.random.default_rng(1).integers(0, 255, (16, 16, 3), dtype=np.uint8))
    material = trimesh.visual.material.PBRMaterial(baseColorTexture=image, roughnessFactor=0.25, metallicFactor=0.5)
    corners = ours.vertices[ours.faces].reshape(-1, 3)
    theirs = trimesh.Trimesh(
        corners, np.arange(len(corners)).reshape(-1, 3), process=False,
        visual=trimesh.visual.TextureVisuals(uv=ours.uv.reshape(-1, 2), material=material),
    )  # fmt: skip
    raw = theirs.export(file_type="glb", include_normals=True)
    read = decode_glb(raw, "theirs.glb")
    assert np.array_equal(read.positions[read.indices], ours.vertices[ours.faces])
    assert read.texcoords[read.indices] * (1, -1) + (0, 1) == pytest.approx(ours.uv, abs=1e-6)
    assert (read.roughness, read.metallic) == (0.25, 0.5)


def test_what_meshdrop_wrote_is_read_as_trimesh_reads_it(written: bytes, tmp_path: Path) -> None:
    (tmp_path / "m.glb").write_bytes(written)
    (theirs,) = trimesh.load_scene(tmp_path / "m.glb", process=False).dump()
    read = decode_glb(written, "m.glb")
    assert np.array_equal(read.indices, theirs.faces)
    assert np.array_equal(read.positions, theirs.vertices.astype(np.float32))
    assert read.texcoords * (1, -1) + (0, 1) == pytest.approx(theirs.visual.uv, abs=1e-6)
    assert read.extras["model"] == "fusion"


def test_interleaved_attributes_are_read(written: bytes) -> None:
    document, binary = parts(written)
    read = decode_glb(written, "m.glb")
    rows = np.concatenate([read.positions, read.normals, read.texcoords], axis=1).astype("<f4").tobytes()
    binary += rows
    document["buffers"][0]["byteLength"] = len(binary)
    view = {"buffer": 0, "byteOffset": len(binary) - len(rows), "byteLength": len(rows), "byteStride": 32}
    document["bufferViews"].append(view)
    for accessor, offset in ((0, 0), (1, 12), (2, 24)):
        document["accessors"][accessor] |= {"bufferView": len(document["bufferViews"]) - 1, "byteOffset": offset}
    again = decode_glb(packed(document, binary), "m.glb")
    for name in ("positions", "normals", "texcoords", "indices"):
        assert np.array_equal(getattr(again, name), getattr(read, name)), name


def edit(*path: str | int, value: Any) -> Callable[[Json], None]:
    """An edit of the JSON part: the entry under ``path`` becomes ``value``."""

    def apply(document: Json) -> None:
        place: Any = document
        for step in path[:-1]:
            place = place[step]
        place[path[-1]] = value

    return apply


CONTRADICTIONS = {
    "another box": (edit("accessors", 0, "max", value=[9, 9, 9]), "announces"),
    "moved": (edit("nodes", 0, "translation", value=[0, 0, 1]), "translation"),
    "turned": (edit("nodes", 0, "matrix", value=[0] * 16), "matrix"),
    "not shown": (edit("scenes", 0, "nodes", value=[]), "0 times"),
    "shown in circles": (edit("nodes", 0, "children", value=[0]), "times"),
    "lines": (edit("meshes", 0, "primitives", 0, "mode", value=1), "mode 1"),
    "more vertices than bytes": (edit("accessors", 0, "count", value=10**6), "do not fit"),
    "fewer normals": (edit("accessors", 1, "count", value=10), "10 normals"),
    "beyond the buffer": (edit("bufferViews", 4, "byteLength", value=10**8), "bytes"),
    "no texture": (edit("materials", 0, "pbrMetallicRoughness", value={}), "no base-colour texture"),
    "second texcoord": (
        edit("materials", 0, "pbrMetallicRoughness", "baseColorTexture", "texCoord", value=1), "other texture coord",
    ),
    "an image elsewhere": (edit("images", 0, value={"uri": "x.png", "mimeType": "image/png"}), "bufferView"),
    "needs more": (edit("extensionsRequired", value=["KHR_draco_mesh_compression"]), "draco"),
    "two meshes": (lambda document: document["meshes"].append(document["meshes"][0]), "2 meshes"),
    "glTF 1": (edit("asset", "version", value="1.0"), "1.0"),
}  # fmt: skip


@pytest.mark.parametrize("case", CONTRADICTIONS)
def test_a_contradiction_is_refused_by_name(case: str, written: bytes) -> None:
    change, says = CONTRADICTIONS[case]
    document, binary = parts(written)
    change(document)
    with pytest.raises(MeshError, match=says) as caught:
        decode_glb(packed(document, binary), "mesh.glb")
    assert caught.value.message.startswith("mesh.glb:")


def test_an_index_out_of_range_is_refused(written: bytes) -> None:
    document, binary = parts(written)
    offset = document["bufferViews"][3]["byteOffset"]
    spoilt = binary[:offset] + b"\xff\xff" + binary[offset + 2 :]
    with pytest.raises(MeshError, match="index 65535"):
        decode_glb(packed(document, spoilt), "mesh.glb")


@pytest.mark.parametrize("length", [0, 3, 11, 12, 19, 40, 2000, -1, -4])
def test_a_file_cut_anywhere_is_one_clear_error(length: int, written: bytes) -> None:
    with pytest.raises(MeshError, match=r"mesh\.glb"):
        decode_glb(written[:length], "mesh.glb")


def test_trailing_bytes_are_refused(written: bytes) -> None:
    with pytest.raises(MeshError, match="announces"):
        decode_glb(written + b"\0\0\0\0", "mesh.glb")
