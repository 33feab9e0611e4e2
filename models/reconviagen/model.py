"""reconviagen: a generative model completes what no camera saw, and the result is brought into the capture's metres."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from meshdrop.models.capture.capture import Capture
from meshdrop.models.contract.base import ModelResult, ModelUnavailable, Progress, ReconstructionModel
from meshdrop.models.contract.cuda import need_cuda
from meshdrop.models.contract.entry import ModelEntry
from meshdrop.models.contract.stages import StageLog
from meshdrop.models.mesh.mesh import TexturedMesh
from meshdrop.models.reconviagen import upstream, weights
from meshdrop.models.reconviagen.closing import NothingSolid, solid
from meshdrop.models.reconviagen.export import Splats, astray, placed
from meshdrop.models.reconviagen.generated import Generated, GenerationFailed
from meshdrop.models.reconviagen.images import prepare_views
from meshdrop.models.reconviagen.presets import PRESETS
from meshdrop.models.reconviagen.settings import ENTRY, ReconviagenSettings
from meshdrop.models.registration.register import Registration, register
from meshdrop.models.registration.target import Target, target_of
from meshdrop.models.surface.range_view import RangeView
from meshdrop.models.views.assembly import Assembly, object_of

if TYPE_CHECKING:
    from meshdrop.models.reconviagen.pipeline import Generator

#: Upstream's frame has z up, ours y: (x, y, z) -> (x, z, -y).
UPRIGHT = np.array([[1, 0, 0], [0, 0, 1], [0, -1, 0]], np.float64)
#: Percent of the run at which each stage begins.
AT = {
    "vggt": 2,
    "dinov2": 10,
    "conditioning": 13,
    "structure": 15,
    "occupancy": 40,
    "latents": 42,
    "gaussians": 70,
    "mesh": 72,
    "closing": 78,
    "registration": 80,
    "export": 92,
    "end": 100,
}


class Reconviagen(ReconstructionModel):
    """ReconViaGen (Chang et al. 2025): VGGT reads the views, TRELLIS generates an object that agrees with them.

    Settings are those of ``ReconviagenSettings``; a wrong one raises ``ValueError`` here; a machine without GPU, code
    or weights ``ModelUnavailable``. ``inference`` writes ``stages.json`` and raises ``GenerationFailed`` when two seeds
    in a row gave no usable object, ``EmptyCapture`` or ``CaptureError`` for captures that show none. A result that
    could not be placed in the capture's frame is ``registered = False`` and keeps the generator's own unit cube.
    """

    name: ClassVar[str] = "reconviagen"
    entry: ClassVar[ModelEntry] = ENTRY

    def __init__(self, settings: Mapping[str, Any], progress: Progress) -> None:
        super().__init__(settings, progress)
        self.options = ReconviagenSettings.from_mapping(settings)
        need_cuda(self.name)
        self._code = upstream.probe(Path(self.options.code) if self.options.code else None)
        self._folder = weights.where()
        weights.require(self._folder)
        self._generator: Generator | None = None

    @classmethod
    def probe(cls) -> None:
        """Raises ``ModelUnavailable`` without torch; what else is needed is asked when the settings are known."""
        if importlib.util.find_spec("torch") is None:
            raise ModelUnavailable(
                "reconviagen needs torch, which is not installed", "install torch; see README, Models"
            )

    def load_weights(self) -> None:
        """Import the published code and, where the card is large enough, load every network."""
        os.environ.update(weights.environment(self._folder))  # read when the libraries are imported
        import torch  # noqa: PLC0415 - takes seconds

        from meshdrop.models.reconviagen.pipeline import Generator  # noqa: PLC0415
        from meshdrop.models.reconviagen.staging import profile_for  # noqa: PLC0415

        profile = self.options.profile
        if profile == "auto":
            profile = profile_for(torch.cuda.get_device_properties(0).total_memory >> 20)
        code = upstream.load(self._code, to_glb=self.options.export == "to_glb")
        self._generator = Generator(code, self._folder, PRESETS[self.options.preset], profile, self._device())
        self._generator.load()

    def inference(self, capture: Capture, output_dir: Path) -> ModelResult:
        """Generate, place and colour; see the class."""
        if self._generator is None:
            self.load_weights()
        log = StageLog(output_dir)
        with log.stage("pictures"):
            made_of = object_of(capture, self.name)
            capture = made_of.capture
            pictures = prepare_views(capture.views)
        theirs = None
        with ThreadPoolExecutor(1) as beside:
            measured = beside.submit(_measured, made_of)  # on the processor, while the card generates
            with log.stage("generation") as stage:
                made = self._generated(pictures)
                stage.reason = "; ".join(made.notes)
            coloured = beside.submit(_splats, made)
            with log.stage("closing"):
                self.report_progress(AT["closing"], "closing the surface")
                if self.options.export == "to_glb":
                    theirs = self._upstreams_own(made)
                    vertices, faces = theirs.vertices.astype(np.float64), theirs.faces
                else:
                    vertices, faces = self._closed(made)
            (views, target), splats = measured.result(), coloured.result()
        with log.stage("registration") as stage:
            self.report_progress(AT["registration"], "finding its place")
            colours = np.clip(splats.at(vertices) / 255, 0, 1)
            found = register(vertices, faces, capture, target, self._upright(capture), colours)
            stage.status, stage.reason = "done" if found.status == "registered" else "not better", found.reason
        with log.stage("export"):
            self.report_progress(AT["export"], "charts and colours")
            result = (
                (_moved(theirs, found), 1.0, {})
                if theirs is not None
                else self._exported(capture, views, vertices, faces, splats, found)
            )
        log.finish()
        return ModelResult(
            result[0],
            {
                "generation": made.to_json(),
                "registration": found.to_json(),
                "stages": log.to_json()["stages"],
                "settings": asdict(self.options),
                "peak_vram_mib": _peak(made),
                "faces": len(faces),
                "vertices": len(vertices),
                **made_of.figures,
                **result[2],
            },
            (*_notes(made, found), *made_of.notes),
            result[1],
            table_up=made_of.table_up,
            masks=made_of.masks,
            cameras=made_of.cameras,
            registered=found.status == "registered",
            provenance={"code_revision": made.revision, "weights_sha256": weights.digest(self._folder)},
        )

    def cleanup(self) -> None:
        """Give the device's memory back."""
        if self._generator is not None:
            self._generator.close()
            self._generator = None

    def _device(self) -> str:
        return "cuda"

    def _generated(self, pictures: NDArray[np.uint8]) -> Generated:
        generator = self._generator
        if generator is None:
            raise RuntimeError("load_weights comes before inference")
        names = list(AT)

        def tell(stage: str, done: int, steps: int) -> None:
            begin, end = AT[stage], AT[names[names.index(stage) + 1]]
            step = f", step {done} of {steps}" if steps > 1 else ""
            self.report_progress(begin + done / max(steps, 1) * (end - begin), f"{stage}{step}")

        return generator.generate(generator.condition(pictures, tell), tell, self.options.seed)

    def _closed(self, made: Generated) -> tuple[NDArray[np.float64], NDArray[np.int32]]:
        try:
            return solid(made.vertices.astype(np.float64) @ UPRIGHT.T, made.faces, self.options.max_faces)
        except NothingSolid as error:
            raise GenerationFailed("mesh", f"Seed {made.seed} gave no usable object: {error}.") from error

    def _upstreams_own(self, made: Generated) -> TexturedMesh:
        from meshdrop.models.reconviagen.to_glb import exported  # noqa: PLC0415 - torch

        if self._generator is None:
            raise RuntimeError("load_weights comes before inference")
        self._generator.close()  # its renderers want the memory
        return exported(self._generator.upstream, made, self.options.texture_size, made.seed)

    def _upright(self, capture: Capture) -> bool:
        return self.options.up == "known" or (self.options.up == "auto" and capture.layout == "canonical")

    def _exported(
        self,
        capture: Capture,
        views: list[RangeView],
        vertices: NDArray[np.float64],
        faces: NDArray[np.int32],
        splats: Splats,
        found: Registration,
    ) -> tuple[Any, float, dict[str, Any]]:
        """Mesh, unseen share and facts, in the capture's frame where that is known."""
        if found.status != "registered":
            return astray(capture, vertices, faces, splats, self.options.texture_size)
        there = vertices @ found.matrix[:3, :3].T + found.matrix[:3, 3]
        return placed(capture, views, there, faces, splats.moved(found.matrix), self.options.texture_size)


def _measured(made_of: Assembly) -> tuple[list[RangeView], Target]:
    """What the capture itself says of the object: its views prepared, and where it stands."""
    views = list(made_of.views)
    return views, target_of(made_of.capture, views)


def _splats(made: Generated) -> Splats:
    """The Gaussians, +Y up, their tree made."""
    gaussians = made.gaussians
    radius = np.cbrt(np.prod(gaussians.scales.astype(np.float64), axis=1)).astype(np.float32)
    upright = np.eye(4)
    upright[:3, :3] = UPRIGHT
    return Splats(gaussians.positions, 255 * gaussians.colours, gaussians.opacity, radius).moved(upright)


def _moved(mesh: TexturedMesh, found: Registration) -> TexturedMesh:
    """The mesh in the capture's frame where its place there is known, else as it is."""
    if found.status != "registered":
        return mesh
    there = mesh.vertices.astype(np.float64) @ found.matrix[:3, :3].T + found.matrix[:3, 3]
    return replace(mesh, vertices=there.astype(np.float32))


def _peak(made: Generated) -> int | None:
    return max((stage.peak_mib for stage in made.stages if stage.peak_mib is not None), default=None)


def _notes(made: Generated, found: Registration) -> tuple[str, ...]:
    where = (
        f"brought into the capture's frame: {found.reason}"
        if found.status == "registered"
        else f"not brought into the capture's frame, so not measured; it keeps the generator's own unit: {found.reason}"
    )
    return (
        *made.notes,
        "generated: what no camera saw is a plausible guess, and what they saw is a likeness, not a measurement",
        where,
    )
