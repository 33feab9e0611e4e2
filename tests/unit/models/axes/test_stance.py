"""How a mesh stands: the turn to +Y and the way back, for any up."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from meshdrop.models.axes.directions import AXES, direction
from meshdrop.models.axes.stance import Stance

UPS = [*AXES.values(), *(direction(row) for row in np.random.default_rng(3).normal(size=(20, 3)).tolist())]
NEARLY_DOWN = [direction([tiny, -1.0, -2 * tiny]) for tiny in (1e-3, 1e-6, 1e-9, 1e-15, 1e-30)]


def turned(quaternion: tuple[float, ...], vector: NDArray[np.float64]) -> NDArray[np.float64]:
    """A vector after a quaternion x, y, z, w, by the textbook: v + 2 w (q x v) + 2 q x (q x v)."""
    q, w = np.array(quaternion[:3]), quaternion[3]
    across = np.cross(q, vector)
    return np.asarray(vector + 2 * w * across + 2 * np.cross(q, across))


@pytest.mark.parametrize("up", [*UPS, *NEARLY_DOWN])
def test_up_becomes_plus_y_by_a_rotation_in_both_spellings(up: tuple[float, float, float]) -> None:
    stance = Stance(up)
    R = stance.rotation
    np.testing.assert_allclose(R @ np.array(up), (0, 1, 0), atol=1e-12)
    np.testing.assert_allclose(R.T @ R, np.eye(3), atol=1e-12)
    assert np.linalg.det(R) == pytest.approx(1)
    assert np.linalg.norm(stance.quaternion) == pytest.approx(1, abs=1e-15)
    for axis in np.eye(3):
        np.testing.assert_allclose(turned(stance.quaternion, axis), R @ axis, atol=1e-12)


@pytest.mark.parametrize("up", AXES.values())
def test_turns_to_an_axis_are_exact(up: tuple[float, float, float]) -> None:
    assert set(np.unique(Stance(up).rotation)) <= {-1.0, 0.0, 1.0}
    assert "-0.0" not in str(Stance(up).facts())


def test_z_up_becomes_y_up_as_everybody_turns_it() -> None:
    """(x, y, z) -> (x, z, -y), as Blender's exporter does."""
    assert (Stance((0.0, 0.0, 1.0)).rotation @ np.array([1.0, 2.0, 3.0])).tolist() == [1, 3, -2]


@pytest.mark.parametrize("up", [(0.0, 1.0, 0.0), (0.0, 0.0, 1.0), (0.6, -0.8, 0.0)])
def test_the_matrix_leads_back_from_the_scene_to_the_stated_world(up: tuple[float, float, float]) -> None:
    stance = Stance(up, (500_000.0, 5_000_000.0, 120.0))
    local = np.random.default_rng(1).normal(size=(50, 3)).astype(np.float32)
    scene = stance.stand(local).astype(np.float64)
    world = scene @ stance.to_capture_world[:3, :3].T + stance.to_capture_world[:3, 3]
    np.testing.assert_allclose(world, local + np.array(stance.origin), rtol=0, atol=2e-6)


def test_what_stands_is_left_alone() -> None:
    local = np.zeros((4, 3), np.float32)
    assert Stance().is_upright
    assert Stance().stand(local) is local
    assert np.array_equal(Stance().to_capture_world, np.eye(4))


@pytest.mark.parametrize("up", [*UPS[:8], UPS[-1]])
def test_what_a_file_says_gives_the_same_stance_again(up: tuple[float, float, float]) -> None:
    for origin in ((0.0, 0.0, 0.0), (1.5, -2e6, 0.0)):
        stance = Stance(up, origin)
        assert Stance.of(stance.facts()) == stance
        assert ("origin_m" in stance.facts()) is any(origin)


@pytest.mark.parametrize(
    "extras",
    [
        {"world_up": [0, 2, 0]},
        {"world_up": [0, 0, 0]},
        {"world_up": [0, 1]},
        {"world_up": "+z"},
        {"world_up": [0, float("nan"), 1]},
        {"origin_m": [0, float("inf"), 1]},
        {"origin_m": 7},
    ],
)
def test_nonsense_in_a_file_is_refused_by_its_name(extras: dict[str, Any]) -> None:
    [key] = extras
    with pytest.raises(ValueError, match=key):
        Stance.of(extras)
