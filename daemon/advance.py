"""Bring a job forward from whatever state it is in. Normal work and start-up recovery are this same function."""

from __future__ import annotations

from dataclasses import dataclass

from daemon.clock import Clock
from daemon.deliver import Delivery
from daemon.errors import FAILURES, MAX_ATTEMPTS
from daemon.intake import Intake
from daemon.log import get_logger
from db.jobs import Job, Jobs
from db.states import State

log = get_logger()

#: States in which a job waits for the loop or has come to rest.
WAITING = frozenset({State.QUEUED, State.DONE_CLEAN, State.FAILED_CLEAN, State.ABANDONED})


@dataclass(frozen=True)
class Advance:
    """Every step of a job's life outside the model runs."""

    jobs: Jobs
    intake: Intake
    delivery: Delivery
    clock: Clock

    def to_rest(self, job: Job) -> Job:
        """Step the job on until it waits for the loop or is at rest.

        Raises ``OSError`` and ``ShareUnavailable`` when the machine is at fault; the job stays where it is, and the
        same call later goes on from there.
        """
        while job.state not in WAITING:
            job = self.step(job)
        return job

    def step(self, job: Job) -> Job:
        """The one next step of the job's state."""
        match job.state:
            case State.CLAIMING:
                return self.intake.prepare(job)
            case State.DELIVERING | State.FAILING:
                return self.delivery.publish(job)
            case State.DONE | State.FAILED:
                return self.delivery.clean(job)
            case State.FAIL_PENDING:
                return self.delivery.stage_failure(job)
            case State.RUNNING:
                return self._interrupted(job)
            case _:
                return job

    def _interrupted(self, job: Job) -> Job:
        """A crash ended this attempt. It was counted before it began, so a capture that kills the machine ends here."""
        if job.attempt >= MAX_ATTEMPTS:
            return self.jobs.reject(job.id, "poison", FAILURES["poison"].says)
        log.warning("attempt was interrupted", job=job.short_id, attempt=job.attempt)
        return self.jobs.requeue(job.id, "the service or the machine went down")
