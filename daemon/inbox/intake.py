"""From a complete folder to a queued job: steps I2 to I6 of docs/architecture.md, in exactly that order."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

from meshdrop.daemon.base import fsops
from meshdrop.daemon.base.crash import crashpoint
from meshdrop.daemon.base.errors import Stopping
from meshdrop.daemon.base.failures import FAILURES
from meshdrop.daemon.base.log import get_logger
from meshdrop.daemon.base.places import shown
from meshdrop.daemon.base.rigs import RigShelf
from meshdrop.daemon.base.settings import Settings, days_kept
from meshdrop.daemon.base.share import Share
from meshdrop.daemon.base.tries import MAX_INGEST_TRIES
from meshdrop.daemon.inbox.observe import look, read_contents
from meshdrop.daemon.inbox.scanner import Candidate
from meshdrop.daemon.inbox.settle import Snapshot, Window, judge
from meshdrop.daemon.outbox.beside import lies_beside
from meshdrop.daemon.workers.process import TimeLimits, WorkerProcess, home_of, run_to_end, worker_request
from meshdrop.db.jobs import Jobs, NameBeingClaimed
from meshdrop.db.records import Job
from meshdrop.models.capture.rig_profile import FILE as RIG_FILE
from meshdrop.models.capture.rig_profile import Rigs, rig_of
from meshdrop.models.contract.registry import known
from meshdrop.models.files import walk
from meshdrop.models.files.entries import take_facts
from meshdrop.models.files.problem import CaptureError, Problem, told_once
from meshdrop.models.files.walk import LinkInTheWay

log = get_logger()

#: "Not yet": somebody holds the folder, or it may not be moved now. Waited for, never failed.
_BUSY = frozenset({errno.EBUSY, errno.ETXTBSY, errno.EEXIST, errno.ENOTEMPTY})
_NOT_ALLOWED = frozenset({errno.EACCES, errno.EPERM})
#: The kernel lets nobody move a directory that he may not write to into another parent.
_NOT_MOVABLE = (
    "all files are there, but the service may not move this folder: give its user write permission on it "
    "(Samba: force user; locally: chmod -R g+w)"
)
_NO_FOLDER = Problem(
    "not_regular",
    None,
    "The folder was replaced by something else (a link or a file) while it was being taken.",
    "Copy the capture into the inbox again, as a folder with all its files in it.",
)
_FOREVER = float("inf")
#: Address space of the process that reads strangers' files.
_READER_MEMORY_MIB = 6144


class NotYet(Exception):
    """A complete folder cannot be taken now; the message says why, for people at the share."""


@dataclass(frozen=True)
class Intake:
    """Takes folders and reads them. ``stopping`` tells whether the daemon was asked to end, ``network`` whether the
    share is on a network file system."""

    share: Share
    jobs: Jobs
    settings: Settings
    window: Window
    stopping: Callable[[], bool]
    network: bool = False

    def claim(self, found: Candidate) -> Job | None:
        """Take one folder out of the inbox (I2 to I4). None when it moved on meanwhile; the next scan sees it again.

        Raises ``NotYet`` with the reason when somebody holds the folder or it may not be moved.
        """
        places = self.share.places
        folder = places.inbox / os.fsdecode(found.name)
        self.share.check()
        try:
            if not fsops.is_writable(folder):
                raise NotYet(_NOT_MOVABLE)
            # The move asks for the outermost one only; what could never be emptied would lie in the spool for good.
            if not fsops.may_be_emptied(folder, found.snapshot.folders):
                raise NotYet(_NOT_MOVABLE)
            self._flush(folder, found.snapshot)
            if self._names(folder).fingerprint != found.snapshot.fingerprint:
                return None
        except (FileNotFoundError, LinkInTheWay):
            return None
        except PermissionError as error:
            raise NotYet(f"the service may not read this folder ({error.filename})") from error
        crashpoint("I2")
        try:
            job = self.jobs.claim(found.name, found.snapshot.fingerprint)
        except NameBeingClaimed as error:
            raise NotYet("all files are there; an earlier folder of this name is being read first") from error
        crashpoint("I3")
        try:
            fsops.rename_new(folder, places.claimed / job.id)
        except OSError as error:
            try:
                self.jobs.abandon(job.id, f"not moved: {error.strerror}")
            except OSError:
                return job  # whoever comes to read it finds nothing, and gives it up when the record can be written
            if isinstance(error, FileNotFoundError | LinkInTheWay):
                return None
            if error.errno in _NOT_ALLOWED:
                raise NotYet(_NOT_MOVABLE) from error
            if error.errno in _BUSY:
                raise NotYet(f"all files are there, but the folder is in use ({error.strerror})") from error
            raise
        # Not flushed here: until reading begins, with that flush, a power cut may only undo the move, and then the
        # folder stands in the inbox again, whole, and is taken anew.
        crashpoint("I4a")
        log.info("claimed", job=job.short_id, capture=shown(job.name))
        return job

    def prepare(self, job: Job) -> Job:
        """Copy, check and queue a claimed folder (I5, I6). Returns the job in its next state.

        Raises ``OSError`` and ``ShareUnavailable`` when it cannot be read now: the job stays as it is.
        """
        claimed = self.share.places.claimed / job.id
        if not self.share.holds(claimed):
            return self.jobs.abandon(job.id, "nothing was taken")
        if not walk.is_folder(claimed):  # it was put in the folder's place between our look and the move
            return self._refuse(job, "capture", (_NO_FOLDER,))
        if job.ingest_tries >= MAX_INGEST_TRIES:
            return self.jobs.reject(job.id, "unreadable", FAILURES["unreadable"].says)
        # Counted before anything is read, so that a capture that kills the reader ends here after three times.
        job = self.jobs.read(job.id)
        try:
            return self._read(job, claimed)
        except FileNotFoundError:
            return self._changed(job, claimed)

    def take_up(self, job: Job) -> Job:
        """A claim that was given up, and whose folder could not be put back, is taken up again."""
        held = self.share.holds(self.share.places.claimed / job.id)
        return self.jobs.adopt(job.id, job.fingerprint) if held else job

    def _read(self, job: Job, claimed: Path) -> Job:
        self._flush_claim(job)
        limits = self.settings.limits
        # The profile of the moment of reading holds for this job, whatever is stored under its name later.
        rigs = Rigs(RigShelf(self.share.places.rigs).texts(), rig_of(os.fsdecode(job.name)))
        snapshot = look(claimed, limits, by_opening=self.network, rigs=rigs).settled()
        if snapshot.fingerprint != job.fingerprint:
            return self._changed(job, claimed)
        if snapshot.manifest is not None:
            snapshot = replace(snapshot, contradicted=read_contents(claimed, snapshot, limits).contradicted)
        self.share.check()  # files that could not be opened are taken for missing
        judgement = judge(snapshot, _FOREVER, self.window)
        if judgement.state == "arriving":
            return self._put_back(job)
        if judgement.state == "refuse":
            return self._refuse(job, judgement.code, (*judgement.problems, *self._late(job, judgement.code)))
        try:
            digest = self._copy(job, claimed, snapshot)
        except CaptureError as error:
            return self._refuse(job, "capture", error.problems)
        except fsops.ChangedWhileRead:
            return self._put_back(job)
        if self._names(claimed).fingerprint != job.fingerprint:
            return self._changed(job, claimed)
        crashpoint("I5")
        return self._check_content(job, digest, snapshot)

    def _names(self, folder: Path) -> Snapshot:
        """Names, sizes and times only."""
        return look(folder, self.settings.limits, closely=False, by_opening=self.network)

    # -- claiming -------------------------------------------------------------------------------------------------

    def _flush(self, folder: Path, snapshot: Snapshot) -> None:
        """I2: the rig's own writes reach the disk before we vouch for them."""
        files = (fact.path for fact in snapshot.facts if fact.kind == "file")
        fsops.sync_below(folder, files, reversed(snapshot.folders))

    def _flush_claim(self, job: Job) -> None:
        """The move out of the inbox reaches the disk before anything is built upon it."""
        self._flush_origin(job)
        crashpoint("I4b")
        fsops.sync_dir(self.share.places.claimed)
        crashpoint("I4")

    def _flush_origin(self, job: Job) -> None:
        """The folder that a capture came from: the inbox, or a rig's folder in it, which may be gone by now."""
        inbox = self.share.places.inbox
        origin = (inbox / os.fsdecode(job.name)).parent
        if origin != inbox:
            with contextlib.suppress(FileNotFoundError, NotADirectoryError, LinkInTheWay):
                fsops.sync_dir(origin)
                return
        fsops.sync_dir(inbox)

    def _changed(self, job: Job, claimed: Path) -> Job:
        """Put back a folder that is not what was taken. Raises ``OSError`` when it is, now that one looks again: then
        the share, or the disk of our copy, was away for a moment.
        """
        self.share.check()
        if self._names(claimed).fingerprint == job.fingerprint:
            raise OSError(errno.ESTALE, "the disk was away for a moment", str(claimed))
        self.share.check()
        return self._put_back(job)

    def _put_back(self, job: Job) -> Job:
        """The folder changed after it was taken: back into the inbox, once; the second time it fails."""
        if self.jobs.was_put_back(job.name):
            return self.jobs.reject(job.id, "changed", FAILURES["changed"].says)
        places = self.share.places
        job = self.jobs.abandon(job.id, "changed after it was taken", put_back=True)
        crashpoint("I5r")
        target = places.inbox / os.fsdecode(job.name)
        try:
            if target.parent != places.inbox and not walk.is_there(target.parent):
                fsops.make_dir_below(places.inbox, target.parent)
                fsops.sync_dir(places.inbox)
            fsops.rename_new(places.claimed / job.id, target)
        except (FileExistsError, NotADirectoryError, LinkInTheWay):  # its place is taken, or its rig's folder is none
            return self.jobs.reject(job.id, "changed", FAILURES["changed"].says)
        except OSError:
            self.jobs.adopt(job.id, job.fingerprint)  # still ours, so that the next try finds it
            raise
        fsops.sync_dir(places.claimed)
        self._flush_origin(job)
        fsops.remove_tree(places.work(job.id))  # what had been copied of it
        log.info("put back", job=job.short_id, capture=shown(job.name))
        return job

    # -- reading --------------------------------------------------------------------------------------------------

    def _copy(self, job: Job, claimed: Path, snapshot: Snapshot) -> str:
        """I5: the files on the list, and no others, become our own copy. Returns the digest of their content."""
        places, limits, expected = self.share.places, self.settings.limits, snapshot.expectation
        sizes = {fact.path: fact.size for fact in snapshot.facts}
        if (total := sum(sizes[name] for name in expected.required)) > limits.max_capture_bytes:
            allowed = f"{limits.max_capture_bytes / 1e6:.0f}"
            message = f"The capture has {total / 1e6:.0f} MB, more than the {allowed} allowed."
            raise CaptureError([Problem("too_big", None, message, "Use smaller images, or raise max_capture_mb.")])
        fsops.fresh_dir(places.work(job.id), 0o700)
        hashes: dict[str, str] = {}
        for name in expected.required:
            inner = PurePosixPath(name[len(expected.root) :])
            target = places.capture(job.id) / inner
            fsops.make_dir(target.parent)
            most = min(sizes[name], limits.max_file_bytes)
            try:
                hashes[str(inner)] = fsops.copy_file(claimed / name, target, most).sha256
            except fsops.TooLarge as error:
                if sizes[name] <= limits.max_file_bytes:  # as it was weighed; it has grown since
                    raise fsops.ChangedWhileRead(error.errno, error.strerror, error.filename) from error
                message = f"has {sizes[name] / 1e6:.0f} MB, more than the {limits.max_file_bytes / 1e6:.0f} allowed."
                problem = Problem("too_big", name, message, "Use smaller images, or raise max_file_mb.")
                raise CaptureError([problem]) from error
            except fsops.NotRegular as error:
                problem = Problem("not_regular", name, "is not a plain file of its own.", "Copy the file itself.")
                raise CaptureError([problem]) from error
            crashpoint("I5a")
        if expected.rig is not None and not expected.pinned:
            fsops.write_file(places.capture(job.id) / RIG_FILE, expected.rig.text)
            hashes[RIG_FILE] = hashlib.sha256(expected.rig.text).hexdigest()
        identity = {
            "id": job.id,
            "name": job.name.hex(),
            "fingerprint": job.fingerprint,
            "created_at": job.created_at,
            "root": expected.root,
        }
        fsops.write_file(places.work(job.id) / "job.json", json.dumps(identity).encode(), 0o600)
        fsops.sync_tree(places.work(job.id))
        fsops.sync_dir(places.work(job.id).parent)
        crashpoint("I5b")
        return content_digest(hashes)

    def _check_content(self, job: Job, digest: str, snapshot: Snapshot) -> Job:
        """I6: a limited process of its own reads the pictures; this one never does."""
        ended = self._inspect(job)
        while ended is None:
            if job.ingest_tries >= MAX_INGEST_TRIES:
                return self.jobs.reject(job.id, "unreadable", FAILURES["unreadable"].says)
            job = self.jobs.read(job.id)
            ended = self._inspect(job)
        if not ended["ok"]:
            problems = tuple(Problem(**fields) for fields in ended["problems"])
            return self._refuse(job, "capture", problems, ended)
        notes = snapshot.expectation.notes  # some are about files that our copy leaves out
        warnings = dict.fromkeys([*notes, *ended.get("warnings", ()), *self._left_out(job, snapshot)])
        ended = {**ended, "warnings": list(warnings)}
        options = snapshot.expectation.stated.options
        if (strange := self._unknown_models(options.models or ())) is not None:
            return self._refuse(job, "capture", (strange,), {**ended, "ok": False, "problems": [strange.to_json()]})
        queued = self.jobs.queue(job.id, digest, ended, options.models, options.priority)
        crashpoint("I6")
        log.info("queued", job=job.short_id, capture=shown(job.name), views=len(ended.get("views", ())))
        return queued

    def _left_out(self, job: Job, snapshot: Snapshot) -> Iterator[str]:
        """What lies beside the set and will not be in the result, in a sentence each."""
        if not self.settings.deliver_capture:
            return
        beside = lies_beside(self.share.places.claimed / job.id, snapshot.expectation.required, self.settings.limits)
        for name, why in beside.left_out.items():
            yield f"Not in the result: {name} ({why}). The original is kept for {days_kept(self.settings):g} days."

    def _unknown_models(self, asked: Sequence[str]) -> Problem | None:
        """A capture may choose among the models that there are."""
        there = known(self.settings.custom_models)
        if not (unknown := [name for name in asked if name not in there]):
            return None
        return Problem(
            "sidecar",
            "capture.json",
            f"there is no model called {', '.join(unknown)}.",
            f"Correct `models` there; there are {', '.join(sorted(there))}. Without it the service's own are used.",
        )

    def _inspect(self, job: Job) -> dict[str, Any] | None:
        places = self.share.places
        folder = places.work(job.id) / "inspect"
        fsops.fresh_dir(folder)
        request = worker_request(
            "inspect",
            places.capture(job.id),
            folder / "inspection.json",
            self.settings.limits,
            memory_mib=_READER_MEMORY_MIB,
            name=shown(job.name),
        )
        seconds = self.settings.check_limit_s
        limits = TimeLimits(seconds, seconds, self.settings.stop_grace_s)
        process = WorkerProcess(f"{job.id}.inspect", request, folder, home_of(self.settings), limits)
        ended = run_to_end(process, self.stopping)
        if ended.error_class == "cancelled":
            raise Stopping
        if ended.error_class == "disk":
            raise OSError(errno.ENOSPC, ended.reason)
        if ended.error_class == "not_begun":  # it has seen nothing of the capture
            raise OSError(errno.EIO, f"the reader cannot be started ({ended.reason}); {ended.fix}", str(folder))
        if ended.error_class == "memory_limit":
            problem = Problem("too_big", None, f"Reading it takes too much memory: {ended.reason}.", f"{ended.fix}.")
            return {"ok": False, "problems": [problem.to_json()]}
        if ended.error_class is not None:
            log.warning("reader failed", job=job.short_id, reason=ended.reason)
        return ended.answer

    def _late(self, job: Job, code: str) -> tuple[Problem, ...]:
        """An incomplete folder that came soon after a complete one of its name is probably the rest of that."""
        earlier = self.jobs.earlier_of_name(job) if code == "incomplete" else None
        if earlier is None:
            return ()
        when = time.strftime("%H:%M UTC", time.gmtime(earlier.created_at))
        message = f"A folder of this name was complete and was taken at {when} as job {earlier.short_id}: late files?"
        return (Problem("late", None, message, "If they belong to it, copy the whole capture once more."),)

    def _refuse(
        self, job: Job, code: str, problems: tuple[Problem, ...], inspection: Mapping[str, Any] | None = None
    ) -> Job:
        problems = told_once(problems)
        found = {**(inspection or {"ok": False}), "problems": [problem.to_json() for problem in problems]}
        reason = "\n".join(str(problem) for problem in problems) or FAILURES[code].says
        refused = self.jobs.reject(job.id, code, reason, found)
        log.info("refused", job=job.short_id, capture=shown(job.name), code=code, reason=reason.splitlines()[0])
        return refused


def content_digest(hashes: Mapping[str, str]) -> str:
    """SHA-256 over the sorted names and content hashes of a capture's files."""
    lines = "".join(f"{digest}  {name}\n" for name, digest in sorted(hashes.items()))
    return hashlib.sha256(lines.encode("utf-8", "surrogateescape")).hexdigest()


def digest_of_folder(folder: Path, settings: Settings) -> str:
    """The content digest of our own copy of a capture, computed again from disk."""
    facts = take_facts(folder, settings.limits)
    return content_digest({fact.path: fsops.sha256_of(folder / fact.path) for fact in facts})
