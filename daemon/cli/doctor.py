"""The ``meshdrop doctor`` command: looks, tells, and on request mends, tries and packs up for somebody elsewhere.

Root looks through the eyes of the service's user: root may do everything, so nothing that it finds out about rights is
worth knowing. Like the other commands, this imports what it needs when it is called.
"""
# ruff: noqa: PLC0415

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from meshdrop.daemon.base.errors import ExitCode, MeshdropError
from meshdrop.daemon.cli.options import Config, Root, out

if TYPE_CHECKING:
    from meshdrop.daemon.base.settings import Settings
    from meshdrop.daemon.doctor.checks.finding import Finding
    from meshdrop.daemon.doctor.repairs import Repair
    from meshdrop.daemon.status.activity import Activity

err = Console(stderr=True, highlight=False)


def doctor(
    root: Root = None,
    config: Config = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object for programs.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Tell what is in order, too.")] = False,
    deep: Annotated[bool, typer.Option("--deep", help="Also put a capture through every model; minutes.")] = False,
    sample: Annotated[
        Path | None, typer.Option("--sample", help="The capture for --deep (default: the one that comes along).")
    ] = None,
    fix: Annotated[bool, typer.Option("--fix", help="Do what is safe to do, after asking, and look again.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask before --fix.")] = False,
    bundle: Annotated[
        Path | None, typer.Option("--bundle", help="Pack what is known, without secrets, into this file or folder.")
    ] = None,
) -> None:
    """Check machine, folders, service, record and models; every line that is not ok says what cures it."""
    from meshdrop.daemon.doctor.checks.settings import read_settings
    from meshdrop.daemon.doctor.support_bundle import write_bundle
    from meshdrop.daemon.doctor.views import facts, findings_view, summary

    findings = _examined(root, config)
    settings = read_settings(root, config)[1]
    repaired: list[dict[str, str | None]] = []
    if fix and not as_json:
        out.print(findings_view(findings, verbose=verbose))
    if fix and settings is not None:
        repaired = _repaired(findings, settings, yes=yes, quiet=as_json)
        if any(one["error"] is None for one in repaired):
            findings = _examined(root, config)
    if deep:
        findings += _tried(root, config, settings, sample)
    if as_json:
        print(json.dumps({**facts(findings), "repaired": repaired}))
    elif not fix or deep:
        out.print(findings_view(findings, verbose=verbose))
    elif repaired:
        out.print(summary(findings))
    if bundle is not None:
        made = write_bundle(bundle, findings, settings, config)
        err.print(
            f"{made.path} holds {len(made.members)} texts, no picture and no secret; README.txt in it lists them. "
            "Look through it before you send it.",
            markup=False,
            soft_wrap=True,
        )
    if any(finding.result == "fail" for finding in findings):
        raise typer.Exit(ExitCode.PROBLEM)


def _examined(root: Path | None, config: Path | None) -> list[Finding]:
    from meshdrop.daemon.doctor.examine import examine
    from meshdrop.daemon.doctor.other_user import examine_as, owner_to_be

    owner = owner_to_be(root, config)
    return examine(root, config) if owner is None else examine_as(owner, root, config)


def _repaired(
    findings: Sequence[Finding], settings: Settings, *, yes: bool, quiet: bool
) -> list[dict[str, str | None]]:
    """What was done, each with its error or None; nothing where nobody agreed."""
    from meshdrop.daemon.doctor.repairs import perform, plan

    repairs = plan(findings, settings.places)
    if not repairs:
        if not quiet:
            out.print("There is nothing that --fix would do by itself; the lines above say what a person does.")
        return []
    if not yes and not _agreed(repairs):
        return []
    done = perform(repairs)
    for one in done:
        if not quiet:
            said = f"done: {one['says']}" if one["error"] is None else f"not done: {one['says']} ({one['error']})"
            out.print(said, markup=False, soft_wrap=True)
    return done


def _agreed(repairs: Sequence[Repair]) -> bool:
    if not sys.stdin.isatty():
        raise MeshdropError("nobody is here to be asked", "give --yes; without --fix nothing is changed")
    for repair in repairs:
        err.print(f"  {repair.says}", markup=False, soft_wrap=True)
    return typer.confirm("Do this?", err=True)


def _tried(root: Path | None, config: Path | None, settings: Settings | None, sample: Path | None) -> list[Finding]:
    from meshdrop.daemon.cli.trial import run_trial
    from meshdrop.daemon.doctor.checks.receivers import reachable
    from meshdrop.daemon.doctor.other_user import owner_to_be

    if settings is None:
        raise MeshdropError("without settings there are no models to try", "cure the line about the settings first")
    if (owner := owner_to_be(root, config)) is not None:
        raise MeshdropError(
            f"a trial writes files, and they must belong to {owner.name}",
            f"sudo -u {owner.name} meshdrop doctor --deep",
        )
    told = ""

    def show(activity: Activity) -> None:
        nonlocal told
        note = activity.working.note.split(" %: ")[-1] if activity.working is not None else ""
        if note and note != told:
            told = note
            err.print(f"trying: {activity.working.note}" if activity.working else "", markup=False, soft_wrap=True)

    return [*reachable(settings), *run_trial(settings, sample, show)]
