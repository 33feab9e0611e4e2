"""The CPU rasteriser against values worked out by hand and against a ray caster."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from meshdrop.models.formats.cameras import Camera, canonical_camera, look_at
from meshdrop.models.mesh.mesh import TexturedMesh
from meshdrop.models.raster.numba_raster import antialias, interpolate, rasterize
from meshdrop.models.raster.render import render


def front_camera(width: int = 8, height: int = 8, focal: float = 8.0) -> Camera:
    """At the origin, looking along -z; at depth 1 the picture spans width / focal metres."""
    return Camera(width, height, focal, focal, width / 2, height / 2, np.eye(4))


def quad(left: float, right: float, bottom: float, top: float, z: float) -> tuple[np.ndarray, np.ndarray]:
    corners = np.array([[left, bottom, z], [right, bottom, z], [right, top, z], [left, top, z]])
    return corners, np.array([[0, 1, 2], [0, 2, 3]], np.int32)


def textured(vertices: np.ndarray, faces: np.ndarray, colours: np.ndarray, seen: bool = True) -> TexturedMesh:
    """A quad with the whole texture on it: u right, v up."""
    uv = np.array([[0, 0], [1, 0], [1, 1], [0, 1]], np.float32)[faces]
    return TexturedMesh(vertices.astype(np.float32), faces, uv, colours, np.full(colours.shape[:2], seen))


def test_a_quad_on_the_left_half_covers_exactly_the_left_half() -> None:
    # x from -0.5 to 0 at depth 1 with focal 8 and centre 4: u from 0 to 4, so columns 0..3 of 8
    vertices, faces = quad(-0.5, 0.0, -0.5, 0.5, -1.0)
    covered = rasterize(front_camera(), vertices, faces).face >= 0
    assert covered[:, :4].all()
    assert not covered[:, 4:].any()


def test_coverage_counts_samples_inside_a_pixel() -> None:
    # the right edge at u = 4.5 cuts column 4 in half: with 4 samples a side (at .125 .375 .625 .875) 2 of 4 are inside
    vertices, faces = quad(-0.5, 0.5 / 8, -0.5, 0.5, -1.0)
    white = np.full((2, 2, 3), 255, np.uint8)
    alpha = render(textured(vertices, faces, white), front_camera(), samples=4).alpha
    np.testing.assert_allclose(alpha, np.tile([1, 1, 1, 1, 0.5, 0, 0, 0], (8, 1)), atol=1e-6)


def test_row_zero_is_the_top() -> None:
    # y from 0 to 0.5 (up) is v from 0 to 4 (down): the upper rows
    vertices, faces = quad(-0.5, 0.5, 0.0, 0.5, -1.0)
    covered = rasterize(front_camera(), vertices, faces).face >= 0
    assert covered[:4].all()
    assert not covered[4:].any()


def test_depth_is_planar_and_barycentrics_are_perspective_correct() -> None:
    # the plane z = -2 - x seen at u: ray x = t (u - 4) / 8, planar depth t = 2 + x  =>  t = 2 / (1 - (u - 4) / 8)
    vertices = np.array([[-4.0, -9, 2.0], [4, -9, -6], [4, 9, -6], [-4, 9, 2.0]])
    vertices[:, 2] = -2 - vertices[:, 0]
    faces = np.array([[0, 1, 2], [0, 2, 3]], np.int32)
    fragments = rasterize(front_camera(), vertices, faces)
    u = np.arange(8) + 0.5
    np.testing.assert_allclose(fragments.depth, np.tile(2 / (1 - (u - 4) / 8), (8, 1)), rtol=1e-6)
    position = interpolate(fragments, vertices[faces].astype(np.float32))
    np.testing.assert_allclose(-position[..., 2], fragments.depth, rtol=1e-5)


def test_triangles_crossing_the_camera_plane_are_drawn_in_front_only() -> None:
    # a floor 1 m below the camera from 10 m behind to 1000 m ahead: each row below the horizon sees it at
    # z = 8 / (v - 4)
    floor = np.array([[-500.0, -1, 10], [500, -1, 10], [500, -1, -1000], [-500, -1, -1000]])
    faces = np.array([[0, 1, 2], [0, 2, 3]], np.int32)
    fragments = rasterize(front_camera(), floor, faces)
    v = np.arange(4, 8) + 0.5
    np.testing.assert_allclose(fragments.depth[4:], np.tile((8 / (v - 4))[:, None], (1, 8)), rtol=1e-5)
    assert (fragments.face[:4] == -1).all()


def test_the_nearer_triangle_wins_whatever_the_order() -> None:
    near, faces = quad(-0.2, 0.2, -0.2, 0.2, -1.0)
    far, _ = quad(-2.0, 2.0, -2.0, 2.0, -2.0)
    for first, second in ((near, far), (far, near)):
        depth = rasterize(front_camera(), np.concatenate([first, second]), np.concatenate([faces, faces + 4])).depth
        assert depth[4, 4] == pytest.approx(1.0)
        assert depth[0, 0] == pytest.approx(2.0)


def test_a_ball_agrees_with_ray_casting_and_has_no_pinholes() -> None:
    vertices, faces = uv_ball(0.4, 96)
    camera = canonical_camera("right", 64, 64)
    fragments = rasterize(camera, vertices, faces, samples=2)
    v, u = (np.mgrid[0:128, 0:128] + 0.5) / 2
    directions = np.stack([(u - 32) / camera.fx, (32 - v) / camera.fy, -np.ones_like(u)], -1)
    # |c + t d| = r with the camera at distance 2.5 on its own axis
    a = (directions**2).sum(-1)
    root = (2.5**2) - a * (2.5**2 - 0.4**2)
    hit = root > 0
    depth = np.where(hit, (2.5 - np.sqrt(np.maximum(root, 0))) / a, 0)
    inside = (2.5**2) - a * (2.5**2 - 0.397**2) > 0
    assert (fragments.face[inside] >= 0).all()
    assert (fragments.face[~hit] < 0).all()
    # 96 segments sag by r (1 - cos(pi / 96)) = 0.0002
    frontal = (2.5**2) - a * (2.5**2 - 0.3**2) > 0
    np.testing.assert_allclose(fragments.depth[frontal], depth[frontal], atol=6e-4)


def uv_ball(radius: float, segments: int) -> tuple[np.ndarray, np.ndarray]:
    theta, phi = np.meshgrid(np.linspace(0, np.pi, segments), np.linspace(0, 2 * np.pi, segments), indexing="ij")
    vertices = radius * np.stack([np.sin(theta) * np.cos(phi), np.cos(theta), np.sin(theta) * np.sin(phi)], -1)
    at = np.arange(segments * segments).reshape(segments, segments)
    a, b, c, d = at[:-1, :-1].ravel(), at[1:, :-1].ravel(), at[1:, 1:].ravel(), at[:-1, 1:].ravel()
    return vertices.reshape(-1, 3), np.concatenate([np.stack([a, b, c], 1), np.stack([a, c, d], 1)]).astype(np.int32)


def test_texture_rows_run_downwards_and_filtering_is_bilinear() -> None:
    # a 2 x 2 texture over the whole picture: the quarter points of the picture are the texel centres
    vertices, faces = quad(-0.5, 0.5, -0.5, 0.5, -1.0)
    colours = np.zeros((2, 2, 3), np.uint8)
    colours[0, 0], colours[0, 1] = 200, 100
    picture = render(textured(vertices, faces, colours), front_camera(), samples=1).rgb[..., 0] * 255
    # pixel (0, 0) is at u = 1/16, v = 15/16: outside the texel centres, so clamped to texel (0, 0)
    assert picture[0, 0] == pytest.approx(200, abs=0.01)
    assert picture[0, 7] == pytest.approx(100, abs=0.01)
    assert picture[7, 0] == pytest.approx(0, abs=0.01)
    # pixel (0, 3): u = 3.5/8 -> texel coordinate 0.375 between the two: 200 - 0.375 * 100
    assert picture[0, 3] == pytest.approx(162.5, abs=0.01)


def test_background_and_seen_shares() -> None:
    vertices, faces = quad(-0.5, 0.0, -0.5, 0.5, -1.0)
    black = np.zeros((4, 4, 3), np.uint8)
    picture = render(textured(vertices, faces, black, seen=False), front_camera(), background=(0.25, 0.5, 1.0))
    np.testing.assert_allclose(picture.rgb[0, 7], [0.25, 0.5, 1.0])
    np.testing.assert_allclose(picture.rgb[0, 0], 0)
    assert picture.seen.max() == 0
    assert render(textured(vertices, faces, black), front_camera()).seen[0, 0] == pytest.approx(1)
    assert picture.depth[0, 0] == pytest.approx(1.0)
    assert picture.depth[0, 7] == 0


def test_bands_of_rows_make_the_same_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    vertices, faces = uv_ball(0.4, 24)
    uv = np.random.default_rng(1).random((len(faces), 3, 2), np.float32)
    colours = np.random.default_rng(2).integers(0, 255, (16, 16, 3), np.uint8)
    mesh = TexturedMesh(vertices.astype(np.float32), faces, uv, colours, np.ones((16, 16), bool))
    camera = Camera(40, 30, 60.0, 60.0, 17.0, 16.0, look_at((0.3, 0.2, 1), (0, 1, 0), 2.0))
    whole = render(mesh, camera)
    monkeypatch.setattr("meshdrop.models.raster.render.SAMPLES_PER_BAND", 40 * 16 * 7)
    banded = render(mesh, camera)
    np.testing.assert_allclose(banded.rgb, whole.rgb, atol=1e-5)
    np.testing.assert_allclose(banded.depth, whole.depth, rtol=1e-5)


def test_antialias_of_ones_is_coverage() -> None:
    vertices, faces = quad(-0.5, 0.0, -0.5, 0.5, -1.0)
    fragments = rasterize(front_camera(), vertices, faces, samples=3)
    ones = np.ones((24, 24, 1), np.float32)
    np.testing.assert_allclose(antialias(fragments, ones)[..., 0], np.tile([1] * 4 + [0] * 4, (8, 1)), atol=1e-6)


@pytest.mark.parametrize(
    ("change", "words"),
    [({"samples": 0}, "samples"), ({"rows": (0, 9)}, "rows"), ({"faces": np.array([[0, 1, 7]])}, "face")],
)
def test_wrong_arguments_are_named(change: dict[str, Any], words: str) -> None:
    vertices, faces = quad(-0.5, 0.5, -0.5, 0.5, -1.0)
    arguments: dict[str, Any] = {"camera": front_camera(), "vertices": vertices, "faces": faces} | change
    with pytest.raises(ValueError, match=words):
        rasterize(**arguments)


def test_vertices_that_are_no_numbers_are_refused() -> None:
    vertices, faces = quad(-0.5, 0.5, -0.5, 0.5, -1.0)
    vertices[0, 0] = np.nan
    with pytest.raises(ValueError, match="finite"):
        rasterize(front_camera(), vertices, faces)
