"""Our files as a loader that is none of ours, and not Python's, opens them: assimp, behind many viewers and engines."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from meshdrop.models.mesh.mesh import write_all
from meshdrop.models.mesh.pbr import Material, write_pbr_glb
from tests import meshes
from tests.patience import PATIENCE_S

ASSIMP = shutil.which("assimp")
pytestmark = pytest.mark.skipif(ASSIMP is None, reason="assimp is not installed (Debian: assimp-utils)")


def asked(*arguments: str | Path) -> str:
    """What assimp answers."""
    done = subprocess.run([str(ASSIMP), *arguments], capture_output=True, text=True, check=True, timeout=PATIENCE_S)
    return done.stdout


def material(path: Path) -> dict[str, str]:
    """The properties of our material (assimp may add one of its own): "key usage" -> value."""
    target = path.with_suffix(".xml")
    asked("dump", path, target)
    ours = next(part for part in target.read_text(errors="replace").split("<Material>") if '"surface"' in part)
    pattern = r'key="([^"]+)"\s+type="\w+" tex_usage="([^"]*)"[^>]*>\s*(.*?)\s*</MatProperty>'
    found = re.findall(pattern, ours, re.DOTALL)
    return {f"{key} {usage}": value.strip('"') for key, usage, value in found}


@pytest.mark.parametrize("name", ["mesh.glb", "mesh.obj", "mesh.ply"])
def test_a_200_mm_cube_measures_200_mm(tmp_path: Path, name: str) -> None:
    write_all(meshes.cube(0.2), tmp_path, {})
    told = asked("info", tmp_path / name)
    corners = [re.search(rf"{side} point +\(([^)]+)\)", told) for side in ("Minimum", "Maximum")]
    low, high = (np.array(corner[1].split(), float) for corner in corners if corner)
    assert high - low == pytest.approx([0.2, 0.2, 0.2], abs=1e-6)


def test_the_obj_shows_its_texture_undimmed_with_its_factors(tmp_path: Path) -> None:
    """A factor before the texture (trimesh writes Kd 0.4) would darken it."""
    write_all(replace(meshes.torus(), roughness=0.25, metallic=1.0), tmp_path, {})
    found = material(tmp_path / "mesh.obj")
    assert found["?mat.name n/a"] == "surface"
    assert found["$tex.file Diffuse"] == "texture.png"
    assert [float(level) for level in found["$clr.diffuse n/a"].split()] == [1, 1, 1]
    assert [float(level) for level in found["$clr.ambient n/a"].split()] == [0, 0, 0]
    assert (float(found["$mat.roughnessFactor n/a"]), float(found["$mat.metallicFactor n/a"])) == (0.25, 1.0)
    assert [key for key in found if key.startswith("$tex.file")] == ["$tex.file Diffuse"]


def test_the_material_glb_shows_all_its_maps(tmp_path: Path) -> None:
    mesh = meshes.torus()
    orm, normal = (np.full_like(mesh.texture, level) for level in ((255, 128, 0), (128, 128, 255)))
    write_pbr_glb(mesh, Material(mesh.texture, orm, normal), tmp_path / "pbr.glb", {})
    usages = {key.partition(" ")[2] for key in material(tmp_path / "pbr.glb") if key.startswith("$tex.file")}
    assert {"BaseColor", "Normals"} <= usages
    assert len(usages) >= 4, f"roughness with metal, and occlusion, are among {sorted(usages)}"


def test_the_ply_has_a_colour_for_each_vertex(tmp_path: Path) -> None:
    write_all(meshes.torus(), tmp_path, {})
    asked("export", tmp_path / "mesh.ply", tmp_path / "again.ply", "-fplyb")
    header = (tmp_path / "again.ply").read_bytes().partition(b"end_header")[0].decode()
    assert re.search(r"property \w+ r(ed)?\n", header)
