"""The reload check finds whatever is wrong with delivered files."""

from __future__ import annotations

import shutil
import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from meshdrop.models.mesh.mesh import MESH_FILES, MeshError, write_all, write_glb
from meshdrop.models.mesh.output_formats import MATERIAL_FILES
from meshdrop.models.mesh.pbr import Material, write_pbr_glb
from meshdrop.models.mesh.radiance_hdr import write_hdr
from meshdrop.models.mesh.reload import check_files
from tests import meshes


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("good")
    write_all(meshes.torus(), folder, {"generator": "Meshdrop"})
    return folder


def test_good_files_pass_with_their_facts(good: Path) -> None:
    facts, mesh = check_files(good)
    assert facts.vertices == 48 * 32
    assert facts.faces == 2 * 48 * 32
    assert facts.glb_vertices == 49 * 33
    assert facts.texture_size == (64, 64)
    assert facts.textured_share == 1.0
    assert facts.bounds_m[1] == pytest.approx((0.4, 0.1, 0.4))
    assert facts.asset["units"] == "metre"
    assert np.array_equal(mesh.vertices[mesh.faces], meshes.torus().vertices[meshes.torus().faces])
    assert np.array_equal(mesh.seen, meshes.torus().seen)
    # the right half of the texture is unseen, and columns spread evenly over u: half of each tube ring. The outer
    # side of a torus is larger, but u runs around the tube from outside over the top: both halves are mirror images.
    assert facts.unseen_share == pytest.approx(0.5, abs=0.02)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def edit_glb(folder: Path, old: str, new: str) -> None:
    """Another JSON part with everything else as it was."""
    path = folder / "mesh.glb"
    raw = path.read_bytes()
    (length,) = struct.unpack_from("<I", raw, 12)
    text, binary = raw[20 : 20 + length].decode(), raw[20 + length :]
    assert old in text
    edited = text.replace(old, new, 1).encode()
    edited += b" " * (-len(edited) % 4)
    head = struct.pack("<4sIII4s", b"glTF", 2, 20 + len(edited) + len(binary), len(edited), b"JSON")
    path.write_bytes(head + edited + binary)


def lengthen(path: Path) -> None:
    path.write_bytes(path.read_bytes() + bytes(4))


NODE = '"nodes":[{"mesh":0,"name":"mesh"}]'
INDICES = '"componentType":5123,"count":9216'


def repaint(folder: Path, colour: int) -> None:
    """One colour, that no camera saw."""
    mesh = meshes.torus()
    texture = np.full((64, 64, 3), colour, np.uint8)
    write_all(replace(mesh, texture=texture, seen=np.zeros((64, 64), np.bool_)), folder, {})


def without(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


FAULTS: dict[str, tuple[Callable[[Path], object], str]] = {
    **{f"no {name}": (without(name), name) for name in MESH_FILES},
    "glb cut": (lambda folder: cut(folder / "mesh.glb"), r"mesh\.glb"),
    "glb longer": (lambda folder: lengthen(folder / "mesh.glb"), r"mesh\.glb.*announces"),
    "glb box": (lambda folder: edit_glb(folder, '"max":[0.4', '"max":[0.9'), r"mesh\.glb.*announces"),
    "glb moved": (lambda folder: edit_glb(folder, NODE, '"nodes":[{"mesh":0,"translation":[0,0,1]}]'), "announces"),
    "glb turned": (lambda folder: edit_glb(folder, NODE, '"nodes":[{"mesh":0,"rotation":[1,0,0,0]}]'), "announces"),
    "glb scaled": (lambda folder: edit_glb(folder, NODE, '"nodes":[{"mesh":0,"scale":[2,2,2]}]'), "announces"),
    "glb not shown": (lambda folder: edit_glb(folder, '"nodes":[0]', '"nodes":[]'), "0 meshes"),
    "glb not textured": (lambda folder: edit_glb(folder, '"baseColorTexture":{"index":0},', ""), "no base-colour"),
    "glb beyond its bytes": (lambda folder: edit_glb(folder, INDICES, INDICES + "000"), r"mesh\.glb"),
    "glb index": (lambda folder: edit_glb(folder, '"count":1617', '"count":1600'), r"mesh\.glb"),
    "ply cut": (lambda folder: cut(folder / "mesh.ply"), r"mesh\.ply"),
    "ply garbage": (lambda folder: (folder / "mesh.ply").write_bytes(b"\0" * 5000), r"mesh\.ply"),
    "obj cut": (lambda folder: cut(folder / "mesh.obj"), r"mesh\.obj"),
    "obj not finite": (lambda folder: edit(folder / "mesh.obj", "v 0.400000006 ", "v nan "), "not finite"),
    "obj words": (lambda folder: edit(folder / "mesh.obj", "\nf ", "\nf one/two/three "), r"mesh\.obj"),
    "obj index": (lambda folder: edit(folder / "mesh.obj", "\nf ", "\nf 9999/1/1 1/1/1 2/2/2\nf "), "refers to"),
    "obj uv": (lambda folder: edit(folder / "mesh.obj", "vt 0 ", "vt 1.5 "), "outside of"),
    "obj moved": (lambda folder: edit(folder / "mesh.obj", "v 0.4", "v 0.6"), "disagree"),
    "obj fewer": (lambda folder: edit(folder / "mesh.obj", "\nf ", "\n#"), "triangles"),
    "mtl elsewhere": (lambda folder: edit(folder / "mesh.obj", "mtllib mesh.mtl", "mtllib other.mtl"), "other.mtl"),
    "map elsewhere": (lambda folder: edit(folder / "mesh.mtl", "texture.png", "gone.png"), "gone.png"),
    "texture cut": (lambda folder: cut(folder / "texture.png"), r"texture\.png"),
    "another texture": (lambda folder: Image.new("RGB", (64, 64)).save(folder / "texture.png"), "inside mesh.glb"),
    "another mask": (lambda folder: Image.new("L", (9, 9)).save(folder / "texture_seen.png"), "texture_seen"),
    "one colour": (lambda folder: repaint(folder, 128), "one single colour"),
    "too few": (lambda folder: write_all(meshes.charts(meshes.cube(1.0)), folder, {}), "8 vertices"),
    "another glb": (lambda folder: write_glb(meshes.torus(minor=0.11), folder / "mesh.glb", {}), "disagree"),
    "not textured": (
        lambda folder: write_all(replace(meshes.torus(), uv=np.full((3072, 3, 2), 0.5, np.float32)), folder, {}),
        "only 0.0% of the area",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_found_and_named(fault: str, good: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(good, folder)
    spoil, says = FAULTS[fault]
    spoil(folder)
    with pytest.raises(MeshError, match=says):
        check_files(folder)


def test_a_thing_of_one_colour_that_cameras_saw_is_no_fault(tmp_path: Path) -> None:
    mesh = meshes.torus()
    texture, seen = np.full((64, 64, 3), 200, np.uint8), np.ones((64, 64), np.bool_)
    write_all(replace(mesh, texture=texture, seen=seen), tmp_path, {})
    assert check_files(tmp_path)[0].textured_share > 0.99


# -- a material and its light ------------------------------------------------------------------------------------------

BOTH = (*MESH_FILES, *MATERIAL_FILES)


def write_lit(folder: Path, minor: float = 0.1) -> None:
    picture = meshes.torus().texture
    write_pbr_glb(meshes.torus(minor=minor), Material(picture, picture, picture), folder / "pbr.glb", {})


@pytest.fixture(scope="module")
def lit(good: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("lit") / "model"
    shutil.copytree(good, folder)
    write_lit(folder)
    write_hdr(folder / "probe.hdr", np.ones((4, 8, 3), np.float32))
    return folder


def test_a_material_and_its_light_pass_with_their_sizes(lit: Path, good: Path) -> None:
    for listed in (BOTH, None):
        facts, _ = check_files(lit, listed)
        assert tuple(facts.file_bytes) == BOTH
    facts, _ = check_files(good, MESH_FILES)
    assert tuple(facts.file_bytes) == MESH_FILES


LIT_FAULTS: dict[str, tuple[Callable[[Path], object], str]] = {
    **{f"no {name}": (without(name), f"{name} cannot be read") for name in BOTH},
    "glb cut": (lambda folder: cut(folder / "pbr.glb"), r"pbr\.glb"),
    "another surface": (lambda folder: write_lit(folder, minor=0.11), r"pbr\.glb and mesh\.glb disagree"),
    "no material": (lambda folder: write_glb(meshes.torus(), folder / "pbr.glb", {}), r"pbr\.glb: no metallic-rough"),
    "light cut": (lambda folder: cut(folder / "probe.hdr"), r"probe\.hdr"),
    "light garbage": (lambda folder: (folder / "probe.hdr").write_bytes(b"\0" * 99), r"probe\.hdr"),
    "no light": (lambda folder: write_hdr(folder / "probe.hdr", np.zeros((4, 8, 3), np.float32)), "no light"),
    "half of a light": (lambda folder: write_hdr(folder / "probe.hdr", np.ones((4, 4, 3), np.float32)), "4x4"),
}


@pytest.mark.parametrize("fault", LIT_FAULTS)
def test_a_fault_of_the_material_is_found_and_named(fault: str, lit: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(lit, folder)
    spoil, says = LIT_FAULTS[fault]
    spoil(folder)
    with pytest.raises(MeshError, match=says):
        check_files(folder, BOTH)


@pytest.mark.parametrize(
    ("listed", "says"),
    [
        (MESH_FILES, r"pbr\.glb belongs .* does not list"),
        ((*MESH_FILES, "pbr.glb"), r"probe\.hdr belongs .* does not list"),
        (BOTH[1:], r"mesh\.glb belongs .* does not list"),
        ((*BOTH, "notes.txt"), r"lists 'notes\.txt'"),
    ],
)
def test_the_model_s_list_and_its_folder_must_agree(lit: Path, listed: tuple[str, ...], says: str) -> None:
    with pytest.raises(MeshError, match=says):
        check_files(lit, listed)
