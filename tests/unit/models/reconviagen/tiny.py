"""A weights folder of the real layout with tiny random networks of upstream's real classes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from meshdrop.models.reconviagen import weights
from meshdrop.models.reconviagen.checkpoints import built, fill_from_safetensors
from meshdrop.models.reconviagen.parts import Builder
from meshdrop.models.reconviagen.presets import Preset, Sampling
from meshdrop.models.reconviagen.upstream import Upstream
from tests.unit.models.reconviagen.on_cpu import upstream_on_cpu

#: Side of the pictures: two patches of 14 pixels.
SIDE = 28
#: Cells a side of the structure's latent; the decoder's grid is four times that.
LATENT = 2
#: Cross-attention's weights are so much larger than they are initialised; attention to random tokens is a mere mean.
CONTRAST = 3.0
PRESET = Preset("tiny", 7, Sampling(3, 2.0, (0.5, 1.0), 0.5, 3.0), Sampling(3, 2.0, (0.5, 1.0), 0.5, 3.0))

_GAUSSIANS = {
    "lr": {"_xyz": 1.0, "_features_dc": 1.0, "_opacity": 1.0, "_scaling": 1.0, "_rotation": 0.1},
    "perturb_offset": True,
    "voxel_size": 1.5,
    "num_gaussians": 4,
    "2d_filter_kernel_size": 0.1,
    "3d_filter_kernel_size": 9e-4,
    "scaling_bias": 4e-3,
    "opacity_bias": 0.1,
    "scaling_activation": "softplus",
}
_SPARSE = {"resolution": 4 * LATENT, "num_blocks": 2, "num_heads": 2}
_DENSE = {"num_heads": 2, "mlp_ratio": 1.0}
#: Name in pipeline.json -> (file, class, arguments). Widths 1024, 2048 and 3072 are literals in upstream's code.
NETWORKS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "sparse_structure_vggt_cond": (
        "ss_vggt_cond",
        "ModulatedMultiViewCond",
        {**_DENSE, "channels": 32, "ctx_channels": 3072, "num_init_tokens": 16},
    ),
    "slat_vggt_cond": ("slat_vggt_cond", "ModulatedSLATMultiViewCond", {"channels": 1024, "ctx_channels": 3072}),
    "sparse_structure_flow_model": (
        "ss_flow_img_dit_L_16l8_fp16",
        "SparseStructureFlowModel",
        {
            "resolution": LATENT,
            "in_channels": 8,
            "out_channels": 8,
            "model_channels": 64,
            "cond_channels": 32,
            "num_blocks": 2,
            "num_heads": 2,
            "patch_size": 1,
            "pe_mode": "ape",
            "qk_rms_norm": True,
        },
    ),
    "sparse_structure_decoder": (
        "ss_dec_conv3d_16l8_fp16",
        "SparseStructureDecoder",
        {
            "out_channels": 1,
            "latent_channels": 8,
            "num_res_blocks": 1,
            "num_res_blocks_middle": 1,
            "channels": [32, 16, 8],
        },
    ),
    "slat_flow_model": (
        "slat_flow_img_dit_L_64l8p2_fp16",
        "SLatFlowModel",
        {
            "resolution": 4 * LATENT,
            "in_channels": 8,
            "out_channels": 8,
            "model_channels": 64,
            "cond_channels": 1024,
            "num_blocks": 2,
            "num_heads": 2,
            "patch_size": 2,
            "num_io_res_blocks": 2,
            "io_block_channels": [32],
            "pe_mode": "ape",
            "qk_rms_norm": True,
        },
    ),
    "slat_decoder_gs": (
        "slat_dec_gs_swin8_B_64l8gs32_fp16",
        "SLatGaussianDecoder",
        {
            **_SPARSE,
            "model_channels": 64,
            "latent_channels": 8,
            "attn_mode": "swin",
            "window_size": 4,
            "representation_config": _GAUSSIANS,
        },
    ),
    "slat_decoder_mesh": (
        "slat_dec_mesh_swin8_B_64l8m256c_fp16",
        "SLatMeshDecoder",
        {
            **_SPARSE,
            "model_channels": 256,
            "latent_channels": 8,
            "attn_mode": "swin",
            "window_size": 4,
            "mlp_ratio": 1.0,
            "representation_config": {"use_color": True},
        },
    ),
}

HUBCONF = '''"""A stand-in for DINOv2: the same tokens, one layer."""

dependencies = ["torch"]

import torch
from torch import nn


class Tiny(nn.Module):
    def __init__(self):
        super().__init__()
        self.patches = nn.Conv2d(3, 1024, 14, 14)
        self.special = nn.Parameter(torch.zeros(1, 5, 1024))

    def forward(self, x, is_training=False):
        patches = self.patches(x).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.special.expand(len(x), -1, -1), patches], dim=1)
        return {"x_prenorm": tokens}


def dinov2_vitl14_reg(pretrained=True, **kwargs):
    if pretrained:
        raise RuntimeError("weights would be downloaded here")
    return Tiny()
'''


class Gain(nn.Module):
    """A block of VGGT's trunk that costs nothing: depends on every token and on its place."""

    def __init__(self, dim: int, **_: Any) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(dim))

    def forward(self, x: Tensor, pos: Tensor) -> Tensor:
        """``x`` (B, N, C), ``pos`` (B, N, 2)."""
        mixed = x.mean(1, keepdim=True) + x.roll(1, -1) + 1e-2 * pos.sum(-1)[..., None]
        return x + 0.1 * torch.tanh(self.gain * mixed)


def trunk(upstream: Upstream) -> Any:
    """VGGT's real trunk, 24 turns of 1024 channels, with blocks of one vector each."""
    return upstream.module("vggt.models.aggregator").Aggregator(img_size=SIDE, patch_embed="conv", block_fn=Gain)


def trunk_builder(upstream: Upstream, folder: Path) -> dict[str, Builder]:
    """How the trunk of ``folder`` is loaded; its real builder makes 0.9 billion parameters."""

    def make() -> nn.Module:
        network = built(lambda: trunk(upstream))
        file = weights.paths(folder).vggt / "model.safetensors"
        fill_from_safetensors(network, file, torch.device("cpu"), prefix="aggregator.")
        return network

    return {"aggregator": make}


@torch.no_grad()
def awake(network: nn.Module, chance: torch.Generator) -> nn.Module:
    """The network with its zero-initialised layers filled, which would make every output constant, and with attention
    to its context that tells one context from another."""
    for name, weight in network.named_parameters():
        if not weight.any():
            weight.normal_(0, 0.05, generator=chance)
        if name in ("camera_token", "register_token"):  # they tell the first picture from the others
            weight.normal_(0, 1, generator=chance)
        if "cross_attn" in name:
            weight.mul_(CONTRAST)
    return network


@torch.no_grad()
def write(folder: Path, upstream: Upstream, *, half: bool = False) -> Path:
    """Write the whole weights folder; with ``half`` in the precision of the published ones."""
    from safetensors.torch import save_file  # noqa: PLC0415 - the tests skip where it is not installed

    torch.manual_seed(3)
    chance = torch.Generator().manual_seed(3)
    places = weights.paths(folder)
    (places.trellis / "ckpts").mkdir(parents=True)
    with upstream_on_cpu(upstream):
        for file, kind, said in NETWORKS.values():
            arguments = {**said, "use_fp16": half}
            network: Any = awake(upstream.build(kind, arguments), chance)
            if kind == "SparseStructureDecoder":  # a quarter of the cells occupied
                values = network(torch.randn(1, 8, *[LATENT] * 3, generator=chance))
                network.out_layer[-1].bias.data -= values.quantile(0.75)
            (places.trellis / "ckpts" / f"{file}.json").write_text(json.dumps({"name": kind, "args": arguments}))
            save_file(network.state_dict(), places.trellis / "ckpts" / f"{file}.safetensors")
    (places.trellis / "pipeline.json").write_text(json.dumps(pipeline_json()))
    places.vggt.mkdir(parents=True)
    whole = {f"aggregator.{name}": value for name, value in awake(trunk(upstream), chance).state_dict().items()}
    save_file({**whole, "track_head.weight": torch.ones(3)}, places.vggt / "model.safetensors")
    places.dinov2_source.mkdir(parents=True)
    (places.dinov2_source / "hubconf.py").write_text(HUBCONF)
    places.dinov2_checkpoint.parent.mkdir(parents=True)
    namespace = torch.hub.load(str(places.dinov2_source), "dinov2_vitl14_reg", source="local", pretrained=False)  # type: ignore[no-untyped-call]
    torch.save(awake(namespace, chance).state_dict(), places.dinov2_checkpoint)
    return folder


def pipeline_json() -> dict[str, Any]:
    """What pipeline.json says."""
    sampler = {
        "name": "FlowEulerGuidanceIntervalSampler",
        "args": {"sigma_min": 1e-5},
        "params": {"steps": 25, "cfg_strength": 5.0, "cfg_interval": [0.5, 1.0], "rescale_t": 3.0},
    }
    return {
        "name": "TrellisVGGTTo3DPipeline",
        "args": {
            "models": {name: f"ckpts/{file}" for name, (file, _, _) in NETWORKS.items()},
            "sparse_structure_sampler": sampler,
            "slat_sampler": sampler,
            "image_cond_model": "dinov2_vitl14_reg",
            "slat_normalization": {"mean": [0.1] * 8, "std": [1.5] * 8},
        },
    }
