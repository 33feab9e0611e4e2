"""What lies beside the set goes along as far as there is room for it, and nothing is left out without a word."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from meshdrop.daemon.base import fsops
from meshdrop.daemon.outbox.beside import lies_beside, most_to_copy
from meshdrop.daemon.outbox.bundle import Bundle, lacks_room
from meshdrop.daemon.service.retention import _is_ours
from meshdrop.db.states import State
from meshdrop.models.files import entries
from meshdrop.models.files.limits import CaptureLimits
from tests.house import House

LIMITS = CaptureLimits()


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    made = House(tmp_path / "scans")
    made.open()
    made.recover()
    yield made
    made.close()


def sparse(file: Path, size: int) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.touch()
    os.truncate(file, size)


def disk(**facts: int) -> SimpleNamespace:
    """What a disk with plenty of room says, but for these facts."""
    return SimpleNamespace(**{"f_bavail": 1 << 30, "f_frsize": 4096, "f_files": 0, "f_favail": 0, **facts})


def paths(folder: Path, limits: CaptureLimits = LIMITS) -> set[str]:
    return {fact.path for fact in lies_beside(folder, ["views/0.png"], limits).taken}


def test_a_video_of_gigabytes_is_named_and_the_notes_beside_it_go_along(tmp_path: Path) -> None:
    sparse(tmp_path / "views/0.png", 10)
    sparse(tmp_path / "raw/video.mov", 10 << 30)
    (tmp_path / "notes.txt").write_text("mine")
    found = lies_beside(tmp_path, ["views/0.png"], LIMITS)
    assert [fact.path for fact in found.taken] == ["notes.txt"]
    assert found.size == 4
    assert list(found.left_out) == ["capture/raw/video.mov"]
    assert "10,737 MB" in found.left_out["capture/raw/video.mov"]
    assert "max_extra_mb" in found.left_out["capture/raw/video.mov"]


def test_small_files_go_before_large_ones_and_litter_last(tmp_path: Path) -> None:
    limits = CaptureLimits(max_extra_bytes=100)
    for name, size in {"a.txt": 40, "b.txt": 50, "c.txt": 60, ".hidden": 5, ".large": 20}.items():
        sparse(tmp_path / name, size)
    assert paths(tmp_path, limits) == {"a.txt", "b.txt", ".hidden"}


def told(left_out: dict[str, str]) -> int:
    """How many files these lines speak of."""
    counts = [int(why.split(" ")[0].replace(",", "")) for why in left_out.values() if "more file" in why]
    return sum(counts) + sum("more file" not in why for why in left_out.values())


@pytest.mark.parametrize("places", [1, 3, 90])
def test_of_too_many_files_each_is_taken_or_counted_and_ordinary_ones_are_not_displaced(
    tmp_path: Path, places: int
) -> None:
    limits = CaptureLimits(max_entries=30)
    for number in range(900):
        sparse(tmp_path / f".git/{number % places}/{number}", 0)
    for number in range(40):
        (tmp_path / f"note_{number}.txt").write_text("my measurements")
    (tmp_path / "link").symlink_to("note_0.txt")
    found = lies_beside(tmp_path, (), limits)
    assert {f"note_{number}.txt" for number in range(40)} <= {fact.path for fact in found.taken}
    assert len(found.taken) == 300
    assert len(found.taken) + told(found.left_out) == 941
    assert len(found.left_out) <= 50


def test_what_may_be_copied_is_never_underestimated(tmp_path: Path) -> None:
    for number in range(50):
        sparse(tmp_path / f"{number}.bin", 1_000_000 * number)
    for most in (0, 10_000_000, 1 << 40):
        limits = CaptureLimits(max_extra_bytes=most)
        taken = lies_beside(tmp_path, ["3.bin"], limits)
        size, files = most_to_copy(tmp_path, ["3.bin"], limits)
        assert size >= taken.size
        assert files >= len(taken.taken)
        assert size <= most
    size, files = most_to_copy(tmp_path, (), CaptureLimits(max_entries=2, max_extra_bytes=7))
    assert (size, files) == (7, 20)


def came_back(folder: Path, *names: str, size: int = 3) -> None:
    """A receipt that lists these files."""
    listed = {name: {"size": size, "sha256": "0" * 64} for name in names}
    (folder / "receipt.json").write_text(json.dumps({"schema": "meshdrop.receipt/1", "files": listed}))


def test_old_results_of_a_folder_that_came_back_are_neither_taken_nor_named(tmp_path: Path) -> None:
    for name in ("WHY.txt", "previews/a.png", "capture/notes.txt"):
        sparse(tmp_path / name, 3)
    came_back(tmp_path, "WHY.txt", "previews/a.png", "capture/notes.txt")
    found = lies_beside(tmp_path, (), LIMITS)
    assert [fact.path for fact in found.taken] == ["capture/notes.txt"]
    assert not found.left_out


def test_what_a_receipt_does_not_list_goes_along_under_any_name(tmp_path: Path) -> None:
    """Somebody's own log among old results, one that was written on, and a receipt that is none of ours."""
    mine = tmp_path / "mine"
    for name in ("log.txt", "WHY.txt", "previews/mine.png"):
        sparse(mine / name, 3)
    came_back(mine, "log.txt", "WHY.txt", size=4)
    assert {fact.path for fact in lies_beside(mine, (), LIMITS).taken} == {"log.txt", "WHY.txt", "previews/mine.png"}
    for text in ("", "{}", '{"schema": "shop.receipt/1", "files": {"log.txt": {"size": 3}}}', "[" * 100_000):
        (mine / "receipt.json").write_text(text)
        taken = {fact.path for fact in lies_beside(mine, (), LIMITS).taken}
        assert taken == {"receipt.json", "log.txt", "WHY.txt", "previews/mine.png"}


def test_a_folder_that_may_not_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("notes.txt", ".cache/a", "raw/inner/b"):
        sparse(tmp_path / name, 3)
    really = entries._open_folder

    def refuse(folder: Path, parent: int | None) -> int:
        if folder.name in (".cache", "inner"):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(folder))
        return really(folder, parent)

    monkeypatch.setattr(entries, "_open_folder", refuse)
    found = lies_beside(tmp_path, (), LIMITS)
    assert [fact.path for fact in found.taken] == ["notes.txt"]
    closed = "the service may not read it"
    assert found.left_out == {"capture/.cache": closed, "capture/raw/inner": closed}
    with pytest.raises(PermissionError):
        entries.take_facts(tmp_path, LIMITS)


# -- in the result -----------------------------------------------------------------------------------------------------

ODD = [b"tab\there", b"line\nend", b"esc\x1b[2J", b"\xff\xfe", b"caf\xe9", "\u202egnp.exe".encode(), b"back\\slash"]


def test_the_keys_of_a_receipt_are_the_names_on_disk(house: House, tmp_path: Path) -> None:
    job = house.jobs.get(house.bring("a", "claimed").id)
    bundle = Bundle()
    (tmp_path / "from").mkdir()
    for name in ODD:
        file = tmp_path / "from" / os.fsdecode(name)
        file.write_bytes(name)
        bundle.copies[f"capture/{os.fsdecode(name)}"] = file
    bundle.write(house.places.staging / job.id, job, house.share.check)
    raw = (house.places.staging / job.id / "receipt.json").read_bytes()
    receipt = json.loads(raw)
    assert raw.isascii()
    assert {os.fsencode(name) for name in receipt["files"]} == {b"capture/" + name for name in ODD}
    for name, facts in receipt["files"].items():
        assert (house.places.staging / job.id / name).stat().st_size == facts["size"]
        assert _is_ours(name, facts["size"], receipt)
        assert not _is_ours(name, facts["size"] + 1, receipt)
    earlier = {"files": {"capture/tab\\there": {"size": 8}}}  # names as they are shown
    assert _is_ours("capture/tab\there", 8, earlier)


def test_a_file_called_capture_that_was_left_out_vouches_for_nothing(tmp_path: Path) -> None:
    sparse(tmp_path / "capture", 1 << 40)
    left_out = lies_beside(tmp_path, (), LIMITS).left_out
    assert left_out
    assert not _is_ours("capture/strange.png", 5, {"files": {}, "left_out": left_out})


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
def test_nothing_is_left_in_staging_of_a_copy_that_failed(
    house: House, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    guest = house.bring("a", "decided", good=False)

    def fail(operation: str, *files: Path) -> None:
        if operation == "sync_file" and files[0].name == "WHY.txt":
            raise OSError(code, os.strerror(code))

    monkeypatch.setattr(fsops, "observer", fail)
    with pytest.raises(OSError, match=os.strerror(code)):
        house.delivery.stage_failure(house.jobs.get(guest.id))
    assert not os.listdir(house.places.staging)
    monkeypatch.setattr(fsops, "observer", None)
    house.delivery.stage_failure(house.jobs.get(guest.id))
    assert os.listdir(house.places.staging) == [guest.id]


def test_room_is_asked_for_before_the_first_byte_with_what_sparse_files_say_that_they_have(
    house: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = house.jobs.get(house.bring("a", "claimed").id)
    sparse(tmp_path / "huge", 1 << 40)
    monkeypatch.setattr(os, "statvfs", lambda _: disk(f_frsize=4096, f_bavail=1 << 20))
    (tmp_path / "small").write_text("x")
    copied: list[str] = []
    fsops.observer = lambda operation, *_: copied.append(operation)
    try:
        bundle = Bundle({"small": tmp_path / "small", "huge": tmp_path / "huge"})
        with pytest.raises(OSError, match="MB must be free") as caught:
            bundle.write(house.places.staging / job.id, job, house.share.check)
    finally:
        fsops.observer = None
    assert caught.value.errno == errno.ENOSPC
    assert "copy_file" not in copied
    assert not os.listdir(house.places.staging)


def test_a_disk_without_room_for_more_files_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "statvfs", lambda _: disk(f_files=1000, f_favail=150))
    assert "more files" in str(lacks_room(tmp_path, 0, 60))
    assert lacks_room(tmp_path, 0, 10) is None
    monkeypatch.setattr(os, "statvfs", lambda _: disk(f_files=0, f_favail=0))  # a file system that counts none
    assert lacks_room(tmp_path, 0, 60) is None


def test_half_a_copy_goes_at_the_next_start_and_a_whole_one_stays(house: House) -> None:
    half, whole = house.bring("half", "running"), house.bring("whole", "promised")
    shutil.copytree(house.places.staging / whole.id, house.places.staging / half.id)
    house.recover()
    assert os.listdir(house.places.staging) == [whole.id]
    assert house.jobs.get(half.id).state is State.RUNNING


@pytest.mark.parametrize(("days", "size", "kept"), [(7.0, 1, True), (0.0, 1, False), (0.0, 1 << 40, True)])
def test_an_original_that_holds_more_than_the_result_is_kept_even_where_none_is(
    tmp_path: Path, days: float, size: int, kept: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MESHDROP_RETAIN_DAYS", str(days))
    house = House(tmp_path / "scans")
    house.open()
    house.recover()
    guest = house.bring("a", "running")
    sparse(house.places.claimed / guest.id / "raw/video.mov", size)
    house.lead(guest, "cleaned")
    assert (house.places.kept / guest.id).exists() is kept
    receipt = json.loads((house.places.outbox / "a/receipt.json").read_text())
    assert ("capture/raw/video.mov" in receipt["left_out"]) is (size > 1)
    assert ("capture/raw/video.mov" in receipt["files"]) is (size == 1)
    house.wait(6.9 * 86_400)
    house.delivery.drop_expired(house.wall)
    assert (house.places.kept / guest.id).exists() is kept
    house.wait(0.2 * 86_400)
    house.delivery.drop_expired(house.wall)
    assert not (house.places.kept / guest.id).exists()
    house.close()
