"""Pictures drawn again: as OpenCV itself undistorts them, in whatever portions, with no depth that bridges a gap."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import pytest

from meshdrop.models.lens import resampling
from meshdrop.models.lens.pinhole import Undoing, undoing
from meshdrop.models.lens.resampling import resampled
from tests.unit.models.lens.lenses import LENSES, camera_of

Pictures = tuple[np.ndarray, np.ndarray, np.ndarray]


def undone(name: str) -> Undoing:
    lens, focal = LENSES[name]
    return undoing(lens, camera_of(focal))


def pictures(seed: int = 5) -> Pictures:
    """Noise, a mask of yes and no, and depth of few values with holes."""
    random = np.random.default_rng(seed)
    rgb = random.integers(0, 256, (480, 640, 3), dtype=np.uint8)
    depth = random.choice(np.array([0, 0.5, 0.7, 1.9], np.float32), (480, 640))
    return rgb, (depth > 0).astype(np.float32), depth


@pytest.mark.parametrize("name", ["OPENCV", "FULL_OPENCV", "OPENCV_FISHEYE"])
def test_a_photograph_is_the_one_that_opencv_makes(name: str) -> None:
    found = undone(name)
    rgb, mask, depth = pictures()
    at, to = (np.array([[c.fx, 0, c.cx - 0.5], [0, c.fy, c.cy - 0.5], [0, 0, 1]]) for c in (found.lensed, found.camera))
    numbers = np.array(found.lens.numbers[:4] if name == "OPENCV" else found.lens.numbers)
    module = cv2.fisheye if name == "OPENCV_FISHEYE" else cv2
    across, down = module.initUndistortRectifyMap(at, numbers, np.eye(3), to, (640, 480), cv2.CV_32FC1)
    theirs = np.asarray(cv2.remap(rgb, across, down, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE))
    new, _, _ = resampled(found, rgb, mask, depth)
    assert (np.abs(new.astype(int) - theirs) > 2).mean() < 1e-3  # where a place is rounded the other way


def through(found: Undoing, depth_of: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Depth over the plane at distance 1, photographed through the lens and drawn again; and as it should be."""
    c, n = found.lensed, found.camera
    v, u = np.mgrid[0:480, 0:640] + 0.5
    matrix = np.array([[c.fx, 0, c.cx], [0, c.fy, c.cy], [0, 0, 1]])
    exact = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 200, 1e-12)
    points = np.stack([u, v], -1).reshape(-1, 1, 2)
    rays = np.asarray(cv2.undistortPoints(points, matrix, np.array(found.lens.numbers[:4]), criteria=exact))
    x, y = rays[:, 0, 0].reshape(480, 640), rays[:, 0, 1].reshape(480, 640)
    depth = depth_of(x, y).astype(np.float32)
    _, _, new = resampled(found, np.zeros((480, 640, 3), np.uint8), (depth > 0).astype(np.float32), depth)
    assert new is not None
    return new, depth_of((u - n.cx) / n.fx, (v - n.cy) / n.fy)


def test_depth_of_a_slanted_wall_is_that_of_the_pinholes_own_pixels() -> None:
    """Within a tenth of a millimetre at one to five metres, where the nearest pixel is wrong by up to eleven."""
    new, true = through(undone("OPENCV"), lambda x, y: 2 / (1 + 0.6 * x - 0.3 * y))
    assert np.abs(new - true).max() < 1e-4


def test_no_depth_comes_out_between_two_surfaces_or_beside_a_hole() -> None:
    """A box half a metre before a wall, and a sensor's drop-outs: what comes out is the one or the other."""
    random = np.random.default_rng(7)
    holes = random.random((480, 640)) < 0.05

    def scene(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return np.where(holes, 0.0, np.where((np.abs(x) < 0.2) & (np.abs(y) < 0.15), 1.5, 2.0))

    new, _ = through(undone("OPENCV"), scene)
    assert np.minimum.reduce([np.abs(new - value) for value in (0.0, 1.5, 2.0)]).max() < 1e-6
    assert 0.04 < (new == 0).mean() < 0.06


def test_a_mask_of_yes_and_no_gets_the_coverage_of_its_new_pixels() -> None:
    """A straight outline: the share of the object is right row by row, to a tenth of a pixel."""
    found = undone("OPENCV")
    v, u = np.mgrid[0:480, 0:640] + 0.5
    rgb, _, _ = pictures()
    mask = (u < 400).astype(np.float32)
    _, new, _ = resampled(found, rgb, mask, None)
    at_u, _ = found.sources(u, v)
    true = np.clip((400 - at_u) / np.gradient(at_u, axis=1) + 0.5, 0, 1)
    assert np.abs(new.sum(axis=1) - true.sum(axis=1)).max() < 0.15
    assert set(np.unique(new[at_u < 398])) == {1}
    assert set(np.unique(new[at_u > 402])) == {0}


def test_soft_coverage_stays_soft_and_a_view_may_have_no_depth() -> None:
    rgb, mask, _ = pictures()
    soft = np.asarray(cv2.GaussianBlur(mask, (0, 0), 8), np.float32)
    _, new, depth = resampled(undone("OPENCV"), rgb, soft, None)
    assert depth is None
    assert np.abs(np.diff(new, axis=1)).max() < 1.5 * np.abs(np.diff(soft, axis=1)).max()


@pytest.mark.parametrize("at_once", [1, 640, 7000, 10_000_000])
def test_portions_make_no_difference(at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = resampled(undone("FOV"), *pictures())
    monkeypatch.setattr(resampling, "_PIXELS_AT_ONCE", at_once)
    for one, other in zip(whole, resampled(undone("FOV"), *pictures()), strict=True):
        assert one is not None
        assert other is not None
        assert np.array_equal(one, other)


def test_straight_lines_are_straight_again() -> None:
    """Dark lines on white, bent by the lens, are columns of the pinhole's picture to a fifth of a pixel."""
    found = undone("OPENCV")
    v, u = np.mgrid[0:480, 0:640] + 0.5
    points = np.stack([u, v], -1).reshape(-1, 1, 2)
    c = found.lensed
    matrix = np.array([[c.fx, 0, c.cx], [0, c.fy, c.cy], [0, 0, 1]])
    exact = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 200, 1e-12)
    x = cv2.undistortPoints(points, matrix, np.array(found.lens.numbers[:4]), criteria=exact)[:, 0, 0].reshape(480, 640)
    dark = np.exp(-(((x[..., None] - np.array([-0.3, 0.0, 0.25])) * c.fx / 2) ** 2)).sum(-1)
    rgb = np.repeat(np.rint(255 - 200 * dark)[..., None], 3, -1).astype(np.uint8)
    new, _, _ = resampled(found, rgb, np.ones((480, 640), np.float32), None)
    dark = 255.0 - new[..., 0]
    for place in (-0.3, 0.0, 0.25):
        column = place * found.camera.fx + found.camera.cx
        near = dark * (np.abs(u - column) < 8)
        centres = (near * u).sum(1) / near.sum(1)
        assert np.abs(centres - column).max() < 0.2
        bent = (255.0 - rgb[..., 0]) * (np.abs(u - (place * c.fx + c.cx)) < 40)
        assert np.ptp((bent * u).sum(1) / bent.sum(1)) > (5 if place else 0)
