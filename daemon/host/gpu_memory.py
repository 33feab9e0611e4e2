"""How full the GPUs' memory is."""

from __future__ import annotations

from dataclasses import dataclass

from meshdrop.daemon.host.gpus import Refused, SmiQuery
from meshdrop.daemon.host.programs import NoAnswer


@dataclass(frozen=True)
class GpuMemory:
    """Memory of one GPU in MiB, by all its users together."""

    index: int
    used_mib: int
    total_mib: int


def gpu_memory(path: str | None = None) -> list[GpuMemory]:
    """Every GPU that the driver tells of; none without a driver, or when it gives no answer in time.

    ``path`` is where the driver's program is looked for, PATH otherwise. May take seconds.
    """
    try:
        cards = SmiQuery(path).cards() or ()
    except (NoAnswer, Refused, OSError):
        return []
    return [
        GpuMemory(card.index, card.total_mib - card.free_mib, card.total_mib)
        for card in cards
        if card.total_mib is not None and card.free_mib is not None
    ]
