"""What a published folder is made of: which file comes from where. Building it copies nothing yet."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import textwrap
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from daemon import fsops
from daemon.beside import CLOSED, lies_beside
from daemon.crash import crashpoint
from daemon.errors import FAILURES
from daemon.places import Places, shown
from daemon.runner import files_of
from daemon.settings import Settings
from db.records import Job, ModelRun
from models.entries import Fact, take_facts
from models.layout import is_own_output
from models.limits import CaptureLimits
from models.names import RECEIPT
from models.problem import Problem, printable
from models.rig_profile import FILE as RIG_FILE
from models.rig_profile import SCHEMA as RIG_SCHEMA
from models.rig_profile import rig_of

#: Room that a folder on its way out leaves on the disk, in bytes and in files.
SPARE_BYTES, SPARE_FILES = 16_000_000, 100
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
        """Make ``target`` hold exactly this, all of it flushed; the receipt with every SHA-256 is written last.

        Nothing is left of it when that fails: half a copy would keep a full disk full. Raises ``OSError`` (ENOSPC)
        before the first byte when there is no room for all of it.
        """
        fsops.fresh_dir(target)
        try:
            self._require_room(target)
            self._write(target, job)
        except OSError:
            with contextlib.suppress(OSError):
                fsops.remove_tree(target)
            raise

    def _require_room(self, target: Path) -> None:
        size = sum(len(text) for text in self.texts.values())
        for source in self.copies.values():
            with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                size += os.lstat(source).st_size
        if (lack := lacks_room(target, size, len(self.copies) + len(self.texts))) is not None:
            raise OSError(errno.ENOSPC, f"to publish this, {lack}", str(target.parent))

    def _write(self, target: Path, job: Job) -> None:
        receipt: dict[str, dict[str, Any]] = {}
        for name, source in self.copies.items():
            fsops.make_dir_below(target, (target / name).parent)
            try:
                copied = fsops.copy_file(source, target / name, _NO_LIMIT)
            except (fsops.NotRegular, FileNotFoundError, PermissionError) as error:
                closed = isinstance(error, PermissionError)
                if self.received not in source.parents or (closed and os.access(source, os.R_OK)):
                    raise
                self.left_out[printable(name)] = CLOSED if closed else "was replaced or deleted while it was copied"
                continue
            receipt[name] = {"size": copied.size, "sha256": copied.sha256}
            crashpoint("D1a")
        for name, text in self.texts.items():
            fsops.write_file(target / name, text)
            receipt[name] = {"size": len(text), "sha256": fsops.sha256_of(target / name)}
        identity = {"schema": "meshdrop.receipt/1", "job": job.id, "name": shown(job.name)}
        facts = {**identity, "files": receipt, "left_out": self.left_out}
        # In ASCII: a byte of a name that is no UTF-8 stands there as os.fsdecode() gives it, \udc80 to \udcff.
        fsops.write_file(target / RECEIPT, json.dumps(facts, indent=1).encode())
        fsops.sync_tree(target)
        fsops.sync_dir(target.parent)


def lacks_room(folder: Path, size: int, files: int) -> str | None:
    """What ``folder``'s disk lacks for so many bytes and files, as the end of a sentence; None when there is room."""
    disk = os.statvfs(folder)
    if disk.f_bavail * disk.f_frsize < size + SPARE_BYTES:
        return f"{(size + SPARE_BYTES) / 1e6:,.0f} MB must be free on the disk"
    if disk.f_files > 0 and disk.f_favail < files + SPARE_FILES:
        return f"room for {files + SPARE_FILES:,} more files is needed on the disk (df -i)"
    return None


def result_bundle(job: Job, places: Places, settings: Settings) -> Bundle:
    """Everything for outbox/: report, pictures, each finished model's files and, unless switched off, the capture.

    What was read comes from our own checked copy; what else lay in the folder (notes, raw photographs) as it came.
    """
    bundle = Bundle()
    _add_results(bundle, places.attempt(job.id, job.attempt))
    if settings.deliver_capture:
        own = take_facts(places.capture(job.id), settings.limits)
        root = root_of(places, job)
        _add_beside(bundle, places.claimed / job.id, [root + fact.path for fact in own], settings.limits)
        for fact in own:
            bundle.copies[f"capture/{fact.path}"] = places.capture(job.id) / fact.path
    _leave_out_clashes(bundle)
    return bundle


def root_of(places: Places, job: Job) -> str:
    """The folder in which the set lay when it was read, with its slash; "" for the dropped folder itself."""
    try:
        told = json.loads((places.work(job.id) / "job.json").read_bytes())
        return str(told.get("root", ""))
    except (FileNotFoundError, ValueError):
        return ""


def is_more_than_copied(job: Job, places: Places, settings: Settings) -> bool:
    """Whether something of a folder whose result was published lies in the original alone."""
    own = take_facts(places.capture(job.id), settings.limits)
    root, claimed = root_of(places, job), places.claimed / job.id
    return bool(lies_beside(claimed, [root + fact.path for fact in own], settings.limits).left_out)


def failure_bundle(
    job: Job, runs: list[ModelRun], places: Places, settings: Settings, *, with_results: bool = True
) -> Bundle:
    """Everything for failed/: WHY.txt, failure.json, the end of the log, the capture as it came, results if any."""
    bundle = Bundle()
    attempt = places.attempt(job.id, job.attempt)
    if with_results:
        _add_results(bundle, attempt)
    if is_movable(job, places, settings):
        bundle.left_out["capture"] = (
            "too large to copy: it follows as capture/ right after this folder, as it came; "
            "receipt.json does not list its files"
        )
    else:
        _add_received(bundle, places.claimed / job.id, settings)
    _leave_out_clashes(bundle)
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
    folder = places.claimed / job.id
    return folder.exists() and size_of_copy(folder, settings.limits) is None


def size_of_copy(folder: Path, limits: CaptureLimits) -> int | None:
    """Bytes of a folder that is copied whole should it fail; None for one that is moved. Raises ``OSError``."""
    facts = take_facts(folder, limits, everything=True)
    too_many = len(facts) > limits.max_entries or any(fact.kind in ("deep", "wide") for fact in facts)
    size = sum(fact.size for fact in facts)
    return None if too_many or size > limits.max_capture_bytes + limits.max_extra_bytes else size


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


def _add_beside(bundle: Bundle, folder: Path, own: Collection[str], limits: CaptureLimits) -> None:
    """What lay beside the set, as it came; what is too much of it is named, and stays in the original."""
    if not folder.exists():
        return
    bundle.received = folder
    beside = lies_beside(folder, own, limits)
    bundle.left_out |= beside.left_out
    _add_facts(bundle, folder, beside.taken)


def _add_received(bundle: Bundle, folder: Path, settings: Settings) -> None:
    """Every plain file of a received folder as it is; links and devices are only named."""
    if not folder.exists():
        return
    bundle.received = folder
    _add_facts(bundle, folder, take_facts(folder, settings.limits, everything=True))


def _add_facts(bundle: Bundle, folder: Path, facts: Collection[Fact]) -> None:
    """Of a folder that came back from us (it carries our receipt) the old results stay behind, and its ``capture/`` is
    unfolded where that overwrites nothing.
    """
    paths = {fact.path for fact in facts}
    returned = os.path.lexists(folder / RECEIPT)
    for fact in facts:
        if fact.kind != "file" or fact.links > 1:
            bundle.left_out[f"capture/{printable(fact.path)}"] = "not a plain file of its own"
        elif returned and is_own_output(fact.path):
            continue
        else:
            inner = fact.path.removeprefix("capture/") if returned else fact.path
            free = inner == fact.path or inner not in paths
            bundle.copies[f"capture/{inner if free else fact.path}"] = folder / fact.path


def _leave_out_clashes(bundle: Bundle) -> None:
    """One name cannot be a file and a folder, as it would where a folder that came back is unfolded. What is ours
    stays, and so does what lies in a folder.
    """
    received = {name for name, source in bundle.copies.items() if bundle.received in source.parents}
    folders = {str(folder) for name in bundle.copies for folder in PurePosixPath(name).parents}
    ours = bundle.copies.keys() - received
    for name in sorted(received):
        if name in folders or any(str(folder) in ours for folder in PurePosixPath(name).parents):
            del bundle.copies[name]
            bundle.left_out[printable(name)] = "a file and a folder have this name"


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
