"""The ``meshdrop rig`` commands; like the others, each imports what it needs when it is called."""
# ruff: noqa: PLC0415

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from meshdrop.daemon.base.errors import ExitCode, MeshdropError
from meshdrop.daemon.cli.options import Config, Root, out, places_of

if TYPE_CHECKING:
    from meshdrop.daemon.base.rigs import RigShelf
    from meshdrop.models.probe.rig_making import MadeProfile

app = typer.Typer(no_args_is_help=True, help="Stored rigs: cameras told once, so that a rig copies only pictures.")

Name = Annotated[str, typer.Argument(help="The rig's name: lower-case letters, digits and -.")]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object for programs.")]


@app.command()
def add(
    name: Name,
    source: Annotated[
        Path, typer.Option("--from", help="A capture of this rig (a folder), or a file of cameras in any format.")
    ],
    root: Root = None,
    config: Config = None,
    require_depth: Annotated[
        bool, typer.Option("--require-depth", help="Captures of this rig wait for their depth.")
    ] = False,
) -> None:
    """Store a rig's cameras under a name, or replace them; jobs that are queued already keep theirs."""
    from meshdrop.daemon.base.rigs import RigShelf, checked_name
    from meshdrop.daemon.base.settings import load
    from meshdrop.models.files.problem import CaptureError, printable
    from meshdrop.models.probe.rig_making import make_profile

    places = places_of(root, config)
    name = checked_name(name)
    if not source.exists():
        raise MeshdropError(f"there is no {source}", "name a capture folder, or a file such as transforms.json")
    try:
        made = make_profile(name, source.resolve(), load(root, config).limits, require_depth=require_depth)
    except CaptureError as error:
        for problem in error.problems:
            where = f"{printable(problem.file)}: " if problem.file else ""
            out.print(f"{where}{printable(problem.message)}", markup=False, soft_wrap=True)
            out.print(f"  fix: {printable(problem.fix)}", markup=False, soft_wrap=True)
        raise typer.Exit(ExitCode.PROBLEM) from error
    shelf = RigShelf(places.rigs)
    before = shelf.texts().get(name)
    file = shelf.store(made.profile)
    _tell(made, before, file, places.inbox)


def _tell(made: MadeProfile, before: bytes | None, file: Path, inbox: Path) -> None:
    profile = made.profile
    count = len(profile.stated.frames or ())
    word = "is as it was" if before == profile.text else "was replaced" if before is not None else "is stored"
    out.print(
        f"The rig {profile.name} {word}: {count} cameras, version {profile.version}, in {file}",
        markup=False,
        soft_wrap=True,
    )
    probe = made.inspection.probe if made.inspection is not None else None
    if probe is None:
        out.print("There were no pictures to check the cameras by: the first captures will be checked.")
    else:
        out.print(f"Conventions: {probe.verdict}. {probe.reason}", markup=False, soft_wrap=True)
    out.print(
        f'Drop folders with its pictures into {inbox / f"@{profile.name}"}/, or put {{"rig": "{profile.name}"}} into '
        "their capture.json.",
        markup=False,
        soft_wrap=True,
    )


@app.command("list")
def list_(root: Root = None, config: Config = None, as_json: AsJson = False) -> None:
    """List the stored rigs: cameras, version, and how much waits in each one's folder of the inbox."""
    from meshdrop.daemon.base.rigs import RigShelf

    places = places_of(root, config)
    shelf = RigShelf(places.rigs)
    rigs = [_facts(shelf, name) | {"waiting": len(_waiting(places.inbox, name))} for name in shelf.texts()]
    if as_json:
        print(json.dumps(rigs, indent=1))
        return
    if not rigs:
        out.print("No rig is stored. One is with: meshdrop rig add NAME --from FILE")
    for rig in rigs:
        waiting = f", {rig['waiting']} waiting" if rig["waiting"] else ""
        told = f"{rig['cameras']} cameras, version {rig['version']}" if rig["trouble"] is None else rig["trouble"]
        out.print(f"{rig['name']:<16} {told}{waiting}", markup=False)


@app.command()
def show(name: Name, root: Root = None, config: Config = None, as_json: AsJson = False) -> None:
    """Show one rig: its views, the files they are awaited under, and where the cameras stand."""
    from meshdrop.daemon.base.rigs import RigShelf, checked_name

    profile = RigShelf(places_of(root, config).rigs).profile(checked_name(name))
    if as_json:
        print(profile.text.decode())
        return
    out.print(f"{profile.name}, version {profile.version}", markup=False)
    if profile.stated.depth_unit_m is not None:
        out.print(f"depth in units of {profile.stated.depth_unit_m:.6g} m")
    for frame in profile.stated.frames or ():
        place = ", ".join(f"{row[3]:.3f}" for row in frame.matrix[:3])
        size = f"{frame.intrinsics.w:g} x {frame.intrinsics.h:g}" if frame.intrinsics.w else "any size"
        out.print(f"  {frame.image:<28} {size:>11}  at ({place}) m", markup=False)


@app.command()
def remove(name: Name, root: Root = None, config: Config = None) -> None:
    """Forget a rig; refused while captures wait in its folder of the inbox."""
    from meshdrop.daemon.base.rigs import RigShelf, checked_name

    places = places_of(root, config)
    name = checked_name(name)
    if waiting := _waiting(places.inbox, name):
        raise MeshdropError(
            f"{len(waiting)} folder{'s' if len(waiting) > 1 else ''} in {places.inbox / f'@{name}'} would be refused",
            "wait until they are taken, or move them away",
        )
    RigShelf(places.rigs).remove(name)
    out.print(f"The rig {name} is forgotten. Jobs that are queued keep their copy of it.", markup=False)


def _facts(shelf: RigShelf, name: str) -> dict[str, object]:
    """One line of the list; a damaged profile is told as such and keeps no other from being listed."""
    try:
        profile = shelf.profile(name)
    except MeshdropError as error:
        return {"name": name, "version": None, "cameras": None, "trouble": str(error)}
    return {"name": name, "version": profile.version, "cameras": len(profile.stated.frames or ()), "trouble": None}


def _waiting(inbox: Path, name: str) -> list[str]:
    try:
        return [entry.name for entry in os.scandir(inbox / f"@{name}") if entry.is_dir()]
    except FileNotFoundError:
        return []
