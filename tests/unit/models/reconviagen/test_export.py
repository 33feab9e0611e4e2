"""The colours of a generated surface: photographs where cameras saw it, Gaussians where not, at one exposure."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import ArrayLike, NDArray

from meshdrop.models.capture.capture import Capture
from meshdrop.models.mesh.mesh import TexturedMesh
from meshdrop.models.reconviagen.export import Splats, astray, placed
from meshdrop.models.surface.range_view import prepare
from tests.meshes import torus
from tests.photographs import photographed

THING = torus(0.3, 0.12, 80, 56).cleaned()
TRUE = THING.vertex_colours().astype(np.float64)


def splats(brightness: float) -> Splats:
    """A Gaussian at every vertex, a millimetre off, in the colours that are there."""
    away = np.random.default_rng(0).normal(0, 0.001, THING.vertices.shape)
    count = len(THING.vertices)
    return Splats(
        (THING.vertices + away).astype(np.float32),
        (TRUE * brightness).astype(np.float32),
        np.full(count, 0.9, np.float32),
        np.full(count, 0.01, np.float32),
    )


@pytest.fixture(scope="module")
def capture() -> Capture:
    """Two sides only: of the rest no photograph tells."""
    whole = photographed(THING)
    return replace(whole, views=whole.views[:2])


def off(mesh: TexturedMesh, wanted: np.ndarray) -> np.ndarray:
    """Mean colour error of each vertex."""
    mean: np.ndarray = np.abs(mesh.vertex_colours() - wanted).mean(axis=1)
    return mean


def test_photographs_and_gaussians_meet_at_one_exposure(capture: Capture) -> None:
    views = [prepare(view) for view in capture.views]
    vertices = THING.vertices.astype(np.float64)
    mesh, unseen, _ = placed(capture, views, vertices, THING.faces, splats(0.75), 256)
    assert 0.05 < unseen < 0.9
    assert np.mean(off(mesh, TRUE)) < 3  # at the Gaussians' own brightness it would be 25 % on what nobody saw
    assert np.quantile(off(mesh, TRUE), 0.95) < 10
    plain, share, _ = placed(capture, views, vertices, THING.faces, splats(1.0), 256)
    assert share == unseen
    assert (mesh.seen == plain.seen).all()
    assert (mesh.texture[mesh.seen] == plain.texture[mesh.seen]).mean() > 0.98


def test_without_a_place_only_the_gaussians_speak(capture: Capture) -> None:
    mesh, unseen, _ = astray(capture, THING.vertices.astype(np.float64), THING.faces, splats(0.75), 256)
    assert unseen == 1.0
    assert not mesh.seen.any()
    assert np.mean(off(mesh, 0.75 * TRUE)) < 3


def single(numbers: ArrayLike) -> NDArray[np.float32]:
    """In single precision."""
    return np.array(numbers, np.float32)


def test_a_point_takes_the_colour_of_what_is_opaque_and_near() -> None:
    black, white = [0, 0, 0], [255, 255, 255]
    pair = Splats(single([[0, 0, 0], [1, 0, 0]]), single([black, white]), single([0.9, 0.9]), single([0.3, 0.3]))
    assert pair.at(single([[0.0, 0, 0], [1.0, 0, 0], [0.5, 0, 0], [9.0, 0, 0]]))[:, 0] == pytest.approx(
        [1, 254, 127.5, 255], abs=1
    )
    thin = replace(pair, opacity=single([0.9, 0.01]))
    assert thin.at(single([[0.5, 0, 0]]))[0, 0] < 10


def test_splats_move_with_the_surface() -> None:
    """By a turn, a shift and twice the size: every place keeps its mixture of colours."""
    turn = np.array([[0, -2.0, 0, 1], [2, 0, 0, 2], [0, 0, 2, 3], [0, 0, 0, 1]])
    whole, places = splats(1.0), np.random.default_rng(0).uniform(-0.3, 0.3, (50, 3))
    moved = whole.moved(turn).moved(np.diag([3.0, 3.0, 3.0, 1.0]))
    there = 3 * (places @ turn[:3, :3].T + turn[:3, 3])
    np.testing.assert_allclose(moved.at(there), whole.at(places), atol=0.1)
    assert np.abs(moved.at(places) - whole.at(places)).max() > 10
