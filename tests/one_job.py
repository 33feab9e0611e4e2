"""One dropped folder brought from the inbox to its rest, step by step in this thread, with faults at chosen operations.

The real parts of the service without its threads: what the service would wait for is only counted here. Worker
processes are the stand-ins of ``tests.light``.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from meshdrop.daemon.base import fsops
from meshdrop.daemon.base.clock import Clock
from meshdrop.daemon.base.settings import load
from meshdrop.daemon.base.share import create_root, open_share
from meshdrop.daemon.inbox import intake
from meshdrop.daemon.inbox.intake import Intake, NotYet
from meshdrop.daemon.inbox.observe import look
from meshdrop.daemon.inbox.scanner import Candidate
from meshdrop.daemon.inbox.settle import Window, judge
from meshdrop.daemon.outbox import assess, gltf_validation
from meshdrop.daemon.outbox.assess import Assessor
from meshdrop.daemon.outbox.deliver import Delivery
from meshdrop.daemon.service.advance import Advance
from meshdrop.daemon.service.loop import Loop
from meshdrop.daemon.workers import runner, warming
from meshdrop.daemon.workers.process import Home
from meshdrop.daemon.workers.runner import LocalExecutor, RunRules
from meshdrop.db.engine import Database
from meshdrop.db.jobs import Jobs
from meshdrop.db.records import Job
from meshdrop.db.states import State
from tests.light import LightWorker

#: More than any job is tried.
ROUNDS = 40
_JOB_ID = re.compile(r"[0-9a-f]{32}")
_REST = (State.DONE_CLEAN, State.FAILED_CLEAN)


@dataclass
class Bench:
    """A root, its state folder beside it, and the parts that bring one job on."""

    folder: Path
    steps: list[tuple[str, tuple[Path, ...]]] = field(default_factory=list)
    #: Called with each operation before it is done; may raise.
    fault: Callable[[str, tuple[Path, ...]], None] = lambda *_: None
    #: What was raised out of the steps, and how often the job was tried.
    troubles: list[Exception] = field(default_factory=list)
    #: Called between two tries.
    between: Callable[[], None] = lambda: None
    now: float = 1e9

    def __post_init__(self) -> None:
        self.settings = load(self.folder / "scans", state_dir=self.folder / "state")
        self.places = self.settings.places
        self.places.root.mkdir()
        create_root(self.places)
        self.share = open_share(self.places)
        self.database = Database(self.places.database, self._before_commit)
        self.database.migrate(self.places.backups)
        self.jobs = Jobs(self.database, lambda: self.now)
        window = Window(1.0, 1.0, 1.0)
        self.intake = Intake(self.share, self.jobs, self.settings, window, lambda: False)
        self.delivery = Delivery(self.share, self.jobs, self.settings)
        assessor = Assessor(self.share, self.jobs, self.settings, Clock(), lambda: False)
        self.advance = Advance(self.jobs, self.intake, assessor, self.delivery)
        home = Home(self.places.state, self.places.cache)
        rules = RunRules(lambda _: 60.0, 60.0, 1.0, self.settings.limits, home)
        self.handed: list[Job] = []
        self.loop = Loop(self.share, self.jobs, self.settings, LocalExecutor(rules), self.handed.append)

    def drop(self, capture: Path, name: str = "good") -> None:
        """A finished folder comes into the inbox."""
        shutil.copytree(capture, self.places.inbox / name)

    def bring(self, name: str = "good") -> Job | None:
        """Try until the job of this name is at rest, or for ``ROUNDS`` rounds; the job as it is then."""
        for _ in range(ROUNDS):
            self.now += 100.0
            self.between()
            try:
                job = self._go_on(name)
            except (NotYet, Exception) as error:
                self.troubles.append(error)
                continue
            if job is not None and job.state in _REST:
                return job
        return self.job(name)

    def job(self, name: str = "good") -> Job | None:
        """The newest job of this name that was not given up."""
        for job in [*reversed(self.jobs.live()), *self.jobs.recent(100)]:
            if job.name == name.encode() and job.state is not State.ABANDONED:
                return job
        return None

    def _go_on(self, name: str) -> Job | None:
        job = self.job(name)
        if job is None:
            folder = self.places.inbox / name
            snapshot = look(folder, self.settings.limits)
            self.intake.claim(Candidate(name.encode(), snapshot, judge(snapshot, 1e9, self.intake.window)))
        elif job.state is State.QUEUED or (job.state is State.RUNNING and not self._has_ended(job)):
            self.loop.turn(accept=True)
        else:
            job = self.advance.to_rest(job)
        return job

    def _has_ended(self, job: Job) -> bool:
        return any(handed.id == job.id for handed in self.handed)

    def _before_commit(self) -> None:
        try:
            self.observe("commit", self.places.database)
        except OSError as error:
            raise sqlite3.OperationalError(f"disk I/O error: {error}") from error

    def observe(self, operation: str, *paths: Path) -> None:
        """Take note of an operation, and disturb it."""
        self.steps.append((operation, paths))
        self.fault(operation, paths)


@contextmanager
def bench(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    """A bench in an empty folder, whose file operations and commits can be disturbed."""
    for module in (assess, gltf_validation, intake, runner, warming):
        monkeypatch.setattr(module, "WorkerProcess", LightWorker)
    folder.mkdir(parents=True)
    made = Bench(folder)
    monkeypatch.setattr(fsops, "observer", made.observe)
    try:
        yield made
    finally:
        monkeypatch.setattr(fsops, "observer", None)
        made.database.close()


def place_of(step: tuple[str, tuple[Path, ...]], folder: Path) -> str:
    """The operation and its paths as they are called in every run."""
    operation, paths = step
    return " ".join([operation, *(_JOB_ID.sub("JOB", str(path.relative_to(folder))) for path in paths)])


@dataclass
class Outage:
    """From the operation number ``first`` on, everything on ``disk`` is refused with ``code`` until it has been met
    ``lasts`` times from outside.
    """

    bench: Bench
    disk: Path
    first: int
    code: int
    lasts: int

    def __call__(self, _: str, paths: tuple[Path, ...]) -> None:
        is_over = len(self.bench.troubles) >= self.lasts
        if len(self.bench.steps) <= self.first or is_over:
            return
        for path in paths:
            if path.is_relative_to(self.disk):
                raise OSError(self.code, os.strerror(self.code), str(path))


@dataclass
class Absence:
    """The share is taken away before the operation number ``first``, and comes back after ``lasts`` troubles."""

    bench: Bench
    first: int
    lasts: int
    is_away: bool = False
    was_away: bool = False

    def __call__(self, *_: Any) -> None:
        root = self.bench.places.root
        if not self.was_away and len(self.bench.steps) > self.first:
            root.rename(root.with_name("away"))
            self.is_away = self.was_away = True
        self.come_back()

    def come_back(self) -> None:
        """The share is there again, when its time has come."""
        if self.is_away and len(self.bench.troubles) >= self.lasts:
            self.bench.places.root.with_name("away").rename(self.bench.places.root)
            self.is_away = False


CODES = {errno.errorcode[code]: code for code in (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS, errno.ESTALE)}
OWN_CODES = {
    errno.errorcode[code]: code for code in (errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.EISDIR, errno.EINVAL)
}
