"""TRELLIS-VGGT from prepared views to a generated object: our conductor of upstream's networks and samplers.

Chang et al. 2025, "ReconViaGen: Towards Accurate Multi-view 3D Object Reconstruction via Generation"; the stages are
those of upstream's ``TrellisVGGTTo3DPipeline.run``. What depends on the pictures alone is computed once a job; another
seed repeats only what depends on it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import layer_norm

from meshdrop.models.reconviagen import parts, weights
from meshdrop.models.reconviagen.checks import InputLimits, StageFault, need_finite, need_surface, need_voxels
from meshdrop.models.reconviagen.flows import sample_latents, sample_structure
from meshdrop.models.reconviagen.gaussian_reading import read_gaussians
from meshdrop.models.reconviagen.generated import Gaussians, Generated, GenerationFailed, StageRecord
from meshdrop.models.reconviagen.presets import Preset
from meshdrop.models.reconviagen.staging import PROFILES, MemoryProfile, StagedRun, smaller
from meshdrop.models.reconviagen.substitutes.aggregate import TURNS, aggregate
from meshdrop.models.reconviagen.surface import GeneratedSurface, extract
from meshdrop.models.reconviagen.upstream import Upstream

T = TypeVar("T")

#: The stages in order; those from "structure" on depend on the seed.
STAGES = ("vggt", "dinov2", "conditioning", "structure", "occupancy", "latents", "gaussians", "mesh")
#: Told which stage runs and how many of its steps are done; may raise to cancel.
Tell = Callable[[str, int, int], None]
_MEAN, _DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
#: Camera and register tokens, which carry no place in the picture.
_SPECIAL = 5


@dataclass(frozen=True)
class Conditioning:
    """What the networks know of the pictures: ``structure`` (1, 4096, 1024), ``latents`` (V, 1374, 1024), half
    precision on the device. ``records`` tell what it cost."""

    structure: Tensor
    latents: Tensor
    records: tuple[StageRecord, ...]


class Generator:
    """Upstream's pipeline with one set of weights, on one device.

    ``folder`` is the weights folder (layout in ``docs/weights.md``). Raises ``ModelUnavailable`` when weights are
    missing or do not fit the code. Nothing is downloaded, and no gradients are kept.
    """

    def __init__(
        self,
        upstream: Upstream,
        folder: Path,
        preset: Preset,
        profile: str,
        device: str | torch.device = "cuda",
        *,
        limits: InputLimits | None = None,
        check: Callable[[], None] = lambda: None,
        builders: Mapping[str, Callable[[], nn.Module]] | None = None,
    ) -> None:
        """``check`` is called between and inside stages and may raise to cancel; ``builders`` replaces single parts."""
        self.upstream = upstream
        self._preset = preset
        self._limits = limits or InputLimits()
        self._device = torch.device(device)
        self._check = check
        places = weights.paths(folder)
        self._recipe = parts.read_recipe(places)
        made = parts.builders(upstream, places, self._recipe, self._device) | dict(builders or {})
        self._stages = StagedRun(made, self._device, PROFILES[profile], check)
        self._notes: list[str] = []

    @property
    def profile(self) -> MemoryProfile:
        """The memory profile in use; smaller than asked for after an out-of-memory error."""
        return self._stages.profile

    def load(self) -> None:
        """Load every network now, where the profile keeps them and the card holds them."""
        self._fitting(lambda: self._stages.load_all() if self._stages.profile.resident else None)

    def close(self) -> None:
        """Give the device's memory back."""
        self._stages.release()

    def condition(self, views: NDArray[np.uint8], tell: Tell) -> Conditioning:
        """What the pictures say, independent of the seed. ``views`` (n, 518, 518, 4) is ``images.prepare_views``'.

        Raises ``GenerationFailed`` when a network's answer is not finite: another seed would not change that.
        """
        try:
            return self._fitting(partial(self._condition, views, tell))
        except StageFault as fault:
            raise GenerationFailed(fault.stage, f"The pictures could not be understood ({fault}).") from fault

    def generate(self, conditioning: Conditioning, tell: Tell, seed: int | None = None) -> Generated:
        """One object. ``seed`` is the preset's where None; when chance was against it, seed + 1 is tried once.

        Raises ``GenerationFailed``.
        """
        first = self._preset.seed if seed is None else seed
        faults: list[StageFault] = []
        for tried in (first, first + 1):
            began = len(self._stages.records)
            try:
                found = self._fitting(partial(self._generate, conditioning, tried, tell))
            except StageFault as fault:
                faults.append(fault)
                if not fault.by_chance:
                    break
                continue
            return self._told(found, conditioning, tuple(self._stages.records[began:]), tried, faults)
        said = "; ".join(f"seed {first + at}: {fault}" for at, fault in enumerate(faults))
        raise GenerationFailed(faults[-1].stage, f"No usable object was generated ({said}).")

    def _fitting(self, run: Callable[[], T]) -> T:
        """``run`` without gradients; when memory is short, again with the next smaller profile."""
        while True:
            try:
                with torch.no_grad():  # not inference_mode: upstream's own renderers cannot use its tensors
                    return run()
            except torch.cuda.OutOfMemoryError as error:
                less = smaller(self._stages.profile)
                if less is None:
                    raise
                stage = self._stages.records[-1].name if self._stages.records else "loading"
                self._notes.append(
                    f"the GPU's memory does not hold profile {self._stages.profile.name} (in stage {stage}); "
                    f"{less.name} was used"
                )
                error.__traceback__ = None  # its frames hold the tensors that did not fit
                self._stages.profile = less
            self._stages.release()

    # -- what the pictures say -------------------------------------------------------------------------------------

    def _condition(self, views: NDArray[np.uint8], tell: Tell) -> Conditioning:
        began = len(self._stages.records)
        pictures = torch.from_numpy(views[..., :3].copy()).to(self._device).permute(0, 3, 1, 2).float() / 255
        tokens = self._vggt(pictures, tell)
        features = self._dinov2(pictures, tell)
        tell("conditioning", 0, 1)

        def work(structure: nn.Module, latents: nn.Module) -> tuple[Tensor, Tensor]:
            listed = {0: tokens[TURNS[0]], **tokens}  # upstream reads the shape from entry 0
            place, looks = structure(listed, features[None, :, _SPECIAL:]), latents(listed, features[None])
            need_finite("conditioning", place, by_chance=False)
            need_finite("conditioning", looks, by_chance=False)
            return place, looks

        place, looks = self._stages.run("conditioning", work, "structure_condition", "latents_condition")
        return Conditioning(place, looks, tuple(self._stages.records[began:]))

    def _vggt(self, pictures: Tensor, tell: Tell) -> dict[int, Tensor]:
        turns = max(TURNS) + 1
        done = iter(range(turns))
        cuda = self._device.type == "cuda"
        half = parts.half_type(self._device) if cuda else None

        def turn() -> None:
            self._check()
            tell("vggt", next(done), turns)

        def work(trunk: nn.Module) -> dict[int, Tensor]:
            with torch.autocast(self._device.type, dtype=half, enabled=cuda):
                tokens = aggregate(trunk, pictures, TURNS, turn)
            for kept in tokens.values():
                need_finite("vggt", kept, by_chance=False)
            return tokens

        return self._stages.run("vggt", work, "aggregator")

    def _dinov2(self, pictures: Tensor, tell: Tell) -> Tensor:
        tell("dinov2", 0, 1)

        def work(network: nn.Module) -> Tensor:
            mean, deviation = (torch.tensor(v, device=self._device).view(3, 1, 1) for v in (_MEAN, _DEVIATION))
            features: Tensor = network((pictures - mean) / deviation, is_training=True)["x_prenorm"]
            need_finite("dinov2", features, by_chance=False)
            return layer_norm(features, features.shape[-1:])

        return self._stages.run("dinov2", work, "image_model")

    # -- one object ------------------------------------------------------------------------------------------------

    def _generate(self, conditioning: Conditioning, seed: int, tell: Tell) -> _Found:
        chance = torch.Generator().manual_seed(seed)  # the CPU's, as upstream: the same seed is the same on any card
        coords = self._occupancy(self._structure(conditioning.structure, chance, tell), tell)
        latents = self._latents(conditioning.latents, coords, chance, tell)
        return _Found(len(coords), self._gaussians(latents, tell), self._mesh(latents, tell))

    def _structure(self, context: Tensor, chance: torch.Generator, tell: Tell) -> Tensor:
        said = self._recipe.samplers["structure"]

        def work(flow: Any) -> Tensor:
            noise = torch.randn(1, flow.in_channels, *[flow.resolution] * 3, generator=chance).to(self._device)
            sampling = self._preset.structure.over(said["params"])
            found = sample_structure(
                self._sampler(said),
                flow,
                noise,
                context,
                sampling,
                self._step("structure", tell),
                keep=self.profile.keep_projections,
            )
            need_finite("structure", found, by_chance=True)
            return found

        return self._stages.run("structure", work, "structure_flow")

    def _occupancy(self, latent: Tensor, tell: Tell) -> Tensor:
        tell("occupancy", 0, 1)

        def work(decoder: nn.Module) -> Tensor:
            occupied = decoder(latent)
            need_finite("occupancy", occupied, by_chance=True)
            coords = torch.argwhere(occupied > 0)[:, [0, 2, 3, 4]].int()
            need_voxels("occupancy", len(coords), self._limits)
            return coords

        return self._stages.run("occupancy", work, "structure_decoder")

    def _latents(self, contexts: Tensor, coords: Tensor, chance: torch.Generator, tell: Tell) -> Any:
        said = self._recipe.samplers["latents"]
        sparse = self.upstream.module("trellis.modules.sparse")

        def work(flow: Any) -> Any:
            start = torch.randn(len(coords), flow.in_channels, generator=chance).to(self._device)
            found = sample_latents(
                self._sampler(said),
                flow,
                sparse.SparseTensor(feats=start, coords=coords),
                contexts,
                self._preset.latents.over(said["params"]),
                self._step("latents", tell),
                keep=self.profile.keep_projections,
            )
            need_finite("latents", found.feats, by_chance=True)
            return found

        found = self._stages.run("latents", work, "latents_flow")
        mean, deviation = (torch.tensor(v, device=self._device) for v in (self._recipe.mean, self._recipe.deviation))
        return found.replace(found.feats * deviation + mean)

    def _gaussians(self, latents: Any, tell: Tell) -> Gaussians:
        tell("gaussians", 0, 1)

        def work(decoder: nn.Module) -> Gaussians:
            decoded = _features(decoder, latents)
            need_finite("gaussians", decoded.feats, by_chance=True)
            return read_gaussians(decoder, decoded.coords[:, 1:], decoded.feats)

        return self._stages.run("gaussians", work, "gaussian_decoder")

    def _mesh(self, latents: Any, tell: Tell) -> GeneratedSurface:
        tell("mesh", 0, 2)

        def work(decoder: Any) -> GeneratedSurface:
            decoded = _features(decoder, latents)
            need_finite("mesh", decoded.feats, by_chance=True)
            self._check()
            tell("mesh", 1, 2)
            surface = extract(self.upstream, decoder.mesh_extractor, decoded.coords[:, 1:], decoded.feats)
            need_surface("mesh", surface.vertices, surface.faces, self._limits)
            return surface

        return self._stages.run("mesh", work, "mesh_decoder")

    def _sampler(self, said: Mapping[str, Any]) -> Any:
        """Upstream's sampler as pipeline.json names it."""
        return getattr(self.upstream.module("trellis.pipelines.samplers"), said["name"])(**said["args"])

    def _step(self, stage: str, tell: Tell) -> Callable[[int, int], None]:
        def step(done: int, steps: int) -> None:
            self._check()
            tell(stage, done, steps)

        return step

    def _told(
        self,
        found: _Found,
        conditioning: Conditioning,
        records: tuple[StageRecord, ...],
        seed: int,
        faults: list[StageFault],
    ) -> Generated:
        notes = [*self.upstream.notes, *self._notes]
        notes += [f"seed {seed - 1} gave no object ({fault}); seed {seed} was used" for fault in faults]
        surface = found.surface
        return Generated(
            surface.vertices.float().cpu().numpy(),
            surface.faces.cpu().numpy().astype(np.int32),
            None if surface.colours is None else surface.colours.float().cpu().numpy(),
            found.gaussians,
            found.voxels,
            seed,
            conditioning.records + records,
            self.upstream.revision,
            self._preset.name,
            self.profile.name,
            tuple(notes),
        )


@dataclass(frozen=True)
class _Found:
    voxels: int
    gaussians: Gaussians
    surface: GeneratedSurface


def _features(decoder: Any, latents: Any) -> Any:
    """What a decoder would make an object of: its own forward pass, with the last step left to us."""
    kept: list[Any] = []
    decoder.to_representation = kept.append
    try:
        decoder(latents)
    finally:
        del decoder.to_representation
    return kept[0]
