"""The serial loop: one attempt at a time through all its models; assessing and publishing go on beside it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from daemon import fsops
from daemon.clock import Clock, boot_id
from daemon.crash import crashpoint
from daemon.errors import BACK_OFF_S, FAILURES, MAX_ATTEMPTS, MAX_REFUNDS, RUN_FAILURES
from daemon.executor import Attempt, Executor, Report
from daemon.intake import digest_of_folder
from daemon.log import get_logger
from daemon.places import Places, shown
from daemon.runner import carry_over, write_recipe
from daemon.settings import Settings
from db.jobs import Job, Jobs, ModelRun

log = get_logger()

Outcomes = Mapping[str, Mapping[str, Any]]


@dataclass
class Loop:
    """Claims the next job, runs it, hands it on. All methods run on the main thread.

    ``finish(job, outcomes)`` takes a finished attempt to assessment and delivery; ``settle(job)`` brings a job that
    was just rejected to rest. Both return at once.
    """

    places: Places
    jobs: Jobs
    settings: Settings
    executor: Executor
    clock: Clock
    finish: Callable[[Job, Outcomes], None]
    settle: Callable[[Job], None]
    running: dict[str, Job] = field(default_factory=dict)
    _cancelled: set[str] = field(default_factory=set)

    def turn(self, *, accept: bool = True) -> list[Report]:
        """One turn: take note of what ended, then begin the next job if there is room (and ``accept``)."""
        reports = self.executor.poll() or []
        for report in reports:
            if report.state != "running":
                self._ended(report)
        if accept and self.executor.free():
            job = self.jobs.next_ready()
            if job is not None:
                self._begin(job)
        return reports

    def cancel(self, job_id: str) -> bool:
        """Stop a running job. False when it is not running here."""
        for key, job in self.running.items():
            if job.id == job_id:
                self._cancelled.add(job_id)
                self.executor.cancel(key)
                return True
        return False

    def stop(self) -> None:
        """End what runs and put it back into the queue without counting the attempt."""
        self.executor.close(keep=False)
        for report in self.executor.poll() or []:
            job = self.running.pop(report.key)
            self.executor.clear(report.key)
            self.give_back(job)

    def give_back(self, job: Job) -> None:
        """The daemon ends, the job is not to blame: back to the queue, the attempt refunded (not for ever)."""
        self.jobs.requeue(job.id, "the service was stopped", refund=job.refunds < MAX_REFUNDS)

    def _begin(self, job: Job) -> None:
        """R1, R2: the attempt is counted before anything is started."""
        if digest_of_folder(self.places.capture(job.id), self.settings) != job.digest:
            self.settle(self.jobs.reject(job.id, "damaged", FAILURES["damaged"].says))
            return
        job = self.jobs.start(job.id, boot_id())
        crashpoint("R1")
        folder = self.places.attempt(job.id, job.attempt)
        fsops.make_dir(folder)  # after a refunded attempt it may hold finished models; the executor checks each
        if job.attempt > 1:
            carry_over(self.places.attempt(job.id, job.attempt - 1), folder)
        models = [(name, self.settings.model_settings.get(name, {})) for name in job.models or self.settings.models]
        attempt = Attempt(
            key=f"{job.id}.{job.attempt}", recipe=write_recipe(models, self.settings.custom_models),
            src=str(self.places.capture(job.id)), dir=str(folder),
        )  # fmt: skip
        log.info("started", job=job.short_id, capture=shown(job.name), attempt=job.attempt)
        self.running[attempt.key] = job
        self.executor.start(attempt)
        crashpoint("R2")

    def _ended(self, report: Report) -> None:
        job = self.running.pop(report.key)
        self.executor.clear(report.key)
        crashpoint("R3")
        outcomes: Outcomes = (report.manifest or {}).get("models", {})
        if job.id in self._cancelled:
            self._cancelled.discard(job.id)
            self._record(job, outcomes)
            self.settle(self.jobs.reject(job.id, "cancelled", FAILURES["cancelled"].says))
        elif self._worth_another(job, outcomes):
            self._record(job, outcomes)
            delay = BACK_OFF_S[min(job.attempt, len(BACK_OFF_S)) - 1]
            self.jobs.requeue(job.id, "a model failed", delay_s=delay)
            log.info("will be tried again", job=job.short_id, delay_s=delay)
        else:
            self._record(job, outcomes)
            self.finish(job, outcomes)

    def _record(self, job: Job, outcomes: Outcomes) -> None:
        for name, outcome in outcomes.items():
            self.jobs.record_run(job.id, ModelRun(
                model=name, attempt=job.attempt, state=outcome["state"], started_at=outcome.get("started_at"),
                seconds=outcome.get("seconds"), error_class=outcome["error_class"], reason=outcome["reason"] or None,
                fix=outcome["fix"] or None,
            ))  # fmt: skip

    def _worth_another(self, job: Job, outcomes: Outcomes) -> bool:
        """Whether a failed model has a retry left by the table, and the job an attempt."""
        if job.attempt >= MAX_ATTEMPTS:
            return False
        earlier = self.jobs.runs(job.id)
        for name, outcome in outcomes.items():
            kind = outcome["error_class"]
            if outcome["state"] != "failed" or kind not in RUN_FAILURES:
                continue
            before = sum(run.model == name and run.error_class == kind for run in earlier)
            if before < RUN_FAILURES[kind].retries:
                return True
        return False
