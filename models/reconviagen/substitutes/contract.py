"""What we rely on in upstream's code, checked before it is used.

A table of what is called and with which arguments, and one measured fact: which of the two guidance formulas it has.
"""

from __future__ import annotations

import importlib
import inspect
from typing import Any

#: module -> dotted name in it -> parameters that we pass by name or by place, in this order.
CALLED: dict[str, dict[str, tuple[str, ...]]] = {
    "trellis.models": {
        "SparseStructureFlowModel.forward": ("self", "x", "t", "cond"),
        "SparseStructureDecoder.forward": ("self", "x"),
        "SLatFlowModel.forward": ("self", "x", "t", "cond"),
        "SLatGaussianDecoder.forward": ("self", "x"),
        "SLatGaussianDecoder.to_representation": ("self", "x"),
        "SLatMeshDecoder.forward": ("self", "x"),
        "SLatMeshDecoder.to_representation": ("self", "x"),
        "ModulatedMultiViewCond.forward": ("self", "aggregated_tokens_list", "image_cond"),
        "ModulatedSLATMultiViewCond.forward": ("self", "aggregated_tokens_list", "image_cond"),
    },
    "trellis.models.structured_latent_vae.decoder_mesh": {
        "SparseFeatures2Mesh.__init__": ("self", "device", "res", "use_color")
    },
    "trellis.modules.sparse.basic": {"SparseTensor.replace": ("self", "feats", "coords")},
    "trellis.modules.attention.modules": {"MultiHeadAttention.forward": ("self", "x", "context")},
    "trellis.modules.sparse.attention.modules": {"SparseMultiHeadAttention.forward": ("self", "x", "context")},
    "trellis.pipelines.samplers": {
        "FlowEulerGuidanceIntervalSampler.__init__": ("self", "sigma_min"),
        "FlowEulerGuidanceIntervalSampler.sample_once": ("self", "model", "x_t", "t", "t_prev", "cond"),
    },
    "trellis.representations.mesh.flexicube": {
        "FlexiCubes.__init__": ("self", "device"),
        "FlexiCubes.__call__": ("self", "voxelgrid_vertices", "scalar_field", "cube_idx", "resolution"),
        "FlexiCubes._get_case_id": ("self", "occ_fx8", "surf_cubes", "res"),
    },
    "trellis.representations.mesh.cube2mesh": {
        "SparseFeatures2Mesh.get_layout": ("self", "feats", "name"),
        "get_defomed_verts": ("v_pos", "deform", "res"),
    },
    "vggt.models.aggregator": {"Aggregator.__init__": ("self", "img_size", "patch_size", "embed_dim", "depth")},
}


def broken_promises() -> list[str]:
    """What upstream's code does not have as we call it, a sentence each; imports it."""
    broken = [
        sentence
        for place, functions in CALLED.items()
        for name, parameters in functions.items()
        if (sentence := _difference(place, name, parameters))
    ]
    return broken or _other_guidance()


def _difference(place: str, name: str, parameters: tuple[str, ...]) -> str | None:
    target: Any = importlib.import_module(place)
    for part in name.split("."):
        target = getattr(target, part, None)
    if target is None:
        return f"{place} has no {name}"
    there = tuple(inspect.signature(target).parameters)
    if there[: len(parameters)] != parameters:
        return f"{place}.{name} takes ({', '.join(there)}), not ({', '.join(parameters)}, ...)"
    return None


def _other_guidance() -> list[str]:
    """Guide between a positive 1 and a negative 0 with strength 3: 3 by the formula that we mean, 4 by the clone's."""
    import torch  # noqa: PLC0415 - takes seconds

    sampler = importlib.import_module("trellis.pipelines.samplers").FlowEulerGuidanceIntervalSampler(sigma_min=0.0)
    answer = sampler._inference_model(
        lambda x, t, cond: torch.full_like(x, float(cond)),
        torch.zeros(1, 1),
        0.5,
        cond=1,
        neg_cond=0,
        cfg_strength=3.0,
        cfg_interval=(0.0, 1.0),
        guidance_rescale=0.0,
    ).item()
    if answer == 3:
        return []
    return [f"its guidance of strength 3 between 1 and 0 gives {answer:g}, not w * pos + (1 - w) * neg = 3"]
