"""`meshdrop doctor --bundle`: what somebody elsewhere needs to understand what went wrong, in one zip file.

No pictures, no depth, no meshes, no settings that are secret. Names of captures are in it: without them nobody could
say which folder is meant.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import re
import sqlite3
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from meshdrop.daemon.base import fsops
from meshdrop.daemon.base.errors import MeshdropError
from meshdrop.daemon.base.origins import origins
from meshdrop.daemon.base.places import Places
from meshdrop.daemon.base.redaction import scrubbed, secrets_of
from meshdrop.daemon.base.settings import Settings
from meshdrop.daemon.doctor.checks.finding import Finding
from meshdrop.daemon.doctor.checks.record import read_only
from meshdrop.daemon.doctor.views import facts
from meshdrop.daemon.host.machine import Machine
from meshdrop.daemon.host.programs import NoAnswer, start
from meshdrop.daemon.outbox.bundle import LOG_TAIL_BYTES
from meshdrop.daemon.outbox.receipts import read_shared
from meshdrop.models.files import walk

#: The last so many jobs, failed folders and lines of the journal are told.
JOBS, FAILED, JOURNAL_LINES = 50, 10, 3000
_JOURNAL_S = 10.0
#: Names of failed folders as members: what any system can unpack.
_PLAIN, _NAME_MOST = re.compile(r"[^A-Za-z0-9 ._@-]"), 80
_README = """\
What Meshdrop knows of itself on this machine, made by `meshdrop doctor --bundle` on {when}.

doctor.json       every line of the doctor
settings.json     every setting and where it comes from; secrets are masked
versions.json     Python, packages, system, the names (not the values) of MESHDROP_ variables
status.json       what the service wrote last about its work
record.json       schema of the record, and the last {jobs} jobs with their runs and events
failed/*          failure.json and the end of log.txt of the last {failed} folders in failed/
journal.txt       the last lines of the service's journal, where this user may read it
proc/*            mounts, limits, memory and control group

It holds names of captures, of folders and of users of this machine. It holds no picture, no depth, no mesh, and none
of the secrets in the settings; addresses of other machines were removed from all texts. Look through it before you
send it.
"""


@dataclass(frozen=True)
class WrittenBundle:
    """A bundle that was written: where, and what is in it."""

    path: Path
    members: tuple[str, ...]


def write_bundle(
    target: Path,
    findings: Sequence[Finding],
    settings: Settings | None,
    config: Path | None,
    machine: Machine | None = None,
) -> WrittenBundle:
    """Write the bundle to ``target``, or under a name of its own into that folder; nothing is ever replaced.

    Whatever cannot be read is named in its place: a bundle is wanted when things are broken. Raises ``MeshdropError``.
    """
    machine = machine or Machine()
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(machine.now()))
    path = (target / f"meshdrop-support-{stamp}.zip" if target.is_dir() else target).absolute()
    if os.path.lexists(path):
        raise MeshdropError(f"{path} is there already, and nothing is ever replaced", "name another file")
    secrets = secrets_of(settings, machine.environ)
    members: list[str] = []
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with (
            open(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb") as file,
            zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive,
        ):
            for name, text in _members(findings, settings, config, machine):
                archive.writestr(name, scrubbed(text, secrets).encode("utf-8", "backslashreplace"))
                members.append(name)
        fsops.rename_new(part, path)
    except OSError as error:
        raise MeshdropError(f"{path} cannot be written: {error.strerror}", "name a folder you may write to") from error
    finally:
        part.unlink(missing_ok=True)
    return WrittenBundle(path, tuple(members))


def _members(
    findings: Sequence[Finding], settings: Settings | None, config: Path | None, machine: Machine
) -> Iterator[tuple[str, str]]:
    """Name and text of each member."""
    when = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(machine.now()))
    yield "README.txt", _README.format(when=when, jobs=JOBS, failed=FAILED)
    yield "doctor.json", _json(lambda: facts(findings))
    yield "versions.json", _json(lambda: _versions(machine))
    for name in ("self/mountinfo", "self/limits", "self/cgroup", "meminfo", "driver/nvidia/version"):
        if (text := _text(machine.proc / name)) is not None:
            yield f"proc/{name}.txt", text
    yield "journal.txt", _journal(machine)
    if settings is None:
        return
    places = settings.places
    yield "settings.json", _json(lambda: [one.to_json() for one in origins(settings.root, config)])
    yield "status.json", _json(lambda: json.loads(places.live_status.read_text(encoding="utf-8")))
    yield "record.json", _json(lambda: _record(places))
    for number, folder in enumerate(_last_failed(places), 1):
        # A number, because two names may look alike; no backslash or colon, which lead elsewhere on other systems.
        name = f"{number:02}-{_PLAIN.sub('_', folder.name)[:_NAME_MOST]}"
        yield f"failed/{name}/failure.json", _json(partial(read_shared, folder / "failure.json"))
        if log := _tail(folder / "log.txt"):
            yield f"failed/{name}/log.txt", log


def _tail(path: Path) -> str:
    """The end of a log on the share; nothing where there is none, or a link."""
    with suppress(OSError):
        return walk.read_tail(path, LOG_TAIL_BYTES).decode("utf-8", "replace")
    return ""


def _text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None


def _json(read: Callable[[], Any]) -> str:
    """What ``read`` gives, or why it gives nothing."""
    try:
        told = read()
    except Exception as error:
        told = {"cannot be told": f"{type(error).__name__}: {error}"}
    return json.dumps(told, indent=1, ensure_ascii=False, default=_plain)


def _plain(value: object) -> str:
    return value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else str(value)


def _versions(machine: Machine) -> Mapping[str, Any]:
    packages = {str(found.metadata["Name"]): found.version for found in importlib.metadata.distributions()}
    release = machine.fs / "etc/os-release"
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "in_container": machine.in_container,
        "os-release": release.read_text(encoding="utf-8").splitlines() if release.is_file() else [],
        "sqlite": ".".join(map(str, machine.sqlite)),
        "packages": dict(sorted(packages.items())),
        "variables": sorted(name for name in machine.environ if name.upper().startswith("MESHDROP_")),
    }


def _record(places: Places) -> Mapping[str, Any]:
    """The schema and the last jobs, read without any of the program's own ideas about what should be there."""
    with closing(read_only(places.database)) as connection:
        connection.row_factory = sqlite3.Row

        def rows(query: str, *values: Any) -> list[dict[str, Any]]:
            return [dict(row) for row in connection.execute(query, values)]

        jobs = rows("SELECT * FROM job ORDER BY created_at DESC LIMIT ?", JOBS)
        for job in jobs:
            job["runs"] = rows("SELECT * FROM model_run WHERE job_id = ? ORDER BY id", job["id"])
            job["events"] = rows("SELECT * FROM event WHERE job_id = ? ORDER BY id", job["id"])
        return {
            "revision": rows("SELECT * FROM alembic_version"),
            "schema": [row["sql"] for row in rows("SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL")],
            "jobs_by_state": rows("SELECT state, count(*) AS count FROM job GROUP BY state"),
            "jobs": jobs,
        }


def _last_failed(places: Places) -> list[Path]:
    with suppress(OSError), os.scandir(places.failed) as entries:
        folders = [entry for entry in entries if entry.is_dir(follow_symlinks=False)]
        newest = sorted(folders, key=_changed_at)[-FAILED:]
        return [Path(entry.path) for entry in reversed(newest)]
    return []


def _changed_at(entry: os.DirEntry[str]) -> float:
    """Unix seconds; 0 for one that is gone by now."""
    with suppress(OSError):
        return entry.stat(follow_symlinks=False).st_mtime
    return 0.0


def _journal(machine: Machine) -> str:
    asked = start(
        "journalctl",
        "--unit=meshdrop",
        f"--lines={JOURNAL_LINES}",
        "--no-pager",
        "--output=short-iso",
        path=machine.path,
    )
    if asked is None:
        return "there is no journalctl here; add the output of whatever runs the service (docker compose logs)\n"
    try:
        answer = asked.answer(_JOURNAL_S)
    except NoAnswer:
        return "journalctl did not answer\n"
    return answer.out or answer.complaint or "the journal has no lines of meshdrop.service\n"
