"""Degenerate triangles go without leaving holes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meshdrop.models.measure.figures import Topology
from meshdrop.models.measure.topology import topology
from meshdrop.models.mesh.cleaning import Triangles, clean, degenerate, weld
from meshdrop.models.mesh.mesh import TexturedMesh
from tests import meshes


def triangles(mesh: TexturedMesh) -> Triangles:
    return Triangles(mesh.vertices, mesh.faces, mesh.uv)


def facts(mesh: Triangles) -> Topology:
    return topology(mesh.vertices, mesh.faces)


def with_flat_triangle(mesh: Triangles, face: int, t: float) -> Triangles:
    """Put a vertex on an edge of ``face`` and fill the slit with a triangle of no area: a T-junction, closed by it."""
    a, b, c = mesh.faces[face]
    new = len(mesh.vertices)
    point = ((1 - t) * mesh.vertices[a] + t * mesh.vertices[b]).astype(np.float32)
    middle = ((1 - t) * mesh.uv[face, 0] + t * mesh.uv[face, 1]).astype(np.float32)
    faces = mesh.faces.copy()
    uv = mesh.uv.copy()
    faces[face], uv[face, 1] = (a, new, c), middle
    more = np.array([(new, b, c), (a, b, new)], np.int32)
    more_uv = np.stack([[middle, mesh.uv[face, 1], mesh.uv[face, 2]], [mesh.uv[face, 0], mesh.uv[face, 1], middle]])
    vertices = np.concatenate([mesh.vertices, point[None]])
    return Triangles(vertices, np.concatenate([faces, more]), np.concatenate([uv, more_uv]))


PLACES = st.tuples(st.integers(0, 3071), st.sampled_from([0.0, 1e-9, 0.01, 0.3, 0.5, 0.999]))


@settings(max_examples=40)
@given(st.lists(PLACES, min_size=1, max_size=12))
def test_flat_triangles_are_mended_without_opening_the_surface(places: list[tuple[int, float]]) -> None:
    mesh = triangles(meshes.torus())
    for face, t in places:
        mesh = with_flat_triangle(mesh, face, t)
    assert facts(weld(mesh)).degenerate_faces > 0
    cleaned = clean(mesh)
    after = facts(cleaned)
    assert after.degenerate_faces == 0
    assert after.watertight
    assert after.consistent_winding
    assert after.genus == 1
    assert after.area_m2 == pytest.approx(facts(triangles(meshes.torus())).area_m2, rel=1e-5)
    assert cleaned.uv.min() >= 0
    assert cleaned.uv.max() <= 1


def test_cleaning_twice_changes_nothing() -> None:
    once = clean(with_flat_triangle(triangles(meshes.sphere()), 2000, 0.5))
    twice = clean(once)
    assert np.array_equal(once.vertices, twice.vertices)
    assert np.array_equal(once.faces, twice.faces)
    assert np.array_equal(once.uv, twice.uv)


def test_equal_places_are_welded_and_minus_zero_is_zero() -> None:
    vertices = np.array([(0.0, 0, 0), (1, 0, 0), (0, 1, 0), (-0.0, 0, 0)], np.float32)
    welded = weld(Triangles(vertices, np.array([(0, 1, 2), (3, 2, 1)], np.int32), np.zeros((2, 3, 2), np.float32)))
    assert welded.vertices.tolist() == [[0, 0, 0], [1, 0, 0], [0, 1, 0]]
    assert welded.faces.tolist() == [[0, 1, 2], [0, 2, 1]]


def test_vertices_that_nothing_refers_to_are_dropped() -> None:
    mesh = triangles(meshes.cube(1.0))
    more = Triangles(np.concatenate([[[9, 9, 9]], mesh.vertices]).astype(np.float32), mesh.faces + 1, mesh.uv)
    cleaned = clean(more)
    assert len(cleaned.vertices) == 8
    assert cleaned.vertices.max() == 0.5


def test_a_new_corner_takes_its_texture_from_the_split_triangle() -> None:
    """Two triangles share the edge (0,0)-(1,0); a flat one on it brings a vertex at its middle.

    The lower triangle is the one to be split; its own uv along that edge runs from (0, 0) to (0.5, 0), so its new
    corner lies at (0.25, 0), whatever uv the flat triangle had.
    """
    vertices = np.array([(0, 0, 0), (1, 0, 0), (0, 1, 0), (0, -1, 0), (0.5, 0, 0)], np.float32)
    faces = np.array([(0, 4, 2), (4, 1, 2), (0, 1, 4), (1, 0, 3)], np.int32)
    uv = np.full((4, 3, 2), 0.9, np.float32)
    uv[3] = [(0.5, 0), (0, 0), (0, 0.5)]
    cleaned = clean(Triangles(vertices, faces, uv))
    assert len(cleaned.faces) == 4
    at_the_middle = np.isclose(cleaned.vertices[cleaned.faces], (0.5, 0, 0)).all(axis=2)
    below = cleaned.vertices[cleaned.faces][..., 1].min(axis=1) < 0
    assert cleaned.uv[at_the_middle & below[:, None]] == pytest.approx(np.array([(0.25, 0), (0.25, 0)]))


def test_a_thin_but_real_triangle_is_kept() -> None:
    # 1 m long and 1 micrometre high: ten times what float32 can resolve here
    vertices = np.array([(0, 0, 0), (1, 0, 0), (0.5, 1e-6, 0)], np.float32)
    assert not degenerate(vertices, np.array([(0, 1, 2)], np.int32)).any()
