"""What the page of a folder says in every state, and which file holds it."""

from __future__ import annotations

import errno
import json
import os
import unicodedata
from pathlib import Path
from typing import Any

import pytest

from meshdrop.daemon.base.places import page_name
from meshdrop.daemon.inbox.settle import Judgement
from meshdrop.daemon.status.page_files import _SECONDS_A_CALL, FolderPages
from meshdrop.daemon.status.pages import Page, Working, ended_page, job_page, told_place, waiting_page
from meshdrop.db.records import InLine
from meshdrop.db.states import LIVE, State
from meshdrop.models.files import walk
from meshdrop.models.files.problem import Problem

ID = "1a2b3c4d" + "0" * 24
#: 2026-11-21 14:02:30 UTC
AT = 1795269750.0


def in_line(state: State, **values: Any) -> InLine:
    """A live job called chair."""
    usual: dict[str, Any] = {
        "id": ID,
        "name": b"chair",
        "state": state,
        "priority": 0,
        "attempt": 0,
        "ingest_tries": 1,
        "not_before": 0.0,
        "created_at": AT,
        "dest": None,
        "verdict": None,
        "best_model": None,
        "reason_code": None,
        "reason": None,
        "failed_as": None,
    }
    return InLine(**{**usual, **values})


def working(progress: float = 0.375, attempt: int = 1) -> Working:
    """The job is at work."""
    return Working(ID, "chair", attempt, progress, "fusion 38 %: integrating depth")


# -- what a page says ----------------------------------------------------------------------------------------------

STATES = [
    (in_line(State.CLAIMING, ingest_tries=0), {}, "reading", "taken out of the inbox, waiting to be read and checked"),
    (in_line(State.CLAIMING), {}, "reading", "taken out of the inbox, being read and checked"),
    (
        in_line(State.CLAIMING, reason_code="cancelled"),
        {},
        "reading",
        "taken out of the inbox, being read and checked; cancelled, it goes to failed/ after that",
    ),
    (in_line(State.QUEUED), {"place": 3}, "queued", "number 3 in the queue"),
    (in_line(State.QUEUED), {"place": 1300}, "queued", "about number 1300 in the queue"),
    (in_line(State.QUEUED, attempt=1), {"place": 1}, "queued", "number 1 in the queue (attempt 2 of 3)"),
    (
        in_line(State.QUEUED, attempt=1, not_before=AT, failed_as="error"),
        {"later": True},
        "queued",
        "will be tried again at 14:02:30 UTC after: the model stopped with an error (attempt 2 of 3)",
    ),
    (
        in_line(State.QUEUED, attempt=2, not_before=AT),
        {"later": True},
        "queued",
        "will be tried again at 14:02:30 UTC after: its last attempt ended early (attempt 3 of 3)",
    ),
    (in_line(State.RUNNING), {"working": working()}, "running", "fusion 38 %: integrating depth (37 % of the job)"),
    (
        in_line(State.RUNNING),
        {"working": working(attempt=2)},
        "running",
        "fusion 38 %: integrating depth (37 % of the job, attempt 2 of 3)",
    ),
    (
        in_line(State.RUNNING, reason_code="cancelled"),
        {"working": working()},
        "running",
        "cancelled; what runs is being stopped, then the folder goes to failed/",
    ),
    (in_line(State.RUNNING), {"stopped": True}, "running", "goes on when the service is started again"),
    (in_line(State.RUNNING), {"finishing": True}, "finishing", "its models are through; being measured and published"),
    (in_line(State.RUNNING), {}, "finishing", "its models are through; waiting to be measured"),
    (in_line(State.DELIVERING, verdict="normal"), {}, "finishing", "the result is complete and is being published"),
    (
        in_line(State.FAIL_PENDING, reason_code="cancelled"),
        {},
        "finishing",
        "it is being put into failed/: The job was cancelled.",
    ),
    (
        in_line(State.FAILING, reason_code="models", reason="fusion: it died"),
        {},
        "finishing",
        "it is being put into failed/: No model produced a mesh. fusion: it died",
    ),
    (
        in_line(State.QUEUED),
        {"place": 2, "hold": "No space left on device"},
        "queued",
        "held: No space left on device; it goes on by itself once that is cured",
    ),
    (
        in_line(State.DONE, dest=b"chair", verdict="normal", best_model="fusion"),
        {},
        "done",
        "the result is in outbox/chair (normal, best model fusion)",
    ),
    (
        in_line(State.FAILED, dest=b"chair", reason_code="cancelled"),
        {},
        "failed",
        "it is in failed/chair: The job was cancelled.",
    ),
]


@pytest.mark.parametrize(("job", "facts", "state", "sentence"), STATES, ids=[row[3][:40] for row in STATES])
def test_every_state_of_a_job_has_its_sentence(job: InLine, facts: dict[str, Any], state: str, sentence: str) -> None:
    page = job_page(job, **facts)
    assert (page.state, page.sentence, page.job) == (state, sentence, ID)


def test_every_live_state_is_told() -> None:
    """A state that is new in the record must get its words here."""
    assert {row[0].state for row in STATES} == LIVE


def test_a_running_page_has_stage_and_percent() -> None:
    page = job_page(in_line(State.RUNNING), working=working())
    assert (page.stage, page.percent) == ("fusion 38 %: integrating depth", 37)


def test_a_waiting_folder_says_what_it_waits_for_and_what_cures_it() -> None:
    assert waiting_page(Judgement("arriving", "5 of 12 files, waiting for depth/depth_03.png")) == Page(
        "waiting", "5 of 12 files, waiting for depth/depth_03.png"
    )
    problem = Problem("symlink", "a", "is a symbolic link.", "Copy the file itself.")
    refused = waiting_page(Judgement("refuse", "a: is a symbolic link.", "capture", (problem,)))
    assert refused.fix == "Copy the file itself."


def test_a_refused_capture_names_its_first_problem_and_what_to_do() -> None:
    job = in_line(State.FAILED, dest=b"chair__1a2b3c4d", reason_code="capture", reason="the whole\nstory")
    problems = [
        Problem("depth", "depth/depth_03.png", "The depth map is 8-bit.", "Save the raw depth.").to_json(),
        Problem("set", "views/a.png", "is missing.", "Add this file.").to_json(),
    ]
    page = ended_page(job, problems)
    assert page.sentence == (
        "it is in failed/chair__1a2b3c4d: The capture has a problem that no waiting can cure. "
        "depth/depth_03.png: The depth map is 8-bit. (and 1 more)"
    )
    assert page.fix == (
        "Save the raw depth. Then move failed/chair__1a2b3c4d back into the inbox; its WHY.txt has the whole story."
    )


def test_a_failed_job_says_why_and_names_its_own_folder_in_the_cure() -> None:
    page = ended_page(in_line(State.FAILED, dest=b"chair", reason_code="models", reason="fusion: died\nball: died"))
    assert page.sentence == "it is in failed/chair: No model produced a mesh. fusion: died (and 1 more)"
    assert page.fix is not None
    assert "Move this folder" not in page.fix or "failed/chair" in page.fix


def test_a_result_that_is_only_usable_says_so() -> None:
    page = ended_page(in_line(State.DONE, dest=b"chair", verdict="warning", best_model="fusion"))
    assert page.fix == (
        "Read the first line of outbox/chair/report.html before you use it: it says what is not as it should be."
    )
    assert (page.folder, page.verdict) == ("outbox/chair", "warning")


def test_nothing_that_came_from_outside_can_break_out_of_its_line() -> None:
    job = in_line(State.FAILED, dest=b"a\nHELD: b", reason_code="models", reason="x\u2028HELD: y")
    assert all(char.isprintable() for char in ended_page(job).sentence)
    note = Working(ID, "chair", 1, 0.5, "fusion\nHELD: everything")
    assert "\n" not in job_page(in_line(State.RUNNING), working=note).sentence


@pytest.mark.parametrize(("place", "told"), [(1, 1), (100, 100), (101, 200), (200, 200), (9901, 10000)])
def test_places_far_behind_are_told_in_hundreds(place: int, told: int) -> None:
    assert told_place(place) == told


# -- which file holds it -------------------------------------------------------------------------------------------

CAFE = unicodedata.normalize("NFC", "café")
TWINS = [
    (os.fsencode(CAFE), os.fsencode(unicodedata.normalize("NFD", CAFE))),
    (b"a:b", b"a_b"),
    (b"a:b", b"a?b"),
    (b"CON", b"CON_"),
    (b"x.", b"x"),
    (b"caf\xe9", b"caf_"),
    (b"x" * 255, b"x" * 254),
    (b"x" * 250, b"x" * 239),
    (b"a\nb", b"a_b"),
    (b"x.done", b"x.done_"),
]


@pytest.mark.parametrize(("first", "second"), TWINS)
def test_two_names_never_share_a_page(first: bytes, second: bytes) -> None:
    assert page_name(first) != page_name(second)


def test_a_name_that_looks_like_a_marked_one_is_marked_itself() -> None:
    marked = page_name(b"a:b").removesuffix(".json")
    assert page_name(marked.encode()) != f"{marked}.json"


@pytest.mark.parametrize("name", ["chair", "Stühle 😀", "a b", "-rf", "x.y.z"])
def test_an_ordinary_name_keeps_it(name: str) -> None:
    assert page_name(name.encode()) == f"{name}.json"


#: Characters that take more bytes when they are composed.
GROWING = ["\u0958".encode() * 80, "\U0001d160".encode() * 60]


@pytest.mark.parametrize("name", [name for pair in TWINS for name in pair] + GROWING)
def test_every_name_of_a_page_can_be_created(name: bytes, tmp_path: Path) -> None:
    (tmp_path / page_name(name)).touch()
    assert page_name(name).isprintable()


# -- the files -----------------------------------------------------------------------------------------------------


class Shelf:
    """Pages in a folder, a stopwatch moved by hand, and how often each page was composed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.pages: dict[bytes, Page] = {}
        self.seconds = 0.0
        self.composed: list[bytes] = []
        self.files = self.fresh()

    def fresh(self) -> FolderPages:
        """As after a start."""
        return FolderPages(self.folder, self.compose, lambda: self.seconds)

    def compose(self, name: bytes) -> dict[str, Any] | None:
        """The page of a name, if there is one."""
        self.composed.append(name)
        return self.pages[name].to_json(name, ()) if name in self.pages else None

    def set(self, name: bytes, sentence: str) -> None:
        """Tell something new of a folder."""
        self.pages[name] = Page("waiting", sentence)
        self.files.mark([name])

    def gone(self, name: bytes) -> None:
        """There is nothing to tell of it any more."""
        del self.pages[name]
        self.files.mark([name])

    def write(self, now: float = AT, *, all_known: bool = True) -> bool:
        """One call."""
        return self.files.write(now, all_known=all_known)

    def sentence(self, file: str) -> str:
        """What a page says on the disk."""
        return str(json.loads((self.folder / file).read_text())["sentence"])


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    return Shelf(tmp_path)


def test_a_page_is_one_json_object_of_the_schema(shelf: Shelf) -> None:
    """Golden: this is what programs at the share read."""
    shelf.set(b"chair\n", "5 of 12 files")
    shelf.write()
    (file,) = shelf.folder.iterdir()
    assert json.loads(file.read_text()) == {
        "schema": "meshdrop.folder/1",
        "name": "chair\\n",
        "state": "waiting",
        "sentence": "5 of 12 files",
        "fix": None,
        "job": None,
        "position": None,
        "stage": None,
        "percent": None,
        "left": None,
        "folder": None,
        "verdict": None,
        "earlier": [],
        "updated": "2026-11-21T14:02:30Z",
    }


def test_a_page_is_written_when_it_changes_and_only_then(shelf: Shelf) -> None:
    shelf.set(b"chair", "one")
    shelf.write(AT)
    first = (shelf.folder / "chair.json").stat()
    shelf.files.mark([b"chair"])
    shelf.write(AT + 10)
    assert (shelf.folder / "chair.json").stat().st_ino == first.st_ino
    shelf.set(b"chair", "two")
    shelf.write(AT + 20)
    assert shelf.sentence("chair.json") == "two"
    shelf.composed.clear()
    shelf.write(AT + 30)
    assert shelf.composed == []


def test_a_call_writes_some_hundreds_and_says_that_there_is_more(shelf: Shelf) -> None:
    for number in range(700):
        shelf.set(b"c%d" % number, "here")
    assert shelf.write()
    assert 0 < len(os.listdir(shelf.folder)) <= 300
    assert shelf.write()
    assert not shelf.write()
    assert len(os.listdir(shelf.folder)) == 700


def test_a_slow_share_ends_a_call_early(shelf: Shelf) -> None:
    for number in range(10):
        shelf.set(b"c%d" % number, "here")
    compose = shelf.compose

    def slow(name: bytes) -> dict[str, Any] | None:
        shelf.seconds += 0.6 * _SECONDS_A_CALL
        return compose(name)

    shelf.files = FolderPages(shelf.folder, slow, lambda: shelf.seconds)
    shelf.files.mark(shelf.pages)
    assert shelf.write()
    assert len(os.listdir(shelf.folder)) == 2


def test_a_page_goes_with_its_folder_but_not_in_the_moment_between_inbox_and_record(shelf: Shelf) -> None:
    shelf.set(b"chair", "here")
    shelf.write()
    shelf.gone(b"chair")
    shelf.write()
    shelf.seconds = 1.0
    shelf.set(b"chair", "a job now")
    shelf.write()
    assert shelf.sentence("chair.json") == "a job now"
    shelf.gone(b"chair")
    shelf.write()
    shelf.seconds = 2.5
    shelf.write()
    assert os.listdir(shelf.folder) == ["chair.json"]
    shelf.seconds = 3.5
    shelf.write()
    assert os.listdir(shelf.folder) == []
    shelf.composed.clear()
    shelf.write()
    assert shelf.composed == []


def test_after_a_start_what_is_known_stays_and_what_is_not_goes(shelf: Shelf) -> None:
    for name in (b"kept", b"changed", b"old"):
        shelf.set(name, "before")
    shelf.write()
    (shelf.folder / ".0123abcd.tmp").write_text("half")
    kept = (shelf.folder / "kept.json").stat()
    del shelf.pages[b"old"]
    shelf.files = shelf.fresh()
    shelf.files.mark([b"kept"])
    shelf.write(AT + 99, all_known=False)
    assert len(os.listdir(shelf.folder)) == 4  # as long as the inbox has not been seen nothing is concluded
    shelf.set(b"changed", "after")
    shelf.write(AT + 99)
    assert sorted(os.listdir(shelf.folder)) == ["changed.json", "kept.json"]
    assert shelf.sentence("changed.json") == "after"
    assert (shelf.folder / "kept.json").stat().st_ino == kept.st_ino


def test_a_folder_that_is_called_like_a_half_written_page_is_nobodys_to_remove(shelf: Shelf) -> None:
    """It may hold a million files, and would keep the main thread for as long as it takes to delete them."""
    (shelf.folder / ".0123abcd.tmp").mkdir()
    (shelf.folder / ".0123abcd.tmp/theirs").touch()
    (shelf.folder / ".1123abcd.tmp").symlink_to(".0123abcd.tmp")
    shelf.set(b"chair", "here")
    shelf.write()
    assert sorted(os.listdir(shelf.folder)) == [".0123abcd.tmp", ".1123abcd.tmp", "chair.json"]
    assert os.listdir(shelf.folder / ".0123abcd.tmp") == ["theirs"]


@pytest.mark.parametrize("theirs", ['{"mine": 1}', "not json", '{"schema": "meshdrop.report/1"}', "[" * 100_000])
def test_files_of_others_are_neither_replaced_nor_removed(shelf: Shelf, theirs: str) -> None:
    (shelf.folder / "chair.json").write_text(theirs)
    (shelf.folder / "other.json").write_text(theirs)
    (shelf.folder / "STATUS.txt").write_text("text")
    shelf.set(b"chair", "here")
    shelf.write()
    shelf.write()
    assert (shelf.folder / "chair.json").read_text() == theirs
    assert (shelf.folder / "other.json").read_text() == theirs
    (ours,) = set(os.listdir(shelf.folder)) - {"chair.json", "other.json", "STATUS.txt"}
    assert shelf.sentence(ours) == "here"
    shelf.gone(b"chair")
    shelf.write()
    shelf.seconds = 5
    shelf.write()
    assert sorted(os.listdir(shelf.folder)) == ["STATUS.txt", "chair.json", "other.json"]


def test_a_folder_or_pipe_in_the_place_of_a_page_stops_nothing(shelf: Shelf) -> None:
    (shelf.folder / "chair.json").mkdir()
    os.mkfifo(shelf.folder / "table.json")
    (shelf.folder / "link.json").symlink_to(shelf.folder / "nowhere")
    before = len(os.listdir("/proc/self/fd"))
    for name in (b"chair", b"table", b"link"):
        shelf.set(name, "here")
    assert not shelf.write()
    assert len(os.listdir(shelf.folder)) == 6
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_share_in_trouble_makes_no_second_page(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    """A page that cannot be read now is still ours."""
    shelf.set(b"chair", "before")
    shelf.write()
    shelf.files = shelf.fresh()
    shelf.set(b"chair", "after")

    def refuse(path: Path, most: int) -> bytes:
        raise OSError(errno.EIO, "Input/output error", str(path))

    with monkeypatch.context() as trouble:
        trouble.setattr(walk, "read_file", refuse)
        assert not shelf.write()
    assert os.listdir(shelf.folder) == ["chair.json"]
    shelf.write()
    assert os.listdir(shelf.folder) == ["chair.json"]
    assert shelf.sentence("chair.json") == "after"


def test_a_folder_that_cannot_be_written_is_waited_for(shelf: Shelf) -> None:
    shelf.set(b"chair", "here")
    away = shelf.folder.rename(shelf.folder.with_name("away"))
    assert not shelf.write()
    assert not shelf.write()
    away.rename(shelf.folder)
    shelf.write()
    assert shelf.sentence("chair.json") == "here"
