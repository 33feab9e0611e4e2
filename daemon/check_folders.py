"""What the doctor looks at in the folders: are they there, whose are they, and do folders move between them?

Moves one empty folder through the share, as the service will, and takes it away again; changes nothing else.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import re
import shlex
import stat
import uuid
from collections.abc import Iterator
from pathlib import Path

from daemon.errors import ConfigurationError
from daemon.finding import Finding
from daemon.listing import list_inbox
from daemon.machine import Machine, user_name
from daemon.places import SENTINEL, Places, shown
from daemon.rigs import RigShelf
from daemon.share import probe_rename
from models.problem import printable

_OTHERS = 0o077
#: `path =` of smb.conf, and the first word of a line of /etc/exports.
_SMB_PATH = re.compile(r"^\s*path\s*=\s*(.+?)\s*$", re.MULTILINE | re.IGNORECASE)
_NFS_PATH = re.compile(r'^\s*(?:"([^"]+)"|([^#\s"]\S*))\s', re.MULTILINE)


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
    if blocked := [folder for folder in places.public() if folder.name in missing and os.path.lexists(folder)]:
        return Finding(
            "folders", "fail", f"{blocked[0]} is there and is no folder", "the service refuses to start without it",
            f"mv {shlex.quote(str(blocked[0]))} {shlex.quote(str(blocked[0]) + '.old')}, then meshdrop doctor --fix",
        )  # fmt: skip
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
        "what the service may do in the folders, and how it is, cannot be found out as somebody else",
        f"sudo -u {owner} meshdrop doctor --root {shlex.quote(str(places.root))}",
    )  # fmt: skip


def account_of(path: Path) -> str:
    """The user that ``path`` belongs to, as sudo takes it."""
    number = path.stat().st_uid
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return f"'#{number}'"


def permissions(places: Places) -> Finding:
    """Can what people put into the public folders be taken out again by the service?"""
    for folder in places.public():
        mode = folder.stat().st_mode
        if mode & stat.S_ISVTX and folder != places.status:
            return Finding(
                "permissions", "warn", f"{folder} has the sticky bit",
                "the kernel then lets only its owner move a folder out of it: captures of other users are never taken",
                f"chmod -t {shlex.quote(str(folder))}",
            )  # fmt: skip
    if not os.access(places.status, os.W_OK | os.X_OK):
        return Finding(
            "permissions", "warn", f"{user_name()} may not write to {places.status}",
            "the people at the share see nothing of what happens to their captures",
            f"sudo chown {user_name()} {shlex.quote(str(places.status))} && chmod u+rwx "
            f"{shlex.quote(str(places.status))}",
        )  # fmt: skip
    if loose := [folder for folder in places.public() if _is_loose(folder.stat().st_mode)]:
        return Finding(
            "permissions", "warn",
            f"the group may write to {', '.join(folder.name for folder in loose)}, without setgid",
            "what one person puts there belongs to his own group, and neither the others nor the service may move it",
            f"chmod g+s {' '.join(shlex.quote(str(folder)) for folder in loose)}",
        )  # fmt: skip
    return Finding("permissions", "ok", "as they should be")


def _is_loose(mode: int) -> bool:
    return bool(mode & stat.S_IWGRP) and not mode & (stat.S_ISGID | stat.S_IWOTH)


def _obstacle(places: Places) -> tuple[Path, str] | None:
    """What in the private folders is of the wrong kind, or closed to this user, and what it is."""
    for folder in (places.spool, places.claimed, places.staging, places.kept, places.state / "work", places.backups):
        if os.path.lexists(folder):
            if not folder.is_dir():
                return folder, "is there and is no folder"
            if not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
                return folder, f"may not be used by {user_name()}"
    for file in (places.lock, places.spool / "lock", places.live_status):
        if os.path.lexists(file):
            if not file.is_file():
                return file, "is there and is no file"
            if not os.access(file, os.R_OK | os.W_OK):
                return file, f"may not be used by {user_name()}"
    return None


def private_folders(places: Places) -> Finding:
    """Are spool and state out of reach of the people at the share?"""
    if (inside := inside_public(places)) is not None:
        private, public, setting = inside
        return Finding(
            "private folders", "fail", f"{private} lies inside {public}",
            "people at the share could delete or change captures that were accepted; the service refuses to start",
            f"move it with the setting {setting}, to a folder that nobody exports",
        )  # fmt: skip
    if (obstacle := _obstacle(places)) is not None:
        path, says = obstacle
        quoted = shlex.quote(str(path))
        cure = f"sudo chown -R {user_name()} {quoted} && chmod u+rwX {quoted}"
        return Finding(
            "private folders", "fail", f"{path} {says}", "the service cannot be started, or stops when it comes there",
            cure if "may not" in says else f"mv {quoted} {quoted}.old (a start makes what it needs)",
        )  # fmt: skip
    open_ones = [
        folder for folder in (places.spool, places.state) if folder.is_dir() and folder.stat().st_mode & _OTHERS
    ]
    if open_ones:
        told = " and ".join(f"{folder} ({folder.stat().st_mode & 0o777:o})" for folder in open_ones)
        return Finding(
            "private folders", "warn", f"open to other users: {told}",
            "they could read captures, or change what was accepted",
            f"chmod 700 {' '.join(shlex.quote(str(folder)) for folder in open_ones)}",
        )  # fmt: skip
    return Finding("private folders", "ok", "nobody else may enter")


def inside_public(places: Places) -> tuple[Path, Path, str] | None:
    """A private folder, the public one in which it lies, and the setting that moves it; None when all is well."""
    for private, setting in ((places.spool, "spool_dir"), (places.state, "state_dir")):
        real = Path(os.path.realpath(private))
        for public in places.public():
            around = Path(os.path.realpath(public))
            if real == around or around in real.parents:
                return private, public, setting
    return None


def exports(places: Places, machine: Machine) -> Finding:
    """Does a file server on this machine show the private folders to everybody?"""
    for file, pattern in (("etc/samba/smb.conf", _SMB_PATH), ("etc/exports", _NFS_PATH)):
        try:
            text = (machine.fs / file).read_text(encoding="utf-8", errors="replace")
        except OSError:
            continue
        for exported in (next(filter(None, found.groups())).strip('"') for found in pattern.finditer(text)):
            if (shown := _shown_by(Path(exported), places)) is not None:
                return Finding(
                    "exports", "warn", f"/{file} exports {printable(exported)}, and {shown} lies in it",
                    "whoever mounts it can delete captures that were accepted and are nowhere else",
                    f"export {', '.join(folder.name for folder in places.public())} of {places.root}, each by itself",
                )  # fmt: skip
    return Finding("exports", "ok", "no file server here shows the private folders")


def _shown_by(exported: Path, places: Places) -> Path | None:
    if not exported.is_absolute():
        return None
    top = Path(os.path.realpath(exported))
    private = (places.spool, places.state)
    return next((folder for folder in private if top in (real := Path(os.path.realpath(folder)), *real.parents)), None)


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


def names(places: Places) -> Finding:
    """Does the share keep names as they are given? Found out with an empty folder in the spool, which is on it."""
    folder = nearest(places.staging)
    mark = uuid.uuid4().hex[:8]
    given = folder / f".probe-{mark}-aé"
    other = folder / f".probe-{mark}-Aé"
    try:
        given.mkdir()
    except (OSError, UnicodeError) as error:
        return Finding(
            "names", "warn", f"{folder} takes no folder with an accent in its name ({error})",
            "captures with such names cannot be taken", "mount the share with UTF-8 names (CIFS: iocharset=utf8)",
        )  # fmt: skip
    try:
        blind, kept = other.exists(), given.name in os.listdir(folder)
    finally:
        with contextlib.suppress(OSError):
            given.rmdir()
    if blind:
        return Finding(
            "names", "warn", f"{folder} does not tell large letters from small ones",
            "results of `Chair` and `chair` cannot lie side by side: the second gets a longer name",
            "nothing, if no rig relies on it; else mount with case-sensitive names (CIFS: without nocase)",
        )  # fmt: skip
    if not kept:
        return Finding(
            "names", "warn", f"{folder} changes the form of accents in names",
            "a folder may come back under another spelling than it was dropped with",
            "mount the share so that it keeps names (ZFS: normalization=none for a new file system)",
        )  # fmt: skip
    return Finding("names", "ok", "are kept as they are given")


def nearest(path: Path) -> Path:
    """``path``, or the closest folder above it that exists."""
    while not path.exists() and path != path.parent:
        path = path.parent
    return path


def waiting(places: Places, machine: Machine) -> Finding:
    """May this user take what lies in the inbox? Moving a folder elsewhere needs the right to write into it."""
    listing = list_inbox(places.inbox, RigShelf(places.rigs).texts(), known=())
    names = (*listing.folders, *listing.rig_folders, *listing.staged.values())
    folders = [places.inbox / os.fsdecode(name) for name in names]
    locked = sorted(folder for folder in folders if not machine.may_use(folder))
    if not locked:
        return Finding("inbox", "ok", f"{len(folders)} waiting" if folders else "empty")
    return Finding(
        "inbox", "warn",
        f"{len(locked)} of {len(folders)} folders may not be moved by {user_name()}, for example "
        f"{shown(os.fsencode(locked[0].relative_to(places.inbox)))!r}",
        "they stay in the inbox until their permissions are changed; with Samba, `force user` keeps it from happening",
        f"sudo chown -R {user_name()} {shlex.quote(str(places.inbox))}/*",
    )  # fmt: skip
