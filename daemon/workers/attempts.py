"""What an attempt is told, and what it leaves in its folder, whichever executor runs it: recipe, outcomes, manifest."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from meshdrop.daemon.base import fsops
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
    peak_rss_mib: int | None = None
    peak_vram_mib: int | None = None
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


def files_of(answer: Mapping[str, Any]) -> tuple[str, ...]:
    """The plain file names that a model's answer vouches for; none when the answer is not what it should be."""
    files = answer.get("files")
    if not isinstance(files, dict) or not all(isinstance(facts, dict) for facts in files.values()):
        return ()
    return tuple(files) if all(name == os.path.basename(name) and name[:1] not in ("", ".") for name in files) else ()


def finished_before(folder: Path) -> ModelOutcome | None:
    """The outcome of a model that an earlier attempt finished and whose files are still what they were."""
    try:
        answer = read_answer(folder / RESULT) or {}
        names = files_of(answer)
        if not names or any(fsops.sha256_of(folder / name) != answer["files"][name]["sha256"] for name in names):
            return None
        figures = {name: answer[name] for name in ("seconds", "cpu_seconds", "peak_rss_mib", "peak_vram_mib")}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return ModelOutcome("ok", carried_over=True, **figures)


def carry_over(previous: Path, current: Path) -> None:
    """Move models that an earlier attempt finished into the new attempt's folder, so that they need not run again."""
    for answer in sorted(previous.glob(f"*/{RESULT}")):
        target = current / answer.parent.name
        if not target.exists():
            fsops.rename_new(answer.parent, target)
