"""The serial loop: one attempt at a time through all its models; assessing and publishing go on beside it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from meshdrop.daemon.base import fsops
from meshdrop.daemon.base.crash import crashpoint
from meshdrop.daemon.base.errors import JobTrouble
from meshdrop.daemon.base.failures import FAILURES
from meshdrop.daemon.base.log import get_logger
from meshdrop.daemon.base.places import Places, shown
from meshdrop.daemon.base.settings import Settings
from meshdrop.daemon.base.share import Share
from meshdrop.daemon.base.tries import DISK_BACK_OFF_S, MAX_TROUBLES
from meshdrop.daemon.inbox.intake import digest_of_folder
from meshdrop.daemon.workers.attempts import MANIFEST, Recipe, carry_over
from meshdrop.daemon.workers.executor import Attempt, Executor, Report
from meshdrop.daemon.workers.trouble import Troubles, held_up, is_the_machines
from meshdrop.db.clocks import boot_id
from meshdrop.db.engine import DatabaseDamaged
from meshdrop.db.jobs import Jobs
from meshdrop.db.records import Job

log = get_logger()


@dataclass
class Loop:
    """Takes the next job, runs its models, hands it on. All methods run on the main thread.

    ``hand_on(job)`` takes a job whose models have ended (or that was rejected) to its rest; it returns at once.
    """

    share: Share
    jobs: Jobs
    settings: Settings
    executor: Executor
    hand_on: Callable[[Job], None]
    running: dict[str, Job] = field(default_factory=dict)
    #: Jobs whose attempt was counted and could not be begun, until the record can be told.
    _unbegun: list[Job] = field(default_factory=list)
    _troubles: Troubles = field(default_factory=Troubles)

    @property
    def places(self) -> Places:
        """Where everything lies."""
        return self.share.places

    def turn(self, *, accept: bool) -> list[Report]:
        """One turn: take note of what ended, then begin the next job if there is room and ``accept``.

        Raises ``OSError`` while the machine is at fault that a job cannot be begun or its attempt not go on, and
        ``JobTrouble`` when it is not. What fails ``MAX_TROUBLES`` times by a job's own trouble is handed on to fail.
        """
        reports = self.executor.poll() or []
        for report in reports:
            if report.trouble is not None:
                self._held_up(report.key, report.trouble)
            elif report.state != "running":
                self._ended(report)
            else:
                self._troubles.forget(self.running[report.key])
        self._give_back_unbegun()
        if accept and self.executor.free():
            job = self.jobs.next_ready()
            if job is not None:
                self._begin_or_postpone(job)
        return reports

    def cancel(self, job_id: str) -> bool:
        """Stop a running job for good. False when it is not running here."""
        for key, job in self.running.items():
            if job.id == job_id:
                self.jobs.ask_cancel(job_id)
                self.executor.cancel(key)
                return True
        return False

    def stop(self) -> None:
        """End what runs. Its manifest says that it was stopped, so it goes back to the queue, now or at the start."""
        self.executor.close(keep=False)
        for report in self.executor.poll() or []:
            if report.state != "running":  # else its end could not be written down, which the next start makes up for
                self._ended(report)

    def _begin_or_postpone(self, job: Job) -> None:
        """Raises ``OSError`` or ``JobTrouble`` when it cannot be begun now. That may be this one's alone, so others go
        first.
        """
        try:
            self._begin(job)
        except DatabaseDamaged:
            raise
        except Exception as error:
            self._give_back_unbegun()
            try:
                out = self._out_of_the_way(job, error)
            except (OSError, JobTrouble):
                self.jobs.postpone(job.id, DISK_BACK_OFF_S)
                raise
            self.hand_on(out)
        else:
            self._troubles.forget(job)

    def _held_up(self, key: str, error: Exception) -> None:
        """An attempt that cannot go on. Raises as ``turn`` does, until it has got out of the way."""
        out = self._out_of_the_way(self.running[key], error)
        self.executor.clear(key)
        del self.running[key]
        self.hand_on(out)

    def _out_of_the_way(self, job: Job, error: Exception) -> Job:
        """The job, rejected, when it was tried often enough; until then, and while the machine is at fault, raises why
        it does not go on.
        """
        if isinstance(error, DatabaseDamaged):
            raise error
        if is_the_machines(error, self.share):
            if isinstance(error, OSError):
                raise error
            log.error("unexpected error", job=job.short_id, exc_info=error)
            raise OSError(f"{shown(job.name)} cannot be brought on: {type(error).__name__}: {error}") from error
        trouble = self._troubles.count(job, error, self.places.work(job.id))
        if trouble.times < MAX_TROUBLES:
            raise JobTrouble(held_up(job.name, trouble.sentence)) from error
        log.warning("gets out of the way", job=job.short_id, state=job.state, reason=trouble.sentence)
        code = "cancelled" if self.jobs.get(job.id).reason_code == "cancelled" else "unfinished"
        job = self.jobs.reject(job.id, code, trouble.sentence)
        self._troubles.forget(job)
        return job

    def _give_back_unbegun(self) -> None:
        while self._unbegun:
            self.jobs.requeue(self._unbegun[0].id, "the attempt could not be begun", refund=True)
            del self._unbegun[0]

    def _begin(self, job: Job) -> None:
        """R1, R2: the attempt is counted before anything is started."""
        if not self._is_sound(job):
            self.hand_on(self.jobs.reject(job.id, "damaged", FAILURES["damaged"].says))
            return
        # After a refunded attempt its folder is there: finished models in it are kept, its manifest is not.
        folder = self.places.attempt(job.id, job.attempt + 1)
        fsops.make_dir_below(folder.parent, folder)
        fsops.remove_tree(folder / MANIFEST)
        fsops.sync_dir(folder)
        job = self.jobs.start(job.id, boot_id())
        crashpoint("R1")
        models = [(name, self.settings.model_settings.get(name, {})) for name in job.models or self.settings.models]
        attempt = Attempt(
            key=f"{job.id}.{job.attempt}",
            src=str(self.places.capture(job.id)),
            dir=str(folder),
            digest=job.digest,
            recipe=Recipe.of(models, self.settings.custom_models, self.settings.extra_formats).to_text(),
        )
        log.info("started", job=job.short_id, capture=shown(job.name), attempt=job.attempt)
        try:
            if job.attempt > 1:
                carry_over(self.places.attempt(job.id, job.attempt - 1), folder)
            self.executor.start(attempt)
        except Exception:
            self._unbegun.append(job)
            raise
        self.running[attempt.key] = job
        crashpoint("R2")

    def _is_sound(self, job: Job) -> bool:
        """Whether our copy of the capture is still what was received."""
        try:
            return digest_of_folder(self.places.capture(job.id), self.settings) == job.digest
        except FileNotFoundError:
            if not self.places.work(job.id).parent.is_dir():
                raise  # the whole disk is away: that is no fault of this copy
            return False

    def _ended(self, report: Report) -> None:
        job = self.running.pop(report.key)
        self._troubles.forget(job)
        self.executor.clear(report.key)
        crashpoint("R3")
        self.hand_on(job)
