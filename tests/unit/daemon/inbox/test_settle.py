"""The settle rule: when a folder is taken, waited for or refused; every judgement has a sentence."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from meshdrop.daemon.inbox.observe import look
from meshdrop.daemon.inbox.settle import Snapshot, Window, judge
from meshdrop.models.capture.layout import expect
from meshdrop.models.files.entries import Fact
from meshdrop.models.files.limits import CaptureLimits
from meshdrop.models.files.png import is_awaited

LIMITS = CaptureLimits()
WINDOW = Window(settle_s=5, no_depth_wait_s=30, incomplete_after_s=1800)
VIEWS = [f"views/view_{number:02d}.png" for number in range(6)]
DEPTHS = [f"depth/depth_{number:02d}.png" for number in range(6)]


def snapshot(names: list[str], **changes: Any) -> Snapshot:
    """A folder holding plain files of these names."""
    facts = tuple(sorted(Fact(name, "file", 100, 1) for name in names))
    return replace(Snapshot(facts, expect(names, lambda _: b"{}", LIMITS)), **changes)


@pytest.mark.parametrize(("quiet", "state"), [(0, "settling"), (4.9, "settling"), (5, "ready"), (9999, "ready")])
def test_a_whole_set_is_taken_after_the_settle_window_and_not_before(quiet: float, state: str) -> None:
    assert judge(snapshot(VIEWS + DEPTHS), quiet, WINDOW).state == state


@pytest.mark.parametrize(("quiet", "state"), [(5, "settling"), (29.9, "settling"), (30, "ready")])
def test_six_views_without_any_depth_get_time_for_it_to_arrive(quiet: float, state: str) -> None:
    judgement = judge(snapshot(VIEWS), quiet, WINDOW)
    assert judgement.state == state
    assert state == "ready" or "no depth" in judgement.sentence


@pytest.mark.parametrize(("quiet", "state"), [(100, "arriving"), (1799, "arriving"), (1800, "refuse")])
def test_a_missing_file_is_waited_for_then_named(quiet: float, state: str) -> None:
    judgement = judge(snapshot(VIEWS + DEPTHS[:5]), quiet, WINDOW)
    assert judgement.state == state
    assert "depth_05" in judgement.sentence
    assert "11 of 12" in judgement.sentence
    if state == "refuse":
        assert judgement.code == "incomplete"
        assert [problem.file for problem in judgement.problems] == [DEPTHS[5]]


@pytest.mark.parametrize("name", ["views/view_05.png.part", ".view_05.png.Ab12Cd", "x.filepart", "copy.lock"])
def test_a_temporary_name_blocks_however_complete_the_rest_is(name: str) -> None:
    judgement = judge(snapshot([*VIEWS, *DEPTHS, name]), 1000, WINDOW)
    assert judgement.state == "arriving"
    assert "still being copied" in judgement.sentence


def test_a_picture_without_its_end_or_with_a_writer_is_not_taken() -> None:
    whole = snapshot(VIEWS + DEPTHS)
    assert judge(replace(whole, unfinished=(VIEWS[2],)), 1000, WINDOW).state == "arriving"
    # An open writer is never given up on, however long nothing changes.
    assert judge(replace(whole, open_files=(VIEWS[2],)), 10_000, WINDOW).state == "arriving"


@pytest.mark.parametrize(
    ("fact", "code"),
    [
        (Fact("views/view_00.png", "symlink", 0, 1), "symlink"),
        (Fact("pipe", "other", 0, 1), "not_regular"),
        (Fact("views/extra.png", "file", 10, 1, links=2), "nlink"),
    ],
)
def test_links_and_devices_are_refused_after_the_window(fact: Fact, code: str) -> None:
    base = snapshot(VIEWS + DEPTHS)
    odd = replace(base, facts=(*base.facts, fact))
    assert judge(odd, 1, WINDOW).state == "settling"
    judgement = judge(odd, 5, WINDOW)
    assert (judgement.state, judgement.problems[0].code) == ("refuse", code)


def test_an_empty_folder_is_left_alone_for_ever() -> None:
    assert judge(snapshot([]), 1e9, WINDOW).state == "arriving"


def test_the_fingerprint_knows_names_sizes_and_times_and_nothing_else() -> None:
    base = snapshot(VIEWS)
    same = replace(base, facts=tuple(reversed(base.facts)))
    assert same.fingerprint == base.fingerprint
    for change in ({"size": 101}, {"mtime_ns": 2}, {"path": "views/other.png"}, {"kind": "symlink"}):
        changed = (replace(base.facts[0], **change), *base.facts[1:])
        assert replace(base, facts=changed).fingerprint != base.fingerprint


# -- looking at real folders ---------------------------------------------------------------------------------------


def test_a_look_at_a_good_capture_finds_nothing_to_wait_for(ball: Path) -> None:
    seen = look(ball, LIMITS)
    assert judge(seen, 5, WINDOW).state == "ready"
    assert seen.expectation.kind == "canonical"


def test_a_preallocated_file_of_zeros_is_still_arriving(ball: Path, tmp_path: Path) -> None:
    folder = copy(ball, tmp_path)
    target = folder / VIEWS[1]
    target.write_bytes(bytes(target.stat().st_size))
    assert look(folder, LIMITS).unfinished == (VIEWS[1],)


def test_reserved_space_that_is_filled_from_the_front_is_awaited_to_the_last_byte(ball: Path, tmp_path: Path) -> None:
    whole = (ball / VIEWS[1]).read_bytes()
    target = tmp_path / "picture.png"
    for cut in range(len(whole)):
        target.write_bytes(whole[:cut] + bytes(len(whole) - cut))
        with target.open("rb") as file:
            assert is_awaited(file.fileno(), LIMITS), cut
    target.write_bytes(whole)
    with target.open("rb") as file:
        assert not is_awaited(file.fileno(), LIMITS)


@pytest.mark.parametrize("keep", [0, 20, 200, -1])
def test_a_cut_picture_is_still_arriving(ball: Path, tmp_path: Path, keep: int) -> None:
    folder = copy(ball, tmp_path)
    whole = (folder / VIEWS[1]).read_bytes()
    (folder / VIEWS[1]).write_bytes(whole[:keep])
    assert look(folder, LIMITS).unfinished == (VIEWS[1],)


@pytest.mark.parametrize("content", [b"\xff\xd8\xff\xe0" + bytes(200), b"%!PS-Adobe" + bytes(100)])
def test_a_whole_file_of_another_kind_is_not_waited_for(ball: Path, tmp_path: Path, content: bytes) -> None:
    folder = copy(ball, tmp_path)
    (folder / VIEWS[1]).write_bytes(content)
    assert look(folder, LIMITS).unfinished == ()


def test_bytes_after_the_end_are_not_waited_for(ball: Path, tmp_path: Path) -> None:
    folder = copy(ball, tmp_path)
    with (folder / VIEWS[1]).open("ab") as file:
        file.write(b"PK\x03\x04 and more")
    assert look(folder, LIMITS).unfinished == ()


def test_a_writer_on_this_machine_is_noticed(ball: Path, tmp_path: Path) -> None:
    folder = copy(ball, tmp_path)
    with (folder / VIEWS[1]).open("r+b"):
        assert look(folder, LIMITS).open_files == (VIEWS[1],)
    assert look(folder, LIMITS).open_files == ()


def test_a_flood_of_files_is_not_listed_to_the_end(tmp_path: Path) -> None:
    limits = CaptureLimits(max_entries=50)
    for number in range(200):
        (tmp_path / f"file{number}.png").touch()
    seen = look(tmp_path, limits)
    assert len(seen.facts) == 51
    assert [problem.code for problem in seen.expectation.problems] == ["too_many"]


def test_litter_is_not_part_of_the_fingerprint(ball: Path, tmp_path: Path) -> None:
    folder = copy(ball, tmp_path)
    before = look(folder, LIMITS).fingerprint
    (folder / ".DS_Store").write_bytes(b"x")
    (folder / "views" / "Thumbs.db").write_bytes(b"x")
    assert look(folder, LIMITS).fingerprint == before


def copy(source: Path, target: Path) -> Path:
    """A private copy that a test may spoil."""
    return shutil.copytree(source, target / "capture")
