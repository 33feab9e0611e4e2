"""From finished meshes to figures, a verdict and a report. The measuring itself happens in a process of its own."""

from __future__ import annotations

import errno
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from meshdrop.daemon.base import fsops
from meshdrop.daemon.base.clock import Clock
from meshdrop.daemon.base.errors import Stopping
from meshdrop.daemon.base.failures import FAILURES
from meshdrop.daemon.base.places import shown
from meshdrop.daemon.base.settings import Settings
from meshdrop.daemon.base.share import Share
from meshdrop.daemon.outbox import gltf_validation
from meshdrop.daemon.reporting.facts import JobFacts, ModelReport, QualityReport, ReportedError
from meshdrop.daemon.reporting.grades import Appraisal, Verdict, appraise
from meshdrop.daemon.reporting.trend import MOST, rig_of, trend
from meshdrop.daemon.workers.answers import value_of
from meshdrop.daemon.workers.attempts import ModelAnswer, ModelOutcome, Outcomes
from meshdrop.daemon.workers.process import TimeLimits, WorkerProcess, home_of, run_to_end, worker_request
from meshdrop.db.jobs import Jobs
from meshdrop.db.records import Job, ModelRun
from meshdrop.models.contract.failures import RunClass
from meshdrop.models.measure.figures import Measurement, ModelMeasurement
from meshdrop.models.measure.provenance import software_versions
from meshdrop.models.mesh.gltf_validation import Validation

_ORDER: dict[str, int] = {"normal": 2, "warning": 1, "failure": 0}
_MEASURE_LIMIT_S = 1800.0
AGAIN = "drop the capture again; if it repeats, send the folder to whoever looks after the service"


@dataclass(frozen=True)
class Assessment:
    """What a finished attempt is worth. ``best`` names the model to use; without one the job fails for ``code``."""

    verdict: Verdict
    best: str | None
    code: str = ""
    reason: str = ""


@dataclass(frozen=True)
class Assessor:
    """Measures, judges and writes the report of an attempt. ``stopping`` tells whether the daemon was asked to end."""

    share: Share
    jobs: Jobs
    settings: Settings
    clock: Clock
    stopping: Callable[[], bool]

    def assess(self, job: Job, outcomes: Outcomes) -> Assessment:
        """Measure every finished model, write report.json and report.html into the attempt, and judge.

        Raises ``Stopping`` when the daemon ends meanwhile; the attempt is then begun again at the next start.
        """
        attempt = self.share.places.attempt(job.id, job.attempt)
        finished = [name for name, outcome in outcomes.items() if outcome.state == "ok"]
        began = self.clock.now()
        measured = self._measure(job, attempt, finished) if finished else Measurement({})
        validated = self._validate(job, attempt, finished)
        models = {
            name: self._finished(attempt / name, outcome, measured.models[name], validated[name])
            if outcome.state == "ok"
            else _unfinished(outcome)
            for name, outcome in outcomes.items()
        }
        assessment = judge(models)
        self._record(job, outcomes, models)
        stages = _stages(job, models, self.clock.now() - began if finished else None)
        self._write_report(job, attempt, models, measured.pictures, assessment, stages)
        return assessment

    def _measure(self, job: Job, attempt: Path, finished: list[str], *, again: bool = True) -> Measurement:
        places, folder = self.share.places, attempt / "measure"
        fsops.fresh_dir(folder)
        request = worker_request(
            "measure",
            places.capture(job.id),
            folder / "measurement.json",
            self.settings.limits,
            models={name: str(attempt / name) for name in finished},
            output=folder,
        )
        process = WorkerProcess(
            f"{job.id}.measure",
            request,
            folder,
            home_of(self.settings),
            TimeLimits(_MEASURE_LIMIT_S, self.settings.stall_limit_s, self.settings.stop_grace_s),
        )
        ended = run_to_end(process, self.stopping)
        if ended.error_class == "cancelled":
            raise Stopping
        if ended.answer is not None:
            try:
                return _all_of(value_of(Measurement, ended.answer), finished)
            except ValueError as error:
                return _unmeasured(finished, RunClass.GARBAGE, f"what it answered makes no sense: {error}", AGAIN)
        if ended.error_class == "disk":
            raise OSError(errno.ENOSPC, ended.reason)
        if again and ended.error_class != "memory_limit":
            # Most likely the machine ran out of memory: the mesh is not to blame, so it is measured once more.
            return self._measure(job, attempt, finished, again=False)
        return _unmeasured(finished, ended.error_class or RunClass.ERROR, ended.reason, ended.fix)

    def _validate(self, job: Job, attempt: Path, finished: list[str]) -> dict[str, Validation]:
        folders = {name: attempt / name for name in finished}
        return gltf_validation.validate(job.id, folders, attempt / "measure", self.settings, self.stopping)

    def _finished(
        self, folder: Path, outcome: ModelOutcome, measured: ModelMeasurement, validation: Validation
    ) -> ModelReport:
        """Raises ``ValueError`` when the model's answer is no longer what it was when the attempt ended."""
        answer = ModelAnswer.read(folder)
        told = ModelReport(
            state=outcome.state,
            reason=outcome.reason,
            fix=outcome.fix,
            seconds=answer.seconds,
            cpu_seconds=answer.cpu_seconds,
            peak_rss_mib=answer.peak_rss_mib,
            peak_vram_mib=answer.peak_vram_mib,
            unseen_fraction=answer.unseen_fraction,
            made_by=answer.made_by,
            registered=answer.registered,
            notes=tuple(note for note in answer.notes if note.strip()),
            figures=answer.figures,
            settings=answer.settings,
            versions=answer.versions,
            licences=answer.asset.licences,
            files={name: asdict(file) for name, file in answer.files.items()},
            measured=measured,
        )
        return with_validation(graded(told), validation)

    def _record(self, job: Job, outcomes: Outcomes, models: Mapping[str, ModelReport]) -> None:
        for name, model in models.items():
            outcome = outcomes[name]
            figures = {
                "verdict": model.verdict,
                "psnr_masked_db": _psnr(model),
                "cpu_seconds": model.cpu_seconds,
                "peak_rss_mib": model.peak_rss_mib,
                "peak_vram_mib": model.peak_vram_mib,
                "unseen_fraction": model.unseen_fraction,
                "settings": model.settings or None,
                "versions": model.versions or None,
                "carried_over": outcome.carried_over or None,
            }
            self.jobs.record_run(
                job.id,
                ModelRun(
                    model=name,
                    attempt=job.attempt,
                    state=model.state,
                    started_at=outcome.started_at,
                    seconds=model.seconds,
                    error_class=outcome.error_class,
                    reason=model.reason or None,
                    fix=model.fix or None,
                    figures={name: figure for name, figure in figures.items() if figure is not None},
                ),
            )

    def _write_report(
        self,
        job: Job,
        attempt: Path,
        models: Mapping[str, ModelReport],
        pictures: tuple[str, ...],
        assessment: Assessment,
        stages: Mapping[str, float],
    ) -> None:
        # Loaded with the first report: its templates take memory that a service which only watches need not have.
        from meshdrop.daemon.reporting.page import render_html  # noqa: PLC0415

        rig = rig_of(job.inspection or {})
        report = QualityReport(
            verdict=assessment.verdict,
            best=assessment.best,
            job=JobFacts(
                id=job.id,
                name=shown(job.name),
                attempt=job.attempt,
                created=_utc(job.created_at),
                started=_utc(job.started_at),
                finished=_utc(self.clock.now()),
            ),
            error=None
            if assessment.best
            else ReportedError(assessment.code, assessment.reason, FAILURES[assessment.code].fix),
            capture=job.inspection,
            models=models,
            trend=trend(self.jobs.last_like(lambda other: rig_of(other) == rig, MOST)),
            pictures=pictures,
            input_digest=job.digest,
            stages=stages,
            versions=software_versions(),
            settings={"models": list(models), "extra_formats": list(self.settings.extra_formats)},
        )
        told = json.dumps(report.to_json(), indent=1, ensure_ascii=True)
        fsops.write_file(attempt / "report.json", told.encode())
        fsops.write_pieces(attempt / "report.html", render_html(report, attempt))


def _all_of(measurement: Measurement, models: Sequence[str]) -> Measurement:
    """The same; ``ValueError`` when one of these models is not in it."""
    if missing := [name for name in models if name not in measurement.models]:
        raise ValueError(f"{missing[0]} is not in it")
    return measurement


def _unmeasured(models: Sequence[str], code: str, reason: str, fix: str) -> Measurement:
    """Nothing is known of these models' meshes, and why."""
    error = {"code": code, "message": f"measuring failed: {reason}", "fix": fix}
    return Measurement({name: ModelMeasurement(error=error) for name in models})


def _unfinished(outcome: ModelOutcome) -> ModelReport:
    """The part of a model that left no mesh."""
    return ModelReport(
        state=outcome.state,
        reason=outcome.reason,
        fix=outcome.fix,
        seconds=outcome.seconds,
        cpu_seconds=outcome.cpu_seconds,
        peak_rss_mib=outcome.peak_rss_mib,
        peak_vram_mib=outcome.peak_vram_mib,
    )


def _utc(seconds: float | None) -> str | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")


def _stages(job: Job, models: Mapping[str, ModelReport], assessing_s: float | None) -> dict[str, float]:
    """Seconds of each part of a job's way; those of earlier attempts are in the wait."""
    waited = None if job.started_at is None else job.started_at - job.created_at
    parts = {"reading and waiting": waited} | {name: model.seconds for name, model in models.items()}
    parts |= {"measuring and validating": assessing_s}
    # a clock that was set back between two looks must not show
    return {name: max(seconds, 0.0) for name, seconds in parts.items() if seconds is not None}


def graded(model: ModelReport) -> ModelReport:
    """The same with its verdict, by what was measured of its mesh."""
    measured = model.measured
    if measured is not None and measured.error is not None:
        return replace(model, verdict="failure", reason=measured.error["message"], fix=measured.error["fix"])
    if measured is None or measured.quality is None:
        return replace(model, verdict="warning")  # it does not stand in the capture's frame: nobody can tell
    judged = appraise(measured.quality)
    return replace(model, verdict=judged.verdict, judged=judged)


def with_validation(model: ModelReport, validation: Validation) -> ModelReport:
    """The same with what the glTF validator said; a file with errors makes it a warning at best."""
    told = replace(model, validation=validation)
    broken = gltf_validation.objection(validation)
    if broken is None:
        return told
    verdict = "warning" if model.verdict == "normal" else model.verdict
    return replace(told, notes=(*model.notes, broken), verdict=verdict)


def judge(models: Mapping[str, ModelReport]) -> Assessment:
    """The best verdict of any model decides; among equals a valid GLB and then the higher masked PSNR name the best."""
    finished = {name: model for name, model in models.items() if model.state == "ok"}
    if not finished:
        skipped = all(model.state == "skipped" for model in models.values())
        code = "no_model" if skipped else "models"
        reasons = "\n".join(f"{name}: {model.reason}" for name, model in models.items())
        return Assessment("failure", None, code, reasons)
    name = max(finished, key=lambda name: _standing(finished[name]))
    best = finished[name]
    if best.verdict is not None and best.verdict != "failure":
        return Assessment(best.verdict, name)
    if best.judged is None:
        return Assessment("failure", None, "results", best.reason or FAILURES["results"].says)
    return Assessment("failure", None, "quality", _shortcomings(name, best.judged))


def _shortcomings(name: str, judged: Appraisal) -> str:
    """Which questions a mesh failed in, one a line, with the figures and with what would have been enough."""
    failed = judged.short_of("warning") or judged.answers
    lines = [f"{name}, {one.question}: {one.says}{f'; {one.wants}' if one.wants else ''}." for one in failed]
    if judged.worst_view is not None:
        lines.append(f"The view that agrees least is {judged.worst_view.name}.")
    return "\n".join(lines)


def _standing(model: ModelReport) -> tuple[int, bool, float]:
    valid = gltf_validation.objection(model.validation) is None
    return _ORDER[model.verdict or "failure"], valid, _psnr(model) or 0.0


def _psnr(model: ModelReport) -> float | None:
    quality = None if model.measured is None else model.measured.quality
    return None if quality is None else quality.mean.psnr_masked_db
