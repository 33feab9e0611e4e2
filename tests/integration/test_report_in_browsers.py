"""report.html in real browsers, opened from disk: Debian's chromium and firefox-esr; skipped where they are missing.

Made by the real code from real measurements: a torus, a second mesh of it by another model, and a third one that was
not placed in the capture's frame.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from meshdrop.daemon.base import fsops
from meshdrop.daemon.reporting.page import render_html
from meshdrop.models.files.limits import VIEWER_BYTES
from meshdrop.models.measure import pictures
from meshdrop.models.measure.measure import measure
from meshdrop.models.mesh.mesh import TexturedMesh, write_all
from tests import meshes
from tests.browsers.chromium import Chromium
from tests.browsers.firefox import Firefox
from tests.browsers.session import Session, waited
from tests.photographs import photographed
from tests.reports import report_of

BROWSERS: dict[str, Callable[..., Session]] = {"chromium": Chromium, "firefox": Firefox}
LOADED = "document.querySelectorAll('[data-state=loaded]').length === document.querySelectorAll('[data-mesh]').length"
HOSTILE = (
    "</script><script>window.hurt = 1</script><img src=x onerror='window.hurt = 2'>\"'`${1}\u202egpj.exe" + 60 * "W"
)
VISIBLE = "[...document.querySelectorAll({})].filter(one => one.checkVisibility()).length"
#: Of the third mesh, which does not stand in the capture's frame.
SCALE = 3.0


def make_page(
    folder: Path, models: dict[str, TexturedMesh], elsewhere: tuple[str, ...] = (), name: str = "torus"
) -> Path:
    """Write the meshes, measure them and make the page, as the service does; returns report.html."""
    capture = photographed(next(iter(models.values())), ["front", "top", "right"])
    for model, mesh in models.items():
        write_all(mesh, folder / model, {})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pictures, "STILL_PX", 80)
        folders = {model: folder / model for model in models}
        measured = measure(capture, folders, folder / "measure", lambda *_: None, elsewhere=elsewhere).to_json()
    ok = {"state": "ok", "verdict": "normal", "seconds": 1.0, "notes": [name], "settings": {name: name}}
    lost = {"registered": False, "figures": {"registration": {"status": "unregistered", "reason": name}}}
    facts = {
        "job": {"id": "a1", "name": name, "attempt": 1},
        "verdict": "normal",
        "best": next(iter(models)),
        "capture": {"layout": "canonical", "views": [], "warnings": [name], "options": {"labels": {name: name}}},
        "models": {model: {**ok, **(lost if model in elsewhere else {})} for model in models},
        "measurement": json.loads(json.dumps(measured)),
    }
    page = folder / "report.html"
    fsops.write_pieces(page, render_html(report_of(facts), folder))
    return page


def smaller(mesh: TexturedMesh, scale: float) -> TexturedMesh:
    return replace(mesh, vertices=mesh.vertices * np.float32(scale))


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torus = meshes.torus()
    models = {"fusion": torus, "nvdiffrec": smaller(torus, 0.97), "reconviagen": smaller(torus, SCALE)}
    return make_page(tmp_path_factory.mktemp("job"), models, elsewhere=("reconviagen",))


@pytest.fixture(scope="module", params=BROWSERS)
def opened(request: pytest.FixtureRequest, page: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    """The page in each browser, all its meshes on the screen."""
    with BROWSERS[request.param](page.as_uri(), tmp_path_factory.mktemp(request.param)) as session:
        session.wait_for(LOADED)
        yield session


@pytest.fixture
def visit(tmp_path: Path) -> Iterator[Callable[..., Session]]:
    """Opens a page in a fresh browser, by its name."""
    with ExitStack() as stack:
        yield lambda name, page, **options: stack.enter_context(
            BROWSERS[name](page.as_uri(), tmp_path / "browser", **options)
        )


def undisturbed(session: Session, page: Path) -> None:
    """It asked for itself and for what it carries, and nothing went wrong."""
    first, *rest = session.requests
    assert first == page.as_uri()
    assert [address for address in rest if not address.startswith(("data:", "blob:null/"))] == []
    assert session.complaints == []


def box_of(session: Session, selector: str) -> tuple[float, float, float, float]:
    """Left, top, right and bottom of the first element that matches, scrolled into the window and at rest."""
    one = f"document.querySelector({json.dumps(selector)})"
    session.evaluate(f"{one}.scrollIntoView({{block: 'center', behavior: 'instant'}})")
    session.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => done(1))))")
    box = session.evaluate(f"(box => [box.left, box.top, box.right, box.bottom])({one}.getBoundingClientRect())")
    return tuple(box)


def seen(session: Session, selector: str, folder: Path) -> NDArray[np.int64]:
    """The pixels (H, W, 3) of that element."""
    left, top, right, bottom = box_of(session, selector)
    with Image.open(session.screenshot(folder / "seen.png")) as picture:
        element = picture.convert("RGB").crop((round(left), round(top), round(right), round(bottom)))
        return np.asarray(element).astype(np.int64)


def objects_share(pixels: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Where (H, W) a stage shows something else than its background, which is there at the middle of its left side."""
    return np.asarray(np.abs(pixels - pixels[pixels.shape[0] // 2, 3]).max(axis=2) > 24)


def test_every_mesh_is_in_the_picture(opened: Session, page: Path, tmp_path: Path) -> None:

    def is_drawn(stage: str) -> bool:
        return bool(objects_share(seen(opened, stage, tmp_path)).mean() > 0.05)

    for index in range(3):
        stage = f"[data-mesh=mesh-{index}]"
        waited(partial(is_drawn, stage), f"{stage} to be drawn")
        pixels = seen(opened, stage, tmp_path)
        different = objects_share(pixels)
        assert different.mean() < 0.9, index
        assert not different[:, [3, -4]].any()  # the whole object, with room at its sides
        assert pixels[different].std(axis=0).max() > 20, index  # a textured and lit object, not a flat patch
    undisturbed(opened, page)


ORBIT = "document.querySelectorAll('model-viewer')[{}]"


def orbits(session: Session) -> list[dict[str, float]]:
    found: list[dict[str, float]] = session.evaluate(
        "[...document.querySelectorAll('model-viewer')].map(one => { const orbit = one.getCameraOrbit(), "
        "target = one.getCameraTarget(); return { theta: orbit.theta, phi: orbit.phi, radius: orbit.radius, "
        "x: target.x, y: target.y, z: target.z, field: one.getFieldOfView() }; })"
    )
    return found


def linked(session: Session) -> list[dict[str, float]]:
    """All cameras once they rest; those of the capture's frame must be one, the third the same in its own scale."""
    before: list[dict[str, float]] = []
    while (now := orbits(session)) != before:
        before = now
        session.evaluate("new Promise(done => setTimeout(done, 400))")
    one, same, own = now
    assert same["field"] == pytest.approx(one["field"], abs=0.05)  # degrees; viewers round their sizes to pixels
    assert same == pytest.approx({**one, "field": same["field"]}, abs=1e-4)
    turned = {name: own[name] for name in ("theta", "phi")}
    assert turned == pytest.approx({name: one[name] for name in turned}, abs=1e-4)
    assert own["radius"] == pytest.approx(SCALE * one["radius"], rel=5e-3)
    return now


@pytest.mark.parametrize("moved", range(3))
def test_moving_one_camera_moves_the_others(opened: Session, moved: int) -> None:
    before = linked(opened)[0]
    left, top, right, bottom = box_of(opened, f"[data-mesh=mesh-{moved}]")
    middle = ((left + right) / 2, (top + bottom) / 2)
    opened.drag(middle, (middle[0] + 70, middle[1] + 25))
    opened.wait_for(f"Math.abs({ORBIT.format(moved)}.getCameraOrbit().theta - {before['theta']}) > 0.2")
    after = linked(opened)[0]
    assert abs(after["theta"] - before["theta"]) > 0.2
    assert abs(after["phi"] - before["phi"]) > 0.05


def test_the_keyboard_turns_them_too(opened: Session) -> None:
    before = linked(opened)[0]
    opened.evaluate(f"{ORBIT.format(1)}.shadowRoot.querySelector('.userInput').focus()")
    opened.press("ArrowRight")
    opened.wait_for(f"Math.abs({ORBIT.format(0)}.getCameraOrbit().theta - {before['theta']}) > 0.01")
    linked(opened)


def test_a_side_is_a_click_away(opened: Session) -> None:
    opened.evaluate("document.querySelector('[data-side=top]').click()")
    opened.wait_for(f"{ORBIT.format(2)}.getCameraOrbit().phi < 0.01 && {ORBIT.format(0)}.getCameraOrbit().phi < 0.01")
    opened.evaluate("document.querySelector('[data-side=start]').click()")
    opened.wait_for(f"{ORBIT.format(0)}.getCameraOrbit().phi > 1")
    linked(opened)


def test_a_slider_wipes_from_photograph_to_render_to_difference(opened: Session, page: Path, tmp_path: Path) -> None:
    shown = {}
    opened.evaluate("document.querySelector('.wipe input').focus()")
    for key, stop in (("Home", "photograph"), ("End", "difference"), ("ArrowLeft", "95 % difference, the rest render")):
        opened.press(key)
        assert opened.evaluate("document.querySelector('.wipe input').getAttribute('aria-valuetext')") == stop
        shown[stop] = seen(opened, ".frame", tmp_path)
    assert np.abs(shown["photograph"] - shown["difference"]).mean() > 5
    names = opened.evaluate("[...document.querySelectorAll('.wipe input')].map(one => one.getAttribute('aria-label'))")
    assert len(names) == 2 * 3  # two models that stand in the capture's frame, three views
    assert names[0] == "front, fusion: from photograph to render to difference"
    # nothing focusable or pictured is without a name
    assert opened.evaluate("[...document.images].filter(one => !one.hasAttribute('alt')).length") == 0
    undisturbed(opened, page)


@pytest.mark.parametrize("name", BROWSERS)
def test_without_webgl_a_sentence_and_the_pictures_stand_there(
    name: str, page: Path, visit: Callable[..., Session], tmp_path: Path
) -> None:
    session = visit(name, page, webgl=False)
    sentence = session.evaluate("document.querySelector('.stage').innerText")
    assert sentence.startswith("This browser shows no 3D here: WebGL is missing or switched off.")
    assert session.evaluate("document.querySelectorAll('model-viewer').length") == 0
    assert session.evaluate("document.getElementById('sides').hidden && document.getElementById('how-to-turn').hidden")
    stills = "[...document.querySelectorAll('.stills img')]"
    assert session.evaluate(f"{stills}.length") == 3 * 8
    assert session.evaluate(f"{stills}.every(one => one.naturalWidth === 80 && one.checkVisibility())")
    assert seen(session, ".stills img", tmp_path).std() > 10
    assert session.evaluate("document.querySelectorAll('.wipe input').length") == 6
    undisturbed(session, page)


@pytest.mark.parametrize("name", BROWSERS)
def test_hostile_names_do_nothing(name: str, visit: Callable[..., Session], tmp_path: Path) -> None:
    page = make_page(tmp_path / "job", {"fusion": meshes.torus()}, name=HOSTILE)
    session = visit(name, page, width=500)
    session.wait_for(LOADED)
    assert session.evaluate("typeof window.hurt") == "undefined"
    assert session.evaluate("document.querySelector('.facts b').textContent").startswith("</script><script>window.hurt")
    assert session.evaluate("document.title").startswith("</script>")
    assert session.evaluate("document.scripts.length") == 2 + 1  # ours; the mesh's data has been taken away
    assert session.evaluate("document.documentElement.scrollWidth <= innerWidth")
    undisturbed(session, page)


def test_a_mesh_above_the_limit_is_shown_as_a_lighter_copy(visit: Callable[..., Session], tmp_path: Path) -> None:
    """A texture of noise, which PNG cannot pack: the delivered file has more than 25 MB."""
    noise = np.random.default_rng(5).integers(0, 256, (3000, 3000, 3), np.uint8)
    torus = meshes.torus()
    page = make_page(tmp_path / "job", {"fusion": replace(torus, texture=noise, seen=np.ones((3000, 3000), np.bool_))})
    delivered = (tmp_path / "job" / "fusion" / "mesh.glb").stat().st_size
    lighter = (tmp_path / "job" / "measure" / "page" / "fusion" / "mesh.glb").stat().st_size
    assert lighter < VIEWER_BYTES < delivered
    assert page.stat().st_size < 4 / 3 * lighter + 4_000_000
    session = visit("chromium", page)
    session.wait_for(LOADED)
    assert f"({lighter / 1e6:.1f} MB, 3,072 of 3,072 triangles" in session.evaluate("document.body.innerText")
    assert f"itself has {delivered / 1e6:.1f} MB" in session.evaluate("document.body.innerText")
    waited(lambda: objects_share(seen(session, "[data-mesh]", tmp_path)).mean() > 0.05, "the copy to be drawn")
    undisturbed(session, page)


def test_a_mesh_that_the_viewer_cannot_read_is_said_to_be_so(
    page: Path, visit: Callable[..., Session], tmp_path: Path
) -> None:
    """And the others go on."""
    whole = page.read_bytes()
    begin = whole.index(b'id="mesh-0">') + len(b'id="mesh-0">')
    broken = tmp_path / "broken.html"
    broken.write_bytes(whole[:begin] + b"bm90IGEgbWVzaA==" + whole[whole.index(b"</script>", begin) :])
    session = visit("chromium", broken)
    session.wait_for("document.querySelectorAll('[data-state=loaded]').length === 2")
    session.wait_for("document.querySelector('[data-mesh=mesh-0]').dataset.state === 'mesh-unreadable'")
    sentence = session.evaluate("document.querySelector('[data-mesh=mesh-0]').innerText")
    assert sentence.startswith("The 3D view could not show this mesh.")


def test_a_narrow_dark_window_and_paper(page: Path, visit: Callable[..., Session]) -> None:
    session = visit("chromium", page, width=360, height=740, dark=True)
    session.wait_for(LOADED)
    assert session.evaluate("document.documentElement.scrollWidth") == 360  # no sideways scrolling
    assert session.evaluate("document.querySelector('.stage').getBoundingClientRect().width") > 280
    colours: dict[str, Any] = session.evaluate(
        "(style => ({ paper: style.backgroundColor, ink: style.color }))(getComputedStyle(document.body))"
    )
    bright = {name: sum(map(int, value[4:-1].split(","))) / 3 for name, value in colours.items()}
    assert bright["paper"] < 40
    assert bright["ink"] > 200
    assert isinstance(session, Chromium)
    session.emulate_print()
    assert session.evaluate(VISIBLE.format("'.plain img'")) == 3 * (1 + 2 * 2)
    assert session.evaluate(VISIBLE.format("'.stage, .wipe, nav, button'")) == 0
    assert session.evaluate(VISIBLE.format("'.stills img'")) == 3 * 8


def test_without_scripts_the_pictures_stand_side_by_side(page: Path, visit: Callable[..., Session]) -> None:
    session = visit("chromium", page, script=False)
    assert session.evaluate(VISIBLE.format("'.unscripted'")) == 1
    assert session.evaluate(VISIBLE.format("'.plain img'")) == 3 * (1 + 2 * 2)
    assert session.evaluate(VISIBLE.format("'.stage, .wipe, #sides'")) == 0
    undisturbed(session, page)
