"""The volumetric material of pass 1: a colour for every point of space, so that no surface needs an atlas yet.

Munkberg et al., "Extracting Triangular 3D Models, Materials, and Lighting From Images", 2022, section 3 ("Shape and
materials"): a small network over the encoded position.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

from meshdrop.models.nvdiffrec.search.encoding import HashSettings, best_encoding

HIDDEN = 32
HIDDEN_LAYERS = 2
#: Adam's epsilon for the tables (Müller et al. 2022, section 4): an entry that few pixels touch has gradients far
#: below the usual 1e-8, which would damp its steps to nothing.
EPSILON = 1e-15


class MaterialField(nn.Module):
    """World points (P, 3) float32 metres -> ``channels`` values in 0..1, (P, channels) float32.

    The first three channels are sRGB colour (captured light included), the next three, when asked for, ks (occlusion,
    roughness, metal). ``low`` and ``high`` are the corners of the box that holds the object; points beyond it take
    the value of its nearest point.

    The reference implementation multiplies gradients on their way through network and tables to save half precision
    from underflow. Here all is float32 and Adam with ``EPSILON`` does not mind the scale, so gradients stay as they
    are, also those that move the surface.
    """

    def __init__(
        self, low: Tensor, high: Tensor, channels: int = 3, settings: HashSettings | None = None, seed: int = 0
    ) -> None:
        super().__init__()
        device = low.device
        self.low: Tensor
        self.side: Tensor
        self.register_buffer("low", low.float())
        # one scale for all axes, so that cells are cubes
        self.register_buffer("side", (high - low).max().float())
        self.encoding = best_encoding(device, settings, seed)
        self.network = _network(self.encoding.width, channels, torch.Generator().manual_seed(seed)).to(device)

    def forward(self, points: Tensor) -> Tensor:
        """The material at ``points``."""
        colours: Tensor = torch.sigmoid(self.network(self.encoding((points - self.low) / self.side)))
        return colours


def _network(inputs: int, outputs: int, generator: torch.Generator) -> nn.Sequential:
    """Hidden layers with ReLU; He et al. 2015 weights, and biases of zero: it starts at mid-grey."""
    sizes = [inputs, *[HIDDEN] * HIDDEN_LAYERS, outputs]
    layers: list[nn.Module] = []
    for count, (before, after) in enumerate(pairwise(sizes)):
        linear = nn.Linear(before, after)
        nn.init.kaiming_uniform_(linear.weight, nonlinearity="relu", generator=generator)
        nn.init.zeros_(linear.bias)
        layers += [linear, nn.ReLU()] if count < len(sizes) - 2 else [linear]
    return nn.Sequential(*layers)
