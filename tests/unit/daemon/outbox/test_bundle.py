"""What a published folder is made of when people at the share have done odd things to theirs."""

from __future__ import annotations

import fcntl
import json
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from meshdrop.daemon.base import fsops
from meshdrop.daemon.base.errors import ShareUnavailable
from meshdrop.daemon.base.settings import Settings, load
from meshdrop.daemon.outbox.bundle import failure_bundle, result_bundle
from meshdrop.models.files import walk
from tests.jobs import failing_job
from tests.rig import assert_whole, contents

JOB = failing_job()


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    made = load(tmp_path / "scans")
    for folder in (made.places.claimed / JOB.id, made.places.capture(JOB.id), made.places.staging):
        folder.mkdir(parents=True)
    return made


@pytest.fixture
def came(settings: Settings) -> Callable[..., Path]:
    """Writes files into the folder as it came; each says its own path."""

    def write(*paths: str) -> Path:
        folder = settings.places.claimed / JOB.id
        for path in paths:
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_text(path)
        return folder

    return write


def published(settings: Settings, *, results: bool = False) -> Path:
    """The folder as it is staged."""
    make = result_bundle if results else lambda *known: failure_bundle(known[0], [], *known[1:])
    bundle = make(JOB, settings.places, settings)
    bundle.write(settings.places.staging / JOB.id, JOB, lambda: None)
    assert_whole(settings.places.staging / JOB.id)
    return settings.places.staging / JOB.id


def needs_rights() -> bool:
    """Root reads what nobody may read."""
    return os.geteuid() != 0


RETURNED = [
    ("capture/a", "a/b"),  # a file beside a folder of its name
    ("capture/a/b", "a"),  # and the other way round
    ("capture/a/b/c", "a/b"),
    ("capture/a", "a/b", "capture/capture/a"),
    ("capture/x", "capture/a/b", "a"),
]


@pytest.mark.parametrize("results", [True, False])
@pytest.mark.parametrize("files", RETURNED)
def test_a_returned_folder_is_unfolded_where_nothing_stands_in_the_way(
    settings: Settings, came: Callable[..., Path], files: tuple[str, ...], results: bool
) -> None:
    (came(*files) / "receipt.json").write_text('{"schema": "meshdrop.receipt/1", "files": {}}')
    there = contents(published(settings, results=results) / "capture")
    assert sorted(content.decode() for content in there.values()) == sorted(files)
    assert "x" in there or "capture/x" not in files


@pytest.mark.parametrize("results", [True, False])
@pytest.mark.parametrize("folder", ["fusion", "mine", "Mine"])
def test_old_results_of_every_model_stay_behind(
    settings: Settings, came: Callable[..., Path], folder: str, results: bool
) -> None:
    """What somebody has put beside them goes along, and so does a capture's folder of that name."""
    settings = settings.model_copy(update={"custom_models": {"mine": "/opt/mine.py:Mine"}})
    old, new, inner = f"{folder}/mesh.glb", f"{folder}/notes.txt", f"capture/{folder}/a.txt"
    listed = {name: {"size": len(name), "sha256": ""} for name in (old, inner)}
    receipt = {"schema": "meshdrop.receipt/1", "files": listed}
    (came(old, new, inner) / "receipt.json").write_text(json.dumps(receipt))
    there = contents(published(settings, results=results) / "capture")
    assert set(there) == {f"{folder}/notes.txt", f"{folder}/a.txt"}


@pytest.mark.parametrize(("own", "other"), [("a", "a/b"), ("a/b", "a"), ("views/a.png", "views")])
def test_our_checked_copy_keeps_its_names_and_others_give_way(
    settings: Settings, came: Callable[..., Path], own: str, other: str
) -> None:
    came(other)
    copy = settings.places.capture(JOB.id) / own
    copy.parent.mkdir(parents=True, exist_ok=True)
    copy.write_text("checked")
    there = contents(published(settings, results=True) / "capture")
    assert there.pop(own) == b"checked"
    assert list(there.values()) == [other.encode()]


def test_what_a_stranger_has_closed_is_left_out_and_named(
    settings: Settings, came: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As for a user without the right to read them, which root is not."""
    folder = came("views/a.png", "note.txt", "private/b.txt")
    real = walk.reach

    def refuse(path: Path, flags: int, mode: int = 0, **where: int) -> int:
        if os.path.basename(path) == "note.txt":
            raise PermissionError(13, "Permission denied", str(path))
        return real(path, flags, mode, **where)

    for module in (walk, fsops):
        monkeypatch.setattr(module, "reach", refuse)
    staged = published(settings)
    assert set(contents(staged / "capture")) == {"views/a.png", "private/b.txt"}
    for told in ((staged / "WHY.txt").read_text(), json.loads((staged / "failure.json").read_text())["left_out"]):
        assert "note.txt" in str(told)
    assert "keeps the folder as it came" in (staged / "WHY.txt").read_text()
    assert json.loads((staged / "receipt.json").read_text())["left_out"] == {
        "capture/note.txt": "cannot be read (Permission denied)"
    }
    assert (folder / "note.txt").is_file()


@pytest.mark.skipif(not needs_rights(), reason="root may read everything")
@pytest.mark.parametrize("closed", ["note.txt", "private", ""])
def test_rights_that_were_taken_away_keep_nothing_else_back(
    settings: Settings, came: Callable[..., Path], closed: str
) -> None:
    folder = came("views/a.png", "note.txt", "private/b.txt")
    (folder / closed).chmod(0)
    try:
        staged = published(settings)
    finally:
        (folder / closed).chmod(0o755)
    assert closed in (staged / "WHY.txt").read_text()
    if closed:
        assert "views/a.png" in contents(staged / "capture")


def test_a_file_that_somebody_has_locked_is_left_out(settings: Settings, came: Callable[..., Path]) -> None:
    folder = came("views/a.png", "note.txt")
    before = signal.signal(signal.SIGIO, signal.SIG_IGN)  # how the holder of a lease is told that somebody wants it
    with open(folder / "note.txt", "r+b") as held:
        try:
            fcntl.fcntl(held, fcntl.F_SETLEASE, fcntl.F_WRLCK)
        except OSError:
            pytest.skip("no leases on this file system")
        staged = published(settings)
        fcntl.fcntl(held, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    signal.signal(signal.SIGIO, before)
    assert set(contents(staged / "capture")) == {"views/a.png"}
    assert "note.txt" in (staged / "WHY.txt").read_text()


@pytest.mark.parametrize("results", [True, False])
@pytest.mark.parametrize("at_first", ["there", "away"])
def test_a_file_that_grows_after_it_was_weighed_is_left_out_and_fills_no_disk(
    settings: Settings, came: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, results: bool, at_first: str
) -> None:
    """Whoever dropped the folder may still have the file, or the folder around it, open."""
    folder = came("a.txt", "z/late.bin")
    late, copied, write_all = folder / "z/late.bin", list[int](), fsops._write_all

    def begin(operation: str, *_: Path) -> None:
        if operation == "remove_tree" and at_first == "away":
            late.unlink(missing_ok=True)

    def grow(*_: object) -> None:
        late.touch()
        os.truncate(late, 1 << 24)

    def write(to: int, chunk: bytes) -> None:
        copied.append(len(chunk))
        write_all(to, chunk)

    monkeypatch.setattr(fsops, "observer", begin)
    monkeypatch.setattr("meshdrop.daemon.outbox.bundle.lacks_room", grow)
    monkeypatch.setattr(fsops, "_write_all", write)
    staged = published(settings, results=results)
    assert sum(copied) < 1 << 20
    assert set(contents(staged / "capture")) == {"a.txt"}
    assert json.loads((staged / "receipt.json").read_text())["left_out"] == {
        "capture/z/late.bin": "changed while it was copied"
    }


def test_nothing_is_left_out_because_the_share_is_away(settings: Settings, came: Callable[..., Path]) -> None:
    came("views/a.png")
    bundle = result_bundle(JOB, settings.places, settings)
    (settings.places.claimed / JOB.id).rename(settings.places.claimed / "away")

    def check() -> None:
        raise ShareUnavailable("away")

    with pytest.raises(ShareUnavailable):
        bundle.write(settings.places.staging / JOB.id, JOB, check)


def test_what_cannot_be_staged_comes_out_with_less_and_says_so(settings: Settings, came: Callable[..., Path]) -> None:
    came("views/a.png")
    bundle = failure_bundle(JOB, [], settings.places, settings, "it is odd", bare=True)
    bundle.write(settings.places.staging / JOB.id, JOB, lambda: None)
    staged = settings.places.staging / JOB.id
    assert set(contents(staged)) == {"WHY.txt", "failure.json", "receipt.json"}
    assert "capture: could not be copied (it is odd)" in (staged / "WHY.txt").read_text()
    assert bundle.keep_original
