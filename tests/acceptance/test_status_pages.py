"""What people at the share read while their captures go through: the real daemon, page by page."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from meshdrop.daemon.status.pages import and_left
from tests.rig import ENGINES, Rig, stop, wait_for


class Reader(threading.Thread):
    """Reads a folder's page over and over and remembers every state and sentence, and whether it was ever half."""

    def __init__(self, rig: Rig, file: str) -> None:
        super().__init__(daemon=True)
        self._page = rig.places.status / file
        self._ended = threading.Event()
        self.seen: list[tuple[str, str]] = []
        self.broken: list[str] = []

    def run(self) -> None:
        """Look until stopped."""
        while not self._ended.wait(0.01):
            try:
                page = json.loads(self._page.read_text())
            except FileNotFoundError:
                continue
            except ValueError as error:
                self.broken.append(str(error))
                continue
            if not self.seen or self.seen[-1] != (page["state"], page["sentence"]):
                self.seen.append((page["state"], page["sentence"]))

    @property
    def states(self) -> list[str]:
        """The states in their order, each once in a row."""
        found: list[str] = []
        for state, _ in self.seen:
            if found[-1:] != [state]:
                found.append(state)
        return found

    def stop(self) -> None:
        """End looking."""
        self._ended.set()
        self.join()


def page(rig: Rig, file: str) -> dict[str, Any]:
    """A folder's page; empty while there is none."""
    try:
        return dict(json.loads((rig.places.status / file).read_text()))
    except FileNotFoundError:
        return {}


def status(rig: Rig) -> dict[str, Any]:
    """What ``meshdrop status --json`` says."""
    done = subprocess.run(
        [sys.executable, "-m", "meshdrop.daemon.cli", "status", "--json"],
        env=rig.environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    return dict(json.loads(done.stdout))


def test_a_half_folder_is_followed_from_its_missing_file_to_the_outbox(
    rig: Callable[..., Rig], ball: Path, tmp_path: Path
) -> None:
    """The same sentence in both places; then it is completed and passes through every state to its result."""
    here = rig(MESHDROP_MODELS='["patient"]', **_patient(tmp_path))
    half = here.places.inbox / "chair"
    shutil.copytree(ball, half)
    (half / "depth" / "depth_03.png").rename(tmp_path / "late.png")
    reader = Reader(here, "chair.json")
    reader.start()
    daemon = here.start()
    awaited = "11 of 12 files, waiting for depth/depth_03.png"
    wait_for(lambda: page(here, "chair.json").get("sentence") == awaited)
    wait_for(lambda: f"  chair: {awaited}\n" in here.status_page())
    assert (page(here, "chair.json")["state"], page(here, "chair.json")["job"]) == ("waiting", None)
    wait_for(lambda: [(one["name"], one["sentence"]) for one in status(here)["inbox"]] == [("chair", awaited)])

    (tmp_path / "late.png").rename(half / "depth" / "depth_03.png")
    wait_for(lambda: str(page(here, "chair.json").get("stage")).endswith("waiting for permission"))
    halfway = page(here, "chair.json")
    assert 0 < halfway["percent"] < 100
    said = f"{halfway['stage']} ({halfway['percent']} % of the job)"
    assert halfway["sentence"] == said + and_left(halfway["left"])  # it may be known by now how long it will take
    wait_for(lambda: f"Working on\n  chair: {said}" in here.status_page())
    wait_for(lambda: (told := status(here))["running"] and told["working"]["name"] == "chair")
    (tmp_path / "go").touch()
    wait_for(lambda: page(here, "chair.json").get("state") == "done")
    wait_for(lambda: "chair: the result is in outbox/chair (normal, best model patient)" in here.status_page())
    last = page(here, "chair.json")
    assert (last["folder"], last["verdict"], last["fix"]) == ("outbox/chair", "normal", None)
    assert (here.places.outbox / last["folder"].split("/")[1]).is_dir()
    assert last["job"] == here.jobs()[0].id
    wait_for(lambda: "done" in reader.states)
    reader.stop()
    assert reader.broken == []
    # Quick states may be over before a page is written; those that were told came in this order.
    order = ["waiting", "reading", "queued", "running", "finishing", "done"]
    assert reader.states == [state for state in order if state in reader.states]
    assert {"waiting", "running", "done"} <= set(reader.states)
    assert stop(daemon) == 0
    assert here.status_page().startswith("Meshdrop was stopped at ")


def _patient(folder: Path) -> dict[str, str]:
    """A model that says how far it is and goes on when the file ``go`` is there."""
    file = folder / "patient.py"
    file.write_text(
        ENGINES.read_text()  # a worker sees no other file of ours
        + "\n\nclass Patient(Ball):\n"
        "    name = 'patient'\n\n"
        "    def inference(self, capture, output_dir):\n"
        f"        while not Path({str(folder / 'go')!r}).exists():\n"
        "            self.report_progress(50, 'waiting for permission')\n"
        "            time.sleep(0.1)\n"
        "        return super().inference(capture, output_dir)\n"
    )
    return {"MESHDROP_CUSTOM_MODELS": json.dumps({"patient": f"{file}:Patient"})}


def test_a_refused_capture_says_why_where_it_went_and_what_to_do(rig: Callable[..., Rig], ball: Path) -> None:
    """In STATUS.txt, on its page and by the command; then it is mended, dropped again and told of anew."""
    here = rig()
    daemon = here.start()
    here.drop(ball, "lamp")
    wrong = here.root.parent / "wrong"
    shutil.copytree(ball, wrong)
    shutil.copyfile(wrong / "views/view_00.png", wrong / "depth/depth_02.png")
    here.drop(wrong, "chair")
    # Before the folder is where it goes, the page tells the general advice of its kind of failure.
    advice = "Then move failed/chair back into the inbox; its WHY.txt has the whole story."
    wait_for(lambda: str(page(here, "chair.json").get("fix")).endswith(advice))
    told = page(here, "chair.json")
    assert told["state"] == "failed"
    assert told["sentence"].startswith("it is in failed/chair: The capture has a problem that no waiting can cure.")
    assert "depth/depth_02.png: The depth map is 8-bit" in told["sentence"]
    wait_for(lambda: "chair: it is in failed/chair" in here.status_page())
    wait_for(lambda: told["fix"].split(". ")[0] in here.status_page())
    wait_for(
        lambda: (
            ("chair", told["sentence"], told["fix"])
            in [(job["name"], job["sentence"], job["fix"]) for job in status(here)["finished"]]
        )
    )

    folder = here.places.failed / "chair"
    shutil.copyfile(ball / "depth/depth_02.png", folder / "capture/depth/depth_02.png")
    folder.rename(here.places.inbox / "chair")
    wait_for(lambda: (told := page(here, "chair.json")).get("state") == "done" and told["earlier"] == [])
    assert stop(daemon) == 0


def test_the_queue_a_second_attempt_and_what_is_no_folder_are_told(rig: Callable[..., Rig], ball: Path) -> None:
    here = rig(MESHDROP_MODELS='["slow"]')
    (here.places.inbox / "notes.txt").write_text("not a capture")
    for name in ("one", "two", "three"):
        here.drop(ball, name)
    daemon = here.start()
    wait_for(lambda: "In the queue (2)" in here.status_page() and "notes.txt" in here.status_page())
    names = ("one", "two", "three")
    told = {}
    wait_for(
        lambda: (
            told.update(
                {
                    name: (page(here, f"{name}.json").get("state"), page(here, f"{name}.json").get("position"))
                    for name in names
                }
            )
            or set(told.values()) == {("running", None), ("queued", 1), ("queued", 2)}
        )
    )
    first = next(name for name, (state, _) in told.items() if state == "running")
    subprocess.run(
        [sys.executable, "-m", "meshdrop.daemon.cli", "cancel", first],
        env=here.environment(),
        check=True,
        capture_output=True,
    )
    cancelled = f"it is in failed/{first}: The job was cancelled."
    wait_for(lambda: page(here, f"{first}.json").get("sentence") == cancelled)
    assert page(here, f"{first}.json")["state"] == "failed"
    wait_for(lambda: "In the queue (1)" in here.status_page())
    assert stop(daemon) == 0

    here.settings["MESHDROP_MODELS"] = '["fails_once"]'
    daemon = here.start()
    line = re.compile(r"will be tried again at .* after: the model stopped with an error \(attempt 2 of 3\)")
    wait_for(lambda: (told := here.status_page().partition("Waiting for another attempt")[2]) and line.search(told))
    assert stop(daemon) == 0


def test_pages_of_an_earlier_run_are_set_right_at_the_next_start(rig: Callable[..., Rig], ball: Path) -> None:
    """Killed in the middle: finished captures keep their pages, a folder that went away meanwhile loses its own."""
    here = rig()
    here.drop(ball, "done")
    for name in ("stays", "goes"):
        (here.places.inbox / name / "views").mkdir(parents=True)
    (here.places.status / "theirs.json").write_text('{"mine": true}')
    daemon = here.start()
    wait_for(lambda: page(here, "done.json").get("state") == "done")
    wait_for(lambda: page(here, "goes.json").get("sentence") == "the folder is empty")
    before = page(here, "done.json")
    daemon.send_signal(signal.SIGKILL)
    daemon.wait()
    shutil.rmtree(here.places.inbox / "goes")
    (here.places.status / ".0123abcd.tmp").write_text("half a page")
    daemon = here.start()
    wait_for(lambda: set(os.listdir(here.places.status)) == {"STATUS.txt", "done.json", "stays.json", "theirs.json"})
    assert page(here, "done.json") == before
    shutil.rmtree(here.places.inbox / "stays")
    wait_for(lambda: "stays.json" not in os.listdir(here.places.status))
    assert stop(daemon) == 0
    assert (here.places.status / "theirs.json").read_text() == '{"mine": true}'


def test_a_service_that_was_killed_is_told_as_not_running_with_the_record_as_it_is(
    rig: Callable[..., Rig], ball: Path
) -> None:
    here = rig(MESHDROP_MODELS='["slow"]')
    here.drop(ball, "chair")
    daemon = here.start()
    wait_for(lambda: page(here, "chair.json").get("state") == "running")
    daemon.send_signal(signal.SIGKILL)
    daemon.wait()
    told = status(here)
    assert (told["running"], told["working"]) == (False, None)
    assert [(job["name"], job["sentence"]) for job in told["finishing"]] == [
        ("chair", "goes on when the service is started again")
    ]
    assert time.time() > told["at"]
