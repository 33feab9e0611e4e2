"""Worlds whose origin is far away: survey coordinates, or a tracker that began kilometres from here.

Meshes are kept and written in single precision: five million metres from the origin that is steps of half a metre. Such
a capture is worked on relative to a point of its own, which everything that is made of it names as ``origin_m``. Far is
what would cost a tenth of the finest voxel (a 1024th of what the cameras look at), or a tenth of a millimetre, with
room to spare.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from meshdrop.models.capture.capture import Capture
from meshdrop.models.formats.cameras import Camera

#: The origin is far when it is so many times as far as the cameras are from what they look at: single precision then
#: still has a hundred thousandth of that.
FAR = 100.0
#: And in any case at so many metres, where single precision has steps of 0.06 mm.
FAR_M = 1000.0


def local_origin(cameras: Sequence[Camera]) -> tuple[float, float, float] | None:
    """A round point near what the cameras look at, metres in their world; None where the world's own origin will do."""
    centres = np.stack([camera.centre for camera in cameras]).astype(np.float64)
    middle = centres.mean(axis=0)
    A, b = np.zeros((3, 3)), np.zeros(3)
    for camera, centre in zip(cameras, centres - middle, strict=True):
        ahead = -camera.c2w[:3, 2]
        across = np.eye(3) - np.outer(ahead, ahead)
        A, b = A + across, b + across @ centre
    focus = middle + np.linalg.lstsq(A, b, rcond=1e-6)[0]
    reach = float(np.linalg.norm(centres - focus, axis=1).max())
    if not 0 < min(FAR * reach, FAR_M) < float(np.linalg.norm(focus)):
        return None
    step = 10.0 ** np.floor(np.log10(reach))
    x, y, z = (float(value) for value in np.round(np.round(focus / step) * step, 9))
    return x, y, z


def near(capture: Capture) -> Capture:
    """The capture relative to its local origin; the same where it needs none."""
    origin = local_origin([view.camera for view in capture.views]) if capture.views else None
    if origin is None:
        return capture
    views = tuple(replace(view, camera=_moved(view.camera, origin)) for view in capture.views)
    return replace(capture, views=views, origin_m=origin)


def _moved(camera: Camera, origin: tuple[float, float, float]) -> Camera:
    c2w = camera.c2w.astype(np.float64, copy=True)
    c2w[:3, 3] -= origin
    return replace(camera, c2w=c2w)
