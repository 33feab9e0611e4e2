"""The scanner: patient by our own clock, one bad folder stops nothing, a restart costs one window and never less."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from meshdrop.daemon.base.clock import Clock
from meshdrop.daemon.inbox.observe import look, reading
from meshdrop.daemon.inbox.scanner import Scanner, Watcher
from meshdrop.daemon.inbox.settle import Snapshot, Window
from meshdrop.models.files import walk
from meshdrop.models.files.limits import CaptureLimits
from tests import formats
from tests.patience import PATIENCE_S


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
    list(scanner.scan())
    return {finding.name: finding.judgement.state for finding in scanner.findings()}


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
    (inbox / "closed").chmod(0o755)
    real = walk.reach

    def refuse(path: Path, flags: int, mode: int = 0, **where: int) -> int:
        if os.path.basename(path) == "closed" and flags == walk.FOLDER:
            raise PermissionError(13, "Permission denied", str(path))
        return real(path, flags, mode, **where)

    monkeypatch.setattr(walk, "reach", refuse)
    states(scanner)
    found = {finding.name: finding.judgement for finding in scanner.findings()}
    assert "cannot be read" in found[b"closed"].sentence
    assert f"owner {os.getuid()}, mode 0755" in found[b"closed"].sentence
    hands.seconds = 5
    assert states(scanner) == {b"closed": "arriving", b"good": "ready"}


def test_a_defect_of_ours_that_one_folder_brings_out_stops_nothing(
    scanner: Scanner, inbox: Path, hands: Hands, ball: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("odd", "good"):
        shutil.copytree(ball, inbox / name)
    real = look

    def defective(folder: Path, *arguments: Any, **options: Any) -> Snapshot:
        if folder.name == "odd":
            raise RecursionError("too deep")
        return real(folder, *arguments, **options)

    monkeypatch.setattr("meshdrop.daemon.inbox.scanner.look", defective)
    states(scanner)
    assert "RecursionError" in sentence(scanner, b"odd")
    hands.seconds = 5
    assert states(scanner) == {b"odd": "arriving", b"good": "ready"}


def test_a_folder_taken_away_and_put_back_starts_afresh(
    scanner: Scanner, inbox: Path, hands: Hands, ball: Path, tmp_path: Path
) -> None:
    shutil.copytree(ball, inbox / "a")
    states(scanner)
    hands.seconds = 5
    assert states(scanner) == {b"a": "ready"}
    scanner.forget(b"a")
    assert states(scanner) == {b"a": "settling"}


def test_a_set_of_which_nothing_says_how_large_it_is_settles_three_times_as_long(
    scanner: Scanner, inbox: Path, hands: Hands
) -> None:
    """Polycam's pictures and cameras arrive in pairs: a smaller scan looks whole at every moment of the copy."""
    formats.polycam(inbox / "a", formats.odd_rig(size=48), suffix="jpg")
    assert states(scanner) == {b"a": "settling"}
    hands.seconds = 14.9
    assert states(scanner) == {b"a": "settling"}
    hands.seconds = 15
    assert states(scanner) == {b"a": "ready"}


def test_a_jpeg_with_a_hole_or_without_its_end_is_awaited(scanner: Scanner, inbox: Path, hands: Hands) -> None:
    """As when a copy program writes a file's end before its middle; a camera's own notes may be full of zeros."""
    formats.colmap_binary(inbox / "a", formats.odd_rig(size=48), suffix="jpg")
    picture = inbox / "a/images/v002.jpg"
    whole = picture.read_bytes()
    notes = b"\xff\xe1\x08\x02" + bytes(0x800)
    for content, waits in (
        (whole[:-300], True),
        (whole[:400] + bytes(600) + whole[-2:], True),
        (whole[:2] + notes + whole[2:], False),
    ):
        picture.write_bytes(content)
        states(scanner)
        hands.seconds += 20
        states(scanner)
        assert states(scanner) == {b"a": "arriving" if waits else "ready"}, len(content)


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
        states(scanner)
    inbox.with_name("away").rename(inbox)
    hands.seconds = 5
    assert states(scanner) == {b"a": "ready"}


def sums(folder: Path, *, but: str = "") -> str:
    """What sha256sum would print for every picture, with a wrong sum for ``but``."""
    lines = []
    for file in sorted(folder.rglob("*.png")):
        path = file.relative_to(folder).as_posix()
        lines.append(f"{'0' * 64 if path == but else hashlib.sha256(file.read_bytes()).hexdigest()}  {path}\n")
    return "".join(lines)


def sentence(scanner: Scanner, name: bytes = b"a") -> str:
    """What is said of one folder."""
    return {finding.name: finding.judgement.sentence for finding in scanner.findings()}[name]


def test_a_folder_that_matches_its_checksums_is_taken_at_once(
    scanner: Scanner, inbox: Path, hands: Hands, ball: Path
) -> None:
    shutil.copytree(ball, inbox / "a")
    (inbox / "a/SHA256SUMS").write_text(sums(ball))
    assert states(scanner) == {b"a": "settling"}
    hands.seconds = 1
    assert states(scanner) == {b"a": "ready"}
    assert "match SHA256SUMS" in sentence(scanner)


def test_checksums_that_contradict_the_files_are_waited_for_and_then_named(
    scanner: Scanner, inbox: Path, hands: Hands, ball: Path
) -> None:
    shutil.copytree(ball, inbox / "a")
    (inbox / "a/SHA256SUMS").write_text(sums(ball, but="depth/depth_02.png"))
    assert states(scanner) == {b"a": "settling"}
    for hands.seconds in (1, 6, 100, 1799):
        assert states(scanner) == {b"a": "arriving"}
    assert "depth/depth_02.png does not match SHA256SUMS" in sentence(scanner)
    hands.seconds = 1900
    (candidate,) = scanner.scan()
    assert (candidate.judgement.state, candidate.judgement.code) == ("refuse", "incomplete")
    assert [problem.file for problem in candidate.judgement.problems] == ["depth/depth_02.png"]


@pytest.mark.parametrize(
    "spoil",
    [
        lambda text: text[:-30],
        lambda text: text + f"{'0' * 64}  ../../etc/passwd\n",
        lambda text: "\n".join(text.splitlines()[:5]) + "\n",
        lambda text: "not a list\n",
    ],
)
def test_checksums_that_are_half_written_or_leave_files_out_are_no_proof(
    scanner: Scanner, inbox: Path, hands: Hands, ball: Path, spoil: Callable[[str], str]
) -> None:
    shutil.copytree(ball, inbox / "a")
    (inbox / "a/SHA256SUMS").write_text(spoil(sums(ball)))
    states(scanner)
    hands.seconds = 100
    assert states(scanner) == {b"a": "arriving"}
    (inbox / "a/SHA256SUMS").write_text(sums(ball))
    hands.seconds = 140  # an idle folder whose files change in place is seen within forty seconds
    states(scanner)
    hands.seconds = 141
    assert states(scanner) == {b"a": "ready"}


def test_a_file_that_is_replaced_after_its_checksums_matched_is_compared_again(
    scanner: Scanner, inbox: Path, hands: Hands, ball: Path
) -> None:
    shutil.copytree(ball, inbox / "a")
    (inbox / "a/SHA256SUMS").write_text(sums(ball))
    states(scanner)
    shutil.copyfile(ball / "views/view_00.png", inbox / "a/views/view_01.png")
    hands.seconds = 1
    states(scanner)
    hands.seconds = 2
    assert states(scanner) == {b"a": "arriving"}


def test_no_more_of_a_file_is_compared_with_its_checksum_than_it_had_when_it_was_looked_at(
    inbox: Path, ball: Path
) -> None:
    """One that somebody lets grow meanwhile could be read for ever; this one would match if it were read on."""
    folder = shutil.copytree(ball, inbox / "a")
    (folder / "note.bin").write_bytes(bytes(10))
    listed = sums(ball) + f"{hashlib.sha256(bytes(1 << 20)).hexdigest()}  note.bin\n"
    (folder / "SHA256SUMS").write_text(listed)
    limits = CaptureLimits()
    snapshot = look(folder, limits)
    steps = reading(folder, snapshot, limits)
    next(steps)
    os.truncate(folder / "note.bin", 1 << 20)
    contents = None
    while contents is None:
        try:
            next(steps)
        except StopIteration as end:
            contents = end.value
    assert contents.contradicted == ("note.bin",)


def test_a_marker_that_comes_last_spares_the_settle_window(
    scanner: Scanner, inbox: Path, hands: Hands, ball: Path
) -> None:
    shutil.copytree(ball, inbox / "a")
    states(scanner)
    hands.seconds = 3
    (inbox / "a/.ready").touch()
    assert states(scanner) == {b"a": "ready"}


def test_a_marker_that_came_before_the_last_change_proves_nothing(
    scanner: Scanner, inbox: Path, hands: Hands, ball: Path
) -> None:
    (inbox / "a").mkdir()
    (inbox / "a/.ready").touch()
    assert states(scanner) == {b"a": "arriving"}
    shutil.copytree(ball, inbox / "a", dirs_exist_ok=True)
    for hands.seconds in (1, 3, 5.9):
        assert states(scanner) == {b"a": "settling"}
    hands.seconds = 6
    assert states(scanner) == {b"a": "ready"}


def test_a_marker_without_the_whole_set_is_waited_for(scanner: Scanner, inbox: Path, hands: Hands, ball: Path) -> None:
    shutil.copytree(ball, inbox / "a")
    (inbox / "a/depth/depth_03.png").unlink()
    (inbox / "a/.ready").touch()
    for hands.seconds in (0, 10, 1000):
        assert states(scanner) == {b"a": "arriving"}


def framed(ball: Path, folder: Path, *, but: int = 0) -> None:
    """The ball's pictures with their cameras in a transforms.json, ``but`` so many pictures."""
    pose = [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 2], [0, 0, 0, 1]]
    frames = [{"file_path": f"images/view_{n:02d}.png", "transform_matrix": pose} for n in range(6)]
    (folder / "images").mkdir(parents=True)
    for number in range(6 - but):
        shutil.copy(ball / f"views/view_{number:02d}.png", folder / "images")
    (folder / "transforms.json").write_text(json.dumps({"fl_x": 600, "frames": frames}))


def test_frames_without_a_picture_are_waited_for_as_long_as_any_file_and_then_left_out(
    scanner: Scanner, inbox: Path, hands: Hands, ball: Path
) -> None:
    framed(ball, inbox / "a", but=2)
    for hands.seconds in (0, 10, 1799):
        assert states(scanner) == {b"a": "arriving"}
    assert "taken without when nothing has changed for 30 min" in sentence(scanner)
    hands.seconds = 1800
    (found,) = scanner.scan()
    assert found.judgement.state == "ready"
    assert len(found.snapshot.expectation.views) == 4


@pytest.mark.parametrize("word", ["marker", "checksums"])
def test_who_says_that_a_folder_is_complete_is_not_asked_for_frames_without_a_picture(
    scanner: Scanner, inbox: Path, hands: Hands, ball: Path, word: str
) -> None:
    framed(ball, inbox / "a", but=2)
    if word == "checksums":
        digest = hashlib.sha256((inbox / "a/transforms.json").read_bytes()).hexdigest()
        (inbox / "a/SHA256SUMS").write_text(f"{sums(inbox / 'a')}{digest}  transforms.json\n")
    states(scanner)
    hands.seconds = 3
    if word == "marker":
        (inbox / "a/.ready").touch()
    (found,) = scanner.scan()
    assert found.judgement.state == "ready"
    assert len(found.snapshot.expectation.views) == 4


@pytest.mark.parametrize("staging", [".a.part", "a.tmp", ".a"])
def test_a_whole_folder_that_gets_its_name_last_is_taken_after_two_looks(
    scanner: Scanner, inbox: Path, hands: Hands, ball: Path, staging: str
) -> None:
    shutil.copytree(ball, inbox / staging)
    assert states(scanner) == {}
    (inbox / staging).rename(inbox / "a")
    assert states(scanner) == {b"a": "settling"}
    hands.seconds = 1
    assert states(scanner) == {b"a": "ready"}


def test_a_temporary_name_that_no_scan_met_is_known_from_its_event(
    scanner: Scanner, inbox: Path, hands: Hands, ball: Path
) -> None:
    shutil.copytree(ball, inbox / "a")
    list(scanner.scan({b"a", b"gone"}))
    hands.seconds = 1
    assert states(scanner) == {b"a": "ready"}


def test_only_a_folder_that_gives_up_a_temporary_name_is_called_renamed(inbox: Path) -> None:
    woken = threading.Event()
    watcher = Watcher(inbox, woken)
    watcher.ensure()
    for name in (".a.part", "b", "c.tmp"):
        (inbox / name).mkdir()
    for before, after in ((".a.part", "a"), ("b", "b2"), ("c.tmp", "c")):
        (inbox / before).rename(inbox / after)
    found: set[bytes] = set()
    while not found >= {b"a", b"c"}:
        assert woken.wait(PATIENCE_S)
        found |= watcher.renamed()
    assert found == {b"a", b"c"}
    watcher.stop()


def test_a_folder_that_changes_after_it_got_its_name_settles_like_any_other(
    scanner: Scanner, inbox: Path, hands: Hands, ball: Path
) -> None:
    shutil.copytree(ball, inbox / ".a.part")
    states(scanner)
    (inbox / ".a.part").rename(inbox / "a")
    states(scanner)
    os.utime(inbox / "a/views/view_00.png", (7, 7))
    for hands.seconds in (1, 2, 5.9):
        assert states(scanner) == {b"a": "settling"}


def test_on_a_network_share_a_rename_proves_nothing(inbox: Path, hands: Hands, ball: Path) -> None:
    scanner = Scanner(inbox, Window(5, 30, 1800), CaptureLimits(), Clock(monotonic=hands), network=True)
    shutil.copytree(ball, inbox / ".a.part")
    states(scanner)
    (inbox / ".a.part").rename(inbox / "a")
    for hands.seconds in (1, 3, 5.9):
        assert states(scanner) == {b"a": "settling"}
    hands.seconds = 6
    assert states(scanner) == {b"a": "ready"}


def test_what_comes_after_a_folder_was_taken_is_called_late(
    scanner: Scanner, inbox: Path, hands: Hands, ball: Path, tmp_path: Path
) -> None:
    shutil.copytree(ball, inbox / "a")
    states(scanner)
    hands.seconds = 5
    (candidate,) = scanner.scan()
    (inbox / "a").rename(tmp_path / "claimed")
    scanner.taken(candidate.name, "abcd1234")
    (inbox / "a/depth").mkdir(parents=True)
    shutil.copyfile(ball / "depth/depth_00.png", inbox / "a/depth/depth_00.png")
    states(scanner)
    assert sentence(scanner).startswith("late files for job abcd1234")
    hands.seconds = 700
    states(scanner)
    assert not sentence(scanner).startswith("late files")


def test_a_request_to_cancel_refuses_the_folder_once_it_is_quiet(
    scanner: Scanner, inbox: Path, hands: Hands, ball: Path
) -> None:
    shutil.copytree(ball, inbox / "a")
    (inbox / "a/depth/depth_03.png").unlink()
    (inbox / "a.cancel").touch()
    assert states(scanner) == {b"a": "settling"}
    hands.seconds = 5
    (candidate,) = scanner.scan()
    assert (candidate.judgement.state, candidate.judgement.code) == ("refuse", "cancelled")


def test_an_empty_lock_folder_blocks(scanner: Scanner, inbox: Path, hands: Hands, ball: Path) -> None:
    shutil.copytree(ball, inbox / "a")
    (inbox / "a/XEROX-LOCK").mkdir()
    states(scanner)
    hands.seconds = 100
    assert states(scanner) == {b"a": "arriving"}
    (inbox / "a/XEROX-LOCK").rmdir()
    hands.seconds = 102
    assert states(scanner) == {b"a": "ready"}


@pytest.mark.parametrize("text", ['{"depth_unit_m": 0.0', '{"views": ["front", "ba', "["])
def test_a_sidecar_that_stops_in_the_middle_is_awaited(
    scanner: Scanner, inbox: Path, hands: Hands, ball: Path, text: str
) -> None:
    shutil.copytree(ball, inbox / "a")
    (inbox / "a/capture.json").write_text(text)
    states(scanner)
    hands.seconds = 100
    assert states(scanner) == {b"a": "arriving"}
    assert "capture.json is not complete yet" in sentence(scanner)
    hands.seconds = 1800
    (candidate,) = scanner.scan()
    assert [(problem.file, problem.code) for problem in candidate.judgement.problems] == [
        ("capture.json", "incomplete")
    ]


def test_nothing_is_refused_while_somebody_writes_to_it(
    scanner: Scanner, inbox: Path, hands: Hands, ball: Path
) -> None:
    shutil.copytree(ball, inbox / "a")
    with open(inbox / "a/capture.json", "wb", buffering=0) as file:
        file.write(b"no JSON at all")
        for hands.seconds in (0, 10, 10_000):
            assert states(scanner) == {b"a": "arriving"}
    for hands.seconds in (10_001, 10_006):
        last = states(scanner)
    assert last == {b"a": "refuse"}


def test_idle_folders_are_hardly_ever_looked_at(
    scanner: Scanner, inbox: Path, hands: Hands, ball: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Counted, not timed: an hour beside 200 incomplete folders, and a file that comes to one of them is seen."""
    for number in range(200):
        (inbox / f"{number:03}/views").mkdir(parents=True)
        shutil.copyfile(ball / "views/view_00.png", inbox / f"{number:03}/views/view_00.png")
    looks: list[Path] = []
    real = look

    def counted(folder: Path, *arguments: Any, **options: Any) -> Snapshot:
        looks.append(folder)
        return real(folder, *arguments, **options)

    monkeypatch.setattr("meshdrop.daemon.inbox.scanner.look", counted)
    for hands.seconds in (0.0, 30.0, 61.0):
        states(scanner)
    del looks[:]
    for second in range(62, 1700):
        hands.seconds = float(second)
        list(scanner.scan())
    assert looks == []
    shutil.copyfile(ball / "views/view_01.png", inbox / "007/views/view_01.png")
    for hands.seconds in (1700.0, 1701.0, 1702.0):
        list(scanner.scan())
    assert looks != []
    assert set(looks) == {inbox / "007"}


def test_new_folders_are_looked_at_before_old_ones_and_a_pass_ends_in_time(inbox: Path, ball: Path) -> None:
    """A clock that goes one second at every question: a pass stops after a few folders and the next goes on."""
    ticks = iter(range(10**6))
    scanner = Scanner(inbox, Window(5, 30, 1800), CaptureLimits(), Clock(monotonic=lambda: float(next(ticks))))
    for number in range(20):
        (inbox / f"old{number:02}").mkdir()
    list(scanner.scan())
    assert 0 < len(scanner.findings()) < 20
    assert scanner.backlog() == 20 - len(scanner.findings())
    (inbox / "a-new").mkdir()
    list(scanner.scan())
    assert b"a-new" in {finding.name for finding in scanner.findings()}
    for _ in range(40):
        list(scanner.scan())
    assert scanner.backlog() == 0


class Costly(Hands):
    """A clock on which every question costs a fifth of a millisecond."""

    def __call__(self) -> float:
        """Monotonic seconds."""
        self.seconds += 0.0002
        return self.seconds


def test_thousands_of_empty_folders_delay_nobody(inbox: Path, ball: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A capture that is dropped while they wait for their first look is looked at in the next pass, whatever its name,
    and once they were looked at they take none of the time that captures need to settle."""
    clock = Costly()
    scanner = Scanner(inbox, Window(5, 30, 1800), CaptureLimits(), Clock(monotonic=clock))
    for number in range(6000):
        (inbox / f"{number:04d}").mkdir()
    list(scanner.scan())
    assert scanner.backlog() > 500
    shutil.copytree(ball, inbox / "zebra")
    list(scanner.scan())
    assert sentence(scanner, b"zebra")
    looked: list[str] = []

    def counted(folder: Path, *arguments: Any, **options: Any) -> Snapshot:
        looked.append(folder.name)
        return look(folder, *arguments, **options)

    while scanner.backlog():
        list(scanner.scan())
    monkeypatch.setattr("meshdrop.daemon.inbox.scanner.look", counted)
    for _ in range(20):
        list(scanner.scan())
    assert looked.count("zebra") >= 5
    assert max(looked.count(f"{number:04d}") for number in range(6000)) <= 1


def test_an_empty_folder_keeps_no_run_from_its_end(scanner: Scanner, inbox: Path, hands: Hands) -> None:
    (inbox / "a").mkdir()
    for hands.seconds in (0, 1, 2, 4):
        list(scanner.scan())
        assert not scanner.is_settled(5)
    hands.seconds = 6
    list(scanner.scan())
    assert scanner.is_settled(5)
    assert scanner.findings()[0].quiet_s >= 5


@pytest.mark.parametrize("inside", ["capture.json", "views/view_00.png"])
def test_what_comes_into_an_empty_folder_is_seen(
    scanner: Scanner, inbox: Path, hands: Hands, ball: Path, inside: str
) -> None:
    """Also where its inner folders came first, which its own time no longer tells of."""
    (inbox / "a").mkdir()
    for hands.seconds in (0, 1, 2):
        assert states(scanner) == {b"a": "arriving"}
    (inbox / "a" / inside).parent.mkdir(exist_ok=True)
    hands.seconds = 3
    states(scanner)
    shutil.copytree(ball, inbox / "a", dirs_exist_ok=True)
    hands.seconds = 4
    assert states(scanner) == {b"a": "settling"}
    hands.seconds = 9
    assert states(scanner) == {b"a": "ready"}


def test_files_and_links_at_the_top_are_named_and_litter_is_not(scanner: Scanner, inbox: Path, ball: Path) -> None:
    (inbox / "photo.png").touch()
    (inbox / "link").symlink_to(ball)
    for name in (".DS_Store", "Thumbs.db", "copy.part", "desktop.ini"):
        (inbox / name).touch()
    list(scanner.scan())
    assert scanner.listing.strays == (b"link", b"photo.png")


def test_the_watcher_only_wakes_and_comes_back_after_its_threads_die(inbox: Path) -> None:
    woken = threading.Event()
    watcher = Watcher(inbox, woken)
    watcher.ensure()
    (inbox / "a").mkdir()
    assert woken.wait(PATIENCE_S)
    assert watcher._observer is not None
    watcher._observer.stop()
    watcher._observer.join(PATIENCE_S)
    watcher.ensure()
    woken.clear()
    (inbox / "b").mkdir()
    assert woken.wait(PATIENCE_S)
    watcher.stop()


@pytest.mark.parametrize("name", ["chair.part", "chair.crdownload", "chair.tmp", ".~tmp~chair", "chair.PARTIAL"])
def test_a_copy_that_broke_off_under_its_temporary_name_is_told_after_its_time(
    scanner: Scanner, inbox: Path, hands: Hands, name: str
) -> None:
    (inbox / name / "views").mkdir(parents=True)
    (inbox / ".hidden").mkdir()
    for second in range(0, 1700, 100):
        hands.seconds = second
        (inbox / name / "views" / f"{second}.png").write_bytes(b"more")
        assert states(scanner) == {}
        assert scanner.given_up() == []
    while hands.seconds < 1600 + 1750:
        hands.seconds += 25
        list(scanner.scan())
        assert scanner.given_up() == []
    hands.seconds = 1600 + 1800 + 60
    list(scanner.scan())
    assert scanner.given_up() == [name.encode()]
    (inbox / name / "views" / "last.png").write_bytes(b"it goes on")
    hands.seconds += 60
    list(scanner.scan())
    assert scanner.given_up() == []
    (inbox / name).rename(inbox / "chair")
    hands.seconds += 4000
    list(scanner.scan())
    assert scanner.given_up() == []


def test_a_folder_that_cannot_be_read_is_logged_ever_more_seldom(
    scanner: Scanner, inbox: Path, hands: Hands, monkeypatch: pytest.MonkeyPatch
) -> None:
    (inbox / "closed").mkdir()

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(inbox / "closed"))

    monkeypatch.setattr("meshdrop.daemon.inbox.scanner.look", refuse)
    with capture_logs() as said:
        for second in range(0, 3600, 10):
            hands.seconds = second
            list(scanner.scan())
    assert len(said) <= 4
    assert said[0]["event"] == "folder cannot be read"
    assert scanner.findings()[0].judgement.sentence.startswith("this folder cannot be read by the service")


def test_a_kernel_without_a_free_watch_is_told_once_and_its_return_too(
    inbox: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    watcher = Watcher(inbox, threading.Event())

    def exhausted(*_: object, **__: object) -> None:
        raise OSError(errno.EMFILE, "inotify instance limit reached")

    with capture_logs() as said:
        with monkeypatch.context() as here:
            here.setattr("meshdrop.daemon.inbox.scanner.Observer", exhausted)
            for _ in range(177):
                watcher.ensure()
        watcher.ensure()
        watcher.ensure()
    watcher.stop()
    assert [line["event"] for line in said] == [
        "no wake-ups from the file system; scanning on schedule",
        "the file system wakes the service again",
    ]
