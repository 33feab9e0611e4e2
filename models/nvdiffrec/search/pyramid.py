"""Pass 1 from coarse lattices to fine ones: what is large is settled where it is cheap."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from meshdrop.models.nvdiffrec.search.encoding import HashSettings
from meshdrop.models.nvdiffrec.search.hull import StartField
from meshdrop.models.nvdiffrec.search.search import Progress, SearchResult, SearchSettings, TopologySearch
from meshdrop.models.nvdiffrec.search.search_losses import SearchViews
from meshdrop.models.raster.differentiable import Raster

#: No lattice has fewer cells along the object than this, unless asked for.
COARSEST = 24
#: Share of all steps that the coarsest lattice gets; the finer ones share the rest evenly.
COARSE_SHARE = 0.4


def resolutions(finest: int) -> tuple[int, ...]:
    """The lattices' cells along the object, doubling up to ``finest``."""
    levels = [finest]
    while levels[0] // 2 >= COARSEST:
        levels.insert(0, levels[0] // 2)
    return tuple(levels)


def search_coarse_to_fine(
    raster: Raster,
    views: SearchViews,
    start_at: Callable[[int], StartField],
    resolution: int,
    settings: SearchSettings | None = None,
    report: Callable[[Progress], None] | None = None,
    encoding: HashSettings | None = None,
) -> SearchResult:
    """Search on lattices up to ``resolution`` cells, each from what the one before found.

    ``start_at(cells)`` gives the hull on a lattice of that many cells. ``settings.steps`` are the steps of all lattices
    together, and so are the result's and the progress's figures; ``start_psnr`` and ``start_iou`` are the hull's on the
    coarsest. Raises ``EmptySurface`` as ``TopologySearch`` does.
    """
    settings = settings or SearchSettings()
    levels = resolutions(resolution)
    total, done, results = settings.steps, 0, []
    before: TopologySearch | None = None
    for level, steps in zip(levels, _shares(total, len(levels)), strict=True):
        before = TopologySearch(raster, views, start_at(level), replace(settings, steps=steps), encoding, before)
        results.append(before.run(_shifted(report, done, total)))
        done += steps
    last, offset = results[-1], done - results[-1].steps
    return replace(
        last,
        steps=total,
        done=sum(one.done for one in results),
        best_step=offset + last.best_step,
        start_psnr=results[0].start_psnr,
        start_iou=results[0].start_iou,
        rolled_back=tuple(reason for one in results for reason in one.rolled_back),
        history=tuple(entry for one in results for entry in one.history),
    )


def _shares(total: int, levels: int) -> list[int]:
    """Steps for each level, ``total`` in all."""
    if levels == 1:
        return [total]
    finer = int(total * (1 - COARSE_SHARE) / (levels - 1))
    return [total - finer * (levels - 1), *[finer] * (levels - 1)]


def _shifted(report: Callable[[Progress], None] | None, done: int, total: int) -> Callable[[Progress], None] | None:
    """``report`` told of a level's progress as part of the whole; time left counts the present lattice only."""
    if report is None:
        return None
    told = report

    def on(progress: Progress) -> None:
        told(replace(progress, step=done + progress.step, steps=total))

    return on
