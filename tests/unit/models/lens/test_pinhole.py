"""The pinhole that a lens is undone to: everything in it was seen, and what cannot be undone is refused."""

from __future__ import annotations

import math
import re
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from meshdrop.models.formats.cameras import Camera
from meshdrop.models.formats.lens import COEFFICIENTS, Lens
from meshdrop.models.formats.stated_camera import CameraError
from meshdrop.models.lens.pinhole import LEAST_KEPT, MOST_STRETCH, WIDEST, undoing
from tests.unit.models.lens.lenses import LENSES, camera_of


def border(camera: Camera) -> tuple[np.ndarray, np.ndarray]:
    """Every pixel's centre along the picture's edge."""
    v, u = np.mgrid[0 : camera.height, 0 : camera.width] + 0.5
    edge = np.ones(u.shape, bool)
    edge[1:-1, 1:-1] = False
    return u[edge], v[edge]


@pytest.mark.parametrize("name", LENSES)
@pytest.mark.parametrize("shift", [(0, 0), (-140, 90)])
def test_every_pixel_of_the_pinhole_was_seen_and_no_shorter_focal_length_would_do(
    name: str, shift: tuple[int, int]
) -> None:
    lens, focal = LENSES[name]
    camera = camera_of(focal)
    camera = replace(camera, cx=camera.cx + shift[0], cy=camera.cy + shift[1])
    found = undoing(lens, camera)
    pinhole = found.camera
    assert (pinhole.width, pinhole.height, pinhole.cx, pinhole.cy) == (640, 480, camera.cx, camera.cy)
    assert pinhole.fx / pinhole.fy == pytest.approx(camera.fx / camera.fy)
    u, v = found.sources(*border(pinhole))
    outside = np.maximum.reduce([-u, u - 640, -v, v - 480])
    assert outside.max() <= 0.0
    # with a focal length that is 1 % shorter, the border would lie outside, or too far from the axis
    wider = replace(found, camera=replace(pinhole, fx=pinhole.fx * 0.99, fy=pinhole.fy * 0.99))
    u, v = wider.sources(*border(pinhole))
    angle = np.arctan(
        max(np.hypot((x - camera.cx) / camera.fx, (y - camera.cy) / camera.fy) for x in (0, 640) for y in (0, 480))
        * camera.fx
        / wider.camera.fx
    )
    assert np.maximum.reduce([-u, u - 640, -v, v - 480]).max() > 0 or angle > WIDEST


def test_the_farthest_move_and_the_share_that_is_kept_are_those_of_the_whole_picture() -> None:
    """By its own pixels, one by one. Of barrels little is lost, where the pinhole's border meets the picture's."""
    lens, focal = LENSES["OPENCV"]
    camera = camera_of(focal)
    found = undoing(lens, camera)
    v, u = np.mgrid[0:480, 0:640] + 0.5
    at_u, at_v = found.sources(u, v)
    scale = camera.fx / found.camera.fx
    straight_u, straight_v = (u - camera.cx) * scale + camera.cx, (v - camera.cy) * scale + camera.cy
    assert found.most_px == pytest.approx(np.hypot(at_u - straight_u, at_v - straight_v).max(), rel=0.02)
    hit = np.zeros((480, 640), bool)
    fine_v, fine_u = np.mgrid[0:1920, 0:2560] / 4 + 0.125
    at_u, at_v = found.sources(fine_u, fine_v)
    hit[at_v.astype(int).clip(0, 479), at_u.astype(int).clip(0, 639)] = True
    assert found.kept == pytest.approx(hit.mean(), abs=0.01)
    assert not found.widest


def test_a_fisheye_of_180_degrees_ends_at_the_widest_angle() -> None:
    camera = Camera(800, 800, 800 / math.pi, 800 / math.pi, 400.0, 400.0, np.eye(4))
    found = undoing(Lens("OPENCV_FISHEYE", (0.0,) * 4), camera)
    corner = math.atan(math.hypot(400, 400) / found.camera.fx)
    assert corner == pytest.approx(WIDEST, abs=1e-6)
    assert found.widest
    assert 0.3 < found.kept < 0.4


# A barrel x (1 - k r^2) turns back at r = sqrt(1 / 3k), where it has reached two thirds of that.
@pytest.mark.parametrize("k", [0.5, 0.9])
def test_a_lens_that_folds_inside_of_the_picture_is_refused_with_the_radius(k: float) -> None:
    camera = Camera(640, 480, 300.0, 300.0, 320.0, 240.0, np.eye(4))
    with pytest.raises(CameraError, match="folds the picture over") as caught:
        undoing(Lens("SIMPLE_RADIAL", (-k,)), camera)
    told = re.findall(r"(\d+) px", str(caught.value))
    assert float(told[0]) == pytest.approx(300 * 2 / 3 * math.sqrt(1 / (3 * k)), abs=3)
    assert float(told[1]) == 400
    assert "corners" in caught.value.fix


def test_a_lens_that_folds_outside_of_the_picture_is_none_of_our_business() -> None:
    camera = Camera(640, 480, 800.0, 800.0, 320.0, 240.0, np.eye(4))
    assert undoing(Lens("SIMPLE_RADIAL", (-0.5,)), camera).kept > 0.8


def test_a_lens_that_tangential_numbers_fold_is_refused() -> None:
    camera = Camera(640, 480, 400.0, 400.0, 320.0, 240.0, np.eye(4))
    with pytest.raises(CameraError, match="folds the picture over"):
        undoing(Lens("OPENCV", (0.0, 0.0, 0.5, -0.6, 0.0, 0.0)), camera)


NUMBERS = st.one_of(
    st.floats(allow_nan=False, allow_infinity=False),
    st.floats(-2, 2),
    st.sampled_from([0.0, 1e300, -1e300, 1e-300, 1e9, -1e9, math.pi, -1.0]),
)
SIZES = st.integers(16, 8192)


@settings(max_examples=120, deadline=None)
@given(
    model=st.sampled_from(sorted(COEFFICIENTS)),
    numbers=st.lists(NUMBERS, min_size=12, max_size=12),
    width=SIZES,
    height=SIZES,
    focal=st.floats(0.1, 50),
    middle=st.tuples(st.floats(0.001, 0.999), st.floats(0.001, 0.999)),
)
@example("DIVISION", [-1e9] * 12, 640, 480, 0.8, (0.5, 0.5))
@example("FOV", [math.pi] * 12, 640, 480, 0.8, (0.5, 0.5))
@example("FOV", [1e-200] * 12, 640, 480, 0.8, (0.5, 0.5))
def test_whatever_the_numbers_are_a_lens_is_undone_soundly_or_refused(
    model: str, numbers: list[float], width: int, height: int, focal: float, middle: tuple[float, float]
) -> None:
    lens = Lens(model, tuple(numbers[: len(COEFFICIENTS[model])]))
    camera = Camera(width, height, focal * width, focal * width, middle[0] * width, middle[1] * height, np.eye(4))
    try:
        found = undoing(lens, camera)
    except CameraError:
        return
    assert LEAST_KEPT <= found.kept <= 1
    assert 0 <= found.most_px < 2 * MOST_STRETCH * math.hypot(width, height)
    u, v = found.sources(*(side[:: max(1, side.size // 500)] for side in border(camera)))
    assert np.isfinite(u).all()
    assert np.isfinite(v).all()
    slack = 0.01 * math.hypot(width, height)
    assert (u > -slack).all()
    assert (u < width + slack).all()
    assert (v > -slack).all()
    assert (v < height + slack).all()
