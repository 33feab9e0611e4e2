"""The quality report: ``report.json``, for programs; ``report_page.py`` makes ``report.html`` of it, for people.

``build_report`` takes the facts of a finished job, plain JSON values throughout; whatever is missing or None was not
taken::

    job          {id, name, attempt, created, started, finished}       times as ISO 8601 text, UTC
    capture      the inspection: {layout, views: [{name, width, height, mask_source, mask_coverage, depth_coverage}],
                 depth_unit_m, probe, problems: [{code, file, message, fix}], warnings: [text]}
    models       {name: {state: ok | failed | skipped, verdict: normal | warning | failure | None, reason, fix, seconds,
                 cpu_seconds, peak_rss_mib, peak_vram_mib, unseen_fraction, figures, files: {file: {size, sha256}},
                 settings, versions, notes: [text], made_by: whose mesh it is when its own was no better,
                 registered: whether it stands in the capture's frame, validation: what the glTF validator said, as
                 models/mesh/gltf_validation.py has it}}
                                                                       in the order of the page
    measurement  what the measuring process answered: {models: {name: {error, files, topology, quality, pictures}},
                 pictures: [name under previews/]}
    verdict      normal | warning | failure, for the whole job
    best         name of the model to take, or None
    error        {code, message, fix} when the job itself failed
    trend        [{name, finished, verdict, psnr_masked_db, probe_score}]: what became of this rig's last captures
    input_digest SHA-256 of the capture;  stages {name: seconds};  versions {};  settings {};  notes [text]
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import datetime
from pathlib import PurePath
from typing import Any

from meshdrop.daemon.reporting import tables
from meshdrop.daemon.reporting.grades import grade, least

SCHEMA = "meshdrop.report/1"
VERDICTS = ("normal", "warning", "failure")
STATES = ("ok", "failed", "skipped")

Json = dict[str, Any]


def build_report(facts: Mapping[str, Any]) -> Json:
    """``report.json`` from the facts of a job (see the module's docstring): complete, ordered, plain JSON values.

    Raises ``ValueError`` for an unknown verdict or state, and ``TypeError`` for values that JSON does not know. NaN and
    infinities become None.
    """
    models = {str(name): _model(str(name), model, facts) for name, model in (facts.get("models") or {}).items()}
    best = facts.get("best")
    if best is not None and best not in models:
        raise ValueError(f"the best model {best!r} is not among the job's models")
    report: Json = {
        "schema": SCHEMA,
        "verdict": _one_of(facts.get("verdict"), VERDICTS),
        "headline": "",
        "best": best,
        "job": _job(facts.get("job") or {}),
        "error": facts.get("error"),
        "capture": _capture(facts.get("capture")),
        "models": models,
        "trend": list(facts.get("trend") or []),
        "pictures": list((facts.get("measurement") or {}).get("pictures") or []),
        "input_digest": facts.get("input_digest"),
        "stages": dict(facts.get("stages") or {}),
        "versions": dict(facts.get("versions") or {}),
        "settings": dict(facts.get("settings") or {}),
        "notes": list(facts.get("notes") or []),
    }
    report["headline"] = headline(report)
    plain = _plain(report)
    if not isinstance(plain, dict):
        raise TypeError("a report is an object")
    return plain


def headline(report: Mapping[str, Any]) -> str:
    """The verdict as one sentence with the figures that made it, and with what keeps the mesh from being a good one."""
    best = report["best"]
    if best is None:
        told = str(tables.dig(report, "error", "message") or _why_nothing(report["models"]))
        reason = "; ".join(told.splitlines())  # a line for each model
        return f"No usable mesh: {reason}" if reason else "No usable mesh."
    model = report["models"][best]
    figures = _key_figures(model)
    word = {"normal": "Good mesh", "warning": "Usable mesh, with warnings", "failure": "Poor mesh"}[report["verdict"]]
    sentence = f"{word}: take {best} ({figures})" if figures else f"{word}: take {best}"
    return "; ".join([sentence, *_flaws(model)]) + "."


def _model(name: str, model: Mapping[str, Any], facts: Mapping[str, Any]) -> Json:
    measured = tables.dig(facts, "measurement", "models", name)
    if measured is not None:
        unmeasured: Json = dict.fromkeys(("error", "files", "topology", "quality", "viewer"))
        measured = {**unmeasured, "pictures": [], **measured}
    return {
        "state": _one_of(model.get("state"), STATES),
        "verdict": None if model.get("verdict") is None else _one_of(model["verdict"], VERDICTS),
        "reason": model.get("reason"),
        "fix": model.get("fix"),
        "seconds": model.get("seconds"),
        "cpu_seconds": model.get("cpu_seconds"),
        "peak_rss_mib": model.get("peak_rss_mib"),
        "peak_vram_mib": model.get("peak_vram_mib"),
        "unseen_fraction": model.get("unseen_fraction"),
        "made_by": model.get("made_by"),
        "registered": model.get("registered"),
        "notes": [note for note in model.get("notes") or [] if str(note).strip()],
        "figures": dict(model.get("figures") or {}),
        "settings": dict(model.get("settings") or {}),
        "versions": dict(model.get("versions") or {}),
        "licences": list(tables.dig(model, "asset", "licences") or []),
        "files": dict(model.get("files") or {}),
        "measured": measured,
        "validation": model.get("validation"),
    }


def _capture(capture: Mapping[str, Any] | None) -> Json | None:
    if not capture:
        return None
    return {"layout": None, "problems": [], "warnings": [], "views": [], "depth_unit_m": None, "probe": None, **capture}


def _job(job: Mapping[str, Any]) -> Json:
    fields: Json = {key: job.get(key) for key in ("id", "name", "attempt", "created", "started", "finished")}
    fields["seconds"] = _between(fields["started"], fields["finished"])
    return fields


def _between(start: str | None, end: str | None) -> float | None:
    try:
        span = datetime.fromisoformat(end or "") - datetime.fromisoformat(start or "")
    except (ValueError, TypeError):
        return None
    return span.total_seconds()


def _key_figures(model: Json) -> str:
    """The three figures that people ask for first."""
    mean = tables.dig(model, "measured", "quality", "mean") or {}
    parts = []
    if mean.get("psnr_masked_db") is not None and mean.get("ssim_masked") is not None:
        parts.append(f"{mean['psnr_masked_db']:.1f} dB and SSIM {mean['ssim_masked']:.3f} on the object")
    if mean.get("depth_median_mm") is not None:
        parts.append(f"median depth error {mean['depth_median_mm']:.2f} mm")
    return ", ".join(parts)


def _flaws(model: Json) -> list[str]:
    """What makes a usable mesh less than a good one."""
    if model["verdict"] != "warning":
        return []
    if model["registered"] is False:
        flaws = ["it has no place in the capture's frame and was not compared: look at it, but do not measure it"]
    else:
        mean = tables.dig(model, "measured", "quality", "mean") or {}
        good = grade(mean.get("psnr_masked_db"), mean.get("ssim_masked")) == "normal"
        flaws = [] if good else [f"a good mesh has {least('normal')}"]
    if tables.dig(model, "validation", "status") == "failed":
        flaws.append("its GLB breaks the glTF standard")
    return flaws


def _why_nothing(models: Mapping[str, Json]) -> str:
    """What kept each model from a usable mesh: its figures, its error, or why it did not run."""
    reasons = []
    for name, model in models.items():
        why = _key_figures(model) or tables.dig(model, "measured", "error", "message") or model["reason"]
        if why:
            reasons.append(f"{name}: {str(why).rstrip('.')}")
    return "; ".join(reasons) + "." if reasons else ""


def _one_of(value: Any, allowed: tuple[str, ...]) -> str:
    if value not in allowed:
        raise ValueError(f"{value!r} is none of {', '.join(allowed)}")
    return str(value)


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
