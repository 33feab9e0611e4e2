"""Topology and measures against solids that can be worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from meshdrop.models.measure.figures import Topology
from meshdrop.models.measure.topology import topology
from meshdrop.models.mesh.mesh import TexturedMesh
from tests import meshes


def measure(mesh: TexturedMesh) -> Topology:
    return topology(mesh.vertices, mesh.faces)


def test_a_cube_has_its_area_volume_and_size() -> None:
    facts = measure(meshes.cube(0.2))  # 6 sides of 0.04 m2, 0.2 ** 3 = 0.008 m3
    assert facts.area_m2 == pytest.approx(0.24)
    assert facts.volume_m3 == pytest.approx(0.008)
    assert facts.size_m == pytest.approx((0.2, 0.2, 0.2))
    assert facts.bounds_m[0] == pytest.approx((-0.1, -0.1, -0.1))
    assert (facts.vertices, facts.faces, facts.components, facts.genus) == (8, 12, 1, 0)
    assert facts.watertight
    assert facts.consistent_winding


@pytest.mark.parametrize(("mesh", "genus"), [(meshes.sphere(), 0), (meshes.torus(), 1)])
def test_handles_are_counted(mesh: TexturedMesh, genus: int) -> None:
    facts = measure(mesh)
    assert facts.watertight
    assert facts.genus == genus
    assert facts.volume_m3 is not None
    assert facts.volume_m3 > 0


def test_split_vertices_at_seams_do_not_open_the_surface() -> None:
    mesh = meshes.torus()
    soup = mesh.vertices[mesh.faces].reshape(-1, 3)  # every corner a vertex of its own
    facts = topology(soup, np.arange(len(soup), dtype=np.int32).reshape(-1, 3))
    assert facts.watertight
    assert facts.genus == 1
    assert facts.vertices == len(mesh.vertices)


def test_a_missing_triangle_leaves_three_boundary_edges_and_no_volume() -> None:
    mesh = meshes.torus()
    facts = topology(mesh.vertices, mesh.faces[1:])
    assert facts.boundary_edges == 3
    assert not facts.watertight
    assert facts.volume_m3 is None
    assert facts.genus is None


def test_a_turned_triangle_is_inconsistent_but_closed() -> None:
    faces = meshes.torus().faces.copy()
    faces[0] = faces[0, ::-1]
    facts = topology(meshes.torus().vertices, faces)
    assert facts.watertight
    assert not facts.consistent_winding
    assert facts.volume_m3 is None


def test_a_fin_makes_one_non_manifold_edge() -> None:
    mesh = meshes.cube(1.0)
    tip = np.array([[0, 0, 2]], np.float32)
    a, b = mesh.faces[0, :2]
    facts = topology(np.concatenate([mesh.vertices, tip]), np.concatenate([mesh.faces, [[a, b, 8]]]).astype(np.int32))
    assert facts.non_manifold_edges == 1
    assert facts.boundary_edges == 2  # the fin's own two other edges
    assert facts.components == 1


def test_two_cubes_touching_at_a_corner_are_two_closed_components() -> None:
    one = meshes.cube(1.0)
    vertices = np.concatenate([one.vertices, one.vertices + 1.0]).astype(np.float32)
    facts = topology(vertices, np.concatenate([one.faces, one.faces + 8]).astype(np.int32))
    assert facts.vertices == 15  # 16 less the shared corner
    assert facts.non_manifold_vertices == 1
    assert (facts.components, facts.genus) == (2, 0)
    assert facts.largest_component_share == pytest.approx(0.5)
    assert facts.volume_m3 == pytest.approx(2.0)


def test_degenerate_triangles_are_counted() -> None:
    assert measure(meshes.sphere()).degenerate_faces == 2 * 64  # one per column at each pole
