"""What a published folder is made of: which file comes from where. Building it copies nothing yet."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import textwrap
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from meshdrop.daemon.base import fsops
from meshdrop.daemon.base.crash import crashpoint
from meshdrop.daemon.base.failures import FAILURES
from meshdrop.daemon.base.places import Places, shown
from meshdrop.daemon.base.settings import Settings
from meshdrop.daemon.outbox.beside import CLOSED, lies_beside
from meshdrop.daemon.outbox.receipts import SCHEMA, earlier_results
from meshdrop.daemon.workers.attempts import ModelAnswer
from meshdrop.daemon.workers.trouble import is_passing, told
from meshdrop.db.records import Job, ModelRun
from meshdrop.models.capture.rig_profile import FILE as RIG_FILE
from meshdrop.models.capture.rig_profile import SCHEMA as RIG_SCHEMA
from meshdrop.models.capture.rig_profile import rig_of
from meshdrop.models.files import walk
from meshdrop.models.files.entries import Fact, take_facts
from meshdrop.models.files.limits import CaptureLimits
from meshdrop.models.files.names import RECEIPT
from meshdrop.models.files.problem import Problem, printable
from meshdrop.models.files.walk import LinkInTheWay

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
    #: Whether files of that folder are left out that people may want: what came stays with the service for a while.
    keep_original: bool = False
    #: Whether that folder is too large to copy, and is moved into this one once it is published.
    original_follows: bool = False
    #: The texts that tell what was left out, made again when everything else is there.
    told_last: Callable[[Mapping[str, str]], Mapping[str, bytes]] = lambda _: {}

    def is_without_original(self, settings: Settings) -> bool:
        """Whether the folder as it came should be in this, and was not there when it was looked for."""
        return settings.deliver_capture and self.received is None and "capture" not in self.left_out

    def write(self, target: Path, job: Job, check_share: Callable[[], None]) -> None:
        """Make ``target`` hold exactly this, all of it flushed; the receipt with every SHA-256 is written last.

        What cannot be read of the folder as it came is left out, and named. ``check_share`` raises when the share is
        away: then nothing is left out for not being there. Nothing is left of ``target`` when this fails: half a copy
        would keep a full disk full. Raises ``OSError`` (ENOSPC) before the first byte when there is no room for all.
        """
        fsops.fresh_dir(target)
        try:
            self._write(target, job, check_share, self._weigh(target))
        except OSError:
            with contextlib.suppress(OSError):
                fsops.remove_tree(target)
            raise

    def _weigh(self, target: Path) -> dict[str, int]:
        """Bytes of each file that is there. Raises ``OSError`` (ENOSPC) when there is no room for all of them."""
        sizes = {}
        for name, source in self.copies.items():
            with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                sizes[name] = walk.lstat(source).st_size
        size = sum(sizes.values()) + sum(len(text) for text in self.texts.values())
        if (lack := lacks_room(target, size, len(self.copies) + len(self.texts))) is not None:
            raise OSError(errno.ENOSPC, f"to publish this, {lack}", str(target.parent))
        return sizes

    def _write(self, target: Path, job: Job, check_share: Callable[[], None], weighed: Mapping[str, int]) -> None:
        receipt: dict[str, dict[str, Any]] = {}
        for name, source in self.copies.items():
            fsops.make_dir_below(target, (target / name).parent)
            is_own = self.received not in source.parents
            # What a stranger lets grow after it was weighed would fill the disk.
            most = _NO_LIMIT if is_own else weighed.get(name, 0)
            try:
                copied = fsops.copy_file(source, target / name, most)
            except OSError as error:
                if is_own or is_passing(error) or (why := _why_closed(source, error)) is None:
                    raise
                check_share()
                self.left_out[printable(name)], self.keep_original = why, True
                fsops.remove_tree(target / name)
                continue
            receipt[name] = {"size": copied.size, "sha256": copied.sha256}
            crashpoint("D1a")
        self.texts |= self.told_last(self.left_out)
        for name, text in self.texts.items():
            fsops.write_file(target / name, text)
            receipt[name] = {"size": len(text), "sha256": fsops.sha256_of(target / name)}
        identity = {"schema": SCHEMA, "job": job.id, "name": shown(job.name)}
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
        own = [fact.path for fact in take_facts(places.capture(job.id), settings.limits)]
        _add_beside(bundle, places.claimed / job.id, root_of(places, job), own, settings.limits)
        for path in own:
            bundle.copies[f"capture/{path}"] = places.capture(job.id) / path
    return bundle


def root_of(places: Places, job: Job) -> str:
    """The folder in which the set lay when it was read, with its slash; "" for the dropped folder itself."""
    try:
        told = json.loads((places.work(job.id) / "job.json").read_bytes())
        return str(told.get("root", ""))
    except (FileNotFoundError, ValueError):
        return ""


def failure_bundle(
    job: Job, runs: list[ModelRun], places: Places, settings: Settings, trouble: str = "", *, bare: bool = False
) -> Bundle:
    """Everything for failed/: WHY.txt, failure.json, the end of the log, the capture as it came, results if any.

    With ``trouble``, the sentence that tells why all of this cannot be staged, the results are left out; a ``bare``
    one is without the capture and the log too.
    """
    bundle = Bundle()
    attempt = places.attempt(job.id, job.attempt)
    if trouble:
        bundle.left_out["results"] = f"could not be copied ({trouble})"
    else:
        _add_results(bundle, attempt)
    if is_movable(job, places, settings):
        bundle.original_follows = True
        bundle.left_out["capture"] = (
            "too large to copy: it follows as capture/ right after this folder, as it came; "
            "receipt.json does not list its files"
        )
    elif bare:
        bundle.left_out["capture"] = f"could not be copied ({trouble})"
        bundle.keep_original = True
    else:
        _add_received(bundle, places.claimed / job.id, settings)
    if not bare and (log := _log_tail(places.work(job.id), attempt)):
        bundle.texts["log.txt"] = log
    if b"/" in job.name:
        rig = rig_of(os.fsdecode(job.name))
        # Moved back into the inbox itself, the folder must not be read with other cameras.
        bundle.texts[RIG_FILE] = json.dumps({"schema": RIG_SCHEMA, "rig": rig}).encode()
    bundle.told_last = lambda left_out: {
        "WHY.txt": why_text(job, runs, left_out, kept=bundle.keep_original).encode("utf-8", "backslashreplace"),
        "failure.json": json.dumps(_failure_facts(job, runs, left_out), indent=1).encode(),
    }
    bundle.texts |= bundle.told_last(bundle.left_out)
    return bundle


def is_movable(job: Job, places: Places, settings: Settings) -> bool:
    """Whether a refused folder is too big or too deep to copy, so that it is moved into failed/ after its WHY.txt."""
    try:
        return size_of_copy(places.claimed / job.id, settings.limits) is None
    except (FileNotFoundError, NotADirectoryError, LinkInTheWay, PermissionError):
        return False


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
        with contextlib.suppress(ValueError):  # what vouches for nothing adds nothing
            told = ModelAnswer.read(answer.parent)
            for name in (*told.files, *told.handed_back):
                bundle.copies[f"{answer.parent.name}/{name}"] = answer.parent / name


def _add_beside(bundle: Bundle, folder: Path, root: str, own: Collection[str], limits: CaptureLimits) -> None:
    """What lay beside the set, as it came; what is too much of it is named, and stays in the original.

    ``own`` are the files of our checked copy, to which others give way, and ``root`` the folder they lay in.
    """
    try:
        beside = lies_beside(folder, [root + path for path in own], limits)
    except FileNotFoundError:
        return  # nothing was taken; a share that is away is told by whoever stages this
    except PermissionError as error:
        _leave_out_closed(bundle, folder, error)
        return
    bundle.received = folder
    if beside.left_out:
        bundle.left_out |= beside.left_out
        bundle.keep_original = True
    _add_facts(bundle, folder, beside.taken, limits, own)


def _add_received(bundle: Bundle, folder: Path, settings: Settings) -> None:
    """Every plain file of a received folder as it is; links, devices and what is closed to us are only named."""
    try:
        facts = take_facts(folder, settings.limits, everything=True)
    except FileNotFoundError:
        return
    except (NotADirectoryError, LinkInTheWay):
        bundle.left_out["capture"] = "is a link or a file, and no folder"
        return
    except PermissionError as error:
        _leave_out_closed(bundle, folder, error)
        return
    bundle.received = folder
    _add_facts(bundle, folder, facts, settings.limits)


def _leave_out_closed(bundle: Bundle, folder: Path, error: PermissionError) -> None:
    bundle.left_out["capture"] = f"cannot be read ({told(error, folder)})"
    bundle.keep_original = True


def _add_facts(
    bundle: Bundle, folder: Path, facts: Collection[Fact], limits: CaptureLimits, own: Collection[str] = ()
) -> None:
    """Of a folder that came back from us (it carries our receipt) the old results stay behind, and its ``capture/`` is
    unfolded where nothing stands in the way. Others give way to our ``own`` files.
    """
    paths = {fact.path for fact in facts}
    is_earlier = earlier_results(folder, limits.custom_models)
    in_the_way, ours = _InTheWay(paths), _InTheWay(own)
    for fact in facts:
        if fact.kind == "closed":
            bundle.left_out[f"capture/{printable(fact.path)}"] = CLOSED
            bundle.keep_original = True
        elif fact.kind != "file" or fact.links > 1:
            bundle.left_out[f"capture/{printable(fact.path)}"] = "not a plain file of its own"
        elif is_earlier is not None and is_earlier(fact):
            continue
        else:
            inner = fact.path if is_earlier is None else fact.path.removeprefix("capture/")
            path = fact.path if inner != fact.path and in_the_way.of(inner) else inner
            while path not in own and ours.of(path):
                path = f"_{path}"
            bundle.copies[f"capture/{path}"] = folder / fact.path


class _InTheWay:
    """Which paths cannot stand beside these files: one would have to be a file and a folder at once."""

    def __init__(self, files: Collection[str]) -> None:
        self._files = frozenset(files)
        self._folders = frozenset(str(parent) for file in files for parent in PurePosixPath(file).parents)

    def of(self, path: str) -> bool:
        """Whether ``path`` is one of the files or folders, or lies inside one of the files."""
        inside = any(str(parent) in self._files for parent in PurePosixPath(path).parents)
        return inside or path in self._files or path in self._folders


def _why_closed(source: Path, error: OSError) -> str | None:
    """Why a file of the folder as it came cannot be copied; None when it can be opened, so that the trouble is another.

    A stranger may take its rights away, lock it, or put something else in its place at any time.
    """
    if isinstance(error, fsops.ChangedWhileRead | fsops.TooLarge):
        return "changed while it was copied"
    try:
        os.close(walk.reach(source, walk.FILE))
    except OSError as closed:
        gone = closed.errno in (errno.ENOENT, errno.ELOOP, errno.ENOTDIR, errno.ENXIO)
        says = "was replaced or deleted while it was copied" if gone else f"cannot be read ({closed.strerror})"
        return None if is_passing(closed) else says
    return "was replaced or deleted while it was copied" if isinstance(error, fsops.NotRegular) else None


def _log_tail(work: Path, attempt: Path) -> bytes:
    parts = []
    for log in sorted([*work.glob("inspect/*.log"), *attempt.glob("*/*.log"), *attempt.glob("measure/*/*.log")]):
        content = walk.read_tail(log, LOG_TAIL_BYTES) if walk.is_file(log) else b""
        if content.strip():
            text = "".join(
                c if c in "\n\t" or c.isprintable() else f"\\x{ord(c):02x}" for c in content.decode("utf-8", "replace")
            )
            parts.append(f"--- {log.parent.name}/{log.name}\n{text}\n")
    return "".join(parts).encode()


def why_text(job: Job, runs: list[ModelRun], left_out: Mapping[str, str], *, kept: bool = False) -> str:
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
    if kept:
        where = f"The service keeps the folder as it came for a while, as {job.id}: ask whoever looks after it."
        lines += [*_wrapped("  ", where), ""]
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
            {
                "model": run.model,
                "attempt": run.attempt,
                "state": run.state,
                "class": run.error_class,
                "reason": run.reason,
                "fix": run.fix,
            }
            for run in runs
        ],
        "left_out": dict(left_out),
    }
