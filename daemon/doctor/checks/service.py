"""What the doctor looks at of the service: does it run, does it answer, was it installed as this version ships it?"""

from __future__ import annotations

import fcntl
import json
import os
import re
import shlex
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from meshdrop.daemon.base.control import ask
from meshdrop.daemon.base.errors import MeshdropError
from meshdrop.daemon.base.lock import STALE_S
from meshdrop.daemon.base.pause import Pause
from meshdrop.daemon.base.places import Places
from meshdrop.daemon.base.settings import Settings, config_file
from meshdrop.daemon.base.users import account_of, user_name
from meshdrop.daemon.doctor.checks.finding import Finding
from meshdrop.daemon.host.machine import Machine
from meshdrop.daemon.host.processes import ProcessFacts
from meshdrop.daemon.host.programs import NoAnswer, start
from meshdrop.daemon.install.site import UNIT
from meshdrop.daemon.status.activity import SCHEMA
from meshdrop.models.files.problem import printable

_SYSTEMCTL_S = 1.5
#: A service that was started again so often since the machine came up does not stay up.
_RESTARTS_MANY = 5
_SHOWN_FIELDS = ("ActiveState", "Result", "NRestarts", "UnitFileState", "NeedDaemonReload")
#: What ends a paragraph of the unit that nobody reads: comments and blanks.
_NO_MATTER = re.compile(r"^\s*(?:[#;].*)?$")


def holder(places: Places) -> int | None:
    """Process of the service that runs on these folders; None when none does. 0 when it cannot be told which.

    Raises ``OSError`` when this user may not know.
    """
    try:
        descriptor = os.open(places.lock, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        # Held for an instant: only a service that starts in this very instant would be turned away, and is restarted.
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        number = os.read(descriptor, 200).decode("ascii", "replace").split("\n")[0]
        return int(number) if number.isdigit() else 0
    finally:
        os.close(descriptor)
    return None


def running(places: Places) -> int | None:
    """As ``holder``; None too where this user may not know."""
    with suppress(OSError):
        return holder(places)
    return None


def instance(places: Places, machine: Machine) -> Finding:
    """Does a service run on these folders, and does its main loop answer?"""
    try:
        pid = holder(places)
    except PermissionError:
        return Finding("service", "ok", f"{user_name()} may not know; the line `private folders` tells of it")
    if pid is None:
        return _of_another_root(places, machine) or Finding("service", "ok", _not_running(places, machine))
    if (served := ProcessFacts(machine.proc, pid).root_served()) is not None and _differ(served, places):
        return _shared(places, f"process {pid}", served, "state_dir")
    try:
        ask(places.control, "ping")
    except MeshdropError as error:
        return Finding(
            "service",
            "fail",
            f"process {pid or 'unknown'} holds the lock and does not answer: {error}",
            "nothing is taken, run or delivered, and no other service can start",
            f"systemctl restart meshdrop (who else has the lock: sudo fuser -v {shlex.quote(str(places.lock))})",
        )
    since = Pause(places.pause).since
    paused = "" if since is None else time.strftime(", paused since %Y-%m-%d %H:%M UTC", time.gmtime(since))
    return Finding("service", "ok", f"running as process {pid or 'unknown'}{paused}")


def _differ(served: str, places: Places) -> bool:
    return os.path.isabs(served) and os.path.realpath(served) != os.path.realpath(places.root)


def _of_another_root(places: Places, machine: Machine) -> Finding | None:
    """A service that uses this spool for another root, by the mark that it keeps fresh in it."""
    left, fresh = _spool_mark(places, machine)
    if left is None or not fresh or not _differ(str(left.get("root", "")), places):
        return None
    return _shared(places, f"process {left.get('pid')}", str(left["root"]), "spool_dir")


def _shared(places: Places, who: str, served: str, setting: str) -> Finding:
    return Finding(
        "service",
        "fail",
        f"{printable(who)} works with these private folders for {printable(served)}",
        f"no service can start on {places.root}: two roots share one {setting}",
        f"set {setting} to a folder of its own in {shlex.quote(str(config_file(places.root)))}",
    )


def silent() -> Finding:
    """What is found when there is no answer at all."""
    return Finding(
        "service",
        "fail",
        "a service holds the lock, and its main loop does not answer",
        "nothing is taken, run or delivered, and no other service can start; systemd ends it after a minute",
        "systemctl restart meshdrop (docker compose restart meshdrop)",
    )


def _not_running(places: Places, machine: Machine) -> str:
    """That of a killed service is left behind does no harm: the next one takes its lock over, or waits a minute."""
    left, fresh = _spool_mark(places, machine)
    if left is None:
        return "not running; `meshdrop run` starts it"
    whose = f"process {left.get('pid')} on {printable(str(left.get('name')))}"
    if fresh:
        return f"not running here; {whose} holds the spool, or was killed within the last minute"
    return f"not running; it was killed as {whose}, and the next one takes over what it left"


def _spool_mark(places: Places, machine: Machine) -> tuple[dict[str, Any] | None, bool]:
    """Who stands in the spool's lock, and whether that is less than a minute old."""
    try:
        spool_lock = places.spool / "lock"
        left = json.loads(spool_lock.read_text(encoding="ascii") or "null")
        fresh = 0 <= machine.now() - spool_lock.stat().st_mtime < STALE_S
    except (OSError, ValueError):
        return None, False
    return (left, fresh) if isinstance(left, dict) else (None, False)


def same_program(places: Places, machine: Machine) -> Finding:
    """Does the running service run what is installed now?"""
    pid = running(places)
    started = ProcessFacts(machine.proc, pid).started_at() if pid else None
    if started is None:
        return Finding("running version", "ok", "no service runs")
    rooms = [file for room in ("daemon", "db", "models") for file in (machine.program / room).rglob("*.py")]
    newest = max(rooms, key=lambda file: file.stat().st_mtime, default=None)
    if newest is None or newest.stat().st_mtime <= started + 1.0:
        return Finding("running version", "ok", "what is installed")
    return Finding(
        "running version",
        "warn",
        f"the program was changed after the service was started ({newest.name})",
        "the service still runs the old one, while its workers and this command run the new one",
        "systemctl restart meshdrop (it ends the running model, takes nothing from it, and begins it again)",
    )


def held(places: Places, machine: Machine) -> Finding:
    """Does the service hold back, and why?"""
    try:
        facts = json.loads(places.live_status.read_text(encoding="utf-8"))
        reasons = [str(reason) for reason in facts["held"]] if facts["schema"] == SCHEMA else []
        stopped = bool(facts["stopped"])
    except (OSError, ValueError, KeyError, TypeError):
        reasons, stopped = [], True
    if not reasons or stopped or running(places) is None:
        return Finding("held", "ok", "nothing holds the service back")
    return Finding(
        "held",
        "warn",
        "; ".join(printable(reason) for reason in reasons[:3]),
        "the service waits until this is over, and goes on by itself",
        f"cure what it names; {shlex.quote(str(places.overview))} shows when it is over",
    )


def unit(settings: Settings, machine: Machine) -> Finding:
    """Is the installed systemd unit the one that this version ships, and is systemd content with it?"""
    file = machine.fs / UNIT.relative_to("/")
    try:
        text = file.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return Finding("unit", "ok", "none is installed")
    if file.is_symlink() and os.readlink(file) == os.devnull:
        return Finding(
            "unit",
            "warn",
            "the unit is masked",
            "systemd does not start the service, not even when it is asked to",
            f"sudo systemctl unmask meshdrop && sudo meshdrop service install --root {shlex.quote(str(settings.root))}",
        )
    own = _drop_ins(file)
    root = _value(own, r"Environment=\"?MESHDROP_ROOT").strip('"') or _value(text, r"Environment=MESHDROP_ROOT")
    if root != str(settings.root):
        return Finding("unit", "ok", f"the installed one serves {root or 'another folder'}")
    trouble = _other_user(own, settings, file) or _changed(text, settings) or _systemd_says(machine)
    return trouble or Finding("unit", "ok", "as this version ships it")


def _value(text: str, key: str) -> str:
    """What stands behind ``key=`` last: later lines win."""
    found = re.findall(rf"^{key}=(.*)$", text, re.MULTILINE)
    return str(found[-1]).strip() if found else ""


def _drop_ins(file: Path) -> str:
    """What an administrator has put beside the unit (`systemctl edit`), in the order in which systemd reads it."""
    texts = []
    for part in sorted(file.with_name(f"{file.name}.d").glob("*.conf")):
        with suppress(OSError):
            texts.append(part.read_text(encoding="utf-8", errors="replace"))
    return "\n".join(texts)


def _other_user(own: str, settings: Settings, file: Path) -> Finding | None:
    """A drop-in that lets the service work as somebody whom the private folders do not belong to."""
    user, state = _value(own, "User"), settings.places.state
    if not user or not state.is_dir() or user in (account_of(state), str(state.stat().st_uid)):
        return None
    return Finding(
        "unit",
        "fail",
        f"{file.name}.d lets the service work as {printable(user)}; {state} is {account_of(state)}'s",
        "the service cannot be started: its folders are closed to that user",
        "take User= out of it (systemctl edit meshdrop), or give the folders to that user: "
        f"sudo chown -R {shlex.quote(user)} {shlex.quote(str(settings.places.spool))} {shlex.quote(str(state))}",
    )


def _changed(text: str, settings: Settings) -> Finding | None:
    from meshdrop.daemon.install.steps import site_of  # noqa: PLC0415 - makes the text of a unit, which nobody else needs

    user = _value(text, "User") or "meshdrop"
    here, ours = _lines(text), _lines(site_of(settings.root, user=user).unit())
    if here == ours:
        return None
    different = [line for line in ours if line not in here] or [line for line in here if line not in ours]
    install = f"sudo meshdrop service install --root {shlex.quote(str(settings.root))} --user {user}"
    return Finding(
        "unit",
        "warn",
        f"/{UNIT.relative_to('/')} is not the one of this version, for example: {printable(different[0])[:120]}"
        if different
        else f"/{UNIT.relative_to('/')} has the lines of this version in another order",
        "what an update changed about limits, folders or hardening does not take effect",
        f"{install} (your own changes belong into a drop-in: systemctl edit meshdrop)",
    )


def _lines(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if not _NO_MATTER.match(line)]


def _systemd_says(machine: Machine) -> Finding | None:
    asked = start("systemctl", "show", UNIT.name, f"--property={','.join(_SHOWN_FIELDS)}", path=machine.path)
    if asked is None or not (machine.fs / "run/systemd/system").is_dir():
        return None
    try:
        answer = asked.answer(_SYSTEMCTL_S)
    except NoAnswer:
        return None
    told = dict(line.split("=", 1) for line in answer.out.splitlines() if "=" in line)
    restarts = int(told.get("NRestarts", "0")) if told.get("NRestarts", "0").isdigit() else 0
    if told.get("NeedDaemonReload") == "yes":
        return Finding(
            "unit",
            "warn",
            "the unit was changed, and systemd has not read it again",
            "the service runs under the old one",
            "sudo systemctl daemon-reload && sudo systemctl restart meshdrop",
        )
    if told.get("ActiveState") == "failed":
        return Finding(
            "unit",
            "fail",
            f"systemd gave the service up (result {printable(told.get('Result', 'unknown'))})",
            "nothing is taken until it is started again",
            "journalctl -u meshdrop -n 50 names the cause and the cure",
        )
    if told.get("UnitFileState") == "disabled":
        return Finding(
            "unit",
            "warn",
            "the unit is installed and not enabled",
            "the service does not start with the machine",
            "sudo systemctl enable meshdrop",
        )
    if restarts >= _RESTARTS_MANY:
        return Finding(
            "unit",
            "warn",
            f"systemd started the service again {restarts} times",
            "each time a model run was lost and begun again",
            "journalctl -u meshdrop -p warning tells why it ended",
        )
    return None
