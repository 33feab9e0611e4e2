"""The eight networks of the pipeline, each built and filled from explicit local paths."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from meshdrop.models.contract.base import ModelUnavailable
from meshdrop.models.reconviagen.checkpoints import built, fill_from_pth, fill_from_safetensors, read_config
from meshdrop.models.reconviagen.substitutes.aggregate import HALVED
from meshdrop.models.reconviagen.upstream import Upstream
from meshdrop.models.reconviagen.weights import WeightPaths

#: Our name of a part -> its name in pipeline.json.
IN_PIPELINE = {
    "structure_condition": "sparse_structure_vggt_cond",
    "latents_condition": "slat_vggt_cond",
    "structure_flow": "sparse_structure_flow_model",
    "structure_decoder": "sparse_structure_decoder",
    "latents_flow": "slat_flow_model",
    "gaussian_decoder": "slat_decoder_gs",
    "mesh_decoder": "slat_decoder_mesh",
}
#: Makes one network, ready on its device.
Builder = Callable[[], nn.Module]


@dataclass(frozen=True)
class PartRecipe:
    """What ``pipeline.json`` says: sampler names, arguments and defaults, the latents' mean and deviation, DINOv2's
    entry point, and the place of each part's checkpoint without its suffix."""

    samplers: Mapping[str, Mapping[str, Any]]
    mean: tuple[float, ...]
    deviation: tuple[float, ...]
    image_model: str
    stems: Mapping[str, Path]


def read_recipe(places: WeightPaths) -> PartRecipe:
    """The recipe among the weights. Raises ``ModelUnavailable`` when a file is missing or says something else."""
    root = places.trellis
    config = read_config(root / "pipeline.json")
    try:
        said = config["args"]
        recipe = PartRecipe(
            {"structure": said["sparse_structure_sampler"], "latents": said["slat_sampler"]},
            tuple(said["slat_normalization"]["mean"]),
            tuple(said["slat_normalization"]["std"]),
            said["image_cond_model"],
            {part: root / said["models"][name] for part, name in IN_PIPELINE.items()},
        )
    except KeyError as error:
        raise ModelUnavailable(
            f"{root / 'pipeline.json'} has no {error}",
            "run `meshdrop weights verify reconviagen --deep`, then fetch what it names",
        ) from error
    files = [f"{stem}{suffix}" for stem in recipe.stems.values() for suffix in (".json", ".safetensors")]
    files += map(
        str, (places.vggt / "model.safetensors", places.dinov2_checkpoint, places.dinov2_source / "hubconf.py")
    )
    absent = [file for file in files if not Path(file).exists()]
    if absent:
        raise ModelUnavailable(
            f"{len(absent)} of {len(files)} weight files are missing, such as {absent[0]}",
            "run `meshdrop weights fetch reconviagen`",
        )
    return recipe


def builders(upstream: Upstream, places: WeightPaths, recipe: PartRecipe, device: torch.device) -> dict[str, Builder]:
    """How each part is made: "aggregator", "image_model" and those of ``IN_PIPELINE``."""
    made: dict[str, Builder] = {
        part: partial(_trellis_part, upstream, stem, device) for part, stem in recipe.stems.items()
    }
    made["aggregator"] = partial(_aggregator, upstream, places.vggt, device)
    made["image_model"] = partial(_image_model, places, recipe.image_model, device)
    return made


def _trellis_part(upstream: Upstream, stem: Path, device: torch.device) -> nn.Module:
    config = read_config(Path(f"{stem}.json"))
    with _without_grids(upstream):
        network = built(lambda: upstream.build(config["name"], config["args"]))
    fill_from_safetensors(network, Path(f"{stem}.safetensors"), device)
    return network


@contextmanager
def _without_grids(upstream: Upstream) -> Iterator[None]:
    """Inside, the mesh decoder makes no dense grids; upstream's constructor puts 1.5 GB of them on "cuda"."""
    module = upstream.module("trellis.models.structured_latent_vae.decoder_mesh")
    real = module.SparseFeatures2Mesh

    class LayoutOnly(real):  # type: ignore[misc, valid-type]
        """Knows the channels; the surface is taken out by ``models.reconviagen.surface``."""

        def __init__(self, res: int, use_color: bool) -> None:
            self.res, self.use_color, self.sdf_bias = res, use_color, -1.0 / res
            self._calc_layout()

    module.SparseFeatures2Mesh = LayoutOnly
    try:
        yield
    finally:
        module.SparseFeatures2Mesh = real


def _aggregator(upstream: Upstream, folder: Path, device: torch.device) -> nn.Module:
    """VGGT's trunk alone. Its four heads, a quarter of the file, are for cameras and points that we know already."""
    config = folder / "config.json"
    arguments = read_config(config) if config.exists() else {}
    known = {name: arguments[name] for name in ("img_size", "patch_size", "embed_dim") if name in arguments}
    network = built(lambda: upstream.module("vggt.models.aggregator").Aggregator(**known))
    if device.type == "cuda":
        for module in network.modules():
            if isinstance(module, HALVED):
                module.to(half_type(device))
    fill_from_safetensors(network, folder / "model.safetensors", device, prefix="aggregator.")
    return network


def half_type(device: torch.device) -> torch.dtype:
    """bfloat16 where the card computes it, as upstream chooses."""
    return torch.bfloat16 if torch.cuda.get_device_capability(device)[0] >= 8 else torch.float16


def _image_model(places: WeightPaths, entry: str, device: torch.device) -> nn.Module:
    """DINOv2 by its own entry point from local code, never the network."""
    hub = importlib.import_module("torch.hub")
    network = built(lambda: hub.load(str(places.dinov2_source), entry, source="local", pretrained=False))
    fill_from_pth(network, places.dinov2_checkpoint, device)
    return network
