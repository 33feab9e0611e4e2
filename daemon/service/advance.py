"""Bring a job forward from whatever state it is in. Normal work and start-up recovery are this same function."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field

from meshdrop.daemon.base.crash import crashpoint
from meshdrop.daemon.base.errors import JobTrouble, Stopping
from meshdrop.daemon.base.failures import FAILURES
from meshdrop.daemon.base.log import get_logger
from meshdrop.daemon.base.tries import (
    BACK_OFF_S,
    DISK_BACK_OFF_S,
    MAX_ATTEMPTS,
    MAX_FINISH_TRIES,
    MAX_REFUNDS,
    MAX_TROUBLES,
)
from meshdrop.daemon.inbox.intake import Intake
from meshdrop.daemon.outbox.assess import Assessment, Assessor
from meshdrop.daemon.outbox.deliver import Delivery
from meshdrop.daemon.workers.attempts import Outcomes, read_manifest
from meshdrop.daemon.workers.retry import was_stopped, worth_another
from meshdrop.daemon.workers.trouble import Troubles, is_the_machines
from meshdrop.db.engine import DatabaseDamaged
from meshdrop.db.jobs import Jobs
from meshdrop.db.records import Job, ModelRun
from meshdrop.db.states import State

log = get_logger()

#: States in which a job waits for the loop or has come to rest.
WAITING = frozenset({State.QUEUED, State.DONE_CLEAN, State.FAILED_CLEAN, State.ABANDONED})


@dataclass(frozen=True)
class Advance:
    """Every step of a job's life outside the model runs."""

    jobs: Jobs
    intake: Intake
    assessor: Assessor
    delivery: Delivery
    _troubles: Troubles = field(default_factory=Troubles)
    #: Jobs as they were before a step that ended by no fault of theirs; the record could not be told yet.
    _owed: dict[str, Job] = field(default_factory=dict)
    #: What the attempts of jobs are worth that were measured and could not be staged yet.
    _assessed: dict[str, Assessment] = field(default_factory=dict)

    def to_rest(self, job: Job) -> Job:
        """Step the job on until it waits for the loop or is at rest.

        Raises what the step raised when the machine is at fault (its tries are given back), ``JobTrouble`` when it is
        not, and ``Stopping`` when the daemon ends; the job stays where it is, and the same call later goes on from
        there. A job that fails ``MAX_TROUBLES`` times at one step gets out of the way with what can be saved.
        """
        if job.state is State.ABANDONED:
            job = self.intake.take_up(job)
        while job.state not in WAITING:
            job = self.step(job)
        self._forget(job)
        return job

    def step(self, job: Job) -> Job:
        """The one next step of the job's state. Raises as ``to_rest`` does."""
        job = self._repay(job)
        try:
            return self._give_way(job) if self._troubles.times(job) >= MAX_TROUBLES else self._next(job)
        except DatabaseDamaged:
            raise
        except Stopping:
            self._give_tries_back(job)
            raise
        except Exception as error:
            # A try in the record is one that did not come to an end; this one did.
            self._give_tries_back(job)
            if is_the_machines(error, self.intake.share):
                raise
            raise self._trouble(job, error) from error

    def _trouble(self, job: Job, error: Exception) -> JobTrouble:
        """One more failure of this job's own at the step of its state."""
        self._assessed.pop(job.id, None)  # what was measured may be what is wrong
        trouble = self._troubles.count(job, error, self.intake.share.places.claimed / job.id)
        return JobTrouble(trouble.sentence, stays=trouble.times > MAX_TROUBLES + 1)  # the barest bundle was tried too

    def _give_way(self, job: Job) -> Job:
        """The way out of the state that the job cannot leave as it should."""
        trouble = self._troubles.of(job)
        if trouble is None:
            return self._next(job)
        log.warning("gets out of the way", job=job.short_id, state=job.state, reason=trouble.sentence)
        match job.state:
            case State.CLAIMING | State.RUNNING:
                code = "unreadable" if job.state is State.CLAIMING else "unfinished"
                code = "cancelled" if job.reason_code == "cancelled" else code
                return self.jobs.reject(job.id, code, trouble.sentence)
            case State.FAIL_PENDING:
                return self.delivery.stage_failure(job, trouble.sentence, bare=trouble.times > MAX_TROUBLES)
            case State.DONE | State.FAILED:
                return self.delivery.clean(job, insist=False)
            case _:
                return self._next(job)  # the result is complete and safe: it waits, and nobody waits for it

    def _give_tries_back(self, job: Job) -> None:
        """The record says again how often this job was tried before the step; later, when it cannot be written now."""
        if job.state in (State.CLAIMING, State.RUNNING):
            self._owed[job.id] = job
            with contextlib.suppress(OSError):
                self._repay(job)

    def _repay(self, job: Job) -> Job:
        before = self._owed.get(job.id)
        if before is None:
            return job
        job = self.jobs.give_tries_back(before)
        del self._owed[job.id]
        return job

    def _forget(self, job: Job) -> None:
        self._troubles.forget(job)
        self._owed.pop(job.id, None)
        self._assessed.pop(job.id, None)

    def _next(self, job: Job) -> Job:
        match job.state:
            case State.CLAIMING:
                return self.intake.prepare(job)
            case State.RUNNING:
                outcomes = read_manifest(self.intake.share.places.attempt(job.id, job.attempt))
                return self._interrupted(job) if outcomes is None else self._ended(job, outcomes)
            case State.DELIVERING | State.FAILING:
                return self.delivery.publish(job)
            case State.DONE | State.FAILED:
                return self.delivery.clean(job)
            case State.FAIL_PENDING:
                return self.delivery.stage_failure(job)
            case _:
                return job

    def _interrupted(self, job: Job) -> Job:
        """A crash ended this attempt. It was counted before it began, so a capture that kills the machine ends here."""
        if job.reason_code == "cancelled":
            return self.jobs.reject(job.id, "cancelled", FAILURES["cancelled"].says)
        if job.attempt >= MAX_ATTEMPTS:
            return self.jobs.reject(job.id, "poison", FAILURES["poison"].says)
        log.warning("attempt was interrupted", job=job.short_id, attempt=job.attempt)
        return self.jobs.requeue(job.id, "the service or the machine went down")

    def _ended(self, job: Job, outcomes: Outcomes) -> Job:
        """The models are through: cancelled, stopped with the daemon, worth another attempt, or to be measured."""
        if job.id not in self._assessed:  # then they are recorded, with their figures
            self._record(job, outcomes)
        if job.reason_code == "cancelled":
            return self.jobs.reject(job.id, "cancelled", FAILURES["cancelled"].says)
        if was_stopped(outcomes):
            return self.give_back(job)
        if any(outcome.error_class == "disk" for outcome in outcomes.values()):
            return self.jobs.requeue(job.id, "the disk was full or failing", delay_s=DISK_BACK_OFF_S, refund=True)
        if worth_another(job, outcomes, self.jobs.runs(job.id)):
            delay = BACK_OFF_S[min(job.attempt, len(BACK_OFF_S)) - 1]
            log.info("will be tried again", job=job.short_id, delay_s=delay)
            return self.jobs.requeue(job.id, "a model failed", delay_s=delay)
        return self._finish(job, outcomes)

    def _record(self, job: Job, outcomes: Outcomes) -> None:
        for name, outcome in outcomes.items():
            self.jobs.record_run(
                job.id,
                ModelRun(
                    model=name,
                    attempt=job.attempt,
                    state=outcome.state,
                    started_at=outcome.started_at,
                    seconds=outcome.seconds,
                    error_class=outcome.error_class,
                    reason=outcome.reason or None,
                    fix=outcome.fix or None,
                ),
            )

    def give_back(self, job: Job) -> Job:
        """The daemon ends, the job is not to blame: back to the queue, the attempt refunded (not for ever)."""
        return self.jobs.requeue(job.id, "the service was stopped", refund=job.refunds < MAX_REFUNDS)

    def _finish(self, job: Job, outcomes: Outcomes) -> Job:
        """Measure, judge and stage. Counted before it is begun: it too could take the machine down."""
        if job.finish_tries >= MAX_FINISH_TRIES:
            return self.jobs.reject(job.id, "poison", FAILURES["poison"].says)
        job = self.jobs.finish(job.id)
        crashpoint("R4")
        assessment = self._assess(job, outcomes)
        crashpoint("R5")
        if assessment.best is None:
            return self.jobs.reject(job.id, assessment.code, assessment.reason)
        return self.delivery.stage_results(job, assessment.verdict, assessment.best)

    def _assess(self, job: Job, outcomes: Outcomes) -> Assessment:
        """What the attempt is worth. Measured once, however often its staging is held up."""
        if job.id not in self._assessed:
            self._assessed[job.id] = self.assessor.assess(job, outcomes)
        return self._assessed[job.id]
