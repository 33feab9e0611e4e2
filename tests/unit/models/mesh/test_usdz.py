"""USDZ: what is written is what USD reads, in metres; what cannot be written is a sentence and no file."""

from __future__ import annotations

import importlib.util
import io
import json
import struct
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from meshdrop.models.mesh import extra_formats
from meshdrop.models.mesh.checks.usdz import check_usdz
from meshdrop.models.mesh.extra_formats import write_extra_formats
from meshdrop.models.mesh.mesh import MESH_FILES, MeshError, TexturedMesh, write_all
from meshdrop.models.mesh.pbr import Material, write_pbr_glb
from meshdrop.models.mesh.radiance_hdr import write_hdr
from meshdrop.models.mesh.reload import check_files
from tests import meshes
from tests.patience import PATIENCE_S

USDZ = "mesh.usdz"
EXTRAS = {"generator": "meshdrop 1.2.3", "licences": ["for research only"], "settings": {"seed": 7}, "none": None}

#: USD in a process of its own, as the product has it; prints what a viewer would find.
_READ = """
import json, sys
from pxr import Usd, UsdGeom, UsdShade
stage = Usd.Stage.Open(sys.argv[1])
box = UsdGeom.BBoxCache(Usd.TimeCode.Default(), [UsdGeom.Tokens.default_])
size = box.ComputeWorldBound(stage.GetDefaultPrim()).ComputeAlignedRange().GetSize()
mesh = next(UsdGeom.Mesh(prim) for prim in stage.Traverse() if prim.IsA(UsdGeom.Mesh))
material = UsdShade.MaterialBindingAPI(mesh).ComputeBoundMaterial()[0]
shader = material.ComputeSurfaceSource()[0]
inputs = {}
for one in shader.GetInputs():
    source = one.GetConnectedSources()[0]
    if source:
        node = UsdShade.Shader(source[0].source)
        kept = {name: node.GetInput(name).Get() for name in ("sourceColorSpace", "scale", "bias") if node.GetInput(name)}
        found = node.GetInput("file").Get()
        inputs[one.GetBaseName()] = [found.path, bool(found.resolvedPath), str(source[0].sourceName), str(kept)]
    else:
        inputs[one.GetBaseName()] = one.Get()
st = UsdGeom.PrimvarsAPI(mesh).GetPrimvar("st")
print(json.dumps({
    "metres": [length * UsdGeom.GetStageMetersPerUnit(stage) for length in size], "unit": UsdGeom.GetStageMetersPerUnit(stage),
    "up": str(UsdGeom.GetStageUpAxis(stage)), "triangles": len(mesh.GetFaceVertexCountsAttr().Get()),
    "corners": [list(map(float, one)) for one in st.ComputeFlattened()[:9]], "interpolation": str(st.GetInterpolation()),
    "normals": len(mesh.GetNormalsAttr().Get()), "points": len(mesh.GetPointsAttr().Get()),
    "inputs": inputs, "data": str(stage.GetRootLayer().customLayerData),
}))
"""  # noqa: E501 - a program, not prose

needs_usd = pytest.mark.skipif(importlib.util.find_spec("pxr") is None, reason="usd-core is not installed (make usd)")


def read(path: Path) -> dict[str, Any]:
    """What USD finds in a package."""
    done = subprocess.run([sys.executable, "-c", _READ, str(path)], capture_output=True, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def written(mesh: TexturedMesh, folder: Path, *, lit: bool = False) -> Path:
    """The package that is made of a mesh, with a material when ``lit``."""
    write_all(mesh, folder, EXTRAS)
    if lit:
        orm, normal = (np.full_like(mesh.texture, level) for level in ((255, 128, 0), (128, 128, 255)))
        write_pbr_glb(mesh, Material(mesh.texture, orm, normal), folder / "pbr.glb", EXTRAS)
        write_hdr(folder / "probe.hdr", np.ones((4, 8, 3), np.float32))
    assert write_extra_formats(folder, ["usdz"]) == ([folder / USDZ], [])
    return folder / USDZ


@needs_usd
def test_a_200_mm_cube_measures_200_mm(tmp_path: Path) -> None:
    found = read(written(meshes.cube(0.2), tmp_path))
    assert found["metres"] == pytest.approx([0.2, 0.2, 0.2], rel=1e-6)
    assert (found["unit"], found["up"], found["triangles"]) == (1.0, "Y", 12)


@needs_usd
def test_surface_coordinates_and_colour_are_those_of_the_glb(tmp_path: Path) -> None:
    mesh = meshes.charts(meshes.torus())
    found = read(written(mesh, tmp_path))
    assert (found["triangles"], found["points"]) == (len(mesh.faces), len(mesh.vertices))
    assert (found["interpolation"], found["normals"]) == ("faceVarying", found["points"])
    # as many corners in the same order, v up: the charts' first triangles
    assert np.array(found["corners"]) == pytest.approx(mesh.cleaned().uv.reshape(-1, 2)[:9], abs=1e-6)
    assert found["inputs"]["diffuseColor"][:3] == ["texture.png", True, "rgb"]
    assert "sRGB" in found["inputs"]["diffuseColor"][3]
    assert (found["inputs"]["roughness"], found["inputs"]["metallic"]) == (1.0, 0.0)
    with zipfile.ZipFile(tmp_path / USDZ) as archive:
        assert archive.read("texture.png") == (tmp_path / "texture.png").read_bytes()
    assert all(word in found["data"] for word in ("meshdrop 1.2.3", "metre", "+Y", "for research only", "seed"))


@needs_usd
def test_where_there_is_a_material_all_its_textures_are_shown(tmp_path: Path) -> None:
    inputs = read(written(meshes.torus(), tmp_path, lit=True))["inputs"]
    told = {name: value[:3] for name, value in inputs.items()}
    assert told == {
        "diffuseColor": ["texture.png", True, "rgb"],
        "occlusion": ["orm.png", True, "r"],
        "roughness": ["orm.png", True, "g"],
        "metallic": ["orm.png", True, "b"],
        "normal": ["normal.png", True, "rgb"],
    }
    assert "raw" in inputs["roughness"][3]
    assert "(2.0, 2.0, 2.0, 1.0)" in inputs["normal"][3]
    assert "(-1.0, -1.0, -1.0, 0.0)" in inputs["normal"][3]


@needs_usd
def test_the_same_mesh_gives_the_same_bytes(tmp_path: Path) -> None:
    one, other = (written(meshes.torus(), tmp_path / name) for name in ("one", "other"))
    assert one.read_bytes() == other.read_bytes()


@needs_usd
def test_the_reload_check_knows_it(tmp_path: Path) -> None:
    path = written(meshes.torus(), tmp_path, lit=True)
    listed = [*MESH_FILES, "pbr.glb", "probe.hdr", USDZ]
    facts, _ = check_files(tmp_path, listed)
    assert facts.file_bytes[USDZ] == path.stat().st_size
    with pytest.raises(MeshError, match=r"mesh\.usdz belongs to the files here"):
        check_files(tmp_path, listed[:-1])
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(MeshError, match=r"mesh\.usdz: not a readable package"):
        check_files(tmp_path, listed)


@needs_usd
def test_a_glb_that_cannot_be_converted_is_a_sentence_and_leaves_nothing(tmp_path: Path) -> None:
    write_all(meshes.torus(), tmp_path, {})
    (tmp_path / "mesh.glb").write_bytes(b"no GLB")
    paths, [note] = write_extra_formats(tmp_path, ["usdz"])
    assert paths == []
    assert note.startswith("mesh.usdz was not written: mesh.glb: not a readable textured GLB")
    assert sorted(file.name for file in tmp_path.iterdir()) == sorted(MESH_FILES)


def test_nothing_is_written_unasked(tmp_path: Path) -> None:
    write_all(meshes.torus(), tmp_path, {})
    assert write_extra_formats(tmp_path, []) == ([], [])
    assert sorted(file.name for file in tmp_path.iterdir()) == sorted(MESH_FILES)


def test_without_usd_the_note_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    paths, [note] = write_extra_formats(tmp_path, ["usdz"])
    assert paths == []
    assert "make usd" in note


@pytest.mark.parametrize(
    ("program", "limit_s", "says"),
    [
        ("import os; os.abort()", PATIENCE_S, "code -6"),
        ("import time; time.sleep(3600)", 1.0, "longer than 1 s"),
        ("import sys; sys.exit('it is Sunday')", PATIENCE_S, "it is Sunday"),
    ],
    ids=["crashes", "hangs", "refuses"],
)
def test_a_converter_that_fails_costs_no_mesh(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, program: str, limit_s: float, says: str
) -> None:
    """A real process in its place, after it has left half a file."""
    write_all(meshes.torus(), tmp_path, {})
    fake = tmp_path.parent / f"{tmp_path.name}-python"
    fake.write_text(f'#!/bin/sh\necho half > "$5"\nexec {sys.executable} -c "{program}"\n')
    fake.chmod(0o755)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: object())
    monkeypatch.setattr(sys, "executable", str(fake))
    monkeypatch.setattr(extra_formats, "_LIMIT_S", limit_s)
    paths, [note] = write_extra_formats(tmp_path, ["usdz"])
    assert paths == []
    assert says in note
    assert sorted(file.name for file in tmp_path.iterdir()) == sorted(MESH_FILES)


def package(*entries: tuple[str, bytes], compression: int = zipfile.ZIP_STORED, pad: bool = True) -> bytes:
    """An archive made by hand: each file begins on a multiple of 64 bytes when ``pad``."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", compression) as archive:
        for name, content in entries:
            info = zipfile.ZipInfo(name)
            info.compress_type = compression
            if pad:
                # local header 30 bytes, name, then an extra field of 4 bytes and its filling
                start = stream.tell() + 30 + len(name) + 4
                filling = -start % 64
                info.extra = struct.pack("<HH", 0x1986, filling) + bytes(filling)
            archive.writestr(info, content)
    return stream.getvalue()


LAYER, PICTURE = ("mesh.usdc", b"PXR-USDC" * 20), ("texture.png", b"picture")


@pytest.mark.parametrize(
    ("raw", "says"),
    [
        (package(PICTURE, LAYER), "its first file is no layer"),
        (package(LAYER, PICTURE, compression=zipfile.ZIP_DEFLATED), "is compressed"),
        (package(LAYER, PICTURE, pad=False), "multiple of 64 bytes"),
        (package(LAYER), r"texture\.png is not in it"),
        (package(LAYER, PICTURE).replace(b"picture", b"pictures"[:7].upper()), r"texture\.png in it is damaged"),
        (b"PK", "not a readable package"),
        (package(), "its first file is no layer"),
    ],
    ids=["order", "compressed", "unaligned", "no texture", "damaged", "no archive", "empty"],
)
def test_a_package_that_viewers_would_refuse_is_refused(raw: bytes, says: str) -> None:
    with pytest.raises(MeshError, match=says):
        check_usdz(raw, USDZ)


def test_a_package_made_by_hand_is_good() -> None:
    check_usdz(package(LAYER, PICTURE), USDZ)
