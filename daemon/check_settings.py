"""What the doctor looks at of the settings: the file, the environment, and what licences follow from them."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping
from pathlib import Path

from pydantic import SecretStr

from daemon.check_folders import account_of
from daemon.errors import ConfigurationError
from daemon.finding import Finding
from daemon.machine import Machine, user_name
from daemon.origins import is_stray, meant_by
from daemon.processes import ProcessFacts
from daemon.settings import Settings, config_file, find_root, load
from models.problem import printable
from models.registry import BUILT_IN

PREFIX = "MESHDROP_"
#: Ends the service in the middle of a step, for tests.
_CRASH = ("MESHDROP_CRASH_AT", "MESHDROP_CRASH_LOG")


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
        fix = f"sudo -u {account_of(found)} meshdrop doctor --root {shlex.quote(str(found))}"
        return Finding("settings", "fail", f"{user_name()} may not read {error.filename}", why, fix), None
    return Finding("settings", "ok", f"models: {', '.join(settings.models)}"), settings


def environment(machine: Machine, service: ProcessFacts) -> Finding:
    """Is every ``MESHDROP_`` variable one that somebody reads? A misspelt one changes nothing, silently."""
    here, there = machine.environ, service.environment()
    for variables, whose in ((here, "this shell"), (there, "the running service")):
        for name in sorted(variables):
            if not name.upper().startswith(PREFIX) or (whose != "this shell" and name in here):
                continue
            if name in _CRASH:
                return Finding(
                    "environment", "fail", f"{name} is set in {whose}",
                    "it kills the service on purpose in the middle of a step; it is for tests", _unset(name, whose),
                )  # fmt: skip
            if is_stray(name):
                meant = f" (did you mean {near}?)" if (near := meant_by(name)) else ""
                return Finding(
                    "environment", "warn", f"{printable(name)} is set in {whose}, and is no setting{meant}",
                    "what it was meant to change keeps its default", _unset(name, whose) + meant,
                )  # fmt: skip
    count = sum(name.upper().startswith(PREFIX) for name in here)
    return Finding("environment", "ok", f"{count} {PREFIX} variables, all known" if count else "sets nothing")


def _unset(name: str, whose: str) -> str:
    if whose == "this shell":
        return f"unset {name}"
    return f"take {name} out of the unit or the compose file (systemctl edit meshdrop), then restart the service"


def config_mode(settings: Settings, config: Path | None) -> Finding:
    """Can strangers read a settings file that holds secrets?"""
    file = config or config_file(settings.root)
    given = [name for name in type(settings).model_fields if _is_secret(getattr(settings, name))]
    if not given or not file.is_file():
        return Finding("secrets", "ok", "none in the settings file")
    text = file.read_text(encoding="utf-8", errors="replace")
    if not file.stat().st_mode & 0o007 or not any(name in text for name in given):
        return Finding("secrets", "ok", "the settings file is closed to other users")
    return Finding(
        "secrets", "warn", f"{file} holds {', '.join(given)}, and every user of this machine may read it",
        "whoever reads them can send messages in your name", f"chmod o-rwx {shlex.quote(str(file))}",
    )  # fmt: skip


def _is_secret(value: object) -> bool:
    return isinstance(value, SecretStr) or (isinstance(value, tuple) and any(map(_is_secret, value)))


def licences(models: Iterable[str]) -> Finding:
    """Which parts may not be used for everything? Told even where all else is quiet, if the settings switch one on."""
    parts = {entry.name: "; ".join(entry.licences) for entry in BUILT_IN.values() if entry.licences}
    here = {name: parts.pop(name) for name in models if name in parts}
    if here:
        return Finding("licences", "ok", _listed(here), "what these models make may not be used for everything")
    return Finding("licences", "ok", f"everything here is free for any use; not so {_listed(parts)}")


def _listed(parts: Mapping[str, str]) -> str:
    return ". ".join(f"{name}: {part}" for name, part in parts.items())
