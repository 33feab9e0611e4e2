"""What an attempt is told, and what it leaves in its folder, whichever executor runs it: recipe, outcomes, manifest."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from meshdrop.daemon.base import fsops
from meshdrop.daemon.workers.answers import value_of
from meshdrop.daemon.workers.process import read_answer

RESULT = "result.json"
MANIFEST = "attempt.json"


State = Literal["ok", "failed", "skipped"]


@dataclass(frozen=True)
class Step:
    """One model to be run, with the settings that it is handed."""

    model: str
    settings: Mapping[str, Any]


@dataclass(frozen=True)
class Recipe:
    """What an attempt runs, in this order. Equal recipes are equal texts."""

    steps: tuple[Step, ...]
    custom_models: Mapping[str, str]
    extra_formats: tuple[str, ...] = ()

    @classmethod
    def of(
        cls,
        models: Sequence[tuple[str, Mapping[str, Any]]],
        custom_models: Mapping[str, str],
        extra_formats: Sequence[str] = (),
    ) -> Recipe:
        """From names and settings."""
        return cls(tuple(Step(name, settings) for name, settings in models), custom_models, tuple(extra_formats))

    def to_text(self) -> str:
        """Canonical JSON."""
        steps = [{"model": step.model, "settings": dict(step.settings)} for step in self.steps]
        told = {"steps": steps, "custom_models": dict(self.custom_models), "extra_formats": list(self.extra_formats)}
        return json.dumps(told, sort_keys=True)

    @classmethod
    def from_text(cls, text: str) -> Recipe:
        """The recipe that ``to_text`` wrote."""
        told = json.loads(text)
        steps = tuple(Step(step["model"], step["settings"]) for step in told["steps"])
        return cls(steps, told["custom_models"], tuple(told["extra_formats"]))


@dataclass(frozen=True)
class ModelOutcome:
    """What became of one model. ``error_class`` is a ``RunClass`` or None; ``seconds`` by the clock, ``started_at`` in
    Unix seconds, memory in MiB; None: not known. ``carried_over``: an earlier attempt had finished it."""

    state: State
    error_class: str | None = None
    reason: str = ""
    fix: str = ""
    started_at: float | None = None
    seconds: float | None = None
    cpu_seconds: float | None = None
    peak_rss_mib: int | float | None = None
    peak_vram_mib: int | float | None = None
    carried_over: bool = False

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values, as they stand in the manifest and in ``report.json``."""
        facts = asdict(self)
        return facts if self.carried_over else {name: fact for name, fact in facts.items() if name != "carried_over"}


Outcomes = Mapping[str, ModelOutcome]


def write_manifest(folder: Path, outcomes: Outcomes) -> None:
    """Vouch for an attempt's end: each model's outcome, by its name. Raises ``OSError``."""
    told = {"models": {name: outcome.to_json() for name, outcome in outcomes.items()}}
    fsops.write_file(folder / MANIFEST, json.dumps(told, indent=1).encode())


def read_manifest(folder: Path) -> dict[str, ModelOutcome] | None:
    """Each model's outcome of an attempt that ended, by name; None when it did not end by itself.

    Raises ``OSError`` when that cannot be told now: the disk fails, or is away.
    """
    try:
        models = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["models"]
        return {name: ModelOutcome(**facts) for name, facts in models.items()}
    except FileNotFoundError:
        if not folder.parent.is_dir():
            raise
        return None
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


@dataclass(frozen=True)
class Vouched:
    """A file of a model's folder as its answer vouches for it: bytes, and their hash."""

    size: int
    sha256: str


@dataclass(frozen=True)
class Asset:
    """Of what an answer says about where its mesh comes from, the part that the report shows."""

    licences: tuple[str, ...] = ()


#: What a model may hand back beside its mesh; ``models.measure.judged_views`` writes and reads it.
HANDED_BACK = re.compile(r"masks/([0-9]{2,6}\.png|index\.json)|cameras\.json")


@dataclass(frozen=True)
class ModelAnswer:
    """What a model's process left as its answer. ``files`` by plain name, at least one; ``made_by`` is whose mesh it
    is, ``registered`` whether it stands in the capture's frame; ``handed_back`` are masks and poses that it is judged
    by, delivered beside its files; ``figures``, ``settings`` and ``versions`` are the model's own JSON values. Seconds,
    MiB; None: not told."""

    files: Mapping[str, Vouched]
    made_by: str | None = None
    registered: bool | None = None
    handed_back: tuple[str, ...] = ()
    figures: Mapping[str, Any] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    versions: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    asset: Asset = Asset()
    unseen_fraction: float | None = None
    seconds: float | None = None
    cpu_seconds: float | None = None
    peak_rss_mib: int | float | None = None
    peak_vram_mib: int | float | None = None

    @classmethod
    def from_json(cls, told: object) -> ModelAnswer:
        """What ``told`` says; ``ValueError`` with a sentence when it is not what an answer must be."""
        answer = value_of(cls, told)
        if not answer.files:
            raise ValueError("files: it vouches for none")
        if strange := [name for name in answer.files if name != os.path.basename(name) or name[:1] in ("", ".")]:
            raise ValueError(f"files: {strange[0]!r} is no plain file name")
        if strange := [name for name in answer.handed_back if not HANDED_BACK.fullmatch(name)]:
            raise ValueError(f"handed_back: {strange[0]!r} is neither a mask nor the cameras")
        return answer

    @classmethod
    def read(cls, folder: Path) -> ModelAnswer:
        """The answer in a model's folder; ``ValueError`` when there is none, or it is not what it must be."""
        return cls.from_json(read_answer(folder / RESULT))


def finished_before(folder: Path) -> ModelOutcome | None:
    """The outcome of a model that an earlier attempt finished and whose files are still what they were."""
    try:
        answer = ModelAnswer.read(folder)
        if any(fsops.sha256_of(folder / name) != file.sha256 for name, file in answer.files.items()):
            return None
    except (OSError, ValueError):
        return None
    return ModelOutcome(
        "ok",
        seconds=answer.seconds,
        cpu_seconds=answer.cpu_seconds,
        peak_rss_mib=answer.peak_rss_mib,
        peak_vram_mib=answer.peak_vram_mib,
        carried_over=True,
    )


def carry_over(previous: Path, current: Path) -> None:
    """Move models that an earlier attempt finished into the new attempt's folder, so that they need not run again."""
    for answer in sorted(previous.glob(f"*/{RESULT}")):
        target = current / answer.parent.name
        if not target.exists():
            fsops.rename_new(answer.parent, target)
