"""From a generated surface and its Gaussians to the mesh that is delivered.

What the cameras saw is coloured from the photographs, by fusion's own baking; what they did not see from the Gaussians,
brought to the photographs' exposure where both are known. Where the place of the surface is unknown, photographs cannot
be used, and the Gaussians colour everything.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from meshdrop.models.capture.capture import Capture
from meshdrop.models.contract.base import silent
from meshdrop.models.contract.options import AUTO
from meshdrop.models.mesh.mesh import TexturedMesh
from meshdrop.models.surface.dressing import TimedStages, dress
from meshdrop.models.surface.range_view import RangeView

Floats = NDArray[np.float32]

#: A point's colour is that of so many Gaussians around it.
NEIGHBOURS = 8
#: The Gaussians may be this much darker or brighter than the photographs and are corrected; beyond lies another fault.
MOST_GAIN = 2.0
#: The exposure is compared at so many points at most, and believed from so many.
COMPARED, FEWEST_COMPARED = 20_000, 200


@dataclass(frozen=True)
class Splats:
    """Gaussians as coloured points: ``points`` (N, 3), ``colours`` (N, 3) 0..255 sRGB, ``opacity`` (N,) 0..1,
    ``radius`` (N,) the geometric mean of the three standard deviations in the points' unit. ``inward`` (4, 4) takes the
    frame in which the splats are asked to the one in which these stand."""

    points: Floats
    colours: Floats
    opacity: Floats
    radius: Floats
    inward: NDArray[np.float64] = field(default_factory=lambda: np.eye(4))

    @cached_property
    def tree(self) -> cKDTree:
        """The points' tree; not balanced, which takes a third of the time for half a million of them."""
        return cKDTree(self.points, balanced_tree=False, compact_nodes=False)

    def moved(self, matrix: NDArray[np.float64]) -> Splats:
        """The splats under a similarity (4, 4); they share one tree."""
        moved = replace(self, inward=self.inward @ np.linalg.inv(matrix))
        vars(moved)["tree"] = self.tree
        return moved

    def at(self, points: NDArray[np.floating]) -> Floats:
        """The colours (N, 3) 0..255 at surface points: a mean of what is near, opaque and reaches there."""
        count = min(NEIGHBOURS, len(self.points))
        here = points.astype(np.float64) @ self.inward[:3, :3].T + self.inward[:3, 3]
        distance, near = self.tree.query(here, k=count, workers=-1)
        distance, near = distance.reshape(-1, count), near.reshape(-1, count)
        reach = np.maximum(self.radius[near], 1e-9)
        # relative to the best of them, so that a point far from all still gets the nearest one's colour
        exponent = -0.5 * (distance / reach) ** 2 + np.log(np.maximum(self.opacity[near], 1e-6))
        weight = np.exp(exponent - exponent.max(axis=1, keepdims=True))
        mixed = (self.colours[near] * weight[..., None]).sum(axis=1) / weight.sum(axis=1, keepdims=True)
        return mixed.astype(np.float32)  # type: ignore[no-any-return]

    def paint(self, points: Floats, normals: Floats, colours: Floats, seen: NDArray[np.bool_]) -> None:
        """``models.surface.dressing.Paint``: colour what was not seen, at the exposure of what was."""
        if seen.all():
            return
        known = np.flatnonzero(seen)[:: max(1, int(seen.sum()) // COMPARED)]
        gain = np.ones(3, np.float32)
        if len(known) >= FEWEST_COMPARED:
            ratio = np.maximum(colours[known], 1.0) / np.maximum(self.at(points[known]), 1.0)
            gain = np.clip(np.median(ratio, axis=0), 1 / MOST_GAIN, MOST_GAIN).astype(np.float32)
        colours[~seen] = np.clip(self.at(points[~seen]) * gain, 0, 255)


def placed(
    capture: Capture,
    views: list[RangeView],
    vertices: NDArray[np.float64],
    faces: NDArray[np.int32],
    splats: Splats,
    size: int,
) -> tuple[TexturedMesh, float, dict[str, Any]]:
    """The mesh of a closed surface that stands in the capture's frame, in metres: see ``dress``."""
    return dress(capture, views, vertices, faces, size, AUTO, TimedStages(silent), splats.paint)


def astray(
    capture: Capture, vertices: NDArray[np.float64], faces: NDArray[np.int32], splats: Splats, size: int
) -> tuple[TexturedMesh, float, dict[str, Any]]:
    """The mesh of a closed surface whose place is unknown: no photograph is looked at, all of it counts as unseen."""
    blind = replace(capture, views=())
    return dress(blind, [], vertices, faces, size, 0, TimedStages(silent), splats.paint)
