"""How the doctor's findings are told: a page for a terminal, an object for programs.

What is in order takes one line for each heading, by name: forty green lines would hide the two that matter, and yet a
person wants to know what was looked at. What is not in order is always told whole, and so is what is in order and yet
has a consequence (a licence). ``--verbose`` tells everything.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from meshdrop.daemon.base.version import version
from meshdrop.daemon.doctor.checks.finding import Finding

SCHEMA = "meshdrop.doctor/1"
_STYLE = {"ok": "green", "warn": "yellow", "fail": "red", "skip": "dim"}


def facts(findings: Sequence[Finding]) -> dict[str, Any]:
    """The findings as one JSON object. ``result`` is the worst of them; lines and keys are only ever added."""
    worst = next((result for result in ("fail", "warn") if any(one.result == result for one in findings)), "ok")
    return {
        "schema": SCHEMA,
        "meshdrop": version(),
        "result": worst,
        "findings": [finding.to_json() for finding in findings],
    }


def findings_view(findings: Sequence[Finding], *, verbose: bool = False) -> RenderableType:
    """The findings as a terminal page; under every line that is not ok stand its consequence and its cure."""
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for result, name, told in _rows(findings, verbose=verbose):
        table.add_row(Text(result, style=_STYLE[result]), Text(name), told)
    return Group(table, Text(), summary(findings))


def _rows(findings: Sequence[Finding], *, verbose: bool) -> Iterator[tuple[str, str, Text]]:
    for group, members in groupby(findings, key=lambda finding: finding.group):
        lines = list(members)
        quiet = [] if verbose else [finding for finding in lines if not (finding.is_trouble or finding.why)]
        for result in ("ok", "skip"):
            if names := [finding.name for finding in quiet if finding.result == result]:
                yield result, group, Text(", ".join(names), style="dim" * (result == "skip"))
        for finding in lines:
            if finding not in quiet:
                yield finding.result, finding.name, _told(finding)


def _told(finding: Finding) -> Text:
    told = Text(finding.says)
    if finding.why:
        told.append(f"\n{finding.why}", style="dim")
    if finding.fix:
        told.append("\nfix: ", style="bold").append(finding.fix)
    return told


def summary(findings: Sequence[Finding]) -> Text:
    """One sentence: is anything wrong?"""
    failed = sum(finding.result == "fail" for finding in findings)
    warned = sum(finding.result == "warn" for finding in findings)
    skipped = sum(finding.result == "skip" for finding in findings)
    if not failed and not warned:
        return Text("Everything is in order.", style="green")
    counts = [f"{failed} to cure before Meshdrop can work"] * bool(failed) + [f"{warned} worth a look"] * bool(warned)
    counts += [f"{skipped} not looked at until then"] * bool(skipped)
    return Text("; ".join(counts) + ".", style="red" if failed else "yellow")
