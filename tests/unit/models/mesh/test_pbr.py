"""The metallic-roughness GLB: what is written is what the validator, trimesh and our reader find."""

from __future__ import annotations

import json
import struct
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trimesh
from numpy.typing import NDArray

from meshdrop.models.mesh.mesh import MeshError, TexturedMesh, read_glb, write_glb
from meshdrop.models.mesh.pbr import Material, read_material, write_pbr_glb
from tests import meshes
from tests.unit.models.mesh.test_mesh_gltf import MESHES, validate


def material(kd: NDArray[np.uint8], side: int = 32) -> Material:
    """Noise with the base colour ``kd``; normals lean a little, never into the surface."""
    noise = np.random.default_rng(3).integers(0, 256, (2, side, side, 3), dtype=np.uint8)
    noise[1, ..., 2] = 255
    return Material(kd, noise[0], noise[1])


def parts(path: Path) -> tuple[dict[str, Any], bytes]:
    """The JSON document and the binary chunk of a GLB."""
    raw = path.read_bytes()
    length = struct.unpack_from("<I", raw, 12)[0]
    return json.loads(raw[20 : 20 + length]), raw[28 + length :]


def test_the_validator_finds_no_errors_and_no_warnings(tmp_path: Path) -> None:
    paths = []
    for index, mesh in enumerate(MESHES.values()):
        paths.append(tmp_path / f"{index}.glb")
        write_pbr_glb(mesh, material(mesh.texture), paths[-1], {"generator": "Meshdrop 1.2.3"})
    for name, judgement in zip(MESHES, validate(paths), strict=True):
        errors, warnings, _, hints = judgement.counts
        assert (errors, warnings, hints) == (0, 0, 0), (name, judgement.messages)
        allowed = {"IMAGE_NPOT_DIMENSIONS"}  # an information for WebGL 1, which needed powers of two
        assert {message["code"] for message in judgement.messages} <= allowed, name


def test_the_validator_does_find_tangents_that_are_no_unit_vectors(tmp_path: Path) -> None:
    """Guards the test above."""
    path = tmp_path / "mesh.glb"
    write_pbr_glb(meshes.torus(), material(meshes.torus().texture), path, {})
    document, binary = parts(path)
    accessor = document["accessors"][document["meshes"][0]["primitives"][0]["attributes"]["TANGENT"]]
    start = document["bufferViews"][accessor["bufferView"]]["byteOffset"]
    raw = path.read_bytes()
    at = len(raw) - len(binary) + start
    path.write_bytes(raw[:at] + struct.pack("<f", 3.0) + raw[at + 4 :])
    (judgement,) = validate([path])
    assert judgement.counts[0] > 0


@pytest.mark.parametrize("mesh", [meshes.torus(), meshes.charts(meshes.sphere())], ids=["torus", "charts"])
def test_trimesh_finds_surface_and_textures(tmp_path: Path, mesh: TexturedMesh) -> None:
    path = tmp_path / "mesh.glb"
    written = material(mesh.texture)
    write_pbr_glb(mesh, written, path, {})
    (read,) = trimesh.load_scene(path, process=False).dump()
    assert isinstance(read, trimesh.Trimesh)
    visual: Any = read.visual
    surface = visual.material
    assert np.array_equal(np.asarray(surface.baseColorTexture.convert("RGB")), written.kd)
    assert np.array_equal(np.asarray(surface.metallicRoughnessTexture.convert("RGB")), written.orm)
    assert np.array_equal(np.asarray(surface.occlusionTexture.convert("RGB")), written.orm)
    assert np.array_equal(np.asarray(surface.normalTexture.convert("RGB")), written.normal)
    assert [image["name"] for image in parts(path)[0]["images"]] == ["texture", "orm", "normal"]
    assert (surface.metallicFactor, surface.roughnessFactor) == (1.0, 1.0)
    assert np.array_equal(read.triangles.astype(np.float32), mesh.cleaned().vertices[mesh.cleaned().faces])


def test_the_surface_is_the_one_of_the_plain_file(tmp_path: Path) -> None:
    mesh = meshes.charts(meshes.sphere())
    write_glb(mesh, tmp_path / "plain.glb", {})
    write_pbr_glb(mesh, material(mesh.texture), tmp_path / "pbr.glb", {})
    plain, pbr = read_glb(tmp_path / "plain.glb"), read_glb(tmp_path / "pbr.glb")
    assert np.array_equal(plain.vertices[plain.faces], pbr.vertices[pbr.faces])
    assert np.array_equal(plain.uv, pbr.uv)
    assert np.array_equal(plain.texture, pbr.texture)


def test_every_vertex_has_a_tangent_in_its_surface(tmp_path: Path) -> None:
    path = tmp_path / "mesh.glb"
    mesh = meshes.torus()
    write_pbr_glb(mesh, material(mesh.texture), path, {})
    document, binary = parts(path)

    def attribute(name: str, width: int) -> NDArray[np.float32]:
        accessor = document["accessors"][document["meshes"][0]["primitives"][0]["attributes"][name]]
        start = document["bufferViews"][accessor["bufferView"]]["byteOffset"]
        return np.frombuffer(binary, "<f4", accessor["count"] * width, start).reshape(-1, width)

    normal, tangent = attribute("NORMAL", 3), attribute("TANGENT", 4)
    assert len(tangent) == len(normal)
    assert np.abs((normal * tangent[:, :3]).sum(axis=1)).max() < 1e-6
    # u of this torus runs up on its outer side: y grows along the tangent where x leads outwards
    outer = normal[:, 0] ** 2 + normal[:, 2] ** 2 > 0.99
    position = attribute("POSITION", 3)
    outer &= position[:, 0] ** 2 + position[:, 2] ** 2 > 0.3**2
    assert outer.any()
    assert tangent[outer, 1].min() > 0.9


def test_the_material_is_read_back_byte_for_byte(tmp_path: Path) -> None:
    mesh = meshes.torus()
    written = material(mesh.texture, side=21)
    write_pbr_glb(mesh, written, tmp_path / "mesh.glb", {})
    read = read_material(tmp_path / "mesh.glb")
    for name in ("kd", "orm", "normal"):
        assert np.array_equal(getattr(read, name), getattr(written, name)), name


def test_the_same_input_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in ("one.glb", "two.glb"):
        write_pbr_glb(meshes.charts(meshes.sphere()), material(meshes.sphere().texture), tmp_path / name, {"a": 1})
    assert (tmp_path / "one.glb").read_bytes() == (tmp_path / "two.glb").read_bytes()


def test_a_file_without_the_material_is_refused(tmp_path: Path) -> None:
    write_glb(meshes.torus(), tmp_path / "plain.glb", {})
    with pytest.raises(MeshError, match=r"plain\.glb: no metallic-roughness material"):
        read_material(tmp_path / "plain.glb")


@pytest.mark.parametrize("keep", [0, 10, 19, 200, 3000])
def test_a_file_that_ends_early_is_refused(tmp_path: Path, keep: int) -> None:
    path = tmp_path / "mesh.glb"
    write_pbr_glb(meshes.torus(), material(meshes.torus().texture), path, {})
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(MeshError, match=r"mesh\.glb"):
        read_material(path)


def test_textures_of_another_kind_are_refused(tmp_path: Path) -> None:
    good = material(meshes.torus().texture)
    for wrong in (
        replace(good, kd=good.kd.astype(np.float32)),
        replace(good, orm=good.orm[..., 0]),
        replace(good, normal=good.normal[:0]),
    ):
        with pytest.raises(MeshError, match="expected uint8 height x width x 3"):
            write_pbr_glb(meshes.torus(), wrong, tmp_path / "mesh.glb", {})
    assert not (tmp_path / "mesh.glb").exists()
