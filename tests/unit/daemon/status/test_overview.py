"""The activity and STATUS.txt: what an operator reads, word for word, and what it costs while nothing happens."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from meshdrop.daemon.base import fsops
from meshdrop.daemon.base.places import Places
from meshdrop.daemon.inbox.settle import Judgement
from meshdrop.daemon.status.activity import Activity
from meshdrop.daemon.status.overview import StatusPages, status_text
from meshdrop.daemon.status.pages import FINISHED_KEPT, Working
from meshdrop.db.engine import Database
from meshdrop.db.jobs import Jobs
from meshdrop.db.records import Job, ModelRun
from meshdrop.db.states import State

#: 2026-11-21 14:02:30 UTC
START = 1795269750.0


@dataclass(frozen=True)
class Seen:
    """What the scanner tells of a folder."""

    name: bytes
    judgement: Judgement
    quiet_s: float = 0.0


def seen(name: str | bytes, sentence: str = "1 of 2 files", quiet_s: float = 0.0) -> Any:
    """A folder that is arriving."""
    return Seen(name if isinstance(name, bytes) else name.encode(), Judgement("arriving", sentence), quiet_s)


class Desk:
    """An activity, its pages on a real folder, a real record, and a clock moved by hand."""

    def __init__(self, root: Path) -> None:
        self.places = Places(root, root / "spool", root / "state", root / "cache", root / "weights")
        for folder in (self.places.status, self.places.state):
            folder.mkdir(parents=True)
        self.database = Database(self.places.database)
        self.database.migrate(self.places.backups)
        self.seconds = 0.0
        self.jobs = Jobs(self.database, lambda: START + self.seconds)
        self.activity = Activity(lambda: START + self.seconds)
        self.pages = StatusPages(self.places, self.activity)
        self.pages._folders._stopwatch = lambda: self.seconds  # a call is not cut short by what else this machine does

    def queued(self, name: str | bytes, priority: int = 0) -> Job:
        """A job that waits for its turn."""
        job = self.jobs.claim(name if isinstance(name, bytes) else name.encode(), "f")
        return self.jobs.queue(job.id, "digest", {}, None, priority)

    def ended(self, name: str, code: str | None = None, reason: str = "") -> Job:
        """A job that is over, well or with a reason."""
        job = self.queued(name)
        if code is None:
            job = self.jobs.deliver(self.jobs.start(job.id, "boot").id, job.name, "normal", "fusion")
        else:
            job = self.jobs.failing(self.jobs.reject(job.id, code, reason).id, job.name)
        self.jobs.published(job.id)
        return self.jobs.cleaned(job.id)

    def look(self, after: float = 1.0) -> None:
        """What the main thread does once a second."""
        self.seconds += after
        line_up = self.jobs.line_up()
        assert line_up is not None
        self.activity.see_jobs(line_up[1])
        while self.pages.write(self.seconds, START + self.seconds):
            pass

    def page(self, file: str) -> dict[str, Any]:
        """One folder's page."""
        return dict(json.loads((self.places.status / file).read_text()))

    @property
    def text(self) -> str:
        """STATUS.txt below its head."""
        return self.places.overview.read_text().split("\n\n", 1)[1]


@pytest.fixture
def desk(tmp_path: Path) -> Any:
    made = Desk(tmp_path)
    yield made
    made.database.close()


def test_status_txt_of_a_busy_service(desk: Desk) -> None:
    """Golden: one of everything."""
    desk.activity.publish(desk.ended("lamp"))
    desk.activity.publish(desk.ended("cup", "models", "fusion: the model's process died"))
    running, again = desk.queued("chair"), desk.queued("sofa")
    for job in (desk.queued("bench"), desk.queued("table")):
        assert job
    desk.jobs.claim(b"stool", "f")
    desk.jobs.start(again.id, "boot")
    desk.jobs.record_run(again.id, ModelRun("fusion", 1, "failed", error_class="timeout"))
    desk.jobs.requeue(again.id, "a model failed", delay_s=60)
    desk.jobs.start(running.id, "boot")
    desk.activity.work(Working(running.id, "chair", 1, 0.4, "fusion 40 %: integrating depth"), b"chair")
    desk.seconds = 1
    desk.activity.see_inbox(
        [seen("bowl", "5 of 12 files, waiting for depth/depth_03.png", 7), seen("vase", "the folder is empty", 3)]
    )
    desk.activity.see_litter(["notes.txt: a single file; a capture is a folder with all its files in it"])
    desk.look()
    assert (
        desk.places.overview.read_text()
        == """\
Meshdrop, 2026-11-21 14:02:32 UTC.
This page is rewritten every few seconds. If the time above is old, the service is not running.

Working on
  chair: fusion 40 %: integrating depth (40 % of the job)

In the queue (2)
   1. bench
   2. table

Waiting for another attempt (1)
  sofa: will be tried again at 14:03:30 UTC after: the model took longer than its limit (attempt 2 of 3)

Being read (1)
  stool: taken out of the inbox, waiting to be read and checked

Finished last
  2026-11-21 14:02 UTC  cup: it is in failed/cup: No model produced a mesh. fusion: the model's process died
                          -> Read each model's reason, and log.txt for more. Mend what it names, then move
                             failed/cup back into the inbox.
  2026-11-21 14:02 UTC  lamp: the result is in outbox/lamp (normal, best model fusion)

Waiting in the inbox (2)
  vase: the folder is empty
  bowl: 5 of 12 files, waiting for depth/depth_03.png

In the inbox, but no capture folders
  notes.txt: a single file; a capture is a folder with all its files in it
"""
    )


def test_status_txt_of_an_idle_service(desk: Desk) -> None:
    desk.activity.see_inbox([])
    desk.look()
    assert (
        desk.text
        == """\
Nothing is being worked on and the queue is empty.

Finished last
  nothing yet

Waiting in the inbox
  nothing
"""
    )


def test_what_is_held_comes_first(desk: Desk) -> None:
    desk.activity.hold({"space": "less than 2048 MB are free on the disk", "loop": "disk I/O error"})
    desk.look()
    assert desk.text.startswith(
        "HELD: less than 2048 MB are free on the disk\nHELD: disk I/O error\n"
        "Nothing is lost; work goes on by itself once this is cured.\n"
    )
    desk.activity.hold({})
    desk.look()
    assert "HELD" not in desk.text


def test_a_job_that_is_held_says_so_on_its_page(desk: Desk) -> None:
    job = desk.queued("chair")
    desk.activity.hold({job.id: "chair: [Errno 28] No space left on device"})
    desk.look()
    assert desk.page("chair.json")["sentence"].startswith("held: chair: [Errno 28] No space left on device")
    desk.activity.hold({})
    desk.look()
    assert desk.page("chair.json")["sentence"] == "number 1 in the queue"


def test_a_service_that_ended_says_so(desk: Desk) -> None:
    job = desk.queued("chair")
    desk.jobs.start(job.id, "boot")
    desk.activity.work(Working(job.id, "chair", 1, 0.4, "fusion"), b"chair")
    desk.look()
    desk.activity.stop()
    desk.pages.write(desk.seconds, START, force=True)
    text = desk.places.overview.read_text()
    assert text.startswith("Meshdrop was stopped at 2026-11-21 14:02:31 UTC.\n\nSTOPPED: ")
    assert desk.page("chair.json")["sentence"] == "goes on when the service is started again"


@pytest.mark.parametrize("name", [b"a\nHELD: the disk is full", b"a\r\nIdle.", b"caf\xe9", "a\u2028b\u202ec".encode()])
def test_no_name_can_forge_a_line(desk: Desk, name: bytes) -> None:
    desk.activity.see_inbox([seen(name, f"{os.fsdecode(name)} is there")])
    desk.activity.see_litter([f"{os.fsdecode(name)}: a file"])
    desk.queued(name)
    desk.look()
    text = desk.places.overview.read_text()
    assert text.count("\n") == len(text.splitlines())
    assert not any(line.startswith(("HELD", "Idle")) for line in text.splitlines())


def test_long_names_keep_beginning_and_end(desk: Desk) -> None:
    desk.activity.see_inbox([seen("b" + "x" * 253 + "e")])
    desk.look()
    (line,) = [line for line in desk.text.splitlines() if "xxx" in line]
    assert line == f"  b{'x' * 59}...{'x' * 16}e: 1 of 2 files"


def test_a_folder_is_followed_all_the_way(desk: Desk) -> None:
    """Its page and its place in STATUS.txt agree at every step, and it is never in two places."""
    desk.activity.see_inbox([seen("chair")])
    desk.look()
    assert (desk.page("chair.json")["state"], desk.page("chair.json")["job"]) == ("waiting", None)
    claimed = desk.jobs.claim(b"chair", "f")
    desk.look()
    assert desk.page("chair.json")["state"] == "reading"
    assert "Waiting in the inbox\n  nothing" in desk.text, "the job is newer than the scan"
    desk.activity.see_inbox([])
    desk.jobs.queue(claimed.id, "digest", {}, None, 0)
    desk.look()
    assert (desk.page("chair.json")["state"], desk.page("chair.json")["position"]) == ("queued", 1)
    desk.jobs.start(claimed.id, "boot")
    desk.activity.work(Working(claimed.id, "chair", 1, 0.25, "fusion 25 %: thinking"), b"chair")
    desk.look()
    page = desk.page("chair.json")
    assert (page["state"], page["percent"], page["stage"]) == ("running", 25, "fusion 25 %: thinking")
    desk.activity.work(None)
    desk.activity.finish(desk.jobs.get(claimed.id))
    desk.look()
    assert desk.page("chair.json")["sentence"] == "its models are through; being measured and published"
    desk.jobs.deliver(claimed.id, b"chair__2", "normal", "fusion")
    desk.look()
    assert desk.page("chair.json")["state"] == "finishing"
    desk.jobs.published(claimed.id)
    desk.activity.publish(desk.jobs.cleaned(claimed.id))
    desk.activity.finish(None)
    assert "outbox/chair__2" not in desk.text
    desk.look()
    page = desk.page("chair.json")
    assert (page["state"], page["folder"], page["verdict"]) == ("done", "outbox/chair__2", "normal")
    assert (page["job"], page["earlier"]) == (claimed.id, [])
    assert "Being finished" not in desk.text


def test_a_folder_dropped_again_is_told_before_the_job_of_its_name(desk: Desk) -> None:
    desk.activity.publish(desk.ended("chair", "cancelled"))
    older = desk.queued("chair")
    desk.look()
    newer = desk.queued("chair")
    desk.look()
    desk.activity.see_inbox([seen("chair")])
    desk.look()
    page = desk.page("chair.json")
    assert (page["state"], page["sentence"]) == ("waiting", "1 of 2 files")
    assert [(one["job"], one["state"]) for one in page["earlier"][:2]] == [(newer.id, "queued"), (older.id, "queued")]
    assert page["earlier"][2]["folder"] == "failed/chair"
    assert os.listdir(desk.places.status) in (["STATUS.txt", "chair.json"], ["chair.json", "STATUS.txt"])


def test_a_folder_that_comes_back_after_its_job_is_told_as_waiting(desk: Desk) -> None:
    """Even when the scan's words are the very same ones as before it was taken."""
    same = seen("chair")
    desk.activity.see_inbox([same])
    desk.look()
    desk.queued("chair")
    desk.look()
    assert desk.page("chair.json")["state"] == "queued"
    desk.seconds += 1
    desk.activity.see_inbox([same])
    desk.look()
    assert desk.page("chair.json")["state"] == "waiting"


def test_twins_have_pages_of_their_own(desk: Desk) -> None:
    names = ["e\u0301".encode(), "\u00e9".encode(), b"a:b", b"a_b"]
    desk.activity.see_inbox([seen(name, name.hex()) for name in names])
    desk.look()
    pages = [desk.page(file) for file in os.listdir(desk.places.status) if file.endswith(".json")]
    assert {page["sentence"] for page in pages} == {name.hex() for name in names}


def test_the_queue_is_told_in_the_order_of_the_turns(desk: Desk) -> None:
    """Priorities, ages and pauses; the record is asked one by one for whose turn it is."""
    for number, priority in enumerate([0, 3, 1, 0, 3, 2]):
        desk.seconds = 400.0 * number  # two thirds of what one point of priority is worth
        desk.queued(f"job{number}", priority)
    desk.look()
    told = [line.split(". ")[1] for line in desk.text.splitlines() if ". job" in line]
    turns = []
    while (job := desk.jobs.next_ready()) is not None:
        turns.append(job.name.decode())
        desk.jobs.start(job.id, "boot")
    assert told == turns
    assert told != sorted(told)


def test_a_pause_that_is_over_gives_a_place_in_the_queue_although_nothing_was_recorded(desk: Desk) -> None:
    job = desk.queued("chair")
    desk.jobs.start(job.id, "boot")
    desk.jobs.requeue(job.id, "a model failed", delay_s=10)
    desk.look()
    assert desk.page("chair.json")["position"] is None
    desk.seconds += 10
    desk.pages.write(desk.seconds, START + desk.seconds)
    assert desk.page("chair.json")["sentence"] == "number 1 in the queue (attempt 2 of 3)"


def test_the_record_is_read_only_after_something_happened(desk: Desk) -> None:
    first = desk.jobs.line_up()
    assert first is not None
    assert desk.jobs.line_up(first[0]) is None
    job = desk.queued("chair")
    second = desk.jobs.line_up(first[0])
    assert second is not None
    assert [(line.id, line.name, line.state) for line in second[1]] == [(job.id, b"chair", job.state)]


def test_long_lists_are_cut_and_counted_and_the_newest_come_first(desk: Desk) -> None:
    for number in range(35):
        desk.queued(f"job{number}")
    folders = [seen(f"folder{number}", quiet_s=number) for number in reversed(range(250))]
    desk.activity.see_inbox(folders, backlog=12_000)
    desk.look()
    lines = desk.text.splitlines()
    assert "In the queue (35)" in lines
    assert lines[lines.index("  30. job29") + 1] == "  ... and 5 more"
    waiting = [line for line in lines if line.startswith("  folder")]
    assert (len(waiting), waiting[0]) == (200, "  folder0: 1 of 2 files")
    assert lines[-2:] == ["  ... and 50 more", "  ... and 12,000 that were not looked at yet"]
    assert "Waiting in the inbox (250)" in lines


def test_a_folder_that_cannot_be_read_needs_a_person_and_comes_first(desk: Desk) -> None:
    desk.activity.see_inbox([seen("fresh"), seen("locked", "this folder cannot be read", float("inf"))])
    assert [folder.name for folder in desk.activity.inbox] == ["locked", "fresh"]


def test_when_shown_folders_are_taken_others_move_up(desk: Desk) -> None:
    desk.activity.see_inbox([seen(f"folder{number:03d}", quiet_s=number) for number in range(250)])
    desk.seconds += 1
    for number in range(100):
        desk.queued(f"folder{number:03d}")
    desk.look()
    names = [folder.name for folder in desk.activity.inbox]
    assert len(names) == len(set(names)) == 150
    assert names[0] == "folder100"


def test_pages_of_finished_captures_are_kept_for_the_newest(desk: Desk) -> None:
    ended = desk.ended("job")
    for number in range(FINISHED_KEPT + 20):
        desk.activity.publish(replace(ended, id=f"{number:032x}", name=b"job%d" % number, finished_at=START + number))
    desk.look()
    desk.seconds += 5
    desk.look()
    left = {file for file in os.listdir(desk.places.status) if file.endswith(".json")}
    assert left == {f"job{number}.json" for number in range(20, FINISHED_KEPT + 20)}


class Calls:
    """Counts what is written."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.written: list[str] = []
        monkeypatch.setattr(fsops, "observer", self)

    def __call__(self, operation: str, path: Path, *_: Path) -> None:
        """One file operation."""
        self.written.append(path.name)

    def take(self) -> list[str]:
        """What was written since the last time."""
        taken, self.written = self.written, []
        return taken


def test_nothing_is_composed_or_written_while_nothing_happens(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Except STATUS.txt, whose age tells that the service is alive."""
    folders = [seen(f"folder{number}") for number in range(50)]
    desk.activity.see_inbox(folders)
    desk.look()
    calls = Calls(monkeypatch)
    monkeypatch.setattr(desk.pages._folders, "_compose", None)  # whoever composed a page would fail
    for _ in range(12):
        desk.seconds += 0.4
        desk.activity.see_inbox(folders)
        desk.activity.see_litter([])
        desk.activity.hold({})
        assert not desk.pages.write(desk.seconds, START + desk.seconds)
    assert calls.take() == []
    desk.seconds += 0.8
    desk.pages.write(desk.seconds, START + desk.seconds)
    assert calls.take() == ["status.json", "STATUS.txt"]


def test_a_change_is_written_within_half_a_second_and_progress_within_one(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = desk.queued("chair")
    desk.jobs.start(job.id, "boot")
    desk.activity.work(Working(job.id, "chair", 1, 0.0, "starting"), b"chair")
    desk.look()
    calls = Calls(monkeypatch)
    for step in range(20):
        desk.seconds += 0.1
        desk.activity.work(Working(job.id, "chair", 1, step / 20, f"step {step}"), b"chair")
        desk.pages.write(desk.seconds, START + desk.seconds)
    assert calls.take().count("chair.json") == 2
    desk.activity.see_inbox([seen("bowl")])
    desk.seconds += 0.5
    desk.pages.write(desk.seconds, START + desk.seconds)
    assert "bowl.json" in calls.take()
    desk.activity.see_inbox([seen("bowl", "2 of 2 files")])
    desk.seconds += 0.1
    assert desk.pages.write(desk.seconds, START + desk.seconds), "too soon, but it must be asked again soon"
    assert calls.take() == []
    desk.seconds += 0.4
    assert not desk.pages.write(desk.seconds, START + desk.seconds)
    assert "bowl.json" in calls.take()


def test_only_what_changed_is_written(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    folders = [seen(f"folder{number}") for number in range(300)]
    desk.activity.see_inbox(folders)
    desk.look()
    calls = Calls(monkeypatch)
    folders[7] = seen("folder7", "2 of 2 files")
    desk.activity.see_inbox(folders)
    desk.look()
    assert [file for file in calls.take() if file.startswith("folder")] == ["folder7.json"]


def test_a_long_queue_that_moves_up_rewrites_few_pages(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    desk.queued("job")
    _, (one,) = desk.jobs.line_up() or (0, [])
    line = [one._replace(id=f"{number:032x}", name=b"job%d" % number) for number in range(1000)]
    desk.activity.see_jobs(line)
    desk.seconds += 1
    while desk.pages.write(desk.seconds, START):
        pass
    calls = Calls(monkeypatch)
    line[0] = line[0]._replace(state=State.RUNNING)
    desk.activity.see_jobs(line)
    desk.seconds += 1
    while desk.pages.write(desk.seconds, START):
        pass
    # the one that runs, the hundred behind it, and the first of each of the eight hundreds behind those
    assert len([file for file in calls.take() if file.startswith("job")]) == 1 + 100 + 8


def test_the_service_is_woken_by_news_only(tmp_path: Path) -> None:
    woken: list[int] = []
    activity = Activity(lambda: START, lambda: woken.append(1))
    folder = [seen("chair")]
    activity.see_inbox(folder)
    assert woken
    woken.clear()
    activity.see_inbox(folder)
    activity.see_litter([])
    assert woken == []


def test_a_share_that_is_away_stops_nothing(desk: Desk) -> None:
    desk.places.status.rename(desk.places.root / "away")
    desk.activity.see_inbox([seen("chair")])
    desk.look()
    (desk.places.root / "away").rename(desk.places.status)
    desk.look()
    desk.look(after=6)
    assert desk.page("chair.json")["state"] == "waiting"
    assert "chair" in desk.text


def test_the_text_is_made_of_the_facts_alone(desk: Desk) -> None:
    """What programs get from `meshdrop status --json` says everything that the page says."""
    desk.activity.see_inbox([seen("chair")])
    desk.queued("table")
    desk.look()
    facts = json.loads(desk.places.live_status.read_text())
    assert facts["schema"] == "meshdrop.status/2"
    assert status_text(facts) == desk.places.overview.read_text()
