"""Bad input that depends on the moment: files that grow, change or are swapped, folders and shares that go away.

The rest of the kinds in the table are folders of ``tests/corpus.py``; the last test holds that none is left out.
"""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import unicodedata
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from meshdrop.daemon.base import fsops
from meshdrop.daemon.base.places import shown
from meshdrop.db.states import State
from meshdrop.models.files.folder import CaptureFolder
from meshdrop.models.files.limits import CaptureLimits
from meshdrop.models.files.problem import CaptureError
from tests.acceptance import test_corpus
from tests.corpus import CASES, TITLES
from tests.integration import test_mutants
from tests.patience import PATIENCE_S
from tests.rig import REPOSITORY, Rig, assert_whole, contents, stop, wait_for, write_ball

LIMITS = CaptureLimits()
#: A wall clock that is a day fast, right, or a day slow, whenever it is asked.
MAD_CLOCK = """
import random, time
real, chance = time.time, random.Random(1)
time.time = lambda: real() + chance.choice((-86400, 0, 86400))
from tests import light
light.main()
"""


@pytest.fixture
def memory() -> Iterator[Path]:
    """A folder whose flushes cost nothing, where there is one."""
    where = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(dir=where) as folder:
        yield Path(folder)


@contextlib.contextmanager
def meanwhile(act: Callable[[], object]) -> Iterator[None]:
    """Repeat ``act`` in a thread until the block ends."""
    ended = threading.Event()

    def repeat() -> None:
        while not ended.is_set():
            act()

    thread = threading.Thread(target=repeat)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def exchange(left: Path, right: Path, aside: Path) -> None:
    """Each takes the other's place; for a moment neither is there."""
    os.rename(left, aside)
    os.rename(right, left)
    os.rename(aside, right)


def places_of(rig: Rig, name: str) -> list[str]:
    """Where a dropped folder has come to rest."""
    return [shelf.name for shelf in (rig.places.outbox, rig.places.failed) if (shelf / name).is_dir()]


def test_a_file_that_grows_for_ever_is_never_taken(light_rig: Callable[..., Rig], ball: Path) -> None:
    """44: a valid picture after each write, far longer than folders are waited for; when it ends, it is taken."""
    here = light_rig(MESHDROP_SETTLE_S="5", MESHDROP_INCOMPLETE_AFTER_S="3")
    here.drop(ball)
    picture = here.places.inbox / "ball/views/view_00.png"
    whole = picture.read_bytes()

    def grow() -> None:
        with contextlib.suppress(FileNotFoundError), open(picture, "r+b") as file:
            file.seek(0, os.SEEK_END)
            file.write(whole[-12:])
        time.sleep(0.05)

    with meanwhile(grow):
        daemon = here.start()
        wait_for(lambda: "  ball: " in here.status_page())
        grown_from = picture.stat().st_size
        wait_for(lambda: picture.stat().st_size > grown_from + 12 * 240)  # 240 writes take twelve seconds and more
        assert os.listdir(here.places.inbox) == ["ball"]
    picture.write_bytes(whole)
    wait_for((here.places.outbox / "ball").exists)
    assert stop(daemon) == 0


def test_a_file_swapped_for_a_link_is_never_read_through(memory: Path) -> None:
    """45: ten thousand reads, half of them copies, while a thread exchanges the file, or its folder, for a link."""
    ours, foreign = b"o" * 100, b"f" * 100
    for folder, content in ((memory / "capture/views", ours), (memory / "foreign", foreign)):
        folder.mkdir(parents=True)
        (folder / "a.png").write_bytes(content)
    (memory / "file").symlink_to(memory / "foreign/a.png")
    (memory / "folder").symlink_to(memory / "foreign")
    capture, copied, refused = memory / "capture", 0, 0
    for swapped, link in (("views/a.png", memory / "file"), ("views", memory / "folder")):
        with meanwhile(partial(exchange, capture / swapped, link, memory / "aside")):
            for _ in range(2500):
                with contextlib.suppress(OSError):
                    (memory / "copy").unlink(missing_ok=True)
                    fsops.copy_file(capture / "views/a.png", memory / "copy", 1000)
                    copied += 1
                refused += not (memory / "copy").exists()
                assert not (memory / "copy").exists() or (memory / "copy").read_bytes() in (ours, b"")
                with contextlib.suppress(CaptureError):
                    assert CaptureFolder(capture, LIMITS).read("views/a.png", 1000) == ours
    assert copied > 0
    assert refused > 0  # the race was run: the link was met in its place


def test_a_folder_that_changes_twice_while_it_is_read_fails_as_changed(
    light_rig: Callable[..., Rig], ball: Path
) -> None:
    """46: the first time it goes back to the inbox; the second time somebody must look after the rig."""
    here = light_rig()
    here.drop(ball)
    late = write_ball(here.root.parent / "late", radius=0.45)
    for number, point in enumerate(("I4", "I4:2")):
        assert here.run_once(MESHDROP_CRASH_AT=point) == -signal.SIGKILL
        (claimed,) = here.places.claimed.iterdir()
        name = f"views/view_0{number}.png"
        shutil.copyfile(late / name, claimed / name)
    assert here.run_once() == 0, here.log()
    assert places_of(here, "ball") == ["failed"]
    (job,) = here.jobs()
    assert (job.reason_code, job.attempt) == ("changed", 0)
    here.assert_at_rest()


def test_folders_that_go_away_leave_no_trace_and_no_trouble(light_rig: Callable[..., Rig], ball: Path) -> None:
    """47: taken back or deleted at any moment; each is in one place, and the service goes on."""
    here = light_rig()
    away = here.root.parent / "away"
    away.mkdir()
    daemon = here.start()
    chance = random.Random(int(os.environ.get("MESHDROP_SEED", "47")))
    taken_back = set()
    for number in range(12):
        name = f"ball-{number:02d}"
        here.drop(ball, name)
        time.sleep(chance.uniform(0, 0.6))
        with contextlib.suppress(FileNotFoundError):
            os.rename(here.places.inbox / name, away / name)
            taken_back.add(name)
    for number in range(6):
        here.drop(ball, f"gone-{number}")
        time.sleep(chance.uniform(0, 0.6))
        shutil.rmtree(here.places.inbox / f"gone-{number}", ignore_errors=True)
    here.drop(ball, "last")
    wait_for((here.places.outbox / "last").exists)
    wait_for(lambda: os.listdir(here.places.claimed) == [])
    assert stop(daemon) == 0
    assert here.run_once(MESHDROP_INCOMPLETE_AFTER_S="0.5") == 0
    for number in range(12):
        name = f"ball-{number:02d}"
        assert places_of(here, name) == ([] if name in taken_back else ["outbox"]), name
        assert (away / name).exists() == (name in taken_back)
    assert "Traceback" not in here.log()
    here.assert_at_rest()


@pytest.mark.parametrize("word", [None, b"another share\n"], ids=["gone", "another"])
def test_a_share_that_is_not_ours_holds_everything(
    light_rig: Callable[..., Rig], ball: Path, word: bytes | None
) -> None:
    """51: nothing is taken, forgotten or failed while the sentinel is away or altered."""
    here = light_rig()
    here.drop(ball, "before")
    daemon = here.start()
    wait_for((here.places.outbox / "before").exists)
    sentinel = here.places.sentinel.read_bytes()
    here.places.sentinel.unlink()
    if word is not None:
        here.places.sentinel.write_bytes(word)
    here.drop(ball, "meanwhile")
    wait_for(
        lambda: (
            "HELD" in here.status_page() or "HELD" in here.places.live_status.read_text() or "unavailable" in here.log()
        )
    )
    time.sleep(1)
    assert os.listdir(here.places.inbox) == ["meanwhile"]
    assert os.listdir(here.places.failed) == []
    here.places.sentinel.write_bytes(sentinel)
    wait_for((here.places.outbox / "meanwhile").exists)
    assert stop(daemon) == 0
    assert {job.name for job in here.jobs()} == {b"before", b"meanwhile"}


def test_a_mad_clock_changes_nothing(light_rig: Callable[..., Rig], ball: Path) -> None:
    """52: each look at the wall clock is off by a day this way, that way or not at all."""
    here = light_rig()
    names = [f"ball-{number}" for number in range(4)]
    for name in names:
        here.drop(ball, name)
    here.drop(ball, "broken")
    (here.places.inbox / "broken/views/view_00.png").unlink()
    (here.places.inbox / "broken/views/view_00.png").symlink_to("nowhere")
    environment = {**here.environment(), "PYTHONPATH": str(REPOSITORY)}
    with open(here.log_file, "ab") as log:
        ended = subprocess.run(
            [sys.executable, "-c", MAD_CLOCK, "run", "--once"],
            env=environment,
            stdout=log,
            stderr=log,
            check=False,
            timeout=PATIENCE_S,
        )
    assert ended.returncode == 0, here.log()[-3000:]
    for name in names:
        assert places_of(here, name) == ["outbox"]
    assert places_of(here, "broken") == ["failed"]
    here.assert_at_rest()


def test_a_good_capture_behind_a_flood_of_bad_ones_is_done(light_rig: Callable[..., Rig], ball: Path) -> None:
    """56: a hundred here; bench/flood.py takes a thousand and the time."""
    here = light_rig()
    bad = shutil.copytree(ball, here.root.parent / "bad")
    (bad / "views/view_00.png").unlink()
    (bad / "views/view_00.png").symlink_to("nowhere")
    for number in range(100):
        shutil.copytree(bad, here.places.inbox / f"bad-{number:03d}", symlinks=True)
    here.drop(ball, "good")
    assert here.run_once() == 0, here.log()[-3000:]
    assert places_of(here, "good") == ["outbox"]
    assert len(os.listdir(here.places.failed)) == 100
    here.assert_at_rest()


def test_a_model_that_does_not_exist_is_said_to_be_missing(rig: Callable[..., Rig], ball: Path) -> None:
    """54: a capture may choose among the models, not bring its own; real workers look for it."""
    here = rig()
    capture = shutil.copytree(ball, here.root.parent / "capture")
    (capture / "capture.json").write_text('{"models": ["nope"]}')
    here.drop(capture, "ball")
    assert here.run_once() == 0, here.log()
    why = (here.places.failed / "ball/WHY.txt").read_text()
    assert "there is no model called nope" in why
    here.assert_at_rest()


# -- names ------------------------------------------------------------------------------------------------------------

_NFC = "caf\u00e9"
#: Sixty names that other programs fell over; none begins with a dot, which means "still being copied".
NAMES: tuple[bytes, ...] = (
    _NFC.encode(),
    unicodedata.normalize("NFD", _NFC).encode(),
    b"caf\xe9",
    b"\xff\xfe",
    b"\xc3(",
    b"\xed\xa0\x80",
    b"n" * 255,
    "\u00e9".encode() * 127,
    "\U0001f600".encode() * 63,
    b"a" * 200,
    b"x" * 241,
    b"x" * 242,
    b"new\nline",
    b"tab\there",
    b"return\r",
    b"bell\x07",
    b"\x1b[31mred\x1b[0m",
    b"\x7f",
    b"\x01\x02\x03",
    b"\x1b]0;t\x07",
    b"-rf",
    b"--help",
    b"-",
    b"--",
    b"$(id)",
    b"`id`",
    b"$HOME",
    b"%n%s%x",
    b"{}",
    b"{0.__class__}",
    b"{{7*7}}",
    b"; rm -rf ~",
    b"&& id",
    b"| cat",
    b"> x",
    b"*",
    b"?",
    b"[a-z]",
    b"~",
    b"!rush",
    b"#",
    b"'",
    b'"',
    b"\\",
    b"a\\b",
    b"CON",
    b"nul",
    b"LPT1.txt",
    b"dot.",
    b"space ",
    b" space",
    b"name:stream",
    b"TWIN",
    b"twin",
    "\u202egnp.exe".encode(),
    "\u200b".encode(),
    "\ufeffbom".encode(),
    "\U0001f525".encode(),
    b"<script>alert(1)<",
    b"x.done",
)


def test_sixty_torture_names_are_each_delivered_once(light_rig: Callable[..., Rig], ball: Path) -> None:
    """And no page, report or log carries a byte of them that a terminal or browser would obey."""
    assert len(set(NAMES)) == len(NAMES) == 60
    here = light_rig()
    for name in NAMES:
        shutil.copytree(ball, here.places.inbox / os.fsdecode(name))
    assert here.run_once() == 0, here.log()[-3000:]
    jobs = {job.name: job for job in here.jobs()}
    assert set(jobs) == set(NAMES)
    assert {job.state for job in jobs.values()} <= {State.DONE, State.DONE_CLEAN}
    places = {name: here.places.outbox / os.fsdecode(job.dest or b"") for name, job in jobs.items()}
    assert len(set(places.values())) == 60
    for name, folder in places.items():
        assert_whole(folder)
        assert contents(folder / "capture") == contents(ball), shown(name)
    assert list(test_corpus.unsafe_bytes(here)) == []
    here.assert_at_rest()


# -- none is left out -------------------------------------------------------------------------------------------------

#: Rows of the table that are no folder of ``tests.corpus.CASES``, and where they are tested.
ELSEWHERE: dict[int, Callable[..., None]] = {
    26: test_mutants.test_ten_thousand_mutants_end_no_process,
    28: test_corpus.test_links_and_litter_at_the_top_of_the_inbox_are_left_alone,
    44: test_a_file_that_grows_for_ever_is_never_taken,
    45: test_a_file_swapped_for_a_link_is_never_read_through,
    46: test_a_folder_that_changes_twice_while_it_is_read_fails_as_changed,
    47: test_folders_that_go_away_leave_no_trace_and_no_trouble,
    48: test_corpus.test_a_second_drop_of_a_name_never_replaces_the_first,
    49: test_corpus.test_a_second_drop_of_a_name_never_replaces_the_first,
    50: test_corpus.test_a_taken_place_in_the_outbox_is_not_touched,
    51: test_a_share_that_is_not_ours_holds_everything,
    56: test_a_good_capture_behind_a_flood_of_bad_ones_is_done,
}


def test_none_of_the_table_is_left_out() -> None:
    assert {case.number for case in CASES} | set(ELSEWHERE) == set(TITLES) == set(range(1, len(TITLES) + 1))
    assert len({case.name for case in CASES}) == len(CASES)
