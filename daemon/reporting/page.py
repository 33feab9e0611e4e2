"""``report.html``: the report for people, one self-contained page that asks for nothing outside of itself.

Names and messages come from strangers' folders. Every one is escaped by the template engine, and characters that do not
print (control characters, direction overrides) are written as escapes before that; none ever stands inside a script.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import quote

from jinja2 import ChainableUndefined, Environment, FileSystemLoader, Undefined
from markupsafe import Markup, escape

from meshdrop.daemon.reporting import tables
from meshdrop.daemon.reporting.facts import ModelReport, QualityReport
from meshdrop.daemon.reporting.grades import LIKENESS, LIMITS
from meshdrop.daemon.reporting.inline import TEMPLATES, Cargo, Programs
from meshdrop.daemon.reporting.pose import placement
from meshdrop.daemon.reporting.standing import standing
from meshdrop.models.contract.registry import BUILT_IN
from meshdrop.models.files.limits import VIEWER_BYTES
from meshdrop.models.files.problem import printable

Json = dict[str, Any]

#: Larger pictures are linked instead of carried inside the page.
MAX_INLINE_BYTES = 12_000_000
_CODE = re.compile(r"`([^`]+)`")
#: Which stills of a turntable the page shows; all of them stay in previews/.
SHOWN_STILLS = 8
WORDS = {"normal": "Good", "warning": "Usable, with warnings", "failure": "Failed"}


def render_html(report: QualityReport, attempt: Path) -> Iterator[bytes]:
    """The page in pieces, of which none is large; the whole may have tens of megabytes.

    ``attempt`` is the job's folder: below it lie ``measure/previews``,
    ``measure/page`` and each model's ``mesh.glb``. A picture that is missing or very large is named instead of shown.
    Of a mesh of more than ``VIEWER_BYTES`` the lighter copy is shown that was made when it was measured. Raises
    ``OSError`` when a file cannot be read to its end.
    """
    models = report.models
    shown = {name: model for name, model in models.items() if model.state == "ok" or _has_figures(model)}
    cargo = Cargo()
    album = _Album(attempt / "measure" / "previews", cargo)
    solids = ((name, _solid(name, model, attempt, cargo)) for name, model in shown.items())
    scene = {name: {"id": f"mesh-{k}", **solid} for k, (name, solid) in enumerate(solids) if solid is not None}
    views = _compared(shown, attempt / "measure" / "page", cargo)
    solid = any(one["mesh"] is not None for one in scene.values())
    programs = Programs.of(moving=bool(views) or solid, viewer=solid)
    text = (
        _environment()
        .get_template("report.html")
        .render(
            report=report,
            programs=programs,
            word=WORDS,
            shown=shown,
            idle={name: model for name, model in models.items() if model.state != "ok"},
            scene=scene,
            views=views,
            placements={name: placement(model) for name, model in shown.items()},
            standings={name: words for name, model in shown.items() if (words := standing(model)) is not None},
            licences={name: _licences(name, model) for name, model in models.items() if model.state == "ok"},
            figure_rows=tables.rows(tables.MODEL_FIGURES, shown),
            shape_rows=tables.rows(tables.SHAPE_FIGURES, shown),
            limits=LIMITS,
            likeness=LIKENESS,
            compared=any(_has_figures(model) for model in shown.values()),
            view_figures=tables.VIEW_FIGURES,
            contact=None if views else album.picture("contact.png", report.pictures),
            capture_picture=album.picture("capture.png", report.pictures),
            stills={name: album.stills(model) for name, model in shown.items()},
            clay={name: album.named(model, "clay.png") for name, model in shown.items()},
            fine_print=tables.flat({key: getattr(report, key) for key in ("versions", "settings", "input_digest")}),
        )
    )
    return cargo.page(text)


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
    figures = (tables.decibels, tables.duration, tables.size, tables.percent, tables.number, tables.flat)
    for written in (*figures, _when, _address):
        environment.filters[written.__name__.strip("_")] = _or_dash(written)
    environment.filters["worded"] = _worded
    environment.globals |= {"dig": tables.dig, "used": tables.used, "median": tables.median}
    return environment


def _visible(value: Any) -> Any:
    """What every expression of the template goes through before it is escaped."""
    if value is None or isinstance(value, Undefined):
        return tables.NOT_TAKEN
    return printable(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _worded(text: Any) -> Any:
    """A sentence with what stands between backticks as code, the way that messages mark commands and settings."""
    if not isinstance(text, str):
        return text
    return Markup(_CODE.sub(r"<code>\1</code>", str(escape(printable(text)))))  # escaped first: what is added is ours


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

    def __init__(self, folder: Path, cargo: Cargo) -> None:
        self.folder, self.cargo = folder, cargo

    def picture(self, name: str, listed: Sequence[str]) -> Json | None:
        """``{name, source}`` of a listed picture; ``source`` is None when it cannot travel inside the page."""
        if name not in listed:
            return None
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts or path.suffix != ".png":
            return None
        return {"name": name, "source": _source(self.folder / path, "image/png", self.cargo)}

    def named(self, model: ModelReport, name: str) -> Json | None:
        """The picture of a model whose last name is ``name``."""
        listed = () if model.measured is None else model.measured.pictures
        found = [item for item in listed if PurePosixPath(item).name == name]
        return self.picture(found[0], listed) if found else None

    def stills(self, model: ModelReport) -> list[Json]:
        """The turntable of a model, in order."""
        listed = () if model.measured is None else model.measured.pictures
        names = sorted(item for item in listed if PurePosixPath(item).name.startswith("turntable_"))
        return [still for name in names[:SHOWN_STILLS] if (still := self.picture(name, listed)) is not None]


def _source(file: Path, kind: str, cargo: Cargo) -> Markup | None:
    return Markup(f"data:{kind};base64,") + cargo.base64(file) if _fits(file, MAX_INLINE_BYTES) else None


def _fits(file: Path, most_bytes: int) -> bool:
    """Whether a plain file lies there that is no larger than this."""
    try:
        return not file.is_symlink() and file.is_file() and file.stat().st_size <= most_bytes
    except OSError:
        return False


def _solid(name: str, model: ModelReport, attempt: Path, cargo: Cargo) -> Json | None:
    """What the page's 3D view of a model shows: ``mesh``, None when it is ``too_large``; the delivered file's
    ``bytes``; and which ``lighter`` copy is shown in its place. None for a model without a sound mesh."""
    delivered = tables.dig(model, "measured", "files", "file_bytes", "mesh.glb")
    if delivered is None or tables.dig(model, "measured", "error"):
        return None
    copy = tables.dig(model, "measured", "viewer")
    file = attempt / name / "mesh.glb" if copy is None else attempt / "measure" / "page" / name / "mesh.glb"
    mesh = cargo.base64(file) if _fits(file, VIEWER_BYTES) else None
    lighter = copy if mesh is not None else None
    return {"mesh": mesh, "bytes": delivered, "lighter": lighter, "too_large": delivered > VIEWER_BYTES}


def _compared(shown: Mapping[str, ModelReport], page: Path, cargo: Cargo) -> list[Json]:
    """The views that the measuring process drew for the page: ``{name, photo, models: {name: {render, difference,
    figures}}}``, each picture a data address."""
    views: dict[int, Json] = {}
    for model, facts in shown.items():
        for index, figures in enumerate(tables.dig(facts, "measured", "quality", "views") or []):
            files = [page / model / f"{index:02d}_{kind}.jpg" for kind in ("render", "difference")]
            render, difference = (_source(file, "image/jpeg", cargo) for file in files)
            if render is None or difference is None:
                continue
            if index not in views:
                photo = _source(page / f"{index:02d}_photo.jpg", "image/jpeg", cargo)
                views[index] = {"name": figures.name, "photo": photo, "models": {}}
            if views[index]["photo"] is not None:
                drawn = {"render": render, "difference": difference, "figures": figures}
                views[index]["models"][model] = drawn
    return [view for _, view in sorted(views.items()) if view["models"]]


def _licences(name: str, model: ModelReport) -> list[str]:
    """One line for each part behind a mesh that may not be used for everything."""
    if model.licences:
        return list(model.licences)
    if name not in BUILT_IN:
        return ["a model of your own: its licence is for you to know"]
    return ["free for any use"]


def _has_figures(model: ModelReport) -> bool:
    return tables.dig(model, "measured", "quality") is not None
