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

from daemon.finding import Finding
from daemon.process import Home, worker_environment
from daemon.settings import Settings

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


def findings(questions: list[Question]) -> list[Finding]:
    """One line a model. A missing model among others is skipped; when none can run, nothing can be made."""
    answers = [(question.model, question.answer()) for question in questions]
    some_work = any(trouble is None for _, trouble in answers)
    return [_finding(model, trouble, some_work=some_work) for model, trouble in answers]


def _finding(model: str, trouble: tuple[str, str] | None, *, some_work: bool) -> Finding:
    if trouble is None:
        return Finding(f"model {model}", "ok", "can run here")
    reason, fix = trouble
    why = "captures go through the other models without it" if some_work else "no capture can become a mesh"
    return Finding(f"model {model}", "warn" if some_work else "fail", reason, why, fix)
