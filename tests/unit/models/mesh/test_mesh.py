"""Mesh files: what is written is what independent readers find."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trimesh
from numpy.typing import NDArray

from meshdrop.models.measure.topology import topology
from meshdrop.models.mesh.mesh import MESH_FILES, MeshError, TexturedMesh, read_glb, read_mesh, write_all, write_glb
from tests import meshes
from tests.patience import PATIENCE_S

EXTRAS = {"generator": "Meshdrop 1.2.3", "model": "fusion"}


def load(path: Path) -> trimesh.Trimesh:
    """The file as trimesh reads it, untouched."""
    (mesh,) = trimesh.load_scene(path, process=False).dump()
    assert isinstance(mesh, trimesh.Trimesh)
    return mesh


def corner_colours(mesh: trimesh.Trimesh) -> NDArray[np.uint8]:
    """Texture colour (F, 3, 3) of the texel that holds each corner, as trimesh sees image and uv (v up)."""
    visual: Any = mesh.visual
    material = visual.material
    image = material.image if hasattr(material, "image") else material.baseColorTexture
    pixels = np.asarray(image.convert("RGB"))
    height, width = pixels.shape[:2]
    uv = visual.uv[mesh.faces]
    column = np.clip((uv[..., 0] * width).astype(int), 0, width - 1)
    row = np.clip(((1 - uv[..., 1]) * height).astype(int), 0, height - 1)
    colours: NDArray[np.uint8] = pixels[row, column]
    return colours


def test_a_200_mm_cube_measures_200_mm_in_every_format(tmp_path: Path) -> None:
    write_all(meshes.cube(0.2), tmp_path, EXTRAS)
    for name in ("mesh.glb", "mesh.obj", "mesh.ply"):
        mesh = load(tmp_path / name)
        assert mesh.extents == pytest.approx([0.2, 0.2, 0.2], rel=1e-6), name
        assert mesh.bounds[0] == pytest.approx([-0.1, -0.1, -0.1], rel=1e-6), name


def test_every_promised_file_is_written_and_named(tmp_path: Path) -> None:
    paths = write_all(meshes.torus(), tmp_path, EXTRAS)
    assert [path.name for path in paths] == list(MESH_FILES)
    assert {path.name for path in tmp_path.iterdir()} == set(MESH_FILES)


def test_the_same_mesh_gives_the_same_bytes(tmp_path: Path) -> None:
    for folder in ("one", "two"):
        write_all(meshes.charts(meshes.sphere()), tmp_path / folder, EXTRAS)
    for name in MESH_FILES:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes(), name


def test_a_red_upper_left_texel_stays_upper_left_in_glb_and_obj(tmp_path: Path) -> None:
    # One corner of the first triangle sits in the texture's upper left texel: u near 0, v near 1 (v up).
    mesh = meshes.torus()
    texture = np.full((8, 8, 3), 40, np.uint8)
    texture[0, 0] = (255, 0, 0)
    uv = np.full_like(mesh.uv, 0.5)
    uv[0] = [(0.03, 0.97), (0.5, 0.5), (0.5, 0.6)]
    marked = replace(mesh, uv=uv, texture=texture, seen=np.ones((8, 8), np.bool_))
    corner = mesh.vertices[mesh.faces[0, 0]]
    write_all(marked, tmp_path, EXTRAS)
    for name in ("mesh.glb", "mesh.obj"):
        read = load(tmp_path / name)
        red = np.argwhere((corner_colours(read) == (255, 0, 0)).all(axis=2))
        assert len(red) == 1, name
        assert read.vertices[read.faces[red[0, 0], red[0, 1]]] == pytest.approx(corner, abs=1e-6), name


def test_a_white_texture_is_rendered_white(tmp_path: Path) -> None:
    mesh = replace(meshes.torus(), texture=np.full((64, 64, 3), 255, np.uint8))
    write_all(mesh, tmp_path, EXTRAS)
    statements = dict(line.split(None, 1) for line in (tmp_path / "mesh.mtl").read_text().splitlines())
    assert statements["Kd"] == "1 1 1"  # a viewer multiplies the texture with it
    assert statements["map_Kd"] == "texture.png"
    of_ply: Any = load(tmp_path / "mesh.ply").visual
    of_glb: Any = load(tmp_path / "mesh.glb").visual
    assert (np.asarray(of_ply.vertex_colors)[:, :3] == 255).all()
    factor = of_glb.material.baseColorFactor
    assert factor is None or (np.asarray(factor) == 255).all()


def test_vertices_are_split_at_seams_only(tmp_path: Path) -> None:
    write_glb(meshes.torus(rows=48, columns=32), tmp_path / "m.glb", {})
    # The grid closes twice: (48 + 1) x (32 + 1) texture coordinates over 48 x 32 places.
    assert len(load(tmp_path / "m.glb").vertices) == 49 * 33


def test_what_was_read_back_is_what_was_written(tmp_path: Path) -> None:
    mesh = meshes.torus()
    write_all(mesh, tmp_path, EXTRAS)
    back = read_mesh(tmp_path)
    assert len(back.vertices) == len(mesh.vertices)
    assert np.array_equal(back.vertices[back.faces], mesh.vertices[mesh.faces])
    assert back.uv == pytest.approx(mesh.uv, abs=1e-7)
    assert np.array_equal(back.texture, mesh.texture)
    assert np.array_equal(back.seen, mesh.seen)
    assert (back.roughness, back.metallic) == (mesh.roughness, mesh.metallic)


def test_writing_does_not_import_trimesh(tmp_path: Path) -> None:
    """It costs more than all writing; a fresh process, because this one has loaded it."""
    program = (
        "import pathlib, sys; from meshdrop.models.mesh.mesh import write_all; from tests import meshes\n"
        "write_all(meshes.torus(), pathlib.Path(sys.argv[1]), {}); print('trimesh' in sys.modules)"
    )
    command = [sys.executable, "-c", program, str(tmp_path)]
    root = Path(__file__).parents[4]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=PATIENCE_S, cwd=root)
    assert done.stdout.strip() == "False"
    assert (tmp_path / "mesh.glb").exists()


def read_glb_asset(path: Path) -> dict[str, Any]:
    """The ``asset`` of a GLB."""
    raw = path.read_bytes()
    (length,) = struct.unpack_from("<I", raw, 12)
    asset: dict[str, Any] = json.loads(raw[20 : 20 + length])["asset"]
    return asset


def test_the_glb_says_its_units_axis_and_origin(tmp_path: Path) -> None:
    write_glb(meshes.torus(), tmp_path / "m.glb", EXTRAS)
    asset = read_glb_asset(tmp_path / "m.glb")
    assert asset["generator"] == "Meshdrop 1.2.3"
    assert asset["extras"] == {"units": "metre", "up_axis": "+Y", **EXTRAS}


@pytest.mark.parametrize(("units", "extras"), [("metre", {}), ("arbitrary", {"units": "arbitrary"})])
def test_every_format_says_the_same_unit_and_axis(tmp_path: Path, units: str, extras: dict[str, str]) -> None:
    write_all(meshes.torus(), tmp_path, extras)
    assert read_glb_asset(tmp_path / "mesh.glb")["extras"] == {"units": units, "up_axis": "+Y"}
    assert (tmp_path / "mesh.obj").read_text().startswith(f"# units: {units}\n# up axis: +Y\n")
    header = (tmp_path / "mesh.ply").read_bytes().partition(b"end_header")[0].decode()
    assert f"comment units: {units}\ncomment up axis: +Y\n" in header


def test_smooth_normals_of_a_sphere_point_along_its_radii(tmp_path: Path) -> None:
    mesh = meshes.sphere(radius=0.4).cleaned()
    expected = mesh.vertices / 0.4
    assert (mesh.vertex_normals() * expected).sum(axis=1).min() > 0.999  # under 2.6 degrees


def test_a_vertex_of_two_opposite_sheets_still_has_a_unit_normal() -> None:
    one = meshes.textured(
        np.array([(0, 0, 0), (1, 0, 0), (0, 1, 0)]), np.array([(0, 1, 2), (0, 2, 1)]), np.zeros((2, 3, 2))
    )
    assert np.linalg.norm(one.vertex_normals(), axis=1) == pytest.approx([1, 1, 1])


def broken(**changes: Any) -> TexturedMesh:
    return replace(meshes.torus(), **changes)


@pytest.mark.parametrize(
    ("mesh", "says"),
    [
        (broken(vertices=np.full((1536, 3), np.nan, np.float32)), "not finite"),
        (broken(faces=meshes.torus().faces + 1), "there are 1536"),
        (broken(uv=meshes.torus().uv * 1.5), "outside of"),
        (broken(uv=np.full((3072, 3, 2), np.nan, np.float32)), "outside of"),
        (broken(uv=meshes.torus().uv[1:]), "uv is float32"),
        (broken(vertices=meshes.torus().vertices.astype(np.float64)), "vertices is float64"),
        (broken(seen=np.ones((4, 4), np.bool_)), "seen is bool"),
        (broken(faces=np.zeros((0, 3), np.int32), uv=np.zeros((0, 3, 2), np.float32)), "no triangles"),
        (broken(faces=np.zeros((3072, 3), np.int32)), "degenerate"),
        (broken(metallic=1.5), "metallic"),
    ],
)
def test_a_broken_mesh_is_refused_by_name_and_nothing_is_written(mesh: TexturedMesh, says: str, tmp_path: Path) -> None:
    with pytest.raises(MeshError, match=says):
        write_all(mesh, tmp_path / "out", {})
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("damage", ["empty", "cut", "other"])
def test_a_damaged_glb_is_one_clear_error(damage: str, tmp_path: Path) -> None:
    path = tmp_path / "mesh.glb"
    write_glb(meshes.torus(), path, {})
    raw = path.read_bytes()
    path.write_bytes({"empty": b"", "cut": raw[: len(raw) // 2], "other": b"solid cube\n" * 50}[damage])
    with pytest.raises(MeshError, match=r"mesh\.glb"):
        read_glb(path)


def test_cleaning_keeps_a_closed_surface_closed() -> None:
    """A sphere whose pole rings collapse to points: 64 degenerate triangles at each pole, none of them needed."""
    mesh = meshes.sphere()
    cleaned = mesh.cleaned()
    facts = topology(cleaned.vertices, cleaned.faces)
    assert facts.watertight
    assert facts.degenerate_faces == 0
    assert len(cleaned.faces) == len(mesh.faces) - 2 * 64
