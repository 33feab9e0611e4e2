"""The fusion model on small analytic scenes, photographed by a ray marcher of its own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import trimesh

from meshdrop.models.capture.capture import Capture, View
from meshdrop.models.contract.base import ModelResult, NoResult
from meshdrop.models.contract.options import WrongSettings
from meshdrop.models.files.problem import CaptureError
from meshdrop.models.formats.cameras import CANONICAL_VIEWS, Camera, look_at
from meshdrop.models.fusion.model import Fusion
from meshdrop.models.fusion.settings import FusionSettings
from meshdrop.models.mesh.mesh import write_all
from meshdrop.models.mesh.reload import MIN_VERTICES, check_files
from meshdrop.models.raster.render import render
from meshdrop.models.surface import charts, range_view, volume
from meshdrop.models.surface import extraction as surface
from meshdrop.models.surface.isosurface import extract, triangle_table
from meshdrop.models.surface.pieces import ClosedMesh, opposite_corners
from meshdrop.models.surface.prefilter import depth_noise
from meshdrop.models.surface.silhouette import signed_distance
from meshdrop.models.surface.simplify import simplify
from meshdrop.models.surface.volume import EmptyCapture
from meshdrop.models.worker import classify

Field = Callable[[np.ndarray], np.ndarray]
SMALL = {"resolution": 64, "texture_size": 256, "max_faces": 20_000}


def ball(radius: float = 0.4, centre: tuple[float, float, float] = (0, 0, 0)) -> Field:
    return lambda p: np.linalg.norm(p - np.array(centre), axis=-1) - radius


def box(half: tuple[float, float, float]) -> Field:
    def distance(p: np.ndarray) -> np.ndarray:
        q = np.abs(p) - np.array(half)
        away: np.ndarray = np.linalg.norm(np.maximum(q, 0), axis=-1) + np.minimum(q.max(-1), 0)
        return away

    return distance


def torus(major: float, minor: float) -> Field:
    return lambda p: np.hypot(np.hypot(p[..., 0], p[..., 2]) - major, p[..., 1]) - minor


def colour(points: np.ndarray) -> np.ndarray:
    """A smooth pattern over space, 55..200."""
    waves: np.ndarray = np.sin(points * np.array([9.0, 7.0, 8.0]))
    return 127.5 + 72.5 * waves


def photograph(shape: Field, camera: Camera, scale: float = 1.0) -> View:
    """Colour, centre-sampled mask and exact planar depth of ``shape``, a distance in units of ``scale`` metres."""
    v, u = np.mgrid[0 : camera.height, 0 : camera.width] + 0.5
    rays = np.stack([(u - camera.cx) / camera.fx, (camera.cy - v) / camera.fy, -np.ones_like(u)], -1)
    length = np.linalg.norm(rays, axis=-1)
    rays = rays @ camera.c2w[:3, :3].T / length[..., None]
    origin = camera.centre / scale
    t = np.zeros(u.shape)
    for _ in range(120):
        t += np.minimum(shape(origin + t[..., None] * rays), 1.0)
    hit = (shape(origin + t[..., None] * rays) < 1e-3) & (t < 20)
    rgb = np.where(hit[..., None], colour(origin + t[..., None] * rays), 255)
    depth = np.where(hit, scale * t / length, 0).astype(np.float32)
    return View("view", camera, np.rint(rgb).astype(np.uint8), hit.astype(np.float32), depth, "file")


def canonical_rig(size: int = 96, scale: float = 1.0) -> list[Camera]:
    focal = 2.0 * size
    return [
        Camera(size, size, focal, focal, size / 2, size / 2, look_at(direction, up, 2.5 * scale))
        for direction, up in CANONICAL_VIEWS.values()
    ]


def capture(shape: Field, cameras: list[Camera], scale: float = 1.0) -> Capture:
    views = [replace(photograph(shape, camera, scale), name=f"view_{n:02d}") for n, camera in enumerate(cameras)]
    return Capture("scene", "canonical", tuple(views), 0.001)


def fuse(scene: Capture, **settings: int) -> ModelResult:
    return Fusion(SMALL | settings, lambda percent, step: None).inference(scene, Path("unused"))


def closed(result: ModelResult) -> trimesh.Trimesh:
    mesh = trimesh.Trimesh(result.mesh.vertices, result.mesh.faces, process=False)
    assert mesh.is_watertight
    assert mesh.is_winding_consistent
    assert mesh.volume > 0
    return mesh


@pytest.fixture(scope="module")
def ball_result() -> ModelResult:
    return fuse(capture(ball(), canonical_rig()))


def test_a_ball_comes_back_closed_true_to_a_tenth_of_a_pixel_and_in_its_colours(ball_result: ModelResult) -> None:
    mesh = closed(ball_result)
    # one pixel sees 2.5 / 192 = 0.013 at the centre
    error = np.linalg.norm(mesh.vertices, axis=1) - 0.4
    assert np.abs(error).mean() < 0.0013
    assert mesh.volume == pytest.approx(4 / 3 * np.pi * 0.4**3, rel=0.01)
    camera = Camera(96, 96, 192, 192, 48, 48, look_at((1, 1, 1), (0, 1, 0), 2.5))
    picture = render(ball_result.mesh, camera)
    wanted = photograph(ball(), camera)
    inside = signed_distance(wanted.mask) < -3
    assert np.abs(picture.rgb[inside] * 255 - wanted.rgb[inside]).mean() < 3
    assert ball_result.unseen_fraction < 0.01


def test_the_result_says_what_was_done(ball_result: ModelResult) -> None:
    figures = ball_result.figures
    assert list(figures["seconds"]) == ["depth", "volume", "surface", "charts", "texture"]
    assert figures["settings"]["resolution"] == 64
    assert figures["faces"] == len(ball_result.mesh.faces)
    assert ball_result.notes == ()


def test_uv_and_seen_fit_the_texture(ball_result: ModelResult) -> None:
    mesh = ball_result.mesh
    assert mesh.uv.shape == (len(mesh.faces), 3, 2)
    assert mesh.uv.min() >= 0
    assert mesh.uv.max() <= 1
    assert mesh.seen.shape == mesh.texture.shape[:2] == (256, 256)


def test_the_same_capture_gives_the_same_bytes(ball_result: ModelResult) -> None:
    again = fuse(capture(ball(), canonical_rig()))
    for name in ("vertices", "faces", "uv", "texture", "seen"):
        assert getattr(again.mesh, name).tobytes() == getattr(ball_result.mesh, name).tobytes()


@pytest.mark.parametrize("scale", [0.01, 100.0])
def test_size_does_not_matter(ball_result: ModelResult, scale: float) -> None:
    other = fuse(capture(ball(), canonical_rig(scale=scale), scale))
    mesh = closed(other)
    assert np.abs(np.linalg.norm(mesh.vertices / scale, axis=1) - 0.4).mean() < 0.0013
    assert len(mesh.faces) == pytest.approx(len(ball_result.mesh.faces), rel=0.05)


def test_an_object_far_from_the_origin_is_found() -> None:
    offset = np.array([7.0, -3.0, 2.0])
    cameras = canonical_rig()
    moved = [replace(camera, c2w=camera.c2w + np.pad(offset[:, None], ((0, 1), (3, 0)))) for camera in cameras]
    mesh = closed(fuse(capture(ball(centre=tuple(offset)), moved)))
    np.testing.assert_allclose(mesh.vertices.mean(axis=0), offset, atol=0.01)


def test_a_thin_plate_survives() -> None:
    # 0.03 thick with voxels and pixels of 0.013: averaging all views would fill or erase it
    mesh = closed(fuse(capture(box((0.35, 0.015, 0.35)), canonical_rig())))
    assert mesh.volume == pytest.approx(0.7 * 0.03 * 0.7, rel=0.15)


def test_the_hole_of_a_ring_is_free() -> None:
    mesh = closed(fuse(capture(torus(0.3, 0.1), canonical_rig())))
    assert mesh.euler_number == 0
    assert mesh.volume == pytest.approx(2 * np.pi**2 * 0.3 * 0.1**2, rel=0.03)


def test_without_depth_the_silhouettes_carry_the_shape() -> None:
    scene = capture(ball(), canonical_rig())
    blind = replace(scene, views=tuple(replace(view, depth=None) for view in scene.views))
    result = fuse(blind)
    assert result.notes == ("no depth: shape from silhouettes",)
    # inside three crossed cylinders of radius 0.4: 8 (2 - sqrt 2) r^3, a little less for the perspective
    volume = closed(result).volume
    assert 4 / 3 * np.pi * 0.4**3 < volume < 1.05 * 8 * (2 - np.sqrt(2)) * 0.4**3


def test_some_views_without_depth_are_named() -> None:
    scene = capture(ball(), canonical_rig())
    partly = (replace(scene.views[0], depth=None), *scene.views[1:])
    result = fuse(replace(scene, views=partly))
    closed(result)
    assert "view_00" in result.notes[0]


def test_holes_in_depth_leave_no_holes_in_the_mesh() -> None:
    scene = capture(ball(), canonical_rig())
    rng = np.random.default_rng(3)
    views = []
    for view in scene.views:
        assert view.depth is not None
        depth = np.where(rng.random(view.depth.shape) < 0.1, 0, view.depth).astype(np.float32)
        depth[40:52, 44:56] = 0
        views.append(replace(view, depth=depth))
    mesh = closed(fuse(replace(scene, views=tuple(views))))
    # only the caps behind the 12-pixel gaps stay at the hull, 0.08^2 / (2 * 0.4) = 0.008 too high at most
    assert np.abs(np.linalg.norm(mesh.vertices, axis=1) - 0.4).max() < 0.05
    assert mesh.body_count == 1


def test_what_no_camera_saw_is_solid_filled_and_marked() -> None:
    result = fuse(capture(ball(), canonical_rig()[:1] + canonical_rig()[2:5:2] + canonical_rig()[3:4]))
    mesh = closed(result)
    assert 0.02 < result.unseen_fraction < 0.6
    assert not result.mesh.seen.all()
    below = render(result.mesh, Camera(96, 96, 192, 192, 48, 48, look_at((0, -1, 0), (0, 0, 1), 2.5)))
    above = render(result.mesh, Camera(96, 96, 192, 192, 48, 48, look_at((0, 1, 0), (0, 0, -1), 2.5)))
    middle = np.s_[40:56, 40:56]
    assert below.seen[middle].mean() < 0.2
    assert above.seen[middle].mean() > 0.95
    assert mesh.volume > 4 / 3 * np.pi * 0.4**3 * 0.97


def test_an_odd_rig_works() -> None:
    """Views of different, non-square sizes, a principal point off centre, and one view that the object leaves."""
    directions = [
        (1, 0.3, 0.2),
        (-1, 0.2, 0.4),
        (0.1, 1, 0.2),
        (0.2, -1, 0.1),
        (0.1, 0.1, 1),
        (0.3, 0.2, -1),
        (1, 1, 1),
    ]
    cameras = []
    for n, direction in enumerate(directions):
        width, height = 90 + 10 * n, 120 - 5 * n
        focal = 180.0 if n < 6 else 500.0
        pose = look_at(direction, (0, 0.9, 0.4), 2.2 + 0.1 * n)
        cameras.append(Camera(width, height, focal, 1.1 * focal, width / 2 + 5, height / 2 - 4, pose))
    result = fuse(capture(ball(), cameras))
    mesh = closed(result)
    assert np.abs(np.linalg.norm(mesh.vertices, axis=1) - 0.4).mean() < 0.004
    assert any("view_06" in note for note in result.notes)


def test_noise_is_measured_and_taken_off() -> None:
    scene = capture(ball(), canonical_rig())
    rng = np.random.default_rng(5)
    views = []
    for view in scene.views:
        assert view.depth is not None
        noisy = np.where(view.depth > 0, view.depth + rng.normal(0, 0.01, view.depth.shape), 0).astype(np.float32)
        assert depth_noise(noisy, view.mask) == pytest.approx(0.01, rel=0.15)
        views.append(replace(view, depth=noisy))
    mesh = closed(fuse(replace(scene, views=tuple(views))))
    assert np.abs(np.linalg.norm(mesh.vertices, axis=1) - 0.4).mean() < 0.005


def test_outlines_are_found_inside_the_pixel() -> None:
    # a soft vertical edge at x = 10.3: pixel 10 is covered by 0.3; pixel centres lie at j + 0.5
    mask = np.zeros((20, 20), np.float32)
    mask[:, :10], mask[:, 10] = 1, 0.3
    distance = signed_distance(mask)
    np.testing.assert_allclose(distance[10, 5:16], np.arange(5, 16) + 0.5 - 10.3, atol=0.12)


def test_empty_and_contradictory_captures_are_refused_in_words() -> None:
    scene = capture(ball(), canonical_rig())
    empty = tuple(replace(v, mask=np.zeros_like(v.mask), depth=np.zeros_like(v.mask)) for v in scene.views)
    with pytest.raises(EmptyCapture, match="masks") as caught:
        fuse(replace(scene, views=empty))
    # the worker tells bad input from a broken model by this class
    assert isinstance(caught.value, CaptureError)
    assert caught.value.problems[0].code == "semantic"
    # a ball of 12 pixels' radius that jumps up in one view and down in the opposite one
    small = capture(ball(0.15), canonical_rig())
    corner = tuple(
        replace(v, mask=np.roll(v.mask, (25 if n % 2 else -25), axis=0), depth=None) for n, v in enumerate(small.views)
    )
    with pytest.raises(EmptyCapture, match="poses"):
        fuse(replace(small, views=corner))


def random_rig(count: int, size: int = 96) -> list[Camera]:
    """Cameras in random directions with random roll, at distances of 2.2 to 2.8."""
    rng = np.random.default_rng(11)
    cameras = []
    for _ in range(count):
        direction, up = rng.normal(size=3), rng.normal(size=3)
        pose = look_at(tuple(direction / np.linalg.norm(direction)), tuple(up), float(rng.uniform(2.2, 2.8)))
        cameras.append(Camera(size, size, 2.0 * size, 2.0 * size, size / 2, size / 2, pose))
    return cameras


def test_a_ring_from_twenty_loose_views_of_uneven_exposure() -> None:
    scene = capture(torus(0.3, 0.1), random_rig(20))
    rng = np.random.default_rng(2)
    views = []
    for view in scene.views:
        exposed = np.where(view.mask[..., None] > 0, view.rgb * rng.uniform(0.85, 1.15), 255)
        views.append(replace(view, rgb=np.rint(np.clip(exposed, 0, 255)).astype(np.uint8)))
    result = fuse(replace(scene, views=tuple(views)))
    mesh = closed(result)
    assert mesh.euler_number == 0
    assert mesh.volume == pytest.approx(2 * np.pi**2 * 0.3 * 0.1**2, rel=0.03)
    # brought to one exposure, the views agree with the pattern up to one common factor near 1
    camera = Camera(96, 96, 192, 192, 48, 48, look_at((1, 1, 1), (0, 1, 0), 2.5))
    picture, wanted = render(result.mesh, camera), photograph(torus(0.3, 0.1), camera)
    inside = signed_distance(wanted.mask) < -3
    ratio = picture.rgb[inside] * 255 / wanted.rgb[inside]
    assert 0.9 < np.median(ratio) < 1.1
    assert np.abs(ratio / np.median(ratio) - 1).mean() < 0.04


def test_two_separate_parts_stay_two() -> None:
    left, right = ball(0.2, (-0.25, 0, 0)), ball(0.12, (0.25, 0.1, 0))
    mesh = closed(fuse(capture(lambda p: np.minimum(left(p), right(p)), canonical_rig())))
    assert mesh.body_count == 2
    assert mesh.volume == pytest.approx(4 / 3 * np.pi * (0.2**3 + 0.12**3), rel=0.02)


def test_the_isosurface_of_any_field_is_a_closed_manifold() -> None:
    """Random signs meet every pattern of a cell, the ambiguous ones too."""
    field = np.random.default_rng(7).normal(size=(20, 21, 22)).astype(np.float32)
    field[0], field[-1], field[:, 0], field[:, -1], field[:, :, 0], field[:, :, -1] = 1, 1, 1, 1, 1, 1
    vertices, faces = extract(field)
    edges = np.sort(faces[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2), axis=1)
    assert (np.unique(edges, axis=0, return_counts=True)[1] == 2).all()
    # every directed edge runs once, so neighbours agree on what is outside
    assert len(np.unique(faces[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2), axis=0)) == faces.size
    # one solid sample alone is an octahedron: six vertices half a voxel away when all values are +-1, volume 4/3 / 8
    lone = np.ones((5, 5, 5), np.float32)
    lone[2, 2, 2] = -1
    vertices, faces = extract(lone)
    assert (len(vertices), len(faces)) == (6, 8)
    assert trimesh.Trimesh(vertices, faces, process=False).volume == pytest.approx(1 / 6)


def test_opposite_patterns_cut_the_same_edges() -> None:
    table = triangle_table()
    assert (table[0] == -1).all()
    assert (table[255] == -1).all()
    for pattern in range(256):
        assert set(table[pattern]) - {-1} == set(table[255 - pattern]) - {-1}


def test_simplification_flattens_a_cube_and_keeps_it_closed() -> None:
    """A box of 16 x 12 x 10 voxels: flat sides lose nearly everything at no cost, the volume stays."""
    place = np.stack(np.meshgrid(*(np.arange(24.0),) * 3, indexing="ij"), axis=-1) - 11.5
    field = box((8, 6, 5))(place).astype(np.float32)
    vertices, faces = extract(field)
    whole = ClosedMesh(vertices, faces, opposite_corners(faces, len(vertices)))
    less, cost = simplify(whole, 0.01, 100_000)
    mesh = trimesh.Trimesh(less.vertices, less.faces, process=False)
    assert mesh.is_watertight
    assert mesh.euler_number == 2
    assert len(less.faces) < len(faces) / 4
    assert mesh.volume == pytest.approx(trimesh.Trimesh(vertices, faces, process=False).volume, rel=0.005)
    assert cost == pytest.approx(0.01)
    fewer, dearer = simplify(whole, 0.01, 60)
    assert len(fewer.faces) <= 60
    assert dearer > cost


def soup(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Triangles that touch nobody and face every way."""
    chance = np.random.default_rng(3)
    corners = chance.normal(size=(count, 1, 3)) * 9 + chance.normal(size=(count, 3, 3))
    return corners.reshape(-1, 3), np.arange(3 * count, dtype=np.int32).reshape(-1, 3)


def test_charts_that_do_not_fit_get_the_smallest_larger_texture_that_they_fit_into() -> None:
    """Each needs 7 x 7 texels at least: 2,000 of them more than 256 x 256, less than 512 x 512."""
    layout, size = charts.unwrap_in_any(*soup(2_000), 256)
    assert size == 512
    assert layout.count == 2_000
    assert layout.corners.min() >= 0
    assert layout.corners.max() <= 512
    assert charts.unwrap_in_any(*soup(100), 256)[1] == 256


def test_charts_that_fit_into_no_texture_are_told_with_their_cause_and_cure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(charts, "MOST_TEXELS", 256)
    with pytest.raises(NoResult, match="falls into 2,000 pieces, which do not fit a texture of 256 x 256") as caught:
        charts.unwrap_in_any(*soup(2_000), 128)
    assert classify(caught.value)[0] == "no_result"
    assert "max_faces" in classify(caught.value)[2]


@pytest.mark.parametrize("radius", [0.02, 0.05, 0.13])
@pytest.mark.parametrize("resolution", [48, 64, 256])
def test_an_object_that_is_small_in_its_pictures_becomes_a_mesh_that_passes_the_last_check(
    radius: float, resolution: int, tmp_path: Path
) -> None:
    """Four, ten and twenty-five pixels across: 2 r f / d with f = 240 pixels, d = 2.5 m."""
    model = Fusion({**SMALL, "resolution": resolution}, lambda percent, step: None)
    result = model.inference(capture(ball(radius), canonical_rig(120)), Path("unused"))
    write_all(result.mesh, tmp_path, {})
    facts, mesh = check_files(tmp_path)
    assert facts.vertices > MIN_VERTICES
    off = np.abs(np.linalg.norm(mesh.vertices, axis=1) - radius)
    assert np.median(off) < 2.5 / 240, "a pixel's footprint"


@pytest.mark.parametrize("radius", [0.02, 0.13])
def test_the_lattice_is_never_finer_than_was_asked_for(radius: float) -> None:
    """The searches of other models begin on a few cells and go on to more."""
    views = [range_view.prepare(view) for view in capture(ball(radius), canonical_rig(120)).views]
    longest = [max(volume.object_grid(views, cells).shape) - 5 for cells in (12, 24, 48)]
    assert longest == [12, 24, 48]


def test_the_smallest_allowed_number_of_faces_passes_the_last_check(tmp_path: Path) -> None:
    with pytest.raises(WrongSettings):
        FusionSettings.from_mapping({"max_faces": 2_499})
    model = Fusion({**SMALL, "max_faces": 2_500}, lambda percent, step: None)
    write_all(model.inference(capture(ball(), canonical_rig()), Path("unused")).mesh, tmp_path, {})
    assert check_files(tmp_path)[0].vertices > MIN_VERTICES


def test_a_surface_of_a_few_points_is_refused_with_what_was_measured() -> None:
    field = np.ones((9, 9, 9), np.float32)
    field[4, 4, 4] = -1.0
    with pytest.raises(EmptyCapture, match="only 6 points can be told apart, and a mesh needs more than 1,000"):
        surface.extract(field, 40_000)


def test_an_open_surface_is_refused() -> None:
    with pytest.raises(ValueError, match="open along 3 edges"):
        opposite_corners(np.array([[0, 1, 2]], np.int32), 3)


def test_all_wrong_settings_are_reported_at_once() -> None:
    with pytest.raises(ValueError, match="resolution") as caught:
        FusionSettings.from_mapping({"resolution": 8, "texture_size": "big", "speed": 3})
    assert "texture_size must be a whole number" in str(caught.value)
    assert "'speed'" in str(caught.value)
    assert FusionSettings.from_mapping({}) == FusionSettings()


def test_progress_only_grows_and_ends_at_100() -> None:
    seen: list[float] = []
    model = Fusion(SMALL, lambda percent, step: seen.append(percent))
    model.inference(capture(ball(), canonical_rig()), Path("unused"))
    assert seen == sorted(seen)
    assert seen[-1] == 100
