"""Which networks are in memory when: one at a time, or all of them; measured either way."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import nn

from meshdrop.models.reconviagen.generated import StageRecord
from meshdrop.models.reconviagen.settings import PROFILES_MIB

T = TypeVar("T")


@dataclass(frozen=True)
class MemoryProfile:
    """How memory is spent. ``resident``: networks stay loaded. ``keep_projections``: keys and values of the pictures
    are kept while sampling (0.8 GB for six views) instead of computed in every step."""

    name: str
    resident: bool
    keep_projections: bool


#: From most memory to least; after an out-of-memory error the next one is tried.
PROFILES: dict[str, MemoryProfile] = {
    profile.name: profile
    for profile in (
        MemoryProfile("resident", True, True),
        MemoryProfile("staged", False, True),
        MemoryProfile("tiny", False, False),
    )
}


def profile_for(total_mib: int | None) -> str:
    """The profile for a card with ``total_mib`` of memory; "staged" where that is unknown or there is no card."""
    if total_mib is None:
        return "staged"
    return next(name for name, from_mib in PROFILES_MIB.items() if total_mib >= from_mib)


def smaller(profile: MemoryProfile) -> MemoryProfile | None:
    """The next profile that needs less memory."""
    names = list(PROFILES)
    rest = names[names.index(profile.name) + 1 :]
    return PROFILES[rest[0]] if rest else None


class StagedRun:
    """Runs stages, and holds networks for as long as the profile says.

    ``builders`` makes each network by its name; ``check`` may raise to end the run and is asked before each stage and
    each network.
    """

    def __init__(
        self,
        builders: Mapping[str, Callable[[], nn.Module]],
        device: torch.device,
        profile: MemoryProfile,
        check: Callable[[], None] = lambda: None,
    ) -> None:
        self._builders = builders
        self._device = device
        self._held: dict[str, nn.Module] = {}
        self.profile = profile
        self.check = check
        self.records: list[StageRecord] = []

    def run(self, name: str, work: Callable[..., T], *parts: str) -> T:
        """``work`` with the networks ``parts``, which are released afterwards unless the profile is resident.

        Leaves one ``StageRecord`` in ``records``, also when the stage fails.
        """
        self.check()
        self._reset_peak()
        began = loaded = time.perf_counter()
        try:
            networks = [self._part(part) for part in parts]
            self._wait()
            loaded = time.perf_counter()
            result = work(*networks)
            del networks  # before they are released, or they would live on in this frame
            self._wait()
        finally:
            self.records.append(StageRecord(name, time.perf_counter() - loaded, loaded - began, self._peak_mib()))
            if not self.profile.resident:
                self.release()
        return result

    def load_all(self) -> None:
        """Load every network that is not there yet; what a resident profile does before its first job."""
        for part in self._builders:
            self._part(part)

    def release(self) -> None:
        """Let go of every network and give the memory back to the driver.

        The networks hold no cycles: they go with their last reference, and a search for cycles after each of eight
        stages would take a second.
        """
        self._held.clear()
        if self._device.type == "cuda":
            torch.cuda.empty_cache()

    def _part(self, name: str) -> nn.Module:
        if name not in self._held:
            self.check()
            self._held[name] = self._builders[name]()
        return self._held[name]

    def _wait(self) -> None:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)

    def _reset_peak(self) -> None:
        if self._device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self._device)

    def _peak_mib(self) -> int | None:
        return torch.cuda.max_memory_allocated(self._device) >> 20 if self._device.type == "cuda" else None
