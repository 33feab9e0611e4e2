"""The report: complete for programs, readable for people, harmless whatever a capture is called."""

from __future__ import annotations

import base64
import hashlib
import json
import math
import re
import subprocess
import sys
import tracemalloc
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from markupsafe import escape

from meshdrop.daemon.outbox.assess import graded
from meshdrop.daemon.reporting.facts import QualityReport, headline
from meshdrop.daemon.reporting.grades import LIMITS
from meshdrop.daemon.reporting.inline import TEMPLATES, VIEWER, viewer_script
from meshdrop.daemon.reporting.page import MAX_INLINE_BYTES, render_html
from meshdrop.daemon.reporting.pose import AMBIGUOUS, LEAST_IOU, placement
from meshdrop.daemon.reporting.tables import (
    MODEL_FIGURES,
    NOT_TAKEN,
    SHAPE_FIGURES,
    VIEW_FIGURES,
    duration,
    flat,
    number,
    rows,
    size,
)
from meshdrop.models.files.limits import VIEWER_BYTES
from meshdrop.models.measure import pictures
from meshdrop.models.measure.measure import measure
from meshdrop.models.mesh.mesh import write_all
from meshdrop.models.registration import register
from tests import meshes
from tests.figures import MEAN, VIEW, quality, view
from tests.photographs import photographed
from tests.reports import model_of, report_of

#: A 1 x 1 PNG.
PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
BOX = [[-0.1, -0.2, -0.3], [0.1, 0.2, 0.3]]
MEASURED: dict[str, Any] = {
    "error": None,
    "files": {
        "file_bytes": {"mesh.glb": 1_536_000, "mesh.obj": 900},
        "vertices": 2930,
        "glb_vertices": 3500,
        "faces": 5856,
        "texture_size": [1024, 1024],
        "textured_share": 1.0,
        "unseen_share": 0.019,
        "overlap_share": 0.0,
        "bounds_m": BOX,
        "asset": {},
    },
    "topology": {
        "vertices": 2930,
        "faces": 5856,
        "watertight": True,
        "consistent_winding": True,
        "components": 1,
        "largest_component_share": 1.0,
        "boundary_edges": 0,
        "non_manifold_edges": 0,
        "non_manifold_vertices": 0,
        "degenerate_faces": 0,
        "genus": 0,
        "area_m2": 1.2,
        "volume_m3": 0.07,
        "bounds_m": BOX,
        "size_m": [0.2, 0.4, 0.6],
    },
    "quality": {
        "mean": MEAN,
        "held_out": None,
        "views": [VIEW, {**VIEW, "name": "back", "held_out": True, "depth": None}],
    },
    "pictures": ["fusion/turntable_00.png", "fusion/clay.png"],
}
OK = {
    "state": "ok",
    "verdict": "normal",
    "reason": None,
    "fix": None,
    "seconds": 14.2,
    "cpu_seconds": 20.1,
    "peak_rss_mib": 800,
    "peak_vram_mib": None,
    "unseen_fraction": 0.02,
    "figures": {"grid": 256},
    "files": {},
    "made_by": "fusion",
    "settings": {"preset": "fast"},
    "versions": {"python": "3.11.9"},
    "notes": ["Ran on the CPU."],
}
SKIPPED = {"state": "skipped", "reason": "No CUDA device.", "fix": "Run it on a machine with an NVIDIA GPU."}


def facts(**changes: Any) -> dict[str, Any]:
    """A job with one good model and one that was skipped."""
    return {
        "job": {
            "id": "a1",
            "name": "spot",
            "attempt": 1,
            "created": "2026-03-01T12:00:00+00:00",
            "started": "2026-03-01T12:00:05+00:00",
            "finished": "2026-03-01T12:01:20+00:00",
        },
        "capture": {
            "layout": "canonical",
            "depth_unit_m": 0.001,
            "problems": [],
            "warnings": ["Masks come from depth."],
            "views": [
                {
                    "name": "front",
                    "width": 512,
                    "height": 512,
                    "mask_source": "depth",
                    "mask_coverage": 0.2,
                    "depth_coverage": 0.19,
                }
            ],
            "probe": {
                "verdict": "verified",
                "reason": "Views agree.",
                "table": [{"camera_axes": "opengl", "score": 0.98}],
            },
        },
        "models": {"fusion": OK, "reconviagen": SKIPPED},
        "measurement": {"models": {"fusion": MEASURED}, "pictures": ["contact.png"]},
        "best": "fusion",
        "verdict": "normal",
        "input_digest": "ab" * 32,
        "stages": {"intake": 0.8, "fusion": 14.2},
        "versions": {"meshdrop": "1.2.3"},
        "settings": {"models": ["fusion"]},
        "notes": ["A note."],
        **changes,
    }


@pytest.fixture
def attempt(tmp_path: Path) -> Path:
    """A job's folder with the files that its page is made of."""
    previews, drawn = tmp_path / "measure" / "previews", tmp_path / "measure" / "page"
    for folder in (previews / "fusion", drawn / "fusion", tmp_path / "fusion"):
        folder.mkdir(parents=True)
    for name in ("contact.png", "fusion/turntable_00.png", "fusion/clay.png"):
        (previews / name).write_bytes(PNG)
    return tmp_path


def with_views(attempt: Path) -> Path:
    """The same with what the measuring process leaves for the page of two views."""
    for index in (0, 1):
        for name in (f"{index:02d}_photo", f"fusion/{index:02d}_render", f"fusion/{index:02d}_difference"):
            (attempt / "measure" / "page" / f"{name}.jpg").write_bytes(b"jpeg")
    return attempt


def with_mesh(attempt: Path, content: bytes = b"glTF and so on") -> Path:
    """The same with the delivered mesh."""
    (attempt / "fusion" / "mesh.glb").write_bytes(content)
    return attempt


def html(report: QualityReport, attempt: Path) -> str:
    """The whole page as one text."""
    return b"".join(render_html(report, attempt)).decode()


def without_viewer(page: str) -> str:
    """The page without the one program in it that is not ours."""
    return page.replace(viewer_script().decode(), "")


FAILED = facts(
    models={"fusion": {"state": "failed", "verdict": None, "reason": "It ran out of memory.", "fix": "Add memory."}},
    measurement=None,
    best=None,
    verdict="failure",
    capture={},
    error={"code": "models", "message": "x", "fix": "y"},
)
BARE = {"verdict": "failure", "models": {}}
UNMEASURED = facts(measurement={"models": {"fusion": {"error": {"code": "crash", "message": "a", "fix": "b"}}}})
ALL = {"good": facts(), "failed": FAILED, "bare": BARE, "not measured": UNMEASURED}


SCHEMA = json.loads((TEMPLATES / "report.schema.json").read_text(encoding="utf-8"))
Draft202012Validator.check_schema(SCHEMA)


def breaks(report: Any) -> list[str]:
    """What of a report breaks the schema, by the place where it stands."""
    return sorted(f"{error.json_path}: {error.message}" for error in Draft202012Validator(SCHEMA).iter_errors(report))


@pytest.mark.parametrize("job", ALL)
def test_the_report_keeps_to_its_schema(job: str) -> None:
    assert breaks(report_of(ALL[job]).to_json()) == []


def test_the_schema_check_can_fail() -> None:
    """Guards the test above."""
    report = report_of(facts()).to_json()
    report["verdict"] = "splendid"
    report["models"]["fusion"]["measured"]["quality"]["mean"]["silhouette_iou"] = 1.5
    del report["job"]["name"]
    report["extra"] = 1
    assert len(breaks(report)) == 4


def test_what_the_measuring_process_answers_fits_the_schema(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The real thing: names and types of models/measure/measure.py and of the schema are the same."""
    monkeypatch.setattr(pictures, "STILL_PX", 60)
    write_all(meshes.torus(), tmp_path / "fusion", {})
    capture = photographed(meshes.torus(), ["front", "top", "right"])
    answer = measure(capture, {"fusion": tmp_path / "fusion"}, tmp_path, lambda *_: None, {"fusion": ["top"]}).to_json()
    report = report_of(facts(measurement=json.loads(json.dumps(answer))))
    assert breaks(report.to_json()) == []
    for folder in ("previews", "page"):
        (tmp_path / "measure").mkdir(exist_ok=True)
        (tmp_path / folder).rename(tmp_path / "measure" / folder)
    page = html(report, tmp_path)
    assert page.count('src="data:image/png;base64,') == 8 + 2  # turntable; clay and the capture
    assert page.count('src="data:image/jpeg;base64,') == 3 * 3  # photograph, render and difference of three views
    assert page.count('<script type="application/octet-stream"') == 1


def test_numbers_that_are_none_become_null() -> None:
    broken = {**OK, "seconds": math.nan, "figures": {"loss": math.inf}}
    report = report_of(facts(models={"fusion": broken}, capture={"depth_unit_m": math.nan})).to_json()
    assert report["models"]["fusion"]["seconds"] is None
    assert report["models"]["fusion"]["figures"]["loss"] is None
    json.dumps(report, allow_nan=False)


def test_the_headline_says_which_mesh_to_take_and_why() -> None:
    assert report_of(facts()).headline == (
        "Good mesh: take fusion (31.2 dB and SSIM 0.931 on the object, median depth error 0.73 mm)."
    )
    assert report_of(facts(verdict="warning")).headline.startswith("Usable mesh, with warnings: take fusion")


WARNED = {**OK, "verdict": "warning"}
LOW = {**MEASURED, "quality": quality(view("front"), view("back", coverage=0.9))}
ASTRAY = {**WARNED, "registered": False}


@pytest.mark.parametrize(
    ("model", "measured", "why"),
    [
        (WARNED, LOW, "mm); less than good in coverage, least in back."),
        ({**WARNED, "validation": {"status": "failed"}}, MEASURED, "mm); its GLB breaks the glTF standard."),
        (
            ASTRAY,
            {**MEASURED, "quality": None},
            "fusion; it has no place in the capture's frame and was not compared: look at it, but do not measure it.",
        ),
    ],
)
def test_the_headline_of_a_warning_says_what_keeps_the_mesh_from_being_good(
    model: dict[str, Any], measured: dict[str, Any], why: str
) -> None:
    job = facts(verdict="warning", models={"fusion": model}, measurement={"models": {"fusion": measured}})
    told = report_of(job)
    graded_model = replace(graded(told.models["fusion"]), verdict="warning")
    assert replace(told, models={"fusion": graded_model}).headline.endswith(why)


def test_two_models_that_failed_are_told_in_one_line(attempt: Path) -> None:
    """A line break in it stood in the page as a backslash and an n."""
    error = {"code": "models", "message": "a: broke\nb: no GPU", "fix": "See `doctor`."}
    both = report_of({**FAILED, "error": error})
    assert both.headline == "No usable mesh: a: broke; b: no GPU."
    page = html(both, attempt)
    assert "<h1>No usable mesh: a: broke; b: no GPU.</h1>" in page
    assert "<b>What to do:</b> See <code>doctor</code>." in page


def test_a_model_without_a_result_is_told_at_the_top(attempt: Path) -> None:
    page = html(report_of(facts()), attempt)
    assert '<b>No result</b> from reconviagen: <a href="#idle">' in page[: page.index("</header>")]
    assert '<h2 id="idle">' in page
    assert "idle" not in html(report_of(facts(models={"fusion": OK})), attempt)


def test_a_mesh_in_no_unit_has_no_lengths(attempt: Path) -> None:
    """Its numbers would read as kilometres of snail."""
    measured = {"models": {"fusion": {**MEASURED, "quality": None}}}
    page = html(report_of(facts(models={"fusion": ASTRAY}, measurement=measured)), attempt)
    assert "200.0 × 400.0 × 600.0" not in page
    shape = page[page.index('<h2 id="shape">') :]
    assert "Surface area" not in shape
    assert "Open edges" in shape
    assert "<h2>View by view</h2>" not in page  # there is none
    assert "a mesh that could not be placed there is in no unit" in page
    assert "200.0 × 400.0 × 600.0" in html(report_of(facts()), attempt)


def test_backticks_become_code_and_nothing_else_does(attempt: Path) -> None:
    noted = {**OK, "notes": ["Set `<b>` to `x`, or ` alone \u202e."]}
    page = html(report_of(facts(models={"fusion": noted})), attempt)
    assert "<li>Set <code>&lt;b&gt;</code> to <code>x</code>, or ` alone \\u202e.</li>" in page


def test_the_last_captures_of_a_rig_stand_beside_this_one(attempt: Path) -> None:
    def row(name: str, psnr: float | None, score: float | None) -> dict[str, Any]:
        verdict = "failure" if psnr is None else "normal"
        figures = {"psnr_masked_db": psnr, "probe_score": score}
        return {"name": name, "finished": "2026-03-01T11:00:00+00:00", "verdict": verdict, **figures}

    rows = [row("<b>cup", 30.04, 0.9), row("jar", None, None), row("pot", 33.0, 0.95)]
    report = report_of(facts(trend=rows))
    assert breaks(report.to_json()) == []
    page = html(report, attempt)
    section = page[page.index('<h3 id="trend">') :]
    section = section[: section.index("</table>")]
    assert "The last captures of this rig" in section
    assert "<b>this one</b>" in section
    assert "<td>31.2</td>" in section
    assert "&lt;b&gt;cup</th>" in section
    assert '2026-03-01 11:00:00 UTC</td><td class="text">Good</td><td>30.0</td>' in section
    assert '<td class="text">Failed</td><td>–</td><td>–</td>' in section
    assert "their median</th><td></td><td></td><td>30.0</td><td>0.9</td>" in section
    assert "The rig is the standard one." in page
    assert 'id="trend"' not in html(report_of(facts()), attempt)
    unknown = html(report_of(facts(trend=rows, capture={**facts()["capture"], "layout": "transforms"})), attempt)
    assert "The last captures in this format" in unknown
    assert "The rig is" not in unknown


def test_what_the_figures_mean_can_be_read_without_a_pointer(attempt: Path) -> None:
    page = html(report_of(facts()), attempt)
    told = page[page.index("<summary>What the figures mean</summary>") :]
    assert "<dt>PSNR on the object</dt><dd>How close" in told
    for limit in LIMITS:
        assert f'{limit.title}</th><td class="text">{escape(limit.says(limit.normal))}</td>' in page
    assert "<b>close</b> from 25 dB and SSIM 0.85 on the object, <b>fair</b> from 20 dB and SSIM 0.75" in page


def test_the_page_answers_the_four_questions_and_names_the_worst_view(attempt: Path) -> None:
    told = report_of(facts(measurement={"models": {"fusion": LOW}}))
    report = replace(told, models={"fusion": graded(told.models["fusion"])})
    assert breaks(report.to_json()) == []
    page = " ".join(html(report, attempt).split())
    assert '<span class="badge warning">coverage</span> 95.0 % of the object is there (least in back: 90.0 %).' in page
    assert "A good mesh has 99.0 % (98.5 % in every view)." in page
    for question in ("silhouettes", "depth", "colours"):
        assert f'<span class="badge normal">{question}</span>' in page
    assert "The view that agrees least is <b>back</b>: 90.0 % of the object is there." in page
    assert "Likeness to the photographs, which decides nothing: close: 31.2 dB and SSIM 0.931 on the object." in page


def test_without_a_usable_mesh_the_headline_says_why() -> None:
    assert report_of(FAILED).headline == "No usable mesh: x."
    assert report_of({**FAILED, "error": None}).headline == "No usable mesh: fusion: It ran out of memory."
    poor = report_of(facts(best=None, verdict="failure", models={"fusion": {**OK, "verdict": "failure"}}))
    assert poor.headline.startswith("No usable mesh: fusion: 31.2 dB")
    assert headline(report_of(BARE)) == "No usable mesh."


def test_unknown_words_are_refused() -> None:
    with pytest.raises(ValueError, match="verdict: Input should be 'normal'"):
        report_of(facts(verdict="splendid"))
    with pytest.raises(ValueError, match="gone"):
        report_of(facts(best="gone"))
    with pytest.raises(ValueError, match="state: Input should be 'ok'"):
        report_of(facts(models={"fusion": {"state": "sleeping"}}))


class Page(HTMLParser):
    """Every element and attribute of a page, and its text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.addresses: list[str] = []
        self.first: dict[str, str] = {}
        self.policy = ""
        self.open = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.open = tag
        for name, value in attrs:
            self.attributes.add(name)
            if name in ("src", "href"):
                self.addresses.append(value or "")
            if name == "content" and value and "default-src" in value:
                self.policy = value

    def handle_data(self, data: str) -> None:
        if data.strip():
            self.first.setdefault(self.open, data.strip())


@pytest.mark.parametrize("job", ALL)
def test_the_page_reaches_for_nothing_outside_itself(job: str, attempt: Path) -> None:
    text = html(report_of(ALL[job]), attempt)
    page = Page(text)
    assert "script" not in page.tags  # nothing moves in a page without meshes and pictures of the views
    assert not {name for name in page.attributes if name.startswith("on")}
    assert not {"link", "iframe", "object", "embed", "form", "base"} & page.tags
    assert "://" not in re.sub(r"data:image/png;base64,[A-Za-z0-9+/=]+", "", text)
    for address in page.addresses:
        assert address.startswith(("data:image/png;base64,", "fusion/", "previews/", "report.json", "#")), address


def everything(attempt: Path) -> str:
    """A page with a 3D view and wipes."""
    return html(report_of(facts()), with_mesh(with_views(attempt)))


def test_a_page_with_everything_reaches_for_nothing_either(attempt: Path) -> None:
    text = everything(attempt)
    page = Page(without_viewer(text))
    assert not {name for name in page.attributes if name.startswith("on")}
    assert not {"link", "iframe", "object", "embed", "form", "base"} & page.tags
    licence = (VIEWER / "LICENSE").read_text(encoding="utf-8")
    assert "://" not in without_viewer(text).replace(str(escape(licence)), "")
    for address in page.addresses:
        assert address.startswith(("data:image/", "fusion/", "previews/", "report.json", "#")), address
    assert [href for href in page.addresses if href.startswith("#") and f'id="{href[1:]}"' not in text] == []
    assert "sourceMappingURL" not in text


def test_every_program_in_the_page_is_ours_and_admitted_by_its_hash(attempt: Path) -> None:
    text = everything(attempt)
    programs = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    names = ("report_first.js", "report.js")
    assert programs == [*((TEMPLATES / name).read_text(encoding="utf-8") for name in names), viewer_script().decode()]
    hashes = [base64.b64encode(hashlib.sha256(program.encode()).digest()).decode() for program in programs]
    admitted = " ".join(f"'sha256-{one}'" for one in hashes)
    policy = Page(text).policy
    assert policy.startswith("default-src 'none'; img-src data: blob:; style-src 'sha256-")
    assert f"; script-src {admitted}; connect-src blob:; base-uri 'none'; form-action 'none'" in policy
    assert "unsafe" not in policy
    for program in programs:  # a browser would end the script there, or read other bytes than were hashed
        assert "</script" not in program
        assert "<script" not in program
        assert "\r" not in program


def test_wipes_alone_need_no_viewer(attempt: Path) -> None:
    text = html(report_of(facts()), with_views(attempt))
    assert text.count("<script>") == 2
    assert "blob:" not in Page(text).policy
    assert len(text) < 150_000


def test_a_page_without_meshes_stays_small(attempt: Path) -> None:
    assert len(html(report_of(FAILED), attempt)) < 40_000


def test_the_mesh_travels_as_it_is(attempt: Path) -> None:
    content = bytes(range(256)) * 5000  # more than one piece, and not a multiple of three
    text = html(report_of(facts()), with_mesh(attempt, content))
    (carried,) = re.findall(r'<script type="application/octet-stream" id="mesh-0">([^<]*)</script>', text)
    assert base64.b64decode(carried, validate=True) == content


def test_of_a_large_mesh_the_lighter_copy_travels_and_the_page_says_so(attempt: Path) -> None:
    with_mesh(attempt, b"the large one")
    (attempt / "measure" / "page" / "fusion" / "mesh.glb").write_bytes(b"the light one")
    copy = {"bytes": 9_500_000, "faces": 123_456, "texture_size": [2048, 2048]}
    files = {**MEASURED["files"], "file_bytes": {"mesh.glb": 61_000_000}, "faces": 1_200_000}
    measured = {**MEASURED, "files": files, "viewer": copy}
    report = report_of(facts(measurement={"models": {"fusion": measured}, "pictures": []}))
    assert breaks(report.to_json()) == []
    text = " ".join(html(report, attempt).split())
    assert base64.b64encode(b"the light one").decode() in text
    assert base64.b64encode(b"the large one").decode() not in text
    assert "lighter copy (9.5 MB, 123,456 of 1,200,000 triangles, colours as JPEG of 2048 × 2048 texels)" in text
    assert "itself has 61.0 MB" in text


def test_a_mesh_too_large_for_any_copy_is_named(attempt: Path) -> None:
    with (with_mesh(attempt) / "fusion" / "mesh.glb").open("r+b") as file:
        file.truncate(VIEWER_BYTES + 1)
    files = {**MEASURED["files"], "file_bytes": {"mesh.glb": VIEWER_BYTES + 1}}
    report = report_of(facts(measurement={"models": {"fusion": {**MEASURED, "files": files}}, "pictures": []}))
    text = html(report, attempt)
    assert "too large for a 3D view inside this page" in text
    assert "<script" not in text
    assert "turntable" not in text  # no file name: the stills themselves are there
    assert text.count("data:image/png") == 2


def test_a_mesh_that_could_not_be_read_back_is_not_shown(attempt: Path) -> None:
    measured = {**MEASURED, "error": {"code": "mesh", "message": "mesh.glb is damaged.", "fix": "Run it again."}}
    report = report_of(facts(measurement={"models": {"fusion": measured}, "pictures": []}))
    assert "octet-stream" not in html(report, with_mesh(attempt))


def test_writing_a_large_page_takes_little_memory(attempt: Path) -> None:
    """The service makes the page, and its memory is a promise: 25 MB of mesh pass through in pieces."""
    with_mesh(attempt, bytes(VIEWER_BYTES))
    report = report_of(facts())
    with (attempt / "report.html").open("wb") as page:
        page.writelines(render_html(report, attempt))  # what is made once, the template, is made
        page.seek(0)
        tracemalloc.start()
        try:
            page.writelines(render_html(report, attempt))
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    assert (attempt / "report.html").stat().st_size > VIEWER_BYTES * 4 / 3
    assert peak < 5_000_000


def test_the_viewer_is_the_published_one_and_its_licence_is_there() -> None:
    notice = (VIEWER / "NOTICE.md").read_text(encoding="utf-8")
    for name in ("model-viewer-umd.min.js", "LICENSE"):
        assert f"| `{name}` | {hashlib.sha256((VIEWER / name).read_bytes()).hexdigest()} |" in notice
    assert "Apache License" in (VIEWER / "LICENSE").read_text(encoding="utf-8")


def test_the_viewer_s_licence_travels_with_it(attempt: Path) -> None:
    text = everything(attempt)
    assert "Licensed under the Apache License" in text
    assert "Apache License" not in html(report_of(FAILED), attempt)


def placed(**changes: Any) -> str:
    """The words of the page about the place of a generated mesh."""
    found = {
        "matrix": [],
        "status": "registered",
        "reason": "r",
        "iou": 0.9731,
        "depth_median_m": 0.00123,
        "depth_median_share": 0.0011,
        "runner_up_iou": None,
        "runner_up_degrees": None,
        "margin": None,
        "likeness": None,
        "runner_up_likeness": None,
        "target": "depth",
        **changes,
    }
    registered = found["status"] == "registered"
    told = placement(model_of({"state": "ok", "registered": registered, "figures": {"registration": found}}))
    assert told is not None
    return " ".join((told.word, *told.sentences))


def test_how_sure_a_placed_mesh_is_stands_in_words() -> None:
    alone = placed()
    assert alone.startswith("Clear ")
    assert "overlap by 97.3 %" in alone
    assert "within 1.23 mm of it, 0.11 % of the object's size" in alone
    assert "no other one fits" in alone
    rival = {"runner_up_iou": 0.912, "runner_up_degrees": 90.2}
    assert placed(**rival, margin=0.05).startswith("Clear ")
    assert "turned by 90°, agrees 5.0 points less" in placed(**rival, margin=0.05)
    guess = placed(**rival, margin=0.004)
    assert guess.startswith("Ambiguous ")
    assert "only 0.4 points less" in guess
    assert "Nothing decided between the two" in guess
    asked = placed(**rival, margin=-0.002, likeness=0.81, runner_up_likeness=0.3)
    assert "even 0.2 points better" in asked
    assert "The photographs decided: the colours correlate with them to 0.81 against 0.30" in asked
    assert "there was no depth" in placed(target="hull", depth_median_m=None, depth_median_share=None)


def test_a_mesh_that_was_not_placed_says_why() -> None:
    words = placed(status="unregistered", reason="Its silhouettes agree only to 0.6.")
    assert words.startswith("Not placed ")
    assert "Its silhouettes agree only to 0.6." in words
    theirs = {"state": "ok", "registered": False}  # a model of somebody else's, without any figures
    assert placement(model_of(theirs)) is not None
    assert placement(model_of({**theirs, "registered": True, "figures": {"grid": 3}})) is None
    assert placement(model_of({**theirs, "registered": None})) is None


def test_the_page_shows_how_sure_a_place_is(attempt: Path) -> None:
    found = {"status": "registered", "iou": 0.95, "margin": 0.001, "runner_up_degrees": 180.0, "target": "depth"}
    bound = {"licences": ["CC BY-NC 4.0, no commercial use"]}
    generated = {**OK, "registered": True, "figures": {"registration": found}, **bound}
    lost = {**OK, "registered": False, "figures": {"registration": {"reason": "<b>It fits nowhere.</b>"}}}
    models = {"fusion": OK, "reconviagen": generated, "mine": lost}
    report = report_of(facts(models=models, measurement={"models": dict.fromkeys(models, MEASURED)}))
    text = " ".join(html(report, attempt).split())
    assert "Another pose, turned by 180°, agrees only 0.1 points less" in text
    assert "&lt;b&gt;It fits nowhere.&lt;/b&gt;" in text
    assert "CC BY-NC 4.0, no commercial use" in text
    assert "free for any use" in text
    assert "a model of your own: its licence is for you to know" in text


def test_the_bounds_of_a_placement_are_those_of_registration() -> None:
    assert (LEAST_IOU, AMBIGUOUS) == (register.LEAST_IOU, register.AMBIGUOUS)


def test_what_the_validator_said_is_shown(attempt: Path) -> None:
    said = {
        "status": "failed",
        "files": ["mesh.glb"],
        "errors": 1,
        "warnings": 0,
        "infos": 0,
        "hints": 2,
        "truncated": False,
        "by": "node 20",
        "version": "2.0.0",
        "reason": None,
        "fix": None,
        "messages": [
            {
                "file": "mesh.glb",
                "severity": "error",
                "code": "ACCESSOR_MIN",
                "message": "Too <small>.",
                "pointer": "/accessors/0",
            }
        ],
    }
    text = " ".join(html(report_of(facts(models={"fusion": {**OK, "validation": said}})), attempt).split())
    assert "glTF validator 2.0.0: failed, 1 errors, 0 warnings, 0 infos, 2 hints" in text
    assert "Too &lt;small&gt;." in text


def test_the_policy_admits_our_style_and_inline_pictures_only(attempt: Path) -> None:
    text = html(report_of(facts()), attempt)
    style = text.split("<style>", 1)[1].split("</style>", 1)[0]
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert Page(text).policy == (
        f"default-src 'none'; img-src data:; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    )
    assert "style" not in Page(text).attributes  # the policy would ignore it


def test_the_verdict_comes_first(attempt: Path) -> None:
    page = Page(html(report_of(facts()), attempt))
    assert page.first["span"] == "Good"
    assert page.first["h1"] == report_of(facts()).headline


EVIL = "\"'><script>alert(1)</script><img src=x onerror=alert(1)>{{ 7*7 }}\u202egpj.\x1b[31m\x00\udcff"


def poisoned(value: Any) -> Any:
    """Every text of the facts that a stranger could have written, replaced."""
    if isinstance(value, dict):
        keep = ("state", "verdict", "best", "pictures", "created", "started", "finished")
        return {key: item if key in keep else poisoned(item) for key, item in value.items()}
    if isinstance(value, list):
        return [poisoned(item) for item in value]
    return EVIL if isinstance(value, str) else value


def test_texts_of_strangers_stay_texts(attempt: Path) -> None:
    job = poisoned(facts(error={"code": "c", "message": "m", "fix": "f"}))
    job["capture"]["problems"] = [{"code": EVIL, "file": EVIL, "message": EVIL, "fix": EVIL}]
    job["settings"][EVIL] = EVIL
    job["models"][EVIL] = {**OK, "reason": EVIL}
    job["measurement"]["models"][EVIL] = {**MEASURED, "error": {"code": EVIL, "message": EVIL, "fix": EVIL}}
    text = html(report_of(job), attempt)
    clean = html(report_of(facts(error={"code": "c", "message": "m", "fix": "f"})), attempt)
    page = Page(text)
    assert "script" not in page.tags
    assert "onerror" not in page.attributes
    assert page.tags <= Page(clean).tags | {"code", "pre", "script"}
    assert "49" not in text.split("</style>")[1].split("<h2>")[0]  # nothing of it was evaluated
    assert not [char for char in text if not char.isprintable() and char != "\n"]
    assert r"\u202egpj.\x1b[31m\x00\udcff" in text  # visible instead
    text.encode("utf-8")


def test_a_missing_or_huge_picture_is_named(attempt: Path) -> None:
    previews = attempt / "measure" / "previews"
    (previews / "contact.png").unlink()
    (previews / "fusion" / "clay.png").write_bytes(b"")
    with (previews / "fusion" / "clay.png").open("r+b") as file:
        file.truncate(MAX_INLINE_BYTES + 1)
    text = html(report_of(facts()), attempt)
    assert "previews/contact.png" in text
    assert "previews/fusion/clay.png" in text
    assert text.count("data:image/png") == 1  # the still


def test_a_picture_outside_of_the_folder_is_not_taken(attempt: Path) -> None:
    previews = attempt / "measure" / "previews"
    (previews.parent / "secret.png").write_bytes(PNG)
    (previews / "link").mkdir()
    (previews / "link" / "turntable_00.png").symlink_to(previews.parent / "secret.png")
    measured = {**MEASURED, "pictures": ["../secret.png", "fusion/../../clay.png", "link/turntable_00.png"]}
    report = report_of(facts(measurement={"models": {"fusion": measured}, "pictures": ["/etc/contact.png"]}))
    assert "data:image/png" not in html(report, attempt)


def test_every_figure_has_its_unit_its_direction_and_a_sentence(attempt: Path) -> None:
    text = html(report_of(facts()), attempt)
    assert "31.2" in text
    assert "higher is better </span>↑" in text
    assert "lower is better </span>↓" in text
    assert '<td class="text">mm</td>' in text
    assert "No CUDA device." in text
    assert "Run it on a machine with an NVIDIA GPU." in text
    assert "1 min 15 s" in text  # 12:00:05 to 12:01:20
    for figure in (*MODEL_FIGURES, *VIEW_FIGURES, *SHAPE_FIGURES):
        assert figure.meaning.endswith(".")


def test_the_better_of_two_models_is_marked_in_its_direction() -> None:
    def model(psnr: float, depth: float) -> dict[str, Any]:
        mean = {"psnr_masked_db": psnr, "depth_median_mm": depth, "ssim_masked": 0.9}
        return {"measured": {"quality": {"mean": mean}}}

    table = {row.figure.label: row.cells for row in rows(MODEL_FIGURES, {"a": model(30.0, 0.5), "b": model(28.0, 0.4)})}
    assert [cell.leading for cell in table["PSNR on the object"]] == [True, False]
    assert [cell.leading for cell in table["Depth error, median"]] == [False, True]
    assert [cell.leading for cell in table["SSIM on the object"]] == [False, False]
    assert "Volume" not in table  # nobody has it, so there is no row


def test_a_mesh_of_another_model_is_named_as_such(attempt: Path) -> None:
    page = html(report_of(facts(models={"fusion": OK, "nvdiffrec": OK})), attempt)
    assert page.count("<p>This is the mesh of <b>fusion</b>: nvdiffrec made none that is better.</p>") == 1
    assert "fusion made none" not in page


def test_a_figure_that_was_not_taken_is_a_dash() -> None:
    (row,) = rows(MODEL_FIGURES[:1], {"a": {}, "b": {"measured": {"quality": {"mean": {"psnr_masked_db": 30}}}}})
    assert [cell.text for cell in row.cells] == [NOT_TAKEN, "30.0"]


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (duration(4.26), "4.3 s"),
        (duration(59.96), "60.0 s"),
        (duration(75.2), "1 min 15 s"),
        (duration(7260), "2 h 1 min"),
        (size(83), "83 B"),
        (size(1536), "1.5 kB"),
        (size(999_600), "1.0 MB"),
        (size(123_456_789), "123 MB"),
        (size(5.4e9), "5.4 GB"),
        (number(1234567), "1,234,567"),
        (number(0.0001, 1000), "0.1"),
        (number(0.98491), "0.9849"),
    ],
)
def test_numbers_are_written_for_people(written: str, expected: str) -> None:
    assert written == expected


def test_the_fine_print_is_flat() -> None:
    assert flat({"a": {"b": 1.5, "c": [1, 2]}, "d": True, "e": [{"f": None}]}) == [
        ("a.b", "1.5"),
        ("a.c", "1, 2"),
        ("d", "yes"),
        ("e[0].f", NOT_TAKEN),
    ]


def test_reporting_loads_nothing_heavy() -> None:
    heavy = ("numpy", "PIL", "trimesh", "scipy", "torch")
    modules = "meshdrop.daemon.reporting.facts, meshdrop.daemon.reporting.page"
    code = f"import sys, {modules}; print([n for n in {heavy} if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
