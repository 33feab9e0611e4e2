"""A generated object as upstream's own classes, for upstream's ``to_glb`` and its renderers. Needs CUDA device 0."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.reconviagen.gaussian_reading import HARMONIC
from models.reconviagen.generated import Generated
from models.reconviagen.upstream import Upstream

#: Of upstream's Gaussians: the cube they live in as corner and extent.
_CUBE = [-0.5, -0.5, -0.5, 1.0, 1.0, 1.0]
#: Opacities of exactly 0 or 1 have no logit.
_SURE = 1e-6


def as_upstream(upstream: Upstream, generated: Generated, device: str = "cuda") -> tuple[Any, Any]:
    """(``Gaussian``, ``MeshExtractResult``) in upstream's canonical frame. Values are those of ``generated``; where
    upstream keeps them as inverses of activations, those are made again."""

    def tensor(values: NDArray[Any]) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(values)).to(device)

    given = generated.gaussians
    # without its usual floor and biases: the scales here have them in already
    cloud = upstream.module("trellis.representations").Gaussian(
        aabb=_CUBE, sh_degree=0, mininum_kernel_size=0.0, scaling_bias=1.0, opacity_bias=0.5, scaling_activation="exp",
        device=device,
    )  # fmt: skip
    cloud.from_xyz(tensor(given.positions))
    cloud.from_features(((tensor(given.colours) - 0.5) / HARMONIC)[:, None])
    cloud.from_scaling(tensor(given.scales))
    cloud.from_rotation(tensor(given.rotations))
    cloud.from_opacity(tensor(given.opacity)[:, None].clamp(_SURE, 1 - _SURE))
    colours = None if generated.vertex_colours is None else tensor(generated.vertex_colours)
    mesh = upstream.module("trellis.representations").MeshExtractResult(
        tensor(generated.vertices), tensor(generated.faces), colours
    )
    return cloud, mesh
