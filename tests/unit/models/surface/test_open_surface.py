"""An open surface ends where no view looked."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from meshdrop.models.surface import tsdf, volume
from meshdrop.models.surface.open_surface import OpenSurface, extract_open
from meshdrop.models.surface.range_view import RangeView, prepare_scene
from meshdrop.models.surface.volume import EmptyCapture, Grid
from tests.unit.models.synthetic import Scene
from tests.unit.models.views.scenes import ON_TABLE, ROOM, above, outward, photographed

NO_LIMIT = 1 << 30


def views_of(scene: Scene, cameras: list) -> list[RangeView]:  # type: ignore[type-arg]
    return [prepare_scene(view) for view in photographed(scene, cameras, 0.002).views]


def surface(scene: Scene, cameras: list, limit: int = NO_LIMIT) -> tuple[OpenSurface, Grid]:  # type: ignore[type-arg]
    views = views_of(scene, cameras)
    grid = volume.scene_grid(views, 64)
    return extract_open(tsdf.fuse(views, grid), limit), grid


def borders(faces: np.ndarray) -> int:
    """Edges that one triangle alone has."""
    edges = np.sort(faces[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2), axis=1)
    return int((np.unique(edges, axis=0, return_counts=True)[1] == 1).sum())


@pytest.mark.parametrize("limit", [NO_LIMIT, 5_000])
def test_it_is_not_closed_where_views_end_and_has_no_face_that_no_view_saw(limit: int) -> None:
    cameras = above(8)
    found, grid = surface(ON_TABLE, cameras, limit)
    assert borders(found.faces) > 50
    corners = grid.world(found.vertices)[found.faces]
    middle = corners.mean(axis=1)
    seen = np.zeros(len(middle), np.bool_)
    for camera in cameras:
        u, v, z = camera.project(middle)
        inside = (z > 0) & (u >= 0) & (u < camera.width) & (v >= 0) & (v < camera.height)
        depth = ON_TABLE.depth(camera)
        at = depth[np.where(inside, v, 0).astype(int), np.where(inside, u, 0).astype(int)]
        # within two voxels of what it measured: not hidden behind it
        seen |= inside & (at > 0) & (z < at + 2.5 * grid.voxel)
    assert seen.mean() > 0.999


def test_it_lies_on_what_was_measured_and_faces_the_cameras() -> None:
    found, grid = surface(ON_TABLE, above(8))
    vertices = grid.world(found.vertices)
    corners = vertices[found.faces]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    on_table = np.linalg.norm(corners.mean(axis=1)[:, [0, 2]], axis=1) > 0.4
    assert np.abs(corners.mean(axis=1)[on_table, 1] + 0.2).mean() < 0.1 * grid.voxel
    assert (normals[on_table, 1] > 0).mean() > 0.99


def test_what_one_view_alone_saw_is_there_and_what_none_saw_is_a_hole() -> None:
    seen = [len(surface(ROOM, outward(18)[:count])[0].faces) for count in (1, 2, 18)]
    assert 0 < seen[0] < seen[1] < seen[2]


def test_simplified_it_keeps_its_place_and_its_border() -> None:
    whole, _ = surface(ROOM, outward(12))
    simple, _ = surface(ROOM, outward(12), 4_000)
    assert len(simple.faces) <= 4_000
    assert simple.extracted_faces == whole.extracted_faces
    for bound in (np.min, np.max):
        np.testing.assert_allclose(bound(simple.vertices, axis=0), bound(whole.vertices, axis=0), atol=1.0)
    a, b, c = simple.faces.T
    assert ((a != b) & (b != c) & (c != a)).all()


def test_too_little_to_be_a_mesh_is_refused_in_words() -> None:
    far = [replace(view, depth=np.where(np.arange(96) < 4, view.depth, 0)) for view in views_of(ROOM, outward(1))]
    grid = volume.scene_grid(far, 64)
    with pytest.raises(EmptyCapture, match="points were measured, and a mesh needs more than"):
        extract_open(tsdf.fuse(far, grid), NO_LIMIT)
