"""What the doctor looks at in the folders: are they there, whose are they, and do folders move between them?

Moves one empty folder through the share, as the service will, and takes it away again; changes nothing else.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shlex
import stat
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

from meshdrop.daemon.base.errors import ConfigurationError
from meshdrop.daemon.base.places import SENTINEL, Places
from meshdrop.daemon.base.share import probe_rename
from meshdrop.daemon.base.users import account_of, user_name
from meshdrop.daemon.doctor.checks.finding import Finding
from meshdrop.daemon.doctor.checks.inbox import unusable_below
from meshdrop.daemon.doctor.checks.layout import clash
from meshdrop.daemon.host.machine import Machine

_OTHERS = 0o077
#: Bytes, and inodes, below which an empty folder may not find room.
_NO_ROOM = 4096


def root_folder(places: Places) -> Finding:
    """Is the share mounted, and is it one of ours?"""
    root, quoted = places.root, shlex.quote(str(places.sentinel))
    try:
        places.sentinel.read_bytes()
    except IsADirectoryError:
        return Finding(
            "root",
            "fail",
            f"{places.sentinel} is a folder",
            "the service refuses to start on this root",
            f"mv {quoted} {quoted}.old, then meshdrop init {shlex.quote(str(root))}",
        )
    except PermissionError:
        return Finding(
            "root",
            "fail",
            f"{user_name()} may not read {places.sentinel}",
            "the service refuses to start on this root",
            f"sudo chown {user_name()} {shlex.quote(str(root))} {quoted} && sudo chmod u+r {quoted}",
        )
    except OSError:
        pass  # it is not there, or the root is not
    else:
        return Finding("root", "ok", str(root))
    says = f"{root} has no {SENTINEL}" if root.is_dir() else f"there is no folder {root}"
    return Finding(
        "root",
        "fail",
        says,
        "it was never set up, or it is not mounted; the service refuses to start on it",
        f"mount it, or set it up: meshdrop init {shlex.quote(str(root))}",
    )


def public_folders(places: Places) -> Finding:
    """Are the folders there that people use?"""
    missing = [folder.name for folder in places.public() if not folder.is_dir()]
    if not missing:
        return Finding("folders", "ok", ", ".join(folder.name for folder in places.public()))
    if blocked := [folder for folder in places.public() if folder.name in missing and os.path.lexists(folder)]:
        return Finding(
            "folders",
            "fail",
            f"{blocked[0]} is there and is no folder",
            "the service refuses to start without it",
            f"mv {shlex.quote(str(blocked[0]))} {shlex.quote(str(blocked[0]) + '.old')}, then meshdrop doctor --fix",
        )
    return Finding(
        "folders",
        "fail",
        f"{places.root} lacks {', '.join(missing)}",
        "the service refuses to start without them",
        f"meshdrop init {shlex.quote(str(places.root))}",
    )


def user(places: Places, machine: Machine) -> Finding:
    """Does this examination run as the user that the private folders belong to?"""
    if not places.state.is_dir() or places.state.stat().st_uid == machine.user_id():
        return Finding("user", "ok", f"{user_name()}, to whom the private folders belong")
    owner = account_of(places.state)
    return Finding(
        "user",
        "warn",
        f"{places.state} belongs to {owner}, and this is {user_name()}",
        "what the service may do in the folders, and how it is, cannot be found out as somebody else",
        f"sudo -u {owner} meshdrop doctor --root {shlex.quote(str(places.root))}",
    )


def permissions(places: Places) -> Finding:
    """Can what people put into the public folders be taken out again by the service?"""
    for folder in places.public():
        mode = folder.stat().st_mode
        if mode & stat.S_ISVTX and folder != places.status:
            return Finding(
                "permissions",
                "warn",
                f"{folder} has the sticky bit",
                "the kernel then lets only its owner move a folder out of it: captures of other users are never taken",
                f"chmod -t {shlex.quote(str(folder))}",
            )
    if not _may(places.status, os.W_OK | os.X_OK):
        return Finding(
            "permissions",
            "warn",
            f"{user_name()} may not write to {places.status}",
            "the people at the share see nothing of what happens to their captures",
            f"sudo chown {user_name()} {shlex.quote(str(places.status))} && chmod u+rwx "
            f"{shlex.quote(str(places.status))}",
        )
    if loose := [folder for folder in places.public() if _is_loose(folder.stat().st_mode)]:
        return Finding(
            "permissions",
            "warn",
            f"the group may write to {', '.join(folder.name for folder in loose)}, without setgid",
            "what one person puts there belongs to his own group, and neither the others nor the service may move it",
            f"chmod g+s {' '.join(shlex.quote(str(folder)) for folder in loose)}",
        )
    return Finding("permissions", "ok", "as they should be")


def _may(path: Path, how: int) -> bool:
    """Whether this user has the right; on a mount that is read-only nobody has, which is the line `mounts`."""
    return os.access(path, how) or bool(os.statvfs(path).f_flag & os.ST_RDONLY)


def _is_loose(mode: int) -> bool:
    return bool(mode & stat.S_IWGRP) and not mode & (stat.S_ISGID | stat.S_IWOTH)


def _obstacle(places: Places) -> tuple[Path, str] | None:
    """What in the private folders is of the wrong kind, or closed to this user, and what it is."""
    for folder in (places.spool, places.claimed, places.staging, places.kept, places.state / "work", places.backups):
        if os.path.lexists(folder):
            if not folder.is_dir():
                return folder, "is there and is no folder"
            if not _may(folder, os.R_OK | os.W_OK | os.X_OK):
                return folder, f"may not be used by {user_name()}"
    for file in (places.lock, places.spool / "lock", places.live_status):
        if os.path.lexists(file):
            if not file.is_file():
                return file, "is there and is no file"
            if not _may(file, os.R_OK | os.W_OK):
                return file, f"may not be used by {user_name()}"
    for folder in (places.claimed, places.staging, places.state / "work", places.kept):
        if folder.is_dir() and (inner := unusable_below(folder)) is not None and _may(inner, os.F_OK):
            return inner, f"may not be used by {user_name()}"
    return None


def private_folders(places: Places) -> Finding:
    """Are spool and state out of reach of the people at the share?"""
    if (found := clash(places)) is not None:
        return Finding("private folders", "fail", found.says, f"{found.why}; the service refuses to start", found.fix)
    if (obstacle := _obstacle(places)) is not None:
        path, says = obstacle
        quoted = shlex.quote(str(path))
        cure = f"sudo chown -R {user_name()} {quoted} && sudo chmod -R u+rwX {quoted}"
        return Finding(
            "private folders",
            "fail",
            f"{path} {says}",
            "the service cannot be started, or stops when it comes there",
            cure if "may not" in says else f"mv {quoted} {quoted}.old (a start makes what it needs)",
        )
    open_ones = [
        folder for folder in (places.spool, places.state) if folder.is_dir() and folder.stat().st_mode & _OTHERS
    ]
    if open_ones:
        told = " and ".join(f"{folder} ({folder.stat().st_mode & 0o777:o})" for folder in open_ones)
        return Finding(
            "private folders",
            "warn",
            f"open to other users: {told}",
            "they could read captures, or change what was accepted",
            f"chmod 700 {' '.join(shlex.quote(str(folder)) for folder in open_ones)}",
        )
    return Finding("private folders", "ok", "nobody else may enter")


def moving(places: Places, machine: Machine) -> Finding:
    """Can folders be taken from the inbox and published by one rename? Found out by doing it."""
    source = target = places.inbox
    try:
        for source, target in _moves(places):
            if source.is_dir() and target.is_dir():
                probe_rename(source, target)
    except ConfigurationError as error:
        why, fix = "captures could not be taken, or results not published", error.fix
        if isinstance(error.__cause__, OSError):
            fix = _cure_of_move(error.__cause__, source, target) or fix
        return Finding("moving", "fail", str(error), why, fix)
    except OSError as error:
        if (line := _of_a_full_disk(error, target, machine)) is not None:
            return line("moving")
        raise
    return Finding("moving", "ok", f"folders move from inbox to spool to outbox and failed, as {user_name()}")


def _cure_of_move(error: OSError, source: Path, target: Path) -> str | None:
    """The cure of a move that is refused for another reason than two mounts."""
    both = f"{shlex.quote(str(source))} {shlex.quote(str(target))}"
    if error.errno == errno.EPERM:
        return f"lsattr -d {both} shows a mark `i` or `a`, which forbids it: sudo chattr -i -a {both}"
    if error.errno != errno.EACCES:
        return None
    if all(os.access(folder, os.W_OK | os.X_OK) for folder in (source, target)):
        return (
            "the rights are there, so a security module (SELinux, AppArmor) forbids it: "
            f"sudo dmesg | grep -iE 'avc|apparmor' names the rule; with SELinux: sudo restorecon -R {both}"
        )
    closed = next(folder for folder in (source, target) if not os.access(folder, os.W_OK | os.X_OK))
    return f"sudo chown {user_name()} {shlex.quote(str(closed))} && sudo chmod u+rwx {shlex.quote(str(closed))}"


def _of_a_full_disk(error: OSError, folder: Path, machine: Machine) -> Callable[[str], Finding] | None:
    """Where there is no room, that line comes first; None when the trouble is another, a quota for example."""
    room = machine.room(folder)
    full, used_up = room.free_bytes < _NO_ROOM, room.inodes is not None and room.inodes < _NO_ROOM
    if error.errno != errno.ENOSPC or not (full or used_up):
        return None
    line = "free space" if full else "free inodes"
    return lambda name: Finding(name, "skip", f"not looked at until `{line}` is in order")


def _moves(places: Places) -> Iterator[tuple[Path, Path]]:
    """Spool folders that are not there yet are made at the first start; until then what will carry them is tried."""
    claimed, staging = nearest(places.claimed), nearest(places.staging)
    yield places.inbox, claimed
    yield places.inbox, staging
    yield staging, places.outbox
    yield staging, places.failed


def names(places: Places, machine: Machine) -> Finding:
    """Does the share keep names as they are given? Found out with an empty folder in the spool, which is on it."""
    folder = nearest(places.staging)
    mark = uuid.uuid4().hex[:8]
    given = folder / f".probe-{mark}-aé"
    other = folder / f".probe-{mark}-Aé"
    try:
        given.mkdir()
    except (OSError, UnicodeError) as error:
        if isinstance(error, OSError) and (line := _of_a_full_disk(error, folder, machine)) is not None:
            return line("names")
        return Finding(
            "names",
            "warn",
            f"{folder} takes no folder with an accent in its name ({error})",
            "captures with such names cannot be taken",
            "mount the share with UTF-8 names (CIFS: iocharset=utf8)",
        )
    try:
        blind, kept = other.exists(), given.name in os.listdir(folder)
    finally:
        with contextlib.suppress(OSError):
            given.rmdir()
    if blind:
        return Finding(
            "names",
            "warn",
            f"{folder} does not tell large letters from small ones",
            "results of `Chair` and `chair` cannot lie side by side: the second gets a longer name",
            "nothing, if no rig relies on it; else mount with case-sensitive names (CIFS: without nocase)",
        )
    if not kept:
        return Finding(
            "names",
            "warn",
            f"{folder} changes the form of accents in names",
            "a folder may come back under another spelling than it was dropped with",
            "mount the share so that it keeps names (ZFS: normalization=none for a new file system)",
        )
    return Finding("names", "ok", "are kept as they are given")


def nearest(path: Path) -> Path:
    """``path``, or the closest folder above it that exists."""
    while not path.exists() and path != path.parent:
        path = path.parent
    return path
