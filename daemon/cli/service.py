"""The ``meshdrop service`` commands: Meshdrop under systemd. Each imports what it needs when it is called."""
# ruff: noqa: PLC0415

from __future__ import annotations

import enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from meshdrop.daemon.base.errors import ExitCode, MeshdropError
from meshdrop.daemon.cli.options import out

if TYPE_CHECKING:
    from meshdrop.daemon.install.site import Site
    from meshdrop.daemon.install.steps import Step

app = typer.Typer(no_args_is_help=True, help="Meshdrop as a system service: install, remove, or show the files for it.")

Share = Annotated[
    Path, typer.Option("--root", envvar="MESHDROP_ROOT", help="The Meshdrop folder; `install` makes it if needed.")
]
User = Annotated[str, typer.Option("--user", help="The user that the service works as; `install` makes it if needed.")]
State = Annotated[
    Path | None,
    typer.Option(
        "--state", help="Where the record lives, on a local disk (default: as the settings say, or /var/lib/meshdrop)."
    ),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only show the steps.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask before the first step.")]

_ROOT = Path("/srv/scans")


class File(enum.StrEnum):
    """What can be printed."""

    unit = "unit"
    users = "users"
    folders = "folders"
    samba = "samba"


@app.command()
def install(
    root: Share = _ROOT,
    user: User = "meshdrop",
    state: State = None,
    dry_run: DryRun = False,
    into: Annotated[
        Path | None, typer.Option("--into", help="Write the files below this folder instead, and do nothing else.")
    ] = None,
    yes: Yes = False,
) -> None:
    """Make user, folders and settings, write the unit, start it now and with the machine; also after an upgrade."""
    from meshdrop.daemon.install import refusals as site_check
    from meshdrop.daemon.install import steps as site_install

    if into is None and not dry_run:
        site_check.check_machine()
    site = site_install.site_of(root, user=user, state=state)
    steps = site_install.installation(site)
    if into is not None:
        for path in site_install.stage(steps, into):
            _say(f"wrote {path}")
        return
    site_check.check(site)
    if _agreed(steps, dry_run=dry_run, yes=yes):
        site_install.perform(steps, _say)
        _tell_what_is_next(site)


@app.command()
def uninstall(dry_run: DryRun = False, yes: Yes = False) -> None:
    """Stop the service and remove its files; captures, results, record, settings and user stay."""
    from meshdrop.daemon.install import refusals as site_check
    from meshdrop.daemon.install import steps as site_install

    if not dry_run:
        site_check.check_machine()
    steps = site_install.removal()
    if _agreed(steps, dry_run=dry_run, yes=yes):
        site_install.perform(steps, _say)
        out.print("The service is gone. Its folders and its user are still there; docs/operations.md removes them too.")


@app.command("print")
def print_(
    file: Annotated[File, typer.Argument(help="Which file.")] = File.unit,
    root: Share = _ROOT,
    user: User = "meshdrop",
    state: State = None,
) -> None:
    """Print a file as `install` would write it, or the part of smb.conf that exports the four folders."""
    from meshdrop.daemon.install import steps as site_install

    site = site_install.site_of(root, user=user, state=state)
    texts = {File.unit: site.unit, File.users: site.users, File.folders: site.folders, File.samba: site.samba}
    print(texts[file](), end="")


def _agreed(steps: list[Step], *, dry_run: bool, yes: bool) -> bool:
    """Show the steps and ask; False when nothing is to be done."""
    if dry_run or not yes:
        for step in steps:
            _say(f"would {step}" if dry_run else f"will {step}")
    if dry_run:
        return False
    if yes:
        return True
    try:
        agreed = typer.confirm("Go on?")
    except typer.Abort as error:
        raise MeshdropError("nobody answered, so nothing was done", "give the command with --yes") from error
    if not agreed:
        out.print("Nothing was done.")
        raise typer.Exit(ExitCode.PROBLEM)
    return True


def _say(line: str) -> None:
    out.print(line, markup=False, soft_wrap=True)


def _tell_what_is_next(site: Site) -> None:
    root, user = site.places.root, site.user
    for line in (
        "",
        f"The service runs on {root} and starts with the machine.",
        "  what it does      systemctl status meshdrop",
        f"  is all well       sudo -u {user} {site.program} doctor --root {root}",
        f"  who may drop      sudo usermod -aG {user} NAME, then log in again",
        f"  over the network  sudo {site.program} service print samba --root {root} --user {user}",
    ):
        _say(line)
