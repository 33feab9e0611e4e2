"""From finished meshes to figures, a verdict and a report. The measuring itself happens in a process of its own."""

from __future__ import annotations

import errno
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from meshdrop.daemon.base import fsops
from meshdrop.daemon.base.clock import Clock
from meshdrop.daemon.base.errors import Stopping
from meshdrop.daemon.base.failures import FAILURES
from meshdrop.daemon.base.places import shown
from meshdrop.daemon.base.settings import Settings
from meshdrop.daemon.base.share import Share
from meshdrop.daemon.outbox import gltf_validation
from meshdrop.daemon.reporting.grades import Verdict, grade, least
from meshdrop.daemon.reporting.trend import MOST, rig_of, trend
from meshdrop.daemon.workers.attempts import RESULT, ModelOutcome, Outcomes
from meshdrop.daemon.workers.process import TimeLimits, WorkerProcess, home_of, read_answer, run_to_end, worker_request
from meshdrop.db.jobs import Jobs
from meshdrop.db.records import Job, ModelRun
from meshdrop.models.measure.provenance import software_versions

_ORDER: dict[str, int] = {"normal": 2, "warning": 1, "failure": 0}
_MEASURE_LIMIT_S = 1800.0


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
        measured = self._measure(job, attempt, finished) if finished else {"models": {}, "pictures": []}
        validated = self._validate(job, attempt, finished)
        models = {
            name: with_validation(self._model_facts(attempt, name, outcomes[name], measured), validated.get(name))
            for name in outcomes
        }
        assessment = judge(models)
        self._record(job, models)
        stages = _stages(job, models, self.clock.now() - began if finished else None)
        self._write_report(job, attempt, models, measured, assessment, stages)
        return assessment

    def _measure(self, job: Job, attempt: Path, finished: list[str], *, again: bool = True) -> dict[str, Any]:
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
            return ended.answer
        if ended.error_class == "disk":
            raise OSError(errno.ENOSPC, ended.reason)
        if again and ended.error_class != "memory_limit":
            # Most likely the machine ran out of memory: the mesh is not to blame, so it is measured once more.
            return self._measure(job, attempt, finished, again=False)
        error = {"code": ended.error_class, "message": f"measuring failed: {ended.reason}", "fix": ended.fix}
        return {"models": {name: {"error": error} for name in finished}, "pictures": []}

    def _validate(self, job: Job, attempt: Path, finished: list[str]) -> dict[str, dict[str, Any]]:
        folders = {name: attempt / name for name in finished}
        return gltf_validation.validate(job.id, folders, attempt / "measure", self.settings, self.stopping)

    def _model_facts(
        self, attempt: Path, name: str, outcome: ModelOutcome, measured: Mapping[str, Any]
    ) -> dict[str, Any]:
        facts = outcome.to_json()
        if outcome.state != "ok":
            return facts
        if (answer := read_answer(attempt / name / RESULT)) is None:
            raise ValueError(f"{name}/{RESULT} is no longer what the model answered")
        facts |= answer
        figures = measured["models"].get(name, {})
        if error := figures.get("error"):
            return {**facts, "verdict": "failure", "reason": error["message"], "fix": error["fix"]}
        if figures.get("quality") is None:
            # it does not stand in the capture's frame: nobody can tell
            return {**facts, "verdict": "warning", "psnr_masked_db": None}
        mean = figures["quality"]["mean"]
        psnr, ssim = mean["psnr_masked_db"], mean["ssim_masked"]
        return {**facts, "verdict": grade(psnr, ssim), "psnr_masked_db": psnr, "ssim_masked": ssim}

    def _record(self, job: Job, models: Mapping[str, Mapping[str, Any]]) -> None:
        for name, facts in models.items():
            self.jobs.record_run(
                job.id,
                ModelRun(
                    model=name,
                    attempt=job.attempt,
                    state=facts["state"],
                    started_at=facts.get("started_at"),
                    seconds=facts.get("seconds"),
                    error_class=facts.get("error_class"),
                    reason=facts.get("reason") or None,
                    fix=facts.get("fix") or None,
                    figures={
                        key: facts.get(key)
                        for key in (
                            "verdict",
                            "psnr_masked_db",
                            "cpu_seconds",
                            "peak_rss_mib",
                            "peak_vram_mib",
                            "unseen_fraction",
                            "settings",
                            "versions",
                            "carried_over",
                        )
                        if facts.get(key) is not None
                    },
                ),
            )

    def _write_report(
        self,
        job: Job,
        attempt: Path,
        models: Mapping[str, Any],
        measured: Mapping[str, Any],
        assessment: Assessment,
        stages: Mapping[str, float],
    ) -> None:
        # Loaded with the first report: its templates take memory that a service which only watches need not have.
        from meshdrop.daemon.reporting.facts import build_report  # noqa: PLC0415
        from meshdrop.daemon.reporting.page import render_html  # noqa: PLC0415

        rig = rig_of(job.inspection or {})
        report = build_report(
            {
                "job": {
                    "id": job.id,
                    "name": shown(job.name),
                    "attempt": job.attempt,
                    "created": _utc(job.created_at),
                    "started": _utc(job.started_at),
                    "finished": _utc(self.clock.now()),
                },
                "input_digest": job.digest,
                "capture": job.inspection or {},
                "models": models,
                "measurement": measured,
                "best": assessment.best,
                "verdict": assessment.verdict,
                "trend": trend(self.jobs.last_like(lambda other: rig_of(other) == rig, MOST)),
                "stages": stages,
                "versions": software_versions(),
                "settings": {"models": list(models), "extra_formats": list(self.settings.extra_formats)},
                "error": None
                if assessment.best
                else {"code": assessment.code, "message": assessment.reason, "fix": FAILURES[assessment.code].fix},
            }
        )
        fsops.write_file(attempt / "report.json", json.dumps(report, indent=1, ensure_ascii=True).encode())
        fsops.write_pieces(attempt / "report.html", render_html(report, attempt))


def _utc(seconds: float | None) -> str | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")


def _stages(job: Job, models: Mapping[str, Mapping[str, Any]], assessing_s: float | None) -> dict[str, float]:
    """Seconds of each part of a job's way; those of earlier attempts are in the wait."""
    waited = None if job.started_at is None else job.started_at - job.created_at
    parts = {"reading and waiting": waited} | {name: facts.get("seconds") for name, facts in models.items()}
    parts |= {"measuring and validating": assessing_s}
    # a clock that was set back between two looks must not show
    return {name: max(seconds, 0.0) for name, seconds in parts.items() if seconds is not None}


def with_validation(facts: Mapping[str, Any], validation: Mapping[str, Any] | None) -> dict[str, Any]:
    """A model's facts with what the glTF validator said; a file with errors makes it a warning at best."""
    told = {**facts, "validation": validation}
    broken = gltf_validation.objection(validation)
    if broken is not None:
        told["notes"] = [*facts.get("notes", ()), broken]
        told["verdict"] = "warning" if facts["verdict"] == "normal" else facts["verdict"]
    return told


def judge(models: Mapping[str, Mapping[str, Any]]) -> Assessment:
    """The best verdict of any model decides; among equals a valid GLB and then the higher masked PSNR name the best."""
    finished = {name: facts for name, facts in models.items() if facts["state"] == "ok"}
    if not finished:
        skipped = all(facts["state"] == "skipped" for facts in models.values())
        code = "no_model" if skipped else "models"
        reasons = "\n".join(f"{name}: {facts['reason']}" for name, facts in models.items())
        return Assessment("failure", None, code, reasons)
    best = max(finished, key=lambda name: _standing(finished[name]))
    verdict: Verdict = finished[best]["verdict"]
    if verdict != "failure":
        return Assessment(verdict, best)
    if finished[best].get("psnr_masked_db") is None:
        return Assessment("failure", None, "results", finished[best].get("reason") or FAILURES["results"].says)
    psnr, ssim = finished[best]["psnr_masked_db"], finished[best]["ssim_masked"]
    reason = f"{best} reaches {psnr:.1f} dB and SSIM {ssim:.3f} on the object; a usable mesh has {least('warning')}."
    return Assessment("failure", None, "quality", reason)


def _standing(facts: Mapping[str, Any]) -> tuple[int, bool, float]:
    valid = gltf_validation.objection(facts.get("validation")) is None
    return _ORDER[facts["verdict"]], valid, facts.get("psnr_masked_db") or 0.0
