"""The rooms keep to themselves: what may be imported by whom, and what never is."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HEAVY = ("torch", "trimesh", "numba", "skimage", "scipy", "numpy", "PIL")
SOURCES = [file for room in ("daemon", "db", "models") for file in sorted((ROOT / room).rglob("*.py"))]


def imported(file: Path) -> set[str]:
    """Every module that a file imports anywhere, functions included."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
    return found


@pytest.mark.parametrize("file", SOURCES, ids=lambda file: str(file.relative_to(ROOT)))
def test_imports_point_one_way(file: Path) -> None:
    room = file.relative_to(ROOT).parts[0]
    forbidden = {"models": ("daemon", "db"), "db": ("daemon", "models"), "daemon": ()}[room]
    assert [name for name in imported(file) if name.split(".")[0] in forbidden] == []


def test_no_room_has_import_cycles() -> None:
    """A depth-first walk over module-level imports meets no module that is still open."""
    names = {".".join(file.relative_to(ROOT).with_suffix("").parts): file for file in SOURCES}

    def at_module_level(file: Path) -> set[str]:
        tree = ast.parse(file.read_text(encoding="utf-8"))
        return {
            f"{node.module}" for node in tree.body if isinstance(node, ast.ImportFrom) and node.module in names
        }

    done: set[str] = set()

    def visit(name: str, open_: tuple[str, ...]) -> None:
        assert name not in open_, f"cycle: {' -> '.join((*open_, name))}"
        if name in done:
            return
        for other in at_module_level(names[name]):
            visit(other, (*open_, name))
        done.add(name)

    for name in names:
        visit(name, ())


def test_the_service_imports_no_numerical_library() -> None:
    """The whole daemon, every file of it, in a fresh interpreter."""
    modules = [
        ".".join(file.relative_to(ROOT).with_suffix("").parts)
        for room in ("daemon", "db") for file in sorted((ROOT / room).rglob("*.py"))
        if "migrations" not in file.parts
    ]  # fmt: skip
    program = f"import sys\nfor name in {modules}: __import__(name)\nprint([n for n in {HEAVY} if n in sys.modules])"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT)
    assert result.stdout.strip() == "[]"


def test_help_imports_neither_the_service_nor_the_record() -> None:
    program = "import sys, daemon.cli; print([n for n in ('sqlalchemy', 'pydantic', 'watchdog') if n in sys.modules])"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT)
    assert result.stdout.strip() == "[]"


@pytest.mark.parametrize("file", SOURCES, ids=lambda file: str(file.relative_to(ROOT)))
def test_nothing_on_the_input_path_can_run_what_it_reads(file: Path) -> None:
    """No pickle, no eval, no exec, no YAML, no allow_pickle anywhere in the product."""
    assert not {"pickle", "yaml", "marshal", "shelve", "dill", "joblib"} & {n.split(".")[0] for n in imported(file)}
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call):
            name = getattr(node.func, "id", "")
            assert name not in ("eval", "exec", "compile", "__import__"), f"{file}:{node.lineno}"
            assert all(word.arg != "allow_pickle" for word in node.keywords), f"{file}:{node.lineno}"
