"""Similarities: how they compose, and the one that fits matched points."""

from __future__ import annotations

import numpy as np
import pytest

from meshdrop.models.registration.similarity import Similarity, angle_between, best_similarity, turned_by

QUARTER = np.array([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])  # x -> y about +Z
ONE = Similarity(2.0, QUARTER, np.array([1.0, 0.0, 0.0]))


def test_points_are_turned_then_scaled_then_shifted() -> None:
    # (1, 2, 3) turns to (-2, 1, 3), doubles to (-4, 2, 6), moves to (-3, 2, 6)
    np.testing.assert_allclose(ONE.apply(np.array([[1.0, 2.0, 3.0]])), [[-3.0, 2.0, 6.0]])
    np.testing.assert_allclose(ONE.matrix() @ [1.0, 2.0, 3.0, 1.0], [-3.0, 2.0, 6.0, 1.0])


def test_one_after_the_other_is_the_product_of_the_matrices() -> None:
    other = Similarity(0.3, turned_by(np.array([0.2, -0.5, 0.1])), np.array([0.0, 4.0, -1.0]))
    np.testing.assert_allclose(other.after(ONE).matrix(), other.matrix() @ ONE.matrix(), atol=1e-15)
    np.testing.assert_allclose(ONE.after(ONE.inverse()).matrix(), np.eye(4), atol=1e-15)


@pytest.mark.parametrize("degrees", [1e-6, 0.5, 90.0, 179.9])
def test_angles_are_exact_for_small_and_large_turns(degrees: float) -> None:
    turn = turned_by(np.radians(degrees) * np.array([0.6, 0.0, 0.8]))
    assert angle_between(QUARTER, turn @ QUARTER) == pytest.approx(degrees, rel=1e-6)


def test_umeyama_finds_a_known_similarity() -> None:
    points = np.random.default_rng(1).normal(size=(50, 3))
    true = Similarity(0.37, turned_by(np.array([1.9, -0.4, 0.7])), np.array([5.0, -2.0, 0.1]))
    np.testing.assert_allclose(best_similarity(points, true.apply(points)).matrix(), true.matrix(), atol=1e-12)


def test_umeyama_leaves_no_slope() -> None:
    """At the least squares no small change of the seven numbers helps."""
    random = np.random.default_rng(2)
    source, target = random.normal(size=(40, 3)), random.normal(size=(40, 3)) * [1, 2, 3]
    found = best_similarity(source, target)

    def cost(pose: Similarity) -> float:
        return float(((pose.apply(source) - target) ** 2).sum())

    for axis in range(3):
        for step in (-1e-4, 1e-4):
            nudge = step * np.eye(3)[axis]
            assert cost(Similarity(found.scale, found.rotation, found.shift + nudge)) > cost(found)
            assert cost(Similarity(found.scale, turned_by(nudge) @ found.rotation, found.shift)) > cost(found)
    for factor in (0.999, 1.001):
        assert cost(Similarity(found.scale * factor, found.rotation, found.shift)) > cost(found)


def test_umeyama_never_mirrors() -> None:
    points = np.random.default_rng(3).normal(size=(30, 3))
    found = best_similarity(points, points * [-1, 1, 1])
    assert np.linalg.det(found.rotation) == pytest.approx(1.0)


def test_a_clamped_scale_keeps_the_centres_together() -> None:
    points = np.random.default_rng(4).normal(3.0, 1.0, (30, 3))
    found = best_similarity(points, 5 * points, scale=(0.7, 1.4))
    assert found.scale == 1.4
    np.testing.assert_allclose(found.apply(points).mean(axis=0), 5 * points.mean(axis=0))


@pytest.mark.parametrize("points", [np.zeros((2, 3)), np.ones((9, 3))])
def test_points_that_determine_nothing_are_refused(points: np.ndarray) -> None:
    with pytest.raises(ValueError, match="determine no similarity"):
        best_similarity(points, points)
