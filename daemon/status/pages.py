"""One page for each capture folder: ``status/NAME.json`` says in a sentence where the folder stands.

A page is one JSON object of schema ``meshdrop.folder/1``, replaced in one step whenever it changes:

| key | holds |
|---|---|
| ``schema`` | ``meshdrop.folder/1`` |
| ``name`` | the folder's name, odd bytes as escapes |
| ``state`` | ``waiting`` (in the inbox), ``reading``, ``queued``, ``running``, ``finishing``, ``done`` or ``failed`` |
| ``sentence`` | the same for people, with everything they need to know |
| ``fix`` | what a person does now, or null when there is nothing to do |
| ``job`` | the job's id, or null while the folder waits in the inbox |
| ``position`` | the job's turn in the queue, 1 is next; exact up to 100, then in whole hundreds; or null |
| ``stage`` | model and step of the running job, or null |
| ``percent`` | how much of the running job is done, or null |
| ``left`` | how long it will probably take until it is published, for example ``about 4 minutes``; null if unknown |
| ``folder`` | where it went, for example ``outbox/NAME``, or null |
| ``verdict`` | ``normal`` or ``warning`` of a finished job, or null |
| ``earlier`` | earlier drops of this name: a list of objects with ``job``, ``state``, ``sentence`` and ``folder`` |
| ``updated`` | when the page last changed, UTC, for example ``2026-11-21T09:40:12Z`` |

The page tells of the newest drop of its name. It goes when a folder leaves the inbox without becoming a job, and when
five hundred others were finished after it.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from meshdrop.daemon.base.failures import FAILURES
from meshdrop.daemon.base.places import shown
from meshdrop.daemon.base.tries import MAX_ATTEMPTS
from meshdrop.daemon.inbox.settle import Judgement
from meshdrop.db.records import InLine, Job
from meshdrop.db.states import State
from meshdrop.models.contract.failures import RUN_FAILURES
from meshdrop.models.files.problem import printable

SCHEMA = "meshdrop.folder/1"
#: Pages of finished captures that are kept.
FINISHED_KEPT = 500
#: Up to here every place in the queue is told exactly: ten thousand pages must not be rewritten for each job that ends.
_EXACT_PLACES = 100


@dataclass(frozen=True, slots=True)
class Page:
    """Where one drop of a folder stands; the keys are those of the schema above."""

    state: str
    sentence: str
    fix: str | None = None
    job: str | None = None
    position: int | None = None
    stage: str | None = None
    percent: int | None = None
    left: str | None = None
    folder: str | None = None
    verdict: str | None = None

    def to_json(self, name: bytes, earlier: Sequence[Page]) -> dict[str, Any]:
        """The page of ``name`` as plain JSON values, without the time of its last change."""
        facts = {field: getattr(self, field) for field in self.__slots__}
        facts["sentence"] += and_left(self.left)
        before = [
            {"job": page.job, "state": page.state, "sentence": page.sentence, "folder": page.folder} for page in earlier
        ]
        return {"schema": SCHEMA, "name": shown(name), **facts, "earlier": before}


@dataclass(frozen=True)
class Working:
    """The running attempt. ``progress`` in 0..1."""

    job: str
    name: str
    attempt: int
    progress: float
    note: str


def waiting_page(judgement: Judgement) -> Page:
    """A folder in the inbox."""
    fix = printable(judgement.problems[0].fix) if judgement.problems else None
    return Page("waiting", printable(judgement.sentence), fix)


def job_page(
    job: InLine,
    *,
    place: int | None = None,
    later: bool = False,
    working: Working | None = None,
    finishing: bool = False,
    hold: str | None = None,
    stopped: bool = False,
    left: str | None = None,
) -> Page:
    """A live job. ``place`` is its turn in the queue as ``told_place`` gives it; ``later``: it waits for another
    attempt; ``working``, ``finishing``: it is in hand; ``hold``: why it cannot go on; ``stopped``: the service ended;
    ``left``: how long it will probably take.
    """
    match job.state:
        case State.DONE | State.FAILED:
            return ended_page(job)
        case State.CLAIMING:
            read = "being read and checked" if job.ingest_tries else "waiting to be read and checked"
            cancelled = "; cancelled, it goes to failed/ after that" if job.reason_code == "cancelled" else ""
            page = Page("reading", f"taken out of the inbox, {read}{cancelled}", job=job.id)
        case State.QUEUED:
            page = _queued(job, place, later)
        case State.RUNNING if stopped:
            page = Page("running", "goes on when the service is started again", job=job.id)
        case State.RUNNING:
            page = _running(job, working, finishing)
        case State.DELIVERING:
            page = Page("finishing", "the result is complete and is being published", job=job.id, verdict=job.verdict)
        case _:
            page = Page("finishing", f"it is being put into failed/: {_why_it_ends(job)[0]}", job=job.id)
    if hold is None:
        return replace(page, left=left)
    told = f"held: {printable(hold)}; it goes on by itself once that is cured"
    return Page(page.state, told, job=job.id, position=page.position)


def and_left(words: str | None) -> str:
    """What stands behind a sentence about a job when it is known how long it will take."""
    return f", {words} left" if words else ""


def told_place(place: int) -> int:
    """A place in the queue as pages tell it: far behind, a page is rewritten at every hundredth job before it only."""
    return place if place <= _EXACT_PLACES else -(-place // _EXACT_PLACES) * _EXACT_PLACES


def _queued(job: InLine, place: int | None, later: bool) -> Page:
    if later:
        failure = RUN_FAILURES.get(job.failed_as or "")
        after = failure.says if failure is not None else "its last attempt ended early"
        sentence = f"will be tried again at {clock_time(job.not_before)} after: {after}"
        return Page("queued", f"{sentence} (attempt {job.attempt + 1} of {MAX_ATTEMPTS})", job=job.id)
    about = "about " if place is not None and place > _EXACT_PLACES else ""
    again = f" (attempt {job.attempt + 1} of {MAX_ATTEMPTS})" if job.attempt else ""
    return Page("queued", f"{about}number {place} in the queue{again}", job=job.id, position=place)


def _running(job: InLine, working: Working | None, finishing: bool) -> Page:
    if working is not None and job.reason_code == "cancelled":
        return Page("running", "cancelled; what runs is being stopped, then the folder goes to failed/", job=job.id)
    if working is not None:
        note, percent = printable(working.note), int(100 * working.progress)
        again = f", attempt {working.attempt} of {MAX_ATTEMPTS}" if working.attempt > 1 else ""
        sentence = f"{note} ({percent} % of the job{again})"
        return Page("running", sentence, job=job.id, stage=note, percent=percent)
    if finishing:
        return Page("finishing", "its models are through; being measured and published", job=job.id)
    return Page("finishing", "its models are through; waiting to be measured", job=job.id)


def ended_page(job: Job | InLine, problems: Sequence[Mapping[str, Any]] = ()) -> Page:
    """A published job: where it went and why. ``problems`` are those that its inspection found."""
    dest = shown(job.dest or b"")
    if job.state in (State.DONE, State.DONE_CLEAN):
        folder, fix = f"outbox/{dest}", None
        if job.verdict == "warning":
            fix = f"Read the first line of {folder}/report.html before you use it: it says what is not as it should be."
        by = f", best model {printable(job.best_model)}" if job.best_model else ""
        sentence = f"the result is in {folder} ({job.verdict or 'no verdict'}{by})"
        return Page("done", sentence, fix, job=job.id, folder=folder, verdict=job.verdict)
    folder = f"failed/{dest}"
    why, fix = _why_it_ends(job, problems, folder)
    return Page("failed", f"it is in {folder}: {why}", fix, job=job.id, folder=folder)


def _why_it_ends(
    job: Job | InLine, problems: Sequence[Mapping[str, Any]] = (), folder: str = "this folder"
) -> tuple[str, str]:
    """(why a job fails, what to do about it). The first problem alone; WHY.txt has them all."""
    failure = FAILURES.get(job.reason_code or "", FAILURES["models"])
    says, lines = failure.says, (job.reason or "").splitlines()
    if problems:
        first = problems[0]
        file = f"{first['file']}: " if first["file"] else ""
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        fix = f"{first['fix']} Then move {folder} back into the inbox; its WHY.txt has the whole story."
        return printable(f"{says} {file}{first['message']}{more}"), printable(fix)
    if lines and lines[0] != says:
        more = f" (and {len(lines) - 1} more)" if len(lines) > 1 else ""
        says = f"{says} {lines[0]}{more}"
    return printable(says), printable(failure.fix.replace("this folder", folder))


def clock_time(seconds: float) -> str:
    """A time of day for people, with its zone as every time that they are shown."""
    return time.strftime("%H:%M:%S UTC", time.gmtime(seconds))


def date_time(seconds: float) -> str:
    """A day and a time of it for people."""
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(seconds))
