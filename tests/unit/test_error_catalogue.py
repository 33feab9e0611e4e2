"""The whole catalogue of errors: every entry, wherever it is made, says what a person does next."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from meshdrop.daemon.base.failures import FAILURES, Failure
from meshdrop.daemon.outbox.bundle import why_text
from meshdrop.daemon.status.pages import ended_page
from meshdrop.db.records import Job, ModelRun
from meshdrop.db.states import State
from meshdrop.models.contract.failures import RUN_FAILURES, RunFailure
from meshdrop.models.files.problem import Problem
from tests.jobs import failing_job

ROOT = Path(__file__).parents[2]
#: These carry a fix too, but only sometimes: the doctor's findings check themselves, folders' pages have tests of their
#: own, what a worker's end lacks is filled from RUN_FAILURES (and passed on as a model's outcome), and a validation has
#: one only where there was none.
NO_ENTRIES = ("Finding", "Page", "Ended", "ModelOutcome", "Validation")
#: Their message is the answer of another part, which says by itself what to do.
PASSED_ON = ("answer['message']", "str(error)")
SOURCES = [file for room in ("daemon", "models") for file in sorted((ROOT / room).rglob("*.py"))]

# -- what the program says -----------------------------------------------------------------------------------------


def failed(code: str, inspection: dict[str, object] | None = None) -> Job:
    """A job that failed for this reason."""
    return failing_job(state=State.FAILED_CLEAN, dest=b"chair", reason_code=code, inspection=inspection)


@pytest.mark.parametrize("code", sorted(FAILURES))
@pytest.mark.parametrize("left_out", [{}, {"link": "not a plain file of its own"}], ids=["whole", "something left out"])
def test_every_why_ends_with_what_to_do_next(code: str, left_out: dict[str, str]) -> None:
    problem = Problem("depth", "depth/depth_03.png", "The depth map is 8-bit.", "Save the raw depth.")
    run = ModelRun("fusion", 1, "failed", error_class="crash", reason="it died", fix="read log")
    text = why_text(failed(code, {"problems": [problem.to_json()]}), [run], left_out)
    before, _, advice = text.rpartition("What to do next:\n")
    assert " ".join(advice.split()) == FAILURES[code].fix
    assert all(name in before for name in left_out)
    assert text.splitlines()[0] == f"chair: {FAILURES[code].says}"


@pytest.mark.parametrize("code", sorted(FAILURES))
def test_every_failed_folder_has_a_cure_on_its_page(code: str) -> None:
    page = ended_page(failed(code))
    assert page.state == "failed"
    assert FAILURES[code].says in page.sentence
    assert page.fix


def test_every_row_of_the_tables_has_a_sentence_and_a_cure() -> None:
    rows: list[tuple[str, Failure | RunFailure]] = [*FAILURES.items(), *RUN_FAILURES.items()]
    for name, row in rows:
        assert row.says.strip(), name
        assert row.fix.strip(), name


# -- what the source says ------------------------------------------------------------------------------------------


@dataclass
class Maker:
    """Something that takes a fix: a class or a function. ``place`` is the position of that argument."""

    place: int
    default: ast.expr | None


@dataclass
class Catalogue:
    """Every call in these sources that makes an entry, and what is wrong with it."""

    makers: dict[str, list[Maker]] = field(default_factory=dict)
    entries: int = 0
    faults: list[str] = field(default_factory=list)

    def read(self, sources: dict[str, str]) -> Catalogue:
        """Find who takes a fix, then look at everybody who calls them."""
        trees = {name: ast.parse(text) for name, text in sources.items()}
        for tree in trees.values():
            self._find_makers(tree)
        for tree in trees.values():
            self._inherit(tree)
        for name, tree in trees.items():
            for function, call in calls(tree):
                self._check(name, tree, function, call)
        return self

    def _find_makers(self, tree: ast.Module) -> None:
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef):
                fields = [item for item in node.body if isinstance(item, ast.AnnAssign)]
                names = [item.target.id for item in fields if isinstance(item.target, ast.Name)]
                if "fix" in names and is_dataclass(node):
                    self._add(node.name, Maker(names.index("fix"), fields[names.index("fix")].value))
            elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                self._find_maker(node, owner_of(tree, node))

    def _find_maker(self, node: ast.FunctionDef | ast.AsyncFunctionDef, owner: ast.ClassDef | None) -> None:
        arguments = [argument.arg for argument in node.args.args]
        if "fix" in arguments:
            defaults = [None] * (len(arguments) - len(node.args.defaults)) + list(node.args.defaults)
            bound = owner is not None and arguments[0] in ("self", "cls")
            maker = Maker(arguments.index("fix") - bound, defaults[arguments.index("fix")])
            self._add(owner.name if owner is not None and node.name == "__init__" else node.name, maker)

    def _inherit(self, tree: ast.Module) -> None:
        """Classes that take their fix as the class they are made of does."""
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef) and node.name not in self.makers:
                for base in node.bases:
                    if isinstance(base, ast.Name) and base.id in self.makers:
                        self.makers[node.name] = self.makers[base.id]

    def _add(self, name: str, maker: Maker) -> None:
        if name not in NO_ENTRIES:
            self.makers.setdefault(name, []).append(maker)

    def _check(self, file: str, tree: ast.Module, function: ast.AST, call: ast.Call) -> None:
        name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
        for maker in self.makers.get(name, ()):
            given = given_fix(call, maker)
            if given is None:
                continue  # takes another number of arguments: a namesake, or it is filled from a table
            self.entries += 1
            if len(call.args) == 1 and ast.unparse(call.args[0]) in PASSED_ON:
                continue
            if (fault := Source(tree).fault(given, function)) is not None:
                self.faults.append(f"{file}:{call.lineno}: {name}: {fault}")


def is_dataclass(node: ast.ClassDef) -> bool:
    """Whether the class is decorated as one."""
    return any("dataclass" in ast.unparse(decorator) for decorator in node.decorator_list)


def owner_of(tree: ast.Module, function: ast.AST) -> ast.ClassDef | None:
    """The class whose method this is."""
    return next((node for node in ast.walk(tree) if isinstance(node, ast.ClassDef) and function in node.body), None)


def calls(tree: ast.Module) -> Iterator[tuple[ast.AST, ast.Call]]:
    """Every call with the innermost function (or the module) around it."""

    def walk(node: ast.AST, around: ast.AST) -> Iterator[tuple[ast.AST, ast.Call]]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Call):
                yield around, child
            inner = child if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef) else around
            yield from walk(child, inner)

    return walk(tree, tree)


def given_fix(call: ast.Call, maker: Maker) -> ast.expr | None:
    """The expression that becomes the fix of this call; None when none is given and none is the default."""
    for word in call.keywords:
        if word.arg == "fix":
            return word.value
    if any(word.arg is None for word in call.keywords):
        return None  # Problem(**fields): made of one that was made before
    starred = next((i for i, one in enumerate(call.args) if isinstance(one, ast.Starred)), None)
    if starred is not None and starred <= maker.place:
        return call.args[starred]
    return call.args[maker.place] if len(call.args) > maker.place else maker.default


@dataclass
class Source:
    """Follows an expression through one module."""

    tree: ast.Module

    def fault(self, given: ast.expr, function: ast.AST) -> str | None:
        """Why this expression may be an empty fix; None when it never is. Of a tuple the last part is the fix."""
        match given:
            case ast.Constant(value=str(text)):
                return None if text.strip() else "an empty fix"
            case ast.JoinedStr(values=values):
                return None if values else "an empty fix"
            case ast.IfExp(body=one, orelse=other):
                return self.fault(one, function) or self.fault(other, function)
            case ast.BinOp(op=ast.Add(), left=left, right=right):
                return self.fault(left, function) and self.fault(right, function)
            case ast.Attribute(attr="fix"):
                return None  # of an entry that is checked where it is made
            case ast.Starred(value=inner):
                return self.fault(inner, function)
            case ast.Tuple(elts=[*_, last]):
                return self.fault(last, function)
            case ast.Name(id=name):
                return self._fault_of_name(name, function)
            case ast.Call(func=ast.Name(id=name)):
                return self._fault_of_answers(name)
        return f"cannot be followed: {ast.unparse(given)}"

    def _fault_of_name(self, name: str, function: ast.AST) -> str | None:
        """Every value that a variable is given counts; a parameter is followed to those who call."""
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            arguments = [one.arg for one in (*function.args.args, *function.args.kwonlyargs)]
            if name == "fix" and name in arguments:
                return None  # whoever calls this function is looked at himself
            if name in arguments:
                return self._fault_of_callers(function, arguments.index(name))
        values = [value for node in ast.walk(function) for value in given_to(name, node)]
        if not values:
            values, function = [value for node in self.tree.body for value in given_to(name, node)], self.tree
        return self._first_fault([(value, function) for value in values], name)

    def _fault_of_callers(self, function: ast.FunctionDef | ast.AsyncFunctionDef, place: int) -> str | None:
        given = [
            (call.args[place], around)
            for around, call in calls(self.tree)
            if getattr(call.func, "id", "") == function.name and len(call.args) > place
        ]
        return self._first_fault(given, function.name)

    def _fault_of_answers(self, name: str) -> str | None:
        answers = [
            (node.value, function)
            for function in ast.walk(self.tree)
            if isinstance(function, ast.FunctionDef) and function.name == name
            for node in ast.walk(function)
            if isinstance(node, ast.Return) and node.value is not None
        ]
        return self._first_fault(answers, name)

    def _first_fault(self, given: Sequence[tuple[ast.expr, ast.AST]], name: str) -> str | None:
        if not given:
            return f"cannot be followed: {name}"
        return next((fault for value, around in given if (fault := self.fault(value, around)) is not None), None)


def given_to(name: str, node: ast.AST) -> Iterator[ast.expr]:
    """Expressions whose value, or its last part, ends up in the variable ``name``."""
    match node:
        case ast.Assign(targets=[ast.Name(id=target)], value=value) if target == name:
            yield value
        case ast.Assign(targets=[ast.Tuple(elts=targets)], value=ast.Tuple(elts=values)):
            for one, given in zip(targets, values, strict=True):
                if isinstance(one, ast.Name) and one.id == name:
                    yield given
        case ast.Assign(targets=[ast.Tuple(elts=[*_, ast.Name(id=target)])], value=value) if target == name:
            yield value


def test_every_error_in_the_source_has_a_fix() -> None:
    catalogue = Catalogue().read({str(file.relative_to(ROOT)): file.read_text(encoding="utf-8") for file in SOURCES})
    assert catalogue.entries > 120
    assert {"Problem", "MeshdropError", "ConfigurationError", "ModelUnavailable", "_refused"} <= set(catalogue.makers)
    assert catalogue.faults == []


FAULTY = [
    'Problem("set", None, "is missing.", "")',
    'Problem("set", None, "is missing.", "  ")',
    'Problem("set", None, "is missing.", fix="")',
    'Problem("set", None, "is missing.", "Copy it." if complete else "")',
    'Problem("set", None, "is missing.", CURE)',
    'Problem("set", None, "is missing.", elsewhere.cure())',
    "Problem(*found())",
    'complain("set", "")',
    'Stop("no disk")',
]
SOUND = [
    'Problem("set", None, "is missing.", "Copy it.")',
    'Problem("set", None, "is missing.", f"Copy {name}.")',
    'Problem("set", None, "is missing.", flaw.fix)',
    'Problem("set", None, "is missing.", GOOD)',
    "Problem(**fields)",
    "Problem(*sound())",
    'complain("set", "Copy it.")',
    'Stop("no disk", "make room")',
    'namesake.complain("x")',
]
FRAME = """
@dataclass
class Problem:
    code: str
    file: str
    message: str
    fix: str

class Trouble(Exception):
    def __init__(self, message, fix=""): ...

class Stop(Trouble): ...

CURE, GOOD = "", "Copy it."

def complain(code, fix):
    return Problem(code, None, "is missing.", fix)

def found():
    return "set", None, "is missing.", ""

def sound():
    return "set", None, "is missing.", "Copy it."

def here(name, complete, flaw, fields):
    return {}
"""


@pytest.mark.parametrize("entry", FAULTY)
def test_an_entry_without_a_fix_is_noticed(entry: str) -> None:
    """The walk above proves something only if it fails where it should."""
    assert len(Catalogue().read({"file.py": FRAME.replace("{}", entry)}).faults) == 1


@pytest.mark.parametrize("entry", SOUND)
def test_an_entry_with_a_fix_passes(entry: str) -> None:
    assert Catalogue().read({"file.py": FRAME.replace("{}", entry)}).faults == []
