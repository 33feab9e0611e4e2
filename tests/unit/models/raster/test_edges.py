"""What lies across each edge, for meshes small enough to say it by hand."""

from __future__ import annotations

import numpy as np

from meshdrop.models.raster.edges import far_corners


def test_two_triangles_see_each_others_far_corner() -> None:
    # the shared edge 1-2 lies opposite to corner 0 of the first and to corner 2 (vertex 3) of the second
    faces = np.array([[0, 1, 2], [2, 1, 3]], np.int32)
    np.testing.assert_array_equal(far_corners(faces), [[3, -1, -1], [-1, -1, 0]])


def test_a_tetrahedron_has_something_beyond_every_edge() -> None:
    faces = np.array([[0, 1, 2], [0, 3, 1], [1, 3, 2], [2, 3, 0]], np.int32)
    # across any edge lies the vertex that the face lacks
    np.testing.assert_array_equal(far_corners(faces), [[3] * 3, [2] * 3, [0] * 3, [1] * 3])


def test_two_faces_on_the_same_corners_have_nothing_beyond() -> None:
    np.testing.assert_array_equal(far_corners(np.array([[0, 1, 2], [2, 1, 0]], np.int32)), np.full((2, 3), -1))


def test_of_three_faces_at_an_edge_the_first_two_see_each_other() -> None:
    faces = np.array([[0, 1, 2], [0, 1, 3], [0, 1, 4]], np.int32)
    np.testing.assert_array_equal(far_corners(faces)[:, 2], [3, 2, -1])


def test_a_face_that_names_a_vertex_twice_has_no_edges() -> None:
    faces = np.array([[0, 1, 1], [0, 1, 2], [1, 0, 3]], np.int32)
    np.testing.assert_array_equal(far_corners(faces), [[-1] * 3, [-1, -1, 3], [-1, -1, 2]])


def test_no_faces_have_no_edges() -> None:
    assert far_corners(np.zeros((0, 3), np.int32)).shape == (0, 3)
