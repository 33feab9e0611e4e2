"""What `meshdrop status` and `meshdrop show` print. Reads the status page and the record; changes nothing."""

from __future__ import annotations

import json
import os
import time
from typing import Any

from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text
from sqlalchemy.orm import Session

from daemon.errors import MeshdropError
from daemon.places import Places, shown
from db.engine import reader
from db.records import Event, Job, ModelRun, count_by_state, find_jobs, live_jobs, recent_jobs

_STALE_S = 10.0


def live_facts(places: Places) -> dict[str, Any]:
    """The daemon's own picture plus what the record says; ``running`` tells whether the daemon is alive."""
    try:
        facts: dict[str, Any] = json.loads(places.live_status.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        facts = {"working": None, "finishing": None, "held": None, "inbox": [], "inbox_total": 0, "queue": [], "at": 0}
    facts["running"] = time.time() - facts["at"] < _STALE_S and _alive(facts.get("pid", 0))
    if not facts["running"]:
        facts |= {"working": None, "finishing": None}
    facts["root"] = str(places.root)
    facts["counts"], facts["open"], facts["finished"] = {}, [], []
    if places.database.is_file():
        with reader(places.database)() as session:
            facts["counts"] = {str(state): count for state, count in count_by_state(session).items()}
            facts["open"] = [_brief(job) for job in live_jobs(session)]
            facts["finished"] = [_brief(job) for job in recent_jobs(session, 10)]
    return facts


def _alive(pid: int) -> bool:
    return pid > 0 and os.path.exists(f"/proc/{pid}")


def _brief(job: Job) -> dict[str, Any]:
    return {
        "job": job.short_id, "name": shown(job.name), "state": str(job.state), "attempt": job.attempt,
        "dest": shown(job.dest) if job.dest else None, "verdict": job.verdict, "best_model": job.best_model,
        "reason_code": job.reason_code, "reason": job.reason, "created_at": job.created_at,
        "finished_at": job.finished_at,
    }  # fmt: skip


def status_view(facts: dict[str, Any]) -> RenderableType:
    """The status as a terminal page."""
    state = Text("running", style="green") if facts["running"] else Text("not running", style="yellow")
    parts: list[RenderableType] = [Text.assemble("Meshdrop on ", facts["root"], ": ", state)]
    if facts["held"]:
        parts.append(Text(f"held: {facts['held']}", style="red"))
    if working := facts["working"]:
        parts.append(Text(f"\n{working['name']}  {working['note']}"))
        parts.append(ProgressBar(total=1.0, completed=working["progress"], width=50))
    if facts["finishing"]:
        parts.append(Text(f"measuring and publishing {facts['finishing']}"))
    if facts["queue"]:
        parts.append(Text(f"queue: {', '.join(facts['queue'][:20])}"))
    if facts["inbox"]:
        inbox = Table("in the inbox", "what it waits for", box=None, pad_edge=False)
        for folder in facts["inbox"][:40]:
            inbox.add_row(Text(folder["name"]), Text(folder["sentence"]))
        parts += [Text(""), inbox]
    if facts["finished"]:
        parts += [Text(""), _finished_table(facts["finished"])]
    return Group(*parts)


def _finished_table(finished: list[dict[str, Any]]) -> Table:
    table = Table("job", "capture", "went to", "result", "finished", box=None, pad_edge=False)
    for job in finished:
        delivered = job["state"].startswith("DONE")
        result = f"{job['verdict']} ({job['best_model']})" if delivered else (job["reason_code"] or "")
        when = time.strftime("%Y-%m-%d %H:%M", time.localtime(job["finished_at"])) if job["finished_at"] else ""
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


def history_facts(job: Job, runs: list[ModelRun], events: list[Event]) -> dict[str, Any]:
    """One job as plain JSON values."""
    return {
        **_brief(job), "id": job.id, "priority": job.priority, "digest": job.digest, "inspection": job.inspection,
        "runs": [vars(run) for run in runs], "events": [vars(event) for event in events],
    }  # fmt: skip


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
        when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(event.at))
        detail = ", ".join(f"{key}={value}" for key, value in (event.detail or {}).items() if value is not None)
        history.add_row(when, event.kind, Text(detail))
    return Group(head, Text(""), models, Text(""), history)
