"""A model's folder of weights while it is being filled: parts, proofs, places, and the manifest after every file.

A file stands in its place only when its hash was the expected one. Until then it lies in ``.partial``, under the name
of its content, where a later fetch goes on with it.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from meshdrop.daemon.base import fsops
from meshdrop.daemon.base.errors import MeshdropError
from meshdrop.daemon.weights.sources import Offer
from meshdrop.models.contract.weights import (
    MANIFEST,
    BadManifest,
    Catalogue,
    Entry,
    Resource,
    WeightFile,
    plain_size,
    read_manifest,
)

PARTIAL = ".partial"
_CHUNK = 4 << 20


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Nobody else fills ``folder``, which is made, meanwhile; raises ``MeshdropError`` when somebody does."""
    fsops.make_dir(folder / PARTIAL)
    held = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        _lock(held, folder)
        yield
    finally:
        os.close(held)


def _lock(held: int, folder: Path) -> None:
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise MeshdropError(
            f"another fetch is filling {folder}", "wait until it has ended, or end it: both would write the same"
        ) from error
    except OSError:
        return  # a file system without locks on folders: two fetches waste time there, and still prove each file


class WeightsFolder:
    """One model's folder and its manifest. Use while ``alone``."""

    def __init__(self, path: Path, catalogue: Catalogue) -> None:
        self.path = path
        try:
            self._manifest = read_manifest(path, catalogue.model)
        except BadManifest as error:
            raise MeshdropError(
                f"{path / MANIFEST} {error}",
                "move it away and fetch again: files that are whole are kept, and only looked at",
            ) from error

    def pinned(self, resource: Resource, file: WeightFile) -> str | None:
        """The SHA-256 that a file must have: known to this release, or from the first fetch of the same revision."""
        entry = self._manifest.files.get(resource.target(file))
        return file.sha256 or (entry.sha256 if entry is not None and entry.source == resource.source else None)

    def begun(self, offer: Offer) -> int:
        """How many bytes of a file lie here from an earlier fetch. More than it has are thrown away."""
        size = plain_size(self.part(offer)) or 0
        if size > offer.bytes:
            fsops.remove_tree(self.part(offer))
            return 0
        return size

    def part(self, offer: Offer) -> Path:
        """Where a file lies until it is whole."""
        return self.path / PARTIAL / offer.identity

    def holds(self, offer: Offer, pinned: str | None, source: str, follow: Callable[[int], None]) -> bool:
        """Whether the file stands in its place already, by its hash; then the manifest vouches for it."""
        path = self.path / offer.target
        if plain_size(path) != offer.bytes:
            return False
        sha256, git_blob = _hashes(path, offer.bytes, follow)
        if not _is_expected(offer, pinned, sha256, git_blob):
            return False
        self._vouch(offer.target, Entry(offer.bytes, sha256, source))
        return True

    def place(self, offer: Offer, pinned: str | None, source: str, follow: Callable[[int], None]) -> Entry:
        """Prove that the part is the expected file and put it in its place; one that is not is thrown away."""
        part, path = self.part(offer), self.path / offer.target
        sha256, git_blob = _hashes(part, offer.bytes, follow)
        if plain_size(part) != offer.bytes or not _is_expected(offer, pinned, sha256, git_blob):
            fsops.remove_tree(part)
            raise MeshdropError(
                f"{offer.place} arrived with other bytes than expected (SHA-256 {sha256}, expected "
                f"{pinned or offer.identity}); it was thrown away",
                "fetch again; if this happens twice, the server, a proxy or this machine's memory changes files",
            )
        fsops.sync_file(part)
        fsops.make_dir(path.parent)
        fsops.remove_tree(path)
        fsops.rename_new(part, path)
        fsops.sync_dir(path.parent)
        entry = Entry(offer.bytes, sha256, source)
        self._vouch(offer.target, entry)
        return entry

    def _vouch(self, target: str, entry: Entry) -> None:
        self._manifest = replace(self._manifest, files={**self._manifest.files, target: entry})
        content = json.dumps(self._manifest.to_json(), indent=1).encode()
        fsops.write_file(self.path / MANIFEST, content + b"\n")


def _hashes(path: Path, size: int, follow: Callable[[int], None]) -> tuple[str, str]:
    """SHA-256 and git blob id of a file, in one reading."""
    sha256, git_blob, done = hashlib.sha256(), hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False), 0
    with open(path, "rb", buffering=0) as file:
        while chunk := file.read(_CHUNK):
            sha256.update(chunk)
            git_blob.update(chunk)
            done += len(chunk)
            follow(done)
    return sha256.hexdigest(), git_blob.hexdigest()


def _is_expected(offer: Offer, pinned: str | None, sha256: str, git_blob: str) -> bool:
    """By the best that is known: a pin, else the source's SHA-256, else the commit's own hash of the file."""
    if pinned or offer.sha256:
        return sha256 == (pinned or offer.sha256)
    return git_blob == offer.git_blob
