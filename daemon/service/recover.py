"""Start-up: put the house in order before new work is taken."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from meshdrop.daemon.base import fsops
from meshdrop.daemon.base.crash import crashpoint
from meshdrop.daemon.base.log import get_logger
from meshdrop.daemon.base.places import with_suffix
from meshdrop.daemon.base.settings import Settings
from meshdrop.daemon.base.share import Share
from meshdrop.daemon.inbox.observe import look
from meshdrop.daemon.outbox.evidence import (
    Published,
    job_folders,
    read_evidence,
    read_marker,
    read_name,
    read_published,
    right_state,
)
from meshdrop.daemon.workers.process import OWNER_KEY
from meshdrop.daemon.workers.strays import kill_marked
from meshdrop.db.jobs import Jobs, Placement
from meshdrop.db.records import Job
from meshdrop.db.states import State
from meshdrop.models.files import walk

log = get_logger()

#: In these states the record does not yet say that a result was complete.
_UNSTAGED = (State.CLAIMING, State.QUEUED, State.RUNNING, State.FAIL_PENDING)


@dataclass(frozen=True)
class Recovery:
    """What a start does between opening the record and the first scan."""

    share: Share
    jobs: Jobs
    settings: Settings

    def run(self) -> list[Job]:
        """Make the record say what the folders say, sweep what belongs to no live job; return those to bring forward.

        The same after a crash, a lost record and a copy put in its place, so that each is tested by every crash.
        """
        # Workers of an earlier daemon that outlived it: our lock proves that no other one lives on this state folder.
        kill_marked(OWNER_KEY, str(self.share.places.state))
        self._drop_half_copies()
        self._reconcile()
        self._sweep()
        jobs = self.jobs.live()
        crashpoint("GRAB")
        return jobs

    def _reconcile(self) -> None:
        """Put every job where the folders prove it to be.

        Receipts are read only when there is a doubt: a record that was never compared with the folders, or one that
        they contradict. Otherwise a word on the share changes nothing about a job of ours.
        """
        wrong = self._wrong({})
        if not wrong and self.jobs.are_compared():
            return
        published = read_published(self.share.places)
        wrong = self._wrong(published)
        self.jobs.place([self._placement(job_id, *found, published.get(job_id)) for job_id, found in wrong.items()])
        states = Counter(str(state) for _, state in wrong.values())
        tell = log.warning if wrong else log.info
        tell("the record was compared with the folders", corrected=len(wrong), **states)

    def _wrong(self, published: Mapping[str, Published]) -> dict[str, tuple[Job | None, State]]:
        """Jobs that are not in the state they must have: the row there is, and that state."""
        places, keeping = self.share.places, self.settings.retain_days > 0
        rows: dict[str, Job | None] = {job.id: job for job in self.jobs.live()}
        found: dict[str, tuple[Job | None, State]] = {}
        for job_id in sorted(rows.keys() | job_folders(places) | published.keys()):
            row = rows[job_id] if job_id in rows else self.jobs.find(job_id)
            old = None if row is None else row.state
            evidence = read_evidence(places, job_id, keeping=keeping, published=published.get(job_id))
            if (new := right_state(old, evidence)) is not None and new is not old:
                found[job_id] = row, new
        return found

    def _placement(self, job_id: str, row: Job | None, state: State, published: Published | None) -> Placement:
        values: dict[str, Any] = {}
        if state is State.CLAIMING:
            values["fingerprint"] = self._fingerprint(job_id)
        elif state is not State.ABANDONED:
            values = self._how_it_ended(job_id, row, published)
        name = values.pop("name", None) or read_name(self.share.places, job_id)
        return Placement(job_id, state, name, values)

    def _how_it_ended(self, job_id: str, row: Job | None, published: Published | None) -> dict[str, Any]:
        """What the marker and the receipt tell of a job that was staged or published."""
        marker = read_marker(self.share.places, job_id)
        values: dict[str, Any] = {}
        if marker is not None:
            values = {**marker.facts, "name": marker.name, "dest": (row and row.dest) or marker.dest}
        if published is not None:
            known = {key: value for key, value in published.facts.items() if value is not None}
            values = {"name": published.name, "finished_at": published.at, **known, **values, "dest": published.dest}
        elif marker is not None and not self.share.holds(self.share.places.staging / job_id):
            # Published and taken away since: a folder that has its name now is not its own, and gets no mark from it.
            values["dest"] = with_suffix(values["dest"], job_id[:8])
        return values

    def _fingerprint(self, job_id: str) -> str:
        """What the folder looks like now; nothing when it cannot be read, which its own turn will tell."""
        try:
            return look(self.share.places.claimed / job_id, self.settings.limits, closely=False).fingerprint
        except OSError:
            return ""

    def _sweep(self) -> None:
        """Staging and work entries without a live job are ours alone and hold nothing that is not elsewhere."""
        places = self.share.places
        live = {job.id for job in self.jobs.live()}
        for shelf in (places.staging, places.state / "work"):
            for name in walk.names(shelf):
                if name not in live:
                    self._sweep_away(shelf / name)

    @staticmethod
    def _sweep_away(folder: Path) -> None:
        try:
            fsops.remove_tree(folder)
        except FileNotFoundError:
            raise  # the disk is away
        except OSError as error:  # what nobody needs any more must not keep the service from its work
            log.warning("a folder of the service cannot be removed", folder=str(folder), reason=str(error))

    def _drop_half_copies(self) -> None:
        """What was being staged is built anew; until then it may be what fills the disk, so it goes before anything is
        written.
        """
        places = self.share.places
        for job in self.jobs.live():
            staged = places.staging / job.id
            if job.state in _UNSTAGED and walk.is_there(staged) and read_marker(places, job.id) is None:
                fsops.remove_tree(staged)
