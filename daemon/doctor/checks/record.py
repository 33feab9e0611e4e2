"""What the doctor looks at in the record: is it whole and copied, does the queue move, and what fails?"""

from __future__ import annotations

import json
import os
import shlex
import sqlite3
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from meshdrop.daemon.base.failures import FAILURES
from meshdrop.daemon.base.places import Places, shown
from meshdrop.daemon.base.record import BACKUP_EVERY_S, last_restored, newest_sound
from meshdrop.daemon.base.users import user_name
from meshdrop.daemon.doctor.checks.finding import Finding
from meshdrop.daemon.host.machine import Machine
from meshdrop.db import copies
from meshdrop.db.schema import HEAD, REVISIONS
from meshdrop.db.soundness import trouble_of
from meshdrop.db.states import State
from meshdrop.models.contract.failures import RUN_FAILURES

#: How long the doctor tells that the record was put back, and that a capture stopped the service.
_TOLD_S = 7 * 86_400.0
#: A record of more bytes takes longer than a doctor may; the service reads all of it at each start and each copy.
_READ_WHOLE = 64 << 20
#: A copy that is so much older than what was recorded last was due several times over.
_COPY_LATE_S = 4 * BACKUP_EVERY_S
#: A clock that is steered is never corrected by more than moments.
_CLOCK_OFF_S = 60.0
#: A job that waits so long while a service runs and does nothing is stuck.
STUCK_S = 3600.0
#: Judged by the last so many jobs, once there are at least so many; half of them failing is no chance.
_LAST, _LEAST = 20, 5
#: Why a run fails without a fault of the machine.
_NOT_THE_MACHINE = frozenset({"bad_input", "no_result", "settings", "cancelled"})
_FAILED = frozenset({State.FAILING, State.FAILED, State.FAILED_CLEAN})


def record(places: Places, machine: Machine) -> Finding:
    """Is the database whole, and of a version that this one understands? Only reads; never migrates."""
    if not places.database.exists() or not places.database.stat().st_size:
        if not copies.newest_first(places.backups):
            return Finding("record", "ok", "none yet; it is made at the first start")
        return _damaged(places, "it is gone, or empty, and copies of it are there")
    if not places.database.is_file():
        return _damaged(places, "it is not a plain file")
    if (closed := next(_closed(places), None)) is not None:
        return Finding(
            "record",
            "fail",
            f"{user_name()} may not read and write {closed}",
            "the service cannot be started",
            f"sudo chown {user_name()} {_quoted(places.database)}* && sudo chmod u+rw {_quoted(places.database)}*",
        )
    size = places.database.stat().st_size
    try:
        with closing(read_only(places.database)) as connection:
            trouble = trouble_of(connection) if size <= _READ_WHOLE else None
            revision = _revision(connection)
            if revision is None and trouble is None and connection.execute("SELECT 1 FROM sqlite_schema").fetchone():
                trouble = "it is some other program's"
    except sqlite3.OperationalError as error:
        return _unavailable(places, error)
    except sqlite3.Error as error:
        return _damaged(places, str(error))
    if trouble is not None:
        return _damaged(places, trouble)
    whole = "whole" if size <= _READ_WHOLE else f"readable ({size >> 20} MiB, too large to read whole here)"
    return _schema(places, machine, revision, whole)


def _closed(places: Places) -> Iterator[Path]:
    """The record, or what SQLite keeps beside it, where this user may not use it."""
    for end in ("", "-wal", "-shm", "-journal"):
        file = places.database.with_name(places.database.name + end)
        if file.exists() and not os.access(file, os.R_OK | os.W_OK):
            yield file


def _unavailable(places: Places, error: sqlite3.OperationalError) -> Finding:
    """That the record cannot be looked into now, which says nothing about what is in it."""
    return Finding(
        "record",
        "fail",
        f"{places.database} cannot be used now: {error}",
        "while this lasts the service waits, and takes and delivers nothing",
        f"end whatever else has it open (a backup, a browser of databases): sudo fuser -v {_quoted(places.database)}*",
    )


def _quoted(path: Path) -> str:
    return shlex.quote(str(path))


def read_only(database: Path) -> sqlite3.Connection:
    """Without a log beside it nobody has the record open: then SQLite need not make its own files there to read it."""
    alone = not database.with_name(database.name + "-wal").exists()
    return sqlite3.connect(f"{database.as_uri()}?mode=ro{'&immutable=1' if alone else ''}", uri=True, timeout=1.0)


def _revision(connection: sqlite3.Connection) -> str | None:
    """The schema's version; None for a database that has none."""
    if not connection.execute("SELECT 1 FROM sqlite_schema WHERE name = 'alembic_version'").fetchone():
        return None
    row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    return None if row is None else str(row[0])


def _schema(places: Places, machine: Machine, revision: str | None, whole: str) -> Finding:
    if revision == HEAD:
        return _restored(places, machine) or Finding("record", "ok", f"{whole}, schema {revision}")
    if revision is None or revision in REVISIONS:
        return Finding(
            "record",
            "warn",
            f"{whole}, schema {revision or 'empty'}; this version has {HEAD}",
            "the service saves a copy and brings it up to date at the next start",
            f"meshdrop run --once --root {_quoted(places.root)}",
        )
    return Finding(
        "record",
        "fail",
        f"schema {revision} is unknown to this version: a newer Meshdrop wrote it",
        "the service refuses to start",
        "install that version again, or put back a backup from " + str(places.backups),
    )


def _restored(places: Places, machine: Machine) -> Finding | None:
    """That the service put the record back lately: it said so in its log, which nobody may have read."""
    restored = last_restored(places)
    if restored is None or machine.now() - restored.at > _TOLD_S:
        return None
    when = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(restored.at))
    source = f"from {restored.source}" if restored.source else "from the captures in the spool alone"
    return Finding(
        "record",
        "warn",
        f"whole, schema {HEAD}; it was put back {source} on {when}",
        restored.why,
        f"nothing more is needed; should it happen again, have the disk checked. {restored.aside} holds what was found",
    )


def _damaged(places: Places, trouble: str) -> Finding:
    copy = newest_sound(places)
    back = f"puts {copy} in its place" if copy else "begins a new one"
    return Finding(
        "record",
        "fail",
        f"{places.database} is damaged: {trouble}",
        f"the next start of the service sets it aside and {back}; captures it had accepted are safe in the spool and "
        "are taken up again",
        "start the service again: systemctl restart meshdrop",
    )


@contextmanager
def _opened(places: Places) -> Iterator[sqlite3.Connection | None]:
    """The record, of which the line before said that it is whole; None where there is none yet."""
    if not places.database.is_file():
        yield None
        return
    with closing(read_only(places.database)) as connection:
        yield connection


def backups(places: Places, machine: Machine) -> Finding:
    """Is there a copy of the record that is not much older than it?"""
    with _opened(places) as connection:
        row = None if connection is None else connection.execute("SELECT max(at) FROM event").fetchone()
    last = row[0] if row is not None else None
    if last is None:
        return Finding("backups", "ok", "nothing to copy yet")
    newest = next(iter(copies.newest_first(places.backups)), None)
    age = last - newest.stat().st_mtime if newest is not None else float("inf")
    if newest is None and machine.now() - last < _COPY_LATE_S:
        return Finding("backups", "ok", "the first copy is due within the hour")
    fix = "systemctl restart meshdrop; journalctl -u meshdrop | grep 'could not be copied' tells why it was not done"
    if newest is not None and not os.access(newest, os.R_OK):
        return Finding(
            "backups",
            "warn",
            f"{user_name()} may not read {newest}",
            "it could not be put back if the record is damaged",
            f"sudo chown -R {user_name()} {_quoted(places.backups)} && sudo chmod -R u+rwX {_quoted(places.backups)}",
        )
    if age > _COPY_LATE_S:
        told = f"the newest copy is {age / 3600:.0f} hours older than the record" if newest else "there is no copy"
        return Finding("backups", "warn", told, "the history of these hours is lost if the record is damaged", fix)
    if newest is not None and newest.stat().st_size <= _READ_WHOLE and (trouble := copies.trouble_with(newest)):
        return Finding(
            "backups",
            "warn",
            f"the newest copy, {newest.name}, cannot be used: {trouble}",
            "an older one would be put back, and the history since then be lost",
            fix,
        )
    return Finding("backups", "ok", f"newest {newest.name}" if newest else "none")


def clock(places: Places, machine: Machine) -> Finding:
    """Does this machine's clock agree with what the record has seen of it?"""
    counted = None
    with _opened(places) as connection:
        if connection is None:
            return Finding("clock and record", "ok", "no record yet")
        (last,) = connection.execute("SELECT max(max(created_at), max(coalesce(finished_at, 0))) FROM job").fetchone()
        with suppress(sqlite3.OperationalError):  # a record that the next start brings to this version's schema
            counted = connection.execute("SELECT boot_id, since_boot_s, wall FROM service_clock").fetchone()
    now = machine.clocks()
    if last is not None and last > now.wall + _CLOCK_OFF_S:
        return _disagrees(f"the record holds a job of {_date(last)}, which by this machine's clock is still to come")
    if counted is not None and counted[0] == now.boot_id and now.since_boot_s >= counted[1]:
        jump = (now.wall - counted[2]) - (now.since_boot_s - counted[1])
        if abs(jump) > _CLOCK_OFF_S:
            how = "forward" if jump > 0 else "back"
            return _disagrees(f"the clock was set {how} by {abs(jump) / 3600:.1f} hours while the machine ran")
    return Finding("clock and record", "ok", "agree")


def _disagrees(how: str) -> Finding:
    return Finding(
        "clock and record",
        "warn",
        how,
        "times in pages, receipts and logs do not follow each other. Nothing is deleted by it: the age of results and "
        "originals is counted by the record itself",
        "sudo timedatectl set-ntp true (in a container: on the machine that runs it); timedatectl shows what it says",
    )


def _date(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(seconds))


def queue(places: Places, machine: Machine, *, running: bool, paused: bool) -> Finding:
    """Do accepted captures move? ``running``: whether a service is there to move them."""
    with _opened(places) as connection:
        if connection is None:
            return Finding("queue", "ok", "empty")
        counts = dict(connection.execute("SELECT state, count(*) FROM job GROUP BY state").fetchall())
        oldest = connection.execute(
            "SELECT name, coalesce(queued_at, created_at) FROM job WHERE state = ? AND not_before < ? "
            "ORDER BY coalesce(queued_at, created_at) LIMIT 1",
            (State.QUEUED, machine.now()),
        ).fetchone()
    waiting = sum(count for state, count in counts.items() if state in (State.CLAIMING, State.QUEUED, State.RUNNING))
    if waiting and not running:
        return Finding(
            "queue",
            "warn",
            f"{waiting} accepted captures wait, and no service runs",
            "nothing happens to them until it is started; they are safe",
            f"systemctl start meshdrop (or: meshdrop run --root {_quoted(places.root)})",
        )
    busy = counts.get(State.RUNNING, 0)
    if oldest is not None and not busy and not paused and (age := machine.now() - oldest[1]) > STUCK_S:
        return Finding(
            "queue",
            "warn",
            f"{shown(oldest[0])} waits for {age / 3600:.0f} hours, and nothing is being worked on",
            "the service holds back for a reason that STATUS.txt names, or it is stuck",
            f"cat {_quoted(places.overview)}; then: systemctl restart meshdrop",
        )
    return Finding("queue", "ok", f"{waiting} accepted captures" if waiting else "empty")


def failures(places: Places, machine: Machine) -> Finding:
    """Did captures stop the service, and do more fail than is usual?"""
    with _opened(places) as connection:
        if connection is None:
            return Finding("failures", "ok", "no job yet")
        ended = connection.execute(
            "SELECT id, name, state, reason_code, finished_at FROM job WHERE finished_at IS NOT NULL AND state <> ? "
            "ORDER BY finished_at DESC LIMIT ?",
            (State.ABANDONED, _LAST),
        ).fetchall()
        runs = connection.execute(
            "SELECT model, state, error_class FROM model_run WHERE state <> 'skipped' ORDER BY id DESC LIMIT ?",
            (_LAST,),
        ).fetchall()
    for job_id, name, _, code, at in ended:
        if code in ("poison", "unreadable") and machine.now() - at < _TOLD_S:
            return Finding(
                "failures",
                "warn",
                f"{shown(name)} was given up: {FAILURES[code].says}",
                "a capture that brings the service down may be meant to, or show a defect of this machine",
                f"meshdrop show {job_id[:8]}; the capture lies in failed/",
            )
    return _often(runs) or _many(ended) or Finding("failures", "ok", f"{len(ended)} jobs looked at")


def _often(runs: list[tuple[str, str, str | None]]) -> Finding | None:
    """A model that mostly fails for a reason that lies in the machine, not in what it was given."""
    for model in sorted({name for name, _, _ in runs}):
        own = [error for name, _, error in runs if name == model]
        reasons = Counter(error for error in own if error is not None and error not in _NOT_THE_MACHINE)
        code, count = next(iter(reasons.most_common(1)), ("", 0))
        if len(own) >= _LEAST and 2 * count >= len(own):
            row = RUN_FAILURES.get(code, RUN_FAILURES["error"])
            return Finding(
                "failures",
                "warn",
                f"{count} of the last {len(own)} runs of {model} ended with {code}: {row.says}",
                "captures are delivered without this model, or not at all",
                row.fix,
            )
    return None


def _many(ended: list[tuple[str, bytes, str, str | None, float]]) -> Finding | None:
    failed = [row for row in ended if row[2] in _FAILED and row[3] != "cancelled"]
    if len(ended) < _LEAST or 2 * len(failed) < len(ended):
        return None
    [(code, count)] = Counter(row[3] or "models" for row in failed).most_common(1)
    row = FAILURES.get(code, FAILURES["models"])
    return Finding(
        "failures",
        "warn",
        f"{len(failed)} of the last {len(ended)} captures failed, {count} of them: {row.says}",
        "half of what is dropped gives no mesh; usually one thing about the rig has changed",
        f"meshdrop show {failed[0][0][:8]} tells of the newest; {row.fix}",
    )


def largest_run_mib(places: Places) -> int:
    """Most memory that a model run took so far; 0 where nothing is known."""
    try:
        with _opened(places) as connection:
            rows = (
                []
                if connection is None
                else connection.execute(
                    "SELECT figures FROM model_run WHERE state = 'ok' ORDER BY id DESC LIMIT 200"
                ).fetchall()
            )
        figures = [json.loads(row[0]) for row in rows if row[0]]
    except (sqlite3.Error, ValueError, OSError):
        return 0
    peaks = [facts.get("peak_rss_mib") for facts in figures if isinstance(facts, dict)]
    return max((int(peak) for peak in peaks if isinstance(peak, int | float)), default=0)
