"""Deleting what is old: what is ours, finished and unchanged, never half, and never published again by a start."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from meshdrop.daemon.base import fsops
from meshdrop.daemon.base.settings import Settings
from meshdrop.daemon.outbox.receipts import read_shared
from meshdrop.daemon.service import retention as retention_module
from meshdrop.daemon.service.retention import Limit, Retention, Stored, expired
from meshdrop.db.jobs import Placement
from meshdrop.db.records import events_of
from meshdrop.db.service_clock import Passed
from meshdrop.db.states import State
from tests.house import Guest, House

DAY = 86_400.0


def stored(name: str, at: float, size: int = 1_000_000) -> Stored:
    return Stored(Path(name), name, Passed(at), size)


def going(*those: Stored, now: float, **limit: float) -> list[str]:
    wish = Limit(limit.get("days"), limit.get("megabytes"))
    return [one.job_id for one, _ in expired(list(those), wish, Passed(now))]


def test_what_is_older_goes() -> None:
    assert going(stored("a", 0), stored("b", DAY), stored("c", 2 * DAY), now=2.5 * DAY, days=1) == ["a", "b"]


def test_of_what_is_too_much_the_oldest_goes() -> None:
    those = [stored("new", 3 * DAY), stored("old", DAY), stored("middle", 2 * DAY)]
    assert going(*those, now=9 * DAY, megabytes=2) == ["old"]
    assert going(*those, now=9 * DAY, megabytes=1.5) == ["old", "middle"]
    assert going(*those, now=9 * DAY, megabytes=3) == []


def test_what_went_for_its_age_no_longer_counts() -> None:
    those = [stored("a", 0), stored("b", 5 * DAY), stored("c", 6 * DAY)]
    assert going(*those, now=7 * DAY, days=3, megabytes=2) == ["a"]


def test_nothing_goes_in_its_first_hour() -> None:
    assert going(stored("a", 0), stored("b", 100), now=3599, days=0.001, megabytes=0.1) == []
    assert going(stored("a", 0), stored("b", 100), now=3650, days=0.001, megabytes=0.1) == ["a"]


def test_a_record_that_stands_before_an_end_deletes_nothing() -> None:
    assert going(stored("a", 10 * DAY), now=DAY, days=1, megabytes=0.1) == []


def test_the_first_hour_is_one_in_which_the_machine_ran() -> None:
    """Published, then off for a month: nobody could fetch it."""
    limit = Limit(days=14.0, megabytes=0.1)
    assert expired([stored("a", 0)], limit, Passed(600.0, 30 * DAY)) == []
    assert [one.job_id for one, _ in expired([stored("a", 0)], limit, Passed(3600.0, 30 * DAY))] == ["a"]


# -- on real folders -----------------------------------------------------------------------------------------------


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    made = House(tmp_path / "scans")
    made.open()
    made.recover()
    yield made
    made.close()


def retention(house: House, after_days: float = 10.0, **limits: float) -> Retention:
    """As the service would have it, so many days later."""
    house.wait(after_days * DAY)
    return Retention(house.share, house.jobs, house.settings.model_copy(update=limits), lambda: False)


def on_shelf(folder: Path) -> set[str]:
    return set(os.listdir(folder))


def kinds(house: House, guest: Guest) -> list[str]:
    return [event.kind for event in house.database.read(lambda session: events_of(session, guest.id))]


def test_finished_folders_go_with_their_marks_and_the_history_says_so(house: House) -> None:
    good, bad = house.bring("good", "cleaned"), house.bring("bad", "cleaned", good=False)
    waits = house.bring("waits", "copied")
    retention(house, outbox_days=5.0).run()
    assert (on_shelf(house.places.outbox), on_shelf(house.places.failed)) == (set(), {"bad"})
    assert kinds(house, good)[-1] == "expired"
    assert house.jobs.get(good.id).state is State.DONE_CLEAN
    retention(house, failed_mb=0.000001).run()
    assert on_shelf(house.places.failed) == set()
    assert kinds(house, bad)[-1] == "expired"
    assert on_shelf(house.places.kept) == {good.id, bad.id}, "the originals have a limit of their own"
    retention(house, retain_mb=0.000001).run()
    assert on_shelf(house.places.kept) == set()
    assert on_shelf(house.places.claimed) == {waits.id}
    assert on_shelf(house.places.staging) == set()


def test_without_limits_nothing_goes(house: House) -> None:
    house.bring("good", "cleaned")
    one = retention(house, after_days=10_000)
    one.turn(0.0)
    assert one._thread is None
    one.run()
    assert on_shelf(house.places.outbox) == {"good", "good.done"}


def mine(folder: Path) -> None:
    (folder / "notes.txt").write_text("keep me")


def renamed(folder: Path) -> None:
    folder.rename(folder.with_name("another name"))


def without_receipt(folder: Path) -> None:
    (folder / "receipt.json").unlink()


def with_another_receipt(folder: Path) -> None:
    (folder / "receipt.json").write_text(json.dumps({"job": "0" * 32, "files": {}}))


def linked(folder: Path) -> None:
    folder.rename(folder.parent.parent / "elsewhere")
    folder.symlink_to(folder.parent.parent / "elsewhere")


def with_a_link_inside(folder: Path) -> None:
    (folder / "link").symlink_to("/etc")


def mended(folder: Path) -> None:
    (folder / "report.html").write_text("mended by hand")


CHANGES = [mine, renamed, without_receipt, with_another_receipt, linked, with_a_link_inside, mended]


@pytest.mark.parametrize("change", CHANGES)
def test_what_is_not_wholly_ours_stays(house: House, change: Callable[[Path], None]) -> None:
    house.bring("good", "cleaned")
    change(house.places.outbox / "good")
    before = on_shelf(house.places.outbox)
    retention(house, outbox_days=1.0, outbox_mb=0.000001).run()
    assert on_shelf(house.places.outbox) == before


def deep(folder: Path) -> None:
    """More levels than Python follows, and a path longer than the kernel takes whole."""
    here = os.open(folder, os.O_RDONLY)
    for _ in range(1500):
        os.mkdir("deeper", dir_fd=here)
        inner = os.open("deeper", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = inner
    os.close(here)


def receipt(text: str | bytes) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        folder.mkdir()
        (folder / "receipt.json").write_bytes(text if isinstance(text, bytes) else text.encode())

    return write


def deep_beside_a_receipt(folder: Path) -> None:
    shutil.copytree(folder.with_name("good"), folder)
    deep(folder)


def an_empty_deep_one(folder: Path) -> None:
    folder.mkdir()
    deep(folder)


def a_receipt_as_a(make: Callable[[Path], None]) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        folder.mkdir()
        make(folder / "receipt.json")

    return write


ODD: dict[str, Callable[[Path], None]] = {
    "half a surrogate pair": receipt('{"job": "\\ud800"}'),
    "job is a number": receipt('{"job": 7}'),
    "job is a list": receipt('{"job": [["\\ud800"]], "files": []}'),
    "job with a zero byte": receipt('{"job": "a\\u0000b"}'),
    "a very long job": receipt(json.dumps({"job": "a" * 1_000_000})),
    "nested beyond reason": receipt('{"a": ' * 100_000),
    "a number of many digits": receipt('{"job": ' + "9" * 10_000 + "}"),
    "no text": receipt(b"\xff\xfe\x00"),
    "too large": a_receipt_as_a(lambda path: os.truncate(os.open(path, os.O_CREAT | os.O_WRONLY), 1 << 40)),
    "a pipe": a_receipt_as_a(os.mkfifo),
    "a folder": a_receipt_as_a(os.mkdir),
    "a link to nowhere": a_receipt_as_a(lambda path: path.symlink_to("/nowhere/at/all")),
    "a link in a circle": a_receipt_as_a(lambda path: path.symlink_to(path)),
    "a link in place of the folder": lambda folder: folder.symlink_to(folder),
    "a pipe in place of the folder": os.mkfifo,
    "deep": an_empty_deep_one,
    "deep with a receipt of ours": deep_beside_a_receipt,
}


@pytest.mark.parametrize("odd", ODD)
@pytest.mark.parametrize("name", ["0 before all others", b"0 \xff\xfe no text"])
def test_one_odd_folder_keeps_no_other(house: House, odd: str, name: str | bytes) -> None:
    for guest in ("good", "better"):
        house.bring(guest, "cleaned")
    strange = Path(os.fsdecode(os.path.join(os.fsencode(house.places.outbox), os.fsencode(name))))
    ODD[odd](strange)
    retention(house, outbox_days=1.0).run()
    assert on_shelf(house.places.outbox) == {strange.name}
    fsops.remove_tree(strange)


def test_a_defect_that_one_folder_brings_up_keeps_no_other_and_is_told_once(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    for guest in ("bad", "good"):
        house.bring(guest, "cleaned")

    def bewitched(path: Path) -> dict[str, Any]:
        if "bad" in path.parts:
            raise KeyError("no such key")
        return read_shared(path)

    monkeypatch.setattr(retention_module, "read_shared", bewitched)
    one = retention(house, outbox_days=1.0)
    with capture_logs() as said:
        one.run()
        one.run()
    assert on_shelf(house.places.outbox) == {"bad", "bad.done"}
    assert ["KeyError" in str(line.get("reason")) for line in said if "kept" in line["event"]] == [True]


def test_what_nobody_can_look_into_is_not_known_to_be_ours_and_keeps_no_other_folder(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder of another user, closed to the service, inside a result: what is in it must not leave the share."""
    for name in ("good", "better"):
        house.bring(name, "cleaned")
    closed = house.places.outbox / "better" / "theirs"
    closed.mkdir()
    real = os.open

    def refuse(path: Any, *arguments: Any, **keywords: Any) -> int:
        if path == "theirs":
            raise PermissionError(errno.EACCES, "Permission denied", str(closed))
        return real(path, *arguments, **keywords)

    monkeypatch.setattr(os, "open", refuse)
    retention(house, outbox_days=1.0).run()
    assert on_shelf(house.places.outbox) == {"better", "better.done"}
    assert on_shelf(house.places.staging) == set()


def test_what_is_put_into_a_folder_while_others_are_deleted_keeps_it(house: House) -> None:
    for name in ("good", "better"):
        house.bring(name, "cleaned")
    one = retention(house, outbox_days=1.0)
    asked = 0

    def stopping() -> bool:
        nonlocal asked
        asked += 1
        if asked == 2:
            mine(house.places.outbox / "better")
        return False

    one.stopping = stopping
    one.run()
    assert on_shelf(house.places.outbox) == {"better", "better.done"}


def test_one_that_cannot_be_moved_keeps_no_other(house: House) -> None:
    guests = [house.bring(name, "cleaned") for name in ("good", "better")]

    def stuck(operation: str, path: Path, *_: Path) -> None:
        if operation == "rename" and path.name == "good":
            raise PermissionError(errno.EPERM, "Operation not permitted", str(path))

    fsops.observer = stuck
    try:
        retention(house, outbox_days=1.0).run()
    finally:
        fsops.observer = None
    assert {name for name in on_shelf(house.places.outbox) if not name.endswith(".done")} == {"good"}
    assert ["expired" in kinds(house, guest) for guest in guests] == [False, True]


def test_a_strangers_folder_with_a_copied_receipt_stays(house: House) -> None:
    house.bring("good", "cleaned")
    shutil.copytree(house.places.outbox / "good", house.places.outbox / "copy")
    shutil.copytree(house.places.outbox / "good", house.places.failed / "good")
    retention(house, outbox_days=1.0, failed_days=1.0).run()
    assert on_shelf(house.places.outbox) == {"copy"}
    assert on_shelf(house.places.failed) == {"good"}


def test_what_file_browsers_leave_behind_does_not_keep_a_folder(house: House) -> None:
    house.bring("good", "cleaned")
    (house.places.outbox / "good" / "Thumbs.db").write_bytes(b"")
    retention(house, outbox_days=1.0).run()
    assert on_shelf(house.places.outbox) == set()


@pytest.mark.parametrize("at", ["published", "done", "put away"])
def test_a_job_that_is_not_at_rest_keeps_its_folder(house: House, at: str) -> None:
    house.bring("other", "cleaned")
    house.bring("good", at)
    retention(house, outbox_days=1.0, retain_mb=0.000001).run()
    assert "good" in on_shelf(house.places.outbox)
    assert "other" not in on_shelf(house.places.outbox)


def operations(house: House, **limits: float) -> list[str]:
    """The file operations of one pass, and the pass is done."""
    seen: list[str] = []
    fsops.observer = lambda operation, *_: seen.append(operation)
    try:
        retention(house, **limits).run()
    finally:
        fsops.observer = None
    return seen


class Cut(OSError):
    """The power goes."""


@pytest.mark.parametrize("nth", range(6))
@pytest.mark.parametrize("copy_from", ["staged", "promised", "done", "cleaned"])
def test_a_cut_at_any_operation_leaves_the_folder_whole_or_gone_and_publishes_nothing_again(
    house: House, nth: int, copy_from: str
) -> None:
    """Also when the next start finds only a copy of the record from long before."""
    guest = house.bring("good", copy_from)
    house.database.backup(house.places.backups)
    house.lead(guest, "cleaned") if guest.at != "cleaned" else None
    seen = 0

    def cut(*_: Any) -> None:
        nonlocal seen
        seen += 1
        if seen == nth + 1:
            raise Cut(errno.EIO, "cut")

    fsops.observer = cut
    try:
        retention(house, outbox_days=1.0).run()
    except Cut:
        pass
    finally:
        fsops.observer = None
    assert seen >= nth + 1, "there are so many operations"
    for file in house.places.state.glob("meshdrop.db*"):
        file.unlink()
    house.close()
    house.open()
    house.recover()
    there = "good" in on_shelf(house.places.outbox)
    guest.taken = not there
    assert house.complaints() == []
    if there:
        receipt = json.loads((house.places.outbox / "good" / "receipt.json").read_text())
        assert all((house.places.outbox / "good" / name).is_file() for name in receipt["files"])
    assert on_shelf(house.places.staging) == set()


def test_the_pass_has_the_operations_that_the_cuts_are_made_at(house: House) -> None:
    house.bring("good", "cleaned")
    assert operations(house, outbox_days=1.0) == [
        "remove_tree",
        "remove_tree",
        "rename",
        "sync_dir",
        "sync_dir",
        "remove_tree",
    ]


def test_the_settings_are_off_by_default() -> None:
    settings = Settings(root=Path("/ROOT"))
    assert not any(
        getattr(settings, name) for name in ("outbox_days", "outbox_mb", "failed_days", "failed_mb", "retain_mb")
    )


# -- whatever the clock on the wall does -------------------------------------------------------------------------------


def test_a_clock_that_was_a_month_behind_and_is_set_right_deletes_nothing(house: House) -> None:
    house.wall -= 30 * DAY
    house.bring("good", "cleaned")
    house.wall += 30 * DAY
    retention(house, after_days=0.0001, outbox_days=14.0, outbox_mb=0.000001, retain_mb=0.000001).run()
    house.delivery.drop_expired(house.wall)
    assert on_shelf(house.places.outbox) == {"good", "good.done"}
    assert len(on_shelf(house.places.kept)) == 1


@pytest.mark.parametrize("jump_days", [-30.0, 30.0, 29_000.0])
@pytest.mark.parametrize("then", ["it runs on", "a restart of the machine", "a restart with nothing to steer by"])
def test_however_the_clock_jumps_nothing_goes_before_its_time_and_all_goes_after(
    house: House, jump_days: float, then: str
) -> None:
    house.steered = then != "a restart with nothing to steer by"
    house.bring("good", "cleaned")
    house.steered = False  # a clock that jumps is not one that is kept right
    house.wall += jump_days * DAY
    house.jobs.passed()
    house.wait(6 * DAY)
    if then != "it runs on":
        house.jobs.passed()
        house.boot, house.since_boot_s = "second", 60.0
    retention(house, after_days=6.0, outbox_days=14.0).run()
    house.delivery.drop_expired(house.wall)
    assert on_shelf(house.places.outbox) == {"good", "good.done"}
    assert on_shelf(house.places.kept) == set(), "retain_days is seven by default"
    retention(house, after_days=2.5, outbox_days=14.0).run()
    assert on_shelf(house.places.outbox) == set()


def test_time_that_the_machine_was_off_counts_when_the_clock_was_kept_right_before_and_after(house: House) -> None:
    house.bring("good", "cleaned")
    house.boot, house.since_boot_s, house.wall = "second", 7200.0, house.wall + 20 * DAY
    retention(house, after_days=0.0, outbox_days=14.0).run()
    assert on_shelf(house.places.outbox) == set()


@pytest.mark.parametrize(("before", "after"), [(True, False), (False, True), (False, False)])
def test_time_that_the_machine_was_off_does_not_count_when_the_dates_may_be_wrong(
    house: House, before: bool, after: bool
) -> None:
    house.steered = before
    house.bring("good", "cleaned")
    house.steered = after
    house.boot, house.since_boot_s, house.wall = "second", 7200.0, house.wall + 20 * DAY
    retention(house, after_days=0.0, outbox_days=14.0, retain_mb=0.000001).run()
    house.delivery.drop_expired(house.wall)
    assert on_shelf(house.places.outbox) == {"good", "good.done"}


def test_an_original_that_the_record_does_not_know_goes_when_both_clocks_agree(house: House) -> None:
    strange = house.places.kept / ("5" * 32)
    strange.mkdir()
    os.utime(strange, (house.wall, house.wall))
    house.jobs.passed()
    house.wall += 300 * DAY
    house.delivery.drop_expired(house.wall)
    assert strange.exists(), "the date alone says nothing"
    house.wait(8 * DAY)
    house.delivery.drop_expired(house.wall - 301 * DAY)
    assert strange.exists(), "nor does the record's own age alone"
    house.delivery.drop_expired(house.wall)
    assert not strange.exists()


def test_an_original_whose_job_the_record_gave_up_is_as_one_that_it_does_not_know(house: House) -> None:
    """A copy of the record from before the end, and the result taken away since: nothing tells when it ended."""
    house.wait(100 * DAY)
    house.jobs.passed()
    guest = house.bring("good", "put away")
    os.utime(house.places.kept / guest.id, (house.wall, house.wall))
    house.jobs.place([Placement(guest.id, State.ABANDONED, guest.name, {})])
    assert house.jobs.ended(guest.id) is None
    house.delivery.drop_expired(house.wall)
    assert on_shelf(house.places.kept) == {guest.id}


def test_one_original_that_cannot_be_removed_keeps_no_other(house: House) -> None:
    guests = [house.bring(name, "cleaned") for name in ("good", "better")]

    def stuck(operation: str, path: Path, *_: Path) -> None:
        if operation == "remove_tree" and path.name == guests[0].id:
            raise RecursionError("too deep")

    house.wait(8 * DAY)
    fsops.observer = stuck
    try:
        house.delivery.drop_expired(house.wall)
    finally:
        fsops.observer = None
    assert on_shelf(house.places.kept) == {guests[0].id}
