"""Surfaces and textures as fine as the photographs, and of no colour that they do not have."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from meshdrop.models.capture.capture import Capture, View
from meshdrop.models.contract.base import ModelResult
from meshdrop.models.fusion.model import Fusion
from meshdrop.models.surface import bake, charts, detail, dressing, texture_solve
from meshdrop.models.surface.range_view import prepare
from tests.unit.models.synthetic import ANIMAL, BALL, canonical_rig, capture_of, points_of

SMALL = {"resolution": 64, "max_faces": 5_000}


def fused(capture: Capture, **settings: Any) -> ModelResult:
    return Fusion(settings, lambda percent, step: None).inference(capture, Path("unused"))


def painted(capture: Capture, levels: NDArray[np.float64] | float, noise: float = 0.0, waves: float = 0.0) -> Capture:
    """Each view's object in a grey of ``levels``, with noise of its own and with waves of 3 cm on the surface."""
    random = np.random.default_rng(5)

    def photograph(view: View, level: float) -> View:
        assert view.depth is not None
        points = points_of(view.camera, view.depth)
        pattern = np.sign(np.sin(points * (2 * np.pi / 0.06)).prod(axis=-1))[..., None] * waves
        grey = level + pattern + random.normal(0, noise, view.rgb.shape) if noise else level + pattern
        inside = np.clip(np.rint(np.broadcast_to(grey, view.rgb.shape)), 0, 255)
        return replace(view, rgb=np.where(view.mask[..., None] > 0, inside, 255).astype(np.uint8))

    each = np.broadcast_to(levels, len(capture.views))
    return replace(capture, views=tuple(photograph(*pair) for pair in zip(capture.views, each, strict=True)))


def wanted(size: int) -> detail.TextureSize:
    """The texture for a ball in pictures of ``size`` pixels; the surface is the same for all."""
    capture = capture_of(BALL, canonical_rig(size))
    mesh = fused(capture_of(BALL, canonical_rig(128)), **SMALL).mesh
    vertices, ready = mesh.vertices.astype(np.float64), [prepare(view) for view in capture.views]
    sights = [bake.sight(view, one, vertices, mesh.faces) for view, one in zip(capture.views, ready, strict=True)]
    return detail.texture_size(sights, vertices, mesh.faces)


def test_texels_lie_closer_the_closer_pixels_do() -> None:
    """Twice the pixels a side, twice the texels along a metre; the side follows in steps of 256, within its bounds."""
    sizes = [wanted(pixels) for pixels in (128, 512, 1024)]
    assert sizes[1].scale == pytest.approx(4 * sizes[0].scale, rel=0.05)
    assert sizes[2].scale == pytest.approx(8 * sizes[0].scale, rel=0.05)
    assert [size.side for size in sizes] == sorted(size.side for size in sizes)
    assert sizes[2].side > sizes[0].side
    assert all(size.side % 256 == 0 for size in sizes)
    assert all(detail.FEWEST_TEXELS <= size.side <= detail.MOST_TEXELS for size in sizes)


def test_voxels_and_triangles_grow_with_the_pixels_within_bounds() -> None:
    """An object of a few pixels gets a voxel for each; one of thousands no more than memory has room for."""
    assert [detail.voxels(pixels) for pixels in (60, 256, 700, 1_200, 5_000)] == [60, 256, 256, 400, 512]
    few, many = ([prepare(view) for view in capture_of(BALL, canonical_rig(size)).views] for size in (64, 2_560))
    assert detail.triangles(few) == detail.FEWEST_FACES
    assert detail.FEWEST_FACES < detail.triangles(many) <= detail.MOST_FACES


def test_a_number_that_was_stated_stays() -> None:
    result = fused(capture_of(BALL, canonical_rig(128)), **SMALL, texture_size=192, solve_passes=2)
    assert result.mesh.texture.shape[:2] == (192, 192)
    assert result.figures["sharpening"] == {"passes": 2}


@pytest.mark.parametrize("passes", ["auto", 1, 12])
def test_no_texel_leaves_the_range_of_what_was_photographed(passes: int | str) -> None:
    """Noise is what sharpening exaggerates most: any number of passes stays within the photographs' own levels."""
    capture = painted(capture_of(ANIMAL, canonical_rig(128)), 128.0, noise=15.0)
    pixels = np.concatenate([view.rgb[view.mask > 0] for view in capture.views])
    result = fused(capture, **SMALL, texture_size=512, solve_passes=passes)
    gains = np.array(result.figures["view_gains"])
    low, high = pixels.min() * gains.min() - 1, pixels.max() * gains.max() + 1
    assert low <= result.mesh.texture.min()
    assert result.mesh.texture.max() <= high


@pytest.mark.parametrize("passes", [0, 3])
def test_a_bright_spot_stays_bright_in_a_view_of_less_exposure(passes: int) -> None:
    """Half the views are darker: brought to the common exposure their glints, each seen by one view, pass 255 (250
    times the root of 200 / 140 is 299), which no texel may go round."""
    capture = painted(capture_of(BALL, canonical_rig(128)), np.array([200, 140, 200, 140, 200, 140]))
    row, column = np.indices((128, 128)) - 63.5
    glint = np.hypot(row, column) < 6
    for view in capture.views:
        view.rgb[glint] = 250
    texture = fused(capture, **SMALL, texture_size=256, solve_passes=passes).mesh.texture
    assert texture.min() >= 140
    assert texture.max() == 255


def test_views_that_show_a_point_about_as_well_as_the_best_say_its_range() -> None:
    capture = painted(capture_of(BALL, canonical_rig(128)), np.array([90, 100, 110, 120, 130, 140]))
    mesh = fused(capture, **SMALL, texture_size=256).mesh
    vertices, ready = mesh.vertices.astype(np.float64), [prepare(view) for view in capture.views]
    sights = [bake.sight(view, one, vertices, mesh.faces) for view, one in zip(capture.views, ready, strict=True)]
    points = mesh.vertices
    normals = dressing.vertex_normals(vertices, mesh.faces).astype(np.float32)
    same = np.ones((len(sights), 3), np.float32)
    made = bake.blend(sights, points, normals, same)
    low, high = made.low, made.high
    # each point the way the first camera looks is seen by that one best of all, and in the middle by it alone
    middle = normals @ (sights[0].camera.centre / np.linalg.norm(sights[0].camera.centre)) > 0.98
    assert (low[middle] == 90).all()
    assert (high[middle] == 90).all()
    known = made.best > 0
    assert (low[known] <= high[known]).all()
    assert (low[~known] == 255).all()
    assert (high[~known] == 0).all()


def steps(capture: Capture) -> dict[str, Any]:
    told: dict[str, Any] = fused(capture, **SMALL, texture_size=512).figures["sharpening"]
    return told


def test_passes_are_taken_where_held_out_pixels_agree_better_after_them() -> None:
    """A fine pattern is sharpened; noise on a plain surface is left averaged; neither makes what was held out worse."""
    bare = capture_of(ANIMAL, canonical_rig(256))
    fine, noisy = steps(painted(bare, 128.0, waves=40.0)), steps(painted(bare, 128.0, noise=8.0))
    assert sum(fine["steps"]) >= 1
    assert fine["held_out_levels"][1] < 0.97 * fine["held_out_levels"][0]
    assert sum(noisy["steps"]) < 0.3
    assert noisy["held_out_levels"][1] <= noisy["held_out_levels"][0]


def test_the_pixels_that_judge_are_unknown_to_the_texture() -> None:
    """A single pixel of another colour, held out, is nowhere in what the others say."""
    capture = painted(capture_of(BALL, canonical_rig(128)), 100.0)
    mesh = fused(capture, **SMALL, texture_size=256).mesh
    view = bake.sight(capture.views[0], prepare(capture.views[0]), mesh.vertices.astype(np.float64), mesh.faces)
    usable = texture_solve.usable(view)
    held_out = usable[texture_solve.judges(view, usable)]
    assert 0 < len(held_out) < len(usable) / 30
    rgb = view.rgb.copy()
    rgb.reshape(-1, 3)[held_out] = 200
    assert (bake.without(replace(view, rgb=rgb), held_out).rgb[view.trust >= 1] == 100).all()


def soup(count: int) -> tuple[NDArray[np.float64], NDArray[np.int32]]:
    """Triangles that touch nobody and face every way."""
    chance = np.random.default_rng(3)
    corners = chance.normal(size=(count, 1, 3)) * 9 + chance.normal(size=(count, 3, 3))
    return corners.reshape(-1, 3), np.arange(3 * count, dtype=np.int32).reshape(-1, 3)


def test_fifty_thousand_pieces_get_a_texture() -> None:
    """Each takes 7 x 7 texels and more: 2.45 million, which 2,048 x 2,048 have room for and 1,024 x 1,024 have not."""
    layout, side = charts.unwrap_in_any(*soup(50_000), 1024)
    assert (layout.count, side) == (50_000, 2048)
    assert layout.corners.min() >= 0
    assert layout.corners.max() <= side


def test_the_largest_texture_is_tried_before_pieces_are_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """2,000 pieces do not fit 300 texels, whose double would pass the bound of 512: the bound itself is tried."""
    monkeypatch.setattr(charts, "MOST_TEXELS", 512)
    assert charts.unwrap_in_any(*soup(2_000), 300)[1] == 512


def test_many_small_pieces_take_a_larger_texture_to_keep_their_scale() -> None:
    vertices, faces = soup(2_000)
    layout, side = charts.unwrap_in_any(vertices, faces, 512)
    scale = 1.5 * layout.texels_per_unit
    finer, larger = charts.unwrap_in_any(vertices, faces, 512, scale, 1024)
    assert side < larger <= 1024
    assert finer.texels_per_unit >= charts.COARSE * scale
    assert charts.unwrap_in_any(vertices, faces, 512, 1e9, 768)[1] == 768
