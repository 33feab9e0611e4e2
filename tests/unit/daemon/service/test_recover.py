"""A start on an old or empty record: every job goes on from where its folders stand."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from meshdrop.daemon.base import fsops
from meshdrop.daemon.base.share import create_root
from meshdrop.daemon.outbox import evidence
from meshdrop.daemon.outbox.receipts import read_shared
from meshdrop.db.states import LIVE, State
from tests.house import WAY, House


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    made = House(tmp_path / "scans")
    made.open()
    made.recover()
    yield made
    made.close()


def reopen(house: House) -> None:
    """Another start."""
    house.close()
    house.open()
    house.recover()


def lose(house: House, *, copies: bool) -> None:
    """The record is gone, and its copies too."""
    house.close()
    for file in house.places.state.glob("meshdrop.db*"):
        file.unlink()
    if copies:
        shutil.rmtree(house.places.backups)
        house.places.backups.mkdir()
    house.open()
    house.recover()


def guests_everywhere(house: House) -> None:
    """One good and one bad capture at every place of their way, and of the published ones some were taken away."""
    for place in WAY:
        for good in (True, False):
            if good or place != "running":
                guest = house.bring(f"{place} {good}", place, good=good)
                if WAY.index(place) >= WAY.index("published"):
                    house.take_away(house.bring(f"{place} {good} taken", place, good=good))
                assert guest.at == place


def test_a_crash_at_any_place_is_no_reason_to_doubt_the_record(house: House) -> None:
    guests_everywhere(house)
    rows = {job.id: job.state for job in house.jobs.live()}
    reopen(house)
    moved = {job.id for job in house.jobs.live() if rows.get(job.id) is not job.state}
    staged = {guest.id for guest in house.guests if guest.at == "staged"}
    assert moved == staged  # the marker stands there already: they are published, not measured again
    assert house.complaints() == []


def test_without_any_record_everything_is_accounted_for_exactly_once(house: House) -> None:
    guests_everywhere(house)
    lose(house, copies=True)
    assert house.complaints() == []


@pytest.mark.parametrize("then", WAY)
def test_a_copy_of_any_earlier_time_loses_nothing_and_doubles_nothing(house: House, then: str) -> None:
    """Every place in the copy x every later place on disk."""
    for now in WAY[WAY.index(then) :]:
        for good in (True, False):
            if good or "running" not in (then, now):
                house.bring(f"{now} {good}", then, good=good)
                if WAY.index(now) >= WAY.index("published"):
                    house.bring(f"{now} {good} taken", then, good=good)
    house.database.backup(house.places.backups)
    for guest in house.guests:
        house.lead(guest, guest.name.decode().rsplit(" True")[0].rsplit(" False")[0])
        if guest.name.endswith(b"taken"):
            house.take_away(guest)
    lose(house, copies=False)
    assert house.complaints() == []


def test_the_state_folder_may_be_lost_as_a_whole(house: House) -> None:
    """Then only the originals in the spool and the receipts on the shelves tell."""
    for place in WAY:
        house.bring(place, place)
    house.close()
    shutil.rmtree(house.places.state)
    create_root(house.places)
    house.open()
    house.recover()
    house.finish()
    published = house.publications()
    assert set(published.values()) == {1}
    assert len(published) == len([place for place in WAY if WAY.index(place) >= WAY.index("published")])
    assert len([job for job in house.jobs.live() if job.state is State.CLAIMING]) == WAY.index("published")


def test_two_folders_of_one_name_are_both_taken_up_again(house: House) -> None:
    first, second = house.bring("chair", "running"), house.bring("chair", "decided")
    lose(house, copies=True)
    names = {job.id: job.name for job in house.jobs.live()}
    assert set(names.values()) == {b"chair", b"chair__" + max(first.id, second.id)[:8].encode()}
    assert house.complaints() == []


def test_a_result_under_another_name_keeps_its_mark_to_itself(house: House) -> None:
    """Published as chair__ID because chair was taken: what its marker remembers is the first choice."""
    house.bring("chair", "cleaned")
    second = house.bring("chair", "promised")
    mark = (house.places.outbox / "chair.done").read_text()
    house.delivery.publish(house.jobs.get(second.id))
    second.at = "published"
    lose(house, copies=True)
    house.finish()
    assert (house.places.outbox / "chair.done").read_text() == mark
    assert (house.places.outbox / f"chair__{second.id[:8]}.done").read_text().strip() == second.id
    assert house.complaints() == []


def test_a_result_that_was_taken_away_puts_no_mark_on_the_next_of_its_name(house: House) -> None:
    first = house.bring("chair", "published")
    house.take_away(first)
    (house.places.outbox / "chair").mkdir()
    lose(house, copies=True)
    house.finish()
    assert not (house.places.outbox / "chair.done").exists()
    assert house.complaints() == []


def test_the_history_comes_back_from_the_receipts(house: House) -> None:
    good, bad = house.bring("chair", "cleaned"), house.bring("table", "cleaned", good=False)
    (house.places.outbox / "chair" / "report.json").write_text(json.dumps({"verdict": "normal", "best": "ball"}))
    lose(house, copies=True)
    chair, table = house.jobs.get(good.id), house.jobs.get(bad.id)
    assert (chair.state, chair.name, chair.verdict, chair.best_model) == (State.DONE_CLEAN, b"chair", "normal", "ball")
    assert (table.state, table.dest, table.reason_code) == (State.FAILED_CLEAN, b"table", "capture")
    assert [job.id for job in house.jobs.recent(10)] in ([good.id, bad.id], [bad.id, good.id])


def test_the_history_of_a_job_that_is_put_elsewhere_stays(house: House) -> None:
    guest = house.bring("chair", "running")
    house.database.backup(house.places.backups)
    house.lead(guest, "published")
    lose(house, copies=False)
    with house.database._sessions() as session:
        from meshdrop.db.records import events_of  # noqa: PLC0415

        kinds = [event.kind for event in events_of(session, guest.id)]
    assert kinds == ["claiming", "queued", "started", "restored"]


@pytest.mark.parametrize("lost", [False, True])
def test_a_word_on_the_share_counts_only_when_the_record_is_lost(house: House, lost: bool) -> None:
    """Somebody at the share writes a receipt for a job that still runs."""
    guest = house.bring("chair", "running")
    (house.places.outbox / "forged").mkdir()
    (house.places.outbox / "forged" / "receipt.json").write_text(json.dumps({"job": guest.id, "name": "chair"}))
    if lost:
        lose(house, copies=True)
    else:
        reopen(house)
    assert (house.jobs.get(guest.id).state is State.RUNNING) is not lost


@pytest.mark.parametrize("content", [b"", b"[" * 100_000, b'{"job": 7}', b'{"job": "../../x"}', b"\xff\xfe", b"[]"])
def test_receipts_that_are_none_are_no_reason_to_stop(house: House, content: bytes) -> None:
    house.bring("chair", "running")
    (house.places.failed / "odd").mkdir()
    (house.places.failed / "odd" / "receipt.json").write_bytes(content)
    (house.places.failed / "link").symlink_to(house.places.failed / "odd")
    (house.places.outbox / "pipe").mkdir()
    (house.places.outbox / "pipe" / "receipt.json").symlink_to("/dev/zero")
    lose(house, copies=True)
    assert [job.state in LIVE for job in house.jobs.live()] == [True]


LIES: dict[str, dict[str, object]] = {
    "half a surrogate pair": {"name": "chair \ud800"},
    "bytes that are no text": {"name": "chair \udcff"},
    "a zero byte": {"name": "a\0b"},
    "a way out": {"name": "../../etc/passwd"},
    "a way": {"name": "a/b/c"},
    "a rig": {"name": "@rig1/chair"},
    "a rig without a folder": {"name": "@rig1/"},
    "dots": {"name": ".."},
    "endless": {"name": "a" * 100_000},
    "no name": {"name": 7},
}


@pytest.mark.parametrize("lie", LIES)
@pytest.mark.parametrize("at", [0.0, -1e9, 2e11])
def test_a_receipt_that_lies_neither_stops_a_start_nor_spoils_the_record(house: House, lie: str, at: float) -> None:
    """The record is lost, and somebody at the share wrote receipts and reports with odd values."""
    guest = house.bring("chair", "decided")
    for shelf in (house.places.outbox, house.places.failed):
        odd = shelf / "odd"
        odd.mkdir()
        job = f"{'0' if shelf == house.places.outbox else '1'}" * 32
        (odd / "receipt.json").write_text(json.dumps({"job": job, **LIES[lie]}))
        odd_text = "\ud800\0 odd"
        told = {"verdict": "normal", "best": odd_text, "code": odd_text, "reason": odd_text}
        for file in ("report.json", "failure.json"):
            (odd / file).write_text(json.dumps(told))
        os.utime(odd / "receipt.json", (at, at))
    lose(house, copies=True)
    reopen(house)
    house.database.check()
    assert house.jobs.get(guest.id).state in LIVE
    assert not (house.places.state / "corrupt").exists() or len(list((house.places.state / "corrupt").iterdir())) == 1


def test_one_receipt_that_cannot_be_taken_in_keeps_no_other(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    guests = [house.bring(name, "cleaned") for name in ("chair", "table")]

    def bewitched(path: Path) -> dict[str, Any]:
        if path.parent.name == "chair":
            raise KeyError("no such key")
        return read_shared(path)

    monkeypatch.setattr(evidence, "read_shared", bewitched)
    lose(house, copies=True)
    assert house.jobs.find(guests[0].id) is None
    assert house.jobs.get(guests[1].id).state is State.DONE_CLEAN


def test_what_cannot_be_swept_away_keeps_no_start(house: House) -> None:
    (house.places.staging / "odd").mkdir()
    guest = house.bring("chair", "claimed")

    def stuck(operation: str, path: Path, *_: Path) -> None:
        if operation == "remove_tree" and path.name == "odd":
            raise PermissionError(errno.EPERM, "Operation not permitted", str(path))

    fsops.observer = stuck
    try:
        reopen(house)
    finally:
        fsops.observer = None
    assert (house.places.staging / "odd").exists()
    assert house.jobs.get(guest.id).state is State.CLAIMING


def test_a_copy_put_in_place_by_hand_is_compared_too(house: House) -> None:
    guest = house.bring("chair", "decided")
    copy = house.database.backup(house.places.backups)
    house.lead(guest, "cleaned")
    house.close()
    for file in house.places.state.glob("meshdrop.db*"):
        file.unlink()
    shutil.copyfile(copy, house.places.database)
    house.open()
    house.recover()
    assert house.jobs.get(guest.id).state is State.DONE_CLEAN
    assert house.complaints() == []
