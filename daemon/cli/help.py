"""The end of every command's help: examples, what else to read, and what its exit codes mean."""

from __future__ import annotations

import typer

from meshdrop.daemon.base.errors import ExitCode

#: What each code means, in words for the help and for a script.
CODES = {
    ExitCode.OK: "done, or all is well",
    ExitCode.PROBLEM: "a problem was found, and is told with its cure",
    ExitCode.USAGE: "the command was given wrongly",
    ExitCode.TRY_AGAIN: "another service runs on these folders, or `run --once` left a job behind",
    ExitCode.CONFIGURATION: "settings, folders or record do not fit this version",
}
#: One or two ways to give each command, as they would be typed. Tests hold them to the commands' own options.
EXAMPLES: dict[str, tuple[str, ...]] = {
    "demo": ("meshdrop demo", "meshdrop demo /tmp/demo --broken"),
    "init": ("meshdrop init /srv/scans", "meshdrop init /mnt/nas/scans --state /var/lib/meshdrop"),
    "run": ("meshdrop run --root /srv/scans", "meshdrop run --root /srv/scans --once"),
    "check": ("meshdrop check my-object", "meshdrop check my-object --json"),
    "status": ("meshdrop status --root /srv/scans", "meshdrop status --root /srv/scans --watch"),
    "show": ("meshdrop show my-object --root /srv/scans", "meshdrop show 3f9a2c --json"),
    "retry": ("meshdrop retry my-object --root /srv/scans",),
    "cancel": ("meshdrop cancel my-object --root /srv/scans",),
    "pause": ("meshdrop pause --root /srv/scans",),
    "resume": ("meshdrop resume --root /srv/scans",),
    "drain": ("meshdrop drain --root /srv/scans", "meshdrop drain --root /srv/scans --no-wait"),
    "notify": ("meshdrop notify --root /srv/scans",),
    "doctor": ("sudo -u meshdrop meshdrop doctor --root /srv/scans", "meshdrop doctor --json"),
    "config show": ("meshdrop config show --root /srv/scans --origin",),
    "config validate": ("meshdrop config validate --root /srv/scans",),
    "rig add": ("meshdrop rig add rig1 --from transforms.json --root /srv/scans",),
    "rig list": ("meshdrop rig list --root /srv/scans",),
    "rig show": ("meshdrop rig show rig1 --root /srv/scans",),
    "rig remove": ("meshdrop rig remove rig1 --root /srv/scans",),
    "service install": (
        "sudo meshdrop service install --root /srv/scans --dry-run",
        "sudo meshdrop service install --root /srv/scans --user scans --state /var/lib/scans",
    ),
    "service uninstall": ("sudo meshdrop service uninstall --dry-run",),
    "service print": ("meshdrop service print unit", "sudo meshdrop service print samba --root /srv/scans"),
    "weights fetch": (
        "sudo -u meshdrop meshdrop weights fetch reconviagen --root /srv/scans",
        "meshdrop weights fetch reconviagen --from /media/disk/weights",
    ),
    "weights verify": ("meshdrop weights verify reconviagen --deep",),
    "weights list": ("meshdrop weights list",),
}


def complete(app: typer.Typer, *names: str) -> None:
    """Give every command below ``app`` the end of its help."""
    for group in app.registered_groups:
        if group.typer_instance is not None:
            complete(group.typer_instance, *names, str(group.name))
    for command in app.registered_commands:
        own = str(command.name or getattr(command.callback, "__name__", ""))
        command.epilog = _end(" ".join((*names, own)))


def _end(name: str) -> str:
    """Paragraphs, since the help joins the lines of one."""
    codes = "; ".join(f"{code} {says}" for code, says in CODES.items())
    examples = EXAMPLES.get(name, ())
    return "\n\n".join([*(f"Example: {example}" for example in examples), f"Exit codes: {codes}."])
