"""No path leads through a link, by either way of reaching it, and nothing leaves the folder it begins at."""

from __future__ import annotations

import fcntl
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from meshdrop.models.files import walk


@pytest.fixture(params=["openat2", "step by step"], autouse=True)
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Both ways, whatever this kernel knows."""
    if request.param == "openat2" and not walk._kernel_has_openat2():
        pytest.skip("this kernel, or the filter of its container, has no openat2")
    monkeypatch.setattr(walk, "_has_openat2", request.param == "openat2")
    yield request.param
    assert not (open_ones := [link for link in _open_folders() if "pytest" in link]), open_ones


def _open_folders() -> list[str]:
    """What the descriptors of this process that are folders lead to."""
    found = []
    for entry in os.listdir("/proc/self/fd"):
        try:
            target = os.readlink(f"/proc/self/fd/{entry}")
        except OSError:
            continue
        if os.path.isdir(target):
            found.append(target)
    return found


@pytest.fixture
def top(tmp_path: Path) -> Path:
    """A folder with a file, a pipe and links of every sort."""
    (tmp_path / "a/b").mkdir(parents=True)
    (tmp_path / "a/file").write_bytes(b"content")
    (tmp_path / "a/link to file").symlink_to("file")
    (tmp_path / "link").symlink_to("a")
    (tmp_path / "loop").symlink_to("loop")
    os.mkfifo(tmp_path / "a/pipe")
    return tmp_path


def test_an_error_names_the_whole_path(top: Path) -> None:
    """People read it on the status page: the last part alone would tell nobody where to look."""
    with pytest.raises(FileNotFoundError) as missing:
        walk.lstat(top / "a/nothing")
    assert missing.value.filename == str(top / "a/nothing")


@pytest.mark.parametrize("path", ["link", "link/b", "link/file", "a/link to file", "loop", "loop/x"])
@pytest.mark.parametrize("flags", [walk.FOLDER, walk.FILE, walk.PLACE, os.O_WRONLY | os.O_CREAT])
def test_a_link_in_any_part_of_a_path_is_refused(top: Path, path: str, flags: int) -> None:
    with pytest.raises(walk.LinkInTheWay):
        walk.reach(top / path, flags, 0o600)
    held = walk.reach(top, walk.PLACE)
    with pytest.raises(walk.LinkInTheWay):
        walk.reach(path, flags, 0o600, at=held)
    os.close(held)


@pytest.mark.parametrize("path", ["../a", "a/../../x", "/etc"])
def test_nothing_leaves_the_folder_that_it_begins_at(top: Path, path: str) -> None:
    held = walk.reach(top, walk.PLACE)
    with pytest.raises(OSError, match="cross-device"):
        walk.reach(path, walk.PLACE, at=held)
    os.close(held)


def test_what_is_there_is_reached_and_what_is_not_is_said_as_by_the_system(top: Path) -> None:
    assert walk.read_file(top / "a/file", 4) == b"cont"
    assert walk.read_file(top / "a/pipe", 4) == b""  # not waited for
    assert sorted(walk.names(top / "a")) == ["b", "file", "link to file", "pipe"]
    with pytest.raises(FileNotFoundError) as missing:
        walk.reach(top / "a/none", walk.FILE)
    assert missing.value.filename == str(top / "a/none")
    with pytest.raises(NotADirectoryError):
        walk.reach(top / "a/file/x", walk.FILE)
    with pytest.raises(NotADirectoryError):
        walk.reach(top / "a/file", walk.FOLDER)


def test_kinds_are_told_without_passing_a_link(top: Path) -> None:
    assert walk.is_folder(top / "a/b")
    assert walk.is_file(top / "a/file")
    assert walk.is_there(top / "a/link to file")
    assert not walk.is_file(top / "a/link to file")
    assert not walk.is_folder(top / "link")
    assert not walk.is_there(top / "nowhere/at/all")
    assert not walk.is_there(top / "a/file/below a file")
    with pytest.raises(walk.LinkInTheWay):  # "not there" would be a lie that something is concluded from
        walk.is_there(top / "link/file")


def test_a_file_that_somebody_has_locked_is_not_waited_for(top: Path) -> None:
    """A write lease answers "try again" for as long as its holder likes."""
    held = os.open(top / "a/file", os.O_RDWR)
    ignored = signal.signal(signal.SIGIO, signal.SIG_IGN)  # what the kernel sends to the holder
    try:
        fcntl.fcntl(held, fcntl.F_SETLEASE, fcntl.F_WRLCK)
        with pytest.raises(BlockingIOError):
            walk.reach(top / "a/file", walk.FILE)
    finally:
        signal.signal(signal.SIGIO, ignored)
        os.close(held)
