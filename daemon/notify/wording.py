"""What is told outside, word for word: a webhook's body, the message about a failure, the daily digest.

A webhook's body is one JSON object of schema ``meshdrop.webhook/1``:

| key | holds |
|---|---|
| ``schema`` | ``meshdrop.webhook/1`` |
| ``id`` | a name for this end of this job, the same at every try; also in the header ``Idempotency-Key`` |
| ``event`` | ``done``, ``failed``, or ``test`` |
| ``job`` | the job's id |
| ``name`` | the name of the folder as it was dropped, odd bytes as escapes |
| ``folder`` | where it is now, for example ``outbox/NAME`` |
| ``verdict``, ``best_model`` | of a job that is done: ``normal`` or ``warning``, and the model to take; else null |
| ``code`` | of a job that failed: the code of the error table; else null |
| ``sentence``, ``fix`` | the same for people, and what to do now (null: nothing) |
| ``attempt`` | how many attempts were begun |
| ``received``, ``finished`` | when it was claimed and published, UTC, for example ``2026-11-21T09:40:12Z`` |
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from meshdrop.daemon.base.places import shown
from meshdrop.daemon.status.pages import ended_page
from meshdrop.db.jobs import end_of
from meshdrop.db.messages import Message
from meshdrop.db.records import Job

SCHEMA = "meshdrop.webhook/1"
_FAILURES_NAMED = 20


@dataclass(frozen=True)
class Note:
    """A message for people: what a chat shows in bold, and the rest."""

    title: str
    text: str

    def to_text(self) -> str:
        """As the record keeps it."""
        return json.dumps({"title": self.title, "text": self.text}, ensure_ascii=False)


def is_failure(job: Job) -> bool:
    """Whether a published job has failed, by no wish of anybody's."""
    return end_of(job).endswith(".failed") and job.reason_code != "cancelled"


def webhook_body(job: Job) -> str:
    """The body about the end of a job."""
    page = ended_page(job, (job.inspection or {}).get("problems", ()))
    about = end_of(job)
    facts = {
        "schema": SCHEMA,
        "id": about,
        "event": about.rpartition(".")[2],
        "job": job.id,
        "name": shown(job.name),
        "folder": page.folder,
        "verdict": page.verdict,
        "best_model": job.best_model if page.verdict else None,
        "code": None if page.state == "done" else job.reason_code,
        "sentence": page.sentence,
        "fix": page.fix,
        "attempt": job.attempt,
        "received": _when(job.created_at),
        "finished": _when(job.finished_at),
    }
    return json.dumps(facts)


def trial_body(about: str) -> str:
    """A body that tells of no job."""
    return json.dumps({"schema": SCHEMA, "id": about, "event": "test", "sentence": "this is a test"})


def failure_note(job: Job) -> Note:
    """One job that failed, for people who are not at the share."""
    page = ended_page(job, (job.inspection or {}).get("problems", ()))
    name = shown(job.name)
    return Note(f"Meshdrop: {name} failed", f"{name}: {page.sentence}\n-> {page.fix}\nJob {job.short_id}")


def together(messages: Sequence[Message]) -> Note:
    """Messages that wait for one receiver as one: a flood of failures must not become a flood of mails."""
    notes = [Note(**json.loads(message.body)) for message in messages]
    if len(notes) == 1:
        return notes[0]
    more = [f"... and {len(notes) - _FAILURES_NAMED} more"] if len(notes) > _FAILURES_NAMED else []
    parts = [note.text for note in notes[:_FAILURES_NAMED]]
    return Note(f"Meshdrop: {len(notes)} messages", "\n\n".join(parts + more))


@dataclass(frozen=True)
class Day:
    """What a digest tells: ends of jobs by outcome and verdict or code, and how things stand now."""

    root: str
    ends: Mapping[tuple[str, str], int]
    waiting: int
    oldest_s: float | None
    undelivered: int
    paused: bool
    held: Sequence[str] = ()


def digest(day: Day) -> Note:
    """The last day, and how things stand."""
    done = {verdict: count for (end, verdict), count in day.ends.items() if end == "done"}
    failed = {code: count for (end, code), count in day.ends.items() if end == "failed"}
    lines = [f"Meshdrop on {day.root}, the last 24 hours.", _counted("done", done), _counted("failed", failed)]
    oldest = "" if day.oldest_s is None else f", the oldest for {day.oldest_s / 3600:.1f} hours"
    lines.append(f"waiting now: {day.waiting}{oldest}")
    lines += [f"held: {reason}" for reason in day.held]
    lines += ["paused: nothing new is begun until `meshdrop resume`"] * day.paused
    lines += [f"{day.undelivered} messages could not be delivered yet"] * bool(day.undelivered)
    return Note(f"Meshdrop: {sum(done.values())} done, {sum(failed.values())} failed", "\n".join(lines))


def _counted(title: str, counts: Mapping[str, int]) -> str:
    each = ", ".join(f"{count} {word}" for word, count in sorted(counts.items(), key=lambda pair: -pair[1]) if word)
    return f"{title}: {sum(counts.values())}" + (f" ({each})" if each else "")


def _when(seconds: float | None) -> str | None:
    return None if seconds is None else time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))
