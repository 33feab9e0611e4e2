"""The ``meshdrop`` command: parses, wires, and maps errors to exit codes. The work is done elsewhere.

Each command imports what it needs when it is called: help and completion must answer at once, and `status` must not
wait for what only the service uses.
"""
# ruff: noqa: PLC0415

from __future__ import annotations

import json
import os
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from daemon import cli_weights
from daemon.cli_options import Config, Root, out
from daemon.errors import ConfigurationError, ExitCode, MeshdropError
from daemon.places import SENTINEL, Places, shown

if TYPE_CHECKING:
    from sqlalchemy.orm import Session, sessionmaker

    from db.records import Job
    from models.limits import CaptureLimits
    from models.problem import Problem

app = typer.Typer(
    no_args_is_help=True, pretty_exceptions_enable=False, help="Drop a capture folder, get a measured 3D mesh."
)
app.add_typer(cli_weights.app, name="weights")
err = Console(stderr=True, highlight=False)

JobName = Annotated[str, typer.Argument(help="A job's id (or its beginning), or the name of its folder.")]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object for programs.")]

CONFIG_TEMPLATE = """\
# Meshdrop's settings. Every line is optional; what stands here commented out is the default.
# models = ["fusion"]            # in this order, each capture goes through all of them
# settle_s = 5.0                 # a complete folder must be unchanged for so long
# incomplete_after_s = 1800      # an incomplete one goes to failed/ after so long
# max_file_mb = 20
# max_capture_mb = 200
# deliver_capture = true         # put the capture beside its results
# retain_days = 7                # keep originals privately for so long after publishing
# state_dir = "/var/lib/meshdrop"   # the record must be on a local disk

# [model_settings.fusion]
# resolution = 256
"""


@app.command()
def demo(
    folder: Annotated[Path, typer.Argument(help="Where to make the demo.")] = Path("demo"),
    broken: Annotated[bool, typer.Option("--broken", help="Drop faulty captures and see what is said.")] = False,
) -> None:
    """Make a folder, drop a sample capture into it, and watch it become a mesh."""
    from daemon.demo import run_demo

    run_demo(folder.absolute(), out, broken=broken)


@app.command()
def init(root: Annotated[Path, typer.Argument(help="The folder to set up, for example /srv/scans.")]) -> None:
    """Make inbox/, outbox/, failed/, status/ and the private folders; changes nothing that is there."""
    from daemon.settings import config_file, load
    from daemon.share import create_root

    root = root.absolute()
    root.mkdir(parents=True, exist_ok=True)
    file = config_file(root)
    settings = load(root)
    create_root(settings.places)
    if not file.exists():
        file.write_text(CONFIG_TEMPLATE, encoding="utf-8")
    out.print(f"{root} is ready. Settings: {file}")
    out.print(f"Start the service with: meshdrop run --root {root}")


@app.command()
def run(
    root: Root = None,
    config: Config = None,
    once: Annotated[bool, typer.Option("--once", help="Stop when everything in the inbox is done.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Log more.")] = False,
) -> None:
    """Watch the inbox and work until stopped (Ctrl-C or SIGTERM loses nothing)."""
    from daemon import log
    from daemon.service import run_service
    from daemon.settings import find_root, load
    from daemon.startup import wait_for_root

    log.configure(verbose)
    if not once:
        wait_for_root(find_root(root))
    run_service(load(root, config), once=once)


@app.command()
def check(
    folder: Annotated[Path, typer.Argument(help="A capture folder.")],
    root: Root = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Say everything about a capture folder without running a model: what is there, what is wrong, the camera probe."""
    from models.inspection import inspect

    if not folder.is_dir():
        raise MeshdropError(f"there is no folder {folder}", "name the folder that holds views/ or transforms.json")
    limits = _limits_for(folder, root, config)
    found = inspect(folder, limits)
    if more := _what_the_service_awaits(folder, limits, found.problems):
        found = replace(found, ok=False, problems=(*found.problems, *more))
    if as_json:
        print(json.dumps(found.to_json(), indent=1))
    else:
        for line in found.lines():
            out.print(line, markup=False, soft_wrap=True)
    if not found.ok:
        raise typer.Exit(ExitCode.PROBLEM)


def _what_the_service_awaits(
    folder: Path, limits: CaptureLimits, known: tuple[Problem, ...]
) -> tuple[Problem, ...]:
    """Why the service would not take the folder as it is, beyond what is wrong with its files: locks, checksums."""
    from daemon.look import look, read_contents
    from daemon.settle import Window, judge

    try:
        snapshot = look(folder, limits)
        if snapshot.manifest is not None:
            snapshot = replace(snapshot, contradicted=read_contents(folder, snapshot, limits).contradicted)
    except OSError:
        return ()  # said already
    told = {problem.file for problem in known}
    found = judge(snapshot, float("inf"), Window(0, 0, 0)).problems
    return tuple(problem for problem in found if problem.file not in told and (problem.file or not known))


def _limits_for(folder: Path, root: Path | None, config: Path | None) -> CaptureLimits:
    """What the service allows that is meant, lies around the folder or is found from here; the defaults without one."""
    from daemon.settings import find_root, load
    from models.limits import CaptureLimits

    around = next((parent for parent in folder.absolute().parents if (parent / SENTINEL).is_file()), None)
    try:
        found = find_root(root or around)
    except ConfigurationError:
        if config is not None:
            raise
        return CaptureLimits()
    return load(found, config).limits


@app.command()
def status(
    root: Root = None,
    config: Config = None,
    as_json: AsJson = False,
    watch: Annotated[bool, typer.Option("--watch", help="Keep showing, twice a second.")] = False,
) -> None:
    """Show what the service is doing, what waits and why, and what was finished last."""
    from rich.live import Live

    from daemon.views import live_facts, status_view

    places = _places(root, config)
    if as_json:
        print(json.dumps(live_facts(places)))
    elif not watch:
        out.print(status_view(live_facts(places)))
    else:
        with Live(status_view(live_facts(places)), console=out, refresh_per_second=4) as live:
            while True:
                time.sleep(0.5)
                live.update(status_view(live_facts(places)))


@app.command()
def show(job: JobName, root: Root = None, config: Config = None, as_json: AsJson = False) -> None:
    """Show one job's whole history."""
    from daemon.views import find_one, history_facts, history_view
    from db.records import events_of, runs_of

    places = _places(root, config)
    with _record(places)() as session:
        found = find_one(session, job)
        runs, events = runs_of(session, found.id), events_of(session, found.id)
    if as_json:
        print(json.dumps(history_facts(found, runs, events)))
    else:
        out.print(history_view(found, runs, events))


@app.command()
def retry(job: JobName, root: Root = None, config: Config = None) -> None:
    """Move a failed (or finished) job's folder back into the inbox, which starts it again."""
    from daemon.fsops import rename_new

    places = _places(root, config)
    source, target = _published_folder(places, job)
    if os.path.lexists(target):
        raise MeshdropError(f"{target} is there already", "wait until it is taken, or rename it")
    rename_new(source, target)
    out.print(f"{shown(os.fsencode(target.name))} is back in the inbox")


@app.command()
def cancel(job: JobName, root: Root = None, config: Config = None) -> None:
    """Stop a waiting or running job; its capture goes to failed/ and nothing is lost."""
    from daemon.control import ask
    from daemon.views import find_one

    places = _places(root, config)
    with _record(places)() as session:
        found = find_one(session, job)
    out.print(ask(places.control, "cancel", job=found.id))


@app.command()
def doctor(root: Root = None, config: Config = None, as_json: AsJson = False) -> None:
    """Check the machine, the folders and the models; every line that is not ok says what cures it."""
    from daemon.doctor import examine, findings_view

    findings = examine(root, config)
    if as_json:
        print(json.dumps([finding.to_json() for finding in findings]))
    else:
        out.print(findings_view(findings))
    if any(finding.result == "fail" for finding in findings):
        raise typer.Exit(ExitCode.PROBLEM)


def _places(root: Path | None, config: Path | None) -> Places:
    """The folders of a root that is there and was set up."""
    from daemon.settings import load

    places = load(root, config).places
    if not places.sentinel.is_file():
        raise MeshdropError(
            f"{places.root} is not a Meshdrop folder, or it is not mounted: it has no {places.sentinel.name}",
            f"name another with --root, or make it one with `meshdrop init {places.root}`",
        )
    return places


def _record(places: Places) -> sessionmaker[Session]:
    if not places.database.is_file():
        raise MeshdropError(f"there is no record yet at {places.database}", "start the service with `meshdrop run`")
    from db.engine import reader

    return reader(places.database)


def _published_folder(places: Places, name: str) -> tuple[Path, Path]:
    """(where the job's folder is now, where it came from)."""
    for shelf in (places.failed, places.outbox):
        if Path(name).name == name != ".." and name and (shelf / name).is_dir():
            return shelf / name, places.inbox / name
    from daemon.views import find_one

    with _record(places)() as session:
        found: Job = find_one(session, name)
    for shelf in (places.failed, places.outbox):
        folder = shelf / os.fsdecode(found.dest or b"_")
        if folder.is_dir():
            return folder, places.inbox / os.fsdecode(found.name)
    raise MeshdropError(
        f"job {found.short_id} has no folder in failed/ or outbox/: it is {found.state} or was taken away",
        "copy the capture into the inbox again",
    )


def main() -> None:
    """Entry point: exit codes 0 ok, 1 a problem was found, 2 usage, 75 another instance, 78 configuration."""
    try:
        app()
    except MeshdropError as error:
        err.print(f"meshdrop: {error}", markup=False, soft_wrap=True)
        if error.fix:
            err.print(f"  fix: {error.fix}", markup=False, soft_wrap=True)
        sys.exit(error.exit_code)
    except RuntimeError as error:
        if type(error).__name__ != "SchemaError":  # not imported here: help must not wait for the database's library
            raise
        err.print(f"meshdrop: {error}", markup=False, soft_wrap=True)
        sys.exit(ExitCode.CONFIGURATION)
    except PermissionError as error:
        err.print(f"meshdrop: {error.filename} may not be read or written by this user", markup=False, soft_wrap=True)
        err.print("  fix: run this as the user that the service runs as", markup=False, soft_wrap=True)
        sys.exit(ExitCode.PROBLEM)
    except OSError as error:
        err.print(f"meshdrop: {error}", markup=False, soft_wrap=True)
        sys.exit(ExitCode.PROBLEM)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        sys.exit(0)


if __name__ == "__main__":
    main()
