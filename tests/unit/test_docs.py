"""README.md and docs/ against the program: every command, setting, file, step and figure named there is real."""

from __future__ import annotations

import inspect
import json
import re
import tomllib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
import typer
from PIL import Image

from meshdrop.daemon.base.clock import Clock
from meshdrop.daemon.base.errors import ExitCode
from meshdrop.daemon.base.failures import FAILURES
from meshdrop.daemon.base.places import SENTINEL, Places
from meshdrop.daemon.base.settings import Settings, load
from meshdrop.daemon.base.tries import BACK_OFF_S, MAX_ATTEMPTS
from meshdrop.daemon.cli.main import app
from meshdrop.daemon.outbox.bundle import failure_bundle, result_bundle
from meshdrop.daemon.reporting.grades import LIKENESS, LIMITS
from meshdrop.db.engine import Database
from meshdrop.db.jobs import Jobs
from meshdrop.db.records import Job
from meshdrop.db.states import State
from meshdrop.models.contract.failures import RUN_FAILURES
from meshdrop.models.contract.registry import BUILT_IN
from meshdrop.models.files.names import RECEIPT
from meshdrop.models.measure import pictures
from meshdrop.models.measure.measure import measure
from meshdrop.models.mesh.mesh import write_all
from meshdrop.models.walls.confinement import LAYERS
from meshdrop.models.worker import TASKS
from tests import meshes
from tests.photographs import photographed

PROJECT = Path(__file__).parents[2]
#: Variables of the tests, of docker-compose.yml and of a model.
NO_SETTINGS = {"CRASH_AT", "CRASH_BY", "SCANS", "TRELLIS"}
NAMES = ("README.md", "docs/architecture.md", "docs/ROADMAP.md", "docs/operations.md", "docs/security.md")
PAGES = {name: (PROJECT / name).read_text(encoding="utf-8") for name in NAMES}
README, ARCHITECTURE = PAGES["README.md"], PAGES["docs/architecture.md"]
SOURCES = {
    file: file.read_text(encoding="utf-8")
    for room in ("daemon", "db", "models")
    for file in (PROJECT / room).rglob("*.py")
}
#: What the examples call a capture and its job; not files of anybody's.
EXAMPLES = ("my-object", "ROOT", "NAME", "JOB")


def section(page: str, title: str) -> str:
    """The text under one heading, its lower headings included."""
    found = re.search(rf"^(##+) {re.escape(title)}\n(.*?)(?=^##? |\Z)", page, re.MULTILINE | re.DOTALL)
    assert found is not None, title
    return found.group(2)


def table(text: str) -> list[list[str]]:
    """The rows below the head of the first table in ``text``; a cell that is all code loses its backticks."""
    found = re.search(r"^\|.*\n\|[-|]+\n((?:\|.*\n)+)", text, re.MULTILINE)
    assert found is not None, text[:200]
    rows = [row.strip("|").split(" | ") for row in found.group(1).splitlines()]
    return [[re.sub(r"^`([^`]*)`$", r"\1", cell.strip()) for cell in row] for row in rows]


def quoted(text: str) -> list[str]:
    """Everything between single backticks, outside fenced blocks."""
    return re.findall(r"`([^`\n]+)`", re.sub(r"```.*?```", "", text, flags=re.DOTALL))


def blocks(text: str, language: str) -> list[str]:
    """The fenced blocks of one language ("" for drawings)."""
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


# -- the command ---------------------------------------------------------------------------------------------------


def commands(group: Any, *names: str) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every command with the words that call it, those of groups included."""
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, *names, name)
        else:
            yield (*names, name), command


def usage() -> Iterator[str]:
    """One table row for each command, as the program itself describes it."""
    for names, command in commands(typer.main.get_command(app)):
        words = ["meshdrop", *names]
        for parameter in command.params:
            if parameter.param_type_name == "argument":
                words.append(parameter.name.upper() if parameter.required else f"[{parameter.name.upper()}]")
        for parameter in command.params:
            if parameter.param_type_name == "option" and parameter.name not in ("root", "config"):
                words.append(f"[{parameter.opts[0]}]")
        yield f"| `{' '.join(words)}` | {' '.join(command.help.split())} |"


def test_the_command_table_is_the_programs_own_help() -> None:
    rows = [line for line in section(README, "Commands").splitlines() if line.startswith("| `meshdrop")]
    assert sorted(rows) == sorted(usage()), "the table should read:\n" + "\n".join(usage())


def test_the_exit_codes_are_the_programs() -> None:
    told = {int(code) for code in re.findall(r"(?:: |, )(\d+) ", section(README, "Commands").split("Exit codes")[1])}
    codes = {value for name, value in vars(ExitCode).items() if name.isupper()}
    assert told == codes


def test_every_make_target_exists() -> None:
    makefile = (PROJECT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
    named = {name for page in PAGES.values() for name in re.findall(r"(?:^|`)make ([a-z-]+)", page, re.MULTILINE)}
    assert {"demo", "test"} <= named <= targets


# -- files and folders ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_every_link_leads_somewhere(name: str) -> None:
    targets = re.findall(r"\]\(([^)#]+)\)", PAGES[name])
    assert targets or name in ("docs/ROADMAP.md", "docs/security.md")
    assert [target for target in targets if not (PROJECT / name).parent.joinpath(target).exists()] == []


def test_every_test_that_security_md_names_exists_and_every_wall_has_one() -> None:
    text = PAGES["docs/security.md"]
    named = set(re.findall(r"`(test_\w+)`", text))
    there = {
        name
        for file in (PROJECT / "tests").rglob("test_*.py")
        for name in re.findall(r"^def (test_\w+)", file.read_text(encoding="utf-8"), re.MULTILINE)
    }
    assert named
    assert named - there == set()
    rows = table(section(text, "The walls around a worker"))
    assert [row[0] for row in rows] == list(LAYERS)
    assert all("test_" in row[4] for row in rows)


def is_known(name: str) -> bool:
    """Whether a file or folder is in the project, or is named by the code that makes it."""
    if any((PROJECT / place / name).exists() for place in ("", "docs", "daemon", "db", "models")):
        return True
    if name.endswith(".py"):
        return "/" not in name and any(file.name == name for file in SOURCES)
    words = [re.sub("|".join(EXAMPLES), "", part) for part in name.rstrip("/").split("/")]
    # numbered files are written as f-strings: the number and what follows it are left out
    return all(any(re.split(r"\d", word)[0] in text for text in SOURCES.values()) for word in words)


def test_a_name_that_nothing_makes_is_noticed() -> None:
    assert is_known("previews/contact.png")
    assert is_known("service.py")
    assert not is_known("previews/montage.png")
    assert not is_known("settling.py")


@pytest.mark.parametrize("name", NAMES[:2])
def test_every_file_and_folder_named_exists_or_is_made_by_the_program(name: str) -> None:
    ending = r"(?:/|\.(?:py|md|txt|json|html|png|toml|yml|lock|sock|db|glb|done))"
    named = {word for word in quoted(PAGES[name]) if re.fullmatch(rf"(?!/)[\w.-]+(?:/[\w.-]+)*{ending}", word)}
    assert len(named) > 15
    assert sorted(word for word in named if not is_known(word)) == []


def test_every_file_that_contributing_md_names_exists() -> None:
    """But those that somebody is about to add."""
    text = (PROJECT / "CONTRIBUTING.md").read_text("utf-8")
    named = {word for word in quoted(text) if re.fullmatch(r"[\w.]+(?:/[\w.]+)+\.(?:py|md)", word)}
    assert len(named) > 10
    assert [name for name in sorted(named) if not re.search("NAME|KIND", name) and not (PROJECT / name).exists()] == []


def tree(drawing: str) -> set[str]:
    """The paths of an indented drawing; two blanks a level, what follows two blanks is a remark."""
    paths, open_folders = set(), list[str]()
    for line in drawing.splitlines():
        if not line.strip():
            continue
        level = (len(line) - len(line.lstrip())) // 2
        for name in line.strip().split("  ")[0].split(", "):
            path = Path(*open_folders[:level], name)
            paths |= {str(path), *map(str, path.parents)}
        open_folders[level:] = [line.strip().split("  ")[0].split(", ")[0].rstrip("/")]
    return paths


def test_the_drawing_of_the_folders_has_every_place() -> None:
    places = Settings(root=Path("/ROOT"), cache_dir=Path("/ROOT/.meshdrop/state/cache")).places
    wanted = [
        *places.public(),
        *places.private(),
        places.sentinel,
        places.database,
        places.lock,
        places.control,
        places.live_status,
        places.work("JOB"),
        places.capture("JOB"),
        places.attempt("JOB", 1),
        places.work("JOB") / "job.json",
        places.claimed / "JOB",
        places.staging / "JOB",
        places.kept / "JOB",
    ]
    drawn = tree(blocks(section(ARCHITECTURE, "Folders"), "")[0])
    assert [str(path) for path in wanted if str(path)[1:] not in drawn] == []
    assert f"ROOT/{SENTINEL}" in drawn


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Job, Places, Settings]:
    """A job of one attempt in which a model called fusion has made a real mesh that was measured."""
    root = tmp_path_factory.mktemp("root")
    settings = Settings(root=root)
    places = settings.places
    places.state.mkdir(parents=True)
    database = Database(places.database)
    database.migrate(places.backups)
    job = replace(Jobs(database, Clock().now).claim(b"my-object", "fingerprint"), attempt=1, reason_code="quality")
    database.close()
    attempt, mesh = places.attempt(job.id, 1), meshes.torus()
    files = write_all(mesh, attempt / "fusion", {})
    (attempt / "fusion" / "result.json").write_text(
        json.dumps({"files": {file.name: {"size": 1, "sha256": ""} for file in files}})
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pictures, "STILL_PX", 24)
        measure(photographed(mesh), {"fusion": attempt / "fusion"}, attempt / "measure", lambda *_: None)
    for file in ("report.html", "report.json", "fusion/result.log"):
        (attempt / file).write_text("something")
    for folder in (places.capture(job.id), places.claimed / job.id):
        (folder / "views").mkdir(parents=True)
        (folder / "views" / "view_00.png").write_bytes(b"picture")
    return job, places, settings


def drawn_and_made(shelf: str, made: set[str]) -> tuple[set[str], set[str]]:
    """What README draws below ``shelf``/my-object, and what was made, with stills and captures told by their first."""
    drawing = next(block for block in blocks(section(README, "What comes out"), "") if f"{shelf}/my-object/" in block)
    start = drawing.index(f"{shelf}/my-object/")
    lines = re.match(r".*\n((?:  .*\n)+)", drawing[start:])
    assert lines is not None
    drawn = {line.split("  ")[0] for line in lines.group(1).replace("\n  ", "\n").strip().splitlines()} - {"..."}
    folded = {"capture/..." if name.startswith("capture/") else name for name in made}
    return drawn, {name for name in folded if not re.search(r"turntable_0[2-7]", name)} | {RECEIPT}


def test_the_outbox_folder_is_drawn_as_it_is_made(finished: tuple[Job, Places, Settings]) -> None:
    bundle = result_bundle(*finished)
    drawn, made = drawn_and_made("outbox", {*bundle.copies, *bundle.texts})
    assert drawn == made


def test_the_failed_folder_is_drawn_as_it_is_made(finished: tuple[Job, Places, Settings]) -> None:
    """Results are drawn in the outbox already; only what is added to them stands here."""
    job, places, settings = finished
    bundle = failure_bundle(job, [], places, settings)
    results = set(result_bundle(*finished).copies)
    drawn, made = drawn_and_made("failed", {*bundle.copies, *bundle.texts} - (results - {"capture/views/view_00.png"}))
    assert drawn == made
    assert results <= {*bundle.copies}, "and the report, pictures and meshes"


def test_the_pictures_are_pictures_and_small() -> None:
    with Image.open(PROJECT / "docs/images/snail.png") as image:
        assert image.width >= 2 * 800, "sharp on a display of two pixels a point at 800 px"
    assert (PROJECT / "docs/images/snail.png").stat().st_size <= 400_000
    assert (PROJECT / "docs/images/flow.svg").read_text(encoding="utf-8").startswith("<svg ")


# -- settings ------------------------------------------------------------------------------------------------------


def test_every_setting_in_the_table_exists_with_its_default() -> None:
    places = Settings(root=Path("/ROOT")).places
    derived = {"spool_dir": places.spool, "state_dir": places.state, "weights_dir": places.weights}
    rows = table(section(README, "Settings"))
    assert len(rows) > 10
    for name, default, _ in rows:
        if name in derived:
            assert Path("/ROOT", default) == derived[name]
            continue
        value = None if default == "none" else tomllib.loads(f"value = {default}")["value"]
        found = Settings.model_fields[name].default
        assert (list(found) if isinstance(found, tuple) else found) == value, name


def test_the_options_of_the_models_are_all_named() -> None:
    [told] = [meaning for name, _, meaning in table(section(README, "Settings")) if name == "model_settings"]
    options = [name for entry in BUILT_IN.values() for name in inspect.get_annotations(cast("type", entry.settings))]
    assert sorted(quoted(told)) == sorted(options)


@pytest.mark.parametrize("name", NAMES)
def test_every_setting_mentioned_exists(name: str) -> None:
    mentioned = {word.split(" = ")[0] for word in quoted(PAGES[name])}
    settings = {word for word in mentioned if re.fullmatch(r"[a-z]+(_[a-z]+)*_(s|mb|dir|days|capture)", word)}
    variables = set(re.findall(r"MESHDROP_([A-Z_]+)", PAGES[name])) - NO_SETTINGS
    assert settings | {word.lower() for word in variables} <= set(Settings.model_fields)


@pytest.mark.parametrize("snippet", [block for page in PAGES.values() for block in blocks(page, "toml")])
def test_every_settings_snippet_is_accepted(snippet: str, tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text(snippet, encoding="utf-8")
    assert set(tomllib.loads(snippet)) <= load(tmp_path, file).model_fields_set


def test_every_json_snippet_is_json() -> None:
    snippets = [block for page in (PROJECT / "docs").glob("*.md") for block in blocks(page.read_text("utf-8"), "json")]
    assert all(isinstance(json.loads(snippet), dict) for snippet in snippets)


# -- what the pages promise ----------------------------------------------------------------------------------------


def test_the_verdicts_are_those_of_the_program() -> None:
    told = section(README, "How quality is decided")
    assert table(told) == [
        [
            limit.title,
            limit.says(limit.normal),
            limit.says(limit.worst),
            "any" if limit.usable is None else limit.says(limit.usable),
        ]
        for limit in LIMITS
    ]
    for word, psnr, ssim in LIKENESS:
        assert f"*{word}* from {psnr:.0f} dB and {ssim:.2f}" in " ".join(told.split())


def test_the_models_are_those_of_the_registry() -> None:
    assert [name for name, _ in table(section(README, "Models"))] == list(BUILT_IN)


def test_the_figures_are_those_of_the_benchmarks() -> None:
    rows = table((PROJECT / "docs/benchmarks.md").read_text(encoding="utf-8"))
    whole, masked, share = ([float(row[column]) for row in rows] for column in (1, 3, 4))
    text = " ".join(section(README, "How quality is decided").split())
    assert f"{min(whole):.1f} to {max(whole):.1f} dB on the whole picture" in text
    assert f"{min(masked):.1f} to {max(masked):.1f} dB on the object" in text
    # rounded down: 0.9975 is "0.997 or more"
    assert f"at 5 mm is {int(min(share) * 1000) / 1000} or more" in text


def test_every_crash_point_is_documented_and_every_documented_one_exists() -> None:
    steps = section(ARCHITECTURE, "The steps")
    documented = {word for word in quoted(steps) if re.fullmatch(r"[IRDF]\d[a-z]?|tx_mid|rm|GRAB|END", word)}
    passed = {name for text in SOURCES.values() for name in re.findall(r"crashpoint\(\"(\w+)\"\)", text)}
    assert documented == passed


def test_every_step_that_the_code_names_is_in_the_tables() -> None:
    """Docstrings such as "I2 to I4" or "D3, D4 (F3, F4)"."""
    steps = {row.split(",")[0] for row in re.findall(r"^\| ([IRDF]\d[^|]*?) \|", ARCHITECTURE, re.MULTILINE)}
    named = {
        step
        for file, text in SOURCES.items()
        if file.is_relative_to(PROJECT / "daemon")
        for docstring in re.findall(r'"""(.*?)"""', text, re.DOTALL)
        for step in re.findall(r"\b([IRDF]\d)\b(?=[\s,:.)-])", docstring)
    }
    assert {"I2", "R1", "D3", "F3"} <= named <= steps


def test_the_states_are_those_of_the_record() -> None:
    drawing = blocks(section(ARCHITECTURE, "States"), "")[0]
    assert set(re.findall(r"[A-Z_]{4,}", drawing)) == {str(state) for state in State}


def test_the_retry_table_is_the_programs() -> None:
    text = section(ARCHITECTURE, "When something fails")
    told = {name: (says, int(retries)) for name, says, retries in table(text)}
    assert told == {name: (failure.says, failure.retries) for name, failure in RUN_FAILURES.items()}
    assert f"pauses of {BACK_OFF_S[0]:.0f} and {BACK_OFF_S[1]:.0f} seconds" in " ".join(text.split())
    assert MAX_ATTEMPTS == 3, "the page says three"
    listed = " ".join(text.split()).split("in the same file): ")[1].split(". The sentence")[0]
    assert set(quoted(listed)) == set(FAILURES)


def test_the_threads_and_processes_are_those_of_the_program() -> None:
    text = section(ARCHITECTURE, "Threads and processes")
    threads = {row[0] for row in table(text)} - {"main"}
    named = {
        name
        for file in (
            "daemon/service/main.py",
            "daemon/base/control.py",
            "daemon/base/lock.py",
            "daemon/base/record.py",
            "daemon/service/periodic.py",
            "daemon/service/retention.py",
            "db/engine.py",
        )
        for line in SOURCES[PROJECT / file].splitlines()
        for name in re.findall(r'\("(\w+)", self\._|\bname="(\w+)"|thread_name_prefix="(\w+)"', line)
        for name in name
        if name
    }
    assert threads == named
    assert {row[0] for row in table(text[text.index("| process |") :])} == set(TASKS)


@pytest.mark.parametrize("name", NAMES)
def test_the_pages_are_plain_text_that_fits_a_screen(name: str) -> None:
    for number, line in enumerate(PAGES[name].splitlines(), 1):
        assert line == line.rstrip(), f"{name}:{number} ends in blanks"
        assert len(line) <= 120 or line.startswith("|"), f"{name}:{number} is {len(line)} characters long"
