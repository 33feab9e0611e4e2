"""What the doctor looks at of the program itself: the interpreter, the packages, the locks they came from.

``packaging`` is imported where it is used: a service, which asks some of these at its start, has no use for it later.
"""
# ruff: noqa: PLC0415

from __future__ import annotations

import importlib.metadata
import re
from collections.abc import Iterator
from itertools import islice
from typing import TYPE_CHECKING

from meshdrop.daemon.doctor.checks.finding import Finding
from meshdrop.daemon.host.machine import Machine

if TYPE_CHECKING:
    from packaging.requirements import Requirement

DISTRIBUTION = "meshdrop"
LOCK = "requirements.lock"
#: Below it, a rare race between connections in WAL mode can damage the record (sqlite.org/wal.html, "WAL-reset bug").
SQLITE_GOOD = (3, 51, 3)

_REINSTALL = "run `make install` in the project, or `pip install --require-hashes -r requirements.lock`"
_PINNED = re.compile(r"^([A-Za-z0-9._-]+)==([^\s;]+)\s*(?:;\s*(.+?)\s*)?\\?$", re.MULTILINE)
_TOLD = 4


def python_version(machine: Machine) -> Finding:
    """Is this interpreter one that the package was made for?"""
    from packaging.specifiers import SpecifierSet

    try:
        wanted = machine.metadata(DISTRIBUTION)["Requires-Python"]
    except importlib.metadata.PackageNotFoundError:
        return Finding("python", "ok", f"Python {machine.python}")
    if SpecifierSet(wanted).contains(machine.python, prereleases=True):
        return Finding("python", "ok", f"Python {machine.python}")
    return Finding(
        "python",
        "fail",
        f"Python {machine.python}, but Meshdrop needs {wanted}",
        "it was not tested with this version and may stop anywhere",
        f"make a new environment with Python {wanted}",
    )


def packages(machine: Machine) -> Finding:
    """Do the installed packages have the versions that Meshdrop asks for, and those that its lock names?"""
    from packaging.requirements import Requirement

    try:
        asked = machine.metadata(DISTRIBUTION).get_all("Requires-Dist") or []
    except importlib.metadata.PackageNotFoundError:
        return Finding(
            "packages",
            "fail",
            "Meshdrop itself is not installed in this environment",
            "model processes start isolated and find only installed packages",
            "pip install --no-deps -e .",
        )
    requirements = [Requirement(line) for line in asked]
    wrong = [trouble for each in requirements if (trouble := _wrong_with(each, machine))]
    if wrong:
        return Finding(
            "packages",
            "fail",
            "; ".join(wrong),
            "results may differ from what was tested, or models may not start",
            _REINSTALL,
        )
    drifted = list(_drifted(machine))
    if not drifted:
        return Finding("packages", "ok", f"{len(requirements)} packages have the versions that were asked for")
    told = "; ".join(islice(drifted, _TOLD)) + (f" and {len(drifted) - _TOLD} more" if len(drifted) > _TOLD else "")
    return Finding(
        "packages",
        "warn",
        f"not as {LOCK} has them: {told}",
        "these versions together were never tested; figures may differ a little from those of other machines",
        _REINSTALL,
    )


def _wrong_with(asked: Requirement, machine: Machine) -> str | None:
    if asked.marker is not None and not asked.marker.evaluate({"extra": ""}):
        return None
    version = _version(asked.name, machine)
    if version is None:
        return f"{asked.name} is missing"
    if asked.specifier.contains(version, prereleases=True):
        return None
    return f"{asked.name} is {version}, not {asked.specifier}"


def _version(name: str, machine: Machine) -> str | None:
    """None where it is not installed, or only a rest of it is."""
    try:
        version = machine.metadata(name)["Version"]
    except importlib.metadata.PackageNotFoundError:
        return None
    return None if version is None else str(version)


def _drifted(machine: Machine) -> Iterator[str]:
    """Installed packages of another version than the lock beside the program pins; an installed wheel has no lock."""
    from packaging.markers import Marker

    try:
        text = (machine.program / LOCK).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return
    for name, pinned, marker in _PINNED.findall(text):
        if marker and not Marker(marker).evaluate({"python_full_version": machine.python}):
            continue
        version = _version(name, machine)
        if version is not None and version != pinned:
            yield f"{name} is {version}, not {pinned}"


def sqlite_version(machine: Machine) -> Finding:
    """Is SQLite new enough to be without its known WAL defect?"""
    version, good = (".".join(map(str, part)) for part in (machine.sqlite, SQLITE_GOOD))
    if machine.sqlite >= SQLITE_GOOD:
        return Finding("sqlite", "ok", f"SQLite {version}")
    return Finding(
        "sqlite",
        "warn",
        f"SQLite {version}, older than {good}",
        "a rare race in its write-ahead log can damage the record while other programs write to it; the service is the "
        "only writer and checks the record at each start",
        f"install into a Python that brings SQLite {good} or newer, for example the newest of "
        "`uv venv --managed-python`",
    )


def locale(machine: Machine) -> Finding:
    """Are names of files read as UTF-8?"""
    if machine.encoding.lower().replace("-", "") == "utf8":
        return Finding("locale", "ok", "names of files are UTF-8")
    return Finding(
        "locale",
        "warn",
        f"names of files are read as {machine.encoding}",
        "captures with accents in their names are shown and published under garbled ones",
        "set LC_ALL=C.UTF-8 (in the systemd unit: Environment=LC_ALL=C.UTF-8)",
    )
