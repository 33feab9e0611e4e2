"""A closed surface gets charts and a texture baked from the photographs: the last steps of every model."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from meshdrop.models.capture.capture import Capture
from meshdrop.models.contract.base import Progress
from meshdrop.models.mesh.mesh import TexturedMesh
from meshdrop.models.surface import atlas, bake, charts, texture_solve
from meshdrop.models.surface.range_view import RangeView

Floats = NDArray[np.float32]
#: ``paint(points, normals, colours, seen)``: colours 0..255 of the surface points that nobody saw, in place; arrays
#: (N, 3), ``seen`` (N,).
Paint = Callable[[Floats, Floats, Floats, NDArray[np.bool_]], None]


class TimedStages:
    """Seconds and CPU seconds per stage, and the progress that people see."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self.seconds: dict[str, float] = {}
        self.cpu_seconds: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str, percent: float) -> Iterator[None]:
        """Report ``name`` at ``percent`` of the run and add its time when it ends."""
        self._progress(percent, name)
        wall, cpu = time.perf_counter(), time.process_time()
        yield
        self.seconds[name] = round(time.perf_counter() - wall, 4)
        self.cpu_seconds[name] = round(time.process_time() - cpu, 4)


def dress(
    capture: Capture,
    views: list[RangeView],
    vertices: NDArray[np.float64],
    faces: NDArray[np.int32],
    size: int,
    solve_passes: int,
    run: TimedStages,
    paint: Paint = bake.fill_unseen,
) -> tuple[TexturedMesh, float, dict[str, Any]]:
    """A closed surface with charts and a texture baked from the photographs.

    ``vertices`` (V, 3) metres, ``faces`` (F, 3) outward; ``size`` texels a side, or more where the charts need it;
    ``paint`` colours what no camera saw. Returns the mesh, the unseen share of its surface 0..1, and ``charts`` (how
    many), ``texels`` a side and ``view_gains`` (N, 3) as facts.
    """
    with run.stage("charts", 65):
        layout, size = charts.unwrap_in_any(vertices, faces, size)
    with run.stage("texture", 75):
        texture, seen, unseen_fraction, gains = _bake(
            capture, views, vertices, faces, layout, size, solve_passes, paint
        )
    uv = (layout.corners / size * [1, -1] + [0, 1]).astype(np.float32)
    mesh = TexturedMesh(vertices.astype(np.float32), faces, uv, texture, seen)
    rounded = [[round(float(gain), 4) for gain in row] for row in gains]
    return mesh, unseen_fraction, {"charts": layout.count, "texels": size, "view_gains": rounded}


def _bake(
    capture: Capture,
    views: list[RangeView],
    vertices: NDArray[np.float64],
    faces: NDArray[np.int32],
    layout: charts.Charts,
    size: int,
    solve_passes: int,
    paint: Paint,
) -> tuple[NDArray[np.uint8], NDArray[np.bool_], float, Floats]:
    """Texture, seen map, unseen share of the surface's area, view gains."""
    spots = atlas.texels(layout.corners, size)
    points = atlas.at_texels(vertices, faces, spots.face, spots.bary)
    normals = atlas.at_texels(vertex_normals(vertices, faces), faces, spots.face, spots.bary)
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)
    sights = [bake.sight(view, prepared, vertices, faces) for view, prepared in zip(capture.views, views, strict=True)]
    thin = np.arange(0, len(points), max(1, len(points) // 10_000))
    gains = bake.view_gains(sights, points[thin], normals[thin])
    colours, weight = bake.blend(sights, points, normals, gains)
    known = weight > 0
    paint(points, normals, colours, known)
    # the fourth channel says whether a camera saw the texel: gutters continue it like a colour
    image, painted = np.zeros((size, size, 4), np.float32), np.zeros((size, size), np.bool_)
    image.reshape(-1, 4)[spots.index], painted.reshape(-1)[spots.index] = np.column_stack([colours, known]), True
    if solve_passes:
        rows = [
            texture_solve.equations(view, gain, vertices, faces, layout.corners.astype(np.float32))
            for view, gain in zip(sights, gains, strict=True)
        ]
        image = texture_solve.solve(image, rows, solve_passes)
    atlas.fill_gutters(image, painted)
    area = _texel_area(vertices, faces, layout)[spots.face[spots.inner]]
    unseen = float(area[~known[spots.inner]].sum() / max(area.sum(), 1e-300))
    return np.round(image[..., :3]).astype(np.uint8), image[..., 3] > 0, unseen, gains


def vertex_normals(vertices: NDArray[np.float64], faces: NDArray[np.int32]) -> NDArray[np.float64]:
    """Area-weighted unit normals (V, 3)."""
    a, b, c = (vertices[faces[:, k]] for k in range(3))
    face = np.cross(b - a, c - a)
    out = np.stack(
        [sum(np.bincount(faces[:, k], face[:, axis], len(vertices)) for k in range(3)) for axis in range(3)], axis=-1
    )
    return out / np.maximum(np.linalg.norm(out, axis=1, keepdims=True), 1e-300)  # type: ignore[no-any-return]


def _texel_area(vertices: NDArray[np.float64], faces: NDArray[np.int32], layout: charts.Charts) -> NDArray[np.float64]:
    """Surface area behind one texel of each face, up to a common factor, (F,)."""
    a, b, c = (vertices[faces[:, k]] for k in range(3))
    p, q, r = (layout.corners[:, k] for k in range(3))
    flat = np.abs((q - p)[:, 0] * (r - p)[:, 1] - (q - p)[:, 1] * (r - p)[:, 0])
    return np.linalg.norm(np.cross(b - a, c - a), axis=1) / np.maximum(flat, 1e-12)  # type: ignore[no-any-return]
