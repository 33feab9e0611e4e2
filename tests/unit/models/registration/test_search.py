"""The coarse search and ICP, on clouds alone."""

from __future__ import annotations

import numpy as np
import pytest

from bench.shapes import random_similarity, shape_of, things
from meshdrop.models.registration.cloud import Cloud, seen_from_outside
from meshdrop.models.registration.icp import Matcher
from meshdrop.models.registration.rotations import super_fibonacci, yaws
from meshdrop.models.registration.search import APART, hills
from meshdrop.models.registration.similarity import Similarity, angle_between, turned_by

START = Similarity(1.0, np.eye(3), np.zeros(3))


@pytest.fixture(scope="module")
def cloud() -> Cloud:
    shape = shape_of("dog", things()["dog"], lattice=48)
    return seen_from_outside(shape.vertices, shape.faces).spread(800)


def moved(cloud: Cloud, by: Similarity) -> Cloud:
    return Cloud(by.apply(cloud.points), by.turn(cloud.normals))


@pytest.mark.parametrize("upright", [True, False])
def test_the_first_hill_is_the_right_one(cloud: Cloud, upright: bool) -> None:
    for seed in range(5):
        away = random_similarity(np.random.default_rng(seed), upright)
        found = hills(moved(cloud, away), cloud, yaws() if upright else super_fibonacci(), 20)
        assert angle_between(found[0].rotation @ away.rotation, np.eye(3)) < APART
        # radii about the medians of each axis, which are other points when the axes are
        assert found[0].scale * away.scale == pytest.approx(1.0, rel=0.05)


def test_hills_are_apart_and_as_many_as_asked(cloud: Cloud) -> None:
    found = hills(cloud, cloud, super_fibonacci(), 12)
    assert len(found) == 12
    for index, one in enumerate(found):
        assert all(angle_between(one.rotation, other.rotation) > APART - 1e-9 for other in found[:index])


def test_icp_undoes_a_known_similarity_exactly(cloud: Cloud) -> None:
    """The same points on both sides: once every pair is right, Umeyama is exact."""
    away = Similarity(1.1, turned_by(np.array([0.1, 0.15, -0.1])), np.array([0.02, -0.03, 0.01]))
    found = Matcher(moved(cloud, away), cloud).fit(START, steps=60)
    np.testing.assert_allclose(found.pose.after(away).matrix(), np.eye(4), atol=1e-9)
    assert found.distance < 1e-9


@pytest.mark.parametrize("dirty_side", ["source", "target"])
def test_strays_on_either_side_do_not_pull(cloud: Cloud, dirty_side: str) -> None:
    """A twelfth of strays goes with the tenth that is left out, and the rest still fits exactly."""
    strays = np.random.default_rng(9).uniform(-1.5, 1.5, (len(cloud.points) // 12, 3))
    dirty = Cloud(np.concatenate([cloud.points, strays]), np.concatenate([cloud.normals, 0 * strays]))
    away = Similarity(0.95, turned_by(np.array([0.0, 0.1, 0.05])), np.array([0.01, 0.0, 0.02]))
    source, target = (dirty, cloud) if dirty_side == "source" else (cloud, dirty)
    found = Matcher(moved(source, away), target).fit(START, steps=60)
    np.testing.assert_allclose(found.pose.after(away).apply(cloud.points), cloud.points, atol=1e-9)


def test_the_scale_stays_near_its_start(cloud: Cloud) -> None:
    small = moved(cloud, Similarity(0.5, np.eye(3), np.zeros(3)))
    found = Matcher(small, cloud).fit(START, steps=40)
    assert found.pose.scale == pytest.approx(1.4)
