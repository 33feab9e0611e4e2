"""Where lenses put points, against the libraries that the formulas belong to."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from meshdrop.models.formats import colmap
from meshdrop.models.formats.lens import COEFFICIENTS, Lens
from meshdrop.models.lens.formulas import bent
from tests.colmap_itself import asked
from tests.unit.models.lens.lenses import LENSES, camera_of

#: Of this many points, as far out as the picture reaches, none may lie farther from where the library puts it.
POINTS, MOST_PX = 1000, 0.01
OURS_ALONE = ("INVERSE_BROWN_CONRADY",)


def rays(focal: float, seed: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Points on the plane at distance 1, to the corners of a picture of this focal length and a little beyond."""
    random = np.random.default_rng(seed)
    x, y = random.uniform(-1, 1, (2, POINTS))
    return 0.55 / focal * x, 0.42 / focal * y


def ours(lens: Lens, focal: float, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    camera, (across, down) = camera_of(focal), bent(lens, x, y)
    return np.stack([across * camera.fx + camera.cx, down * camera.fy + camera.cy], -1)


THEIRS = """
import numpy as np
def answer(given):
    found = {}
    for name, (params, x, y) in given.items():
        camera = pycolmap.Camera(model=name, width=640, height=480, params=params)
        found[name] = camera.img_from_cam(np.stack([x, y, np.ones(len(x))], -1)).tolist()
    return found
"""


def test_every_model_puts_a_thousand_points_where_colmap_puts_them() -> None:
    given = {}
    for name, (lens, focal) in LENSES.items():
        if name in OURS_ALONE:
            continue
        camera, (x, y) = camera_of(focal), rays(focal)
        if name in ("SIMPLE_RADIAL", "RADIAL", "SIMPLE_DIVISION", "SIMPLE_FISHEYE") or name.endswith("RADIAL_FISHEYE"):
            focals = [camera.fx]
        else:
            focals = [camera.fx, camera.fy]
        numbers = lens.numbers[:4] if name == "OPENCV" else lens.numbers
        given[name] = [[*focals, camera.cx, camera.cy, *numbers], x.tolist(), y.tolist()]
    told = asked(THEIRS, given)
    assert len(told) == len(LENSES) - len(OURS_ALONE)
    for name, theirs in told.items():
        lens, focal = LENSES[name]
        found = ours(lens, focal, *rays(focal))
        if len(given[name][0]) == 3 + len(lens.numbers):  # one focal length for both axes
            camera = camera_of(focal)
            found[:, 1] = (found[:, 1] - camera.cy) / camera.fy * camera.fx + camera.cy
        worst = np.linalg.norm(found - np.array(theirs), axis=-1).max()
        assert worst < MOST_PX, f"{name}: {worst:.4f} px"


def test_every_model_of_colmap_is_read_and_has_a_formula() -> None:
    """All but the panorama, which is no picture of one direction."""
    program = "def answer(_): return [m.name for m in pycolmap.CameraModelId.__members__.values()]"
    theirs = set(asked(program, None)) - {"INVALID"}
    assert theirs - set(COEFFICIENTS) == {"EQUIRECTANGULAR"}
    assert theirs <= set(colmap._NUMBERS)
    assert set(COEFFICIENTS) - {"SIMPLE_PINHOLE", "PINHOLE"} == set(LENSES)


@pytest.mark.parametrize("k3", [0.0, 0.03])
def test_browns_model_is_opencvs(k3: float) -> None:
    numbers = (-0.25, 0.08, 0.002, -0.003, k3, 0.0)
    assert_as_opencv(Lens("OPENCV", numbers), numbers[:5])


def test_the_rational_model_is_opencvs() -> None:
    lens, _ = LENSES["FULL_OPENCV"]
    k1, k2, p1, p2, k3, k4, k5, k6 = lens.numbers
    assert_as_opencv(lens, (k1, k2, p1, p2, k3, k4, k5, k6))


def assert_as_opencv(lens: Lens, numbers: tuple[float, ...]) -> None:
    camera, (x, y) = camera_of(0.8), rays(0.8)
    matrix = np.array([[camera.fx, 0, camera.cx], [0, camera.fy, camera.cy], [0, 0, 1]])
    points = np.stack([x, y, np.ones_like(x)], -1)
    theirs, _ = cv2.projectPoints(points, np.zeros(3), np.zeros(3), matrix, np.array(numbers))
    assert np.abs(ours(lens, 0.8, x, y) - theirs[:, 0]).max() < 1e-6


def test_the_fourth_number_of_brown_is_nerfstudios() -> None:
    """r = 1: x d = 1 + k1 + k2 + k3 + k4 (``camera_utils.py``: 1 + r (k1 + r (k2 + r (k3 + r k4))), r = x^2 + y^2)."""
    x, y = bent(Lens("OPENCV", (0.1, 0.02, 0.0, 0.0, 0.003, 0.0004)), np.array([1.0]), np.array([0.0]))
    assert (x[0], y[0]) == pytest.approx((1.1234, 0.0))


def test_the_inverse_brown_model_leads_back_to_the_pixel_by_librealsenses_way() -> None:
    """``rs2_deproject_pixel_to_point``: x' = x f + 2 c2 x y + c3 (r2 + 2 x^2), y' with c2 and c3 changed."""
    lens, focal = LENSES["INVERSE_BROWN_CONRADY"]
    x, y = rays(focal)
    c0, c1, c2, c3, c4 = lens.numbers
    r2 = x * x + y * y
    f = 1 + c0 * r2 + c1 * r2 * r2 + c4 * r2 * r2 * r2
    across = x * f + 2 * c2 * x * y + c3 * (r2 + 2 * x * x)
    down = y * f + 2 * c3 * x * y + c2 * (r2 + 2 * y * y)
    again = ours(lens, focal, across, down)
    assert np.abs(again - ours(Lens("PINHOLE"), focal, x, y)).max() < MOST_PX
    assert np.hypot(across - x, down - y).max() * 640 * focal > 5


@pytest.mark.parametrize("model", COEFFICIENTS)
@pytest.mark.parametrize("value", [1e300, -1e300, 1e-300, 0.0, -1.0, 1e6])
def test_no_number_raises(model: str, value: float) -> None:
    x, y = rays(0.5)
    across, down = bent(Lens(model, (value,) * len(COEFFICIENTS[model])), x, y)
    assert across.shape == down.shape == x.shape
