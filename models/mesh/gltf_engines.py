"""The two programs that can run the vendored Khronos validator, which is JavaScript: mini-racer (V8 inside Python, the
extra ``[validate]``) and Node. Nothing is fetched, and neither is imported or started before it is used.

Whoever calls ``Engine.judge`` does so in a process of its own that somebody limits: a file may keep the validator busy
for ever, and V8 ends the whole process when its memory does not suffice.
"""

from __future__ import annotations

import functools
import importlib.metadata
import importlib.util
import json
import resource
import shutil
import signal
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_HERE = Path(__file__).resolve().parent
PACKAGE = _HERE / "vendor" / "gltf-validator"
_LIBRARY = PACKAGE / "gltf_validator.dart.js"
_JUDGE = _HERE / "gltf_judge.js"
#: What a validating process may write to. V8 sets half a gigabyte aside; a GLB of 40 MB needs 130 MB beyond that.
MEMORY_MIB = 3072
#: V8's own limit on objects, below the other, so that it can still say that it is reached. Files lie beside them.
_HEAP_MIB = 1536
MINI_RACER, NODE = "mini-racer", "Node"

# The validator puts its steps off with setImmediate, which plain V8 lacks; here they wait for the next evaluation.
_PLAIN_V8 = """
var exports = {}, waiting = [], said = "", failed = "";
var setImmediate = step => { waiting.push(step); };
"""
# What a step promises is kept only after the evaluation that it ran in: the question is one of its own.
_STEP = "for (const step of waiting.splice(0)) step(); 0"
_IS_OVER = "said !== '' || failed !== '' || waiting.length === 0"
_BY_NODE = """
judge(require(process.argv[1]), new Uint8Array(require("fs").readFileSync(process.argv[2]))).then(
  text => { process.stdout.write(JSON.stringify({ node: process.versions.node, text })); },
  error => { console.error(String(error)); process.exitCode = 1; });
"""


class EngineFailed(Exception):
    """An engine came to no judgement; the message says why."""


@dataclass(frozen=True)
class ValidatorReply:
    """What the validator found in one GLB. ``counts`` are errors, warnings, infos and hints, at least so many where
    ``truncated``. ``messages`` are the first few ``{severity 0..3, code, message, pointer}``, errors first. ``by``
    names the engine with its version, ``version`` the validator's.
    """

    by: str
    version: str
    counts: tuple[int, int, int, int]
    truncated: bool
    messages: tuple[dict[str, Any], ...]


@dataclass(frozen=True)
class Engine:
    """One way to run the validator. ``judge(path)`` raises ``EngineFailed``, and ``OSError`` for an unreadable file."""

    name: str
    judge: Callable[[Path], ValidatorReply]


def engine(name: str | None = None) -> Engine | None:
    """The engine called ``name``, or the one to use: mini-racer where it is installed, else Node. None where that is
    not here. Starts neither."""
    if name in (None, MINI_RACER) and importlib.util.find_spec("py_mini_racer") is not None:
        return Engine(MINI_RACER, judge_by_mini_racer)
    if name in (None, NODE) and (node := shutil.which("node") or shutil.which("nodejs")) is not None:
        return Engine(NODE, functools.partial(judge_by_node, node))
    return None


def validator_version() -> str:
    """The version of the vendored validator."""
    return str(json.loads((PACKAGE / "package.json").read_text(encoding="utf-8"))["version"])


def limit_memory() -> None:
    """Keep this process and those it starts from writing to more than ``MEMORY_MIB``. V8 reserves far more addresses
    than it uses, so it is the data segment that is limited and not the address space."""
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY_MIB << 20, MEMORY_MIB << 20))


def judge_by_mini_racer(path: Path) -> ValidatorReply:
    """Judge a GLB in this very process."""
    try:
        from py_mini_racer import MiniRacer  # noqa: PLC0415 - an extra, and 80 MB
        from py_mini_racer._exc import MiniRacerBaseException  # noqa: PLC0415 - the base class is not exported
    except ImportError as error:
        raise EngineFailed(f"mini-racer cannot be imported ({error})") from error
    try:
        with MiniRacer() as v8, path.open("rb") as file:
            v8.set_hard_memory_limit(_HEAP_MIB << 20)
            for program in (_PLAIN_V8, _LIBRARY.read_text(encoding="utf-8"), _JUDGE.read_text(encoding="utf-8")):
                v8.eval(program)
            if size := path.stat().st_size:
                file.readinto(v8.eval(f"var bytes = new Uint8Array({size}); bytes"))  # type: ignore[arg-type]
            else:
                v8.eval("var bytes = new Uint8Array(0)")
            v8.eval("judge(exports, bytes).then(text => { said = text; }, error => { failed = String(error); }); 0")
            while not v8.eval(_IS_OVER):
                v8.eval(_STEP)
            said, failed = str(v8.eval("said")), str(v8.eval("failed"))
    except MiniRacerBaseException as error:
        raise EngineFailed(_first_line(str(error))) from error
    if not said:
        raise EngineFailed(_first_line(failed) if failed else "the validator stopped without a report")
    return _judgement(f"{MINI_RACER} {importlib.metadata.version('mini-racer')}", said)


def judge_by_node(node: str, path: Path) -> ValidatorReply:
    """Judge a GLB by starting ``node``; its complaints go where ours do."""
    program = _JUDGE.read_text(encoding="utf-8") + _BY_NODE
    command = [node, f"--max-old-space-size={_HEAP_MIB}", "-e", program, "--", str(_LIBRARY), str(path)]
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, check=False)
    except OSError as error:
        raise EngineFailed(f"{node} could not be started ({error.strerror})") from error
    if done.returncode < 0:
        raise EngineFailed(f"{node} was ended by {signal.Signals(-done.returncode).name}")
    try:
        said = json.loads(done.stdout)
        return _judgement(f"{NODE} {said['node']}", said["text"])
    except (ValueError, TypeError, KeyError) as error:
        raise EngineFailed(f"{node} ended with exit code {done.returncode} and no report; see the log") from error


def _judgement(by: str, text: str) -> ValidatorReply:
    told = json.loads(text)
    errors, warnings, infos, hints = told["counts"]
    counts = errors, warnings, infos, hints
    return ValidatorReply(by, told["version"], counts, told["truncated"], tuple(told["messages"]))


def _first_line(text: str) -> str:
    return text.strip().partition("\n")[0]
