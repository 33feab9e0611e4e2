"""Can each configured model run here? Asked in processes of their own, started as model runs are."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from meshdrop.daemon.base.settings import Settings
from meshdrop.daemon.doctor.checks.finding import Finding
from meshdrop.daemon.doctor.checks.gpu import Wanted
from meshdrop.daemon.doctor.checks.run import cure_of
from meshdrop.daemon.weights.fetch import cure
from meshdrop.daemon.workers.process import Home, worker_environment
from meshdrop.models.contract.base import ModelUnavailable
from meshdrop.models.contract.entry import ModelEntry
from meshdrop.models.contract.registry import BUILT_IN
from meshdrop.models.contract.stated import from_json
from meshdrop.models.contract.weights import MANIFEST, Catalogue, verify
from meshdrop.models.files.problem import printable

#: A healthy model answers within two seconds; one that hangs is a finding, not a wait.
LIMIT_S = 20.0
#: Of what a model prints while it is asked, no more than this is looked at.
_SAID_MOST = 1 << 20
#: How often it is looked whether a model has stated something.
_LOOK_S = 0.02

#: Loading a model's class imports its libraries, which finds what looking for files cannot: a broken or
#: unsuitable installation. The doctor's own process stays free of them.
_ASK = """
import json, sys
name, settings, custom = json.loads(sys.argv[1])
from meshdrop.models.contract.base import ModelUnavailable
from meshdrop.models.contract.registry import load_class
from meshdrop.models.contract.stated import to_json
try:
    model = load_class(name, custom)
    if name in custom:
        print()
        print("ENTRY", json.dumps(to_json(model.entry, settings)), flush=True)
    model.probe()
    try:
        model(settings, lambda percent, step: None)
        answer = None
    except (ValueError, TypeError) as error:
        answer = [f"it refuses its settings: {error}", f"correct [model_settings.{name}] in the settings"]
except ModelUnavailable as error:
    answer = [error.reason, error.fix]
print()
print("ANSWER", json.dumps(answer))
"""


@dataclass(frozen=True)
class ModelQuestion:
    """A model that is being asked, by a process of its own; without one ``hindrance`` tells why.

    What it says is kept in memory, not in pipes and not on a disk: something it has started may outlive it with the
    other end in hand, and the disk may be full.
    """

    model: str
    process: subprocess.Popen[bytes] | None = None
    hindrance: str = ""
    out: int = -1
    err: int = -1
    is_custom: bool = False
    #: When it was asked, by the monotonic clock.
    since: float = 0.0

    def answer(self) -> tuple[str, str] | None:
        """None when the model can run here; else the reason and the cure."""
        if self.process is None:
            return f"no process could be started to ask it: {self.hindrance}", "cure that, then ask again"
        try:
            code = self.process.wait(timeout=self._left_s())
        except subprocess.TimeoutExpired:
            return f"did not answer within {LIMIT_S:.0f} seconds", "try again when the machine is idle"
        with suppress(LookupError, ValueError):
            found: list[str] | None = json.loads(self._told("ANSWER"))
            return None if found is None else (found[0], found[1])
        last = _text(self.err).strip().rpartition("\n")[2] or "it said nothing"
        fix = "install Meshdrop afresh"
        if self.is_custom:
            fix = f"mend the file that [custom_models] names for {self.model}: it ends its process while it is loaded"
        return f"its process ended with code {code}: {printable(last)}", fix

    def entry(self) -> ModelEntry:
        """What is known of the model. One of somebody's own is waited for until it has stated that, and is taken to
        need nothing when it does not; why it does not is its ``answer``."""
        if not self.is_custom:
            return BUILT_IN[self.model]
        while self.process is not None:
            has_ended = self.process.poll() is not None
            with suppress(LookupError, ValueError):
                return from_json(self.model, json.loads(self._told("ENTRY")))
            if has_ended or self._left_s() == 0:
                break
            time.sleep(_LOOK_S)
        return ModelEntry()

    def _told(self, word: str) -> str:
        """What stands behind ``word`` in the last whole line that begins with it; raises ``LookupError``."""
        lines = [line for line in _text(self.out).splitlines(keepends=True) if line.startswith(f"{word} ")]
        if not lines or not lines[-1].endswith("\n"):
            raise LookupError(word)
        return lines[-1].removeprefix(f"{word} ")

    def _left_s(self) -> float:
        """Seconds that it may still take."""
        return max(self.since + LIMIT_S - time.monotonic(), 0)

    def end(self) -> None:
        """Kill it, with whatever it has started."""
        if self.process is not None:
            with suppress(OSError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            os.close(self.out)
            os.close(self.err)


def _text(descriptor: int) -> str:
    """The end of what was said."""
    size = os.fstat(descriptor).st_size
    return os.pread(descriptor, _SAID_MOST, max(size - _SAID_MOST, 0)).decode("utf-8", "replace")


@contextmanager
def asked(
    models: Mapping[str, Mapping[str, Any]], custom: Mapping[str, str], weights: Path | None
) -> Iterator[list[ModelQuestion]]:
    """Start asking every model (name -> its settings) at once; whatever still runs at the end is killed."""
    with ExitStack() as stack:
        try:
            top = Path(stack.enter_context(_scratch()))
        except OSError as error:
            yield [ModelQuestion(model, None, str(error), is_custom=model in custom) for model in models]
            return
        home = Home(top, top / "cache", weights)
        questions = [_asked(model, options, custom, home) for model, options in models.items()]
        try:
            yield questions
        finally:
            for question in questions:
                question.end()


def _scratch() -> tempfile.TemporaryDirectory[str]:
    """A folder in memory, or in /tmp: that may be full or closed, and is nothing that the service needs."""
    try:
        return tempfile.TemporaryDirectory(prefix="meshdrop-doctor-", dir="/dev/shm", ignore_cleanup_errors=True)
    except OSError:
        return tempfile.TemporaryDirectory(prefix="meshdrop-doctor-", ignore_cleanup_errors=True)


def _asked(model: str, options: Mapping[str, Any], custom: Mapping[str, str], home: Home) -> ModelQuestion:
    text = json.dumps([model, dict(options), dict(custom)])
    out, err = os.memfd_create("out"), os.memfd_create("err")
    try:
        process = subprocess.Popen(
            [sys.executable, "-I", "-c", _ASK, text],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            env=worker_environment(f"doctor-{os.getpid()}", home.state, home),
            start_new_session=True,
        )
    except OSError as error:
        os.close(out)
        os.close(err)
        return ModelQuestion(model, None, str(error), is_custom=model in custom)
    return ModelQuestion(model, process, "", out, err, model in custom, time.monotonic())


def configured(settings: Settings) -> dict[str, Mapping[str, Any]]:
    """Name and settings of each model that captures go through."""
    return {name: settings.model_settings.get(name, {}) for name in settings.models}


def answered(question: ModelQuestion, wanted: Wanted) -> Finding:
    """Can this model run here? One that is missing among others is skipped; when none is left, nothing can be made."""
    name = f"model {question.model}"
    trouble = question.answer()
    if trouble is None:
        return Finding(name, "ok", "can run here")
    result, why = wanted.loss_of([question.model])
    return Finding(name, result, trouble[0], why, trouble[1] or "see README, Models")


def weights(model: str, catalogue: Catalogue, top: Path, wanted: Wanted) -> Finding:
    """Are the weights of a model here, every file with its size? Every byte is read by `meshdrop weights verify`."""
    try:
        damages = verify(top / model, catalogue, deep=False)
    except OSError as error:
        result, why = wanted.loss_of([model])
        return Finding(f"weights {model}", result, f"cannot be read: {error}", why, cure_of(error))
    if not damages:
        return Finding(f"weights {model}", "ok", f"{len(list(catalogue.files()))} files in {top / model}")
    result, why = wanted.loss_of([model])
    more = f" (and {len(damages) - 1} more)" if len(damages) > 1 else ""
    if all(damage.kind == "missing" for damage in damages) and not (top / model / MANIFEST).exists():
        says = f"not in {top / model}"
    else:
        says = f"not whole in {top / model}: {damages[0]}{more}"
    return Finding(f"weights {model}", result, says, why, cure(catalogue, damages))


def code(model: str, which: Callable[[], str], wanted: Wanted) -> Finding:
    """Is the published program there that a model calls? ``which`` says so, or raises ``ModelUnavailable``."""
    try:
        return Finding(f"code {model}", "ok", which())
    except ModelUnavailable as error:
        result, why = wanted.loss_of([model])
        return Finding(f"code {model}", result, error.reason, why, error.fix)
