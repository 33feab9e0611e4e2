"""How much of a texture is used twice."""

from __future__ import annotations

import numpy as np
import pytest

from meshdrop.models.mesh.uv_overlap import overlap_share
from tests import meshes


def test_charts_side_by_side_do_not_overlap() -> None:
    """Neither in one chart, whose triangles share edges that run through texels' centres, nor in thousands."""
    torus = meshes.torus()
    assert overlap_share(torus.uv, (64, 64)) == 0
    assert overlap_share(torus.uv, (997, 512)) == 0
    assert overlap_share(meshes.charts(torus).uv, (1024, 1024)) == 0


def test_every_texel_of_a_cube_whose_sides_share_the_texture_is_used_six_times() -> None:
    assert overlap_share(meshes.cube(1.0).uv, (64, 32)) == 1


@pytest.mark.parametrize("turned", [False, True])
def test_the_share_is_of_the_texels_in_use(turned: bool) -> None:
    """Two squares of 40 x 40 texels that have 20 x 40 in common use 60 x 40: a third of them twice."""
    square = np.array([[(0.0, 0), (0.4, 0), (0.4, 0.4)], [(0, 0), (0.4, 0.4), (0, 0.4)]])
    other = square + np.array((0.2, 0.0))
    if turned:  # mirrored, as where one chart serves both halves of a face
        other = other[:, ::-1]
    assert overlap_share(np.concatenate([square, other]), (100, 100)) == pytest.approx(1 / 3)


def test_triangles_without_an_area_use_nothing() -> None:
    assert overlap_share(np.zeros((5, 3, 2), np.float32), (16, 16)) == 0
