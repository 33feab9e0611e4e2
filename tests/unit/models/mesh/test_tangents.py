"""Tangents: along the texture, perpendicular to the normal, split only where they must be."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from meshdrop.models.mesh.mesh import TexturedMesh
from meshdrop.models.mesh.tangents import TangentFrames, tangent_frames
from tests import meshes


def frames_of(mesh: TexturedMesh) -> TangentFrames:
    return tangent_frames(mesh.vertices, mesh.faces, mesh.uv, mesh.vertex_normals())


MESHES = {
    "cube": meshes.cube(0.2),
    "sphere": meshes.sphere().cleaned(),
    "torus": meshes.torus(),
    "one chart per triangle": meshes.charts(meshes.torus()),
}


@pytest.mark.parametrize("name", MESHES)
def test_frames_name_the_same_corners_and_stand_upright(name: str) -> None:
    mesh = MESHES[name]
    frames = frames_of(mesh)
    assert np.array_equal(frames.vertex[frames.faces], mesh.faces)
    assert np.array_equal(frames.uv[frames.faces], mesh.uv)
    assert np.unique(frames.faces).tolist() == list(range(len(frames.vertex)))
    normals = mesh.vertex_normals()[frames.vertex]
    assert np.linalg.norm(frames.tangent[:, :3], axis=1) == pytest.approx(1, abs=1e-6)
    assert np.abs((frames.tangent[:, :3] * normals).sum(axis=1)).max() < 1e-6
    assert set(frames.tangent[:, 3].tolist()) <= {1.0, -1.0}


def test_tangents_of_a_torus_run_around_its_rows() -> None:
    """Its u runs along the small circles: the direction is known in closed form at every vertex."""
    mesh = meshes.torus(rows=48, columns=32)
    frames = frames_of(mesh)
    u = -np.arange(48)[:, None] / 48 * 2 * np.pi + np.zeros((1, 32))
    v = np.arange(32)[None, :] / 32 * 2 * np.pi + np.zeros((48, 1))
    along = np.stack([-np.sin(v) * np.cos(u), np.cos(v), -np.sin(v) * np.sin(u)], axis=2).reshape(-1, 3)
    assert (frames.tangent[:, :3] * along[frames.vertex]).sum(axis=1).min() > 0.999
    # the seams of the texture split the vertices, but not what is seen: (48 + 1) x (32 + 1) places of the atlas
    assert len(frames.vertex) == 49 * 33
    assert len(set(frames.tangent[:, 3].tolist())) == 1


def test_charts_that_touch_in_one_place_of_the_atlas_are_not_averaged() -> None:
    """Every side of this cube shows the whole texture: three that meet with one coordinate need three frames."""
    mesh = MESHES["cube"]
    frames = frames_of(mesh)
    assert len(frames.vertex) == 24
    edges = mesh.vertices[mesh.faces[:, 1]] - mesh.vertices[mesh.faces[:, 0]]
    along = edges[::2] / np.float32(0.2)  # the first edge of each side's first triangle runs along u
    sides = frames.tangent[frames.faces][::2, :, :3]
    assert (sides * along[:, None]).sum(axis=2).min() > 0.5


@pytest.mark.parametrize("name", ["cube", "torus"])
def test_the_bitangent_runs_along_v_whether_the_chart_is_mirrored_or_not(name: str) -> None:
    """dP/dv of each triangle and cross(normal, tangent) times the sign agree, and mirroring u turns u's side only."""
    mesh = MESHES[name]
    for chart, turn in (
        (mesh, 1.0),
        (replace(mesh, uv=mesh.uv * np.array([-1, 1], np.float32) + np.array([1, 0], np.float32)), -1.0),
    ):
        frames = frames_of(chart)
        tangent = frames.tangent[frames.faces]
        normals = mesh.vertex_normals()[mesh.faces]
        bitangent = np.cross(normals, tangent[..., :3]) * tangent[..., 3:]
        e = mesh.vertices[mesh.faces[:, 1]] - mesh.vertices[mesh.faces[:, 0]]
        f = mesh.vertices[mesh.faces[:, 2]] - mesh.vertices[mesh.faces[:, 0]]
        p, q = chart.uv[:, 1] - chart.uv[:, 0], chart.uv[:, 2] - chart.uv[:, 0]
        area = p[:, 0] * q[:, 1] - p[:, 1] * q[:, 0]
        along_v = (p[:, :1] * f - q[:, :1] * e) / area[:, None]
        along_v /= np.linalg.norm(along_v, axis=1, keepdims=True)
        assert (bitangent * along_v[:, None]).sum(axis=2).min() > 0.5
        assert (tangent[..., :3] * frames_of(mesh).tangent[frames_of(mesh).faces][..., :3] * turn).sum(axis=2).min() > 0
        assert np.array_equal(tangent[:, 0, 3], np.sign(area))


def test_two_triangles_that_mirror_each_other_share_no_frame() -> None:
    """A chart folded along u = 1: same positions and coordinates at the fold, opposite sides."""
    vertices = np.array([(0, 0, 0), (1, 0, 0), (1, 1, 0), (2, 0, 0)], np.float32)
    faces = np.array([(0, 1, 2), (1, 3, 2)], np.int32)
    uv = np.array([[(0, 0), (1, 0), (1, 1)], [(1, 0), (0, 0), (1, 1)]], np.float32)
    frames = tangent_frames(vertices, faces, uv, np.tile(np.array([0, 0, 1], np.float32), (4, 1)))
    assert len(frames.vertex) == 6
    assert frames.tangent[frames.faces[0]].tolist() == [[1, 0, 0, 1]] * 3
    assert frames.tangent[frames.faces[1]].tolist() == [[-1, 0, 0, -1]] * 3


def test_triangles_without_area_in_the_texture_take_the_frame_of_their_neighbours() -> None:
    vertices = np.array([(0, 0, 0), (1, 0, 0), (1, 1, 0), (2, 0, 0)], np.float32)
    faces = np.array([(0, 1, 2), (1, 3, 2)], np.int32)
    uv = np.array([[(0, 0), (0, 1), (0.5, 1)], [(0, 1), (0.25, 1), (0.5, 1)]], np.float32)
    up = np.tile(np.array([0.48, 0.6, 0.64], np.float32), (4, 1))
    frames = tangent_frames(vertices, faces, uv, up)
    # this chart is mirrored, so its corners split from the flat triangle's; those have no frame but any
    assert np.linalg.norm(frames.tangent[:, :3], axis=1) == pytest.approx(1)
    assert np.abs(frames.tangent[:, :3] @ up[0]).max() < 1e-6
    straight = uv[:, :, ::-1].copy()
    shared = tangent_frames(vertices, faces, straight, up)
    assert len(shared.vertex) == 4
    assert np.array_equal(shared.tangent[shared.faces[1, 0]], shared.tangent[shared.faces[0, 1]])
