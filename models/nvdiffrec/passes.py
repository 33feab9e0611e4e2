"""The two passes with their inputs made from a capture's values: everything from here on is torch."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from meshdrop.models.capture.capture import View
from meshdrop.models.mesh.mesh import TexturedMesh
from meshdrop.models.nvdiffrec.drawing import Draft
from meshdrop.models.nvdiffrec.losses import Weights
from meshdrop.models.nvdiffrec.refine import Refined, Refinement, Report, Schedule
from meshdrop.models.nvdiffrec.scene import Scene, build_scene, object_sizes
from meshdrop.models.nvdiffrec.search.hull import start_field
from meshdrop.models.nvdiffrec.search.pyramid import COARSEST, search_coarse_to_fine
from meshdrop.models.nvdiffrec.search.search import Progress, SearchResult, SearchSettings
from meshdrop.models.nvdiffrec.search.search_losses import SearchViews
from meshdrop.models.nvdiffrec.surface import connections
from meshdrop.models.raster.differentiable import Raster
from meshdrop.models.surface.range_view import RangeView

#: Samples a side per pixel: one does not average as a camera does, more than four change nothing that was measured.
FEWEST_SAMPLES, MOST_SAMPLES = 2, 4
#: Pass 1 draws one sample a pixel, of pictures that have at most a quarter of so many pixels together.
SEARCH_SAMPLES = 4_000_000


def plan(views: Sequence[View], samples: int) -> tuple[int, int]:
    """(samples a side per pixel, how many times smaller the pictures are made) so that all pictures together have at
    most ``samples`` samples."""
    height, width = object_sizes(views)
    pixels = len(views) * height * width
    side = min(int((samples / pixels) ** 0.5), MOST_SAMPLES)
    if side >= FEWEST_SAMPLES:
        return side, 1
    return FEWEST_SAMPLES, int(np.ceil((FEWEST_SAMPLES**2 * pixels / samples) ** 0.5))


def refine_mesh(
    raster: Raster,
    views: Sequence[View],
    prepared: Sequence[RangeView],
    gains: NDArray[np.float32],
    mesh: TexturedMesh,
    samples: int,
    iterations: int,
    report: Report,
) -> Refined:
    """Pass 2 on ``mesh``, drawing at most ``samples`` samples a step."""
    side, shrink = plan(views, samples)
    bounds = _bounds(mesh.vertices.astype(np.float64))
    scene = build_scene(views, prepared, gains, bounds, shrink, raster.device)
    table = connections(mesh.vertices, mesh.faces, raster.device)
    run = Refinement(
        raster,
        scene,
        draft_of(mesh, raster.device),
        table,
        shrink * footprint(views, bounds.mean(axis=0)),
        Weights(),
        Schedule(iterations=iterations, samples=side),
    )
    return run.run(report)


def search_surface(
    raster: Raster,
    views: Sequence[View],
    prepared: Sequence[RangeView],
    resolution: int,
    iterations: int,
    report: Callable[[Progress], None],
) -> SearchResult:
    """Pass 1 from the silhouettes (and the depth, where ``views`` have any) of ``prepared``."""
    lattice = start_field(prepared, COARSEST).lattice
    far = np.array(lattice.origin) + np.array(lattice.shape) * lattice.cell
    _, shrink = plan(views, SEARCH_SAMPLES)
    gains = np.ones((len(views), 3), np.float32)
    bounds = np.stack([np.array(lattice.origin), far])
    scene = build_scene(views, prepared, gains, bounds, shrink, raster.device)
    return search_coarse_to_fine(
        raster,
        search_views(scene),
        lambda cells: start_field(prepared, cells),
        resolution,
        SearchSettings(steps=iterations),
        report,
    )


def search_views(scene: Scene) -> SearchViews:
    """The scene as pass 1 wants it: colours not multiplied by coverage."""
    rgb = scene.target / scene.mask.clamp_min(1e-3)
    has_depth = bool((scene.noise > 0).any())
    return SearchViews(
        clip=scene.clip,
        camera=scene.camera,
        rgb=rgb.clamp(0, 1),
        mask=scene.mask,
        depth=scene.depth if has_depth else None,
        inside=scene.inside,
    )


def draft_of(mesh: TexturedMesh, device: torch.device) -> Draft:
    """``mesh`` as tensors; corners with the same place in the texture share it."""
    down = (mesh.uv * [1, -1] + [0, 1]).astype(np.float32).reshape(-1, 2)
    places, corner = np.unique(down, axis=0, return_inverse=True)
    return Draft(
        _on(mesh.vertices, device),
        _on(mesh.faces, device),
        _on(places, device),
        _on(corner.reshape(-1, 3).astype(np.int32), device),
        _on(mesh.texture.astype(np.float32) / 255, device),
    )


def footprint(views: Sequence[View], place: NDArray[np.float64]) -> float:
    """A pixel's width at ``place`` (3,) in metres, the median over the views."""
    widths = [float(np.linalg.norm(view.camera.centre - place)) / min(view.camera.fx, view.camera.fy) for view in views]
    return float(np.median(widths))


def _bounds(vertices: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.stack([vertices.min(axis=0), vertices.max(axis=0)])


def _on(values: NDArray[np.generic], device: torch.device) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(values)).to(device)
