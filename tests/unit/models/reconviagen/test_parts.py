"""The networks as they are loaded from the published layout."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.torch_needed import torch_or_skip

torch_or_skip()

import torch  # noqa: E402

from meshdrop.models.reconviagen import parts, weights  # noqa: E402
from meshdrop.models.reconviagen.checkpoints import built  # noqa: E402
from meshdrop.models.reconviagen.upstream import Upstream  # noqa: E402
from tests.unit.models.reconviagen import tiny  # noqa: E402
from tests.unit.models.reconviagen.full_size import MILLIONS, NETWORKS  # noqa: E402


@pytest.mark.parametrize("config", [None, {"img_size": tiny.SIDE, "patch_size": 14, "embed_dim": 1024, "more": 1}])
def test_of_vggts_file_the_trunk_alone_is_loaded(
    upstream: Upstream, weights_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, config: Any
) -> None:
    """With a config.json and without one; the file's heads are not asked for."""
    module = upstream.module("vggt.models.aggregator")
    monkeypatch.setattr(module, "Aggregator", partial(module.Aggregator, patch_embed="conv", block_fn=tiny.Gain))
    folder = tmp_path / "vggt"
    folder.mkdir()
    (folder / "model.safetensors").symlink_to(weights.paths(weights_folder).vggt / "model.safetensors")
    if config is not None:
        (folder / "config.json").write_text(json.dumps(config))
    loaded = parts._aggregator(upstream, folder, torch.device("cpu")).state_dict()
    expected = tiny.trunk_builder(upstream, weights_folder)["aggregator"]().state_dict()
    assert list(loaded) == list(expected)
    assert all(torch.equal(loaded[name], expected[name]) for name in expected)


@pytest.mark.parametrize("kind", MILLIONS)
def test_networks_of_the_published_size_are_built_without_storage(upstream: Upstream, kind: str) -> None:
    """0.9 billion parameters in a second and no memory; their count is that of the published ones."""
    if kind == "Aggregator":
        network = built(upstream.module("vggt.models.aggregator").Aggregator)
    else:
        arguments = next(said for _, name, said in NETWORKS.values() if name == kind)
        with parts._without_grids(upstream):
            network = built(lambda: upstream.build(kind, arguments))
    assert {weight.device.type for weight in network.parameters()} == {"meta"}
    count = sum(weight.numel() for weight in network.parameters()) / 1e6
    assert count == pytest.approx(MILLIONS[kind], abs=0.06)


def test_the_mesh_decoders_grids_are_given_back_to_upstream(upstream: Upstream) -> None:
    module = upstream.module("trellis.models.structured_latent_vae.decoder_mesh")
    real = module.SparseFeatures2Mesh

    def fail() -> None:
        with parts._without_grids(upstream):
            assert module.SparseFeatures2Mesh is not real
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert module.SparseFeatures2Mesh is real
