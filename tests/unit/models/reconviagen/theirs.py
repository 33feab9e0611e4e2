"""Upstream's own pipeline around a weights folder, without what it downloads when it is loaded the usual way."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import nn

from meshdrop.models.reconviagen import weights
from meshdrop.models.reconviagen.presets import Sampling
from meshdrop.models.reconviagen.upstream import Upstream
from tests.unit.models.reconviagen import tiny


def pipeline(upstream: Upstream, folder: Path, trunk: nn.Module, device: torch.device) -> Any:
    """``TrellisVGGTTo3DPipeline`` with every network on ``device``; VGGT without the heads that ``run`` never calls."""
    places = weights.paths(folder)
    line = upstream.module("trellis.pipelines").TrellisVGGTTo3DPipeline()
    line.models = {
        name: upstream.module("trellis.models").from_pretrained(str(places.trellis / "ckpts" / file)).eval().to(device)
        for name, (file, _, _) in tiny.NETWORKS.items()
    }
    line.sparse_structure_vggt_cond = line.models["sparse_structure_vggt_cond"]
    line.slat_vggt_cond = line.models["slat_vggt_cond"]
    source = str(places.dinov2_source)
    image_model: Any = torch.hub.load(source, "dinov2_vitl14_reg", source="local", pretrained=False)  # type: ignore[no-untyped-call]
    image_model.load_state_dict(torch.load(places.dinov2_checkpoint, weights_only=True))
    line.models["image_cond_model"] = image_model.eval().to(device)
    mean, deviation = (
        torch.tensor(v, device=device).view(3, 1, 1) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    )
    line.image_cond_model_transform = lambda picture: (picture - mean) / deviation
    line.VGGT_model = SimpleNamespace(aggregator=trunk)
    line.VGGT_dtype = torch.bfloat16
    line.low_vram = False
    line._device = device
    said = json.loads((places.trellis / "pipeline.json").read_text())["args"]
    sampler = upstream.module("trellis.pipelines.samplers").FlowEulerGuidanceIntervalSampler(sigma_min=1e-5)
    line.sparse_structure_sampler = line.slat_sampler = sampler
    line.sparse_structure_sampler_params = said["sparse_structure_sampler"]["params"]
    line.slat_sampler_params = said["slat_sampler"]["params"]
    line.slat_normalization = said["slat_normalization"]
    return line


def asked(sampling: Sampling) -> dict[str, Any]:
    """A sampling in the words of upstream's ``run``."""
    said = {
        "steps": sampling.steps,
        "cfg_strength": sampling.strength,
        "cfg_interval": sampling.interval,
        "guidance_rescale": sampling.rescale,
        "rescale_t": sampling.rescale_t,
    }
    return {name: value for name, value in said.items() if value is not None}
