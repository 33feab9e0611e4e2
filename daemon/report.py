"""The quality report: ``report.json`` for programs and one self-contained ``report.html`` for people.

``build_report`` takes the facts of a finished job, plain JSON values throughout; whatever is missing or None was not
taken::

    job          {id, name, attempt, created, started, finished}       times as ISO 8601 text, UTC
    capture      the inspection: {layout, views: [{name, width, height, mask_source, mask_coverage, depth_coverage}],
                 depth_unit_m, probe, problems: [{code, file, message, fix}], warnings: [text]}
    models       {name: {state: ok | failed | skipped, verdict: normal | warning | failure | None, reason, fix, seconds,
                 cpu_seconds, peak_rss_mib, peak_vram_mib, unseen_fraction, figures, files: {file: {size, sha256}},
                 settings, versions, notes: [text], made_by: whose mesh it is when its own was no better,
                 registered: whether it stands in the capture's frame}}
                                                                       in the order of the page
    measurement  what the measuring process answered: {models: {name: {error, files, topology, quality, pictures}},
                 pictures: [name under previews/]}
    verdict      normal | warning | failure, for the whole job
    best         name of the model to take, or None
    error        {code, message, fix} when the job itself failed
    input_digest SHA-256 of the capture;  stages {name: seconds};  versions {};  settings {};  notes [text]

Names and messages come from strangers' folders. In the page every one is escaped by the template engine, and
characters that do not print (control characters, direction overrides) are written as escapes before that.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import math
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path, PurePath, PurePosixPath
from typing import Any
from urllib.parse import quote

from jinja2 import ChainableUndefined, Environment, FileSystemLoader, Undefined
from markupsafe import Markup

from daemon import report_tables as tables
from models.problem import printable

SCHEMA = "meshdrop.report/1"
TEMPLATES = Path(__file__).parent / "templates"
#: Larger pictures are linked instead of carried inside the page.
MAX_INLINE_BYTES = 12_000_000
VERDICTS = ("normal", "warning", "failure")
STATES = ("ok", "failed", "skipped")
#: Which stills of a turntable the page shows; all of them stay in previews/.
SHOWN_STILLS = 8

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
    """The verdict as one sentence with the figures that made it."""
    best = report["best"]
    if best is None:
        reason = tables.dig(report, "error", "message") or _why_nothing(report["models"])
        return f"No usable mesh: {reason}" if reason else "No usable mesh."
    figures = _key_figures(report["models"][best])
    word = {"normal": "Good mesh", "warning": "Usable mesh, with warnings", "failure": "Poor mesh"}[report["verdict"]]
    return f"{word}: take {best} ({figures})." if figures else f"{word}: take {best}."


def render_html(report: Mapping[str, Any], previews_dir: Path) -> str:
    """The page for people: one file without script and without any address outside of itself.

    ``report`` comes from ``build_report``; ``previews_dir`` holds its pictures, which travel inside the page. A picture
    that is missing or very large is named instead of shown.
    """
    models: Mapping[str, Json] = report["models"]
    shown = {name: model for name, model in models.items() if model["state"] == "ok" or _has_figures(model)}
    style = (TEMPLATES / "report.css").read_text(encoding="utf-8")
    album = _Album(previews_dir)
    return _environment().get_template("report.html").render(
        report=report,
        style=Markup(style),  # our own file: not to be escaped
        style_hash="sha256-" + base64.b64encode(hashlib.sha256(style.encode()).digest()).decode(),
        word={"normal": "Good", "warning": "Usable, with warnings", "failure": "Failed"},
        shown=shown,
        idle={name: model for name, model in models.items() if model["state"] != "ok"},
        figure_rows=tables.rows(tables.MODEL_FIGURES, shown),
        shape_rows=tables.rows(tables.SHAPE_FIGURES, shown),
        view_figures=tables.VIEW_FIGURES,
        contact=album.picture("contact.png", report["pictures"]),
        capture_picture=album.picture("capture.png", report["pictures"]),
        stills={name: album.stills(model) for name, model in shown.items()},
        clay={name: album.named(model, "clay.png") for name, model in shown.items()},
        fine_print=tables.flat({key: report[key] for key in ("versions", "settings", "stages", "input_digest")}),
    )


@functools.cache
def _environment() -> Environment:
    """Made once: compiling the template takes longer than filling it."""
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=ChainableUndefined,  # a fact that is missing is a dash; it must not keep a job from being delivered
        finalize=_visible,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    for written in (tables.duration, tables.size, tables.percent, tables.number, tables.flat, _when, _address):
        environment.filters[written.__name__.strip("_")] = _or_dash(written)
    environment.globals |= {"dig": tables.dig, "used": tables.used}
    return environment


def _visible(value: Any) -> Any:
    """What every expression of the template goes through before it is escaped."""
    if value is None or isinstance(value, Undefined):
        return tables.NOT_TAKEN
    return printable(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _or_dash(written: Callable[..., Any]) -> Callable[..., Any]:
    """The same filter, with a dash for facts that are missing."""

    def filtered(value: Any, *options: Any) -> Any:
        return tables.NOT_TAKEN if value is None or isinstance(value, Undefined) else written(value, *options)

    return filtered


def _address(name: str) -> str:
    """A file or folder name as one step of a relative address; bytes that are no text cannot be linked to."""
    return quote(name, safe="", errors="replace")


def _when(moment: str) -> str:
    """An ISO time as ``2026-03-01 12:30:05 UTC``; text that is no time stays as it is."""
    try:
        parsed = datetime.fromisoformat(moment)
    except ValueError:
        return moment
    return f"{parsed:%Y-%m-%d %H:%M:%S} {parsed.tzname() or ''}".strip()


class _Album:
    """The pictures of one job as data addresses."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def picture(self, name: str, listed: list[str]) -> Json | None:
        """``{name, source}`` of a listed picture; ``source`` is None when it cannot travel inside the page."""
        if name not in listed:
            return None
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts or path.suffix != ".png":
            return None
        file = self.folder / path
        try:
            if file.is_symlink() or file.stat().st_size > MAX_INLINE_BYTES:
                return {"name": name, "source": None}
            content = file.read_bytes()
        except OSError:
            return {"name": name, "source": None}
        return {"name": name, "source": "data:image/png;base64," + base64.b64encode(content).decode()}

    def named(self, model: Json, name: str) -> Json | None:
        """The picture of a model whose last name is ``name``."""
        listed = (model["measured"] or {}).get("pictures") or []
        found = [item for item in listed if PurePosixPath(item).name == name]
        return self.picture(found[0], listed) if found else None

    def stills(self, model: Json) -> list[Json]:
        """The turntable of a model, in order."""
        listed = (model["measured"] or {}).get("pictures") or []
        names = sorted(item for item in listed if PurePosixPath(item).name.startswith("turntable_"))
        return [still for name in names[:SHOWN_STILLS] if (still := self.picture(name, listed)) is not None]


def _model(name: str, model: Mapping[str, Any], facts: Mapping[str, Any]) -> Json:
    measured = tables.dig(facts, "measurement", "models", name)
    if measured is not None:
        measured = {"error": None, "files": None, "topology": None, "quality": None, "pictures": [], **measured}
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
        "notes": list(model.get("notes") or []),
        "figures": dict(model.get("figures") or {}),
        "settings": dict(model.get("settings") or {}),
        "versions": dict(model.get("versions") or {}),
        "files": dict(model.get("files") or {}),
        "measured": measured,
    }


def _capture(capture: Mapping[str, Any] | None) -> Json | None:
    if not capture:
        return None
    return {"layout": None, "problems": [], "warnings": [], "views": [], "depth_unit_m": None, "probe": None, **capture}


def _job(job: Mapping[str, Any]) -> Json:
    fields: Json = {key: job.get(key) for key in ("id", "name", "attempt", "created", "started", "finished")}
    fields["seconds"] = _between(fields["started"], fields["finished"])
    return fields


def _has_figures(model: Json) -> bool:
    return tables.dig(model, "measured", "quality") is not None


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
