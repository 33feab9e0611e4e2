"""Is the refined mesh better than the draft? Asked of another rasteriser than the one it was fitted with."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass

import numpy as np

from meshdrop.models.capture.capture import View
from meshdrop.models.measure.figures import ViewQuality
from meshdrop.models.measure.frame import frame_of
from meshdrop.models.measure.quality import compare, summarise
from meshdrop.models.mesh.mesh import TexturedMesh
from meshdrop.models.raster.render import render

#: One sample lies on the pixel's centre, where measured depth belongs.
SAMPLES = 3
#: The error against measured depth is mostly the sensor's noise: a change below this share of it is none.
DEPTH_SLACK = 0.01
#: So much of the silhouettes' overlap may go: a draft without depth is carved along them and has it by construction.
SILHOUETTE_SLACK = 0.005


@dataclass(frozen=True)
class MeanScores:
    """Means over views: PSNR in dB on the object, silhouette IoU, median depth error in mm (None without depth)."""

    psnr_masked_db: float
    silhouette_iou: float
    depth_median_mm: float | None

    def to_json(self) -> dict[str, float | None]:
        """Plain values under the names above."""
        return asdict(self)


def standing(mesh: TexturedMesh, views: Sequence[View]) -> MeanScores:
    """Render ``mesh`` for every view and compare it with the photograph and the measured depth."""
    size = float(np.linalg.norm(np.ptp(mesh.vertices.astype(np.float64), axis=0)))

    def of(view: View) -> ViewQuality:
        frame = frame_of(view, mesh.vertices)
        cut = frame.view(view)
        picture = render(mesh, cut.camera, samples=SAMPLES)
        return compare(cut, picture, held_out=False, size_m=size, white_around=view.mask.size - frame.pixels)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        mean = summarise(list(pool.map(of, views))).mean
    return MeanScores(mean.psnr_masked_db or 0.0, mean.silhouette_iou or 0.0, mean.depth_median_mm)


def objection(refined: MeanScores, draft: MeanScores) -> str | None:
    """Why the draft is to be delivered instead, as a sentence; None when the refined mesh is better."""
    if not refined.psnr_masked_db > draft.psnr_masked_db:
        return (
            f"the photographs are matched at {refined.psnr_masked_db:.2f} dB, by the draft at "
            f"{draft.psnr_masked_db:.2f} dB"
        )
    if refined.silhouette_iou < draft.silhouette_iou - SILHOUETTE_SLACK:
        return f"the silhouettes overlap by {refined.silhouette_iou:.4f}, the draft's by {draft.silhouette_iou:.4f}"
    if refined.depth_median_mm is not None and draft.depth_median_mm is not None:
        limit = (1 + DEPTH_SLACK) * draft.depth_median_mm
        if refined.depth_median_mm > limit:
            return (
                f"the measured depth is missed by {refined.depth_median_mm:.3f} mm, by the draft by "
                f"{draft.depth_median_mm:.3f} mm"
            )
    return None
