"""The multiresolution hash encoding: points in the unit cube to trainable features, in two implementations.

Müller, Evans, Schied and Keller, "Instant Neural Graphics Primitives with a Multiresolution Hash Encoding", 2022,
section 3. Level l is a grid of resolution floor(coarsest * b^l), equation 2 and 3; its corners' features are stored
densely where they fit into the table and are hashed into it where they do not (equation 4); a point takes the
trilinear mixture of its eight corners, and the levels are put side by side.
"""

from __future__ import annotations

import importlib
import importlib.util
import math
from dataclasses import dataclass
from itertools import product
from typing import Any, Protocol

import torch
from torch import Tensor, nn

#: Equation 4's factors: one, and two large primes.
HASH_FACTORS = (1, 2_654_435_761, 805_459_861)
#: Features start as noise this small: near zero, but no two entries alike (section 4, initialization).
FIRST_FEATURES = 1e-4


@dataclass(frozen=True)
class HashSettings:
    """``levels`` grids of ``features`` values a corner, at most 2^``log2_entries`` corners stored a level, resolutions
    from ``coarsest`` to ``finest`` cells a side in geometric steps."""

    levels: int = 16
    features: int = 2
    log2_entries: int = 19
    coarsest: int = 16
    finest: int = 4096

    @property
    def growth(self) -> float:
        """The factor b from one level's resolution to the next (equation 3)."""
        return math.exp(math.log(self.finest / self.coarsest) / (self.levels - 1)) if self.levels > 1 else 1.0

    @property
    def resolutions(self) -> tuple[int, ...]:
        """Cells a side of every level (equation 2)."""
        # without the hair's breadth the last level can fall below ``finest`` by rounding
        return tuple(math.floor(self.coarsest * self.growth**level + 1e-6) for level in range(self.levels))


#: Enough for pictures of a few hundred pixels, and cheap enough for a CPU.
SMALL = HashSettings(levels=8, log2_entries=15, coarsest=8, finest=256)
FULL = HashSettings()


class Encoding(Protocol):
    """Points (P, 3) float32 in 0..1 -> features (P, ``width``) float32, with gradients to points and parameters.

    Implementations are ``torch.nn.Module``s. Features start within +-FIRST_FEATURES. The resolutions of a level and
    the way entries are hashed may differ between implementations by details that no trained result can show.
    """

    width: int

    def __call__(self, points: Tensor) -> Tensor:
        """The features of ``points``."""
        ...

    def parameters(self) -> Any:
        """The trainable tables."""
        ...


class TorchHash(nn.Module):
    """The encoding in plain torch, on any device. Points outside 0..1 are clamped."""

    def __init__(self, settings: HashSettings, generator: torch.Generator | None = None) -> None:
        super().__init__()
        self.settings = settings
        self.width = settings.levels * settings.features
        most = 2**settings.log2_entries
        self.tables = nn.ParameterList(
            (torch.rand(min((cells + 1) ** 3, most), settings.features, generator=generator) * 2 - 1) * FIRST_FEATURES
            for cells in settings.resolutions
        )
        self.corners: Tensor
        self.register_buffer("corners", torch.tensor(list(product((0, 1), repeat=3))))

    def forward(self, points: Tensor) -> Tensor:
        """See ``Encoding``."""
        unit = points.clamp(0, 1)
        levels = zip(self.settings.resolutions, self.tables, strict=True)
        return torch.cat([self._level(unit, cells, table) for cells, table in levels], dim=1)

    def _level(self, unit: Tensor, cells: int, table: Tensor) -> Tensor:
        """One level's features (P, features)."""
        scaled = unit * cells
        # a point on the far border belongs to the last cell
        low = scaled.detach().floor().clamp_max(cells - 1)
        share = (scaled - low)[:, None]
        sides = torch.where(self.corners.bool(), share, 1 - share)
        # not prod(): its gradient asks the device whether there are zeros
        weight = sides[..., 0] * sides[..., 1] * sides[..., 2]
        entry = self._entry(low.long()[:, None] + self.corners, cells)
        found = table.index_select(0, entry.reshape(-1)).reshape(*entry.shape, -1)
        mixed: Tensor = (weight[..., None] * found).sum(dim=1)
        return mixed

    def _entry(self, corner: Tensor, cells: int) -> Tensor:
        """Where the features of the corners (P, 8, 3) are stored within the level, (P, 8) int64."""
        i, j, k = corner.unbind(dim=-1)
        if (cells + 1) ** 3 <= 2**self.settings.log2_entries:
            return (i * (cells + 1) + j) * (cells + 1) + k
        mixed = i * HASH_FACTORS[0] ^ j * HASH_FACTORS[1] ^ k * HASH_FACTORS[2]
        hashed: Tensor = mixed & (2**self.settings.log2_entries - 1)
        return hashed


class TinyCudaHash(nn.Module):
    """tiny-cuda-nn's encoding, in float32 so that the gradients of sparse entries do not underflow."""

    def __init__(self, settings: HashSettings, seed: int = 0) -> None:
        super().__init__()
        tinycudann = importlib.import_module("tinycudann")
        self.settings = settings
        self.width = settings.levels * settings.features
        self.module = tinycudann.Encoding(
            n_input_dims=3,
            encoding_config={
                "otype": "HashGrid",
                "n_levels": settings.levels,
                "n_features_per_level": settings.features,
                "log2_hashmap_size": settings.log2_entries,
                "base_resolution": settings.coarsest,
                "per_level_scale": settings.growth,
            },
            seed=seed,
            dtype=torch.float32,
        )

    def forward(self, points: Tensor) -> Tensor:
        """See ``Encoding``."""
        features: Tensor = self.module(points.clamp(0, 1).contiguous()).float()
        return features


def best_encoding(
    device: torch.device, settings: HashSettings | None = None, seed: int = 0
) -> TinyCudaHash | TorchHash:
    """tiny-cuda-nn's on a CUDA device where it is installed and loads, else plain torch.

    Without ``settings``: ``FULL`` on CUDA, ``SMALL`` on the CPU. The same ``seed`` gives the same start.
    """
    settings = settings or (FULL if device.type == "cuda" else SMALL)
    if device.type == "cuda" and tiny_cuda_problem() is None:
        return TinyCudaHash(settings, seed).to(device)
    return TorchHash(settings, torch.Generator().manual_seed(seed)).to(device)


def tiny_cuda_problem() -> str | None:
    """Why tiny-cuda-nn cannot be used here, in words for a log; None when it can."""
    if not torch.cuda.is_available():
        return "torch sees no CUDA device"
    if importlib.util.find_spec("tinycudann") is None:
        return "tiny-cuda-nn (tinycudann) is not installed"
    try:
        importlib.import_module("tinycudann")
    except (ImportError, OSError) as error:
        return f"tiny-cuda-nn is installed but does not load: {error}"
    return None
