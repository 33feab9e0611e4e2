"""`meshdrop doctor`: everything that can be known about this machine and these folders before a capture arrives.

Needs no torch and no GPU library, answers in about two seconds, and changes nothing: it moves one empty folder
through the share, as the service will, and takes it away again.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from daemon import check_folders, check_machine, check_models
from daemon.errors import ConfigurationError
from daemon.finding import Finding
from daemon.machine import Machine, user_name
from daemon.settings import Settings, find_root, load

Check = tuple[str, Callable[[], Finding]]

_STYLE = {"ok": "green", "warn": "yellow", "fail": "red"}
#: What is asked when no settings say which models are used.
_DEFAULT_MODELS: Mapping[str, Mapping[str, Any]] = {"fusion": {}}


def examine(root: Path | None, config: Path | None, machine: Machine | None = None) -> list[Finding]:
    """Make every check that is possible and return what was found, in the order in which to cure it.

    Without a root the machine and the default model are still checked; with unreadable settings only the machine.
    """
    machine = machine or Machine()
    about_settings, settings = read_settings(root, config)
    models = _DEFAULT_MODELS if about_settings.result == "warn" else {}
    if settings is not None:
        models = check_models.configured(settings)
    custom, weights = (settings.custom_models, settings.places.weights) if settings else ({}, None)
    with check_models.asked(models, custom, weights) as questions:
        findings = _made(_machine_checks(machine, list(models)))
        findings.append(about_settings)
        if settings is not None:
            findings += _made(_folder_checks(settings, machine))
        return [*findings, *check_models.findings(questions), check_machine.licences()]


def read_settings(root: Path | None, config: Path | None) -> tuple[Finding, Settings | None]:
    """The settings and the line about them; all their problems at once."""
    try:
        found = find_root(root)
    except ConfigurationError as error:
        why = "the settings, the folders and the record were not checked"
        return Finding("settings", "warn", str(error), why, error.fix), None
    try:
        settings = load(found, config)
    except ConfigurationError as error:
        why = "the service refuses to start; the folders, the record and the models were not checked"
        return Finding("settings", "fail", str(error), why, error.fix), None
    except PermissionError as error:
        why = "the folders, the record and the models were not checked"
        fix = f"sudo -u {check_folders.account_of(found)} meshdrop doctor --root {shlex.quote(str(found))}"
        return Finding("settings", "fail", f"{user_name()} may not read {error.filename}", why, fix), None
    return Finding("settings", "ok", f"models: {', '.join(settings.models)}"), settings


def _machine_checks(machine: Machine, models: Sequence[str]) -> list[Check]:
    return [
        ("python", lambda: check_machine.python_version(machine)),
        ("packages", lambda: check_machine.packages(machine)),
        ("sqlite", lambda: check_machine.sqlite_version(machine)),
        ("open files", lambda: check_machine.open_files(machine)),
        ("inotify", lambda: check_machine.inotify(machine)),
        ("gpu", lambda: check_machine.gpu(machine, models)),
    ]


def _folder_checks(settings: Settings, machine: Machine) -> list[Check]:
    places = settings.places
    root: list[Check] = [("root", lambda: check_folders.root_folder(places))]
    if not places.root.is_dir():
        return root
    return [
        *root,
        ("folders", lambda: check_folders.public_folders(places)),
        ("user", lambda: check_folders.user(places, machine)),
        ("moving", lambda: check_folders.moving(places)),
        ("inbox", lambda: check_folders.waiting(places, machine)),
        ("share", lambda: check_folders.share_mount(places, machine)),
        ("state", lambda: check_folders.state_disk(places, machine)),
        ("kernel cache", lambda: check_folders.kernel_cache(places)),
        ("free space", lambda: check_folders.free_space(settings, machine)),
        ("free inodes", lambda: check_folders.free_inodes(settings, machine)),
        ("service", lambda: check_folders.instance(places)),
        ("record", lambda: check_folders.record(places)),
    ]


def _made(checks: Sequence[Check]) -> list[Finding]:
    """Make the checks; one that the machine does not let us make is a finding too."""
    findings = []
    for name, check in checks:
        try:
            findings.append(check())
        except OSError as error:
            why = "this could not be checked"
            findings.append(Finding(name, "fail", str(error), why, "run the doctor as the user the service runs as"))
    return findings


def findings_view(findings: Sequence[Finding]) -> RenderableType:
    """The findings as a terminal page; under every line that is not ok stand its consequence and its cure."""
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for finding in findings:
        style = _STYLE[finding.result]
        table.add_row(Text(finding.result, style=style), Text(finding.name), _told(finding))
    return Group(table, Text(), _summary(findings))


def _told(finding: Finding) -> Text:
    told = Text(finding.says)
    if finding.why:
        told.append(f"\n{finding.why}", style="dim")
    if finding.fix:
        told.append("\nfix: ", style="bold").append(finding.fix)
    return told


def _summary(findings: Sequence[Finding]) -> Text:
    failed = sum(finding.result == "fail" for finding in findings)
    warned = sum(finding.result == "warn" for finding in findings)
    if not failed and not warned:
        return Text("Everything is in order.", style="green")
    counts = [f"{failed} to cure before Meshdrop can work"] * bool(failed) + [f"{warned} worth a look"] * bool(warned)
    return Text("; ".join(counts) + ".", style="red" if failed else "yellow")
