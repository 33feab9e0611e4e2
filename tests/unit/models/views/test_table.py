"""An object is cut free from what it stands on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from meshdrop.models.formats.cameras import Camera
from meshdrop.models.surface import tsdf, volume
from meshdrop.models.surface.open_surface import OpenSurface, extract_open
from meshdrop.models.surface.range_view import prepare_scene
from meshdrop.models.views.table import CutFree, cut_free, masks_of
from tests.unit.models.synthetic import Scene
from tests.unit.models.views.scenes import ON_TABLE, TABLE_ALONE, TABLE_HEIGHT, above, photographed

SIDE_PX = 128


def surface_of(scene: Scene, cameras: Sequence[Camera], noise: float) -> tuple[OpenSurface, np.ndarray, float]:
    """The open surface, its vertices in metres and its voxel."""
    views = [prepare_scene(view) for view in photographed(scene, cameras, noise, mask_source="depth").views]
    grid = volume.scene_grid(views, 128, (np.zeros(3), 0.9))
    surface = extract_open(tsdf.fuse(views, grid), 1 << 30)
    return surface, grid.world(surface.vertices), grid.voxel


def cut(scene: Scene, cameras: Sequence[Camera], noise: float = 0.002) -> tuple[CutFree | None, list[np.ndarray]]:
    surface, vertices, voxel = surface_of(scene, cameras, noise)
    found = cut_free(vertices, surface.faces, cameras, np.zeros(3), voxel)
    return found, [] if found is None else list(masks_of(cameras, vertices, surface.faces, found.faces))


@pytest.mark.parametrize("noise", [0.0, 0.002, 0.005])
def test_the_plane_is_found_with_its_normal_towards_the_cameras_and_the_ball_above_it(noise: float) -> None:
    cameras = above(8, SIDE_PX)
    found, masks = cut(ON_TABLE, cameras, noise)
    assert found is not None
    assert np.degrees(np.arccos(found.plane.normal[1])) < 0.5
    assert found.plane.offset == pytest.approx(TABLE_HEIGHT, abs=0.003)
    assert (found.plane.height(np.array([camera.centre for camera in cameras])) > 0).all()
    ball = replace(ON_TABLE, boxes=())
    for camera, mask in zip(cameras, masks, strict=True):
        true = ball.depth(camera) > 0
        assert set(np.unique(mask)) <= {0, 1}
        assert ((mask > 0) & true).sum() / ((mask > 0) | true).sum() > 0.95


def test_the_same_holds_for_a_table_on_its_side() -> None:
    """Nothing depends on which axis is up."""
    turn = np.array([[0.0, 1, 0, 0], [0, 0, 1, 0], [1, 0, 0, 0], [0, 0, 0, 1]])
    cameras = [replace(camera, c2w=turn @ camera.c2w) for camera in above(8, SIDE_PX)]
    # y becomes x
    low, high = ON_TABLE.boxes[0]
    sideways = Scene(spheres=ON_TABLE.spheres, boxes=(((low[1], low[2], low[0]), (high[1], high[2], high[0])),))
    found, _ = cut(sideways, cameras)
    assert found is not None
    assert np.degrees(np.arccos(found.plane.normal[0])) < 0.5


def test_where_nothing_stands_on_the_plane_nothing_is_cut_free() -> None:
    assert cut(TABLE_ALONE, above(8, SIDE_PX))[0] is None


def test_what_stands_beside_is_left_on_the_table() -> None:
    both = replace(ON_TABLE, spheres=(*ON_TABLE.spheres, (0.55, -0.1, 0.0, 0.1)))
    cameras = above(8, SIDE_PX)
    found, masks = cut(both, cameras)
    assert found is not None
    alone = replace(ON_TABLE, boxes=())
    for camera, mask in zip(cameras, masks, strict=True):
        # the small ball may stand before the large one
        wanted = (alone.depth(camera) > 0) & (both.depth(camera) >= alone.depth(camera) - 1e-6)
        assert ((mask > 0) & wanted).sum() / ((mask > 0) | wanted).sum() > 0.93


def test_a_plane_below_no_camera_is_no_table() -> None:
    """The same surface, said to be seen from below."""
    surface, vertices, voxel = surface_of(ON_TABLE, above(8, SIDE_PX), 0.002)
    under = above(8, SIDE_PX, lift=-3.0)
    found = cut_free(vertices, surface.faces, under, np.zeros(3), voxel)
    assert found is None or abs(found.plane.normal[1]) < 0.9
