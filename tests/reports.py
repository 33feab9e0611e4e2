"""Reports of jobs that nobody ran, from plain JSON values as the processes that measure and run models answer them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from meshdrop.daemon.reporting.facts import ModelReport, QualityReport
from meshdrop.daemon.workers.answers import value_of
from meshdrop.models.measure.figures import Measurement


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
