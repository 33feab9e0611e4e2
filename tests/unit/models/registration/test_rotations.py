"""The rotations that a search starts from."""

from __future__ import annotations

import numpy as np

from bench.shapes import random_rotation
from meshdrop.models.registration.rotations import super_fibonacci, yaws


def test_yaws_are_five_degrees_apart_about_the_vertical() -> None:
    turns = yaws()
    assert len(turns) == 72
    np.testing.assert_allclose(turns @ [0, 1, 0], np.tile([0.0, 1.0, 0.0], (72, 1)))
    # +Z turns towards +X: 5 degrees give (sin 5, 0, cos 5)
    np.testing.assert_allclose(turns[1] @ [0, 0, 1], [np.sin(np.radians(5)), 0, np.cos(np.radians(5))])
    np.testing.assert_allclose(np.linalg.det(turns), 1.0)


def test_no_rotation_is_far_from_a_start() -> None:
    """Starts share the group evenly: balls of 11 degrees would do if they could fill it without overlap."""
    starts = super_fibonacci()
    assert starts.shape == (2304, 3, 3)
    np.testing.assert_allclose(starts @ starts.transpose(0, 2, 1), np.tile(np.eye(3), (2304, 1, 1)), atol=1e-12)
    np.testing.assert_allclose(np.linalg.det(starts), 1.0)
    random = np.random.default_rng(5)
    for _ in range(300):
        trace = np.einsum("nij,ij->n", starts, random_rotation(random)).max()
        assert np.degrees(np.arccos((trace - 1) / 2)) < 20
