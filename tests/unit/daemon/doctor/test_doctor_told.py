"""How findings are told: the page, the object for programs, the exit code; and that no heavy library is needed."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner

from meshdrop.daemon.cli import doctor as cli_doctor
from meshdrop.daemon.cli.main import app
from meshdrop.daemon.doctor.checks.finding import Finding
from meshdrop.daemon.doctor.checks.run import Check, carry_out
from meshdrop.daemon.doctor.examine import examine
from meshdrop.daemon.doctor.views import facts, findings_view
from meshdrop.daemon.host.machine import Machine
from tests.unit.daemon.doctor.ailments import by_name

PROJECT = Path(__file__).parents[4]
FINDINGS = [
    Finding("python", "ok", "Python 3.12.1", group="program"),
    Finding("sqlite", "warn", "SQLite 3.40.1", "a rare race", "a newer Python", "program"),
    Finding("licences", "ok", "nvdiffrec: research only", "not for everything", group="settings"),
    Finding("folders", "fail", "/srv/[x] lacks inbox", "refuses to start", "meshdrop init '/srv/[x]'", "folders"),
    Finding("moving", "skip", "not looked at until `folders` is in order", group="folders"),
]
#: Every line there can be, with the heading under which it stands. Programs rely on these: only add.
LINES = {
    "program": ["python", "packages", "sqlite", "locale", "glTF validator"],
    "machine": ["open files", "process limits", "inotify", "memory", "shared memory", "clock"],
    "GPU": ["gpu", "torch", "gpu memory", "gpu health"],
    "settings": ["settings", "environment", "secrets", "notifications", "metrics", "formats", "workers", "licences"],
    "folders": [
        "root",
        "user",
        "share",
        "mounts",
        "folders",
        "permissions",
        "private folders",
        "exports",
        "moving",
        "names",
        "rigs",
        "inbox",
    ],
    "disks": ["state", "kernel cache", "free space", "free inodes", "leftovers"],
    "service": ["service", "running version", "held", "unit"],
    "record": ["record", "backups", "clock and record", "queue", "failures"],
    "models": ["model fusion"],
}


def shown(findings: list[Finding], *, verbose: bool = False) -> str:
    """The page as text."""
    console = Console(width=100, record=True, file=open(os.devnull, "w"))  # noqa: SIM115 - lives as long as the test
    console.print(findings_view(findings, verbose=verbose))
    return console.export_text()


def test_what_is_not_in_order_is_told_whole_and_the_rest_by_name() -> None:
    text = shown(FINDINGS)
    assert "/srv/[x] lacks inbox" in text
    assert "fix: meshdrop init '/srv/[x]'" in text
    assert "Python 3.12.1" not in text
    assert "python" in text
    assert "nvdiffrec: research only" in text, "what is in order and has a consequence is told"
    assert "1 to cure before Meshdrop can work; 1 worth a look; 1 not looked at until then." in text


def test_verbose_tells_everything() -> None:
    text = shown(FINDINGS, verbose=True)
    assert all(finding.says.partition(" until")[0] in text for finding in FINDINGS)


def test_nothing_to_tell_is_one_green_sentence() -> None:
    assert "Everything is in order." in shown([FINDINGS[0]])


def test_the_object_for_programs_has_every_line_in_its_place(root: Path, healthy: Machine, quick_models: None) -> None:
    told = json.loads(json.dumps(facts(examine(root, None, healthy))))
    assert told["schema"] == "meshdrop.doctor/1"
    assert told["result"] == "ok"
    lines: dict[str, list[str]] = {}
    for finding in told["findings"]:
        assert set(finding) == {"name", "result", "says", "why", "fix", "group"}
        lines.setdefault(finding["group"], []).append(finding["name"])
    assert lines == LINES


def test_every_line_is_in_the_documentation() -> None:
    """In the order of the report; lines about a model stand there once for all of them."""
    page = (PROJECT / "docs/doctor.md").read_text(encoding="utf-8")
    documented = re.findall(r"^\| `([^`]+)` \|", page, re.MULTILINE)
    lines = [name for names in LINES.values() for name in names if name != "model fusion"]
    assert documented == [*lines, "code MODEL", "weights MODEL", "model MODEL"]


def test_the_worst_line_is_the_result() -> None:
    assert facts(FINDINGS)["result"] == "fail"
    assert facts(FINDINGS[:2])["result"] == "warn"
    assert facts(FINDINGS[-1:])["result"] == "ok"


@pytest.mark.parametrize(
    ("result", "why", "fix"), [("warn", "", "x"), ("fail", "x", ""), ("ok", "", "x"), ("skip", "", "x")]
)
def test_a_line_without_consequence_or_cure_cannot_be_made(result: str, why: str, fix: str) -> None:
    with pytest.raises(ValueError, match="cure"):
        Finding("x", result, "something", why, fix)  # type: ignore[arg-type]


def test_no_line_in_the_source_can_lack_its_consequence_or_its_cure() -> None:
    """Every call that makes a finding which is not ok gives four texts, none of them an empty one."""
    calls = [
        (file.name, node)
        for file in sorted((PROJECT / "daemon").rglob("*.py"))
        if "from meshdrop.daemon.doctor.checks.finding import Finding" in file.read_text(encoding="utf-8")
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "Finding" and len(node.args) > 1
    ]
    assert len(calls) > 100
    for file, call in calls:
        result = call.args[1].value if isinstance(call.args[1], ast.Constant) else None
        if result in ("ok", "skip"):
            assert len(call.args) <= 4, f"{file}:{call.lineno}"
            continue
        assert len(call.args) >= 5, f"{file}:{call.lineno} has no cure"
        empty = [part for part in call.args[2:5] if isinstance(part, ast.Constant) and not str(part.value).strip()]
        assert empty == [], f"{file}:{call.lineno}"


# -- checks that go wrong ----------------------------------------------------------------------------------------------


def test_a_check_that_breaks_is_a_line_of_its_own_and_hides_no_other() -> None:
    def broken() -> Finding:
        raise ZeroDivisionError("oops")

    def forbidden() -> Finding:
        raise PermissionError(13, "Permission denied", "/etc/shadow")

    found = by_name(
        carry_out(
            [
                Check("machine", "one", broken),
                Check("machine", "two", forbidden),
                Check("machine", "three", lambda: Finding("three", "ok", "fine")),
                Check("machine", "four", lambda: Finding("four", "ok", "fine"), needs=("two",)),
                Check("machine", "five", lambda: Finding("five", "ok", "fine"), needs=("four",)),
            ]
        )
    )
    assert [finding.result for finding in found.values()] == ["fail", "fail", "ok", "skip", "skip"]
    assert "ZeroDivisionError: oops" in found["one"].says
    assert "/etc/shadow" in found["two"].says
    assert found["four"].says == "not looked at until `two` is in order"
    assert found["five"].says == "not looked at until `four` is in order"


# -- the command -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("result", "code"), [("ok", 0), ("warn", 0), ("skip", 0), ("fail", 1)])
def test_the_exit_code_tells_whether_something_must_be_cured(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, result: str, code: int
) -> None:
    why, fix = ("why", "fix") if result in ("warn", "fail") else ("", "")
    line = Finding("x", result, "says", why, fix, "machine")  # type: ignore[arg-type]
    monkeypatch.setattr(cli_doctor, "_examined", lambda root, config: [line])
    for arguments in ([], ["--json"]):
        done = CliRunner().invoke(app, ["doctor", "--root", str(tmp_path), *arguments])
        assert done.exit_code == code, done.output
    assert json.loads(done.stdout)["findings"] == [line.to_json()]


def test_the_doctor_loads_no_library_of_the_models_even_where_they_are_switched_on(root: Path) -> None:
    (root / ".meshdrop/config.toml").write_text('models = ["fusion", "nvdiffrec", "reconviagen"]\n')
    code = (
        "import sys\nfrom pathlib import Path\nfrom meshdrop.daemon.cli import trial\n"
        "from meshdrop.daemon.doctor import support_bundle\n"
        "from meshdrop.daemon.doctor.examine import examine\n"
        f"examine(Path({str(root)!r}), None)\n"
        "heavy = ('torch', 'numba', 'trimesh', 'skimage', 'scipy', 'numpy', 'PIL', 'pynvml', 'apprise')\n"
        "print([name for name in heavy if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd="/")
    assert done.stdout.strip() == "[]"
