"""A closed surface gets charts and a texture baked from the photographs: the last steps of every model."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from meshdrop.models.capture.capture import Capture
from meshdrop.models.contract.base import Progress
from meshdrop.models.contract.options import AUTO, Auto
from meshdrop.models.mesh.mesh import TexturedMesh
from meshdrop.models.surface import atlas, bake, charts, detail, texture_solve
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
    size: int | Auto,
    solve_passes: int | Auto,
    run: TimedStages,
    paint: Paint = bake.fill_unseen,
) -> tuple[TexturedMesh, float, dict[str, Any]]:
    """A closed surface with charts and a texture baked from the photographs.

    ``vertices`` (V, 3) metres, ``faces`` (F, 3) outward; ``size`` texels a side, or more where the charts need it;
    ``paint`` colours what no camera saw. Size and passes of the solve follow the photographs where they are ``AUTO``.
    Returns the mesh, the unseen share of its surface 0..1, and as facts ``charts`` (how many), ``texels`` a side and
    ``texels_wanted``, ``view_gains`` (N, 3) and ``sharpening``.
    """
    with run.stage("charts", 65):
        sights = [bake.sight(view, ready, vertices, faces) for view, ready in zip(capture.views, views, strict=True)]
        wanted = detail.texture_size(sights, vertices, faces) if size == AUTO else detail.TextureSize(size)
        layout, side = charts.unwrap_in_any(vertices, faces, wanted.side, wanted.scale, detail.MOST_TEXELS)
    with run.stage("texture", 75):
        baked = _bake(sights, vertices, faces, layout, side, solve_passes, paint)
    uv = (layout.corners / side * [1, -1] + [0, 1]).astype(np.float32)
    mesh = TexturedMesh(vertices.astype(np.float32), faces, uv, baked.texture, baked.seen)
    facts = {
        "charts": layout.count,
        "texels": side,
        "texels_wanted": wanted.side,
        "view_gains": [[round(float(gain), 4) for gain in row] for row in baked.gains],
        "sharpening": baked.sharpening,
    }
    return mesh, baked.unseen, facts


@dataclass(frozen=True)
class _Baked:
    """``texture`` (S, S, 3), ``seen`` (S, S), ``unseen`` share of the surface's area, ``gains`` (N, 3)."""

    texture: NDArray[np.uint8]
    seen: NDArray[np.bool_]
    unseen: float
    gains: Floats
    sharpening: dict[str, Any]


def _bake(
    sights: list[bake.SeenSurface],
    vertices: NDArray[np.float64],
    faces: NDArray[np.int32],
    layout: charts.Charts,
    size: int,
    solve_passes: int | Auto,
    paint: Paint,
) -> _Baked:
    pixels = [texture_solve.usable(view) for view in sights]
    held_out = [
        texture_solve.judges(view, pixel) if solve_passes == AUTO else np.zeros(len(pixel), np.bool_)
        for view, pixel in zip(sights, pixels, strict=True)
    ]
    taught = [bake.without(view, pixel[out]) for view, pixel, out in zip(sights, pixels, held_out, strict=True)]
    spots = atlas.texels(layout.corners, size)
    points = atlas.at_texels(vertices, faces, spots.face, spots.bary)
    normals = atlas.at_texels(vertex_normals(vertices, faces), faces, spots.face, spots.bary)
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)
    thin = np.arange(0, len(points), max(1, len(points) // 10_000))
    gains = bake.view_gains(taught, points[thin], normals[thin])
    blend = bake.blend(taught, points, normals, gains)
    known = blend.best > 0
    paint(points, normals, blend.colour, known)
    # the fourth channel says whether a camera saw the texel: gutters continue it like a colour
    image, painted = np.zeros((size, size, 4), np.float32), np.zeros((size, size), np.bool_)
    image.reshape(-1, 4)[spots.index], painted.reshape(-1)[spots.index] = np.column_stack([blend.colour, known]), True
    sharpening: dict[str, Any] = {"passes": 0}
    if solve_passes:
        bounds = _bounds(blend, spots.index, size)
        del points, normals, blend
        corners = layout.corners.astype(np.float32)

        def equations(view: bake.SeenSurface, pixel: NDArray[np.int64], gain: Floats) -> texture_solve.MakeEquations:
            made = partial(texture_solve.equations, view, pixel, gain, vertices, faces, corners)
            return cache(made) if keep else made

        keep = sum(map(len, pixels)) <= texture_solve.MOST_KEPT
        each = list(zip(sights, pixels, held_out, gains, strict=True))
        rows = [equations(view, pixel[~out], gain) for view, pixel, out, gain in each]
        judges = [equations(view, pixel[out], gain) for view, pixel, out, gain in each]
        sharpening = _sharpened(image, bounds, rows, judges, solve_passes)
        del rows, bounds
    atlas.fill_gutters(image, painted)
    area = _texel_area(vertices, faces, layout)[spots.face[spots.inner]]
    unseen = float(area[~known[spots.inner]].sum() / max(area.sum(), 1e-300))
    return _Baked(np.round(image[..., :3]).astype(np.uint8), image[..., 3] > 0, unseen, gains, sharpening)


def _bounds(blend: bake.Blend, index: NDArray[np.int64], size: int) -> texture_solve.Bounds:
    """The colours that each texel may take: those of the photographs there; what nobody saw stays as it was painted."""
    low, high = np.zeros((2, size, size, 3), np.uint8)
    unseen = blend.best <= 0
    for bound, seen in ((low, blend.low), (high, blend.high)):
        seen[unseen] = np.round(blend.colour[unseen])
        bound.reshape(-1, 3)[index] = seen
    return low, high


def _sharpened(
    image: Floats,
    bounds: texture_solve.Bounds,
    rows: list[texture_solve.MakeEquations],
    judges: list[texture_solve.MakeEquations],
    passes: int | Auto,
) -> dict[str, Any]:
    """Passes of the texture solve on ``image``, in place, and what they did, as plain values."""
    if passes != AUTO:
        texture_solve.solve(image, bounds, rows, passes)
        return {"passes": passes}
    told = texture_solve.sharpen(image, bounds, rows, judges)
    steps = [round(step, 3) for step in told.steps]
    return {
        "passes": len(steps),
        "steps": steps,
        "held_out_levels": [round(x**0.5, 3) for x in (told.before, told.after)],
    }


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
