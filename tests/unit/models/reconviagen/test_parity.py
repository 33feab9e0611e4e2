"""Our conductor against upstream's own ``run``: same weights, same pictures, same seed, same object."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.torch_needed import torch_or_skip

torch_or_skip()

import torch  # noqa: E402
from PIL import Image  # noqa: E402

from meshdrop.models.reconviagen.checks import InputLimits  # noqa: E402
from meshdrop.models.reconviagen.generated import Generated  # noqa: E402
from meshdrop.models.reconviagen.pipeline import Generator  # noqa: E402
from meshdrop.models.reconviagen.upstream import Upstream  # noqa: E402
from tests.unit.models.reconviagen import tiny  # noqa: E402
from tests.unit.models.reconviagen.on_cpu import upstream_on_cpu  # noqa: E402
from tests.unit.models.reconviagen.theirs import asked, pipeline  # noqa: E402

SEED = 11
PICTURES = np.random.default_rng(0).integers(0, 256, (3, tiny.SIDE, tiny.SIDE, 4), dtype=np.uint8)


@pytest.fixture(scope="module")
def theirs(upstream: Upstream, weights_folder: Path) -> Iterator[tuple[dict[str, Any], Any]]:
    """What upstream's own pipeline makes of the pictures: its outputs and its coordinates."""
    real = upstream.module("trellis.pipelines").TrellisVGGTTo3DPipeline
    with upstream_on_cpu(upstream), pytest.MonkeyPatch.context() as patch:
        patch.setattr(real, "default_image_resolution", tiny.SIDE)
        trunk = tiny.trunk_builder(upstream, weights_folder)["aggregator"]()
        line = pipeline(upstream, weights_folder, trunk, torch.device("cpu"))
        with torch.no_grad():
            outputs, coords, _ = line.run(
                [Image.fromarray(picture) for picture in PICTURES],
                seed=SEED,
                preprocess_image=False,
                formats=["gaussian", "mesh"],
                sparse_structure_sampler_params=asked(tiny.PRESET.structure),
                slat_sampler_params=asked(tiny.PRESET.latents),
            )
        yield outputs, coords


@pytest.fixture(scope="module", params=["staged", "tiny", "resident"])
def ours(request: pytest.FixtureRequest, upstream: Upstream, weights_folder: Path) -> Generated:
    """The same by our own conductor."""
    line = Generator(
        upstream,
        weights_folder,
        tiny.PRESET,
        request.param,
        "cpu",
        limits=InputLimits(20, 511, 100),
        builders=tiny.trunk_builder(upstream, weights_folder),
    )
    return line.generate(line.condition(PICTURES, lambda *_: None), lambda *_: None, SEED)


def test_the_same_cells_are_occupied(theirs: tuple[dict[str, Any], Any], ours: Generated) -> None:
    assert ours.voxels == len(theirs[1])


def test_the_gaussians_are_the_same(theirs: tuple[dict[str, Any], Any], ours: Generated) -> None:
    told = theirs[0]["gaussian"][0]
    np.testing.assert_allclose(ours.gaussians.positions, told.get_xyz.numpy(), atol=1e-5)
    np.testing.assert_allclose(ours.gaussians.colours, told.get_color.numpy(), atol=1e-4)
    np.testing.assert_allclose(ours.gaussians.opacity, told.get_opacity[:, 0].numpy(), atol=1e-4)
    np.testing.assert_allclose(ours.gaussians.scales, told.get_scaling.numpy(), rtol=1e-3)
    np.testing.assert_allclose(ours.gaussians.rotations, told.get_rotation.numpy(), atol=1e-4)


def test_the_mesh_is_the_same(theirs: tuple[dict[str, Any], Any], ours: Generated) -> None:
    """Upstream's extraction on dense grids, ours on the cells of the surface: the same vertices in the same order."""
    told = theirs[0]["mesh"][0]
    np.testing.assert_array_equal(ours.faces, told.faces.numpy())
    np.testing.assert_allclose(ours.vertices, told.vertices.numpy(), atol=1e-4)
    assert ours.vertex_colours is not None
    np.testing.assert_allclose(ours.vertex_colours, told.vertex_attrs[:, :3].numpy(), atol=1e-4)


def test_the_comparison_is_not_between_constants(theirs: tuple[dict[str, Any], Any]) -> None:
    told = theirs[0]["gaussian"][0]
    assert told.get_color.numpy().std() > 0.01
    assert told.get_opacity.numpy().std() > 0.01
