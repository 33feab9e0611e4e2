"""Worlds whose origin is far away: the mesh is as good as near it, and says where it lies."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import trimesh
from scipy.spatial import cKDTree

from meshdrop.models.capture.local_origin import local_origin, near
from meshdrop.models.capture.up import Up
from meshdrop.models.contract.base import ModelResult
from meshdrop.models.formats.cameras import CANONICAL_VIEWS, Camera, canonical_camera, look_at
from meshdrop.models.fusion.model import Fusion
from meshdrop.models.measure.standing import standing, up_of
from meshdrop.models.mesh.mesh import write_all
from meshdrop.models.mesh.reload import check_files
from meshdrop.models.probe.inspection import _oddities
from tests import meshes
from tests.unit.models.fusion.test_fusion import SMALL, ball, canonical_rig, capture

#: A tracker that began 1.2 km away, a survey in UTM coordinates, a microscope whose stage counts from far.
FAR = [(0.0, 0.0, 1200.0), (412_345.678, 5_318_234.567, 519.25), (-3e7, 10.0, 0.5)]


def moved(camera: Camera, by: tuple[float, float, float]) -> Camera:
    c2w = camera.c2w.copy()
    c2w[:3, 3] += by
    return replace(camera, c2w=c2w)


def load(path: Path) -> trimesh.Trimesh:
    """The one mesh of a file as another loader shows it."""
    (mesh,) = trimesh.load_scene(path, process=False).dump()
    assert isinstance(mesh, trimesh.Trimesh)
    return mesh


@pytest.mark.parametrize("by", FAR)
def test_a_far_world_gives_the_mesh_of_a_near_one(by: tuple[float, float, float], tmp_path: Path) -> None:
    here = capture(ball(), canonical_rig())
    there = replace(here, views=tuple(replace(view, camera=moved(view.camera, by)) for view in here.views))
    local = near(there)
    mesh = Fusion(SMALL, lambda percent, step: None).inference(local, Path("unused")).mesh
    write_all(mesh, tmp_path, standing(local, up_of(local, ModelResult(mesh))))
    check_files(tmp_path)
    centre = np.array(by) - np.array(local.origin_m)
    assert np.abs(centre).max() < 2.5, "the ball lies within the cameras' reach of the new origin"
    off = np.linalg.norm(mesh.vertices.astype(np.float64) - centre, axis=1) - 0.4
    assert np.abs(off).max() < 0.01
    assert b"origin_m" in (tmp_path / "mesh.glb").read_bytes()
    assert any("relative to" in line for line in _oddities(there, ()))


def test_worlds_that_begin_nearby_keep_their_origin() -> None:
    rigs = [
        [canonical_camera(name, 64, 64) for name in CANONICAL_VIEWS],
        [moved(camera, (20.0, -30.0, 40.0)) for camera in canonical_rig()],
        # far from their object, close to each other, and the object at the origin
        [Camera(64, 64, 9e3, 9e3, 32, 32, look_at((0.001 * n, 0.0, 1.0), (0, 1, 0), 500.0)) for n in range(6)],
    ]
    for rig in rigs:
        assert local_origin(rig) is None
    same = capture(ball(), canonical_rig())
    assert near(same) is same


def test_cameras_in_one_place_and_of_one_direction_are_no_reason_to_move() -> None:
    camera = canonical_camera("front", 64, 64)
    assert local_origin([camera] * 6) is None
    assert local_origin([moved(camera, (n * 0.1, 0.0, 0.0)) for n in range(6)]) is None


@pytest.mark.parametrize("up", [(0.0, 1.0, 0.0), (0.0, 0.0, 1.0), (0.6, -0.8, 0.0)])
@pytest.mark.parametrize(
    "by", [(500_000.0, 5_000_000.0, 0.0), (500_000.123, 5_000_000.456, 212.789), (900.5, 0.0, 700.5)]
)
def test_no_vertex_of_a_far_world_is_off_by_a_tenth_of_a_millimetre(
    by: tuple[float, float, float], up: tuple[float, float, float], tmp_path: Path
) -> None:
    """The true place of each vertex in the stated world, against where another loader's scene and the file's own matrix
    have it; OBJ and PLY by the origin that they name."""
    here = capture(ball(), canonical_rig())
    views = tuple(replace(view, camera=moved(view.camera, by)) for view in here.views)
    local = near(replace(here, views=views, up=Up(up, "world_up", "as stated")))
    assert any(local.origin_m)
    true = meshes.torus().vertices.astype(np.float64) * 2.4 + np.array(by) + 0.0123
    mesh = replace(meshes.torus(), vertices=(true - np.array(local.origin_m)).astype(np.float32))
    extras = standing(local, up_of(local, ModelResult(mesh)))
    write_all(mesh, tmp_path, extras)
    back = np.array(extras["to_capture_world"])
    shown = load(tmp_path / "mesh.glb")
    places = {"mesh.glb": shown.vertices @ back[:3, :3].T + back[:3, 3]}
    for name in ("mesh.obj", "mesh.ply"):
        said = re.search(rb"origin: (\S+) (\S+) (\S+) ", (tmp_path / name).read_bytes()[:1000])
        assert said is not None
        places[name] = load(tmp_path / name).vertices + np.array(said.groups(), float)
    for name, found in places.items():
        distance, _ = cKDTree(true - by).query(found - by)
        assert distance.max() < 1e-4, name
        distance, _ = cKDTree(found - by).query(true - by)
        assert distance.max() < 1e-4, name
