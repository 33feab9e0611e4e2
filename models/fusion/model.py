"""The fusion model: depth and silhouettes to a closed, textured mesh in seconds on any CPU."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, ClassVar

from meshdrop.models.capture.capture import Capture, Subject
from meshdrop.models.contract.base import ModelResult, Progress, ReconstructionModel
from meshdrop.models.contract.entry import ModelEntry
from meshdrop.models.contract.options import AUTO
from meshdrop.models.fusion.settings import ENTRY, FusionSettings
from meshdrop.models.surface import detail, extraction, tsdf, volume
from meshdrop.models.surface.dressing import TimedStages, dress
from meshdrop.models.surface.open_surface import OpenSurface, extract_open
from meshdrop.models.surface.range_view import RangeView
from meshdrop.models.views.assembly import Assembly, assemble


class Fusion(ReconstructionModel):
    """Signed distance fusion with a silhouette hull, isosurface, simplification, charts and baked photographs.

    Settings are those of ``FusionSettings``; a wrong one raises ``ValueError`` here. ``inference`` raises
    ``volume.EmptyCapture`` (a ``CaptureError``) when the capture holds nothing that could become a surface. Same
    capture, same settings: same mesh, bit by bit.
    """

    name: ClassVar[str] = "fusion"
    entry: ClassVar[ModelEntry] = ENTRY

    def __init__(self, settings: Mapping[str, Any], progress: Progress) -> None:
        super().__init__(settings, progress)
        self.options = FusionSettings.from_mapping(settings)

    def inference(self, capture: Capture, output_dir: Path) -> ModelResult:
        """Reconstruct; writes nothing into ``output_dir``."""
        run = TimedStages(self.report_progress)
        with run.stage("depth", 2):
            made_of = assemble(capture)
        return self.make(made_of, run)

    def make(self, made_of: Assembly, run: TimedStages) -> ModelResult:
        """Reconstruct from views that were brought to agree."""
        capture, views = made_of.capture, list(made_of.views)
        with run.stage("volume", 20):
            size = volume.scene_grid if made_of.subject == "scene" else volume.object_grid
            grid = size(views, self.options.resolution)
            fused = tsdf.fuse(views, grid)
        with run.stage("surface", 45):
            shape = self._surface(fused, made_of)
        texels, passes = self.options.texture_size, self.options.solve_passes
        if made_of.subject == "scene":
            texels = detail.SCENE_TEXELS if texels == AUTO else texels
            passes = detail.SCENE_PASSES if passes == AUTO else passes
        mesh, unseen_fraction, facts = dress(
            capture, views, grid.world(shape.vertices), shape.faces, texels, passes, run
        )
        self.report_progress(100, "done")
        figures = {
            "seconds": run.seconds,
            "cpu_seconds": run.cpu_seconds,
            "settings": asdict(self.options),
            "voxel_m": grid.voxel,
            "grid": list(grid.shape),
            "blocks_computed": fused.blocks,
            "depth_noise_m": [view.noise for view in views],
            "faces_extracted": shape.extracted_faces,
            "faces": len(shape.faces),
            "vertices": len(shape.vertices),
            **made_of.figures,
            **facts,
        }
        notes = (*made_of.notes, *_notes(capture, views, made_of.subject))
        if facts["texels"] != facts["texels_wanted"]:
            notes += (
                f"the texture has {facts['texels']} texels a side instead of {facts['texels_wanted']}: the surface "
                f"falls into {facts['charts']:,} pieces, as coarse or noisy depth makes it",
            )
        return ModelResult(
            mesh,
            figures,
            notes,
            unseen_fraction,
            table_up=made_of.table_up,
            masks=made_of.masks,
            cameras=made_of.cameras,
        )

    def _surface(self, fused: tsdf.Fused, made_of: Assembly) -> extraction.Surface | OpenSurface:
        """Closed around an object, open in a scene."""
        wanted = self.options.max_faces
        if made_of.subject == "scene":
            return extract_open(fused, detail.SCENE_FACES if wanted == AUTO else wanted)
        return extraction.extract(fused.field, detail.triangles(made_of.views) if wanted == AUTO else wanted)


def _notes(capture: Capture, views: list[RangeView], subject: Subject) -> tuple[str, ...]:
    without = [view.name for view in capture.views if view.depth is None]
    notes = []
    if len(without) == len(capture.views):
        notes.append("no depth: shape from silhouettes")
    elif without:
        rest = "they give colours alone" if subject == "scene" else "there only the silhouette carries the shape"
        notes.append(f"no depth in {', '.join(without)}: {rest}")
    cut = [view.name for view, prepared in zip(capture.views, views, strict=True) if prepared.open_border]
    if cut and subject != "scene":
        notes.append(f"the object leaves the picture in {', '.join(cut)}: nothing is known beyond the border")
    return tuple(notes)
