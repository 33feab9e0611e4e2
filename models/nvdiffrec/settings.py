"""The options of nvdiffrec, checked as a whole, and what else the house knows of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from meshdrop.models.contract.entry import ModelEntry, Needs
from meshdrop.models.contract.options import one_of, settings_of, whole


@dataclass(frozen=True)
class NvdiffrecSettings:
    """What an operator may choose."""

    #: Of each pass, at most.
    iterations: int = whole(500, 1, 100_000)
    #: Side of the square texture in texels.
    texture_size: int = whole(1024, 64, 8192)
    #: What the surface is taken from: ``fusion`` (pass 2 alone), ``silhouettes`` (pass 1 first, depth unused) or
    #: ``auto``: fusion where any view has depth.
    start: str = one_of("auto", "fusion", "silhouettes")
    #: Cells of pass 1 along the object.
    search_resolution: int = whole(96, 16, 192)
    #: How finely pictures are drawn and so how much memory is used; when the GPU is full the next one is tried once.
    preset: str = one_of("fine", "normal", "small")
    #: ``cpu`` is for those who can wait.
    device: str = one_of("cuda", "cpu")
    #: Whether physically based materials and light are tried: ``auto`` where views can be spared to judge them.
    materials: str = one_of("auto", "never")

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> NvdiffrecSettings:
        """Settings from plain values; raises ``WrongSettings`` naming every unknown, mistyped or out-of-range one."""
        return settings_of("nvdiffrec", cls, values)


#: Samples of all pictures together that a preset may draw at once.
SAMPLES = {"fine": 16_000_000, "normal": 6_000_000, "small": 2_000_000}


def _needs(settings: Mapping[str, Any]) -> Needs:
    """The memory is that of the smallest preset, which is tried when the GPU is full."""
    return Needs(torch=True, cuda=settings.get("device") != "cpu", gpu_mib=3_000)


ENTRY = ModelEntry(
    "meshdrop.models.nvdiffrec.model:Nvdiffrec",
    NvdiffrecSettings,
    _needs,
    ("nvdiffrast: NVIDIA's own licence, research and evaluation only",),
)
