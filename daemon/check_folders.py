"""What the doctor looks at in the folders: share, private folders, record. Moves one empty folder, no more."""

from __future__ import annotations

import fcntl
import os
import pwd
import shlex
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from daemon.errors import ConfigurationError
from daemon.finding import Finding
from daemon.machine import Machine, user_name
from daemon.places import SENTINEL, Places
from daemon.record import last_restored, newest_sound
from daemon.settings import Settings
from daemon.share import probe_rename
from db.schema import HEAD, REVISIONS
from db.soundness import trouble_of

#: One job makes about a hundred files, on the share and in its working folder.
INODES_LEAST, INODES_GOOD = 1_000, 10_000
#: The service wants this many times the size of a capture before it takes it.
CAPTURES_FREE = 3
#: How long the doctor tells that the record was put back.
_RESTORED_TOLD_S = 7 * 86_400.0


def root_folder(places: Places) -> Finding:
    """Is the share mounted, and is it one of ours?"""
    root = places.root
    if places.sentinel.is_file():
        return Finding("root", "ok", str(root))
    says = f"{root} has no {SENTINEL}" if root.is_dir() else f"there is no folder {root}"
    return Finding(
        "root", "fail", says, "it was never set up, or it is not mounted; the service refuses to start on it",
        f"mount it, or set it up: meshdrop init {shlex.quote(str(root))}",
    )  # fmt: skip


def public_folders(places: Places) -> Finding:
    """Are the folders there that people use?"""
    missing = [folder.name for folder in places.public() if not folder.is_dir()]
    if not missing:
        return Finding("folders", "ok", ", ".join(folder.name for folder in places.public()))
    return Finding(
        "folders", "fail", f"{places.root} lacks {', '.join(missing)}", "the service refuses to start without them",
        f"meshdrop init {shlex.quote(str(places.root))}",
    )  # fmt: skip


def user(places: Places, machine: Machine) -> Finding:
    """Does this examination run as the user that the private folders belong to?"""
    if not places.state.is_dir() or places.state.stat().st_uid == machine.user_id():
        return Finding("user", "ok", f"{user_name()}, to whom the private folders belong")
    owner = account_of(places.state)
    return Finding(
        "user", "warn", f"{places.state} belongs to {owner}, and this is {user_name()}",
        "the lines about folders tell what this user may do, not what the service may",
        f"sudo -u {owner} meshdrop doctor --root {shlex.quote(str(places.root))}",
    )  # fmt: skip


def account_of(path: Path) -> str:
    """The user that ``path`` belongs to, as sudo takes it."""
    number = path.stat().st_uid
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return f"'#{number}'"


def moving(places: Places) -> Finding:
    """Can folders be taken from the inbox and published by one rename? Found out by doing it."""
    try:
        for source, target in _moves(places):
            if source.is_dir() and target.is_dir():
                probe_rename(source, target)
    except ConfigurationError as error:
        return Finding("moving", "fail", str(error), "captures could not be taken, or results not published", error.fix)
    return Finding("moving", "ok", f"folders move from inbox to spool to outbox and failed, as {user_name()}")


def _moves(places: Places) -> Iterator[tuple[Path, Path]]:
    """Spool folders that are not there yet are made at the first start; until then what will carry them is tried."""
    claimed, staging = nearest(places.claimed), nearest(places.staging)
    yield places.inbox, claimed
    yield places.inbox, staging
    yield staging, places.outbox
    yield staging, places.failed


def nearest(path: Path) -> Path:
    """``path``, or the closest folder above it that exists."""
    while not path.exists() and path != path.parent:
        path = path.parent
    return path


def waiting(places: Places, machine: Machine) -> Finding:
    """May this user take what lies in the inbox? Moving a folder elsewhere needs the right to write into it."""
    if not places.inbox.is_dir():
        return Finding("inbox", "ok", "not there")
    with os.scandir(places.inbox) as entries:
        folders = [Path(entry.path) for entry in entries if entry.is_dir(follow_symlinks=False)]
    locked = sorted(folder for folder in folders if not machine.may_use(folder))
    if not locked:
        return Finding("inbox", "ok", f"{len(folders)} waiting" if folders else "empty")
    return Finding(
        "inbox", "warn",
        f"{len(locked)} of {len(folders)} folders may not be moved by {user_name()}, for example {locked[0].name!r}",
        "they stay in the inbox until their permissions are changed; with Samba, `force user` keeps it from happening",
        f"sudo chown -R {user_name()} {shlex.quote(str(places.inbox))}/*",
    )  # fmt: skip


def share_mount(places: Places, machine: Machine) -> Finding:
    """Does the share lie on a network file system?"""
    kind = machine.network_type(places.root)
    if kind is None:
        return Finding("share", "ok", "on a local file system")
    return Finding(
        "share", "warn", f"{places.root} is on {kind}",
        "folders must be quiet for longer before they are taken (settle_network_s), and what was published survives a "
        "power cut of the server only if it writes through",
        "on the server, export with `sync` (NFS) or set `strict sync = yes` (Samba), or run Meshdrop there",
    )  # fmt: skip


def state_disk(places: Places, machine: Machine) -> Finding:
    """Does the record lie on a local disk that this user can write to?"""
    folder = nearest(places.state)
    kind = machine.network_type(folder)
    if kind is not None:
        return Finding(
            "state", "fail", f"{places.state} is on {kind}", "SQLite cannot keep its promises there",
            f"set state_dir = \"/var/lib/meshdrop\" (or another local folder) in {places.root}/.meshdrop/config.toml",
        )  # fmt: skip
    return _writable("state", places.state, "the record could not be written")


def kernel_cache(places: Places) -> Finding:
    """Can compiled kernels be kept?"""
    return _writable("kernel cache", places.cache, "every model run would compile its kernels again, for a minute")


def _writable(name: str, wanted: Path, why: str) -> Finding:
    folder = nearest(wanted)
    if folder.is_dir() and os.access(folder, os.W_OK | os.X_OK):
        return Finding(name, "ok", str(wanted))
    if not folder.is_dir():
        return Finding(name, "fail", f"{folder} is not a folder", why, f"rm {shlex.quote(str(folder))}")
    return Finding(
        name, "fail", f"{user_name()} may not write to {folder}", why,
        f"sudo chown -R {user_name()} {shlex.quote(str(folder))}",
    )  # fmt: skip


def free_space(settings: Settings, machine: Machine) -> Finding:
    """Is there room for the largest capture that is allowed?"""
    places = settings.places
    free = min(machine.room(nearest(folder)).free_bytes for folder in (places.spool, places.state)) / 1e6
    wanted = max(settings.min_free_mb, CAPTURES_FREE * settings.max_capture_mb)
    if free >= wanted:
        return Finding("free space", "ok", f"{free / 1e3:.1f} GB")
    return Finding(
        "free space", "fail" if free < settings.min_free_mb else "warn", f"{free:.0f} MB, less than {wanted:.0f} MB",
        "nothing new is taken from the inbox" if free < settings.min_free_mb else "large captures have to wait",
        f"take results out of {places.outbox} and {places.failed}, or lower retain_days; "
        f"du -xsh {shlex.quote(str(places.root))}/* {shlex.quote(str(places.spool))}/* shows what is large",
    )  # fmt: skip


def free_inodes(settings: Settings, machine: Machine) -> Finding:
    """Is there room for the number of files?"""
    places = settings.places
    rooms = [machine.room(nearest(folder)).inodes for folder in (places.spool, places.state)]
    left = min((inodes for inodes in rooms if inodes is not None), default=None)
    if left is None or left >= INODES_GOOD:
        return Finding("free inodes", "ok", "no limit" if left is None else str(left))
    return Finding(
        "free inodes", "fail" if left < INODES_LEAST else "warn", f"room for {left} more files",
        "one capture with its results needs about a hundred",
        f"take results out of {places.outbox} and {places.failed}; "
        f"du -x --inodes -s {shlex.quote(str(places.root))}/* shows where the many files are",
    )  # fmt: skip


def instance(places: Places) -> Finding:
    """Does a service run on these folders?"""
    try:
        descriptor = os.open(places.lock, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return Finding("service", "ok", "not running; `meshdrop run` starts it")
    try:
        # Held for an instant: only a service that starts in this very instant would be turned away, and is restarted.
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.read(descriptor, 200).decode("ascii", "replace").split("\n")[0]
        return Finding("service", "ok", f"running as process {holder or 'unknown'}")
    finally:
        os.close(descriptor)
    return Finding("service", "ok", "not running; `meshdrop run` starts it")


def record(places: Places) -> Finding:
    """Is the database whole, and of a version that this one understands? Only reads; never migrates."""
    if not places.database.is_file():
        return Finding("record", "ok", "none yet; it is made at the first start")
    try:
        with closing(_read_only(places.database)) as connection:
            trouble = trouble_of(connection)
            revision = _revision(connection)
    except sqlite3.Error as error:
        return _damaged(places, str(error))
    if trouble is not None:
        return _damaged(places, trouble)
    return _schema(places, revision)


def _read_only(database: Path) -> sqlite3.Connection:
    """Without a log beside it nobody has the record open: then SQLite need not make its own files there to read it."""
    alone = not database.with_name(database.name + "-wal").exists()
    return sqlite3.connect(f"{database.as_uri()}?mode=ro{'&immutable=1' if alone else ''}", uri=True, timeout=1.0)


def _revision(connection: sqlite3.Connection) -> str | None:
    """The schema's version; None for a database that has none."""
    if not connection.execute("SELECT 1 FROM sqlite_schema WHERE name = 'alembic_version'").fetchone():
        return None
    row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    return None if row is None else str(row[0])


def _schema(places: Places, revision: str | None) -> Finding:
    if revision == HEAD:
        return _restored(places) or Finding("record", "ok", f"whole, schema {revision}")
    if revision is None or revision in REVISIONS:
        return Finding(
            "record", "warn", f"whole, schema {revision or 'empty'}; this version has {HEAD}",
            "the service saves a copy and brings it up to date at the next start",
            f"meshdrop run --once --root {shlex.quote(str(places.root))}",
        )  # fmt: skip
    return Finding(
        "record", "fail", f"schema {revision} is unknown to this version: a newer Meshdrop wrote it",
        "the service refuses to start", "install that version again, or put back a backup from " + str(places.backups),
    )  # fmt: skip


def _restored(places: Places) -> Finding | None:
    """That the service put the record back lately: it said so in its log, which nobody may have read."""
    restored = last_restored(places)
    if restored is None or time.time() - restored.at > _RESTORED_TOLD_S:
        return None
    when = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(restored.at))
    source = f"from {restored.source}" if restored.source else "from the captures in the spool alone"
    return Finding(
        "record", "warn", f"whole, schema {HEAD}; it was put back {source} on {when}", restored.why,
        f"nothing more is needed; should it happen again, have the disk checked. {restored.aside} holds what was found",
    )  # fmt: skip


def _damaged(places: Places, trouble: str) -> Finding:
    copy = newest_sound(places)
    back = f"puts {copy} in its place" if copy else "begins a new one"
    return Finding(
        "record", "fail", f"{places.database} is damaged: {trouble}",
        f"the next start of the service sets it aside and {back}; captures it had accepted are safe in the spool and "
        "are taken up again",
        "start the service again: systemctl restart meshdrop",
    )  # fmt: skip
