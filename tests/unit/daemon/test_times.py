"""Every time of day that people are shown carries its zone, and it is the same one everywhere."""

from __future__ import annotations

import ast
from pathlib import Path

ROOT = Path(__file__).parents[3]
SOURCES = [file for room in ("daemon", "db", "models") for file in sorted((ROOT / room).rglob("*.py"))]
#: Compared with `digest_at`, which is a time by this machine's clock; never shown.
COMPARED = {"daemon/notify/outgoing.py"}


def formats(tree: ast.AST) -> list[str]:
    """Every format of a time in a source that has hours in it."""
    texts = [node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    return [text for text in texts if "%H" in text and "\n" not in text]


def test_no_time_of_day_is_without_its_zone() -> None:
    found = 0
    for file in SOURCES:
        name, text = str(file.relative_to(ROOT)), file.read_text(encoding="utf-8")
        assert "localtime(" not in text, name
        for told in formats(ast.parse(text)):
            found += 1
            names_it = "UTC" in told or "Z" in told
            others = {"daemon/base/record.py", "daemon/reporting/page.py"}
            assert names_it or name in COMPARED or name in others, (name, told)
    assert found > 10


def test_names_and_pages_made_of_parts_say_it_too() -> None:
    """Two put their formats together: a folder's name ends with Z, a report's time with the zone that it was given."""
    assert "06d}Z" in (ROOT / "daemon/base/record.py").read_text(encoding="utf-8")
    assert "tzname()" in (ROOT / "daemon/reporting/page.py").read_text(encoding="utf-8")
