"""Fusion averages noise, votes outliers down, and takes what was not measured for no evidence."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from meshdrop.models.capture.capture import Capture, View
from meshdrop.models.surface import extraction, tsdf, volume
from meshdrop.models.surface.range_view import RangeView, prepare_scene
from meshdrop.models.views.assembly import assemble
from tests.unit.models.views.scenes import BALL, RADIUS, ROOM, around, changed, outward, photographed

RESOLUTION = 64


def off_voxels(capture: Capture) -> np.ndarray:
    """Signed distances of the fused surface from the ball's, in voxels, positive outside."""
    views = assemble(capture).views
    grid = volume.object_grid(views, RESOLUTION)
    surface = extraction.extract(tsdf.fuse(views, grid).field, 1_000_000)
    return np.asarray((np.linalg.norm(grid.world(surface.vertices), axis=1) - RADIUS) / grid.voxel)


def with_depth(capture: Capture, index: int, change: object) -> Capture:
    depth = capture.views[index].depth
    assert depth is not None
    return changed(capture, index, depth=change(depth.copy()).astype(np.float32))  # type: ignore[operator]


@pytest.mark.parametrize("noise", [0.0, 0.005, 0.015], ids=lambda noise: f"{1000 * noise:.0f} mm")
def test_noise_moves_the_surface_of_a_ball_neither_in_nor_out_however_many_views(noise: float) -> None:
    """A voxel is 15 mm. More views must not be worse than few."""
    found = {count: off_voxels(photographed(BALL, around(count), noise)) for count in (6, 24)}
    assert all(abs(off.mean()) < 0.1 for off in found.values())
    assert np.abs(found[24]).mean() <= np.abs(found[6]).mean() + 0.005
    assert np.abs(found[24]).mean() < 0.1


def test_ragged_masks_do_not_move_what_depth_measured() -> None:
    """Outlines that swing by two pixels to either side, and depth that is no surer than they are: by the outlines that
    cut deepest the ball would be smaller by half a voxel."""
    random = np.random.default_rng(3)
    capture = photographed(BALL, around(12), 0.002)
    views = []
    for view in assemble(capture).views:
        waves = gaussian_filter(random.normal(size=view.outline.shape), 4)
        outline = (view.outline + 2 * waves / waves.std()).astype(np.float32)
        views.append(replace(view, outline=outline, slack=2.0, spread=np.full_like(view.spread, 0.02)))
    grid = volume.object_grid(views, RESOLUTION)
    surface = extraction.extract(tsdf.fuse(views, grid).field, 1_000_000)
    off = (np.linalg.norm(grid.world(surface.vertices), axis=1) - RADIUS) / grid.voxel
    assert abs(off.mean()) < 0.1


@pytest.mark.parametrize("farther", [0.3, 60.0])
def test_a_patch_too_far_in_one_view_carves_no_hole(farther: float) -> None:
    def wrong(depth: np.ndarray) -> np.ndarray:
        depth[40:56, 40:56] += farther
        return depth

    off = off_voxels(with_depth(photographed(BALL, around(12), 0.002), 0, wrong))
    assert np.abs(off).max() < 1.0
    assert abs(off.mean()) < 0.1


@pytest.mark.parametrize("share", [0.02, 0.1])
def test_flying_pixels_in_one_view_add_nothing(share: float) -> None:
    random = np.random.default_rng(4)

    def flying(depth: np.ndarray) -> np.ndarray:
        astray = (random.random(depth.shape) < share) & (depth > 0)
        depth[astray] -= random.uniform(0.1, 0.8, astray.sum())
        return depth

    off = off_voxels(with_depth(photographed(BALL, around(12), 0.002), 0, flying))
    assert np.abs(off).max() < 1.0


def test_a_patch_too_near_in_one_view_adds_nothing() -> None:
    def near(depth: np.ndarray) -> np.ndarray:
        depth[40:56, 40:56] -= 0.3
        return depth

    assert np.abs(off_voxels(with_depth(photographed(BALL, around(12), 0.002), 0, near))).max() < 1.0


def test_stray_pixels_as_far_as_sixteen_bits_reach_do_no_harm() -> None:
    random = np.random.default_rng(4)

    def astray(depth: np.ndarray) -> np.ndarray:
        depth[(random.random(depth.shape) < 0.03) & (depth > 0)] = 65.535
        return depth

    capture = photographed(BALL, around(12), 0.002)
    for n in range(12):
        capture = with_depth(capture, n, astray)
    assert np.abs(off_voxels(capture)).max() < 1.0


@pytest.mark.parametrize("step", [0.001, 0.01])
def test_depth_in_steps_without_other_noise_is_smooth(step: float) -> None:
    capture = photographed(BALL, around(12))
    for n in range(12):
        capture = with_depth(capture, n, lambda depth: np.rint(depth / step) * step)
    off = off_voxels(capture)
    assert abs(off.mean()) < 0.1
    assert np.abs(off).max() < 0.5


def test_pixels_of_a_scene_that_were_not_measured_carve_nothing() -> None:
    """One view sees nothing at all of a room, another has a hole in its middle; the field is as without them."""
    views = [prepare_scene(view) for view in photographed(ROOM, outward(9), 0.002).views]
    grid = volume.scene_grid(views, 48)
    nothing = np.zeros_like(views[0].depth)
    blind = replace(views[0], depth=nothing, factor=nothing, spread=nothing)
    with_blind = tsdf.fuse([*views[1:], blind], grid)
    without = tsdf.fuse(views[1:], grid)
    np.testing.assert_array_equal(with_blind.field, without.field)
    np.testing.assert_array_equal(with_blind.seen, without.seen)


def test_what_a_view_adds_is_counted_where_it_looks() -> None:
    views = [prepare_scene(view) for view in photographed(ROOM, outward(9), 0.002).views]
    grid = volume.scene_grid(views, 48)
    fewer, more = tsdf.fuse(views[1:], grid).seen, tsdf.fuse(views, grid).seen
    inner = np.s_[1:-1, 1:-1, 1:-1]
    assert (more[inner] >= fewer[inner]).mean() > 0.99
    assert (more[inner] > fewer[inner]).any()


def test_the_same_views_give_the_same_field_bit_by_bit_and_in_any_order_nearly() -> None:
    views = list(assemble(photographed(BALL, around(12), 0.005)).views)
    grid = volume.object_grid(views, RESOLUTION)
    once, again = tsdf.fuse(views, grid), tsdf.fuse(views, grid)
    assert once.field.tobytes() == again.field.tobytes()
    assert once.seen.tobytes() == again.seen.tobytes()
    np.testing.assert_allclose(tsdf.fuse(views[::-1], grid).field, once.field, atol=1e-4)


def test_the_rim_of_the_lattice_is_outside_and_told_by_nobody() -> None:
    views: list[RangeView] = [prepare_scene(view) for view in photographed(ROOM, outward(6)).views]
    fused = tsdf.fuse(views, volume.scene_grid(views, 48))
    for axis in range(3):
        assert (np.take(fused.field, [0, -1], axis=axis) == tsdf.BAND_VOXELS).all()
        assert (np.take(fused.seen, [0, -1], axis=axis) == 0).all()


def blinded(view: View) -> View:
    return replace(view, depth=None)


def test_views_without_depth_among_others_only_cut() -> None:
    capture = photographed(BALL, around(12), 0.002)
    some = replace(capture, views=tuple(blinded(v) if n % 3 == 0 else v for n, v in enumerate(capture.views)))
    assert abs(off_voxels(some).mean()) < 0.1
