"""What `meshdrop status` and `meshdrop show` print. Reads the status page and the record; changes nothing."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text
from sqlalchemy.orm import Session

from meshdrop.daemon.base.errors import MeshdropError
from meshdrop.daemon.base.pause import Pause
from meshdrop.daemon.base.places import Places, shown
from meshdrop.daemon.status.activity import SCHEMA, Activity
from meshdrop.daemon.status.forecast import in_words
from meshdrop.daemon.status.pages import date_time, ended_page
from meshdrop.db import messages
from meshdrop.db.engine import reader
from meshdrop.db.jobs import AGEING_S
from meshdrop.db.records import Event, Job, ModelRun, count_by_state, find_jobs, line_up, recent_jobs

_STALE_S = 10.0
#: What the record knows better than the last page of a service that has ended.
_OF_THE_RECORD = frozenset(
    f"{key}{end}" for key in ("working", "finishing", "queue", "later", "reading") for end in ("", "_total")
)


def live_facts(places: Places) -> dict[str, Any]:
    """The daemon's own picture plus what the record says; ``running`` tells whether the daemon is alive.

    While it is not, jobs are told as the record has them, and the inbox as it was seen last. ``forecast`` has the
    seconds until each job will probably be published, by its id.
    """
    with contextlib.ExitStack() as stack:
        session = stack.enter_context(reader(places.database)()) if places.database.is_file() else None
        activity = Activity()
        if session is not None:
            activity.see_jobs((line_up(session, AGEING_S) or (0, []))[1])
        facts = activity.facts() | {"pid": 0, "at": 0.0} | _last_page(places)
        facts["running"] = time.time() - facts["at"] < _STALE_S and is_alive(facts["pid"]) and not facts["stopped"]
        if not facts["running"]:
            activity.stop()
            facts |= {key: value for key, value in activity.facts().items() if key in _OF_THE_RECORD}
        facts["root"], facts["paused_since"] = str(places.root), Pause(places.pause).since
        facts["counts"], facts["open"], facts["finished"] = {}, activity.live(), []
        expected, now = facts.pop("expected"), time.time()
        facts["forecast"] = {job: max(end - now, 0.0) for job, end in expected.items() if facts["running"]}
        facts["messages"] = {}
        if session is not None:
            facts["counts"] = {str(state): count for state, count in count_by_state(session).items()}
            facts["finished"] = [_ended(job) for job in recent_jobs(session, 10)]
            facts["messages"] = {channel: asdict(found) for channel, found in messages.waiting(session).items()}
    return facts


def _last_page(places: Places) -> dict[str, Any]:
    """What the service wrote last; nothing when it never did, or another version did."""
    try:
        facts = json.loads(places.live_status.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return facts if isinstance(facts, dict) and facts.get("schema") == SCHEMA else {}


def service_pid(places: Places) -> int:
    """Process id of the service that wrote the last page; 0 when there never was one."""
    return int(_last_page(places).get("pid", 0))


def is_alive(pid: int) -> bool:
    """Whether this process runs; one that has ended and waits for its parent does not."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    except OSError:
        return False
    return pid > 0 and stat.rpartition(")")[2].split()[0] not in ("Z", "X")


def _brief(job: Job) -> dict[str, Any]:
    return {
        "job": job.short_id,
        "name": shown(job.name),
        "state": str(job.state),
        "attempt": job.attempt,
        "dest": shown(job.dest) if job.dest else None,
        "verdict": job.verdict,
        "best_model": job.best_model,
        "reason_code": job.reason_code,
        "reason": job.reason,
        "created_at": job.created_at,
        "finished_at": job.finished_at,
    }


def _ended(job: Job) -> dict[str, Any]:
    page = ended_page(job, (job.inspection or {}).get("problems", ()))
    return {**_brief(job), "sentence": page.sentence, "fix": page.fix}


def status_view(facts: Mapping[str, Any]) -> RenderableType:
    """The status as a terminal page."""
    parts: list[RenderableType] = [*_head(facts)]
    if working := facts["working"]:
        parts.append(Text(f"\n{working['name']}  {working['note']}{_left(facts, working['job'])}"))
        parts.append(ProgressBar(total=1.0, completed=working["progress"], width=50))
    for title, key, most in (
        ("being finished", "finishing", 10),
        ("in the queue", "queue", 20),
        ("waiting for another attempt", "later", 10),
        ("being read", "reading", 10),
        ("in the inbox", "inbox", 40),
    ):
        if facts[key]:
            heading = f"{title} ({facts[f'{key}_total']})"
            parts += [Text(""), _told_table(heading, facts[key][:most], facts)]
    parts += [Text(line) for line in ("", "no capture folders:", *facts["litter"][:20]) if facts["litter"]]
    if facts["finished"]:
        parts += [Text(""), _finished_table(facts["finished"])]
    return Group(*parts)


def _head(facts: Mapping[str, Any]) -> list[RenderableType]:
    """Whether it works, what keeps it from working, what its GPUs hold, and what could not be told outside."""
    state = Text("running", style="green") if facts["running"] else Text("not running", style="yellow")
    lines: list[RenderableType] = [Text.assemble("Meshdrop on ", facts["root"], ": ", state)]
    if facts["paused_since"] is not None:
        since = date_time(facts["paused_since"])
        lines.append(Text(f"paused since {since}: nothing new is begun until `meshdrop resume`", style="yellow"))
    if facts["running"]:
        lines += [Text("draining: it ends when what runs is finished", style="yellow")] * facts.get("draining", False)
        lines += [Text(f"held: {reason}", style="red") for reason in facts["held"]]
    lines += [
        Text(f"GPU {gpu['index']}: {gpu['used_mib'] / 1024:.1f} of {gpu['total_mib'] / 1024:.1f} GiB in use")
        for gpu in facts.get("gpus", ())
    ]
    for channel, waits in facts["messages"].items():
        trouble = f": {waits['trouble']}" if waits["trouble"] else ""
        lines.append(Text(f"{channel}: {waits['count']} not delivered yet{trouble}", style="yellow"))
    return lines


def _left(facts: Mapping[str, Any], job: str | None) -> str:
    seconds = facts["forecast"].get(job)
    return "" if seconds is None else f", {in_words(seconds)} left"


def _told_table(title: str, entries: list[dict[str, Any]], facts: Mapping[str, Any]) -> Table:
    table = Table(title, "", box=None, pad_edge=False)
    for entry in entries:
        table.add_row(Text(entry["name"]), Text(entry["sentence"] + _left(facts, entry.get("job"))))
    return table


def _finished_table(finished: list[dict[str, Any]]) -> Table:
    table = Table("job", "capture", "went to", "result", "finished", box=None, pad_edge=False)
    for job in finished:
        delivered = job["state"].startswith("DONE")
        result = f"{job['verdict']} ({job['best_model']})" if delivered else job["sentence"].partition(": ")[2]
        when = date_time(job["finished_at"]) if job["finished_at"] else ""
        folder = f"{'outbox' if delivered else 'failed'}/{job['dest']}"
        style = "green" if job["verdict"] == "normal" else "yellow" if delivered else "red"
        table.add_row(job["job"], Text(job["name"]), Text(folder), Text(result, style=style), when)
    return table


def find_one(session: Session, text: str) -> Job:
    """The newest job that ``text`` names; raises ``MeshdropError`` when there is none, or several ids begin so."""
    found = find_jobs(session, text)
    if not found:
        raise MeshdropError(f"no job is called {text}", "`meshdrop status` lists the latest")
    by_id = [job for job in found if job.id.startswith(text)]
    if len(by_id) > 1 and not any(job.name == os.fsencode(text) for job in found):
        raise MeshdropError(f"{len(by_id)} jobs begin with {text}", "give more of the id")
    return found[0]


def history_facts(
    job: Job, runs: list[ModelRun], events: list[Event], told: Sequence[messages.Message] = ()
) -> dict[str, Any]:
    """One job as plain JSON values, with every message about it word for word."""
    return {
        **_brief(job),
        "id": job.id,
        "priority": job.priority,
        "digest": job.digest,
        "inspection": job.inspection,
        "runs": [vars(run) for run in runs],
        "events": [vars(event) for event in events],
        "messages": [vars(message) for message in told],
    }


def history_view(job: Job, runs: list[ModelRun], events: list[Event]) -> RenderableType:
    """One job's story for the terminal."""
    head = Text(f"{shown(job.name)}  ({job.id})\nstate {job.state}, attempt {job.attempt}, priority {job.priority}")
    if job.dest:
        head.append(f"\nfolder {shown(job.dest)}")
    if job.reason:
        head.append(f"\n{job.reason}", style="red")
    models = Table("attempt", "model", "state", "seconds", "result", box=None, pad_edge=False)
    for run in runs:
        figures = run.figures or {}
        psnr = figures.get("psnr_masked_db")
        result = run.reason or (f"{figures['verdict']}, {psnr:.1f} dB" if psnr is not None else "")
        models.add_row(
            str(run.attempt), run.model, run.state, f"{run.seconds:.1f}" if run.seconds else "", Text(result)
        )
    history = Table("when", "what", "", box=None, pad_edge=False)
    for event in events:
        when = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(event.at))
        detail = ", ".join(f"{key}={value}" for key, value in (event.detail or {}).items() if value is not None)
        history.add_row(when, event.kind, Text(detail))
    return Group(head, Text(""), models, Text(""), history)
