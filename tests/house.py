"""A root whose jobs stand wherever a crash may leave them, made by the real steps of delivery without any model."""

from __future__ import annotations

import json
import os
import shutil
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from meshdrop.daemon.base import fsops
from meshdrop.daemon.base.record import open_record
from meshdrop.daemon.base.settings import Settings, load
from meshdrop.daemon.base.share import Share, create_root, open_share
from meshdrop.daemon.outbox.deliver import Delivery
from meshdrop.daemon.service.recover import Recovery
from meshdrop.db.clocks import ClockReading
from meshdrop.db.engine import Database
from meshdrop.db.jobs import Jobs
from meshdrop.db.states import State

#: The places on a good job's way where it may be left, in order; a bad one passes the same without `running`.
WAY = ("claimed", "copied", "decided", "running", "staged", "promised", "published", "done", "put away", "cleaned")
UNPUBLISHED = {State.CLAIMING, State.QUEUED, State.RUNNING, State.FAIL_PENDING}


@dataclass
class Guest:
    """One capture on its way. ``at`` is where it stands; ``taken`` when somebody took the published folder away."""

    name: bytes
    id: str
    good: bool
    at: str = ""
    taken: bool = False
    steps: Iterator[str] = field(default_factory=lambda: iter(()))

    @property
    def is_staged(self) -> bool:
        """Whether its result was once complete: from then on it is published exactly once, without new work."""
        return WAY.index(self.at) >= WAY.index("staged")


class House:
    """A root, its open record, and the captures in it."""

    def __init__(self, root: Path) -> None:
        root.mkdir(exist_ok=True)
        self.settings: Settings = load(root)
        self.places = self.settings.places
        create_root(self.places)
        self.share: Share = open_share(self.places)
        self.guests: list[Guest] = []
        self.database: Database
        self.jobs: Jobs
        self.delivery: Delivery
        self._is_open = False
        self.boot, self.since_boot_s, self.wall, self.steered = "first", 1000.0, 1_795_000_000.0, True

    def clocks(self) -> ClockReading:
        """The machine's clocks, which move only by hand."""
        return ClockReading(self.boot, self.since_boot_s, self.wall, self.steered)

    def wait(self, seconds: float) -> None:
        """Time passes while the machine runs."""
        self.since_boot_s, self.wall = self.since_boot_s + seconds, self.wall + seconds

    def open(self) -> None:
        """Open the record as a start does."""
        self.database = open_record(self.places)
        self._is_open = True
        self.jobs = Jobs(self.database, clocks=self.clocks)
        self.delivery = Delivery(self.share, self.jobs, self.settings)

    def close(self) -> None:
        """Close the record, if it is open."""
        if self._is_open:
            self.database.close()
        self._is_open = False

    def recover(self) -> None:
        """What a start does after that."""
        Recovery(self.share, self.jobs, self.settings).run()

    def bring(self, name: str, at: str, *, good: bool = True) -> Guest:
        """A new capture, brought as far as ``at``."""
        job = self.jobs.claim(name.encode(), "f")
        guest = Guest(job.name, job.id, good)
        guest.steps = self._way(guest)
        self.guests.append(guest)
        self.lead(guest, at)
        return guest

    def lead(self, guest: Guest, at: str) -> None:
        """Bring a capture further."""
        while guest.at != at:
            guest.at = next(guest.steps)

    def take_away(self, guest: Guest) -> None:
        """Somebody at the share takes the published folder and its mark."""
        shutil.rmtree(self._shelf(guest) / os.fsdecode(guest.name))
        fsops.remove_tree(self._shelf(guest) / f"{os.fsdecode(guest.name)}.done")
        guest.taken = True

    def _shelf(self, guest: Guest) -> Path:
        return self.places.outbox if guest.good else self.places.failed

    def _way(self, guest: Guest) -> Iterator[str]:
        places, job_id = self.places, guest.id
        claimed = places.claimed / job_id
        (claimed / "views").mkdir(parents=True)
        (claimed / "views" / "view_00.png").write_bytes(guest.name)
        yield "claimed"
        shutil.copytree(claimed, places.capture(job_id))
        identity = {"id": job_id, "name": guest.name.hex(), "fingerprint": "f", "created_at": 1.0}
        (places.work(job_id) / "job.json").write_text(json.dumps(identity))
        yield "copied"
        if guest.good:
            self.jobs.queue(job_id, "d", {"ok": True}, None, 0)
        else:
            self.jobs.reject(job_id, "capture", "views/view_00.png: broken", {"ok": False, "problems": []})
        yield "decided"
        if guest.good:
            self.jobs.start(job_id, "boot")
            yield "running"
        self._stage_without_record(guest)
        yield "staged"
        if guest.good:
            self.jobs.deliver(job_id, guest.name, "normal", "ball")
        else:
            self.jobs.failing(job_id, guest.name)
        yield "promised"
        fsops.rename_new(places.staging / job_id, self._shelf(guest) / os.fsdecode(guest.name))
        yield "published"
        self.jobs.published(job_id)
        yield "done"
        if guest.good:
            self.delivery._mark_done(self.jobs.get(job_id))
        self.delivery._put_away(self.jobs.get(job_id), claimed)
        yield "put away"
        fsops.remove_tree(places.work(job_id))
        self.jobs.cleaned(job_id)
        yield "cleaned"

    def _stage_without_record(self, guest: Guest) -> None:
        facts = {"verdict": "normal", "best_model": "ball"} if guest.good else {"reason_code": "capture", "reason": "b"}
        state = State.DELIVERING if guest.good else State.FAILING
        self.delivery._stage(self.jobs.get(guest.id), state, facts)

    # -- what must hold ---------------------------------------------------------------------------------------------

    def finish(self) -> None:
        """Publish and clean whatever needs no new work."""
        for job in self.jobs.live():
            if job.state in UNPUBLISHED:
                continue
            step = job if job.state in (State.DONE, State.FAILED) else self.delivery.publish(job)
            self.delivery.clean(step)

    def publications(self) -> Counter[str]:
        """How often each job was published: what lies on the shelves, and what was taken from there."""
        seen = Counter(guest.id for guest in self.guests if guest.taken)
        for shelf in (self.places.outbox, self.places.failed):
            for receipt in shelf.glob("*/receipt.json"):
                seen[json.loads(receipt.read_text())["job"]] += 1
        return seen

    def complaints(self) -> list[str]:
        """What is wrong after a start on an old or empty record; finishes what can be finished."""
        self.finish()
        published, live = self.publications(), {job.id: job for job in self.jobs.live()}
        told: list[str] = []
        for guest in self.guests:
            wanted = int(guest.is_staged)
            if published[guest.id] != wanted:
                told.append(f"{guest.name!r} ({guest.at}) was published {published[guest.id]} times, not {wanted}")
            is_there = (self.places.claimed / guest.id).is_dir()
            waits = guest.id in live and live[guest.id].state in UNPUBLISHED
            if waits and live[guest.id].state is State.CLAIMING and not is_there:
                waits = False  # given up by the first step of reading it
            if waits is guest.is_staged:
                told.append(f"{guest.name!r} ({guest.at}) is {live.get(guest.id)}")
            if not guest.is_staged and not is_there:
                told.append(f"the original of {guest.name!r} ({guest.at}) is lost")
        strangers = set(live) - {guest.id for guest in self.guests}
        return told + [f"there is a job that nobody brought: {live[one]}" for one in sorted(strangers)]
