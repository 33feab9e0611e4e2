"""What a model's weights are: which files from where, what their folder's manifest says of them, and whether they are
still that. Imports nothing heavy: the daemon reads this too. Nothing here writes or uses a network.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from meshdrop.models.contract.base import ModelUnavailable

#: The folder with one subfolder of weights for each model; the daemon hands it to the workers.
WEIGHTS_KEY = "MESHDROP_WEIGHTS_DIR"
MANIFEST = "weights.json"
SCHEMA = 1
_CHUNK = 4 << 20

#: Called with the bytes that were read since the last call.
Tell = Callable[[int], None]


@dataclass(frozen=True)
class WeightFile:
    """One file of a resource, by its path there. ``bytes`` and ``sha256`` are None where this release does not know
    them: then the server's word is taken at the first fetch, and the manifest's from then on.
    """

    path: str
    bytes: int | None = None
    sha256: str | None = None


@dataclass(frozen=True)
class Resource:
    """Files that belong together. ``base_url`` None: ``name`` is a model repository of the Hugging Face Hub.

    ``revision`` is the full commit, or "" for files that have none. ``folder`` is where they stand in the model's
    folder. ``means`` is the licence's consequence in one line, ``about_bytes`` their size for planning.
    """

    name: str
    revision: str
    base_url: str | None
    folder: str
    files: tuple[WeightFile, ...]
    about_bytes: int
    licence: str
    means: str

    def __post_init__(self) -> None:
        if self.base_url is not None and any(None in (file.bytes, file.sha256) for file in self.files):
            raise ValueError(f"{self.name}: nobody vouches for files outside the hub but this release")

    @property
    def source(self) -> str:
        """Names the content: equal for two resources only if their files are the same."""
        return f"{self.name}@{self.revision}" if self.revision else self.name

    def target(self, file: WeightFile) -> str:
        """The file's path in the model's folder."""
        return f"{self.folder}/{file.path}"


@dataclass(frozen=True)
class Catalogue:
    """All weights of one model."""

    model: str
    resources: tuple[Resource, ...]

    @property
    def about_bytes(self) -> int:
        """Their size for planning."""
        return sum(resource.about_bytes for resource in self.resources)

    def files(self) -> Iterator[tuple[Resource, WeightFile]]:
        """Every file with its resource."""
        for resource in self.resources:
            for file in resource.files:
                yield resource, file


@dataclass(frozen=True)
class Entry:
    """What the manifest says of a file that was fetched."""

    bytes: int
    sha256: str
    source: str


@dataclass(frozen=True)
class Manifest:
    """``weights.json``: the files that were fetched, by their path in the model's folder."""

    model: str
    files: Mapping[str, Entry]

    @property
    def digest(self) -> str | None:
        """One SHA-256 for all files: that of their list as ``sha256sum`` would print it. None without any."""
        lines = "".join(f"{self.files[path].sha256}  {path}\n" for path in sorted(self.files))
        return hashlib.sha256(lines.encode()).hexdigest() if lines else None

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values, in the order of the paths."""
        files = {path: asdict(self.files[path]) for path in sorted(self.files)}
        return {"schema": SCHEMA, "model": self.model, "files": files}


class BadManifest(Exception):
    """``weights.json`` is there but cannot be used; the message says why."""


def read_manifest(folder: Path, model: str) -> Manifest:
    """The manifest of a model's folder; one without files where there is none. Raises ``BadManifest``, ``OSError``."""
    try:
        told = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        if told["schema"] != SCHEMA:
            raise BadManifest(f"is of schema {told['schema']}, and this release reads {SCHEMA}")
        if told["model"] != model:
            raise BadManifest(f"is of {told['model']}, not of {model}")
        files = {
            str(path): Entry(int(entry["bytes"]), str(entry["sha256"]), str(entry["source"]))
            for path, entry in told["files"].items()
        }
    except FileNotFoundError:
        return Manifest(model, {})
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadManifest("is not a manifest of weights, or not a whole one") from error
    return Manifest(model, files)


@dataclass(frozen=True)
class Damage:
    """One file that is not as it should be. ``file`` is its path in the model's folder; ``says`` goes on after it."""

    file: str
    kind: Literal["manifest", "missing", "size", "hash", "source"]
    says: str

    def __str__(self) -> str:
        return f"{self.file} {self.says}"


def verify(folder: Path, catalogue: Catalogue, *, deep: bool, tell: Tell = lambda read: None) -> tuple[Damage, ...]:
    """Everything in ``folder`` that keeps the model from running or is not what was fetched; empty when all is well.

    Looks at sizes, with ``deep`` at every byte. Files that the catalogue does not name are let be. Raises ``OSError``
    when a file that is there cannot be read.
    """
    try:
        manifest = read_manifest(folder, catalogue.model)
    except BadManifest as error:
        return (Damage(MANIFEST, "manifest", str(error)),)
    found = (
        _damage(folder / resource.target(file), resource, file, manifest, deep, tell)
        for resource, file in catalogue.files()
    )
    return tuple(damage for damage in found if damage is not None)


def _damage(
    path: Path, resource: Resource, file: WeightFile, manifest: Manifest, deep: bool, tell: Tell
) -> Damage | None:
    name = resource.target(file)
    entry = manifest.files.get(name)
    size = plain_size(path)
    if entry is None:
        says = "was never fetched" if size is None else f"is there, but {MANIFEST} does not vouch for it"
        return Damage(name, "missing", says)
    if entry.source != resource.source:
        return Damage(name, "source", f"is from {entry.source}, and this release uses {resource.source}")
    if (file.sha256 or entry.sha256) != entry.sha256:
        return Damage(name, "source", f"is another file than the one this release uses, by its hash in {MANIFEST}")
    if size is None:
        return Damage(name, "missing", "is missing")
    if size != entry.bytes:
        return Damage(name, "size", f"has {size:,} bytes instead of {entry.bytes:,}")
    if deep and sha256_of(path, tell) != entry.sha256:
        return Damage(name, "hash", "has the right size, but other bytes than were fetched")
    return None


def plain_size(path: Path) -> int | None:
    """The size of a plain file (links are followed: weights may lie on another disk), or None where there is none."""
    try:
        facts = os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    return facts.st_size if stat.S_ISREG(facts.st_mode) else None


def sha256_of(path: Path, tell: Tell = lambda read: None) -> str:
    """SHA-256 of a file, told of as it is read; gigabytes take seconds."""
    digest = hashlib.sha256()
    with open(path, "rb", buffering=0) as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
            tell(len(chunk))
    return digest.hexdigest()


def where(model: str, environ: Mapping[str, str] = os.environ) -> Path:
    """The model's folder as a worker finds it; raises ``ModelUnavailable`` when no folder of weights is named."""
    top = environ.get(WEIGHTS_KEY)
    if not top:
        raise ModelUnavailable(f"{model} needs weights, and {WEIGHTS_KEY} names no folder", f"set {WEIGHTS_KEY}")
    return Path(top) / model


def require(folder: Path, catalogue: Catalogue) -> None:
    """Raise ``ModelUnavailable`` unless every file is there with its size. Takes milliseconds: no content is read."""
    try:
        damages = verify(folder, catalogue, deep=False)
    except OSError as error:
        raise ModelUnavailable(
            f"the weights of {catalogue.model} cannot be read: {error}",
            "give the service's user the right to read them",
        ) from error
    if not damages:
        return
    if all(damage.kind == "missing" for damage in damages) and not (folder / MANIFEST).exists():
        reason = f"the weights of {catalogue.model} are not in {folder}"
    else:
        others = f" (and {len(damages) - 1} more)" if len(damages) > 1 else ""
        reason = f"the weights of {catalogue.model} in {folder} are not whole: {damages[0]}{others}"
    raise ModelUnavailable(reason, f"meshdrop weights fetch {catalogue.model}")
