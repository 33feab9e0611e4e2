"""The part of a view that is worth looking at: where the object or the mesh is. All around it both sides are white."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from meshdrop.models.capture.capture import View
from meshdrop.models.formats.cameras import Camera

#: Side of the windows of SSIM, and the least side of a frame.
WINDOW_PX = 7
#: Pixels of white kept around everything: twice the reach of those windows, so that no window of a pixel left out sees
#: anything but white, and mirroring at the frame's edge mirrors white.
MARGIN_PX = 2 * (WINDOW_PX // 2)
#: Vertices nearer to the camera plane than this share of the farthest one's depth do not bound a picture.
NEAR_SHARE = 1e-3


@dataclass(frozen=True)
class Frame:
    """A rectangle of whole pixels inside a picture."""

    left: int
    top: int
    width: int
    height: int

    @property
    def pixels(self) -> int:
        """How many pixels it holds."""
        return self.width * self.height

    def cut(self, picture: NDArray[Any]) -> NDArray[Any]:
        """Its part of an array whose first two axes are rows and columns; no copy."""
        return picture[self.top : self.top + self.height, self.left : self.left + self.width]

    def camera(self, camera: Camera) -> Camera:
        """The camera that takes this part of the picture alone, pixel for pixel."""
        return replace(camera, width=self.width, height=self.height, cx=camera.cx - self.left, cy=camera.cy - self.top)

    def view(self, view: View) -> View:
        """Its part of a view, with the camera that belongs to it."""
        depth = None if view.depth is None else self.cut(view.depth)
        return replace(
            view, camera=self.camera(view.camera), rgb=self.cut(view.rgb), mask=self.cut(view.mask), depth=depth
        )


def frame_of(view: View, vertices: NDArray[np.floating]) -> Frame:
    """The smallest frame with all of a view's object, all of the mesh, and ``MARGIN_PX`` around both."""
    camera = view.camera
    return _clipped(camera, [*_mesh_box(camera, vertices), *_mask_box(view.mask)], MARGIN_PX)


def mesh_frame(camera: Camera, vertices: NDArray[np.floating]) -> Frame:
    """The smallest frame with all of the mesh, whose ``vertices`` (V, 3) are metres in world coordinates."""
    return _clipped(camera, _mesh_box(camera, vertices), 0)


Box = tuple[float, float, float, float]


def _mesh_box(camera: Camera, vertices: NDArray[np.floating]) -> list[Box]:
    """Left, top, right, bottom around the projected vertices; the whole picture unless all are well in front."""
    u, v, z = camera.project(np.asarray(vertices, np.float64))
    if not z.min(initial=np.inf) > NEAR_SHARE * z.max(initial=0.0):
        return [(0.0, 0.0, float(camera.width), float(camera.height))]
    # a pixel of slack: rounding must not cost a sample on the silhouette
    return [(float(u.min()) - 1, float(v.min()) - 1, float(u.max()) + 1, float(v.max()) + 1)]


def _mask_box(mask: NDArray[np.float32]) -> list[Box]:
    """Around every pixel with any coverage; nothing for an empty mask."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return []
    return [(float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1))]


def _clipped(camera: Camera, boxes: list[Box], margin: int) -> Frame:
    """Whole pixels around all boxes, inside the picture; room for a window of SSIM also when all lies beside it."""
    around = np.array(boxes)
    low = np.floor(around[:, :2].min(axis=0)) - margin
    high = np.ceil(around[:, 2:].max(axis=0)) + margin
    size = np.array([camera.width, camera.height])
    left, top = np.clip(low, 0, np.maximum(size - WINDOW_PX, 0)).astype(int).tolist()
    right, bottom = np.clip(high, np.minimum([left + WINDOW_PX, top + WINDOW_PX], size), size).astype(int).tolist()
    return Frame(left, top, right - left, bottom - top)
