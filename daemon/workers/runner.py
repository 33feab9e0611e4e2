"""LocalExecutor: one attempt at a time on this machine; the capture's models in order, one worker process each."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from meshdrop.daemon.base import fsops
from meshdrop.daemon.base.log import get_logger
from meshdrop.daemon.workers.attempts import (
    RESULT,
    ModelAnswer,
    ModelOutcome,
    Recipe,
    State,
    Step,
    finished_before,
    write_manifest,
)
from meshdrop.daemon.workers.executor import Attempt, Report
from meshdrop.daemon.workers.process import RUN_KEY, Ended, Home, TimeLimits, WorkerProcess, worker_request
from meshdrop.daemon.workers.strays import kill_marked
from meshdrop.daemon.workers.warming import Warming
from meshdrop.models.contract.failures import RUN_FAILURES, RunClass
from meshdrop.models.files.limits import CaptureLimits

log = get_logger()

_STATES: dict[str | None, State] = {None: "ok", RunClass.UNAVAILABLE: "skipped"}


@dataclass(frozen=True)
class RunRules:
    """How model runs are limited. ``run_s`` gives the longest time for a model, by its name."""

    run_s: Callable[[str], float]
    stall_s: float
    grace_s: float
    limits: CaptureLimits
    home: Home


class LocalExecutor:
    """Holds one runner. Construct and use on the main thread: workers die with the thread that started them."""

    def __init__(self, rules: RunRules) -> None:
        self._rules = rules
        self._warming = Warming(rules.home, rules.grace_s)
        self._run: _Run | None = None

    def free(self) -> int:
        """One, unless an attempt is there that was not cleared."""
        return 0 if self._run else 1

    def start(self, attempt: Attempt) -> None:
        """Begin the attempt's first model."""
        if self._run is not None:
            if self._run.attempt.key == attempt.key:
                return
            raise RuntimeError(f"attempt {self._run.attempt.key} still runs")
        self._run = _Run(attempt, self._rules, self._warming)

    def poll(self) -> list[Report] | None:
        """Drive the attempt on and report it."""
        return [self._report(self._run)] if self._run else []

    def cancel(self, key: str) -> None:
        """Stop the running model and skip the rest."""
        if self._run is not None and self._run.attempt.key == key:
            self._run.cancel()

    def clear(self, key: str) -> None:
        """Forget an attempt, and end what still runs of it."""
        if self._run is not None and self._run.attempt.key == key:
            self._run.give_up()
            self._run = None

    def close(self, keep: bool) -> None:
        """End what runs; processes of this machine cannot outlive the daemon, so ``keep`` changes nothing."""
        if self._run is None:
            return
        self._run.cancel()
        while (report := self._report(self._run)).state == "running" and report.trouble is None:
            time.sleep(0.02)

    @staticmethod
    def _report(run: _Run) -> Report:
        try:
            return run.step()
        except Exception as error:  # whose trouble it is, is for others to find out
            return Report(run.attempt.key, "running", 0.0, "held up", trouble=error)


class _Run:
    """One attempt: which model is at work, what the earlier ones came to."""

    def __init__(self, attempt: Attempt, rules: RunRules, warming: Warming) -> None:
        self.attempt = attempt
        self._rules = rules
        self._recipe = Recipe.from_text(attempt.recipe)
        self._outcomes: dict[str, ModelOutcome] = {}
        self._process: WorkerProcess | None = None
        self._warming = warming
        self._warms = False
        self._began = 0.0
        self._cancelled = False
        fsops.make_dir(Path(attempt.dir))

    def step(self) -> Report:
        """Go on as far as possible without waiting."""
        if self._process is not None:
            ended = self._process.poll()
            if ended is None:
                return self._running(self._process)
            self._process = None
            if self._warms:
                self._warms = False
                self._warming.conclude(ended)
            else:
                self._conclude(ended)
        while (step := self._next()) is not None:
            if self._cancelled:
                self._outcomes[step.model] = ModelOutcome("failed", RunClass.CANCELLED, "the job was cancelled")
            elif (kept := finished_before(Path(self.attempt.dir) / step.model)) is not None:
                fsops.sync_tree(Path(self.attempt.dir) / step.model)  # it may be here because that failed
                self._outcomes[step.model] = kept
            elif self._warming.is_due() and (warming := self._warming.start(self.attempt.key)) is not None:
                self._warms, self._process = True, warming
                return self._running(self._process)
            else:
                self._process = self._spawn(step)
                return self._running(self._process)
        return self._done()

    def cancel(self) -> None:
        """Stop at once; the models that were not begun are not begun."""
        self._cancelled = True
        if self._process is not None:
            self._process.stop("cancelled")

    def give_up(self) -> None:
        """End what runs, without waiting for it."""
        if self._process is not None:
            with contextlib.suppress(OSError):
                kill_marked(RUN_KEY, self._process.key)

    def _next(self) -> Step | None:
        return next((step for step in self._recipe.steps if step.model not in self._outcomes), None)

    def _spawn(self, step: Step) -> WorkerProcess:
        model, folder = step.model, Path(self.attempt.dir) / step.model
        fsops.fresh_dir(folder)
        self._began = time.time()
        request = worker_request(
            "run",
            Path(self.attempt.src),
            folder / RESULT,
            self._rules.limits,
            model=model,
            settings=step.settings,
            custom_models=self._recipe.custom_models,
            output=folder,
            digest=self.attempt.digest,
            extra_formats=self._recipe.extra_formats,
        )
        limits = TimeLimits(self._rules.run_s(model), self._rules.stall_s, self._rules.grace_s)
        process = WorkerProcess(f"{self.attempt.key}.{model}", request, folder, self._rules.home, limits)
        log.info("model started", job=self.attempt.key[:8], run=self.attempt.key, model=model)
        return process

    def _conclude(self, ended: Ended) -> None:
        step = self._next()
        if step is None:
            raise RuntimeError("a process ended that no step had started")
        answer = None
        if ended.answer is not None:
            try:
                answer = ModelAnswer.from_json(ended.answer)
            except ValueError as error:
                reason = f"{RUN_FAILURES[RunClass.GARBAGE].says} ({error})"
                ended = replace(ended, error_class=RunClass.GARBAGE, reason=reason, answer=None)
        state: State = _STATES.get(ended.error_class, "failed")
        if state == "ok":
            fsops.sync_tree(Path(self.attempt.dir) / step.model)
        self._outcomes[step.model] = ModelOutcome(
            state,
            ended.error_class,
            ended.reason,
            ended.fix,
            self._began,
            round(ended.seconds, 3),
            round(ended.cpu_seconds, 3),
            ended.peak_rss_mib,
            None if answer is None else answer.peak_vram_mib,
        )
        log.info(
            "model ended",
            job=self.attempt.key[:8],
            run=self.attempt.key,
            model=step.model,
            state=state,
            seconds=round(ended.seconds, 2),
            reason=ended.reason or None,
        )

    def _running(self, process: WorkerProcess) -> Report:
        if self._warms:
            return Report(self.attempt.key, "running", 0.0, f"kernels {process.percent:.0f} %: {process.step}")
        done, model = len(self._outcomes), process.key.rpartition(".")[2]
        progress = (done + process.percent / 100) / len(self._recipe.steps)
        return Report(self.attempt.key, "running", progress, f"{model} {process.percent:.0f} %: {process.step}")

    def _done(self) -> Report:
        write_manifest(Path(self.attempt.dir), self._outcomes)
        any_ok = any(outcome.state == "ok" for outcome in self._outcomes.values())
        if self._cancelled or not any_ok:
            note = "cancelled" if self._cancelled else "failed"
            return Report(self.attempt.key, "failed", 1.0, note, self._outcomes)
        return Report(self.attempt.key, "done", 1.0, "finished", self._outcomes)
