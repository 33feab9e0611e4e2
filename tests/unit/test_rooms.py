"""The rooms keep to themselves: what may be imported by whom, and what never is."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Collection, Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HEAVY = ("torch", "trimesh", "numba", "skimage", "scipy", "numpy", "PIL", "cv2")
SOURCES = [file for room in ("daemon", "db", "models") for file in sorted((ROOT / room).rglob("*.py"))]


def names_in(file: Path) -> set[str]:
    """Every module, or name in one, that a file imports anywhere, functions included."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


def imported(file: Path) -> set[str]:
    """The same; ours without the name that they share."""
    return {name.removeprefix("meshdrop.") for name in names_in(file)}


def test_everything_is_imported_by_the_one_name_that_is_installed() -> None:
    """``daemon`` and ``models`` are names that others use too."""
    files = [*SOURCES, *(file for folder in ("tests", "bench", "samples") for file in (ROOT / folder).rglob("*.py"))]
    others = ("daemon", "db", "models")
    wrong = [(file, name) for file in files for name in names_in(file) if name.split(".")[0] in others]
    assert wrong == []


@pytest.mark.parametrize("file", SOURCES, ids=lambda file: str(file.relative_to(ROOT)))
def test_imports_point_one_way(file: Path) -> None:
    room = file.relative_to(ROOT).parts[0]
    forbidden = {"models": ("daemon", "db"), "db": ("daemon", "models"), "daemon": ()}[room]
    assert [name for name in imported(file) if name.split(".")[0] in forbidden] == []


def at_module_level(source: str, names: Collection[str]) -> set[str]:
    """Which of ``names`` a module imports when it is loaded, as ``from a import b`` too, of which b is a module."""
    found: set[str] = set()
    for node in ast.parse(source).body:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return {name.removeprefix("meshdrop.") for name in found} & set(names)


def cycle(sources: Mapping[str, str]) -> tuple[str, ...] | None:
    """The first way round that a depth-first walk over module-level imports meets; None when there is none."""
    done: set[str] = set()

    def visit(name: str, way: tuple[str, ...]) -> tuple[str, ...] | None:
        if name in way or name in done:
            return (*way, name) if name in way else None
        for other in sorted(at_module_level(sources[name], sources.keys())):
            if (found := visit(other, (*way, name))) is not None:
                return found
        done.add(name)
        return None

    return next((found for name in sources if (found := visit(name, ())) is not None), None)


ROOMS = sorted(
    {
        file.parent.relative_to(ROOT)
        for file in SOURCES
        if len(file.relative_to(ROOT).parts) > 2 and "migrations" not in file.parts
    }
)
MODULES = {
    ".".join(file.relative_to(ROOT).with_suffix("").parts): file for file in SOURCES if file.name != "__init__.py"
}


def rooms_of(folder: Path) -> set[str]:
    """Other rooms of the same house that the files of a room import, by their names below it."""
    house, found = folder.parts[0], set()
    for file in (ROOT / folder).glob("*.py"):
        for name in imported(file) & MODULES.keys():
            other = MODULES[name].parent.relative_to(ROOT)
            if other.parts[0] == house and other not in (folder, Path(house)):
                found.add(".".join(other.parts[1:]))
    return found


@pytest.mark.parametrize("folder", ROOMS, ids=str)
def test_a_room_says_what_it_is_and_what_it_may_import(folder: Path) -> None:
    """No more than that, and no less: a door that nobody uses is closed."""
    words = ast.get_docstring(ast.parse((ROOT / folder / "__init__.py").read_text(encoding="utf-8")))
    assert words is not None
    told = " ".join(words.split())
    stated = re.search(r"It may import (.*?)\. |It imports no other room\. ", told)
    assert stated is not None, told
    assert set(re.findall(r"``([\w.]+)``", stated[1] or "")) == rooms_of(folder)
    assert len(list((ROOT / folder).glob("*.py"))) <= 22, "a room in which nothing is found"


def test_no_room_leads_back_to_itself() -> None:
    """By whatever way, and by imports inside functions too."""
    arrows = {".".join(folder.parts[1:]): rooms_of(folder) for folder in ROOMS if folder.parts[0] == "daemon"}
    models = {".".join(folder.parts[1:]): rooms_of(folder) for folder in ROOMS if folder.parts[0] == "models"}
    for house in (arrows, models):
        left = dict(house)
        while ready := {room for room, others in left.items() if not others & left.keys()}:
            left = {room: others for room, others in left.items() if room not in ready}
        assert left == {}


#: Modules that no test names, by the test that asks for what they do: through a command, a page or another module.
BY_WAY_OF = {
    "unit/models/views/test_agreement.py": ("models.views.seen_points",),
    "unit/models/mesh/test_usdz.py": ("models.mesh.usdz",),
    "unit/models/mesh/test_reload.py": (
        "models.mesh.checks.glb",
        "models.mesh.checks.material",
        "models.mesh.checks.obj",
        "models.mesh.checks.ply",
        "models.mesh.checks.textures",
        "models.mesh.delivered",
        "models.mesh.textures",
    ),
    "unit/daemon/inbox/test_look_cost.py": ("models.files.wholeness",),
    "unit/db/test_rig_history.py": ("db.rig_history",),
    "acceptance/test_inbox.py": ("daemon.service.inbox_thread",),
    "acceptance/test_pause.py": ("daemon.cli.pause",),
    "acceptance/test_service.py": ("daemon.base.log", "daemon.service.periodic"),
    "acceptance/test_supervision.py": ("daemon.service.startup",),
    "acceptance/test_watch.py": ("daemon.cli.watch",),
    "integration/test_check.py": ("daemon.cli.check",),
    "integration/test_cli.py": ("daemon.cli.options", "daemon.cli.rig"),
    "integration/test_finishing.py": ("daemon.workers.trouble",),
    "integration/test_weights.py": ("daemon.weights.views",),
    "unit/daemon/base/test_origins.py": ("daemon.cli.config",),
    "unit/daemon/base/test_places.py": ("daemon.doctor.checks.layout",),
    "unit/daemon/doctor/test_doctor_folders.py": ("daemon.doctor.checks.exports", "daemon.doctor.checks.inbox"),
    "unit/daemon/doctor/test_doctor_gpu.py": ("daemon.host.programs",),
    "unit/daemon/doctor/test_doctor_machine.py": ("daemon.doctor.checks.program", "daemon.host.memory"),
    "unit/daemon/inbox/test_scanner.py": ("daemon.inbox.listing",),
    "unit/daemon/install/test_site.py": ("daemon.cli.service",),
    "unit/daemon/notify/test_outgoing.py": ("daemon.cli.notify", "daemon.notify.addresses"),
    "unit/daemon/reporting/test_facts.py": ("daemon.reporting.trend",),
    "unit/daemon/workers/test_kernels.py": ("models.warming",),
    "unit/db/test_schema.py": ("db.head",),
    "unit/models/capture/test_capture.py": (
        "models.capture.fitting",
        "models.capture.pictures",
        "models.capture.view",
        "models.capture.view_cameras",
    ),
    "unit/models/capture/test_layout.py": ("models.capture.expectation", "models.capture.view_files"),
    "unit/models/capture/test_rig_profile.py": ("models.capture.rig_claims",),
    "unit/models/formats/test_formats.py": ("models.formats.bop", "models.formats.formats", "models.formats.polycam"),
    "unit/models/fusion/test_fusion.py": (
        "models.surface.atlas",
        "models.surface.fit",
        "models.surface.numerics",
        "models.surface.occlusion",
    ),
    "unit/models/lens/test_lensed_captures.py": ("models.lens.undone",),
    "unit/models/measure/test_measure.py": ("models.measure.page_pictures",),
    "unit/models/mesh/test_mesh.py": ("models.mesh.obj", "models.mesh.ply"),
    "unit/models/nvdiffrec/test_model.py": ("models.contract.cuda",),
    "unit/models/nvdiffrec/test_shading.py": ("models.nvdiffrec.ggx",),
    "unit/models/probe/test_probe.py": ("models.probe.maps", "models.probe.surfaces", "models.probe.verdict"),
    "unit/models/raster/test_antialias.py": ("models.raster.cpu_antialias",),
    "unit/models/raster/test_contract.py": ("models.raster.contract",),
    "unit/models/raster/test_interpolate.py": ("models.raster.cpu_interpolate",),
    "unit/models/raster/test_rasterize.py": ("models.raster.cpu_rasterize",),
    "unit/models/raster/test_texture.py": ("models.raster.cpu_texture",),
    "unit/models/reconviagen/test_model.py": ("models.reconviagen.gaussian_reading",),
    "unit/models/registration/test_register.py": (
        "models.contract.side_by_side",
        "models.registration.likeness",
        "models.registration.pixels",
        "models.registration.thinning",
        "models.registration.vote",
    ),
}


def test_every_module_is_named_by_a_test_or_listed_with_the_one_that_asks_for_it() -> None:
    named: set[str] = set()
    for file in (ROOT / "tests").rglob("*.py"):
        if file == Path(__file__):
            continue
        text = file.read_text(encoding="utf-8")
        named |= {name.removeprefix("meshdrop.") for name in names_in(file)}
        named |= {name for name in MODULES if f"meshdrop.{name}" in text}
    modules = {name for name, file in MODULES.items() if "migrations" not in file.parts and file.stem != "__main__"}
    listed = {name for names in BY_WAY_OF.values() for name in names}
    assert modules - named - listed == set(), "name it in a test, or list the test that asks for it"
    assert listed & named == set(), "named by a test meanwhile: take it out of the list"
    assert listed - modules == set()
    assert [test for test in BY_WAY_OF if not (ROOT / "tests" / test).is_file()] == []


@pytest.mark.parametrize("house", ["daemon", "models"])
def test_the_page_draws_the_house_as_it_is(house: str) -> None:
    """Every room once, with its own first sentence, and none below one that it imports."""
    page = (ROOT / "docs/architecture.md").read_text("utf-8").partition("\n## Rooms\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| `([\w/]+)` \| (.*) \|$", page, re.MULTILINE)
    rooms = {"/".join(folder.parts[1:]): folder for folder in ROOMS if folder.parts[0] == house}
    drawn = [name for name, _ in rows if name in rooms]
    assert sorted(drawn) == sorted(rooms)
    for name, says in rows:
        if name in rooms:
            words = ast.get_docstring(ast.parse((ROOT / rooms[name] / "__init__.py").read_text("utf-8"))) or ""
            assert says == words.split("\n")[0]
    for place, name in enumerate(drawn):
        assert rooms_of(rooms[name]) <= {other.replace("/", ".") for other in drawn[place + 1 :]}


def test_no_two_classes_have_one_name() -> None:
    """Whoever reads a name knows which is meant."""
    places: dict[str, list[str]] = {}
    for name, file in MODULES.items():
        for node in ast.parse(file.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                places.setdefault(node.name, []).append(name)
    assert {name: modules for name, modules in places.items() if len(modules) > 1} == {}


def test_no_module_has_import_cycles() -> None:
    texts = {
        ".".join(file.relative_to(ROOT).with_suffix("").parts): file.read_text(encoding="utf-8") for file in SOURCES
    }
    assert cycle(texts) is None


@pytest.mark.parametrize("way", ["from room.a import thing", "from room import a", "import room.a"])
def test_a_cycle_is_seen_however_it_is_written(way: str) -> None:
    assert cycle({"room.a": "from room import b", "room.b": way}) == ("room.a", "room.b", "room.a")
    assert cycle({"room.a": "from room import b", "room.b": f"def later():\n    {way}"}) is None


def test_the_service_imports_no_numerical_library() -> None:
    """The whole daemon, every file of it, in a fresh interpreter."""
    modules = [
        ".".join(("meshdrop", *file.relative_to(ROOT).with_suffix("").parts))
        for room in ("daemon", "db")
        for file in sorted((ROOT / room).rglob("*.py"))
        if "migrations" not in file.parts and file.stem not in ("__init__", "__main__")
    ]
    program = f"import sys\nfor name in {modules}: __import__(name)\nprint([n for n in {HEAVY} if n in sys.modules])"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT)
    assert result.stdout.strip() == "[]"


def test_help_imports_neither_the_service_nor_the_record() -> None:
    heavy = "('sqlalchemy', 'pydantic', 'watchdog')"
    program = f"import sys, meshdrop.daemon.cli.main; print([n for n in {heavy} if n in sys.modules])"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT)
    assert result.stdout.strip() == "[]"


#: Modules that run what they load, and calls that do.
RUNS_WHAT_IT_LOADS = frozenset(
    {
        "pickle",
        "_pickle",
        "cPickle",
        "cloudpickle",
        "dill",
        "joblib",
        "shelve",
        "marshal",
        "yaml",
        "ruamel",
        "code",
        "codeop",
        "runpy",
        "jsonpickle",
    }
)
RUNS_ITS_ARGUMENT = frozenset({"eval", "exec", "compile", "__import__"})


def hazards(source: str) -> list[str]:
    """What in a program could run the data that it reads, as ``line: what``."""
    tree = ast.parse(source)
    found = [
        f"{getattr(node, 'lineno', 0)}: {name}"
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in ([alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""])
        if name.split(".")[0] in RUNS_WHAT_IT_LOADS
    ]
    calls = (node for node in ast.walk(tree) if isinstance(node, ast.Call))
    return found + [f"{call.lineno}: {ast.unparse(call.func)}" for call in calls if _runs(call)]


def _runs(call: ast.Call) -> bool:
    spelt = ast.unparse(call.func)
    last = spelt.rpartition(".")[2]
    keywords = {word.arg: ast.unparse(word.value) for word in call.keywords}
    dynamic = last == "import_module" and call.args and ast.unparse(call.args[0]).strip("'\"") in RUNS_WHAT_IT_LOADS
    return bool(
        spelt in RUNS_ITS_ARGUMENT
        or (spelt.startswith("builtins.") and last in RUNS_ITS_ARGUMENT)
        or dynamic
        or last == "read_pickle"
        or keywords.get("allow_pickle", "False") != "False"
        or (spelt in ("np.load", "numpy.load") and len(call.args) > 2)  # the third is allow_pickle
        or (spelt == "torch.load" and keywords.get("weights_only") != "True")
    )


@pytest.mark.parametrize("file", SOURCES, ids=lambda file: str(file.relative_to(ROOT)))
def test_nothing_on_the_input_path_can_run_what_it_reads(file: Path) -> None:
    """No pickle, no eval, no exec, no YAML, no allow_pickle anywhere in the product."""
    assert hazards(file.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "import pickle as p",
        "from pickle import loads",
        "import yaml",
        "from ruamel.yaml import YAML",
        "import marshal",
        "def f():\n    import dill",
        "import os, shelve",
        "from joblib import load",
        "importlib.import_module('pickle')",
        "eval(text)",
        "exec(text)",
        "compile(text, '', 'exec')",
        "__import__(name)",
        "builtins.eval(text)",
        "np.load(file, allow_pickle=True)",
        "np.load(file, None, True)",
        "numpy.load(file, allow_pickle=trusted)",
        "torch.load(file)",
        "torch.load(file, weights_only=False)",
        "pandas.read_pickle(file)",
        "x = [eval(t) for t in texts]",
    ],
)
def test_the_check_would_notice(source: str) -> None:
    assert len(hazards(source)) == 1


@pytest.mark.parametrize(
    "source",
    [
        "import json\njson.loads(text)",
        "re.compile(text)",
        "np.load(file)",
        "np.load(file, allow_pickle=False)",
        "model.eval()",
        "torch.load(file, weights_only=True)",
        "importlib.import_module(module)",
        "evaluate(text)",
    ],
)
def test_the_check_lets_harmless_programs_be(source: str) -> None:
    assert hazards(source) == []


def test_the_service_loads_no_syntax_highlighter() -> None:
    """2 MB of memory, by way of structlog and rich, for tracebacks that go into JSON."""
    modules = "meshdrop.daemon.cli.main, meshdrop.daemon.service.main"
    program = f"import sys, {modules}; print([n for n in ('pygments', 'jinja2') if n in sys.modules])"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT)
    assert result.stdout.strip() == "[]"


def test_tests_ask_for_torch_in_one_way() -> None:
    """So that what is skipped without it carries the mark by which `make test-torch` finds it."""
    asking = [file for file in (ROOT / "tests").rglob("*.py") if 'importorskip("torch"' in file.read_text("utf-8")]
    assert [file.name for file in asking if file != Path(__file__)] == ["torch_needed.py"]
