"""The ``meshdrop`` command: parses, wires, and maps errors to exit codes. The work is done elsewhere.

Each command imports what it needs when it is called: help and completion must answer at once, and `status` must not
wait for what only the service uses.
"""
# ruff: noqa: PLC0415

from __future__ import annotations

import json
import os
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from meshdrop.daemon.base.errors import ConfigurationError, ExitCode, MeshdropError
from meshdrop.daemon.base.places import Places, shown
from meshdrop.daemon.cli import check as cli_check
from meshdrop.daemon.cli import config as cli_config
from meshdrop.daemon.cli import doctor as cli_doctor
from meshdrop.daemon.cli import help as cli_help
from meshdrop.daemon.cli import notify as cli_notify
from meshdrop.daemon.cli import pause as cli_pause
from meshdrop.daemon.cli import rig as cli_rig
from meshdrop.daemon.cli import service as cli_service
from meshdrop.daemon.cli import weights as cli_weights
from meshdrop.daemon.cli.options import Config, Root, out, places_of
from meshdrop.models.files import walk

if TYPE_CHECKING:
    from sqlalchemy.orm import Session, sessionmaker

    from meshdrop.db.records import Job

app = typer.Typer(
    no_args_is_help=True, pretty_exceptions_enable=False, help="Drop a capture folder, get a measured 3D mesh."
)
app.add_typer(cli_config.app, name="config")
app.add_typer(cli_rig.app, name="rig")
app.add_typer(cli_service.app, name="service")
app.add_typer(cli_weights.app, name="weights")
app.command()(cli_check.check)
for command in (cli_pause.pause, cli_pause.resume, cli_pause.drain, cli_notify.notify):
    app.command()(command)
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
# max_extra_mb = 200             # of what lies beside the capture so much goes into the result
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
    from meshdrop.daemon.cli.demo import run_demo

    run_demo(folder.absolute(), out, broken=broken)


@app.command()
def init(
    root: Annotated[Path, typer.Argument(help="The folder to set up, for example /srv/scans.")],
    state: Annotated[
        Path | None, typer.Option("--state", help="Where the record shall live, on a local disk; a new setting.")
    ] = None,
) -> None:
    """Make inbox/, outbox/, failed/, status/ and the private folders; changes nothing that is there."""
    from meshdrop.daemon.base import fsops
    from meshdrop.daemon.base.settings import config_file, load
    from meshdrop.daemon.base.share import create_root

    root = root.absolute()
    try:
        root.mkdir(parents=True, exist_ok=True)
        (root / "inbox").mkdir(exist_ok=True)
    except PermissionError as error:
        raise ConfigurationError(
            f"{root} cannot be set up by this user (number {os.getuid()}): it may not write to {error.filename}",
            f"give it a folder first: sudo install -d -o {os.getuid()} -g {os.getgid()} {shlex.quote(str(root))} (in a "
            "container: the folder on the host that is mounted there)",
        ) from error
    file = config_file(root)
    is_new = not file.exists()
    settings = load(root, state_dir=state.absolute() if state and is_new else None)
    if state is not None and settings.places.state != state.absolute():
        raise ConfigurationError(
            f"{file} is there already and puts the record into {settings.places.state}",
            "change state_dir there, or leave --state out",
        )
    create_root(settings.places)
    if is_new:
        told = 'state_dir = "/var/lib/meshdrop"'
        text = CONFIG_TEMPLATE.replace(f"# {told} ", f"state_dir = {json.dumps(str(settings.state_dir))} ")
        # Addresses and keys may be written into it later.
        fsops.write_file(file, (CONFIG_TEMPLATE if state is None else text).encode(), 0o600)
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
    import faulthandler

    from meshdrop.daemon.base import log
    from meshdrop.daemon.base.settings import find_root, load
    from meshdrop.daemon.service.main import run_service
    from meshdrop.daemon.service.startup import wait_for_root

    faulthandler.enable()  # systemd's watchdog ends a service that hangs by SIGABRT: the journal then tells where
    log.configure(verbose)
    if not once:
        wait_for_root(find_root(root))
    run_service(load(root, config), once=once)


@app.command()
def status(
    root: Root = None,
    config: Config = None,
    as_json: AsJson = False,
    watch: Annotated[bool, typer.Option("--watch", help="Keep showing, every second, until Ctrl-C.")] = False,
) -> None:
    """Show what the service is doing, what waits and why, when it will be done, and what was finished last."""
    from meshdrop.daemon.cli.views import live_facts, status_view
    from meshdrop.daemon.host.gpu_memory import gpu_memory

    places = places_of(root, config)
    if watch:
        from meshdrop.daemon.cli.watch import watch as keep_showing

        keep_showing(places, out, as_json=as_json)
        return
    facts = live_facts(places) | {"gpus": [vars(gpu) for gpu in gpu_memory()]}
    if as_json:
        print(json.dumps(facts))
    else:
        out.print(status_view(facts))


@app.command()
def show(job: JobName, root: Root = None, config: Config = None, as_json: AsJson = False) -> None:
    """Show one job's whole history."""
    from meshdrop.daemon.cli.views import find_one, history_facts, history_view
    from meshdrop.db.messages import messages_of
    from meshdrop.db.records import events_of, runs_of

    places = places_of(root, config)
    with _record(places)() as session:
        found = find_one(session, job)
        runs, events = runs_of(session, found.id), events_of(session, found.id)
        told = messages_of(session, found.id)
    if as_json:
        print(json.dumps(history_facts(found, runs, events, told)))
    else:
        out.print(history_view(found, runs, events))


@app.command()
def retry(job: JobName, root: Root = None, config: Config = None) -> None:
    """Move a failed (or finished) job's folder back into the inbox, which starts it again."""
    from meshdrop.daemon.base.fsops import rename_new

    places = places_of(root, config)
    source, target = _published_folder(places, job)
    if walk.is_there(target):
        raise MeshdropError(f"{target} is there already", "wait until it is taken, or rename it")
    rename_new(source, target)
    out.print(f"{shown(os.fsencode(target.name))} is back in the inbox")


@app.command()
def cancel(job: JobName, root: Root = None, config: Config = None) -> None:
    """Stop a waiting or running job; its capture goes to failed/ and nothing is lost."""
    from meshdrop.daemon.base.control import ask
    from meshdrop.daemon.cli.views import find_one

    places = places_of(root, config)
    with _record(places)() as session:
        found = find_one(session, job)
    out.print(ask(places.control, "cancel", job=found.id))


app.command()(cli_doctor.doctor)


def _record(places: Places) -> sessionmaker[Session]:
    if not places.database.is_file():
        raise MeshdropError(f"there is no record yet at {places.database}", "start the service with `meshdrop run`")
    from meshdrop.db.engine import reader

    return reader(places.database)


def _published_folder(places: Places, name: str) -> tuple[Path, Path]:
    """(where the job's folder is now, where it came from)."""
    for shelf in (places.failed, places.outbox):
        if Path(name).name == name != ".." and name and walk.is_folder(shelf / name):
            return shelf / name, places.inbox / name
    from meshdrop.daemon.cli.views import find_one

    with _record(places)() as session:
        found: Job = find_one(session, name)
    for shelf in (places.failed, places.outbox):
        folder = shelf / os.fsdecode(found.dest or b"_")
        if walk.is_folder(folder):
            target = places.inbox / os.fsdecode(found.name)
            return folder, target if walk.is_folder(target.parent) else places.inbox / target.name
    raise MeshdropError(
        f"job {found.short_id} has no folder in failed/ or outbox/: it is {found.state} or was taken away",
        "copy the capture into the inbox again",
    )


cli_help.complete(app)


def main() -> None:
    """Entry point: exit codes 0 ok, 1 a problem was found, 2 usage, 75 try again later, 78 configuration."""
    try:
        app()
    except MeshdropError as error:
        err.print(f"meshdrop: {error}", markup=False, soft_wrap=True)
        if error.fix:
            err.print(f"  fix: {error.fix}", markup=False, soft_wrap=True)
        sys.exit(error.exit_code)
    except PermissionError as error:
        from meshdrop.daemon.base.users import as_owner_of

        err.print(f"meshdrop: {error.filename} may not be read or written by this user", markup=False, soft_wrap=True)
        become = as_owner_of(Path(os.fsdecode(error.filename or ".")))
        err.print(f"  fix: run this as the user that the service runs as: {become}", markup=False, soft_wrap=True)
        sys.exit(ExitCode.PROBLEM)
    except OSError as error:
        from meshdrop.daemon.doctor.checks.run import cure_of

        err.print(f"meshdrop: {error}", markup=False, soft_wrap=True)
        err.print(f"  fix: {cure_of(error)}", markup=False, soft_wrap=True)
        sys.exit(ExitCode.PROBLEM)
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as error:
        kinds = {kind.__name__ for kind in type(error).__mro__}  # help must not wait for the database's library
        if not kinds & {"SchemaError", "DatabaseError"}:
            raise
        if "SchemaError" in kinds:
            err.print(f"meshdrop: {error}", markup=False, soft_wrap=True)
            sys.exit(ExitCode.CONFIGURATION)
        err.print(f"meshdrop: the record cannot be read now: {getattr(error, 'orig', error)}", markup=False)
        err.print("  fix: try again; if it stays so, `meshdrop doctor` looks at the record", markup=False)
        sys.exit(ExitCode.PROBLEM)


if __name__ == "__main__":
    main()
