"""Upstream's own export, for those who want to compare: its ``to_glb`` on what our conductor generated.

It decimates, looks for holes in a thousand renderings and bakes thirty renderings of the Gaussians into a texture by
2,500 steps of Adam; photographs are not used. Needs CUDA device 0 and the packages of ``upstream.FOR_TO_GLB``.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from meshdrop.models.mesh.mesh import TexturedMesh
from meshdrop.models.reconviagen.gaussian_reading import HARMONIC
from meshdrop.models.reconviagen.generated import Generated
from meshdrop.models.reconviagen.upstream import Upstream

#: Share of the triangles that upstream's own application takes away.
SIMPLIFY = 0.95

#: Of upstream's Gaussians: the cube they live in as corner and extent.
_CUBE = [-0.5, -0.5, -0.5, 1.0, 1.0, 1.0]
#: Opacities of exactly 0 or 1 have no logit.
_SURE = 1e-6


def exported(upstream: Upstream, generated: Generated, texture_size: int, seed: int) -> TexturedMesh:
    """Upstream's textured mesh of an object: canonical frame turned to +Y up, the cube's unit, no texel seen.

    ``upstream`` must have been loaded with ``to_glb``; ``seed`` decides which rendering each step of the baking uses.
    """
    cloud, mesh = as_upstream(upstream, generated)
    with _chance(seed), torch.enable_grad():
        made = upstream.module("trellis.utils.postprocessing_utils").to_glb(
            cloud, mesh, simplify=SIMPLIFY, texture_size=texture_size, verbose=False
        )
    faces = np.asarray(made.faces, np.int32)
    texture = np.asarray(made.visual.material.baseColorTexture.convert("RGB"), np.uint8)
    uv = np.clip(np.asarray(made.visual.uv, np.float32), 0, 1)[faces]
    unseen = np.zeros(texture.shape[:2], np.bool_)
    return TexturedMesh(np.asarray(made.vertices, np.float32), faces, uv, texture, unseen)


@contextmanager
def _chance(seed: int) -> Iterator[None]:
    """numpy's own and torch's chance start from ``seed`` inside; upstream's baking draws from both."""
    before = np.random.get_state()
    np.random.seed(seed)
    try:
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            yield
    finally:
        np.random.set_state(before)


def as_upstream(upstream: Upstream, generated: Generated, device: str = "cuda") -> tuple[Any, Any]:
    """(``Gaussian``, ``MeshExtractResult``) in upstream's canonical frame. Values are those of ``generated``; where
    upstream keeps them as inverses of activations, those are made again."""

    def tensor(values: NDArray[Any]) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(values)).to(device)

    given = generated.gaussians
    # without its usual floor and biases: the scales here have them in already
    cloud = upstream.module("trellis.representations").Gaussian(
        aabb=_CUBE,
        sh_degree=0,
        mininum_kernel_size=0.0,
        scaling_bias=1.0,
        opacity_bias=0.5,
        scaling_activation="exp",
        device=device,
    )
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
