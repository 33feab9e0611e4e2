"""The one listing: what it takes in, what it leaves out, what it calls odd, and that no link leads it astray."""

from __future__ import annotations

import os
import socket
import threading
from pathlib import Path
from typing import Any

import pytest

from meshdrop.models.files import entries, walk
from meshdrop.models.files.entries import odd_entries, take_facts
from meshdrop.models.files.folder import CaptureFolder
from meshdrop.models.files.limits import CaptureLimits
from meshdrop.models.files.problem import CaptureError
from meshdrop.models.probe.inspection import inspect

LIMITS = CaptureLimits()


def write(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(name.encode())
    return folder


def paths(folder: Path, **how: bool) -> list[str]:
    return [fact.path for fact in take_facts(folder, LIMITS, **how)]


def test_litter_is_left_out_and_copy_names_are_not(tmp_path: Path) -> None:
    names = ["views/a.png", ".DS_Store", "@eaDir/x", ".a.png.Ab12Cd", "notes.txt", ".~tmp~/b.png"]
    write(tmp_path, *names)
    assert paths(tmp_path) == sorted(set(names) - {".DS_Store", "@eaDir/x"})
    assert paths(tmp_path, everything=True) == sorted(names)


@pytest.mark.parametrize("by_opening", [False, True])
def test_sizes_times_and_links_are_the_files_own(tmp_path: Path, by_opening: bool) -> None:
    write(tmp_path, "a.png", "sub/b.png")
    os.utime(tmp_path / "a.png", ns=(5, 5))
    os.link(tmp_path / "sub/b.png", tmp_path / "sub/c.png")
    found = [(fact.path, fact.size, fact.links) for fact in take_facts(tmp_path, LIMITS, by_opening=by_opening)]
    assert found == [("a.png", 5, 1), ("sub/b.png", 9, 2), ("sub/c.png", 9, 2)]
    assert take_facts(tmp_path, LIMITS)[0].mtime_ns == 5


def test_everything_that_is_no_plain_file_is_odd(tmp_path: Path) -> None:
    write(tmp_path, "a.png", "one.png", "x/x/x/x/x/deep.txt")
    os.link(tmp_path / "one.png", tmp_path / "two.png")
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "link.png").symlink_to("/etc/shadow")
    (tmp_path / "dangling").symlink_to("nowhere")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "folder").symlink_to("/etc")
    with socket.socket(socket.AF_UNIX) as listener:
        here = os.open(tmp_path, os.O_RDONLY)
        listener.bind(f"/proc/self/fd/{here}/socket.png")  # a socket's path may have 107 bytes only
        os.close(here)
        found = {(problem.file, problem.code) for problem in odd_entries(take_facts(tmp_path, LIMITS))}
    assert found == {
        ("one.png", "nlink"),
        ("two.png", "nlink"),
        ("pipe.png", "not_regular"),
        ("socket.png", "not_regular"),
        ("link.png", "symlink"),
        ("dangling", "symlink"),
        ("loop", "symlink"),
        ("folder", "symlink"),
        ("x/x/x/x/x", "depth"),
    }


def test_hundreds_of_links_are_counted_and_a_few_told(tmp_path: Path) -> None:
    for number in range(300):
        (tmp_path / f"{number}.png").symlink_to("nowhere")
    problems = odd_entries(take_facts(tmp_path, LIMITS))
    assert {problem.code for problem in problems} == {"symlink"}
    assert len(problems) == 21
    assert problems[-1].message == "280 more entries are no plain files."


def test_a_huge_folder_is_listed_only_so_far(tmp_path: Path) -> None:
    write(tmp_path, *(f"{number}.bin" for number in range(1500)))
    assert len(take_facts(tmp_path, CaptureLimits(max_entries=1000))) == 1001
    assert len(take_facts(tmp_path, LIMITS, everything=True)) == 1500


def test_what_we_delivered_ourselves_does_not_use_up_the_limit(tmp_path: Path) -> None:
    write(tmp_path, *(f"previews/{number}.png" for number in range(500)), *(f"capture/v/{n}.png" for n in range(9)))
    assert sum(path.startswith("capture/") for path in paths(tmp_path)) == 9


def test_a_folder_that_may_not_be_read_names_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, "views/a.png")
    real = walk.reach

    def refuse(path: str | Path, *arguments: Any, **keywords: Any) -> int:
        if str(path) == "views":
            raise PermissionError(13, "Permission denied", "views")
        return real(path, *arguments, **keywords)

    monkeypatch.setattr(entries, "reach", refuse)
    with pytest.raises(PermissionError) as caught:
        take_facts(tmp_path, LIMITS)
    assert caught.value.filename == str(tmp_path / "views")
    with pytest.raises(CaptureError) as refused:
        CaptureFolder(tmp_path, LIMITS)
    assert [(problem.code, problem.file) for problem in refused.value.problems] == [("unreadable", "views")]


def test_a_folder_swapped_for_a_link_is_never_followed(tmp_path: Path) -> None:
    """One thread swaps views/ for a link to another folder and back, the other lists: nothing foreign is ever seen."""
    capture = write(tmp_path / "capture", "views/a.png")
    foreign = write(tmp_path / "foreign", "secret.png")
    (tmp_path / "link").symlink_to(foreign)
    ended = threading.Event()

    def swap() -> None:
        while not ended.is_set():
            os.rename(capture / "views", tmp_path / "aside")
            os.rename(tmp_path / "link", capture / "views")
            os.rename(capture / "views", tmp_path / "link")
            os.rename(tmp_path / "aside", capture / "views")

    swapper = threading.Thread(target=swap)
    swapper.start()
    seen: set[str] = set()
    linked = 0
    try:
        for number in range(1_000_000):
            if number >= 10_000 and linked:
                break
            try:
                facts = take_facts(capture, LIMITS)
            except OSError:
                continue
            seen |= {fact.path for fact in facts if fact.kind == "file"}
            linked += any(fact.kind == "symlink" for fact in facts)
    finally:
        ended.set()
        swapper.join()
    assert seen <= {"views/a.png"}
    assert linked > 0  # the race was run: the link was met in its place


@pytest.mark.parametrize("odd", ["pipe", "link", "twin"])
def test_check_refuses_odd_entries_that_no_view_asks_for(odd: str, tmp_path: Path, ball: Path) -> None:
    """The service refuses them, so `meshdrop check` must not call such a folder ready."""
    folder = tmp_path / "ball"
    for file in sorted(ball.rglob("*.png")):
        (folder / file.relative_to(ball)).parent.mkdir(parents=True, exist_ok=True)
        (folder / file.relative_to(ball)).write_bytes(file.read_bytes())
    assert inspect(folder).ok
    if odd == "pipe":
        os.mkfifo(folder / "note")
    elif odd == "link":
        (folder / "note").symlink_to("nowhere")
    else:
        write(tmp_path, "elsewhere")
        os.link(tmp_path / "elsewhere", folder / "note")
    (problem,) = inspect(folder).problems
    assert problem.file == "note"
    assert problem.code == {"pipe": "not_regular", "link": "symlink", "twin": "nlink"}[odd]


def test_each_file_is_complained_about_once(tmp_path: Path, ball: Path) -> None:
    folder = tmp_path / "ball"
    for file in sorted(ball.rglob("*.png")):
        (folder / file.relative_to(ball)).parent.mkdir(parents=True, exist_ok=True)
        (folder / file.relative_to(ball)).write_bytes(file.read_bytes())
    os.link(folder / "views/view_00.png", tmp_path / "other")
    (folder / "views/view_01.png").unlink()
    os.mkfifo(folder / "views/view_01.png")
    found = sorted((problem.file, problem.code) for problem in inspect(folder).problems)
    assert found == [("views/view_00.png", "nlink"), ("views/view_01.png", "not_regular")]
