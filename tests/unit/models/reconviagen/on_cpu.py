"""Upstream's own functions on a machine without CUDA: its classes name the device "cuda" in their defaults."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch

from meshdrop.models.reconviagen.upstream import Upstream


@contextmanager
def upstream_on_cpu(upstream: Upstream) -> Iterator[None]:
    """Inside, upstream's mesh extraction and Gaussians work on the CPU."""
    mesh = "trellis.representations.mesh"
    makers: list[Any] = [
        upstream.module(f"{mesh}.cube2mesh").SparseFeatures2Mesh.__init__,
        upstream.module(f"{mesh}.flexicube").FlexiCubes.__init__,
        upstream.module("trellis.representations.gaussian.gaussian_model").Gaussian.__init__,
    ]
    with pytest.MonkeyPatch.context() as patch:
        for maker in makers:
            patch.setattr(maker, "__defaults__", tuple("cpu" if v == "cuda" else v for v in maker.__defaults__))
        patch.setattr(torch.Tensor, "cuda", lambda tensor, *_, **__: tensor)
        yield
