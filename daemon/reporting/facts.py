"""The quality report as values: ``report.json``, for programs, is written from them, and ``page.py`` makes
``report.html`` of them, for people. Whatever is None was not taken.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import PurePath
from typing import Any, Literal

from meshdrop.daemon.reporting import tables
from meshdrop.daemon.reporting.grades import Appraisal, Verdict
from meshdrop.daemon.reporting.trend import EarlierCapture
from meshdrop.models.measure.figures import ModelMeasurement
from meshdrop.models.mesh.gltf_validation import Validation

SCHEMA = "meshdrop.report/1"

Json = dict[str, Any]


@dataclass(frozen=True)
class JobFacts:
    """The job that a report tells of. Times are ISO 8601 text, UTC."""

    id: str | None = None
    name: str | None = None
    attempt: int | None = None
    created: str | None = None
    started: str | None = None
    finished: str | None = None

    @property
    def seconds(self) -> float | None:
        """From its start to its end."""
        try:
            span = datetime.fromisoformat(self.finished or "") - datetime.fromisoformat(self.started or "")
        except (ValueError, TypeError):
            return None
        return span.total_seconds()

    def to_json(self) -> Json:
        """Plain JSON values under the names above, and ``seconds``."""
        return {**asdict(self), "seconds": self.seconds}


@dataclass(frozen=True)
class ReportedError:
    """Why a job failed, and what to do."""

    code: str
    message: str
    fix: str


@dataclass(frozen=True)
class ModelReport:
    """One model's part: how its run ended, what it said of itself, and what was measured of its mesh.

    Time in seconds, memory in MiB; ``figures``, ``settings`` and ``versions`` are the model's own JSON values.
    ``made_by`` names whose mesh it is when its own was no better, ``registered`` tells whether it stands in the
    capture's frame, ``judged`` what its verdict rests on. ``files`` are those that its answer vouches for, ``{size,
    sha256}`` by name.
    """

    state: Literal["ok", "failed", "skipped"]
    verdict: Verdict | None = None
    reason: str | None = None
    fix: str | None = None
    seconds: float | None = None
    cpu_seconds: float | None = None
    peak_rss_mib: int | float | None = None
    peak_vram_mib: int | float | None = None
    unseen_fraction: float | None = None
    made_by: str | None = None
    registered: bool | None = None
    notes: tuple[str, ...] = ()
    figures: Mapping[str, Any] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    versions: Mapping[str, Any] = field(default_factory=dict)
    licences: tuple[str, ...] = ()
    files: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    measured: ModelMeasurement | None = None
    validation: Validation | None = None
    judged: Appraisal | None = None

    def to_json(self) -> Json:
        """Plain JSON values under the names above."""
        own = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return own | {
            "measured": None if self.measured is None else self.measured.to_json(),
            "validation": None if self.validation is None else self.validation.to_json(),
            "judged": None if self.judged is None else self.judged.to_json(),
        }


@dataclass(frozen=True)
class QualityReport:
    """All that is told of a finished job; ``models`` in the order of the page.

    ``capture`` is the inspection's own JSON: {layout, views: [{name, width, height, mask_source, mask_coverage,
    depth_coverage}], depth_unit_m, probe, problems: [{code, file, message, fix}], warnings: [text]}. ``best`` names the
    model to take; ``error`` tells why the job itself failed. ``trend`` is what became of this rig's last captures,
    ``pictures`` are names under previews/, ``stages`` seconds by name, ``input_digest`` the capture's SHA-256.
    Raises ``ValueError`` for a best model that is not among the models.
    """

    verdict: Verdict
    best: str | None
    job: JobFacts = JobFacts()
    error: ReportedError | None = None
    capture: Mapping[str, Any] | None = None
    models: Mapping[str, ModelReport] = field(default_factory=dict)
    trend: tuple[EarlierCapture, ...] = ()
    pictures: tuple[str, ...] = ()
    input_digest: str | None = None
    stages: Mapping[str, float] = field(default_factory=dict)
    versions: Mapping[str, Any] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.best is not None and self.best not in self.models:
            raise ValueError(f"the best model {self.best!r} is not among the job's models")

    @property
    def headline(self) -> str:
        """The verdict as one sentence with the figures that made it."""
        return headline(self)

    def to_json(self) -> Json:
        """``report.json``: complete, ordered, plain JSON values. NaN and infinities become None; raises ``TypeError``
        for values that JSON does not know."""
        told: Json = {
            "schema": SCHEMA,
            "verdict": self.verdict,
            "headline": self.headline,
            "best": self.best,
            "job": self.job.to_json(),
            "error": None if self.error is None else asdict(self.error),
            "capture": self._capture(),
            "models": {name: model.to_json() for name, model in self.models.items()},
            "trend": [asdict(one) for one in self.trend],
            "pictures": self.pictures,
            "input_digest": self.input_digest,
            "stages": self.stages,
            "versions": self.versions,
            "settings": self.settings,
            "notes": self.notes,
        }
        return {name: _plain(fact) for name, fact in told.items()}

    def _capture(self) -> Json | None:
        if not self.capture:
            return None
        nothing: Json = {"layout": None, "problems": [], "warnings": [], "views": [], "depth_unit_m": None}
        return {**nothing, "probe": None, **self.capture}


def headline(report: QualityReport) -> str:
    """The verdict as one sentence with the figures that made it, and with what keeps the mesh from being a good one."""
    if report.best is None:
        told = report.error.message if report.error is not None else _why_nothing(report.models)
        reason = "; ".join(line.rstrip(".") for line in told.splitlines())  # a line for each model or question
        return f"No usable mesh: {reason}." if reason else "No usable mesh."
    model = report.models[report.best]
    figures = _key_figures(model)
    word = {"normal": "Good mesh", "warning": "Usable mesh, with warnings", "failure": "Poor mesh"}[report.verdict]
    sentence = f"{word}: take {report.best} ({figures})" if figures else f"{word}: take {report.best}"
    return "; ".join([sentence, *_flaws(model)]) + "."


def _key_figures(model: ModelReport) -> str:
    """The three figures that people ask for first."""
    mean = tables.dig(model, "measured", "quality", "mean")
    if mean is None:
        return ""
    parts = []
    if mean.psnr_masked_db is not None and mean.ssim_masked is not None:
        parts.append(f"{mean.psnr_masked_db:.1f} dB and SSIM {mean.ssim_masked:.3f} on the object")
    if mean.depth_median_mm is not None:
        parts.append(f"median depth error {mean.depth_median_mm:.2f} mm")
    return ", ".join(parts)


def _flaws(model: ModelReport) -> list[str]:
    """What makes a usable mesh less than a good one."""
    if model.verdict != "warning":
        return []
    if model.registered is False:
        flaws = ["it has no place in the capture's frame and was not compared: look at it, but do not measure it"]
    else:
        flaws = [] if model.judged is None else _shortcomings(model.judged)
    if model.validation is not None and model.validation.status == "failed":
        flaws.append("its GLB breaks the glTF standard")
    return flaws


def _shortcomings(judged: Appraisal) -> list[str]:
    """In which questions a mesh is less than good, and where least; the figures stand below the headline."""
    short = [answer.question for answer in judged.short_of("normal")]
    if not short:
        return []
    listed = " and ".join(filter(None, (", ".join(short[:-1]), short[-1])))
    where = "" if judged.worst_view is None else f", least in {judged.worst_view.name}"
    return [f"less than good in {listed}{where}"]


def _why_nothing(models: Mapping[str, ModelReport]) -> str:
    """What kept each model from a usable mesh: its figures, its error, or why it did not run."""
    reasons = []
    for name, model in models.items():
        why = _key_figures(model) or tables.dig(model, "measured", "error", "message") or model.reason
        if why:
            reasons.append(f"{name}: {str(why).rstrip('.')}")
    return "; ".join(reasons) + "." if reasons else ""


def _plain(value: Any) -> Any:
    """Only what JSON knows; a number that is not finite was not taken."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, PurePath):
        return str(value)
    if value is None or isinstance(value, str | int):
        return value
    raise TypeError(f"{type(value).__name__} does not belong into a report")
