"""Fetching a model's weights: what is missing, who has it, may it be brought; then bring, prove and place each file.

What is whole is never brought again, and a fetch may end at any moment: the next one goes on from there. What this
release does not know of a file is taken from the source at the first fetch and pinned: another file is refused later.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from meshdrop.daemon.base import fsops
from meshdrop.daemon.base.errors import MeshdropError
from meshdrop.daemon.host.machine import Room, room_at
from meshdrop.daemon.weights.folder import PARTIAL, WeightsFolder, alone
from meshdrop.daemon.weights.sources import Offer, Source
from meshdrop.models.contract.registry import BUILT_IN
from meshdrop.models.contract.weights import (
    MANIFEST,
    Catalogue,
    Damage,
    Entry,
    Resource,
    WeightFile,
    plain_size,
    verify,
)

#: The models of ours that have weights.
CATALOGUES = {name: entry.weights for name, entry in BUILT_IN.items() if entry.weights is not None}
#: Left free on the disk beside the weights themselves.
MARGIN = 256 << 20


@dataclass(frozen=True)
class FetchStep:
    """One file to bring. ``pinned`` is the SHA-256 that it must have, where one is known; ``begun`` bytes are here."""

    offer: Offer
    resource: Resource
    pinned: str | None
    begun: int

    @property
    def left(self) -> int:
        """Bytes still to bring."""
        return self.offer.bytes - self.begun


@dataclass(frozen=True)
class FetchPlan:
    """What a fetch will do. ``free`` bytes are left on the disk of ``folder``."""

    catalogue: Catalogue
    folder: Path
    source: str
    steps: tuple[FetchStep, ...]
    free: int

    @property
    def left(self) -> int:
        """Bytes to bring."""
        return sum(step.left for step in self.steps)


class Onlooker(Protocol):
    """Whoever is told what goes on, and asked."""

    def agree(self, plan: FetchPlan) -> bool:
        """Whether the plan, with its sizes and licences, may be carried out."""

    def follow(self, what: str, done: int, total: int) -> None:
        """``done`` of ``total`` bytes are checked or brought."""

    def placed(self, file: str, entry: Entry) -> None:
        """A file stands in its place, proven."""


def catalogue_of(model: str, known: Mapping[str, Catalogue]) -> Catalogue:
    """The weights of a model that has some; raises ``MeshdropError``."""
    if model not in known:
        raise MeshdropError(f"{model} has no weights", f"models with weights: {', '.join(known)}")
    return known[model]


def fetch(
    catalogue: Catalogue,
    folder: Path,
    open_source: Callable[[], Source],
    onlooker: Onlooker,
    room: Callable[[Path], Room] = room_at,
) -> bool:
    """Make ``folder`` hold every file of the catalogue, proven by hash; False when the onlooker did not agree.

    Nobody is asked for anything when nothing is missing. Raises ``MeshdropError``; whatever has arrived is kept.
    """
    with alone(folder):
        wanted = _wanted(catalogue, folder, onlooker)
        if wanted:
            place, source = WeightsFolder(folder, catalogue), open_source()
            plan = FetchPlan(
                catalogue, folder, source.says, _steps(place, source, wanted, onlooker), room(folder).free_bytes
            )
            _need_room(plan)
            if plan.steps and not onlooker.agree(plan):
                return False
            for step in plan.steps:
                _carry_out(step, place, source, onlooker)
        fsops.remove_tree(folder / PARTIAL)
    return True


def check(
    catalogue: Catalogue, folder: Path, deep: bool, follow: Callable[[str, int, int], None]
) -> tuple[Damage, ...]:
    """``models.contract.weights.verify``, told of while it reads."""
    total = sum(plain_size(folder / resource.target(file)) or 0 for resource, file in catalogue.files())
    done = 0

    def tell(read: int) -> None:
        nonlocal done
        done += read
        follow("checking what is here", done, total)

    return verify(folder, catalogue, deep=deep, tell=tell)


def cure(catalogue: Catalogue, damages: Sequence[Damage]) -> str:
    """What to do about these damages."""
    again = f"meshdrop weights fetch {catalogue.model}"
    if any(damage.kind == "manifest" for damage in damages):
        return f"move {MANIFEST} away, then: {again} (files that are whole are kept, and only looked at)"
    return f"{again} (brings only these files)"


def _wanted(catalogue: Catalogue, folder: Path, onlooker: Onlooker) -> list[tuple[Resource, list[WeightFile]]]:
    """Each resource's files that are not here or not as they should be, looked at byte by byte."""
    damaged = {damage.file for damage in check(catalogue, folder, True, onlooker.follow)}
    found = [
        (resource, [file for file in resource.files if MANIFEST in damaged or resource.target(file) in damaged])
        for resource in catalogue.resources
    ]
    return [(resource, files) for resource, files in found if files]


def _steps(
    place: WeightsFolder, source: Source, wanted: Sequence[tuple[Resource, list[WeightFile]]], onlooker: Onlooker
) -> tuple[FetchStep, ...]:
    """What has to be brought: files that are in their place, but that the manifest does not know, need not be."""
    steps = []
    for resource, files in wanted:
        for file, offer in zip(files, source.offers(resource, files), strict=True):
            pinned = place.pinned(resource, file)
            _refuse_another(offer, file, pinned, source)

            def follow(done: int, offer: Offer = offer) -> None:
                onlooker.follow(f"checking {offer.target}", done, offer.bytes)

            if not place.holds(offer, pinned, resource.source, follow):
                steps.append(FetchStep(offer, resource, pinned, place.begun(offer)))
    return tuple(steps)


def _refuse_another(offer: Offer, file: WeightFile, pinned: str | None, source: Source) -> None:
    """A file that is known must be offered as it is known; nothing is brought that would be thrown away."""
    if pinned and offer.sha256 and offer.sha256 != pinned:
        by = "this release" if file.sha256 else f"the first fetch, in {MANIFEST}"
        raise MeshdropError(
            f"{source.says} offers another {offer.target} (SHA-256 {offer.sha256}) than was pinned by {by} ({pinned})",
            "do not use it; check HF_ENDPOINT or the folder you copy from, and ask whoever published it what changed",
        )
    if file.bytes not in (None, offer.bytes):
        raise MeshdropError(
            f"{source.says} offers {offer.target} with {offer.bytes:,} bytes, and it has {file.bytes:,}",
            "do not use it; check HF_ENDPOINT or the folder you copy from",
        )


def _need_room(plan: FetchPlan) -> None:
    if plan.steps and plan.free < plan.left + MARGIN:
        raise MeshdropError(
            f"{plan.folder} has {plan.free / 1e9:.1f} GB free, and {(plan.left + MARGIN) / 1e9:.1f} GB are needed",
            "make room there, or name a folder on another disk with weights_dir in the settings (or --folder)",
        )


def _carry_out(step: FetchStep, place: WeightsFolder, source: Source, onlooker: Onlooker) -> None:
    offer = step.offer

    def bringing(done: int) -> None:
        onlooker.follow(offer.target, done, offer.bytes)

    def proving(done: int) -> None:
        onlooker.follow(f"checking {offer.target}", done, offer.bytes)

    part = place.part(offer)
    part.touch()  # also a file of no bytes has a part
    try:
        source.bring(offer, part, bringing)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise MeshdropError(
            f"the disk of {place.path} is full; what has arrived is kept", "make room there and give the command again"
        ) from error
    onlooker.placed(offer.target, place.place(offer, step.pinned, step.resource.source, proving))
