"""``meshdrop check``; it imports what it needs when it is called."""
# ruff: noqa: PLC0415

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from meshdrop.daemon.base.errors import ConfigurationError, ExitCode, MeshdropError
from meshdrop.daemon.base.places import SENTINEL
from meshdrop.daemon.cli.options import Config, Root, out

if TYPE_CHECKING:
    from meshdrop.daemon.base.settings import Settings
    from meshdrop.models.capture.rig_profile import Rigs
    from meshdrop.models.files.limits import CaptureLimits
    from meshdrop.models.files.problem import Problem


def check(
    folder: Annotated[Path, typer.Argument(help="A capture folder.")],
    rig: Annotated[str | None, typer.Option("--rig", help="Read it with the cameras of this stored rig.")] = None,
    root: Root = None,
    config: Config = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object for programs.")] = False,
) -> None:
    """Say everything about a capture folder without running a model: what is there, what is wrong, the camera probe."""
    from meshdrop.models.files.limits import CaptureLimits
    from meshdrop.models.files.problem import told_once
    from meshdrop.models.probe.inspection import inspect

    if not folder.is_dir():
        raise MeshdropError(f"there is no folder {folder}", "name the folder that holds views/ or transforms.json")
    folder = folder.absolute()
    folder = folder.parent.resolve() / folder.name  # links lead to one's own folders; the folder itself may be none
    site = _site_of(folder, root, config)
    limits = site.limits if site is not None else CaptureLimits()
    rigs = _rigs_for(folder, rig, site)
    found = inspect(folder, limits, rigs)
    if more := _what_the_service_awaits(folder, limits, rigs, found.problems):
        found = replace(found, ok=False, problems=(*found.problems, *more))
    found = replace(found, problems=told_once(found.problems))
    if as_json:
        print(json.dumps(found.to_json(), indent=1))
    else:
        for line in found.lines():
            out.print(line, markup=False, soft_wrap=True)
    if not found.ok:
        raise typer.Exit(ExitCode.PROBLEM)


def _what_the_service_awaits(
    folder: Path, limits: CaptureLimits, rigs: Rigs, known: tuple[Problem, ...]
) -> tuple[Problem, ...]:
    """Why the service would not take the folder as it is, beyond what is wrong with its files: locks, checksums."""
    from meshdrop.daemon.inbox.observe import look, read_contents
    from meshdrop.daemon.inbox.settle import Window, judge

    try:
        snapshot = look(folder, limits, rigs=rigs).settled()
        if snapshot.manifest is not None:
            snapshot = replace(snapshot, contradicted=read_contents(folder, snapshot, limits).contradicted)
    except OSError:
        return ()  # said already
    told = {problem.file for problem in known}
    found = judge(snapshot, float("inf"), Window(0, 0, 0)).problems
    return tuple(problem for problem in found if problem.file not in told and (problem.file or not known))


def _site_of(folder: Path, root: Path | None, config: Path | None) -> Settings | None:
    """The site that is meant, lies around the folder or is found from here; None where there is none."""
    from meshdrop.daemon.base.settings import find_root, load

    around = next((parent for parent in folder.absolute().parents if (parent / SENTINEL).is_file()), None)
    try:
        found = find_root(root or around)
    except ConfigurationError:
        if config is not None:
            raise
        return None
    return load(found, config)


def _rigs_for(folder: Path, named: str | None, site: Settings | None) -> Rigs:
    """The site's rigs, and the one that is asked for by name or by the folder's place in the inbox."""
    from meshdrop.daemon.base.rigs import RigShelf, checked_name
    from meshdrop.models.capture.rig_profile import Rigs, rig_of

    if site is None:
        return Rigs({}, checked_name(named) if named else "")
    texts, inbox = RigShelf(site.places.rigs).texts(), site.places.inbox
    inside = folder.absolute().is_relative_to(inbox)
    placed = rig_of(folder.absolute().relative_to(inbox).as_posix()) if inside else ""
    return Rigs(texts, checked_name(named) if named else placed)
