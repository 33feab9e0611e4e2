"""The lattice holds what was measured and stays bounded, however large the place and however far a stray pixel."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from meshdrop.models.surface import volume
from meshdrop.models.surface.range_view import prepare, prepare_scene
from meshdrop.models.surface.volume import EmptyCapture
from tests.unit.models.synthetic import Scene
from tests.unit.models.views.scenes import BALL, RADIUS, ROOM, around, outward, photographed

#: Samples beyond the resolution's on the longest side: air on both sides, and what rounding adds.
AIR = 6


def hall(times: float) -> Scene:
    """The room, so many times as large."""
    return Scene(
        spheres=tuple((x * times, y * times, z * times, r * times) for x, y, z, r in ROOM.spheres),
        boxes=tuple(
            ((a * times, b * times, c * times), (d * times, e * times, f * times))
            for (a, b, c), (d, e, f) in ROOM.boxes
        ),
    )


@pytest.mark.parametrize("times", [1.0, 7.5], ids=["4 m", "30 m"])
@pytest.mark.parametrize("resolution", [64, 256, 512])
def test_no_side_has_more_samples_than_asked_for(times: float, resolution: int) -> None:
    views = [prepare_scene(view) for view in photographed(hall(times), outward(9)).views]
    grid = volume.scene_grid(views, resolution)
    assert max(grid.shape) <= resolution + AIR
    end = grid.world(np.array(grid.shape) - 1)
    assert (grid.origin < np.array([-2.0, -1.2, -1.5]) * times * 0.98).all()
    assert (end > np.array([2.0, 1.2, 1.5]) * times * 0.98).all()


def test_stray_pixels_at_sixty_five_metres_do_not_stretch_a_room() -> None:
    capture = photographed(ROOM, outward(9), 0.002)
    random, views = np.random.default_rng(0), []
    for view in capture.views:
        assert view.depth is not None
        astray = random.random(view.depth.shape) < 0.001
        views.append(prepare_scene(replace(view, depth=np.where(astray, np.float32(65.535), view.depth))))
    grid = volume.scene_grid(views, 96)
    assert grid.voxel * max(grid.shape) < 6


def test_the_box_of_an_object_holds_it_however_many_views() -> None:
    for count in (6, 80):
        views = [prepare(view) for view in photographed(BALL, around(count, 48), 0.002).views]
        grid = volume.object_grid(views, 64)
        assert (grid.origin < -RADIUS).all()
        assert (grid.world(np.array(grid.shape) - 1) > RADIUS).all()
        assert grid.voxel * max(grid.shape) < 4 * RADIUS


def test_within_a_distance_only_that_is_held() -> None:
    views = [prepare_scene(view) for view in photographed(ROOM, outward(9)).views]
    grid = volume.scene_grid(views, 64, (np.array([1.2, -0.9, 0.8]), 0.7))
    assert grid.voxel * max(grid.shape) < 2.0
    with pytest.raises(EmptyCapture):
        volume.scene_grid(views, 64, (np.array([50.0, 0.0, 0.0]), 0.7))
