"""Where weights come from: the network (``daemon.weights.hub``) or a folder that was fetched elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from meshdrop.daemon.base.errors import MeshdropError
from meshdrop.models.contract.weights import (
    MANIFEST,
    BadManifest,
    Catalogue,
    Resource,
    WeightFile,
    plain_size,
    read_manifest,
)

_CHUNK = 4 << 20


@dataclass(frozen=True)
class Offer:
    """One file that a source has. ``target`` is its path in the model's folder, ``place`` its URL or path.

    A source that knows no ``sha256`` knows the file's git blob id, which is the SHA-1 of its length and content.
    """

    target: str
    place: str
    bytes: int
    sha256: str | None
    git_blob: str | None

    @property
    def identity(self) -> str:
        """Names the content; a part of it is kept under this name."""
        return self.sha256 or f"git-{self.git_blob}"


class Source(Protocol):
    """Has files, and brings them. Both verbs raise ``MeshdropError`` with what happened, where and what to do."""

    #: Where from, for people.
    says: str

    def offers(self, resource: Resource, files: Sequence[WeightFile]) -> list[Offer]:
        """What it has of these files of a resource, in this order; all of them."""

    def bring(self, offer: Offer, partial: Path, follow: Callable[[int], None]) -> None:
        """Complete the file ``partial``, which may hold the first bytes already. Calls ``follow`` with its length."""


class FolderSource:
    """A folder that `meshdrop weights fetch` filled on another machine: the folder of the model or the one above it."""

    def __init__(self, folder: Path, catalogue: Catalogue) -> None:
        below = folder / catalogue.model
        self._folder = below if (below / MANIFEST).is_file() else folder
        self.says = str(self._folder)
        if not (self._folder / MANIFEST).is_file():
            raise MeshdropError(
                f"{folder} holds no weights of {catalogue.model}: there is no {MANIFEST}",
                f"fill it on a machine with a network: meshdrop weights fetch {catalogue.model} --folder DIR",
            )
        try:
            self._manifest = read_manifest(self._folder, catalogue.model)
        except BadManifest as error:
            raise MeshdropError(f"{self._folder / MANIFEST} {error}", "copy the folder again, whole") from error

    def offers(self, resource: Resource, files: Sequence[WeightFile]) -> list[Offer]:
        """What the manifest there vouches for, if it is there."""
        return [self._offer(resource, file) for file in files]

    def _offer(self, resource: Resource, file: WeightFile) -> Offer:
        target = resource.target(file)
        entry, place = self._manifest.files.get(target), self._folder / target
        if entry is None or plain_size(place) != entry.bytes:
            raise MeshdropError(f"{place} is missing or not whole", "copy the folder again, whole")
        if entry.source != resource.source:
            raise MeshdropError(
                f"{place} is from {entry.source}, and this release uses {resource.source}",
                "fetch it with the same release of Meshdrop that runs here",
            )
        return Offer(target, str(place), entry.bytes, entry.sha256, None)

    def bring(self, offer: Offer, partial: Path, follow: Callable[[int], None]) -> None:
        """Copy the rest."""
        with open(offer.place, "rb", buffering=0) as reader, open(partial, "ab") as writer:
            reader.seek(writer.tell())
            while chunk := reader.read(_CHUNK):
                writer.write(chunk)
                follow(writer.tell())
