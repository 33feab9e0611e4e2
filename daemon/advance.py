"""Bring a job forward from whatever state it is in. Normal work and start-up recovery are this same function."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass

from daemon.assess import Assessor
from daemon.crash import crashpoint
from daemon.deliver import Delivery
from daemon.errors import BACK_OFF_S, DISK_BACK_OFF_S, FAILURES, MAX_ATTEMPTS, MAX_FINISH_TRIES, MAX_REFUNDS, Stopping
from daemon.intake import Intake
from daemon.log import get_logger
from daemon.retry import Outcomes, was_stopped, worth_another
from daemon.runner import read_manifest
from db.jobs import Jobs
from db.records import Job, ModelRun
from db.states import State

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

    def to_rest(self, job: Job) -> Job:
        """Step the job on until it waits for the loop or is at rest.

        Raises ``OSError`` and ``ShareUnavailable`` when the machine is at fault, ``Stopping`` when the daemon ends;
        the job stays where it is, and the same call later goes on from there.
        """
        while job.state not in WAITING:
            job = self.step(job)
        return job

    def step(self, job: Job) -> Job:
        """The one next step of the job's state."""
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
        for name, outcome in outcomes.items():
            self.jobs.record_run(job.id, ModelRun(
                model=name, attempt=job.attempt, state=outcome["state"], started_at=outcome.get("started_at"),
                seconds=outcome.get("seconds"), error_class=outcome["error_class"], reason=outcome["reason"] or None,
                fix=outcome["fix"] or None,
            ))  # fmt: skip
        if job.reason_code == "cancelled":
            return self.jobs.reject(job.id, "cancelled", FAILURES["cancelled"].says)
        if was_stopped(outcomes):
            return self.give_back(job)
        if any(outcome["error_class"] == "disk" for outcome in outcomes.values()):
            return self.jobs.requeue(job.id, "the disk was full or failing", delay_s=DISK_BACK_OFF_S, refund=True)
        if worth_another(job, outcomes, self.jobs.runs(job.id)):
            delay = BACK_OFF_S[min(job.attempt, len(BACK_OFF_S)) - 1]
            log.info("will be tried again", job=job.short_id, delay_s=delay)
            return self.jobs.requeue(job.id, "a model failed", delay_s=delay)
        return self._finish(job, outcomes)

    def give_back(self, job: Job) -> Job:
        """The daemon ends, the job is not to blame: back to the queue, the attempt refunded (not for ever)."""
        return self.jobs.requeue(job.id, "the service was stopped", refund=job.refunds < MAX_REFUNDS)

    def _finish(self, job: Job, outcomes: Outcomes) -> Job:
        """Measure, judge and stage. Counted before it is begun: it too could take the machine down."""
        if job.finish_tries >= MAX_FINISH_TRIES:
            return self.jobs.reject(job.id, "poison", FAILURES["poison"].says)
        job = self.jobs.finish(job.id)
        crashpoint("R4")
        try:
            assessment = self.assessor.assess(job, outcomes)
        except (Stopping, OSError):
            with contextlib.suppress(OSError):
                self.jobs.unfinish(job.id)
            raise
        crashpoint("R5")
        if assessment.best is None:
            return self.jobs.reject(job.id, assessment.code, assessment.reason)
        return self.delivery.stage_results(job, assessment.verdict, assessment.best)
