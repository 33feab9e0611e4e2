"""What the Khronos validator says of the GLBs that one model delivers, as it stands in the report."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from meshdrop.models.mesh.gltf_engines import Engine, EngineFailed, ValidatorReply, engine, limit_memory

SEVERITIES = ("error", "warning", "info", "hint")
#: Of all files together; the counts are whole.
SHOWN = 10
MISSING = "no engine for the Khronos validator is installed"
CURE = "make validate (a service: install requirements-validate.lock, see docs/operations.md), or Node 16 or newer"
AGAIN = "drop the capture again to have its files validated anew, or hand them to any glTF validator"


@dataclass(frozen=True)
class ValidationMessage:
    """One thing that the validator found: in which file, how bad, the standard's code for it, and where (a pointer
    into the file's JSON, or "")."""

    file: str
    severity: str
    code: str
    message: str
    pointer: str


@dataclass(frozen=True)
class Validation:
    """The result over all ``files``. The four counts are None when the validator did not run, and ``reason`` and
    ``fix`` then say why and what to do. ``truncated``: there are more than were counted. ``messages`` are the first
    few, errors first. ``by`` is the engine with its version, ``version`` the validator's.
    """

    status: Literal["passed", "failed", "not run"]
    files: tuple[str, ...] = ()
    errors: int | None = None
    warnings: int | None = None
    infos: int | None = None
    hints: int | None = None
    truncated: bool = False
    messages: tuple[ValidationMessage, ...] = ()
    by: str | None = None
    version: str | None = None
    reason: str | None = None
    fix: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values under the names above."""
        return asdict(self) | {"files": list(self.files), "messages": [asdict(one) for one in self.messages]}


def not_run(reason: str, by: str | None = None) -> Validation:
    """The engine ``by`` came to no judgement; ``reason`` is a sentence without its full stop."""
    return Validation("not run", by=by, reason=reason, fix=AGAIN)


def no_engine() -> Validation:
    """There is nothing here that could judge."""
    return Validation("not run", reason=MISSING, fix=CURE)


def validate(folder: Path, names: Sequence[str], found: Engine | None) -> Validation:
    """Judge the GLBs ``names`` in ``folder`` with the engine ``found``.

    Runs in this process; see ``models/mesh/gltf_engines.py`` for what that asks of the caller.
    """
    if found is None:
        return no_engine()
    judged: dict[str, ValidatorReply] = {}
    reason = None
    for name in names:
        try:
            judged[name] = found.judge(folder / name)
        except EngineFailed as error:
            reason = f"{found.name} came to no result on {name}: {error}"
        except OSError as error:
            reason = f"{name} cannot be read ({error.strerror})"
    summary = _summary(judged)
    if reason is not None and summary.status != "failed":  # an error that was found is worth more than a gap
        return not_run(reason, by=found.name)
    return summary


def validate_models(folders: Mapping[str, Path], name: str | None = None) -> dict[str, Validation]:
    """Judge every GLB that each model's ``result.json`` vouches for, with the engine called ``name`` or any. From here
    on this process may use little memory: it is meant to end soon."""
    limit_memory()
    found = {}
    for model, folder in folders.items():
        answer = json.loads((folder / "result.json").read_text(encoding="utf-8"))
        glbs = [file for file in answer["files"] if file.endswith(".glb")]
        found[model] = validate(folder, glbs, engine(name))
    return found


def _summary(judged: dict[str, ValidatorReply]) -> Validation:
    if not judged:
        return not_run("there is no GLB")
    errors, warnings, infos, hints = map(sum, zip(*(one.counts for one in judged.values()), strict=True))
    messages = [
        ValidationMessage(name, SEVERITIES[told["severity"]], told["code"], told["message"], told["pointer"])
        for name, one in judged.items()
        for told in one.messages
    ]
    last = list(judged.values())[-1]
    return Validation(
        "failed" if errors else "passed",
        tuple(judged),
        errors,
        warnings,
        infos,
        hints,
        any(one.truncated for one in judged.values()),
        tuple(sorted(messages, key=lambda one: SEVERITIES.index(one.severity))[:SHOWN]),
        last.by,
        last.version,
    )
