"""nvdiffrec: inverse rendering from the fused draft, or from silhouettes alone where there is no depth."""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from meshdrop.models.capture.capture import Capture
from meshdrop.models.contract.base import ModelResult, ModelUnavailable, Progress, ReconstructionModel, Writer, silent
from meshdrop.models.contract.cuda import need_cuda
from meshdrop.models.contract.entry import ModelEntry
from meshdrop.models.contract.stages import StageLog
from meshdrop.models.fusion.model import Fusion
from meshdrop.models.nvdiffrec import judge
from meshdrop.models.nvdiffrec.settings import ENTRY, SAMPLES, NvdiffrecSettings
from meshdrop.models.surface.dressing import TimedStages
from meshdrop.models.surface.extraction import COST
from meshdrop.models.surface.pieces import ClosedMesh, opposite_corners, without_crumbs
from meshdrop.models.surface.range_view import RangeView, prepare
from meshdrop.models.surface.simplify import simplify
from meshdrop.models.views.assembly import object_of

if TYPE_CHECKING:
    from meshdrop.models.nvdiffrec.materials import Contest
    from meshdrop.models.nvdiffrec.rounds import RoundOutcome
    from meshdrop.models.nvdiffrec.search.search import Progress as Searched
    from meshdrop.models.raster.differentiable import Raster

LICENCE = "nvdiffrast is under NVIDIA's licence: research and evaluation only"
#: Shading keeps more of every sample than a look-up does: materials get this fraction of the samples.
MATERIAL_SHARE = 4
MOST_FACES = 40_000
#: What fusion is asked for, whatever the pictures: a draft that the GPU's memory and the steps were measured with.
DRAFT = {"resolution": 256, "max_faces": MOST_FACES}
#: Percent of the run at which each stage begins; those of the passes are for runs with a search and without.
AT = {"draft": 2, "search": 15, "dress": 50, "refine": 55, "verify": 85, "materials": 88}


class Nvdiffrec(ReconstructionModel):
    """Inverse rendering (after Munkberg et al. 2022) that starts from what fusion knows.

    Settings are those of ``NvdiffrecSettings``; a wrong one raises ``ValueError`` here, a machine that cannot compute
    it ``ModelUnavailable``. ``inference`` writes ``stages.json`` into ``output_dir``. Where the photographs are not
    matched better than by the draft, without losing depth, the draft is the result and ``made_by`` says so.
    """

    name: ClassVar[str] = "nvdiffrec"
    entry: ClassVar[ModelEntry] = ENTRY

    def __init__(self, settings: Mapping[str, Any], progress: Progress) -> None:
        super().__init__(settings, progress)
        self.options = NvdiffrecSettings.from_mapping(settings)
        if self.options.device == "cuda":
            _need_nvdiffrast()
            need_cuda(self.name, ', or set `device = "cpu"`')
        self._raster: Raster | None = None

    @classmethod
    def probe(cls) -> None:
        """Raises ``ModelUnavailable`` without torch; what ``device`` needs is asked when the settings are known."""
        if importlib.util.find_spec("torch") is None:
            raise ModelUnavailable("nvdiffrec needs torch, which is not installed", "install torch; see README, Models")

    def load_weights(self) -> None:
        """Open the device. There are no weights."""
        from meshdrop.models.raster.differentiable import choose  # noqa: PLC0415 - torch takes seconds

        if self.options.device == "cpu":
            from meshdrop.models.raster.torch_numba import NumbaRaster  # noqa: PLC0415

            self._raster = NumbaRaster()
            return
        choice = choose()
        if choice.name != "nvdiffrast":
            raise ModelUnavailable(choice.reason, 'mend that, or set `device = "cpu"` (slow) for nvdiffrec')
        from meshdrop.models.raster.torch_nvdiffrast import NvdiffrastRaster  # noqa: PLC0415

        self._raster = NvdiffrastRaster()

    def inference(self, capture: Capture, output_dir: Path) -> ModelResult:
        """Reconstruct; see the class."""
        if self._raster is None:
            self.load_weights()
        log = StageLog(output_dir)
        with log.stage("draft"):
            self.report_progress(AT["draft"], "draft")
            made_of = object_of(capture, self.name)
            fused = Fusion(DRAFT | {"texture_size": self.options.texture_size}, silent).make(
                made_of, TimedStages(silent)
            )
            capture, views = made_of.capture, list(made_of.views)
        draft, notes, figures = fused, list(fused.notes), dict[str, Any]()
        if self.options.start == "silhouettes" or (self.options.start == "auto" and not capture.has_depth):
            capture = replace(capture, views=tuple(replace(view, depth=None) for view in capture.views))
            views = [prepare(view) for view in capture.views]
            draft, figures["search"] = self._search(capture, views, log)
        outcome = self._refine(capture, views, draft, "search" in figures, log)
        draft = outcome.result
        with log.stage("verify") as stage:
            self.report_progress(AT["verify"], "verifying")
            mesh = draft.mesh
            before, after = judge.standing(fused.mesh, capture.views), judge.standing(mesh, capture.views)
            objection = judge.objection(after, before)
            if objection is not None:
                stage.status, stage.reason = "not better", objection
        contest = self._materials(capture, views, draft, outcome.preset, objection, log)
        log.finish()
        figures |= {
            **made_of.figures,
            "preset": outcome.preset,
            "standing": {"draft": before.to_json(), "refined": after.to_json()},
            "refine": outcome.to_json(),
            "stages": log.to_json()["stages"],
            "peak_vram_mib": self._peak_vram_mib(),
            "faces": len(mesh.faces),
            "vertices": len(mesh.vertices),
            "materials": None if contest is None else contest.to_json(),
        }
        if objection is not None:
            notes.append(f"nvdiffrec was no better than its draft ({objection}): this is fusion's mesh")
            return replace(fused, figures=figures, notes=tuple(notes), made_by="fusion")
        files: Mapping[str, Writer] = {}
        if contest is not None and contest.found is not None:
            files = contest.found.files(mesh, contest.attached)
            notes.append(f"pbr.glb and probe.hdr hold material and light: {contest.verdict}")
        return ModelResult(
            mesh,
            figures,
            tuple(notes),
            draft.unseen_fraction,
            extra_files=files,
            table_up=made_of.table_up,
            masks=made_of.masks,
            cameras=made_of.cameras,
        )

    def cleanup(self) -> None:
        """Give the device's memory back."""
        self._raster = None

    def _search(self, capture: Capture, views: list[RangeView], log: StageLog) -> tuple[ModelResult, dict[str, Any]]:
        """Pass 1: a surface from the silhouettes and the photographs, dressed like fusion's."""
        from meshdrop.models.nvdiffrec.passes import search_surface  # noqa: PLC0415 - torch takes seconds
        from meshdrop.models.nvdiffrec.rounds import dressed  # noqa: PLC0415

        def report(found: Searched) -> None:
            share = found.step / max(found.steps, 1)
            left = f", {found.seconds_left:.0f} s left" if found.step else ""
            self.report_progress(
                AT["search"] + share * (AT["dress"] - AT["search"]),
                f"pass 1, step {found.step} of {found.steps}: loss {found.loss:.4g}, {found.psnr:.1f} dB{left}",
            )

        with log.stage("pass 1", self.options.iterations) as stage:
            found = search_surface(
                self._device(), capture.views, views, self.options.search_resolution, self.options.iterations, report
            )
            stage.iterations, stage.best_step = found.done, found.best_step
            stage.reason = "; ".join(found.rolled_back)
        self.report_progress(AT["dress"], "charts and colours")
        draft = dressed(capture, views, *_simplified(found.vertices, found.faces), self.options.texture_size, log)
        told = {"psnr": found.psnr, "iou": found.iou, "start_psnr": found.start_psnr, "start_iou": found.start_iou}
        return draft, told

    def _refine(
        self, capture: Capture, views: list[RangeView], draft: ModelResult, searched: bool, log: StageLog
    ) -> RoundOutcome:
        """Pass 2."""
        from meshdrop.models.nvdiffrec.rounds import ROUNDS, refine  # noqa: PLC0415 - torch takes seconds

        def tell(share: float, what: str) -> None:
            self.report_progress(AT["refine"] + share * (AT["verify"] - AT["refine"]), what)

        return refine(self._device(), capture, views, draft, 1 if searched else ROUNDS, self.options, log, tell)

    def _materials(
        self,
        capture: Capture,
        views: list[RangeView],
        draft: ModelResult,
        preset: str,
        objection: str | None,
        log: StageLog,
    ) -> Contest | None:
        """Whether a material and a light explain the photographs better; None when that was not found out."""
        import torch  # noqa: PLC0415 - takes seconds

        from meshdrop.models.nvdiffrec.materials import MOST_FITS, MOST_STEPS, decompose, too_few_views  # noqa: PLC0415

        steps, began = min(self.options.iterations, MOST_STEPS), time.monotonic()

        def report(what: str, turn: int, step: int, loss: float) -> None:
            share = (turn + step / steps) / MOST_FITS
            left = f", {(time.monotonic() - began) * (1 / share - 1):.0f} s left at most" if step else ""
            self.report_progress(
                AT["materials"] + share * (100 - AT["materials"]),
                f"materials, {what}, step {step} of {steps}: loss {loss:.4g}{left}",
            )

        reason = "the settings say never" if self.options.materials == "never" else too_few_views(capture)
        if objection is not None:
            reason = "the refined mesh is not delivered"
        with log.stage("materials", None if reason else steps) as stage:
            if reason is not None:
                stage.status, stage.reason = "skipped", reason
                return None
            gains = np.array(draft.figures["view_gains"], np.float32)
            try:
                contest = decompose(
                    self._device(), capture, views, gains, draft.mesh, SAMPLES[preset] // MATERIAL_SHARE, steps, report
                )
            except torch.cuda.OutOfMemoryError:
                torch.cuda.empty_cache()
                stage.status, stage.reason = "failed", "the GPU's memory does not hold it; the mesh is complete without"
                return None
            stage.iterations, stage.best_step, stage.reason = contest.steps, contest.best_step, contest.verdict
            if contest.found is None:
                stage.status = "not better"
            return contest

    def _device(self) -> Raster:
        if self._raster is None:
            raise RuntimeError("load_weights comes before inference")
        return self._raster

    def _peak_vram_mib(self) -> int | None:
        import torch  # noqa: PLC0415

        return torch.cuda.max_memory_reserved() >> 20 if self.options.device == "cuda" else None


def _need_nvdiffrast() -> None:
    """Raise ``ModelUnavailable`` when it is missing; imports neither it nor torch."""
    if importlib.util.find_spec("nvdiffrast") is None:
        raise ModelUnavailable(
            "nvdiffrec needs nvdiffrast, which is not installed", f"install it; see README, Models ({LICENCE})"
        )


def _simplified(
    vertices: NDArray[np.float64], faces: NDArray[np.int32]
) -> tuple[NDArray[np.float64], NDArray[np.int32]]:
    """A closed surface without crumbs and needless triangles, as fusion's; the unit is its mean edge."""
    edge = float(np.linalg.norm(vertices[faces[:, 0]] - vertices[faces[:, 1]], axis=1).mean())
    whole = ClosedMesh(vertices / edge, faces, opposite_corners(faces, len(vertices)))
    simple, _ = simplify(without_crumbs(whole), COST, MOST_FACES)
    return simple.vertices * edge, simple.faces
