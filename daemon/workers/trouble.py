"""Whose trouble it is when a step of a job fails: the machine's, which is waited out, or the job's own."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from meshdrop.daemon.base import fsops
from meshdrop.daemon.base.errors import PASSING, ConfigurationError, LeftBehind, ShareUnavailable
from meshdrop.daemon.base.log import get_logger
from meshdrop.daemon.base.places import Places, shown
from meshdrop.daemon.base.rigs import RigShelf
from meshdrop.daemon.base.share import Share, probe_rename
from meshdrop.daemon.workers import kernels
from meshdrop.daemon.workers.kernels import OpenToOthers
from meshdrop.db.engine import RecordUnavailable
from meshdrop.db.records import Job
from meshdrop.db.states import State
from meshdrop.models.files.problem import printable

log = get_logger()

#: Enough that a full disk refuses it.
_PROBE = b"\xa5" * 65_536
#: Tracebacks of one job's trouble that the log gets.
_TRACED_MOST = 3
#: Two that try at once would take each other's trials away.
_alone = threading.Lock()


def is_the_machines(error: BaseException, share: Share) -> bool:
    """Whether the machine is at fault, by what the error says or else by trying: the share must be there, every folder
    of the service take what a job in order would put there, and what every worker needs be at hand.
    """
    if isinstance(error, ShareUnavailable | RecordUnavailable | OpenToOthers | MemoryError):
        return True
    return is_passing(error) or not is_sound(share)


def is_passing(error: BaseException) -> bool:
    """Whether the error itself says that a disk, a server or the machine is full, failing or away."""
    return isinstance(error, OSError) and error.errno in PASSING


def is_sound(share: Share) -> bool:
    """Whether the share is there, the stored rigs can be read, folders can be moved and files be written wherever the
    service works, and workers can be started as far as no job has a part in that.
    """
    try:
        with _alone:
            _try_everything(share)
            _try_starting(share)
    except (OSError, ShareUnavailable, ConfigurationError, RuntimeError):
        return False
    return True


def _try_everything(share: Share) -> None:
    places = share.places
    share.check()
    for source, target in (
        (places.inbox, places.claimed),
        (places.claimed, places.kept),
        (places.staging, places.outbox),
        (places.staging, places.failed),
    ):
        probe_rename(source, target)
    RigShelf(places.rigs).texts()
    for folder in (places.staging, places.state / "work"):
        _probe_write(folder / ".probe")


def _probe_write(file: Path) -> None:
    try:
        fsops.write_file(file, _PROBE, 0o600)
    finally:
        fsops.remove_tree(file)


def _try_starting(share: Share) -> None:
    """Raises ``OSError`` where no worker gets its kernels or its program, ``RuntimeError`` where no thread begins."""
    kernels.forget(kernels.warming_folder(share.places.state, share.places.cache))
    if not os.access(sys.executable, os.X_OK):
        raise FileNotFoundError(sys.executable)
    thread = threading.Thread(target=int)
    thread.start()
    thread.join()


@dataclass(frozen=True)
class Trouble:
    """What a job failed at though the machine is sound: in which state, how often, and the last time how."""

    state: State
    times: int
    sentence: str


@dataclass(frozen=True)
class Troubles:
    """What each job failed at by no fault of the machine. Kept in memory: a start begins to count anew."""

    _of: dict[str, Trouble] = field(default_factory=dict)

    def of(self, job: Job) -> Trouble | None:
        """What it failed at in the state that it has."""
        trouble = self._of.get(job.id)
        return trouble if trouble is not None and trouble.state is job.state else None

    def times(self, job: Job) -> int:
        """How often it failed in the state that it has."""
        trouble = self.of(job)
        return 0 if trouble is None else trouble.times

    def count(self, job: Job, error: Exception, inside: Path) -> Trouble:
        """One more failure. Its sentence is for people at the share, who see ``inside`` as their folder."""
        trouble = Trouble(job.state, self.times(job) + 1, told(error, inside))
        if not isinstance(error, OSError) and trouble.times <= _TRACED_MOST:
            log.error("unexpected error", job=job.short_id, exc_info=error)
        self._of[job.id] = trouble
        return trouble

    def forget(self, job: Job) -> None:
        """It got on."""
        self._of.pop(job.id, None)


def held_up(name: bytes, sentence: str) -> str:
    """What is told of a job that a trouble of its own holds up."""
    return f"{shown(name)}: cannot be brought on, though the disks are in order: {sentence}"


def left_behind(jobs: Sequence[tuple[Job, str]], places: Places) -> LeftBehind:
    """What ``run --once`` says of jobs that stay, each with the reason why."""
    return LeftBehind(
        "\n".join(f"{shown(job.name)}: {_where(job, places)}: {reason}" for job, reason in jobs),
        "mend what is named (ls -ld and lsattr -d show rights and locks of a folder), then give this command again: "
        "nothing is lost, and each goes on from where it stands",
    )


def _where(job: Job, places: Places) -> str:
    """What is left to do with a job that stays, and where it lies."""
    staged, original = places.staging / job.id, f"its original is safe in {places.claimed / job.id}"
    match job.state:
        case State.DELIVERING:
            return f"its result is complete in {staged} and cannot be moved to {places.outbox}"
        case State.FAILING:
            return f"its failure is told in {staged}, which cannot be moved to {places.failed}"
        case State.FAIL_PENDING:
            return f"its failure cannot be told, because {staged} cannot be made; {original}"
        case State.DONE | State.FAILED:
            shelf = places.outbox if job.state is State.DONE else places.failed
            return f"it is published in {shelf}, and what is left of it cannot be put away; {original}"
        case _:
            return f"it cannot be brought on; {original}"


def told(error: BaseException, inside: Path) -> str:
    """The error as one line for people at the share; paths below ``inside`` as seen from there."""
    if isinstance(error, OSError) and error.strerror:
        where = os.fsdecode(error.filename or "")
        where = "" if where == str(inside) else where.removeprefix(f"{inside}/")
        return printable(f"{where}: {error.strerror}" if where else error.strerror)
    return printable(f"{type(error).__name__}: {error}")
