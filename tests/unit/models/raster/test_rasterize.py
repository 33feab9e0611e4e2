"""What is drawn where, with which barycentrics, and how they follow the corners."""

from __future__ import annotations

import numpy as np
import pytest

from tests.torch_needed import torch_or_skip

torch_or_skip()

import torch  # noqa: E402

from meshdrop.models.formats.cameras import Camera, look_at  # noqa: E402 - torch may be absent
from meshdrop.models.raster.torch_numba import NumbaRaster  # noqa: E402
from tests.unit.models.raster.scenes import (  # noqa: E402
    FAR_M,
    NEAR_M,
    around,
    ball,
    each_raster,
    flat,
    raster_called,
    sheet,
    to_clip,
    triangles,
)
from tests.unit.models.synthetic import points_of  # noqa: E402

SIZE = (24, 32)
#: The whole picture and more, as one triangle in pixels.
EVERYWHERE = np.array([[-40.0, -40.0], [120.0, -40.0], [-40.0, 120.0]])


def covered(fragments: torch.Tensor) -> np.ndarray:
    return (fragments[..., 3] > 0).cpu().numpy()


@each_raster
def test_the_background_is_zero_and_a_triangle_carries_its_number(name: str) -> None:
    raster = raster_called(name)
    # pixels with centres (x, y) = (j + .5, i + .5) inside: rows 4..7, and x < 2 + 8 - (y - 4) in row y
    points = np.array([[0.0, 0.0], [1, 0], [0, 1], [2.0, 4.0], [10.0, 4.0], [2.0, 12.0]])
    clip = flat(points, SIZE).float().to(raster.device)
    fragments = raster.rasterize(clip, triangles([[0, 1, 1], [3, 4, 5]]).to(raster.device), SIZE)
    i, j = np.mgrid[: SIZE[0], : SIZE[1]]
    # a centre on the slope x + y = 14 would belong to the neighbour; none lies on it, as x + y is j + i + 1
    expected = np.where((j >= 2) & (i >= 4) & (i + j + 1 < 14), 2, 0)
    np.testing.assert_array_equal(fragments[0, ..., 3].cpu().numpy(), expected)
    assert not fragments[0][fragments[0, ..., 3] == 0].any()


@each_raster
def test_world_points_are_seen_where_the_camera_projects_them(name: str) -> None:
    """Row order, column order, perspective and z: interpolated positions project to their own pixel's centre."""
    raster = raster_called(name)
    rng = np.random.default_rng(5)
    vertices, faces = ball(rng, 60)
    cameras = around(rng, 2, SIZE, 3.0)
    clip = torch.tensor(to_clip(vertices, cameras), dtype=torch.float32, device=raster.device)
    indices = triangles(faces).to(raster.device)
    fragments = raster.rasterize(clip, indices, SIZE)
    positions = (
        raster.interpolate(torch.tensor(vertices, dtype=torch.float32, device=raster.device), fragments, indices)
        .cpu()
        .numpy()
        .astype(np.float64)
    )
    for k, camera in enumerate(cameras):
        i, j = np.nonzero(covered(fragments)[k])
        assert len(i) > 100
        u, v, depth = camera.project(positions[k, i, j])
        # coverage snaps to 1/16 pixel: a sample may lie 1/32 outside, and its barycentrics are then clamped
        np.testing.assert_allclose(u, j + 0.5, atol=0.05)
        np.testing.assert_allclose(v, i + 0.5, atol=0.05)
        normal_z = (FAR_M + NEAR_M - 2 * FAR_M * NEAR_M / depth) / (FAR_M - NEAR_M)
        np.testing.assert_allclose(fragments[k, i, j, 2].cpu().numpy(), normal_z, atol=2e-3)


@each_raster
def test_both_sides_are_drawn(name: str) -> None:
    raster = raster_called(name)
    clip = flat(EVERYWHERE / 8, SIZE).float().to(raster.device)
    front = raster.rasterize(clip, triangles([[0, 1, 2]]).to(raster.device), SIZE)
    back = raster.rasterize(clip, triangles([[0, 2, 1]]).to(raster.device), SIZE)
    assert 0 < covered(front).sum() < front[..., 3].numel()
    np.testing.assert_array_equal(covered(front), covered(back))


@each_raster
def test_the_nearest_wins_in_any_order(name: str) -> None:
    raster = raster_called(name)
    near, far = flat(EVERYWHERE / 8, SIZE, z=-0.2), flat(EVERYWHERE, SIZE, z=0.3)
    clip = torch.cat([near, far], dim=1).float().to(raster.device)
    for faces, near_number in (([[0, 1, 2], [3, 4, 5]], 1), ([[3, 4, 5], [0, 1, 2]], 2)):
        fragments = raster.rasterize(clip, triangles(faces).to(raster.device), SIZE)
        alone = raster.rasterize(clip, triangles([[0, 1, 2]]).to(raster.device), SIZE)
        assert 0 < covered(alone).sum() < alone[..., 3].numel()
        expected = np.where(covered(alone), near_number, 3 - near_number)
        np.testing.assert_array_equal(fragments[..., 3].cpu().numpy(), expected)


@each_raster
def test_interpenetrating_triangles_meet_where_their_depths_do(name: str) -> None:
    raster = raster_called(name)
    # z / w of the second rises from -0.5 at x = 0 to 0.5 at x = 32: it is nearer than z = 0 for x < 16
    slope = flat(EVERYWHERE, SIZE)
    slope[..., 2] = slope[..., 0] * 0.5
    clip = torch.cat([flat(EVERYWHERE, SIZE), slope], dim=1).float().to(raster.device)
    fragments = raster.rasterize(clip, triangles([[0, 1, 2], [3, 4, 5]]).to(raster.device), SIZE)
    expected = np.tile(np.where(np.arange(SIZE[1]) < 16, 2, 1), (SIZE[0], 1))
    np.testing.assert_array_equal(fragments[0, ..., 3].cpu().numpy(), expected)


@each_raster
@pytest.mark.parametrize("seed", range(4))
def test_a_cut_sheet_covers_every_pixel_exactly_once(name: str, seed: int) -> None:
    """No pinhole and no pixel twice along shared edges, also where corners lie on pixel centres and depths differ."""
    raster = raster_called(name)
    rng = np.random.default_rng(seed)
    points, faces = sheet(rng, 5)
    pixels = -2.0 + points * (SIZE[1] + 4.0)
    on_centres = rng.random(len(pixels)) < 0.4
    pixels[on_centres] = np.floor(pixels[on_centres]) + 0.5
    clip = flat(pixels, SIZE) * torch.tensor(rng.uniform(1, 3, (1, len(points), 1)))
    # one picture a triangle: the same corners, all other faces left out
    count = sum(
        covered(raster.rasterize(clip.float().to(raster.device), triangles([face]).to(raster.device), SIZE))[0]
        for face in faces
    )
    np.testing.assert_array_equal(count, np.ones(SIZE))


@each_raster
@pytest.mark.parametrize("cells", [1, 6])
def test_a_floor_through_the_camera_plane_is_seen_up_to_the_horizon(name: str, cells: int) -> None:
    raster = raster_called(name)
    # the camera stands 1 m above the floor y = 0 and looks down by 10 degrees; the floor reaches 10 m in all directions
    tilt = np.deg2rad(10)
    camera = Camera(SIZE[1], SIZE[0], 20, 20, 16, 12, look_at((0, np.sin(tilt), np.cos(tilt)), (0, 1, 0), 1.0))
    camera.c2w[:3, 3] = (0, 1, 0)
    points, faces = sheet(np.random.default_rng(2), cells)
    floor = np.stack([20 * points[:, 0] - 10, 0 * points[:, 0], 20 * points[:, 1] - 10], axis=1)
    clip = torch.tensor(to_clip(floor, [camera]), dtype=torch.float32, device=raster.device)
    assert (clip[..., 3] < 0).any()
    indices = triangles(faces).to(raster.device)
    fragments = raster.rasterize(clip, indices, SIZE)
    seen = raster.interpolate(torch.tensor(floor, dtype=torch.float32, device=raster.device), fragments, indices)

    rays = points_of(camera, np.ones(SIZE)) - camera.centre
    with np.errstate(divide="ignore"):
        reach = -1.0 / rays[..., 1]
    hits = camera.centre + reach[..., None] * rays
    inside = (reach > 0) & (np.abs(hits).max(axis=-1) < 10)
    assert 100 < inside.sum() < inside.size - 100
    near_the_rim = (reach > 0) & (np.abs(np.abs(hits).max(axis=-1) - 10) < 0.6)  # a sixteenth of a pixel out there
    np.testing.assert_array_equal(covered(fragments)[0][~near_the_rim], inside[~near_the_rim])
    close = inside & ~near_the_rim & (reach < 5)
    np.testing.assert_allclose(seen[0].cpu().numpy()[close], hits[close], atol=0.02)


@each_raster
def test_what_lies_outside_the_depth_range_is_not_drawn(name: str) -> None:
    raster = raster_called(name)
    faces = triangles([[0, 1, 2]]).to(raster.device)
    for z, w, drawn in ((1.5, 1.0, False), (-1.5, 1.0, False), (0.9, 1.0, True), (0.0, -1.0, False)):
        clip = flat(EVERYWHERE, SIZE, z, w).float().to(raster.device)
        assert covered(raster.rasterize(clip, faces, SIZE)).all() == drawn
        assert covered(raster.rasterize(clip, faces, SIZE)).any() == drawn
    # z / w = x: only what is within -1..1, and beyond the picture's sides nothing is
    slope = flat(EVERYWHERE, SIZE)
    slope[..., 2] = 2 * slope[..., 0]
    fragments = raster.rasterize(slope.float().to(raster.device), faces, SIZE)
    np.testing.assert_array_equal(covered(fragments)[0], np.tile((np.arange(32) >= 8) & (np.arange(32) < 24), (24, 1)))


def test_corners_that_are_no_numbers_draw_nothing_and_break_nothing() -> None:
    for bad in (np.nan, np.inf, -np.inf, 1e30):
        for side in range(4):
            clip = flat(EVERYWHERE, SIZE).float()
            clip[0, 1, side] = bad
            fragments = NumbaRaster().rasterize(clip, triangles([[0, 1, 2]]), SIZE)
            assert torch.isfinite(fragments).all()


def test_the_picture_does_not_depend_on_the_number_of_threads() -> None:
    rng = np.random.default_rng(8)
    vertices, faces = ball(rng, 200)
    clip = torch.tensor(to_clip(vertices, around(rng, 1, (65, 48), 3.0)), dtype=torch.float32)
    before = torch.get_num_threads()
    try:
        pictures = []
        for threads in (1, 2, 5):
            torch.set_num_threads(threads)
            pictures.append(NumbaRaster().rasterize(clip, triangles(faces), (65, 48)))
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(picture, pictures[0]) for picture in pictures)


@pytest.mark.parametrize("seed", range(3))
def test_barycentrics_follow_the_corners_as_finite_differences_do(seed: int) -> None:
    rng = np.random.default_rng(seed)
    # big triangles, so that nvdiffrast's guard against slivers (1e-6 of clip-space area) does not show
    clip = torch.tensor(rng.uniform(-1.5, 1.5, (2, 6, 4)))
    clip[..., 2] *= 0.3
    clip[..., 3] = torch.tensor(rng.uniform(0.7, 2.0, (2, 6)))
    faces = triangles([[0, 1, 2], [3, 4, 5], [0, 4, 2]])
    raster = NumbaRaster()
    fragments = raster.rasterize(clip, faces, (9, 7))
    assert covered(fragments).sum() > 10
    # pixels whose weights were clamped (they lie on the snapped edge, outside of the triangle) do not move
    u, v = fragments[..., 0], fragments[..., 1]
    free = ((u > 0) & (v > 0) & (u + v < 1))[..., None]
    clip.requires_grad_()
    assert torch.autograd.gradcheck(
        lambda corners: raster.rasterize(corners, faces, (9, 7))[..., :2] * free, clip, eps=1e-7, atol=1e-4
    )


def test_depth_and_face_numbers_give_no_gradient() -> None:
    clip = flat(EVERYWHERE, SIZE).requires_grad_()
    NumbaRaster().rasterize(clip, triangles([[0, 1, 2]]), SIZE)[..., 2:].sum().backward()  # type: ignore[no-untyped-call]
    assert clip.grad is not None
    assert not clip.grad.any()
