"""The lighter copy of a large mesh: small enough, the same shape, the same colours in the same places."""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from meshdrop.models.formats.cameras import canonical_camera
from meshdrop.models.measure.topology import topology
from meshdrop.models.mesh.glb_reader import decode_glb
from meshdrop.models.mesh.mesh import TexturedMesh, welded_mesh
from meshdrop.models.mesh.viewer_copy import MOST_TEXELS, ViewerCopy, viewer_copy
from meshdrop.models.raster.render import render
from tests import meshes


def read(copy: ViewerCopy | None) -> TexturedMesh:
    """The copy as any reader sees it."""
    assert copy is not None
    content = decode_glb(copy.glb, "copy")
    mesh = welded_mesh(content, np.ones(content.texture.shape[:2], np.bool_))
    assert len(mesh.faces) == copy.faces
    assert mesh.texture.shape[:2] == copy.texture_size[::-1]
    return mesh


@pytest.fixture(scope="module")
def torus() -> TexturedMesh:
    """72,000 triangles, about 2.3 MB; its one chart meets itself at two seams."""
    return meshes.torus(rows=240, columns=150).cleaned()


def test_a_picture_alone_is_made_lighter_where_that_is_enough(torus: TexturedMesh) -> None:
    noise = np.random.default_rng(1).integers(0, 256, (900, 900, 3), np.uint8)
    copy = viewer_copy(replace(torus, texture=noise, seen=np.ones((900, 900), np.bool_)), 6_000_000, {})
    assert read(copy).faces.shape == torus.faces.shape
    assert copy is not None
    assert copy.glb.count(b"image/jpeg") == 1
    assert b"image/png" not in copy.glb


def test_a_picture_is_never_larger_than_a_phone_can_take() -> None:
    wide = np.zeros((3, MOST_TEXELS + 1000, 3), np.uint8)
    cube = meshes.cube(1.0).cleaned()
    copy = viewer_copy(replace(cube, texture=wide, seen=np.ones(wide.shape[:2], np.bool_)), 10_000_000, {})
    assert copy is not None
    assert copy.texture_size == (MOST_TEXELS, 2)


@pytest.mark.parametrize("most", [1_000_000, 200_000])
def test_a_copy_of_fewer_triangles_keeps_its_place_and_its_shape(torus: TexturedMesh, most: int) -> None:
    copy = viewer_copy(torus, most, {})
    assert copy is not None
    assert most / 3 < len(copy.glb) <= most  # small enough, and not smaller than it had to be
    before, after = topology(torus.vertices, torus.faces), topology(read(copy).vertices, read(copy).faces)
    assert after.components == 1
    size = max(before.size_m)
    assert np.abs(np.array(after.bounds_m) - before.bounds_m).max() < 0.03 * size
    assert after.area_m2 == pytest.approx(before.area_m2, rel=0.03)
    # every corner of the copy is one of the original's
    assert {*map(bytes, read(copy).vertices)} <= {*map(bytes, torus.vertices)}


def test_a_copy_looks_like_the_original(torus: TexturedMesh) -> None:
    simple = read(viewer_copy(torus, 300_000, {}))
    assert len(simple.faces) < len(torus.faces) / 8
    # a triangle with corners on both sides of a seam would show the whole texture
    assert np.ptp(simple.uv, axis=1).max() < 0.1
    for side in ("front", "top", "right"):
        camera = canonical_camera(side, 128, 128)
        one, other = (render(mesh, camera, samples=3) for mesh in (torus, simple))
        both = (one.alpha > 0.99) & (other.alpha > 0.99)
        assert both.mean() > 0.95 * (one.alpha > 0.99).mean()
        error = np.abs(one.rgb - other.rgb).max(axis=2)[both]
        assert np.median(error) < 0.01
        assert (error > 0.1).mean() < 0.06  # the borders of charts move by a cell of the grid


def test_charts_of_one_triangle_each_survive(torus: TexturedMesh) -> None:
    """The worst atlas there is: no two triangles share a texture coordinate."""
    mesh = meshes.charts(meshes.torus(rows=60, columns=40).cleaned())
    simple = read(viewer_copy(mesh, 110_000, {}))
    assert 100 < len(simple.faces) < len(mesh.faces)


def test_what_cannot_be_light_enough_is_none(torus: TexturedMesh) -> None:
    assert viewer_copy(torus, 1_000, {}) is None


def test_the_same_mesh_gives_the_same_copy(torus: TexturedMesh) -> None:
    one, other = viewer_copy(torus, 400_000, {}), viewer_copy(torus, 400_000, {})
    assert one == other


def test_the_picture_in_the_copy_is_the_texture(torus: TexturedMesh) -> None:
    copy = viewer_copy(torus, 10_000_000, {})
    assert copy is not None
    content = decode_glb(copy.glb, "copy")
    assert np.abs(content.texture.astype(int) - torus.texture).mean() < 4
    with Image.open(io.BytesIO(copy.glb[copy.glb.index(b"\xff\xd8\xff") :])) as picture:
        assert picture.format == "JPEG"


def test_a_picture_that_is_too_heavy_even_as_a_jpeg_is_made_smaller() -> None:
    noise = np.random.default_rng(3).integers(0, 256, (2048, 1024, 3), np.uint8)
    torus = meshes.torus().cleaned()
    copy = viewer_copy(replace(torus, texture=noise, seen=np.ones(noise.shape[:2], np.bool_)), 1_000_000, {})
    assert copy is not None
    assert copy.texture_size == (512, 1024)  # a quarter of some 3 MB
    assert len(read(copy).faces) == len(torus.faces)
