"""What the doctor looks at of the settings: the file, the environment, and what licences follow from them."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path

from pydantic import SecretStr

from meshdrop.daemon.base.errors import ConfigurationError
from meshdrop.daemon.base.origins import is_stray, meant_by
from meshdrop.daemon.base.settings import Settings, config_file, find_root, load
from meshdrop.daemon.base.users import account_of, others_who_write, user_name
from meshdrop.daemon.doctor.checks.finding import Finding
from meshdrop.daemon.doctor.checks.run import in_time, late
from meshdrop.daemon.host.machine import Machine
from meshdrop.daemon.host.processes import ProcessFacts
from meshdrop.models.contract.entry import ModelEntry
from meshdrop.models.contract.registry import BUILT_IN
from meshdrop.models.files.problem import printable

PREFIX = "MESHDROP_"
#: Reading a file takes milliseconds, and everything else waits for it.
_READ_S = 4.0
#: What did not answer once is not asked again.
_SILENT: set[tuple[Path | None, Path | None]] = set()
#: Ends the service in the middle of a step, for tests.
_CRASH = ("MESHDROP_CRASH_AT", "MESHDROP_CRASH_BY", "MESHDROP_CRASH_LOG")


def read_settings(root: Path | None, config: Path | None) -> tuple[Finding, Settings | None]:
    """The settings and the line about them; all their problems at once. Never hangs, even where the share does."""
    if (root, config) in _SILENT:
        return late("settings", _READ_S), None
    try:
        return in_time(lambda: _read(root, config), _READ_S)
    except TimeoutError:
        _SILENT.add((root, config))
        return late("settings", _READ_S), None


def open_settings(root: Path) -> Finding | None:
    """The line about a settings file that others than the operator could write or replace; None when nobody can."""
    file = config_file(root)
    for place in (root, file.parent, file):
        with suppress(FileNotFoundError):
            if (who := others_who_write(os.lstat(place))) is not None:
                return Finding(
                    "settings",
                    "fail",
                    f"{who} may write to {place}",
                    f"whoever can put another {file.name} in its place has any program run as this service",
                    f"chmod go-w {shlex.quote(str(place))}, and look whether {file} is still yours; "
                    "people at the share need to write to the folders in it only",
                )
    return None


def _read(root: Path | None, config: Path | None) -> tuple[Finding, Settings | None]:
    try:
        found = find_root(root)
    except ConfigurationError as error:
        why = "the settings, the folders and the record were not checked"
        return Finding("settings", "warn", str(error), why, error.fix), None
    except OSError as error:
        why = "the settings, the folders and the record were not checked"
        return Finding("settings", "warn", str(error), why, "name the folder with --root DIR"), None
    try:
        settings = load(found, config)
    except ConfigurationError as error:
        if isinstance(error.__cause__, PermissionError):
            return _closed(found, error.__cause__), None
        why = "the service refuses to start; the folders, the record and the models were not checked"
        return Finding("settings", "fail", str(error), why, error.fix), None
    if (exposed := open_settings(found)) is not None:
        return exposed, settings
    return Finding("settings", "ok", f"models: {', '.join(settings.models)}"), settings


def _closed(root: Path, error: PermissionError) -> Finding:
    """That the settings may not be read: by a stranger, or by the very user whom the root belongs to."""
    place = shlex.quote(str(root))
    try:
        owner, own = account_of(root), root.stat().st_uid == os.geteuid()
    except OSError:  # not even the root may be looked at
        owner, own = "root", False
    fix = f"sudo -u {owner} meshdrop doctor --root {place}"
    if not own:
        fix += f" (if {user_name()} is the user of the service: sudo chown {user_name()} {place} {place}/.meshdrop)"
    else:
        fix = f"sudo chown -R {user_name()} {place}/.meshdrop && sudo chmod u+rwX {place}/.meshdrop"
    why = "the folders, the record and the models were not checked"
    return Finding("settings", "fail", f"{user_name()} may not read {error.filename}", why, fix)


def environment(machine: Machine, service: ProcessFacts) -> Finding:
    """Is every ``MESHDROP_`` variable one that somebody reads? A misspelt one changes nothing, silently."""
    here, there = machine.environ, service.environment()
    for variables, whose in ((here, "this shell"), (there, "the running service")):
        for name in sorted(variables):
            if not name.upper().startswith(PREFIX) or (whose != "this shell" and name in here):
                continue
            if name in _CRASH:
                return Finding(
                    "environment",
                    "fail",
                    f"{name} is set in {whose}",
                    "it kills the service on purpose in the middle of a step; it is for tests",
                    _unset(name, whose),
                )
            if is_stray(name):
                meant = f" (did you mean {near}?)" if (near := meant_by(name)) else ""
                return Finding(
                    "environment",
                    "warn",
                    f"{printable(name)} is set in {whose}, and is no setting{meant}",
                    "what it was meant to change keeps its default",
                    _unset(name, whose) + meant,
                )
    count = sum(name.upper().startswith(PREFIX) for name in here)
    return Finding("environment", "ok", f"{count} {PREFIX} variables, all known" if count else "sets nothing")


def _unset(name: str, whose: str) -> str:
    if whose == "this shell":
        return f"unset {name}"
    return f"take {name} out of the unit or the compose file (systemctl edit meshdrop), then restart the service"


def config_mode(settings: Settings, config: Path | None) -> Finding:
    """Can strangers read a settings file that holds secrets, or a file of them that it names?"""
    file = config or config_file(settings.root)
    named = [getattr(settings, name) for name in type(settings).model_fields if name.endswith("_file")]
    if shown := [path for path in named if path is not None and _is_open(path)]:
        return Finding(
            "secrets",
            "warn",
            f"{shown[0]} holds an address or a key, and every user of this machine may read it",
            "whoever reads it can send messages in your name",
            f"chmod o-rwx {shlex.quote(str(shown[0]))}",
        )
    given = [name for name in type(settings).model_fields if _is_secret(getattr(settings, name))]
    if not given or not file.is_file():
        return Finding("secrets", "ok", "none in the settings file")
    text = file.read_text(encoding="utf-8", errors="replace")
    if not _is_open(file) or not any(name in text for name in given):
        return Finding("secrets", "ok", "the settings file is closed to other users")
    return Finding(
        "secrets",
        "warn",
        f"{file} holds {', '.join(given)}, and every user of this machine may read it",
        "whoever reads them can send messages in your name",
        f"chmod o-rwx {shlex.quote(str(file))}",
    )


def _is_open(path: Path) -> bool:
    """Whether strangers may read it: the file, through every folder above it. What a container is handed below
    /run/secrets is open there, to it alone.
    """
    with suppress(OSError):
        real = path.resolve()
        way = all(folder.stat().st_mode & 0o001 for folder in real.parents)
        return way and bool(real.stat().st_mode & 0o004) and path.parts[:3] != ("/", "run", "secrets")
    return False


def _is_secret(value: object) -> bool:
    return isinstance(value, SecretStr) or (isinstance(value, tuple) and any(map(_is_secret, value)))


def licences(entries: Mapping[str, ModelEntry], models: Iterable[str]) -> Finding:
    """Which parts may not be used for everything? Told even where all else is quiet, if the settings switch one on."""
    known = {**BUILT_IN, **entries}
    parts = {name: "; ".join(entry.licences) for name, entry in known.items() if entry.licences}
    unknown = [name for name, entry in entries.items() if entry.licences is None]
    parts |= dict.fromkeys(unknown, "its licences are for you to know")
    here = {name: parts.pop(name) for name in models if name in parts}
    if here:
        return Finding("licences", "ok", _listed(here), "what these models make may not be used for everything")
    return Finding("licences", "ok", f"everything here is free for any use; not so {_listed(parts)}")


def _listed(parts: Mapping[str, str]) -> str:
    return ". ".join(f"{name}: {part}" for name, part in parts.items())
