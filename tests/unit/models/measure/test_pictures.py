"""Pictures for people: the right thing in the right place, whatever the capture looks like."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from meshdrop.models.capture.capture import Capture
from meshdrop.models.measure import pictures
from meshdrop.models.measure.frame import Frame, frame_of
from meshdrop.models.measure.pictures import (
    CLAY_STILLS,
    EXTRA,
    GAP_PX,
    HEADER_PX,
    LABEL_PX,
    MAX_ROWS,
    MISSING,
    STILL_BACKGROUND,
    STILLS,
    TILE_PX,
    PictureWindow,
    capture_sheet,
    chosen_views,
    contact_sheet,
    difference,
    shown,
    still_cameras,
    stills,
    tiles,
    windows,
)
from meshdrop.models.measure.quality import compare, over_white
from meshdrop.models.mesh.mesh import TexturedMesh
from meshdrop.models.raster.render import render
from tests import meshes
from tests.photographs import SIZE, photographed

#: Side of the stills here: small, so that the tests are quick.
SMALL = 120


def painted(mesh: TexturedMesh, colour: tuple[int, int, int]) -> TexturedMesh:
    return replace(mesh, texture=np.full((64, 64, 3), colour, np.uint8))


@pytest.fixture(autouse=True)
def small_stills(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pictures, "STILL_PX", SMALL)


@pytest.fixture(scope="module")
def capture() -> Capture:
    return photographed(meshes.torus())


def pixels(image: Image.Image) -> NDArray[np.uint8]:
    return np.asarray(image.convert("RGB"))


def test_the_mesh_fills_every_still_and_leaves_none() -> None:
    background = np.rint(np.array(STILL_BACKGROUND) * 255)
    drawn = stills(meshes.torus()).turntable
    assert len(drawn) == STILLS
    widest = 0
    for still in drawn:
        there = (np.abs(pixels(still) - background) > 2).any(axis=2)
        assert not there[[0, -1]].any()
        assert not there[:, [0, -1]].any()
        widest = max(widest, int(np.ptp(np.flatnonzero(there.any(axis=0)))) + 1)
    assert 0.8 * SMALL < widest < 0.95 * SMALL


def test_the_first_still_looks_from_plus_z_and_plus_y_is_up() -> None:
    """A blue blob sits at +Y and +Z of a red body: in the first still it is in the upper half, in the fifth hidden."""
    body, blob = meshes.sphere(0.4), meshes.sphere(0.06)
    vertices = np.concatenate([body.vertices, blob.vertices + np.array([0, 0.25, 0.28], np.float32)])
    faces = np.concatenate([body.faces, blob.faces + len(body.vertices)])
    texture = np.zeros((2, 2, 3), np.uint8)
    texture[:, 0], texture[:, 1] = (200, 30, 30), (30, 30, 200)
    uv = np.concatenate([np.full_like(body.uv, 0.1), np.full_like(blob.uv, 0.9)])
    mesh = TexturedMesh(vertices, faces.astype(np.int32), uv, texture, np.ones((2, 2), np.bool_))
    drawn = stills(mesh).turntable
    front = pixels(drawn[0]).astype(int)
    blue = front[..., 2] > front[..., 0] + 40
    assert blue.any()
    assert np.flatnonzero(blue.any(axis=1)).max() < SMALL / 2
    back = pixels(drawn[STILLS // 2]).astype(int)
    assert not (back[..., 2] > back[..., 0] + 40).any()


def test_still_cameras_surround_the_mesh_wherever_it_is() -> None:
    far = replace(meshes.torus(), vertices=(meshes.torus().vertices * 0.01 + 7).astype(np.float32))
    centre = np.array([7.0, 7.0, 7.0])
    for camera in still_cameras(far):
        u, v, z = camera.project(centre[None])
        assert (u[0], v[0]) == pytest.approx((SMALL / 2, SMALL / 2), abs=0.01)
        assert z[0] > 0


def test_clay_shows_unseen_surface_in_orange() -> None:
    mesh = meshes.sphere()
    seen = pixels(stills(replace(mesh, seen=np.ones_like(mesh.seen))).clay).astype(int)
    unseen = pixels(stills(replace(mesh, seen=np.zeros_like(mesh.seen))).clay).astype(int)
    assert seen.shape == (SMALL, CLAY_STILLS * SMALL, 3)
    assert (seen[..., 0] - seen[..., 2]).max() < 30
    assert (unseen[..., 0] - unseen[..., 2]).max() > 100


def test_clay_shows_the_same_sides_as_every_second_still() -> None:
    """A silhouette is one and the same in both: background exactly where the textured still has background."""
    background = np.rint(np.array(STILL_BACKGROUND) * 255)
    mesh = painted(meshes.torus(), (200, 30, 30))
    drawn = stills(mesh)
    for column in range(CLAY_STILLS):
        textured = pixels(drawn.turntable[column * STILLS // CLAY_STILLS])
        clay = pixels(drawn.clay)[:, column * SMALL : (column + 1) * SMALL]
        there = (np.abs(textured - background) > 60).any(axis=2)
        assert there.any()
        assert (np.abs(clay[there] - background).max(axis=1) > 5).all()
        assert (clay[(textured == background).all(axis=2)] == background).all()


def test_the_inside_of_an_open_surface_is_lit_like_its_outside() -> None:
    mesh = meshes.sphere()
    turned = replace(mesh, faces=np.ascontiguousarray(mesh.faces[:, ::-1]), uv=np.ascontiguousarray(mesh.uv[:, ::-1]))
    outside, inside = (pixels(stills(which).clay).astype(int) for which in (mesh, turned))
    assert np.abs(outside - inside).max() <= 1


def test_a_frame_of_a_view_gives_the_tiles_of_the_whole_view(capture: Capture) -> None:
    """Also where the window of the contact sheet reaches over the frame: all around is white."""
    mesh, window = meshes.torus(), windows(capture)[0]
    view = capture.views[0]
    frame = frame_of(view, mesh.vertices)
    assert frame.pixels < view.mask.size
    part = frame.view(view)
    whole_picture, part_picture = (render(mesh, which.camera, samples=3) for which in (view, part))
    figures = compare(view, whole_picture, held_out=False, size_m=1.0)
    whole = tiles(view, whole_picture, window, figures)
    framed = tiles(part, part_picture, window.inside(frame), figures)
    for one, other in (
        (whole.photo, framed.photo),
        (whole.render, framed.render),
        (whole.difference, framed.difference),
    ):
        assert np.abs(pixels(one).astype(int) - pixels(other)).max() <= 1


def test_a_window_over_the_edge_shows_what_there_is() -> None:
    assert PictureWindow(-5, 10, 20).visible(30, 25) == Frame(0, 10, 15, 15)
    assert PictureWindow(-50, 10, 20).visible(30, 25) == Frame(0, 10, 1, 15)  # never empty


def test_a_perfect_render_has_a_white_difference(capture: Capture) -> None:
    view = capture.views[0]
    picture = render(meshes.torus(), view.camera, samples=3)
    # the photograph is rounded to 8 bits: half a step of 1/255 is far below the first visible tint
    assert difference(view, over_white(view), picture)[view.mask == 1].min() > 0.9


def test_missing_and_superfluous_surface_have_their_own_colours(capture: Capture) -> None:
    view = capture.views[0]
    small, large = (render(meshes.torus(major=radius), view.camera, samples=3) for radius in (0.2, 0.4))
    assert (difference(view, over_white(view), small) == np.array(MISSING, np.float32)).all(axis=2).any()
    assert (difference(view, over_white(view), large) == np.array(EXTRA, np.float32)).all(axis=2).any()


def test_the_contact_sheet_has_a_row_a_view_and_two_columns_a_model(capture: Capture) -> None:
    squares = windows(capture)
    sheet = {}
    for name, colour in (("one", (255, 0, 0)), ("two", (0, 0, 255))):
        mesh = painted(meshes.torus(), colour)
        cells = []
        for view, window in zip(capture.views, squares, strict=True):
            picture = render(mesh, view.camera, samples=3)
            cells.append(tiles(view, picture, window, compare(view, picture, held_out=False, size_m=1.0)))
        sheet[name] = cells
    page = pixels(contact_sheet(sheet)).astype(int)
    step = TILE_PX + GAP_PX
    assert page.shape[1] == LABEL_PX + 5 * step + GAP_PX

    def tile(row: int, column: int) -> NDArray[np.int_]:
        top, left = HEADER_PX + row * (step + 20), LABEL_PX + column * step
        return page[top : top + TILE_PX, left : left + TILE_PX]

    for row in range(6):
        assert (tile(row, 1)[..., 0] > tile(row, 1)[..., 2] + 200).any()  # model one is red
        assert (tile(row, 3)[..., 2] > tile(row, 3)[..., 0] + 200).any()  # model two is blue


def test_a_contact_sheet_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one"):
        contact_sheet({})


def test_many_views_are_thinned_out_evenly(capture: Capture) -> None:
    many = replace(capture, views=capture.views * 20)
    chosen = chosen_views(many)
    assert len(chosen) == MAX_ROWS
    assert (chosen[0], chosen[-1]) == (0, 119)
    assert chosen_views(capture) == list(range(6))


def test_a_window_holds_the_whole_object_at_one_scale(capture: Capture) -> None:
    squares = windows(capture)
    assert len({window.side for window in squares}) == 1
    for view, window in zip(capture.views, squares, strict=True):
        rows, columns = np.nonzero(view.mask >= 0.5)
        assert window.left <= columns.min()
        assert columns.max() < window.left + window.side
        assert window.top <= rows.min()
        assert rows.max() < window.top + window.side


def test_empty_views_and_missing_depth_are_drawn_too(capture: Capture) -> None:
    blank = replace(capture.views[0], mask=np.zeros((SIZE, SIZE), np.float32), depth=None)
    sheet = capture_sheet(replace(capture, views=(blank, *capture.views[1:])))
    assert sheet.size[0] > 6 * TILE_PX
    flat = capture_sheet(replace(capture, views=tuple(replace(view, depth=None) for view in capture.views)))
    assert flat.size[1] < sheet.size[1]


def test_names_of_strangers_are_made_harmless() -> None:
    assert shown("a\x1b[31m\u202eb", 20) == "a\N{REPLACEMENT CHARACTER}[31m\N{REPLACEMENT CHARACTER}b"
    assert shown("x" * 50, 10) == "x" * 9 + "…"
