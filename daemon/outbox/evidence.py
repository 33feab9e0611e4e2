"""What stands on disk of a job, and what that proves about it: where the record may be older than the folders."""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from meshdrop.daemon.base.log import get_logger
from meshdrop.daemon.base.places import Places, shown
from meshdrop.daemon.outbox.deliver import MARKER
from meshdrop.daemon.outbox.receipts import read_shared
from meshdrop.db.states import State
from meshdrop.models.files import walk
from meshdrop.models.files.names import RECEIPT
from meshdrop.models.formats.sidecar import RIG_NAME

log = get_logger()

_JOB_ID = re.compile(r"[0-9a-f]{32}")
#: Bytes of a folder's name on any file system.
_NAME_MOST = 255
_FACTS = frozenset({"verdict", "best_model", "reason_code", "reason"})

#: For each outcome the states of a job that is staged, published, and cleaned up after.
_STEPS = {
    State.DONE: (State.DELIVERING, State.DONE, State.DONE_CLEAN),
    State.FAILED: (State.FAILING, State.FAILED, State.FAILED_CLEAN),
}
_OUTCOME = {state: outcome for outcome, states in _STEPS.items() for state in states}


@dataclass(frozen=True)
class Evidence:
    """Which folders of a job there are. ``marker`` is the outcome of the result that was staged complete, DONE or
    FAILED, and ``published`` that of a folder in outbox/ or failed/ whose receipt names the job.
    """

    claimed: bool = False
    staged: bool = False
    copied: bool = False  # our own checked copy, with its job.json, which is written last
    kept: bool = False  # the original was put away, which happens only after publishing
    marker: State | None = None
    published: State | None = None


def right_state(row: State | None, evidence: Evidence) -> State | None:
    """The state a job must have, given what the record says (None: nothing) and what stands on disk.

    The record may be a copy from any earlier time, so a row can be behind the folders but never ahead of them. It
    rests on the order of the steps: the marker is written when staging is complete, staging goes away by being
    published, the original leaves claimed/ only after that, and the marker goes last.
    """
    if row in (State.DONE_CLEAN, State.FAILED_CLEAN):
        return row
    said = None if row is None else _OUTCOME.get(row)
    # A row that was written after publishing outweighs the marker from before it.
    outcome = evidence.published or (said if row is said else None) or evidence.marker or said
    if outcome is None:
        return _unpublished(row, evidence)
    staged, published, cleaned = _STEPS[outcome]
    if evidence.staged and evidence.published is None and row not in (State.DONE, State.FAILED):
        return staged
    if not evidence.claimed:
        return row if row is published and (evidence.marker or evidence.copied) else cleaned
    # Published. Publishing again finds staging gone, flushes what may not be flushed, and goes on from there; but
    # with something in staging it would not be the first time.
    return published if row is published or evidence.staged else staged


def _unpublished(row: State | None, evidence: Evidence) -> State | None:
    """Nothing says that a result was ever complete."""
    if evidence.claimed:
        if row in (None, State.ABANDONED):
            return State.CLAIMING
        return State.CLAIMING if row in (State.QUEUED, State.RUNNING) and not evidence.copied else row
    if row in (State.QUEUED, State.RUNNING, State.FAIL_PENDING) and (evidence.kept or not evidence.copied):
        return State.ABANDONED  # its folder left us after this row was written, and nothing is left to tell how
    return row


# -- reading -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Marker:
    """What delivery noted beside a staged folder: it is complete, or already published when staging is empty."""

    outcome: State
    name: bytes
    dest: bytes
    facts: Mapping[str, str | None]


@dataclass(frozen=True)
class Published:
    """A folder in outbox/ or failed/ whose receipt names a job."""

    outcome: State
    name: bytes
    dest: bytes
    at: float
    facts: Mapping[str, str | None] = field(default_factory=dict)


def job_folders(places: Places) -> set[str]:
    """The ids of all jobs that have a private folder."""
    shelves = (places.claimed, places.staging, places.state / "work")
    return {name for shelf in shelves for name in walk.names(shelf) if _JOB_ID.fullmatch(name)}


def read_evidence(places: Places, job_id: str, *, keeping: bool, published: Published | None) -> Evidence:
    """What there is of one job. Without ``keeping`` originals are deleted, not put away, and kept/ proves nothing."""
    marker, work = read_marker(places, job_id), places.work(job_id)
    return Evidence(
        claimed=walk.is_there(places.claimed / job_id),
        staged=walk.is_there(places.staging / job_id),
        copied=walk.is_file(work / "job.json"),
        kept=not keeping or walk.is_there(places.kept / job_id),
        marker=None if marker is None else marker.outcome,
        published=None if published is None else published.outcome,
    )


def read_marker(places: Places, job_id: str) -> Marker | None:
    """The marker of a job. Raises ``OSError`` when it is there and cannot be read: nothing may be concluded then."""
    try:
        text = (places.work(job_id) / MARKER).read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None
    try:
        told = json.loads(text)
        facts = {key: told["facts"].get(key) for key in _FACTS if key in told["facts"]}
        outcome = _OUTCOME[State(told["state"])]
        return Marker(outcome, bytes.fromhex(told["name"]), bytes.fromhex(told["dest"]), facts)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        log.warning("a marker cannot be understood", job=job_id[:8], reason=str(error))
        return None


def read_name(places: Places, job_id: str) -> bytes:
    """The name under which a job's folder was dropped, from its job.json; made of its id when that is lost too."""
    try:
        text = (places.work(job_id) / "job.json").read_text(encoding="utf-8")
        return bytes.fromhex(json.loads(text)["name"])
    except (OSError, ValueError, TypeError, KeyError):
        return os.fsencode(f"recovered-{job_id[:8]}")


def read_published(places: Places) -> dict[str, Published]:
    """Every folder in outbox/ and failed/ that carries a receipt of ours, by its job id.

    Whoever may write to the share may have written these files too: they are read with care, and believed only about
    jobs whose record was lost.
    """
    found: dict[str, Published] = {}
    for outcome, shelf in ((State.DONE, places.outbox), (State.FAILED, places.failed)):
        for folder in _folders(shelf):
            try:
                told = _published(folder, outcome)
            except Exception as error:  # whatever a stranger made of one folder, the others tell of their jobs
                log.warning("a receipt cannot be taken in", folder=shown(os.fsencode(folder)), reason=repr(error))
                continue
            if told is not None:
                found.setdefault(*told)
    return found


def _published(folder: Path, outcome: State) -> tuple[str, Published] | None:
    """The job that a folder's receipt names, and what that tells; None when there is no receipt of ours."""
    receipt = read_shared(folder / RECEIPT)
    job_id, name = receipt.get("job"), receipt.get("name")
    if not isinstance(job_id, str) or not _JOB_ID.fullmatch(job_id):
        return None
    dest = os.fsencode(folder.name)
    # A date from the share may be anything; the record takes none that cannot be.
    at = min(max(walk.lstat(folder / RECEIPT).st_mtime, 0.0), time.time())
    dropped = name.encode() if isinstance(name, str) and _could_be_dropped(name) else dest
    return job_id, Published(outcome, dropped, dest, at, _facts_of(folder, outcome))


def _could_be_dropped(name: str) -> bool:
    """Whether a folder of this name can have lain in the inbox, or below a rig's there."""
    rig, slash, own = name.rpartition("/")
    plain = _text(own) == own and len(own.encode()) <= _NAME_MOST and own not in (".", "..") and "\0" not in own
    return plain and (not slash or (bool(RIG_NAME.fullmatch(rig.removeprefix("@"))) and rig.startswith("@")))


def _folders(shelf: Path) -> Iterator[Path]:
    with walk.held(shelf) as held, os.scandir(held) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                yield shelf / entry.name


def _facts_of(folder: Path, outcome: State) -> dict[str, str | None]:
    """How the job ended, for the history."""
    if outcome is State.DONE:
        report = read_shared(folder / "report.json")
        verdict = _text(report.get("verdict"))
        usable = verdict if verdict in ("normal", "warning") else None
        return {"verdict": usable, "best_model": _text(report.get("best"))}
    failure = read_shared(folder / "failure.json")
    return {"reason_code": _text(failure.get("code")), "reason": _text(failure.get("reason"))}


def _text(value: object) -> str | None:
    """A text that the record can hold: half of a surrogate pair is none."""
    if not isinstance(value, str) or not value:
        return None
    try:
        value[:4096].encode()
    except UnicodeEncodeError:
        return None
    return value[:4096]
