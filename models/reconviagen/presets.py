"""Named sampler settings, and what their numbers mean.

Upstream's revisions disagree about guidance: `GAP-LAB-CUHK-SZ/ReconViaGen` main computes ``w * pos + (1 - w) * neg``,
the older clone ``(1 + w) * pos - w * neg``. Here ``strength`` always has the first meaning; a number that was chosen
for the second is one larger here. A preset's name is therefore recorded with every job, never a bare number.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Sampling:
    """How one flow is sampled: Euler steps, guidance ``strength`` w, classifier-free guidance as
    ``w * positive + (1 - w) * negative`` for times in ``interval``. What is None is taken from the checkpoint's own
    pipeline.json. ``rescale``: how far the guided prediction's spread is drawn back to the unguided one's, 0..1
    (Lin et al. 2023, "Common diffusion noise schedules and sample steps are flawed", section 3.4). ``rescale_t``
    bends the time steps, see ``models.reconviagen.flows.times``."""

    steps: int
    strength: float
    interval: tuple[float, float] | None = None
    rescale: float = 0.0
    rescale_t: float | None = None

    def over(self, defaults: Mapping[str, Any]) -> Sampling:
        """The same with nothing left open. ``defaults`` is a sampler's ``params`` of pipeline.json."""
        low, high = self.interval or tuple(defaults.get("cfg_interval", (0.0, 1.0)))
        bend = self.rescale_t if self.rescale_t is not None else float(defaults.get("rescale_t", 1.0))
        return Sampling(self.steps, self.strength, (float(low), float(high)), self.rescale, bend)


@dataclass(frozen=True)
class Preset:
    """``structure`` samples where matter is, ``latents`` what it looks like. ``seed`` is the preset's own."""

    name: str
    seed: int
    structure: Sampling
    latents: Sampling


def from_clone(strength: float) -> float:
    """A strength that was chosen for ``(1 + w) * pos - w * neg``, in the meaning of ``Sampling``."""
    return strength + 1.0


PRESETS: dict[str, Preset] = {
    preset.name: preset
    for preset in (
        Preset("gap-main", 0, Sampling(30, 7.5, (0.6, 1.0), 0.7, 5.0), Sampling(12, 7.5, (0.6, 1.0), 0.5, 3.0)),
        Preset("seeds", 42, Sampling(30, from_clone(7.5)), Sampling(12, from_clone(3.0))),
    )
}
