"""Every kind of bad input of ``tests/corpus.py`` ends as it must, beside good captures that are not held up by it.

Most are dropped together into one daemon with its real reader. What depends on the moment has a test of its own; the
last test holds that none of the numbers is left out.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import random
import re
import shutil
import subprocess
import sys
import time
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pytest

from meshdrop.daemon.base import fsops
from meshdrop.daemon.base.places import Places, shown
from meshdrop.db.records import Job
from meshdrop.db.states import State
from meshdrop.models.files.limits import CaptureLimits
from meshdrop.models.probe.inspection import inspect
from tests.corpus import CASES, Case, make, make_canary, state_of
from tests.mutants import impostors, mutate_png
from tests.patience import PATIENCE_S
from tests.rig import REPOSITORY, Rig, assert_whole, contents, stop, wait_for, write_ball

_PR_CAPBSET_DROP = 24
#: CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH: without them even root must ask for rights.
_RIGHTS_OF_ROOT = (1, 2)
LIMITS = CaptureLimits()


def without_rights_of_root() -> None:
    """In the child, before the service is started: file modes hold for it, as they do for an ordinary user."""
    if os.geteuid() == 0:
        for capability in _RIGHTS_OF_ROOT:
            assert ctypes.CDLL(None).prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0) == 0


class ReadingRig(Rig):
    """A daemon with the real reader, stand-ins for the rest, and the rights of an ordinary user."""

    def start(self, *arguments: str, **extra: str) -> subprocess.Popen[bytes]:
        """Start it; its log goes to ``log_file``."""
        environment = {**self.environment(**extra), "PYTHONPATH": str(REPOSITORY)}
        with open(self.log_file, "ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "tests.reading", "run", *arguments],
                env=environment,
                stdout=log,
                stderr=log,
                cwd=self.root.parent,
                preexec_fn=without_rights_of_root,  # noqa: PLW1509 - nothing else runs here
            )


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small good capture with a sidecar."""
    folder = write_ball(tmp_path_factory.mktemp("good") / "ball", size=48)
    (folder / "capture.json").write_text('{"depth_unit_m": 0.001}')
    return folder


@dataclass
class Together:
    """The one daemon with everything in its inbox. ``base`` holds the root, the canary and nothing else of note."""

    base: Path
    rig: ReadingRig
    canary: dict[str, tuple[int, int, int, bytes]]
    mutants: list[str] = field(default_factory=list)
    phase: dict[str, str] = field(default_factory=dict)
    unsafe: list[str] = field(default_factory=list)
    jobs: dict[bytes, list[Job]] = field(default_factory=dict)

    @property
    def places(self) -> Places:
        return self.rig.places

    def until_at_rest(self, daemon: subprocess.Popen[bytes], names: list[bytes], timeout: float = PATIENCE_S) -> None:
        """Wait until each name (twice where it is named twice) has come to rest."""
        end = time.monotonic() + timeout
        while missing := self._missing(names):
            assert daemon.poll() is None, f"the service ended:\n{self.rig.log()[-3000:]}"
            assert time.monotonic() < end, f"still not at rest: {missing}\n{self.rig.status_page()}"
            time.sleep(0.5)

    def page(self, *outcomes: str) -> str:
        """The status page on which every folder of such an outcome is told of as it must be; the last one, where that
        does not come: the tests of the single cases say what is missing."""
        awaited = [(case.says, case.name) for case in CASES if case.outcome in outcomes]
        pages: list[str] = []

        def is_told() -> bool:
            pages.append(self.rig.status_page())
            return all(says in line_of(pages[-1], name) for says, name in awaited)

        with contextlib.suppress(AssertionError):
            wait_for(is_told)
        return pages[-1]

    def _missing(self, names: list[bytes]) -> list[bytes]:
        self.jobs = {}
        for job in self.rig.jobs():
            self.jobs.setdefault(job.name, []).append(job)
        return [name for name in set(names) if len(self.jobs.get(name, [])) < names.count(name)]

    def published(self, job: Job) -> Path:
        shelf = self.places.outbox if job.state in (State.DONE, State.DONE_CLEAN) else self.places.failed
        return shelf / os.fsdecode(job.dest or b"")


GOOD = ("00-good", "33-zz-good", "zz-good")
TAKEN = {"50-file", "50-folder", "50-link"}
STRAYS = ("@eaDir", ".hidden", "._28-x")
MUTANTS = 20


def drop(base: Path, rig: Rig, name: bytes, build: Callable[[Path], object]) -> None:
    """Build a folder beside the root and move it into the inbox in one step."""
    making = base / "making"
    making.mkdir(exist_ok=True)
    build(making / "folder")
    os.rename(making / "folder", rig.places.inbox / os.fsdecode(name))


def drop_all(base: Path, rig: ReadingRig, good: Path) -> list[str]:
    """Fill the inbox, with good captures before, among and behind the bad ones; the mutants' names come back."""

    def copy(target: Path) -> None:
        shutil.copytree(good, target)

    for name in (*GOOD, *TAKEN, "48-again", "49-one", "49-two"):
        drop(base, rig, name.encode(), copy)
    for case in CASES:
        drop(base, rig, case.name, partial(make, case, good))
    mutants = drop_mutants(base, rig, good)
    (rig.places.inbox / "28-link").symlink_to(base / "canary" / "capture")
    for name in STRAYS:
        drop(base, rig, name.encode(), copy)
    (rig.places.inbox / "Thumbs.db").write_bytes(b"x")
    (rig.places.inbox / "loose.png").write_bytes(b"x")
    return mutants


def drop_mutants(base: Path, rig: ReadingRig, good: Path) -> list[str]:
    """Whole captures of which every picture may be damaged; see tests/integration/test_mutants.py for ten thousand."""
    chance = random.Random(int(os.environ.get("MESHDROP_SEED", "20261121")))
    files = contents(good)
    pictures = [name for name in files if name.endswith(".png")]
    strange = list(impostors(base / "marker").values())
    names = [f"26-mutant-{number:02d}" for number in range(MUTANTS)]

    def damage(target: Path) -> None:
        shutil.copytree(good, target)
        for name in pictures if chance.random() < 0.2 else chance.sample(pictures, 1):
            others = [files[other] for other in pictures]
            (target / name).write_bytes(mutate_png(files[name], others, strange, chance).content)

    for name in names:
        drop(base, rig, name.encode(), damage)
    return names


def occupy(places: Places, canary: Path) -> None:
    """Row 50: the names that results would have in outbox/ are taken, by a file, a folder and a link elsewhere."""
    (places.outbox / "50-file").write_text("theirs")
    (places.outbox / "50-folder").mkdir()
    (places.outbox / "50-folder" / "note.txt").write_text("theirs")
    (places.outbox / "50-link").symlink_to(canary)


def unsafe_bytes(rig: Rig) -> Iterator[str]:
    """Files for people that hold a control character, a direction mark or a live tag of a name."""
    texts = [rig.log_file, rig.places.status / "STATUS.txt", rig.places.live_status]
    texts += [path for path in rig.places.status.rglob("*") if path.is_file()]
    for shelf in (rig.places.outbox, rig.places.failed):
        for folder in shelf.iterdir():
            names = ("WHY.txt", "report.html", "report.json", "failure.json", "receipt.json", "log.txt")
            texts += [folder / name for name in names if not folder.is_symlink()]
    for path in texts:
        if path.is_file():
            text = path.read_bytes().decode("utf-8")
            odd = {char for char in text if not char.isprintable()} - {"\n", "\t"}
            if odd or (path.suffix == ".html" and ("<script>alert(1)" in text or "<img src=x" in text)):
                yield f"{path}: {sorted(odd)}"


@pytest.fixture(scope="module")
def together(tmp_path_factory: pytest.TempPathFactory, good: Path) -> Iterator[Together]:
    """Drop everything, let one daemon work through it, then lower the patience and give back the rights."""
    base = tmp_path_factory.mktemp("together")
    make_canary(base / "canary", good)
    rig = ReadingRig(base / "root", base / "cache")
    occupy(rig.places, base / "canary")
    mutants = drop_all(base, rig, good)
    seen = Together(base, rig, state_of(base / "canary"), mutants)
    daemon = rig.start()
    wait_for(lambda: not (rig.places.inbox / "48-again").exists() or daemon.poll() is not None)
    drop(base, rig, b"48-again", lambda target: shutil.copytree(good, target))
    seen.until_at_rest(
        daemon,
        [
            *(case.name for case in CASES if case.outcome in ("accepted", "refused")),
            b"48-again",
            *(name.encode() for name in (*GOOD, *TAKEN, "48-again", "49-one", "49-two")),
        ],
    )
    seen.phase["first"] = seen.page("waits", "held")
    assert stop(daemon) == 0
    daemon = rig.start(MESHDROP_INCOMPLETE_AFTER_S="1")
    seen.until_at_rest(daemon, [*(case.name for case in CASES if case.outcome == "waits"), *map(str.encode, mutants)])
    seen.phase["second"] = seen.page("held")
    held = [case.name for case in CASES if case.outcome == "held"]
    for name in held:
        for path in (".", "views", "views/view_00.png"):
            os.chmod(rig.places.inbox / os.fsdecode(name) / path, 0o755)
    seen.until_at_rest(daemon, held)
    assert stop(daemon) == 0
    seen.unsafe = list(unsafe_bytes(rig))
    yield seen
    fsops.remove_tree(base / "root")  # deeper than pytest's own cleaning can go


def line_of(page: str, name: bytes) -> str:
    """What the status page says of a folder in the inbox."""
    start = f"  {shown(name)}: "
    return next((line for line in page.splitlines() if line.startswith(start)), "")


def identify(case: Case) -> str:
    return f"{case.number:02d}-{shown(case.name)[:40]}"


def of(*outcomes: str) -> list[Case]:
    return [case for case in CASES if case.outcome in outcomes]


@pytest.mark.parametrize("case", of("refused", "waits"), ids=identify)
def test_a_bad_capture_is_refused_for_its_own_reason(case: Case, together: Together) -> None:
    """One job, in failed/, with a page that says why, and not a second of model time spent on it."""
    (job,) = together.jobs[case.name]
    assert job.state in (State.FAILED, State.FAILED_CLEAN)
    folder = together.published(job)
    failure = json.loads((folder / "failure.json").read_text())
    assert failure["code"] == case.job_code
    assert {problem["code"] for problem in failure["problems"]} == {case.code}
    assert failure["runs"] == []
    why = (folder / "WHY.txt").read_text()
    assert "What to do next:" in why
    assert "->" in why


@pytest.mark.parametrize("case", of("waits"), ids=identify)
def test_what_may_still_be_arriving_waits_with_a_reason(case: Case, together: Together) -> None:
    assert case.says in line_of(together.phase["first"], case.name)


@pytest.mark.parametrize("case", of("accepted"), ids=identify)
def test_an_odd_but_sound_capture_is_delivered(case: Case, together: Together) -> None:
    (job,) = together.jobs[case.name]
    assert job.state in (State.DONE, State.DONE_CLEAN), job.reason
    assert_whole(together.published(job))


@pytest.mark.parametrize("case", of("held"), ids=identify)
def test_what_may_not_be_read_is_held_and_then_taken(case: Case, together: Together) -> None:
    """No capture fails because of a missing right, however long it lies there."""
    for phase in ("first", "second"):
        assert case.says in line_of(together.phase[phase], case.name), together.phase[phase]
    (job,) = together.jobs[case.name]
    assert job.state in (State.DONE, State.DONE_CLEAN), job.reason


#: Making a hundred thousand files twice is dear; tests/unit/models/files/test_entries.py looks at six hundred.
CHECKED = [case for case in of("refused", "waits", "accepted") if case.number != 33]


@pytest.mark.parametrize("case", CHECKED, ids=identify)
def test_check_says_the_same_as_the_service(case: Case, good: Path, tmp_path: Path) -> None:
    """`meshdrop check` passes what is taken and names the same reason for what is not."""
    (tmp_path / "a").mkdir()
    make_canary(tmp_path / "canary", good)
    folder = make(case, good, tmp_path / "a" / "folder")
    found = inspect(folder, LIMITS)
    fsops.remove_tree(folder)
    assert found.ok == (case.outcome == "accepted"), found.lines()
    if case.outcome == "refused":
        assert {problem.code for problem in found.problems} == {case.code}


def test_good_captures_among_the_bad_are_done(together: Together, good: Path) -> None:
    for name in GOOD:
        (job,) = together.jobs[name.encode()]
        assert job.state in (State.DONE, State.DONE_CLEAN)
        assert contents(together.published(job) / "capture") == contents(good)


def test_a_random_mutant_ends_in_one_place(together: Together) -> None:
    """Row 26, as whole captures through the service: each is taken or refused with a reason of its own."""
    for name in together.mutants:
        (job,) = together.jobs[name.encode()]
        folder = together.published(job)
        assert_whole(folder)
        assert (folder / "report.html").exists() or (folder / "WHY.txt").exists()
    assert not [name for name in os.listdir(together.places.inbox) if name.startswith("26-")]


def test_links_and_litter_at_the_top_of_the_inbox_are_left_alone(together: Together) -> None:
    """Rows 28 and 41."""
    left = set(os.listdir(together.places.inbox))
    assert left == {"28-link", "Thumbs.db", "loose.png", *STRAYS}
    assert os.readlink(together.places.inbox / "28-link") == str(together.base / "canary" / "capture")


def test_a_second_drop_of_a_name_never_replaces_the_first(together: Together) -> None:
    """Row 48, and row 49: the same bytes under two names are two results."""
    first, second = together.jobs[b"48-again"]
    assert first.dest != second.dest
    for job in (first, second, *together.jobs[b"49-one"], *together.jobs[b"49-two"]):
        assert job.state in (State.DONE, State.DONE_CLEAN)
        assert_whole(together.published(job))


def test_a_taken_place_in_the_outbox_is_not_touched(together: Together) -> None:
    """Row 50."""
    outbox = together.places.outbox
    assert (outbox / "50-file").read_text() == "theirs"
    assert contents(outbox / "50-folder") == {"note.txt": b"theirs"}
    assert os.readlink(outbox / "50-link") == str(together.base / "canary")
    for name in TAKEN:
        (job,) = together.jobs[name.encode()]
        assert job.dest is not None
        assert job.dest.startswith(f"{name}__".encode())
        assert_whole(together.published(job))


def test_nothing_of_anybody_else_was_changed(together: Together) -> None:
    assert state_of(together.base / "canary") == together.canary
    assert not (together.base / "marker").exists()
    assert set(os.listdir(together.base)) <= {"root", "root.log", "canary", "cache", "making", "marker"}


def test_no_page_or_log_carries_what_a_terminal_or_browser_would_obey(together: Together) -> None:
    """Rows 35 to 40: names are shown with escapes, in status, WHY.txt, reports and the log."""
    assert together.unsafe == []
    assert "Traceback" not in together.rig.log()


def test_published_names_can_be_opened_from_windows(together: Together) -> None:
    """Row 40: no reserved character or word, no dot or space at the end, no two names that differ only in case."""
    impossible = re.compile(r'.*[<>:"/\\|?*\x00-\x1f]|.*[. ]|(?i:con|nul|prn|aux|com[0-9]|lpt[0-9])(\..*)?', re.DOTALL)
    for shelf in (together.places.outbox, together.places.failed):
        names = [name for name in os.listdir(shelf) if not name.startswith("50-")]
        assert [name for name in names if impossible.fullmatch(name)] == []
        assert len({unicodedata.normalize("NFC", name).casefold() for name in names}) == len(names)


def test_nothing_private_is_left_behind(together: Together) -> None:
    for folder in (together.places.claimed, together.places.staging, together.places.state / "work"):
        assert os.listdir(folder) == []
