"""What a published folder is made of: which file comes from where. Building it copies nothing yet."""

from __future__ import annotations

import json
import os
import textwrap
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from daemon import fsops
from daemon.crash import crashpoint
from daemon.errors import FAILURES
from daemon.places import Places, shown
from daemon.runner import files_of
from daemon.settings import Settings
from db.records import Job, ModelRun
from models.entries import take_facts
from models.layout import is_own_output
from models.problem import Problem, printable
from models.rig_profile import FILE as RIG_FILE
from models.rig_profile import SCHEMA as RIG_SCHEMA
from models.rig_profile import rig_of

RECEIPT = "receipt.json"
LOG_TAIL_BYTES = 65_536
_NO_LIMIT = 1 << 62


@dataclass
class Bundle:
    """Files of a folder that is about to be published: ``copies`` from disk, ``texts`` written as they are.

    Keys are posix paths inside the folder. ``left_out`` names what was not taken along, with the reason.
    """

    copies: dict[str, Path] = field(default_factory=dict)
    texts: dict[str, bytes] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)
    #: The folder as it came: of what lies in it a stranger may still hold a handle.
    received: Path | None = None

    def write(self, target: Path, job: Job) -> None:
        """Make ``target`` hold exactly this, all of it flushed; the receipt with every SHA-256 is written last."""
        fsops.fresh_dir(target)
        receipt: dict[str, dict[str, Any]] = {}
        for name, source in self.copies.items():
            fsops.make_dir_below(target, (target / name).parent)
            try:
                copied = fsops.copy_file(source, target / name, _NO_LIMIT)
            except (fsops.NotRegular, FileNotFoundError):
                if self.received not in source.parents:
                    raise
                self.left_out[printable(name)] = "was replaced or deleted while it was copied"
                continue
            receipt[printable(name)] = {"size": copied.size, "sha256": copied.sha256}
            crashpoint("D1a")
        for name, text in self.texts.items():
            fsops.write_file(target / name, text)
            receipt[name] = {"size": len(text), "sha256": fsops.sha256_of(target / name)}
        identity = {"schema": "meshdrop.receipt/1", "job": job.id, "name": shown(job.name)}
        facts = {**identity, "files": receipt, "left_out": self.left_out}
        fsops.write_file(target / RECEIPT, json.dumps(facts, indent=1, ensure_ascii=False).encode())
        fsops.sync_tree(target)
        fsops.sync_dir(target.parent)


def result_bundle(job: Job, places: Places, settings: Settings) -> Bundle:
    """Everything for outbox/: report, pictures, each finished model's files and, unless switched off, the capture.

    What was read comes from our own checked copy; what else lay in the folder (notes, raw photographs) as it came.
    """
    bundle = Bundle()
    _add_results(bundle, places.attempt(job.id, job.attempt))
    if settings.deliver_capture:
        _add_received(bundle, places.claimed / job.id, settings)
        for fact in take_facts(places.capture(job.id), settings.limits):
            bundle.copies[f"capture/{fact.path}"] = places.capture(job.id) / fact.path
    return bundle


def failure_bundle(
    job: Job, runs: list[ModelRun], places: Places, settings: Settings, *, with_results: bool = True
) -> Bundle:
    """Everything for failed/: WHY.txt, failure.json, the end of the log, the capture as it came, results if any."""
    bundle = Bundle()
    attempt = places.attempt(job.id, job.attempt)
    if with_results:
        _add_results(bundle, attempt)
    if is_movable(job, places, settings):
        bundle.left_out["capture"] = "too large to copy: it follows as capture/ right after this folder"
    else:
        _add_received(bundle, places.claimed / job.id, settings)
    if log := _log_tail(places.work(job.id), attempt):
        bundle.texts["log.txt"] = log
    if b"/" in job.name:
        rig = rig_of(os.fsdecode(job.name))
        # Moved back into the inbox itself, the folder must not be read with other cameras.
        bundle.texts[RIG_FILE] = json.dumps({"schema": RIG_SCHEMA, "rig": rig}).encode()
    bundle.texts["WHY.txt"] = why_text(job, runs, bundle.left_out).encode("utf-8", "backslashreplace")
    bundle.texts["failure.json"] = json.dumps(_failure_facts(job, runs, bundle.left_out), indent=1).encode()
    return bundle


def is_movable(job: Job, places: Places, settings: Settings) -> bool:
    """Whether a refused folder is too big or too deep to copy, so that it is moved into failed/ after its WHY.txt."""
    limits = settings.limits
    if not (places.claimed / job.id).exists():
        return False
    facts = take_facts(places.claimed / job.id, limits, everything=True)
    too_many = len(facts) > limits.max_entries or any(fact.kind == "deep" for fact in facts)
    return too_many or sum(fact.size for fact in facts) > 2 * limits.max_capture_bytes


def _add_results(bundle: Bundle, attempt: Path) -> None:
    """Files that the models' own result.json vouches for, the report and the pictures."""
    for name in ("report.html", "report.json"):
        if (attempt / name).is_file():
            bundle.copies[name] = attempt / name
    previews = attempt / "measure" / "previews"
    for picture in sorted(previews.rglob("*.png")):
        bundle.copies[f"previews/{picture.relative_to(previews)}"] = picture
    for answer in sorted(attempt.glob("*/result.json")):
        for name in files_of(json.loads(answer.read_text(encoding="utf-8"))):
            bundle.copies[f"{answer.parent.name}/{name}"] = answer.parent / name


def _add_received(bundle: Bundle, folder: Path, settings: Settings) -> None:
    """Every plain file of a received folder as it is; links and devices are only named.

    Of a folder that came back from us (it carries our receipt) the old results stay behind, and its ``capture/`` is
    unfolded where that overwrites nothing.
    """
    if not folder.exists():
        return
    bundle.received = folder
    facts = take_facts(folder, settings.limits, everything=True)
    paths = {fact.path for fact in facts}
    returned = RECEIPT in paths
    for fact in facts:
        if fact.kind != "file" or fact.links > 1:
            bundle.left_out[printable(fact.path)] = "not a plain file of its own"
        elif returned and is_own_output(fact.path):
            continue
        else:
            inner = fact.path.removeprefix("capture/") if returned else fact.path
            free = inner == fact.path or inner not in paths
            bundle.copies[f"capture/{inner if free else fact.path}"] = folder / fact.path


def _log_tail(work: Path, attempt: Path) -> bytes:
    parts = []
    for log in sorted([*work.glob("*.log"), *attempt.glob("*/*.log")]):
        content = log.read_bytes()[-LOG_TAIL_BYTES:]
        if content.strip():
            text = "".join(
                c if c in "\n\t" or c.isprintable() else f"\\x{ord(c):02x}" for c in content.decode("utf-8", "replace")
            )
            parts.append(f"--- {log.parent.name}/{log.name}\n{text}\n")
    return "".join(parts).encode()


def why_text(job: Job, runs: list[ModelRun], left_out: Mapping[str, str]) -> str:
    """WHY.txt: what happened, which file, and at the end what to do next; for somebody who sees only the share."""
    failure = FAILURES[job.reason_code or "models"]
    lines = [f"{shown(job.name)}: {failure.says}", ""]
    problems = [Problem(**fields) for fields in (job.inspection or {}).get("problems", [])]
    for problem in problems:
        where = f"{problem.file}: " if problem.file else ""
        lines += [*_wrapped("  ", where + problem.message), *_wrapped("      -> ", problem.fix), ""]
    unfinished = [run for run in runs if run.state != "ok" and run.attempt == job.attempt]
    told_below = bool(unfinished) and job.reason_code in ("models", "no_model")
    if not problems and not told_below and job.reason and job.reason != failure.says:
        lines += [wrapped for line in job.reason.splitlines() for wrapped in _wrapped("  ", line)] + [""]
    for run in unfinished:
        reason = f"{run.model} {run.state}: {run.reason}"
        lines += [*_wrapped("  ", reason), *_wrapped("      -> ", run.fix or ""), ""]
    if left_out:
        lines += ["Not in this folder:", *(f"  {name}: {why}" for name, why in left_out.items()), ""]
    when = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(job.created_at))
    lines += [f"Job {job.short_id}, received {when}, attempt {job.attempt}. Details for programs: failure.json", ""]
    lines += ["What to do next:", *_wrapped("  ", failure.fix)]
    return "\n".join(lines) + "\n"


def _wrapped(start: str, text: str) -> list[str]:
    """Lines of at most a hundred characters: the page is read in whatever editor a double click opens, and in
    terminals, which would obey what a model printed for them."""
    text = printable(" ".join(text.split()))
    return textwrap.wrap(text, 100, initial_indent=start, subsequent_indent=" " * len(start), break_long_words=False)


def _failure_facts(job: Job, runs: list[ModelRun], left_out: Mapping[str, str]) -> dict[str, Any]:
    failure = FAILURES[job.reason_code or "models"]
    return {
        "schema": "meshdrop.failure/1",
        "job": job.id,
        "name": shown(job.name),
        "code": job.reason_code,
        "says": failure.says,
        "reason": job.reason,
        "fix": failure.fix,
        "problems": (job.inspection or {}).get("problems", []),
        "attempt": job.attempt,
        "runs": [
            {"model": run.model, "attempt": run.attempt, "state": run.state, "class": run.error_class,
             "reason": run.reason, "fix": run.fix}
            for run in runs
        ],
        "left_out": dict(left_out),
    }  # fmt: skip
