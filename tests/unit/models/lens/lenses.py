"""A lens of each model, as strong as real ones are, and cameras to put them in front of."""

from __future__ import annotations

import numpy as np

from meshdrop.models.formats.cameras import Camera
from meshdrop.models.formats.lens import Lens

#: Each with the focal length, as a share of the picture's width, that such lenses have.
LENSES: dict[str, tuple[Lens, float]] = {
    "SIMPLE_RADIAL": (Lens("SIMPLE_RADIAL", (-0.12,)), 0.9),
    "RADIAL": (Lens("RADIAL", (0.09, -0.05)), 0.9),
    "OPENCV": (Lens("OPENCV", (-0.25, 0.08, 0.002, -0.003, 0.0, 0.0)), 0.8),
    "FULL_OPENCV": (Lens("FULL_OPENCV", (0.4, -0.1, 0.001, -0.002, 0.02, 0.6, -0.05, 0.01)), 0.8),
    "FOV": (Lens("FOV", (0.9,)), 0.7),
    "EUCM": (Lens("EUCM", (0.55, 1.1)), 0.6),
    "SIMPLE_DIVISION": (Lens("SIMPLE_DIVISION", (-0.2,)), 0.8),
    "DIVISION": (Lens("DIVISION", (0.08,)), 0.8),
    "SIMPLE_FISHEYE": (Lens("SIMPLE_FISHEYE"), 0.5),
    "FISHEYE": (Lens("FISHEYE"), 0.5),
    "SIMPLE_RADIAL_FISHEYE": (Lens("SIMPLE_RADIAL_FISHEYE", (0.03,)), 0.5),
    "RADIAL_FISHEYE": (Lens("RADIAL_FISHEYE", (0.03, -0.01)), 0.5),
    "OPENCV_FISHEYE": (Lens("OPENCV_FISHEYE", (0.05, -0.02, 0.004, -0.001)), 0.5),
    "THIN_PRISM_FISHEYE": (Lens("THIN_PRISM_FISHEYE", (0.04, -0.02, 0.001, -0.002, 0.003, 0.0, 0.002, -0.001)), 0.5),
    "RAD_TAN_THIN_PRISM_FISHEYE": (
        Lens(
            "RAD_TAN_THIN_PRISM_FISHEYE",
            (0.03, -0.02, 0.005, 0.001, -0.001, 0.0002, 0.001, -0.002, 0.001, -0.0005, -0.001, 0.0004),
        ),
        0.5,
    ),
    # of a RealSense D435, stronger
    "INVERSE_BROWN_CONRADY": (Lens("INVERSE_BROWN_CONRADY", (0.14, -0.3, 0.002, 0.001, 0.2)), 0.9),
}


def camera_of(focal: float, width: int = 640, height: int = 480, c2w: np.ndarray | None = None) -> Camera:
    """A camera whose principal point is not the middle, with focal lengths that differ a little."""
    pose = np.eye(4) if c2w is None else c2w
    return Camera(width, height, focal * width, 1.01 * focal * width, width / 2 + 5, height / 2 - 7, pose)
