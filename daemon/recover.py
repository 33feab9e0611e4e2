"""Start-up: put the house in order before new work is taken."""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from daemon import fsops
from daemon.crash import crashpoint
from daemon.deliver import MARKER
from daemon.log import get_logger
from daemon.look import look
from daemon.process import OWNER_KEY, kill_marked
from daemon.settings import Settings
from daemon.share import Share
from db.jobs import Jobs
from db.records import Job
from db.states import LIVE, State

log = get_logger()

_JOB_ID = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True)
class Recovery:
    """What a start does between opening the record and the first scan."""

    share: Share
    jobs: Jobs
    settings: Settings

    def run(self) -> list[Job]:
        """Adopt folders nobody knows of, sweep what belongs to no live job; return the jobs to bring forward."""
        # Workers of an earlier daemon that outlived it: our lock proves that no other one lives on this state folder.
        kill_marked(OWNER_KEY, str(self.share.places.state))
        self._adopt_claimed()
        self._sweep()
        jobs = self.jobs.live()
        crashpoint("GRAB")
        return jobs

    def _adopt_claimed(self) -> None:
        """Folders in claimed/ without a live row: a claim that was given up half-way, or a lost record."""
        for folder in sorted(self.share.places.claimed.iterdir()):
            if not _JOB_ID.fullmatch(folder.name):
                continue
            job = self.jobs.find(folder.name)
            if job is not None and job.state in LIVE:
                continue
            fingerprint = self._fingerprint(folder)
            if job is None and (marker := self._marker(folder.name)) is not None:
                self.jobs.restore(
                    folder.name, bytes.fromhex(marker["name"]), State(marker["state"]), bytes.fromhex(marker["dest"]),
                    marker["facts"],
                )
            elif job is None:
                self.jobs.claim(_name_of(self.share, folder), fingerprint, job_id=folder.name)
            elif job.state is State.ABANDONED:
                self.jobs.adopt(job.id, fingerprint)
            else:
                continue  # at rest with its original still here: an older version's leftover, kept
            log.warning("adopted", job=folder.name[:8])

    def _fingerprint(self, folder: Path) -> str:
        """What the folder looks like now; nothing when it cannot be read, which its own turn will tell."""
        try:
            return look(folder, self.settings.limits, closely=False).fingerprint
        except OSError:
            return ""

    def _marker(self, job_id: str) -> dict[str, Any] | None:
        """What delivery noted beside a staged folder: it is complete, or already published when staging is empty."""
        try:
            marker = json.loads((self.share.places.work(job_id) / MARKER).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return marker if isinstance(marker, dict) else None

    def _sweep(self) -> None:
        """Staging and work entries without a live job are ours alone and hold nothing that is not elsewhere."""
        places = self.share.places
        live = {job.id for job in self.jobs.live()}
        for folder in [*places.staging.iterdir(), *(places.state / "work").iterdir()]:
            if folder.name not in live:
                fsops.remove_tree(folder)


def _name_of(share: Share, folder: Path) -> bytes:
    """The name under which an adopted folder was dropped, from its job.json; its id when that is lost too."""
    try:
        text = (share.places.work(folder.name) / "job.json").read_text(encoding="utf-8")
        found = re.search(r'"name": "([0-9a-f]+)"', text)
        return bytes.fromhex(found.group(1)) if found else os.fsencode(f"recovered-{folder.name[:8]}")
    except OSError:
        return os.fsencode(f"recovered-{folder.name[:8]}")
