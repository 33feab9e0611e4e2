"""The scanner: patient by our own clock, one bad folder stops nothing, a restart costs one window and never less."""

from __future__ import annotations

import os
import shutil
import threading
from pathlib import Path

import pytest

from daemon.clock import Clock
from daemon.scanner import Scanner, Watcher
from daemon.settle import Window
from models.limits import CaptureLimits


class Hands:
    """A clock that is moved by hand."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        """Monotonic seconds."""
        return self.seconds


@pytest.fixture
def hands() -> Hands:
    return Hands()


@pytest.fixture
def inbox(tmp_path: Path) -> Path:
    folder = tmp_path / "inbox"
    folder.mkdir()
    return folder


@pytest.fixture
def scanner(inbox: Path, hands: Hands) -> Scanner:
    return Scanner(inbox, Window(5, 30, 1800), CaptureLimits(), Clock(monotonic=hands))


def states(scanner: Scanner) -> dict[bytes, str]:
    """State of every folder at this moment."""
    return {finding.name: finding.judgement.state for finding in scanner.scan()}


def test_what_was_there_at_the_start_waits_as_long_as_what_comes_later(
    scanner: Scanner, inbox: Path, hands: Hands, ball: Path
) -> None:
    """Even with files of last week: only our own observation counts, never a timestamp."""
    shutil.copytree(ball, inbox / "old")
    for file in (inbox / "old").rglob("*.png"):
        os.utime(file, (0, 0))
    assert states(scanner) == {b"old": "settling"}
    hands.seconds = 4.9
    assert states(scanner) == {b"old": "settling"}
    hands.seconds = 5
    assert states(scanner) == {b"old": "ready"}


@pytest.mark.parametrize("stamp", [0, 2**31 + 10**8, -(10**8)])
def test_every_change_starts_the_window_again_whatever_the_clock_on_the_file_says(
    scanner: Scanner, inbox: Path, hands: Hands, ball: Path, stamp: int
) -> None:
    shutil.copytree(ball, inbox / "a")
    states(scanner)
    hands.seconds = 4
    os.utime(inbox / "a/views/view_00.png", (stamp, stamp))
    assert states(scanner) == {b"a": "settling"}
    hands.seconds = 8.9
    assert states(scanner) == {b"a": "settling"}
    hands.seconds = 9
    assert states(scanner) == {b"a": "ready"}


def test_a_folder_that_is_idle_for_long_is_seen_at_once_when_its_last_file_comes(
    scanner: Scanner, inbox: Path, hands: Hands, ball: Path, tmp_path: Path
) -> None:
    shutil.copytree(ball, inbox / "a")
    (inbox / "a/depth/depth_03.png").rename(tmp_path / "late.png")
    for hands.seconds in (0, 100, 101):
        assert states(scanner) == {b"a": "arriving"}
    (tmp_path / "late.png").rename(inbox / "a/depth/depth_03.png")
    hands.seconds = 102
    assert states(scanner) == {b"a": "settling"}
    hands.seconds = 107
    assert states(scanner) == {b"a": "ready"}


def test_hidden_names_litter_files_and_links_are_no_captures(scanner: Scanner, inbox: Path, ball: Path) -> None:
    shutil.copytree(ball, inbox / ".a.part")
    shutil.copytree(ball, inbox / "@eaDir")
    (inbox / "file.png").write_bytes(b"x")
    (inbox / "link").symlink_to(ball)
    assert states(scanner) == {}


def test_a_folder_that_cannot_be_read_is_reported_and_stops_nothing(
    scanner: Scanner, inbox: Path, hands: Hands, ball: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The test may run as root, to whom no folder is closed, so the refusal is injected."""
    for name in ("closed", "good"):
        shutil.copytree(ball, inbox / name)
    real = os.scandir

    def refuse(path: object) -> object:
        if str(path).endswith("closed"):
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)  # type: ignore[call-overload]

    monkeypatch.setattr(os, "scandir", refuse)
    found = {finding.name: finding.judgement for finding in scanner.scan()}
    assert "cannot be read" in found[b"closed"].sentence
    hands.seconds = 5
    assert states(scanner) == {b"closed": "arriving", b"good": "ready"}


def test_a_folder_taken_away_and_put_back_starts_afresh(
    scanner: Scanner, inbox: Path, hands: Hands, ball: Path, tmp_path: Path
) -> None:
    shutil.copytree(ball, inbox / "a")
    states(scanner)
    hands.seconds = 5
    assert states(scanner) == {b"a": "ready"}
    scanner.forget(b"a")
    assert states(scanner) == {b"a": "settling"}


def test_names_that_are_not_text_are_found(scanner: Scanner, inbox: Path, ball: Path) -> None:
    name = b"caf\xe9"
    shutil.copytree(ball, inbox / os.fsdecode(name))
    assert states(scanner) == {name: "settling"}


def test_an_inbox_that_cannot_be_listed_is_an_error_and_forgets_nothing(
    scanner: Scanner, inbox: Path, hands: Hands, ball: Path
) -> None:
    shutil.copytree(ball, inbox / "a")
    states(scanner)
    inbox.rename(inbox.with_name("away"))
    hands.seconds = 4
    with pytest.raises(FileNotFoundError):
        scanner.scan()
    inbox.with_name("away").rename(inbox)
    hands.seconds = 5
    assert states(scanner) == {b"a": "ready"}


def test_the_watcher_only_wakes_and_comes_back_after_its_threads_die(inbox: Path) -> None:
    woken = threading.Event()
    watcher = Watcher(inbox, woken)
    watcher.ensure()
    (inbox / "a").mkdir()
    assert woken.wait(5)
    assert watcher._observer is not None
    watcher._observer.stop()
    watcher._observer.join(5)
    watcher.ensure()
    woken.clear()
    (inbox / "b").mkdir()
    assert woken.wait(5)
    watcher.stop()
