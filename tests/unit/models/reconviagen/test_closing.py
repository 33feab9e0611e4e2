"""A generated surface made whole: rims, bubbles, crumbs, soup."""

from __future__ import annotations

import numpy as np
import pytest
from trimesh import Trimesh

from meshdrop.models.reconviagen.closing import NothingSolid, closed, solid, welded
from tests.meshes import sphere, torus

THING = torus(0.3, 0.12, 200, 120)
VERTICES, FACES = welded(THING.vertices.astype(np.float64), THING.faces)


def mesh_of(vertices: np.ndarray, faces: np.ndarray) -> Trimesh:
    return Trimesh(vertices, faces, process=False)


def torn(seed: int) -> np.ndarray:
    """The faces without those around thirty places and one in a thousand anywhere."""
    draw = np.random.default_rng(seed)
    middles = VERTICES[FACES].mean(axis=1)
    kept = draw.random(len(FACES)) > 0.001
    for place in draw.integers(0, len(FACES), 30):
        kept &= np.linalg.norm(middles - middles[place], axis=1) > draw.uniform(0.003, 0.03)
    return FACES[kept]


def test_a_whole_surface_stays_what_it_is() -> None:
    vertices, faces = closed(VERTICES, FACES)
    assert len(faces) == len(FACES)
    assert len(vertices) == len(VERTICES)


@pytest.mark.parametrize("seed", range(4))
def test_every_rim_is_closed_and_the_volume_stays(seed: int) -> None:
    rest = torn(seed)
    assert not mesh_of(VERTICES, rest).is_watertight
    found = mesh_of(*closed(VERTICES, rest))
    assert found.is_watertight
    assert found.is_winding_consistent
    assert found.volume == pytest.approx(mesh_of(VERTICES, FACES).volume, rel=0.01)


@pytest.mark.parametrize("seed", range(4))
def test_a_torn_surface_becomes_a_light_and_closed_one(seed: int) -> None:
    found = mesh_of(*solid(VERTICES, torn(seed), 4000))
    assert found.is_watertight
    assert len(found.faces) <= 4000
    assert found.volume == pytest.approx(mesh_of(VERTICES, FACES).volume, rel=0.02)


def test_soup_gets_an_opposite_for_every_edge() -> None:
    draw = np.random.default_rng(0)
    faces = draw.integers(0, 40, (200, 3)).astype(np.int32)
    faces = faces[(np.diff(np.sort(faces, axis=1), axis=1) > 0).all(axis=1)]
    _, whole = closed(draw.random((40, 3)), faces)
    ahead = np.stack([whole, whole[:, [1, 2, 0]]], axis=-1).reshape(-1, 2)
    assert sorted(map(tuple, ahead)) == sorted(map(tuple, ahead[:, ::-1]))


def test_bubbles_and_crumbs_go() -> None:
    bubble, crumb = sphere(0.05, rows=30, columns=60), sphere(0.002, rows=4, columns=6)
    parts = [(VERTICES, FACES)]
    for ball, at, turned in ((bubble, [0.3, 0, 0], True), (crumb, [0, 0.5, 0], False)):
        vertices, faces = welded(ball.vertices.astype(np.float64), ball.faces)
        parts.append((vertices + at, faces[:, ::-1] if turned else faces))
    starts = np.cumsum([0] + [len(vertices) for vertices, _ in parts[:-1]])
    vertices = np.concatenate([vertices for vertices, _ in parts])
    faces = np.concatenate([faces + start for (_, faces), start in zip(parts, starts, strict=True)]).astype(np.int32)
    found = mesh_of(*solid(vertices, faces, 100_000))
    assert found.body_count == 1
    assert found.volume == pytest.approx(mesh_of(VERTICES, FACES).volume, rel=0.01)


def test_what_encloses_nothing_is_refused() -> None:
    with pytest.raises(NothingSolid, match="inside out"):
        solid(VERTICES, FACES[:, ::-1].copy(), 4000)
    with pytest.raises(NothingSolid, match="no triangles"):
        solid(np.zeros((3, 3)), np.array([[0, 1, 2]], np.int32), 4000)
