"""Can each configured model run here? Asked in processes of their own, started as model runs are."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from daemon.check_gpu import Wanted
from daemon.finding import Finding
from daemon.process import Home, worker_environment
from daemon.settings import Settings
from daemon.weights import CATALOGUES, cure
from models.base import ModelUnavailable
from models.weights import MANIFEST, verify

#: A healthy model answers within two seconds; one that hangs is a finding, not a wait.
LIMIT_S = 20.0

#: Loading a model's class imports its libraries, which finds what looking for files cannot: a broken or
#: unsuitable installation. The doctor's own process stays free of them.
_ASK = """
import json, sys
name, settings, custom = json.loads(sys.argv[1])
from models.base import ModelUnavailable
from models.registry import load_class
try:
    model = load_class(name, custom)
    model.probe()
    try:
        model(settings, lambda percent, step: None)
        answer = None
    except (ValueError, TypeError) as error:
        answer = [f"it refuses its settings: {error}", f"correct [model_settings.{name}] in the settings"]
except ModelUnavailable as error:
    answer = [error.reason, error.fix]
print()
print(json.dumps(answer))
"""


@dataclass(frozen=True)
class Question:
    """A model that is being asked."""

    model: str
    process: subprocess.Popen[bytes]

    def answer(self) -> tuple[str, str] | None:
        """None when the model can run here; else the reason and the cure."""
        try:
            said, complaints = self.process.communicate(timeout=LIMIT_S)
        except subprocess.TimeoutExpired:
            return f"did not answer within {LIMIT_S:.0f} seconds", "try again when the machine is idle"
        if self.process.returncode != 0:
            last = complaints.decode("utf-8", "replace").strip().rpartition("\n")[2]
            return f"its process ended with code {self.process.returncode}: {last}", "install Meshdrop afresh"
        found: list[str] | None = json.loads(said.strip().rpartition(b"\n")[2])
        return None if found is None else (found[0], found[1])


@contextmanager
def asked(
    models: Mapping[str, Mapping[str, Any]], custom: Mapping[str, str], weights: Path | None
) -> Iterator[list[Question]]:
    """Start asking every model (name -> its settings) at once; whatever still runs at the end is killed."""
    with tempfile.TemporaryDirectory(prefix="meshdrop-doctor-") as name:
        home = Home(Path(name), Path(name, "cache"), weights)
        questions = [Question(model, _ask(model, options, custom, home)) for model, options in models.items()]
        try:
            yield questions
        finally:
            for question in questions:
                question.process.kill()
                question.process.communicate()


def _ask(model: str, options: Mapping[str, Any], custom: Mapping[str, str], home: Home) -> subprocess.Popen[bytes]:
    text = json.dumps([model, dict(options), dict(custom)])
    return subprocess.Popen(
        [sys.executable, "-I", "-c", _ASK, text], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, env=worker_environment(f"doctor-{os.getpid()}", home.state, home),
    )  # fmt: skip


def configured(settings: Settings) -> dict[str, Mapping[str, Any]]:
    """Name and settings of each model that captures go through."""
    return {name: settings.model_settings.get(name, {}) for name in settings.models}


def answered(question: Question, wanted: Wanted) -> Finding:
    """Can this model run here? One that is missing among others is skipped; when none is left, nothing can be made."""
    name = f"model {question.model}"
    trouble = question.answer()
    if trouble is None:
        return Finding(name, "ok", "can run here")
    result, why = wanted.loss_of([question.model])
    return Finding(name, result, trouble[0], why, trouble[1] or "see README, Models")


def weights(model: str, top: Path, wanted: Wanted) -> Finding:
    """Are the weights of a model here, every file with its size? Every byte is read by `meshdrop weights verify`."""
    catalogue = CATALOGUES[model]
    damages = verify(top / model, catalogue, deep=False)
    if not damages:
        return Finding(f"weights {model}", "ok", f"{len(list(catalogue.files()))} files in {top / model}")
    result, why = wanted.loss_of([model])
    more = f" (and {len(damages) - 1} more)" if len(damages) > 1 else ""
    if all(damage.kind == "missing" for damage in damages) and not (top / model / MANIFEST).exists():
        says = f"not in {top / model}"
    else:
        says = f"not whole in {top / model}: {damages[0]}{more}"
    return Finding(f"weights {model}", result, says, why, cure(catalogue, damages))


def code(model: str, options: Mapping[str, Any], wanted: Wanted) -> Finding:
    """Is the published program there that a model calls? Looks at files only."""
    from models.reconviagen import upstream  # noqa: PLC0415 - only where this model is switched on

    try:
        root = upstream.probe(Path(options["code"]) if options.get("code") else None)
    except ModelUnavailable as error:
        result, why = wanted.loss_of([model])
        return Finding(f"code {model}", result, error.reason, why, error.fix)
    return Finding(f"code {model}", "ok", f"{upstream.revision(root)} in {root}")
