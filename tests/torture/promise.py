"""What must hold: each accepted capture in exactly one place, whole, unchanged; nothing half-visible; all at rest.

Accepted means: the folder has left ``inbox/`` in the eyes of somebody who looks. One that has not may be damaged by a
power cut like any file that its writer never flushed; even then it must not be in two places.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from meshdrop.db.states import State
from tests.rig import Rig, assert_whole, contents

_REST = frozenset({State.DONE_CLEAN, State.FAILED_CLEAN, State.ABANDONED})


@dataclass(frozen=True)
class Sight:
    """What somebody at the share saw at one moment: job ids of published folders by "shelf/name"."""

    inbox: frozenset[str]
    published: Mapping[str, str]
    vouched: frozenset[str]

    def accepted(self, captures: Mapping[str, Path]) -> frozenset[str]:
        """The dropped captures that have left the inbox."""
        return frozenset(captures) - self.inbox


def look(rig: Rig) -> Sight:
    """See what is there; raises ``AssertionError`` when something published is not whole."""
    published = {}
    for shelf in (rig.places.outbox, rig.places.failed):
        for folder in shelf.iterdir():
            if folder.is_dir() and not folder.name.startswith("."):
                published[f"{shelf.name}/{folder.name}"] = job_of(folder)
    vouched = frozenset(mark.name.removesuffix(".done") for mark in rig.places.outbox.glob("*.done"))
    return Sight(frozenset(os.listdir(rig.places.inbox)), published, vouched)


def job_of(folder: Path) -> str:
    """The job id of a published folder, which must be whole."""
    try:
        assert_whole(folder)
        return str(json.loads((folder / "receipt.json").read_text())["job"])
    except (OSError, ValueError) as error:
        raise AssertionError(f"{folder} is visible but not whole: {error}") from error


def all_out(rig: Rig) -> bool:
    """Whether both captures lie on a shelf and nothing is left in the private folders."""
    private = (rig.places.claimed, rig.places.staging, rig.places.state / "work")
    return len(look(rig).published) == 2 and not any(os.listdir(folder) for folder in private)


def check_after_power_up(before: Sight, after: Sight) -> None:
    """A result may vanish and come again between its rename and the flush; one with its ``.done`` may not."""
    for name in before.vouched:
        assert f"outbox/{name}" in after.published, f"{name}.done was there, and the power cut took its result"
    for name in after.vouched:
        assert f"outbox/{name}" in after.published, f"{name}.done vouches for a result that is not there"


def check_at_rest(rig: Rig, captures: Mapping[str, Path], before: Sight) -> None:
    """After recovery. ``captures`` are named after the shelf they belong on; ``before`` is the moment of the crash."""
    sight, accepted = look(rig), before.accepted(captures)
    for folder in (rig.places.claimed, rig.places.staging, rig.places.state / "work"):
        assert os.listdir(folder) == [], f"{folder.name}/ still holds {os.listdir(folder)}"
    places = Counter(sight.inbox & set(captures))
    for path in sight.published:
        places[path.partition("/")[2].partition("__")[0]] += 1
    for name, capture in captures.items():
        if name not in accepted:
            assert places[name] <= 1, f"{name} was never accepted, and is now in {places[name]} places: {sight}"
            continue
        assert places[name] == 1, f"{name} was accepted, and is now in {places[name]} places: {sight}"
        found = [path for path in sight.published if path.partition("__")[0] == f"{name}/{name}"]
        assert found, f"{name} was accepted, and ended elsewhere: {sight}"
        _check_delivered(rig, found[0], capture, sight.published[found[0]])
    for path, job in before.published.items():
        assert sight.published.get(path) == job, f"{path} was published by {job}: now {sight.published.get(path)}"
    _check_record(rig, sight)


def check_taken(rig: Rig, table: Path, captures: Mapping[str, Path], accepted: frozenset[str], *, cut: bool) -> None:
    """After recovery, with a consumer who moved every result to ``table`` at once.

    Each accepted capture was taken exactly once. A power cut may undo a rename that was not flushed yet: then the same
    job may come twice, never another one.
    """
    assert not look(rig).published, f"still on the shelves: {look(rig).published}"
    jobs: dict[str, list[str]] = {name: [] for name in captures}
    for folder in table.iterdir():
        shelf, name, _ = folder.name.split("-")
        assert shelf == name, f"{name} came by {shelf}/"
        jobs[name].append(job_of(folder))
        if name in accepted:
            assert contents(folder / "capture") == contents(captures[name]), f"{name}: not the capture that went in"
    for name, ids in jobs.items():
        assert len(set(ids)) == 1 or (name not in accepted and not ids), f"{name} came as the jobs {ids}"
        assert len(ids) == 1 or cut or name not in accepted, f"{name} came {len(ids)} times"
    for folder in (rig.places.claimed, rig.places.staging, rig.places.state / "work"):
        assert os.listdir(folder) == [], f"{folder.name}/ still holds {os.listdir(folder)}"
    assert all(job.state in _REST for job in rig.jobs())


def _check_delivered(rig: Rig, path: str, capture: Path, job: str) -> None:
    original = contents(capture)
    assert contents(rig.root / path / "capture") == original, f"{path}: the capture is not the one that went in"
    assert contents(rig.places.kept / job) == original, f"{path}: the kept original is not the one that went in"
    if path.startswith("outbox/"):
        mark = rig.root / f"{path}.done"
        assert mark.is_file(), f"{mark.name} never came"
        assert mark.read_text().strip() == job, f"{mark.name} says {mark.read_bytes()!r}, the receipt {job}"


def _check_record(rig: Rig, sight: Sight) -> None:
    jobs = rig.jobs()
    assert all(job.state in _REST for job in jobs), [job.state for job in jobs]
    done = sorted(job.id for job in jobs if job.state is not State.ABANDONED)
    assert done == sorted(sight.published.values()), f"the record has {done}, the shelves {sight.published}"
