"""The retry table, applied: is another attempt at this job worth it?"""

from __future__ import annotations

from collections.abc import Sequence

from meshdrop.daemon.base.tries import MAX_ATTEMPTS
from meshdrop.daemon.workers.attempts import Outcomes
from meshdrop.db.records import Job, ModelRun
from meshdrop.models.contract.failures import RUN_FAILURES, RunClass


def worth_another(job: Job, outcomes: Outcomes, earlier: Sequence[ModelRun]) -> bool:
    """Whether a failed model has a retry left for this class of failure, and the job an attempt.

    ``earlier`` holds the recorded runs of former attempts; runs of the job's present attempt do not count.
    """
    if job.attempt >= MAX_ATTEMPTS:
        return False
    for name, outcome in outcomes.items():
        kind = outcome.error_class
        if outcome.state != "failed" or kind is None or kind not in RUN_FAILURES:
            continue
        before = sum(run.model == name and run.error_class == kind and run.attempt < job.attempt for run in earlier)
        if before < RUN_FAILURES[kind].retries:
            return True
    return False


def was_stopped(outcomes: Outcomes) -> bool:
    """Whether the attempt was ended from outside before its models were through."""
    return any(outcome.error_class == RunClass.CANCELLED for outcome in outcomes.values())
