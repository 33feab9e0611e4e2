"""Every file of a mesh stands on +Y where its format can turn it, and says its own axis where it cannot."""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trimesh

from meshdrop.models.axes.directions import AXES
from meshdrop.models.axes.stance import Stance
from meshdrop.models.mesh.extra_formats import write_extra_formats
from meshdrop.models.mesh.mesh import TexturedMesh, read_mesh, upright, write_all, write_glb
from meshdrop.models.mesh.pbr import Material, write_pbr_glb
from meshdrop.models.mesh.radiance_hdr import write_hdr
from meshdrop.models.mesh.reload import check_files
from meshdrop.models.mesh.viewer_copy import viewer_copy
from tests import meshes
from tests.patience import PATIENCE_S

UPS = [*AXES.values(), (0.36, -0.48, 0.8)]
FAR = (500_000.0, 5_000_000.0, 212.5)


def arrow(up: tuple[float, float, float]) -> TexturedMesh:
    """A ring around ``up``, 0.2 m high and 0.8 m wide, shifted by 1 m along it: it stands or lies, and has a sign."""
    ring = meshes.torus()
    high = (ring.vertices + np.array([0.0, 1.0, 0.0])) @ Stance(up).rotation
    return meshes.textured(high, ring.faces, ring.uv)


def material(mesh: TexturedMesh) -> Material:
    flat = (np.full_like(mesh.texture, level) for level in ((255, 128, 0), (128, 128, 255)))
    return Material(mesh.texture, *flat)


def lighter(mesh: TexturedMesh, path: Path, extras: dict[str, Any]) -> None:
    copy = viewer_copy(mesh.cleaned(), 60_000, extras)
    assert copy is not None
    path.write_bytes(copy.glb)


GLBS: dict[str, Callable[[TexturedMesh, Path, dict[str, Any]], None]] = {
    "plain": write_glb,
    "material": lambda mesh, path, extras: write_pbr_glb(mesh, material(mesh), path, extras),
    "copy for the page": lighter,
}


def load(path: Path) -> trimesh.Trimesh:
    """The one mesh of a file as trimesh shows it."""
    (mesh,) = trimesh.load_scene(path, process=False).dump()
    assert isinstance(mesh, trimesh.Trimesh)
    return mesh


def document(path: Path) -> dict[str, Any]:
    raw = path.read_bytes()
    found: dict[str, Any] = json.loads(raw[20 : 20 + struct.unpack_from("<I", raw, 12)[0]])
    return found


def stands(low: Any, high: Any, near: float = 2e-3) -> bool:
    """Whether a box is that of the ring on its axis: around +Y from 0.9 to 1.1 m."""
    return bool(np.abs(np.array([low, high]) - [(-0.4, 0.9, -0.4), (0.4, 1.1, 0.4)]).max() < near)


@pytest.mark.parametrize("kind", GLBS)
@pytest.mark.parametrize("up", UPS)
def test_trimesh_sees_every_glb_upright(tmp_path: Path, up: tuple[float, float, float], kind: str) -> None:
    near = 0.05 if kind == "copy for the page" else 2e-3  # of fewer triangles
    GLBS[kind](arrow(up), tmp_path / "m.glb", Stance(up).facts())
    scene = trimesh.load_scene(tmp_path / "m.glb", process=False)
    low, high = scene.bounds
    assert stands(low, high, near=near)


@pytest.mark.parametrize("up", UPS)
def test_vertices_stay_in_the_captures_world_and_the_matrix_leads_back(
    tmp_path: Path, up: tuple[float, float, float]
) -> None:
    mesh = arrow(up)
    write_all(mesh, tmp_path, Stance(up, FAR).facts())
    told = document(tmp_path / "mesh.glb")
    stored = told["accessors"][0]
    assert np.array([stored["min"], stored["max"]]) == pytest.approx(
        np.array([mesh.vertices.min(axis=0), mesh.vertices.max(axis=0)])
    )
    assert ("rotation" in told["nodes"][0]) is (up != (0, 1, 0))
    assert read_mesh(tmp_path).vertices == pytest.approx(mesh.vertices)
    shown = load(tmp_path / "mesh.glb")
    back = np.array(told["asset"]["extras"]["to_capture_world"])
    world = shown.vertices @ back[:3, :3].T + back[:3, 3]
    assert np.abs(world - FAR - mesh.vertices[indices_of(shown.vertices, mesh, up)]).max() < 1e-6


def indices_of(shown: np.ndarray, mesh: TexturedMesh, up: tuple[float, float, float]) -> np.ndarray:
    """Which vertex each shown one is, by its place."""
    there = mesh.vertices.astype(np.float64) @ Stance(up).rotation.T
    return np.asarray(np.linalg.norm(shown[:, None] - there[None], axis=2).argmin(axis=1))


@pytest.mark.parametrize("up", UPS)
def test_obj_and_ply_hold_the_captures_axes_and_say_which_is_up(tmp_path: Path, up: tuple[float, float, float]) -> None:
    write_all(arrow(up), tmp_path, Stance(up, FAR).facts())
    for name in ("mesh.obj", "mesh.ply"):
        head = (tmp_path / name).read_bytes()[:2000].decode("ascii", "replace")
        said = re.search(r"^(?:#|comment) up axis: (.+)$", head, re.MULTILINE)
        assert said is not None, name
        word = said[1].casefold()
        found = np.array(AXES[word] if word in AXES else [float(number) for number in word.split()])
        assert found.tolist() == list(up), name
        mesh = load(tmp_path / name)
        along = mesh.vertices @ found
        assert (along.min(), along.max()) == pytest.approx((0.9, 1.1), abs=1e-3), name
        origin = re.search(r"^(?:#|comment) origin: (\S+) (\S+) (\S+) ", head, re.MULTILINE)
        assert origin is not None, name
        assert tuple(map(float, origin.groups())) == FAR, name


def test_nothing_is_said_of_an_origin_that_is_the_captures_own(tmp_path: Path) -> None:
    write_all(meshes.torus(), tmp_path, Stance().facts())
    assert b"origin" not in (tmp_path / "mesh.obj").read_bytes()[:300]


def test_a_mesh_that_stands_already_is_written_without_any_turn(tmp_path: Path) -> None:
    write_glb(meshes.torus(), tmp_path / "m.glb", {})
    assert document(tmp_path / "m.glb")["nodes"] == [{"mesh": 0, "name": "mesh"}]


@pytest.mark.parametrize("up", UPS)
def test_the_reload_check_takes_all_of_them(tmp_path: Path, up: tuple[float, float, float]) -> None:
    mesh = arrow(up)
    extras = Stance(up).facts()
    write_all(mesh, tmp_path, extras)
    write_pbr_glb(mesh, material(mesh), tmp_path / "pbr.glb", extras)
    write_hdr(tmp_path / "probe.hdr", np.ones((4, 8, 3), np.float32))
    facts, read = check_files(tmp_path)
    assert read.vertices == pytest.approx(mesh.vertices)
    turned = upright(read, facts.asset).vertices
    assert stands(turned.min(axis=0), turned.max(axis=0))


@pytest.mark.skipif(shutil.which("assimp") is None, reason="assimp is not installed (Debian: assimp-utils)")
@pytest.mark.parametrize("up", UPS)
def test_assimp_sees_the_glb_upright(tmp_path: Path, up: tuple[float, float, float]) -> None:
    write_glb(arrow(up), tmp_path / "m.glb", Stance(up).facts())
    command = ["assimp", "info", str(tmp_path / "m.glb")]
    told = subprocess.run(command, capture_output=True, text=True, check=True, timeout=PATIENCE_S).stdout
    corners = [re.search(rf"{side} point +\(([^)]+)\)", told) for side in ("Minimum", "Maximum")]
    low, high = (np.array(corner[1].split(), float) for corner in corners if corner)
    assert stands(low, high)


_USD = """
import json, sys
from pxr import Usd, UsdGeom
stage = Usd.Stage.Open(sys.argv[1])
box = UsdGeom.BBoxCache(Usd.TimeCode.Default(), [UsdGeom.Tokens.default_])
mesh = next(UsdGeom.Mesh(prim) for prim in stage.Traverse() if prim.IsA(UsdGeom.Mesh))
turn = UsdGeom.Xformable(mesh).ComputeLocalToWorldTransform(Usd.TimeCode.Default())
shown = [list(turn.Transform(point)) for point in mesh.GetPointsAttr().Get()]
span = [[side(point[axis] for point in shown) for axis in range(3)] for side in (min, max)]
print(json.dumps([str(UsdGeom.GetStageUpAxis(stage)), span]))
"""


@pytest.mark.skipif(importlib.util.find_spec("pxr") is None, reason="usd-core is not installed (make usd)")
@pytest.mark.parametrize("lit", [False, True])
@pytest.mark.parametrize("up", UPS)
def test_a_usdz_is_y_up_and_stands(tmp_path: Path, up: tuple[float, float, float], lit: bool) -> None:
    mesh, extras = arrow(up), Stance(up).facts()
    write_all(mesh, tmp_path, extras)
    if lit:
        write_pbr_glb(mesh, material(mesh), tmp_path / "pbr.glb", extras)
        write_hdr(tmp_path / "probe.hdr", np.ones((4, 8, 3), np.float32))
    assert write_extra_formats(tmp_path, ["usdz"]) == ([tmp_path / "mesh.usdz"], [])
    command = [sys.executable, "-c", _USD, str(tmp_path / "mesh.usdz")]
    axis, span = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert axis == "Y"
    assert stands(*span)
