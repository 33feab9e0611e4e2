"""The conductor: what is computed when, what happens when something goes wrong, and what is told meanwhile."""

from __future__ import annotations

import gc
import shutil
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.torch_needed import torch_or_skip

torch_or_skip()

import torch  # noqa: E402
from torch import nn  # noqa: E402

from meshdrop.models.contract.base import ModelUnavailable  # noqa: E402
from meshdrop.models.reconviagen import parts, weights  # noqa: E402
from meshdrop.models.reconviagen.checks import InputLimits  # noqa: E402
from meshdrop.models.reconviagen.generated import Generated, GenerationFailed  # noqa: E402
from meshdrop.models.reconviagen.parts import Builder  # noqa: E402
from meshdrop.models.reconviagen.pipeline import STAGES, Conditioning, Generator  # noqa: E402
from meshdrop.models.reconviagen.to_glb import as_upstream  # noqa: E402
from meshdrop.models.reconviagen.upstream import Upstream  # noqa: E402
from tests.unit.models.reconviagen import tiny  # noqa: E402
from tests.unit.models.reconviagen.on_cpu import upstream_on_cpu  # noqa: E402

PICTURES = np.random.default_rng(0).integers(0, 256, (2, tiny.SIDE, tiny.SIDE, 4), dtype=np.uint8)
#: Stages that the pictures alone decide, and those that the seed decides too.
ONCE, EACH = STAGES[:3], STAGES[3:]
Maker = Callable[..., Generator]


def silent(stage: str, done: int, steps: int) -> None:
    """Tell nobody."""


def wrapped(real: Builder, wrap: Callable[[nn.Module], nn.Module]) -> Builder:
    return lambda: wrap(real())


@pytest.fixture(scope="module")
def make(upstream: Upstream, weights_folder: Path) -> Maker:
    """Generators of tiny networks; keyword arguments as of ``Generator``, ``change`` wraps single networks."""

    def maker(
        profile: str = "staged", change: dict[str, Callable[[nn.Module], nn.Module]] | None = None, **more: Any
    ) -> Generator:
        places = weights.paths(weights_folder)
        made = parts.builders(upstream, places, parts.read_recipe(places), torch.device("cpu"))
        made |= tiny.trunk_builder(upstream, weights_folder)
        for name, wrap in (change or {}).items():
            made[name] = wrapped(made[name], wrap)
        limits = more.pop("limits", InputLimits(20, 511, 100))
        return Generator(upstream, weights_folder, tiny.PRESET, profile, "cpu", limits=limits, builders=made, **more)

    return maker


@pytest.fixture(scope="module")
def known(make: Maker) -> Conditioning:
    """What the tiny networks know of the pictures."""
    return make().condition(PICTURES, silent)


@pytest.fixture(scope="module")
def first(make: Maker, known: Conditioning) -> Generated:
    """One object."""
    return make().generate(known, silent)


class Spoilt(nn.Module):
    """A network whose answer is changed, as often as ``times`` says."""

    def __init__(self, network: nn.Module, change: Callable[[Any], Any], times: int = 99) -> None:
        super().__init__()
        self.network, self.change, self.times = network, change, times

    def forward(self, *given: Any, **named: Any) -> Any:
        answer = self.network(*given, **named)
        self.times -= 1
        return self.change(answer) if self.times >= 0 else answer


def test_what_comes_out(first: Generated) -> None:
    assert first.vertices.dtype == np.float32
    assert first.faces.dtype == np.int32
    assert np.abs(first.vertices).max() <= 0.5 + 1 / 32  # corners may be moved by half a cell of 1/32
    assert first.faces.max() < len(first.vertices)
    assert first.vertex_colours is not None
    assert 0 <= first.vertex_colours.min() <= first.vertex_colours.max() <= 1
    assert len(first.gaussians.positions) == 4 * first.voxels
    np.testing.assert_allclose(np.linalg.norm(first.gaussians.rotations, axis=1), 1, atol=1e-5)
    assert (first.gaussians.scales > 0).all()
    assert (first.seed, first.preset, first.profile) == (7, "tiny", "staged")
    assert [record.name for record in first.stages] == list(STAGES)
    assert all(record.seconds > 0 and record.peak_mib is None for record in first.stages)
    assert first.to_json()["vertices"] == len(first.vertices)


def test_half_precision_networks_give_nearly_the_same(upstream: Upstream, first: Generated, tmp_path: Path) -> None:
    """As the published ones are stored and run. A rounding may flip a cell: at most five of a hundred."""
    folder = tiny.write(tmp_path / "half", upstream, half=True)
    line = Generator(
        upstream,
        folder,
        tiny.PRESET,
        "staged",
        "cpu",
        limits=InputLimits(20, 511, 100),
        builders=tiny.trunk_builder(upstream, folder),
    )
    known = line.condition(PICTURES, silent)
    assert (known.structure.dtype, known.latents.dtype) == (torch.float16, torch.float16)
    found = line.generate(known, silent)
    assert found.voxels == pytest.approx(first.voxels, rel=0.05)
    assert found.vertices.dtype == np.float32


def test_upstreams_own_classes_hold_the_same_object(upstream: Upstream, first: Generated) -> None:
    with upstream_on_cpu(upstream):
        cloud, mesh = as_upstream(upstream, first, "cpu")
    given = first.gaussians
    np.testing.assert_allclose(cloud.get_xyz.numpy(), given.positions, atol=1e-6)
    np.testing.assert_allclose(cloud.get_color.numpy(), given.colours, atol=1e-6)
    np.testing.assert_allclose(cloud.get_scaling.numpy(), given.scales, rtol=1e-4)
    np.testing.assert_allclose(cloud.get_rotation.numpy(), given.rotations, atol=1e-5)
    np.testing.assert_allclose(cloud.get_opacity[:, 0].numpy(), given.opacity, atol=1e-5)
    np.testing.assert_array_equal(mesh.faces.numpy(), first.faces)
    assert mesh.success


def test_the_same_seed_gives_the_same_object_and_another_another(
    make: Maker, known: Conditioning, first: Generated
) -> None:
    """Networks loaded anew, the conditioning computed once: only what the seed decides is run."""
    line = make()
    again, other = line.generate(known, silent), line.generate(known, silent, seed=8)
    np.testing.assert_array_equal(again.vertices, first.vertices)
    np.testing.assert_array_equal(again.gaussians.colours, first.gaussians.colours)
    assert other.seed == 8
    assert other.vertices.shape != first.vertices.shape
    assert [record.name for record in line._stages.records] == [*EACH, *EACH]


@pytest.mark.parametrize("other", [PICTURES[::-1], 255 - PICTURES, PICTURES[:1]], ids=["order", "colours", "one view"])
def test_other_pictures_give_another_object(make: Maker, first: Generated, other: Any) -> None:
    """The order of views counts: the first one's camera is the one that VGGT sees the others from."""
    line = make()
    found = line.generate(line.condition(other, silent), silent)
    assert found.voxels != first.voxels


def test_alpha_is_not_looked_at(make: Maker, known: Conditioning) -> None:
    """The networks see colours, black where nothing is."""
    opaque = PICTURES.copy()
    opaque[..., 3] = 255
    torch.testing.assert_close(make().condition(opaque, silent).latents, known.latents, atol=0, rtol=0)


def test_progress_names_every_stage_in_order(make: Maker) -> None:
    said: list[tuple[str, int, int]] = []
    line = make()
    line.generate(line.condition(PICTURES, lambda *s: said.append(s)), lambda *s: said.append(s))
    assert list(dict.fromkeys(stage for stage, _, _ in said)) == list(STAGES)
    assert [done for stage, done, _ in said if stage == "vggt"] == list(range(24))
    assert [(done, steps) for stage, done, steps in said if stage == "latents"] == [(0, 3), (1, 3), (2, 3)]


class Ended(Exception):
    """The job was cancelled."""


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("profile", ["staged", "resident"])
def test_a_run_can_be_ended_in_every_stage(make: Maker, known: Conditioning, stage: str, profile: str) -> None:
    """At the last word of the stage; afterwards no network is left, and the same generator works again."""
    alive: list[Any] = []

    def watched(network: nn.Module) -> nn.Module:
        alive.append(network)
        return network

    line = make(profile, change=dict.fromkeys((*parts.IN_PIPELINE, "aggregator", "image_model"), watched))
    seen: list[str] = []

    def tell(name: str, done: int, steps: int) -> None:
        seen.append(name)
        if name == stage and done == steps - 1:
            raise Ended

    def run() -> None:
        conditioned = line.condition(PICTURES, tell) if stage in ONCE else known
        line.generate(conditioned, tell)

    with pytest.raises(Ended):
        run()
    assert seen[-1] == stage
    made = len(alive)
    line.close()
    gc.collect()
    left = [weakref.ref(network) for network in alive]
    alive.clear()
    gc.collect()
    assert [ref for ref in left if ref() is not None] == []
    assert made <= len(parts.IN_PIPELINE) + 2


def test_a_run_is_ended_between_steps_by_the_check(make: Maker, known: Conditioning) -> None:
    asked: list[int] = []

    def check() -> None:
        asked.append(1)
        if len(asked) == 4:  # before the stage, before its network, before the first step, before the second
            raise Ended

    line = make(check=check)
    with pytest.raises(Ended):
        line.generate(known, silent)
    assert [record.name for record in line._stages.records] == ["structure"]


@pytest.mark.parametrize("stage", ["vggt", "dinov2", "conditioning"])
def test_pictures_that_are_not_understood_are_refused_at_once(make: Maker, stage: str) -> None:
    part = {"vggt": "aggregator", "dinov2": "image_model", "conditioning": "latents_condition"}[stage]

    def spoil(network: nn.Module) -> nn.Module:
        with torch.no_grad():
            next(network.parameters()).fill_(torch.nan)
        return network

    line = make(change={part: spoil})
    with pytest.raises(GenerationFailed, match=f"{stage}: .* not finite") as failed:
        line.condition(PICTURES, silent)
    assert failed.value.stage == stage


NOTHING = {
    "structure": ("structure_flow", "structure: .* not finite"),
    "occupancy": ("structure_decoder", "occupancy: 0 occupied cells"),
    "latents": ("latents_flow", "latents: .* not finite"),
    "gaussians": ("gaussian_decoder", "gaussians: .* not finite"),
    "mesh": ("mesh_decoder", "mesh: .* not finite"),
}


def spoiler(stage: str) -> Callable[[nn.Module], nn.Module]:
    """Changes a network so that its stage has no useful result."""

    def spoil(network: nn.Module) -> nn.Module:
        out: Any = network.out_layer
        with torch.no_grad():
            if stage == "occupancy":
                out[-1].bias.fill_(-1e9)
            else:
                out.bias.fill_(torch.nan)
        return network

    return spoil


@pytest.mark.parametrize("stage", NOTHING)
def test_a_stage_without_result_is_tried_with_the_next_seed_and_then_refused(
    make: Maker, known: Conditioning, stage: str
) -> None:
    part, said = NOTHING[stage]
    line = make(change={part: spoiler(stage)})
    with pytest.raises(GenerationFailed, match=f"seed 7: {said}.*; seed 8: {said}") as failed:
        line.generate(known, silent)
    assert failed.value.stage == stage
    assert [record.name for record in line._stages.records].count(stage) == 2


def test_the_next_seed_is_used_when_it_does_better(make: Maker, known: Conditioning) -> None:
    line = make("resident", change={"structure_decoder": lambda n: Spoilt(n, lambda a: a - 1e9, times=1)})
    found = line.generate(known, silent)
    assert found.seed == 8
    assert any("seed 7 gave no object (occupancy: 0 occupied cells" in note for note in found.notes)
    same = make().generate(known, silent, seed=8)
    np.testing.assert_array_equal(found.vertices, same.vertices)


@pytest.mark.parametrize(
    ("limits", "said"),
    [
        (InputLimits(400, 511, 100), "are no object"),
        (InputLimits(5, 50, 100), "fill the space"),
        (InputLimits(5, 511, 10**6), "are no mesh"),
    ],
)
def test_counts_outside_the_limits_are_refused(
    make: Maker, known: Conditioning, limits: InputLimits, said: str
) -> None:
    with pytest.raises(GenerationFailed, match=said):
        make(limits=limits).generate(known, silent)


def test_short_memory_is_met_with_smaller_profiles(make: Maker, known: Conditioning, first: Generated) -> None:
    """Once in the structure, once in the mesh: from resident by way of staged to tiny, and the object is the same."""
    faults = {"structure_flow": 1, "mesh_decoder": 1}

    def scarce(name: str) -> Callable[[nn.Module], nn.Module]:
        def wrap(network: nn.Module) -> nn.Module:
            if faults[name]:
                faults[name] -= 1
                raise torch.cuda.OutOfMemoryError("CUDA out of memory")
            return network

        return wrap

    line = make("resident", change={name: scarce(name) for name in faults})
    found = line.generate(known, silent)
    assert found.profile == "tiny"
    assert [note for note in found.notes if "memory" in note] == [
        "the GPU's memory does not hold profile resident (in stage structure); staged was used",
        "the GPU's memory does not hold profile staged (in stage mesh); tiny was used",
    ]
    np.testing.assert_allclose(found.vertices, first.vertices, atol=1e-5)


def test_networks_that_do_not_fit_together_are_loaded_one_at_a_time(make: Maker, known: Conditioning) -> None:
    """Before the first job, where ``resident`` was asked for on a card too small for it."""
    asked = []

    def scarce(network: nn.Module) -> nn.Module:
        asked.append(network)
        if len(asked) == 1:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        return network

    line = make("resident", change={"mesh_decoder": scarce})
    line.load()
    assert line.profile.name == "staged"
    assert line.generate(known, silent).notes[-1] == (
        "the GPU's memory does not hold profile resident (in stage loading); staged was used"
    )


def test_memory_that_no_profile_fits_is_an_error(make: Maker, known: Conditioning) -> None:
    def never(network: nn.Module) -> nn.Module:
        raise torch.cuda.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(torch.cuda.OutOfMemoryError):
        make("staged", change={"latents_flow": never}).generate(known, silent)


def test_missing_weights_are_named_before_anything_runs(
    upstream: Upstream, weights_folder: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "weights"
    shutil.copytree(weights_folder, folder)
    (weights.paths(folder).trellis / "ckpts" / "slat_vggt_cond.safetensors").unlink()
    with pytest.raises(ModelUnavailable, match=r"1 of 17 weight files are missing, such as .*slat_vggt_cond") as error:
        Generator(upstream, folder, tiny.PRESET, "staged", "cpu")
    assert "weights fetch" in error.value.fix
    (weights.paths(folder).trellis / "pipeline.json").write_text("{}")
    with pytest.raises(ModelUnavailable, match=r"pipeline\.json has no 'args'"):
        Generator(upstream, folder, tiny.PRESET, "staged", "cpu")


def test_no_gradients_are_kept(known: Conditioning) -> None:
    assert not known.structure.requires_grad
    assert not known.latents.requires_grad
    assert not torch.is_inference(known.latents)
