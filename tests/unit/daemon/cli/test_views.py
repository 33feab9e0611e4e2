"""`meshdrop status` says what STATUS.txt says: the same sections, the same sentences."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from meshdrop.daemon.base.places import Places
from meshdrop.daemon.cli.views import live_facts, status_view
from meshdrop.daemon.inbox.scanner import FolderState
from meshdrop.daemon.inbox.settle import Judgement
from meshdrop.daemon.status.activity import Activity
from meshdrop.daemon.status.overview import StatusPages
from meshdrop.daemon.status.pages import Working
from meshdrop.db.engine import Database
from meshdrop.db.jobs import Jobs
from meshdrop.db.records import ModelRun


@pytest.fixture
def places(tmp_path: Path) -> Places:
    """Folders with a record in which jobs wait, run, are tried again and have ended."""
    places = Places(*(tmp_path / name for name in ("", "spool", "state", "cache", "weights")))
    for folder in (places.status, places.state):
        folder.mkdir()
    database = Database(places.database)
    database.migrate(places.backups)
    jobs = Jobs(database)
    ids = {}
    for name in (b"chair", b"sofa", b"cup", b"lamp", b"bench"):
        ids[name] = jobs.queue(jobs.claim(name, "f").id, "digest", {}, None, 0).id
    jobs.claim(b"stool", "f")
    for name in (b"chair", b"sofa", b"lamp"):
        jobs.start(ids[name], "boot")
    jobs.record_run(ids[b"sofa"], ModelRun("fusion", 1, "failed", error_class="gpu_memory"))
    jobs.requeue(ids[b"sofa"], "a model failed", delay_s=3600)
    jobs.deliver(ids[b"lamp"], b"lamp__2", "warning", "fusion")
    jobs.failing(jobs.reject(ids[b"cup"], "cancelled", "The job was cancelled.").id, b"cup")
    for name in (b"lamp", b"cup"):
        jobs.published(ids[name])
        jobs.cleaned(ids[name])
    activity = Activity()
    activity.see_jobs((jobs.line_up() or (0, []))[1])
    activity.work(Working(ids[b"chair"], "chair", 1, 0.4, "fusion 40 %: integrating depth"), b"chair")
    judgement = Judgement("arriving", "5 of 12 files, waiting for depth/depth_03.png")
    activity.see_inbox([FolderState(b"bowl", judgement, 0.0)])
    activity.see_litter(["notes.txt: a single file"])
    activity.hold({"space": "less than 2048 MB are free on the disk"})
    StatusPages(places, activity).write(0.0, 0.0, force=True)
    database.close()
    return places


def shown(facts: dict[str, Any]) -> str:
    """What the terminal shows, without the line breaks of tables."""
    console = Console(width=220, record=True, file=open(os.devnull, "w"))  # noqa: SIM115
    console.print(status_view(facts))
    return console.export_text()


def test_a_running_service_is_shown_with_everything_in_hand(places: Places) -> None:
    facts = live_facts(places)
    assert facts["running"]
    assert {job["name"]: job["state"] for job in facts["open"]} == {
        "chair": "RUNNING",
        "sofa": "QUEUED",
        "bench": "QUEUED",
        "stool": "CLAIMING",
    }
    text = shown(facts)
    for sentence in (
        "running",
        "held: less than 2048 MB are free on the disk",
        "chair  fusion 40 %: integrating depth",
        "number 1 in the queue",
        "after: the GPU ran out of memory (attempt 2 of 3)",
        "taken out of the inbox, waiting to be read and checked",
        "5 of 12 files, waiting for depth/depth_03.png",
        "notes.txt: a single file",
        "outbox/lamp__2",
        "warning (fusion)",
        "failed/cup",
        "The job was cancelled.",
    ):
        assert sentence in text, sentence


def test_a_service_that_is_gone_is_shown_as_the_record_has_it(places: Places) -> None:
    places.live_status.write_text('{"schema": "meshdrop.status/2", "pid": 999999999, "at": 0, "stopped": false}')
    facts = live_facts(places)
    assert not facts["running"]
    text = shown(facts)
    assert "not running" in text
    assert "goes on when the service is started again" in text
    assert "number 1 in the queue" in text
    assert "held" not in text


@pytest.mark.parametrize("page", ["", "not json", "[]", '{"schema": "meshdrop.status/1"}'])
def test_a_page_that_is_none_of_ours_is_passed_over(places: Places, page: str) -> None:
    places.live_status.write_text(page)
    assert not live_facts(places)["running"]
    assert shown(live_facts(places))
