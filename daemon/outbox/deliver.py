"""Staging, receipt, one rename into outbox/ or failed/, then the cleaning up: steps D1-D5 and F1-F5."""

from __future__ import annotations

import contextlib
import errno
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from meshdrop.daemon.base import fsops
from meshdrop.daemon.base.crash import crashpoint
from meshdrop.daemon.base.log import get_logger
from meshdrop.daemon.base.places import fold, publishable, shown, with_suffix
from meshdrop.daemon.base.repeats import Repeats
from meshdrop.daemon.base.settings import Settings, days_kept
from meshdrop.daemon.base.share import Share
from meshdrop.daemon.outbox.bundle import failure_bundle, is_movable, result_bundle
from meshdrop.daemon.workers.trouble import is_the_machines, told
from meshdrop.db.engine import DatabaseDamaged, RecordUnavailable
from meshdrop.db.jobs import Jobs
from meshdrop.db.records import Job
from meshdrop.db.states import State
from meshdrop.models.files import walk

log = get_logger()

MARKER = "DELIVERING"
_DAY_S = 86_400.0


@dataclass(frozen=True)
class Delivery:
    """Publishes finished jobs. Every method may be called again after a crash at any point inside it."""

    share: Share
    jobs: Jobs
    settings: Settings
    _said: Repeats = field(default_factory=Repeats)

    def stage_results(self, job: Job, verdict: str, best_model: str) -> Job:
        """D1, D2: the whole result stands flushed in staging before the record says that it is to be published."""
        (self.share.places.attempt(job.id, job.attempt) / "report.json").stat()  # without it the disk is away
        self._stage(job, State.DELIVERING, {"verdict": verdict, "best_model": best_model})
        job = self.jobs.deliver(job.id, publishable(job.name), verdict, best_model)
        crashpoint("D2")
        return job

    def stage_failure(self, job: Job, trouble: str = "", *, bare: bool = False) -> Job:
        """F1, F2: the same for a bundle that goes to failed/; after ``trouble`` there is less in it."""
        facts = {"reason_code": job.reason_code, "reason": job.reason}
        self._stage(job, State.FAILING, facts, trouble, bare=bare)
        job = self.jobs.failing(job.id, publishable(job.name))
        crashpoint("F2")
        return job

    def publish(self, job: Job) -> Job:
        """D3, D4 (F3, F4): one rename makes the folder visible; it is judged by state, not by its return value."""
        self.share.check()
        places = self.share.places
        staged = places.staging / job.id
        shelf = self._shelf(job)
        # Staging gone means published, even if a consumer has already taken the folder away.
        while self.share.holds(staged):
            target = shelf / os.fsdecode(job.dest or b"_")
            old_mark = shelf / f"{target.name}.done"
            if walk.is_file(old_mark) and not walk.is_there(target):
                fsops.remove_tree(old_mark)  # of a result that was taken away: it must not vouch for this one
            try:
                _require_own_name(target)
                fsops.rename_new(staged, target)
            except FileExistsError:
                job = self.jobs.redirect(job.id, self._other_name(job, shelf))
        crashpoint("D3a")
        fsops.sync_dir(shelf)
        crashpoint("D3b")
        fsops.sync_dir(places.staging)
        crashpoint("D3")
        job = self.jobs.published(job.id)
        crashpoint("D4")
        log.info("published", job=job.short_id, folder=f"{shelf.name}/{shown(job.dest or b'')}", verdict=job.verdict)
        return job

    def clean(self, job: Job, *, insist: bool = True) -> Job:
        """D5 (F5): the original is archived first, then the working copy goes, then the record says so.

        Without ``insist`` what cannot be put away or removed stays where it is, and the job comes to its rest.
        """
        places = self.share.places
        if job.state is State.DONE:
            self._perhaps(job, insist, self._mark_done, job)
        crashpoint("D4a")
        claimed = places.claimed / job.id
        if self.share.holds(claimed):
            self._perhaps(job, insist, self._put_away, job, claimed)
        crashpoint("D5a")
        fsops.sync_dir(places.claimed)
        self._perhaps(job, insist, fsops.remove_tree, places.work(job.id))
        crashpoint("D5b")
        fsops.sync_dir(places.work(job.id).parent)
        job = self.jobs.cleaned(job.id)
        crashpoint("D5")
        return job

    def put_away_late(self) -> None:
        """Try again with originals that could not be put away when their jobs ended."""
        claimed = self.share.places.claimed
        for name in walk.names(claimed):
            job = self.jobs.find(name)
            if job is None or job.state not in (State.DONE_CLEAN, State.FAILED_CLEAN):
                continue
            # Asked after the state: from then on nobody else moves it. It may have been put away since it was listed,
            # and what was put away must not be taken for an older one.
            if walk.is_there(claimed / name):
                with contextlib.suppress(OSError):
                    self._keep(claimed / name)

    def drop_expired(self, now: float) -> None:
        """Delete kept originals whose days are over, by the record's own count of time. ``now``, in Unix seconds, tells
        only of those that the record does not know: they go when the folder's date and the record's own age agree.

        With ``retain_days = 0`` only those are kept of which the result does not hold everything.
        """
        passed, days = self.jobs.passed(), days_kept(self.settings)
        for name in walk.names(self.share.places.kept):
            folder = self.share.places.kept / name
            try:
                ended = self.jobs.ended(name)
                age = min(passed.total_s, now - walk.lstat(folder).st_mtime)
                if (age if ended is None else passed.since(ended).total_s) > days * _DAY_S:
                    fsops.remove_tree(folder)
            except (RecordUnavailable, DatabaseDamaged):
                raise
            except Exception as error:  # one that cannot be removed must not keep the others
                if self._said.is_worth(name, str(error)):
                    log.warning("an original is kept: it cannot be removed", job=name[:8], reason=str(error))

    # -- steps ----------------------------------------------------------------------------------------------------

    def _stage(
        self, job: Job, state: State, facts: Mapping[str, str | None], trouble: str = "", *, bare: bool = False
    ) -> None:
        """Build the folder, then mark it complete: the marker says enough to publish it should the record be lost."""
        places = self.share.places
        work = places.work(job.id)
        fsops.make_dir_below(work.parent, work, 0o700)
        if walk.is_there(work / MARKER):
            fsops.remove_tree(work / MARKER)
            fsops.sync_dir(work)
        crashpoint("D1b")
        has_original = self.share.holds(places.claimed / job.id)
        if state is State.FAILING:
            bundle = failure_bundle(job, self.jobs.runs(job.id), places, self.settings, trouble, bare=bare)
        else:
            bundle = result_bundle(job, places, self.settings)
        if has_original and bundle.is_without_original(self.settings):
            raise OSError(errno.ESTALE, "was away for a moment", str(places.claimed / job.id))
        bundle.write(places.staging / job.id, job, self.share.check)
        self.share.check()  # what seemed to be missing may only have been away
        crashpoint("D1")
        marker = {
            "state": state,
            "name": job.name.hex(),
            "dest": publishable(job.name).hex(),
            "facts": dict(facts),
            "keep_original": bundle.keep_original,
            "original_follows": bundle.original_follows,
        }
        fsops.write_file(work / MARKER, json.dumps(marker).encode(), 0o600)
        crashpoint("D2a")

    def _perhaps(self, job: Job, insist: bool, step: Callable[..., None], *arguments: Job | Path) -> None:
        """Do a step; without ``insist``, what is this job's own trouble only becomes a line of its history."""
        try:
            step(*arguments)
        except Exception as error:
            if insist or is_the_machines(error, self.share):
                raise
            reason = told(error, self.share.places.root)
            log.warning("left as it is", job=job.short_id, reason=reason)
            self.jobs.note(job.id, "left as it is", reason=reason)

    def _shelf(self, job: Job) -> Path:
        places = self.share.places
        return places.outbox if job.state in (State.DELIVERING, State.DONE) else places.failed

    @staticmethod
    def _other_name(job: Job, shelf: Path) -> bytes:
        # Only a name that nobody could take for another's: else it would be refused and proposed for ever.
        taken = {fold(name) for name in walk.names(shelf)}
        first = with_suffix(publishable(job.name), job.short_id)
        candidate, count = first, 2
        while fold(os.fsdecode(candidate)) in taken:
            candidate, count = first + f"_{count}".encode(), count + 1
        return candidate

    def _mark_done(self, job: Job) -> None:
        """For consumers that must not act before the rename is durable."""
        name = os.fsdecode(job.dest or b"_")
        if self.share.holds(self.share.places.outbox / name):
            with contextlib.suppress(IsADirectoryError):  # a stranger's folder of that name stays
                fsops.write_file(self.share.places.outbox / f"{name}.done", f"{job.id}\n".encode())

    def _put_away(self, job: Job, claimed: Path) -> None:
        places, published = self.share.places, self._shelf(job) / os.fsdecode(job.dest or b"_")
        marked = self._marked(job)
        # As WHY.txt says, whatever has become of the folder since. Of such a one nothing was copied: where what was
        # published of it is gone, this is all there is.
        follows = marked["original_follows"] if "original_follows" in marked else is_movable(job, places, self.settings)
        follows = follows and job.state is State.FAILED
        if follows and self.share.holds(published) and walk.is_folder(published):
            fsops.rename_new(claimed, published / "capture")
            fsops.sync_dir(published)
        elif follows or self.settings.retain_days > 0 or marked.get("keep_original"):
            self._keep(claimed)
        else:
            fsops.remove_tree(claimed)

    def _keep(self, claimed: Path) -> None:
        kept = self.share.places.kept / claimed.name
        fsops.remove_tree(kept)
        fsops.rename_new(claimed, kept)
        with walk.parent_of(kept) as (parent, name):  # for whoever asks the folder's date
            os.utime(name, dir_fd=parent, follow_symlinks=False)  # without times this needs no ownership
        fsops.sync_dir(kept.parent)

    def _marked(self, job: Job) -> Mapping[str, Any]:
        """What the marker says of the folder that was published; nothing when it is lost. ``keep_original``: something
        of the original is not in there."""
        try:
            told: dict[str, Any] = json.loads((self.share.places.work(job.id) / MARKER).read_bytes())
        except FileNotFoundError:
            return {}
        return told


def _require_own_name(target: Path) -> None:
    """Raise ``FileExistsError`` when a neighbour's name differs only in case or in how accents are composed: Windows
    and macOS clients would see one folder where there are two.
    """
    folded = fold(target.name)
    if any(fold(name) == folded and name != target.name for name in walk.names(target.parent)):
        raise FileExistsError(errno.EEXIST, "clients cannot tell this name from its neighbour's", str(target))
