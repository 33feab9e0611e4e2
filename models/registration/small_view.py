"""One view of a capture, cut to its object and made small: what a drawn mesh is compared with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from meshdrop.models.capture.capture import View
from meshdrop.models.contract.side_by_side import each
from meshdrop.models.formats.cameras import Camera
from meshdrop.models.surface.range_view import RangeView
from meshdrop.models.surface.silhouette import signed_distance

Floats = NDArray[np.float32]
Array = NDArray[np.float64]

#: The cut keeps this much of the object's longer side around it: a pose that is about right draws nothing beyond.
MARGIN = 0.25
#: Depth this near to the outline, in pixels of the photograph, mixes object and background.
RIM_PX = 2.0


@dataclass(frozen=True)
class SmallView:
    """A view of H x W pixels. ``camera`` takes just these pixels; ``mask`` (H, W) float32 is coverage 0..1; ``depth``
    (H, W) float32 is planar metres, 0 where nothing was measured or the object's rim is near; ``grey`` (H, W) float32
    is 0..1.
    """

    camera: Camera
    mask: Floats
    depth: Floats
    grey: Floats

    @cached_property
    def outline(self) -> Floats:
        """Distance to the silhouette in pixels (H, W), positive outside."""
        return signed_distance(self.mask)

    @cached_property
    def surface(self) -> tuple[Array, Array]:
        """The measured points (H, W, 3) in the world and their unit normals towards the camera, 0 where unknown."""
        return _surface(self.camera, self.depth)


def sights_of(views: Sequence[View], prepared: Sequence[RangeView], side: int) -> list[SmallView]:
    """Every view with about ``side`` pixels on the longer side of its cut; empty masks are left out."""
    shown = [pair for pair in zip(views, prepared, strict=True) if (pair[0].mask >= 0.5).any()]
    return each(lambda pair: _sight(*pair, side), shown)


def chosen(views: Sequence[View], most: int) -> list[int]:
    """At most ``most`` of the views, looking from as different sides as there are: each next one is the farthest from
    those before (Gonzalez, "Clustering to minimize the maximum intercluster distance", 1985), the first one first."""
    looks = np.stack([view.camera.c2w[:3, 2] for view in views])
    found = [0]
    while len(found) < min(most, len(views)):
        nearest = (looks @ looks[found].T).max(axis=1)
        nearest[found] = np.inf
        found.append(int(nearest.argmin()))
    return sorted(found)


def slope_at(outline: Floats, rows: NDArray[np.intp], columns: NDArray[np.intp]) -> Array:
    """The unit gradient (N, 2) of a distance picture along columns and rows, at pixels; 0 where it is flat."""
    height, width = outline.shape
    right, left = outline[rows, np.minimum(columns + 1, width - 1)], outline[rows, np.maximum(columns - 1, 0)]
    below, above = outline[np.minimum(rows + 1, height - 1), columns], outline[np.maximum(rows - 1, 0), columns]
    slope = np.stack([right - left, below - above], axis=1).astype(np.float64)
    return np.asarray(slope / np.maximum(np.linalg.norm(slope, axis=1, keepdims=True), 1e-9))


def _sight(view: View, ranged: RangeView, side: int) -> SmallView:
    window, block = _window(view.mask, side)
    camera = _cut_camera(view.camera, window, block)
    mask = _means(view.mask[window], block)
    middle = (slice(block // 2, None, block), slice(block // 2, None, block))
    # the pixel in the middle of an odd block has its centre where the block has it: depth needs no resampling
    depth = np.where(ranged.outline[window] < -RIM_PX, ranged.depth[window], 0)[middle].astype(np.float32)
    grey = _means(view.rgb[window].mean(axis=-1, dtype=np.float32), block) / np.float32(255)
    return SmallView(camera, mask, depth, grey)


def _window(mask: Floats, side: int) -> tuple[tuple[slice, slice], int]:
    """Rows and columns around the object, whole blocks, and the odd number of pixels a block has a side."""
    spans = [np.flatnonzero((mask >= 0.5).any(axis=axis)) for axis in (1, 0)]
    longest = max(int(span[-1] - span[0] + 1) for span in spans)
    margin = MARGIN * longest
    block = max(1, 2 * int((longest + 2 * margin) / side / 2 + 0.5) - 1)
    cuts = []
    for span, size in zip(spans, mask.shape, strict=True):
        low, high = max(0, int(span[0] - margin)), min(size, int(span[-1] + 1 + margin))
        blocks = max(1, (high - low) // block)
        low = max(0, min(low, size - blocks * block))
        cuts.append(slice(low, min(low + blocks * block, size)))
    return (cuts[0], cuts[1]), block


def _cut_camera(camera: Camera, window: tuple[slice, slice], block: int) -> Camera:
    rows, columns = window
    return replace(
        camera,
        width=(columns.stop - columns.start) // block,
        height=(rows.stop - rows.start) // block,
        fx=camera.fx / block,
        fy=camera.fy / block,
        cx=(camera.cx - columns.start) / block,
        cy=(camera.cy - rows.start) / block,
    )


def _means(picture: Floats, block: int) -> Floats:
    height, width = picture.shape[0] // block, picture.shape[1] // block
    cut = picture[: height * block, : width * block]
    return np.ascontiguousarray(cut.reshape(height, block, width, block).mean(axis=(1, 3)), dtype=np.float32)


def _surface(camera: Camera, depth: Floats) -> tuple[Array, Array]:
    v, u = np.indices(depth.shape) + 0.5
    place = camera.unproject(u, v, depth.astype(np.float64))
    place[depth == 0] = 0
    normal = np.zeros_like(place)
    inner = (slice(1, -1), slice(1, -1))
    measured = depth > 0
    known = measured[1:-1, 2:] & measured[1:-1, :-2] & measured[2:, 1:-1] & measured[:-2, 1:-1] & measured[inner]
    across = np.cross(place[1:-1, 2:] - place[1:-1, :-2], place[:-2, 1:-1] - place[2:, 1:-1])
    length = np.linalg.norm(across, axis=-1)
    normal[inner] = np.where((known & (length > 0))[..., None], across / np.maximum(length, 1e-300)[..., None], 0)
    return place, normal
