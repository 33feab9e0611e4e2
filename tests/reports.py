"""Reports of jobs that nobody ran, from plain JSON values as the processes that measure and run models answer them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from meshdrop.daemon.reporting.facts import ModelReport, QualityReport
from meshdrop.daemon.workers.answers import value_of
from meshdrop.models.measure.figures import Measurement

MEAN = {
    "views": 2,
    "psnr_masked_db": 31.24,
    "ssim_masked": 0.9314,
    "psnr_whole_db": 38.0,
    "ssim_whole": 0.98,
    "silhouette_iou": 0.991,
    "unseen_share": 0.01,
    "depth_median_mm": 0.731,
    "depth_p95_mm": 2.1,
    "depth_bias_mm": -0.02,
    "depth_within_1mm": 0.66,
    "depth_within_2mm": 0.95,
    "depth_within_5mm": 1.0,
    "depth_median_share_of_size": 0.0007,
}


def model_of(told: Mapping[str, Any]) -> ModelReport:
    """One model's part under the names of report.json."""
    return value_of(ModelReport, dict(told))


def report_of(facts: Mapping[str, Any]) -> QualityReport:
    """The report under the names of report.json, but for what was measured, which stands together under
    ``measurement`` as the measuring process answers."""
    measured = value_of(Measurement, {"models": {}, **(facts.get("measurement") or {})})
    told = {name: fact for name, fact in facts.items() if name != "measurement"}
    models = {
        name: {**model, "measured": measured.models.get(name)} for name, model in (facts.get("models") or {}).items()
    }
    return value_of(QualityReport, {"best": None, **told, "models": models, "pictures": measured.pictures})


def quality(**changes: Any) -> dict[str, Any]:
    """What was measured of a good mesh in two views, with other means."""
    return {"mean": {**MEAN, **changes}, "held_out": None, "views": []}
