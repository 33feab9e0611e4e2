"""Points that stand for a mesh, and the simpler mesh that is drawn instead of it."""

from __future__ import annotations

import numpy as np
from scipy.spatial import cKDTree

from meshdrop.models.registration.cloud import seen_from_outside
from meshdrop.models.registration.drawable import Mesh, simpler
from tests.meshes import cube, sphere, torus


def test_points_lie_on_the_surface_with_outward_normals() -> None:
    ball = sphere(0.4)
    cloud = seen_from_outside(ball.vertices, ball.faces)
    assert len(cloud.points) > 5000
    radius = np.linalg.norm(cloud.points, axis=1)
    # triangles of 49 x 64 patches lie inside of the sphere by up to 0.4 (1 - cos(pi / 48)) = 0.9 mm
    assert 0.4 - 2e-3 < radius.min() <= radius.max() < 0.4 + 1e-6
    assert ((cloud.points / radius[:, None] * cloud.normals).sum(axis=1) > 0.99).all()


def test_what_nobody_sees_is_left_out_and_winding_does_not_matter() -> None:
    ball, kernel = sphere(0.4), sphere(0.3)
    both = np.concatenate([ball.vertices, kernel.vertices])
    faces = np.concatenate([ball.faces[:, ::-1], kernel.faces + len(ball.vertices)])
    cloud = seen_from_outside(both, faces)
    radius = np.linalg.norm(cloud.points, axis=1)
    assert radius.min() > 0.39
    assert ((cloud.points * cloud.normals).sum(axis=1) > 0).all()


def test_spread_points_are_about_as_many_as_asked_and_even() -> None:
    ring = torus()
    cloud = seen_from_outside(ring.vertices, ring.faces)
    few = cloud.spread(600)
    assert 450 < len(few.points) < 720
    gaps = cKDTree(few.points).query(cloud.points)[0]
    # the torus has 4 pi^2 0.3 0.1 = 1.18 m^2: an even point each 1.18 / 600 has no spot farther than 0.06 from it
    assert gaps.max() < 0.06


def test_a_simpler_mesh_has_fewer_faces_in_the_same_place() -> None:
    ball = sphere(0.4, rows=161, columns=192)
    mesh = Mesh(ball.vertices.astype(np.float64), ball.faces, np.full((len(ball.vertices), 3), 0.25))
    less = simpler(mesh, 24)
    assert 500 < len(less.faces) < len(mesh.faces) / 5
    # a cell's mean of points on the sphere lies inside of it by at most its diagonal squared / 8 r, d = 0.8 / 24 sqrt 3
    radius = np.linalg.norm(less.vertices, axis=1)
    assert 0.4 - (0.8 / 24) ** 2 * 3 / (8 * 0.4) - 1e-6 < radius.min() <= radius.max() < 0.4 + 1e-6
    assert less.colours is not None
    np.testing.assert_allclose(less.colours, 0.25)


def test_a_simple_mesh_stays_as_it_is() -> None:
    box = cube(1.0)
    mesh = Mesh(box.vertices.astype(np.float64), box.faces, None)
    assert simpler(mesh, 40) is mesh
    assert simpler(mesh, 1) is mesh  # all in one or two cells: nothing would be left
