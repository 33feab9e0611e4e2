"""What the doctor looks at of what people put before the service: folders that wait, and the rigs that made them.

Looks into at most so many files: an inbox of thousands of folders must not cost more than one of a few.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from meshdrop.daemon.base.errors import MeshdropError
from meshdrop.daemon.base.places import Places, shown
from meshdrop.daemon.base.rigs import RigShelf
from meshdrop.daemon.base.users import user_name
from meshdrop.daemon.doctor.checks.finding import Finding
from meshdrop.daemon.host.machine import Machine
from meshdrop.daemon.inbox.listing import list_inbox
from meshdrop.models.capture.rig_profile import rig_of

#: Files and folders in the waiting captures that are looked at, and all of those in the private folders.
LOOKED_AT = 2_000
_TOLD = 3
_OF_A_CAPTURE = ("views", "images", "rgb", "train", "depth", "masks", "keyframes", "sparse")


def entries_below(top: Path) -> Iterator[os.DirEntry[str]]:
    """Everything below a folder but links, folders before what lies in them. What may not be read is passed over."""
    waiting = [str(top)]
    while waiting:
        try:
            with os.scandir(waiting.pop()) as entries:
                found = [entry for entry in entries if not entry.is_symlink()]
        except OSError:
            continue
        yield from found
        waiting += [entry.path for entry in found if entry.is_dir(follow_symlinks=False)]


def rigs(places: Places) -> Finding:
    """Can every stored rig be used, and does every folder that stands for one have one?"""
    shelf = RigShelf(places.rigs)
    try:
        stored = sorted(shelf.texts())
    except OSError as error:
        return Finding(
            "rigs",
            "fail",
            f"{error.filename or places.rigs} cannot be read ({error.strerror})",
            "the service takes nothing from the inbox while it cannot know its rigs",
            f"sudo chown -R {user_name()} {shlex.quote(str(places.rigs))} && "
            f"chmod -R u+rX {shlex.quote(str(places.rigs))}",
        )
    for name in stored:
        try:
            shelf.profile(name)
        except MeshdropError as error:
            return Finding(
                "rigs",
                "warn",
                str(error),
                "captures of this rig are refused",
                error.fix or f"meshdrop rig add {name} --from FILE",
            )
    with os.scandir(places.inbox) as entries:
        named = [entry for entry in entries if rig_of(entry.name) and entry.is_dir(follow_symlinks=False)]
    asked = {rig_of(entry.name) for entry in named if _holds_folders_only(Path(entry.path))}
    if strange := sorted(asked - set(stored)):
        return Finding(
            "rigs",
            "warn",
            f"{places.inbox}/@{strange[0]} stands for a rig that is not stored",
            "the folder is taken for a capture, and what lies in it is not looked at",
            f"meshdrop rig add {shlex.quote(strange[0])} --from FILE, or give the folder another name",
        )
    told = ", ".join(stored[:_TOLD]) + " ..." * (len(stored) > _TOLD)
    return Finding("rigs", "ok", told or "none stored")


def _holds_folders_only(folder: Path) -> bool:
    """Whether this is a folder of captures rather than a capture: it holds folders, none of them photographs."""
    try:
        with os.scandir(folder) as entries:
            found = {entry.name: entry.is_dir() for entry in entries}
    except OSError:
        return False
    return bool(found) and all(found.values()) and not found.keys() & set(_OF_A_CAPTURE)


def waiting(places: Places, machine: Machine) -> Finding:
    """May this user take what lies in the inbox? Moving a folder elsewhere needs the right to write into it, copying it
    the right to read all of it."""
    listing = list_inbox(places.inbox, RigShelf(places.rigs).texts(), known=())
    names = (*listing.folders, *listing.rig_folders, *listing.staged.values())
    folders = sorted(places.inbox / os.fsdecode(name) for name in names)
    locked = [folder for folder in folders if not machine.may_use(folder)]
    inner = islice((entry for folder in folders for entry in entries_below(folder)), LOOKED_AT)
    if not locked:
        locked = [Path(found.path) for entry in inner if (found := _closed(entry)) is not None][:1]
        what = "something in the folders that wait may not be read"
    else:
        what = f"{len(locked)} of {len(folders)} folders may not be moved"
    if not locked:
        return Finding("inbox", "ok", f"{len(folders)} waiting" if folders else "empty")
    return Finding(
        "inbox",
        "warn",
        f"{what} by {user_name()}, for example {shown(os.fsencode(locked[0].relative_to(places.inbox)))!r}",
        "they stay in the inbox until their permissions are changed; with Samba, `force user` keeps it from happening",
        f"sudo chown -R {user_name()} {shlex.quote(str(places.inbox))}/* (if that does not help: "
        "lsattr -d shows a mark `i`, which chattr -i takes away)",
    )


def _closed(entry: os.DirEntry[str]) -> os.DirEntry[str] | None:
    """``entry``, if this user may not read it. A folder must be writable too: else it can never be deleted."""
    wanted = os.R_OK | os.W_OK | os.X_OK if entry.is_dir(follow_symlinks=False) else os.R_OK
    return None if os.access(entry.path, wanted) or not os.path.lexists(entry.path) else entry


def unusable_below(top: Path, left: int = LOOKED_AT) -> Path | None:
    """The first entry below ``top`` that is another user's and that this one may not read or, of a folder, not change;
    None when there is none. What is this user's own can be opened by the service itself.
    """
    for entry in islice(entries_below(top), left):
        if _closed(entry) is not None and os.lstat(entry.path).st_uid != os.geteuid():
            return Path(entry.path)
    return None
