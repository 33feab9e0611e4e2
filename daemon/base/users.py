"""Who this process is, and whom a folder belongs to, in words for people and for sudo."""

from __future__ import annotations

import grp
import os
import pwd
import stat
from contextlib import suppress
from pathlib import Path


def user_name() -> str:
    """This user's name, or its number where the machine does not know it (as in a container).

    Never by USER or LOGNAME: they still name the one who became this user.
    """
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())


def account_of(path: Path) -> str:
    """The user that ``path`` belongs to, as sudo takes it."""
    number = path.stat().st_uid
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return f"'#{number}'"


def others_who_write(facts: os.stat_result) -> str | None:
    """Who else than its owner may change what has these facts, or put another in the place of what lies in it; None
    when nobody may, or only the group that many systems make for each user.
    """
    mode = facts.st_mode
    if stat.S_ISLNK(mode) or mode & stat.S_ISVTX:  # in a folder like /tmp nobody may move what is not his
        return None
    if mode & stat.S_IWOTH:
        return "everybody"
    return f"the group {facts.st_gid}" if mode & stat.S_IWGRP and not _is_private(facts.st_gid) else None


def _is_private(gid: int) -> bool:
    """Whether a group holds nobody but this user."""
    with suppress(KeyError):
        account, group = pwd.getpwuid(os.geteuid()), grp.getgrgid(gid)
        return account.pw_gid == gid and group.gr_name == account.pw_name and not {*group.gr_mem} - {account.pw_name}
    return False


def as_owner_of(path: Path) -> str:
    """How a stranger who may not look at ``path`` becomes the user of the closed folder that it lies in."""
    for place in (path, *path.absolute().parents):
        with suppress(OSError):
            return f"sudo -u {account_of(place)} meshdrop ..."
    return "sudo meshdrop ..."
