"""Networks of the published sizes with random weights and a known shape: times and memory without the weights.

Random weights give noise instead of an object, and noise has a hundred times the surface. So two decoders answer with a
known shape after doing all their work: the occupancy is a shell of 17,000 cells, the mesh a sphere with a ring around.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from meshdrop.models.reconviagen import parts, weights
from meshdrop.models.reconviagen.checkpoints import built, fill_from_safetensors
from meshdrop.models.reconviagen.parts import Builder
from meshdrop.models.reconviagen.surface import CORNERS
from meshdrop.models.reconviagen.upstream import Upstream
from tests.unit.models.reconviagen import tiny

_BLOCKS = {"num_blocks": 24, "num_heads": 16, "mlp_ratio": 4, "pe_mode": "ape", "qk_rms_norm": True, "use_fp16": True}
_DECODER = {
    "resolution": 64,
    "model_channels": 768,
    "latent_channels": 8,
    "num_blocks": 12,
    "num_heads": 12,
    "mlp_ratio": 4,
    "attn_mode": "swin",
    "window_size": 8,
    "use_fp16": True,
}
_FLOW = {**_BLOCKS, "in_channels": 8, "out_channels": 8, "model_channels": 1024, "cond_channels": 1024}
_ARGUMENTS: dict[str, dict[str, Any]] = {
    "sparse_structure_vggt_cond": {"channels": 1024, "ctx_channels": 3072, "num_heads": 16, "use_fp16": True},
    "slat_vggt_cond": {"channels": 1024, "ctx_channels": 3072, "use_fp16": True},
    "sparse_structure_flow_model": {**_FLOW, "resolution": 16, "patch_size": 1},
    "sparse_structure_decoder": {
        "out_channels": 1,
        "latent_channels": 8,
        "num_res_blocks": 2,
        "num_res_blocks_middle": 2,
        "channels": [512, 128, 32],
        "use_fp16": True,
    },
    "slat_flow_model": {**_FLOW, "resolution": 64, "patch_size": 2, "num_io_res_blocks": 2, "io_block_channels": [128]},
    "slat_decoder_gs": {**_DECODER, "representation_config": {**tiny._GAUSSIANS, "num_gaussians": 32}},
    "slat_decoder_mesh": {**_DECODER, "representation_config": {"use_color": True}},
}
#: As ``tiny.NETWORKS``, with the arguments of the published checkpoints.
NETWORKS: dict[str, tuple[str, str, dict[str, Any]]] = {
    name: (tiny.NETWORKS[name][0], tiny.NETWORKS[name][1], arguments) for name, arguments in _ARGUMENTS.items()
}
#: Millions of parameters, by class. Half of the published latents' condition is never used, and not built.
MILLIONS = {
    "Aggregator": 909.1,
    "ModulatedMultiViewCond": 88.1,
    "ModulatedSLATMultiViewCond": 12.6,
    "SparseStructureFlowModel": 555.5,
    "SparseStructureDecoder": 73.7,
    "SLatFlowModel": 600.4,
    "SLatGaussianDecoder": 85.4,
    "SLatMeshDecoder": 90.9,
}


def write(folder: Path, upstream: Upstream, device: torch.device, dinov2: Path | None = None) -> Path:
    """Write 7.5 GB of random weights in the published layout.

    ``dinov2`` is a checkout of DINOv2's own code; without one its place is taken by a single layer.
    """
    from safetensors.torch import save_file  # noqa: PLC0415 - the tests skip where it is not installed

    places = weights.paths(folder)
    (places.trellis / "ckpts").mkdir(parents=True)
    for file, kind, arguments in NETWORKS.values():
        made = _random(partial(upstream.build, kind, arguments), upstream, device)
        (places.trellis / "ckpts" / f"{file}.json").write_text(json.dumps({"name": kind, "args": arguments}))
        save_file(made, places.trellis / "ckpts" / f"{file}.safetensors")
    (places.trellis / "pipeline.json").write_text(json.dumps(tiny.pipeline_json()))
    places.vggt.mkdir(parents=True)
    trunk = _random(upstream.module("vggt.models.aggregator").Aggregator, upstream, device)
    save_file({f"aggregator.{name}": value for name, value in trunk.items()}, places.vggt / "model.safetensors")
    places.dinov2_source.parent.mkdir(parents=True, exist_ok=True)
    if dinov2 is None:
        places.dinov2_source.mkdir()
        (places.dinov2_source / "hubconf.py").write_text(tiny.HUBCONF)
    else:
        places.dinov2_source.symlink_to(dinov2)
    places.dinov2_checkpoint.parent.mkdir(parents=True)

    def image_model() -> nn.Module:
        source = str(places.dinov2_source)
        made: nn.Module = torch.hub.load(source, "dinov2_vitl14_reg", source="local", pretrained=False)  # type: ignore[no-untyped-call]
        return made

    torch.save(_random(image_model, upstream, device), places.dinov2_checkpoint)
    return folder


def _random(make: Callable[[], nn.Module], upstream: Upstream, device: torch.device) -> dict[str, Tensor]:
    """The tensors of a network: weights small, gains and biases as they are initialised, buffers computed."""
    with parts._without_grids(upstream):
        shapes = built(make).state_dict()
    generator = torch.Generator(device).manual_seed(1)
    given = {}
    for name, like in shapes.items():
        values = torch.randn(like.shape, generator=generator, device=device) * 0.02
        if like.ndim == 1 and name.endswith(("norm.weight", "norm1.weight", "norm2.weight", "norm3.weight", "gamma")):
            values += 1
        given[name] = values.to(like.dtype).cpu()
    return given


#: Signed distances, positive outside, of points (..., 3) in the cube [-1, 1]^3, whose half side is the unit.
Distance = Callable[[Tensor], Tensor]


def sphere(points: Tensor) -> Tensor:
    """Distances to a sphere; its shell of cells is of the usual number, about 17,000."""
    from_centre: Tensor = points.norm(dim=-1)
    return from_centre - 22.5 / 32


class Shell(nn.Module):
    """In place of the occupancy's last layer, after it has done its work: cells that are near the surface."""

    def __init__(self, real: nn.Module, distance: Distance) -> None:
        super().__init__()
        self.real, self.distance = real, distance

    def forward(self, x: Tensor) -> Tensor:
        """(1, C, 64, 64, 64) -> (1, 1, 64, 64, 64), above 0 where matter is."""
        answer = self.real(x)
        axis = (torch.arange(64, device=x.device) - 31.5) / 32
        cells = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"), dim=-1)
        return (1.35 / 32 - self.distance(cells).abs()).expand_as(answer).to(answer)


class Known(nn.Module):
    """In place of the mesh decoder's last layer, after it has done its work: distances to the known surface."""

    def __init__(self, real: nn.Module, distance: Distance) -> None:
        super().__init__()
        self.real, self.distance = real, distance

    def forward(self, x: Any) -> Any:
        """Channels of cells of 256^3; the surface is not bent, so that its place is known."""
        answer = self.real(x)
        corners = answer.coords[:, None, 1:] + torch.tensor(CORNERS, device=answer.coords.device)
        features = answer.feats.clamp(-1, 1)
        features[:, :8] = self.distance(corners / 128 - 1).to(features)
        features[:, 8:32] = 0
        return answer.replace(features)


def builders(upstream: Upstream, folder: Path, device: torch.device, distance: Distance = sphere) -> dict[str, Builder]:
    """The networks of ``write`` with the known shape at the end of their work."""
    places = weights.paths(folder)
    made = parts.builders(upstream, places, parts.read_recipe(places), device)

    def occupancy(real: Builder = made["structure_decoder"]) -> nn.Module:
        network = real()
        know_cells(network, distance)
        return network

    def mesh(real: Builder = made["mesh_decoder"]) -> nn.Module:
        network = real()
        know_surface(network, distance)
        return network

    return {**made, "structure_decoder": occupancy, "mesh_decoder": mesh}


def know_cells(structure_decoder: Any, distance: Distance) -> None:
    """Let a structure decoder end with the cells of a known shape."""
    structure_decoder.out_layer = Shell(structure_decoder.out_layer, distance)


def know_surface(mesh_decoder: Any, distance: Distance) -> None:
    """Let a mesh decoder end with the distances of a known shape."""
    mesh_decoder.out_layer = Known(mesh_decoder.out_layer, distance)


def trunk(upstream: Upstream, folder: Path, device: torch.device) -> nn.Module:
    """VGGT's trunk as upstream keeps it, in single precision."""
    network = built(upstream.module("vggt.models.aggregator").Aggregator)
    fill_from_safetensors(network, weights.paths(folder).vggt / "model.safetensors", device, prefix="aggregator.")
    return network
