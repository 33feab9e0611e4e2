"""Stored rigs and their folders in the inbox: what the scanner makes of them, and what the shelf keeps."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
from pathlib import Path

import pytest

from meshdrop.daemon.base import fsops
from meshdrop.daemon.base.clock import Clock
from meshdrop.daemon.base.errors import MeshdropError
from meshdrop.daemon.base.places import page_name, publishable
from meshdrop.daemon.base.rigs import RigShelf, checked_name
from meshdrop.daemon.inbox.scanner import Scanner
from meshdrop.daemon.inbox.settle import Window
from meshdrop.models.files import walk
from meshdrop.models.files.limits import CaptureLimits
from meshdrop.models.probe.rig_making import make_profile
from tests import formats

LIMITS = CaptureLimits()


class Hands:
    """A clock that is moved by hand."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        """Monotonic seconds."""
        return self.seconds


@pytest.fixture(scope="module")
def shot(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("rigs") / "shot"
    formats.nerfstudio(folder, formats.odd_rig(size=48))
    return folder


@pytest.fixture(scope="module")
def bare(shot: Path) -> Path:
    """Its pictures and depth, without cameras."""
    folder = shot.with_name("bare")
    shutil.copytree(shot, folder, ignore=shutil.ignore_patterns("*.json", "masks"))
    return folder


class Inbox:
    """An inbox, a shelf of rigs, and a scanner that looks at both."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "inbox"
        self.path.mkdir()
        self.shelf = RigShelf(folder / "rigs")
        self.hands = Hands()
        self.scanner = Scanner(
            self.path, Window(5, 30, 1800), LIMITS, Clock(monotonic=self.hands), rigs=self.shelf.texts
        )

    def states(self, seconds: float) -> dict[str, str]:
        self.hands.seconds = seconds
        list(self.scanner.scan())
        return {os.fsdecode(one.name): one.judgement.state for one in self.scanner.findings()}

    def sentence(self, name: str) -> str:
        return next(one.judgement.sentence for one in self.scanner.findings() if one.name == os.fsencode(name))


@pytest.fixture
def inbox(tmp_path: Path) -> Inbox:
    return Inbox(tmp_path)


@pytest.fixture
def rig1(inbox: Inbox, shot: Path) -> None:
    inbox.shelf.store(make_profile("rig1", shot, LIMITS).profile)


@pytest.mark.usefixtures("rig1")
def test_a_rigs_folder_is_no_capture_and_what_lies_in_it_is(inbox: Inbox, bare: Path) -> None:
    (inbox.path / "@rig1").mkdir()
    assert inbox.states(0) == {}
    shutil.copytree(bare, inbox.path / "@rig1/chair")
    shutil.copytree(bare, inbox.path / "@rig1/.stool.part")
    (inbox.path / "@rig1/photo.png").write_bytes(b"x")
    (inbox.path / "@rig1/table.cancel").touch()
    assert inbox.states(40) == {"@rig1/chair": "settling"}
    assert inbox.states(45) == {"@rig1/chair": "ready"}
    assert inbox.scanner.listing.strays == (b"@rig1/photo.png",)
    assert inbox.scanner.listing.cancelled == {b"@rig1/table"}
    (inbox.path / "@rig1/.stool.part").rename(inbox.path / "@rig1/stool")
    assert inbox.states(46) == {"@rig1/chair": "ready", "@rig1/stool": "settling"}
    assert inbox.states(47) == {"@rig1/chair": "ready", "@rig1/stool": "ready"}  # it was renamed when it was whole
    shutil.rmtree(inbox.path / "@rig1")
    assert inbox.states(48) == {}


@pytest.mark.usefixtures("rig1")
def test_a_rigs_folder_that_cannot_be_read_for_a_moment_is_still_no_capture(
    inbox: Inbox, bare: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its rights were closed, or a link stood in its place; neither changes the time of the folder itself."""
    shutil.copytree(bare, inbox.path / "@rig1/chair")
    closed, held = True, walk.held

    def refuse(path: Path, *flags: int) -> contextlib.AbstractContextManager[int]:
        if closed and path.name == "@rig1":
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return held(path, *flags)

    monkeypatch.setattr(walk, "held", refuse)
    assert inbox.states(0) == {"@rig1": "arriving"}
    assert "cannot be read by the service" in inbox.sentence("@rig1")
    assert inbox.states(70) == {"@rig1": "arriving"}
    closed = False
    inbox.states(110)
    assert inbox.states(111) == {"@rig1/chair": "settling"}
    assert inbox.states(150) == {"@rig1/chair": "ready"}


def test_an_unknown_rigs_folder_is_refused_whole_until_the_rig_is_stored(inbox: Inbox, shot: Path, bare: Path) -> None:
    shutil.copytree(bare, inbox.path / "@rig1/chair")
    assert inbox.states(0) == {"@rig1": "settling"}
    assert "No rig called rig1 is stored; none is stored yet" in inbox.sentence("@rig1")
    inbox.shelf.store(make_profile("rig1", shot, LIMITS).profile)
    assert inbox.states(1) == {"@rig1/chair": "settling"}
    inbox.shelf.remove("rig1")
    assert inbox.states(2) == {"@rig1": "settling"}
    assert inbox.states(7) == {"@rig1": "refuse"}


def test_a_rig_that_is_stored_later_cures_what_waits(inbox: Inbox, shot: Path, bare: Path) -> None:
    """Also folders that have been idle for long and would be looked at again only in half an hour."""
    shutil.copytree(bare, inbox.path / "chair")
    (inbox.path / "chair/.hold.lock").touch()
    assert inbox.states(0) == {"chair": "arriving"}
    assert inbox.states(100) == {"chair": "arriving"}
    (inbox.path / "chair/.hold.lock").unlink()
    (inbox.path / "chair/capture.json").write_text('{"rig": "rig1"}')
    assert inbox.states(200)["chair"] == "settling"
    inbox.shelf.store(make_profile("rig1", shot, LIMITS).profile)
    assert inbox.states(201) == {"chair": "settling"}
    assert "waiting until nothing has changed" in inbox.sentence("chair")


def test_nothing_stored_costs_no_looks(inbox: Inbox, bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without rigs the shelf is one question for a folder that is not there, and idle folders stay idle."""
    shutil.copytree(bare, inbox.path / "chair")
    inbox.states(0)
    inbox.states(200)
    looked: list[Path] = []
    monkeypatch.setattr("meshdrop.daemon.inbox.scanner.look", lambda folder, *_, **__: looked.append(folder))
    for seconds in range(201, 220):
        inbox.states(seconds)
    assert looked == []


# -- the shelf ------------------------------------------------------------------------------------------------------


def test_a_profile_is_stored_whole_replaced_whole_and_readable_by_the_service(
    inbox: Inbox, shot: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    profile = make_profile("rig1", shot, LIMITS).profile
    before = os.umask(0o077)
    try:
        file = inbox.shelf.store(profile)
    finally:
        os.umask(before)
    assert file.stat().st_mode & 0o777 == 0o644
    assert inbox.shelf.profile("rig1").version == profile.version
    steps: list[str] = []
    monkeypatch.setattr(fsops, "observer", lambda operation, *_: steps.append(operation))
    inbox.shelf.store(profile)
    assert steps[0] == "write_file"
    assert steps[-1] == "sync_dir"


def test_what_is_no_profile_on_the_shelf_is_passed_over_or_named(inbox: Inbox, tmp_path: Path) -> None:
    folder = tmp_path / "rigs"
    folder.mkdir()
    (folder / "README.txt").write_text("x")
    (folder / "Not A Name.json").write_text("{}")
    (folder / ".abc.tmp").write_text("{}")
    (folder / "rig1.json").write_text("{")
    assert list(inbox.shelf.texts()) == ["rig1"]
    with pytest.raises(MeshdropError, match="is damaged") as caught:
        inbox.shelf.profile("rig1")
    assert caught.value.fix
    with pytest.raises(MeshdropError, match="there are: rig1"):
        inbox.shelf.remove("rig2")


def test_a_link_on_the_shelf_leads_nowhere(inbox: Inbox, tmp_path: Path) -> None:
    folder = tmp_path / "rigs"
    folder.mkdir()
    (folder / "rig1.json").symlink_to("/etc/passwd")
    with pytest.raises(OSError, match="a link stands"):
        inbox.shelf.texts()


@pytest.mark.parametrize("name", ["", "Rig 1", "a/b", "..", "canonical", "eaDir", "recycle", "-x", "x" * 33, "ü"])
def test_names_that_cannot_be_a_folders_everywhere_are_refused(name: str) -> None:
    with pytest.raises(MeshdropError) as caught:
        checked_name(name)
    assert caught.value.fix


def test_results_and_pages_of_a_rigs_captures_have_names_that_never_meet() -> None:
    assert publishable(b"@rig1/chair") == b"chair"
    names = [b"chair", b"@rig1/chair", b"@rig2/chair", b"@rig1_chair", b"@rig1/chair.", b"@rig1", b"@Rig1/chair"]
    pages = [page_name(name) for name in names]
    assert pages[:2] == ["chair.json", "@rig1_chair.json"]
    assert len(set(pages)) == len(names)
    assert not any("/" in page for page in pages)
