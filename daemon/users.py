"""Who this process is, and whom a folder belongs to, in words for people and for sudo."""

from __future__ import annotations

import os
import pwd
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


def as_owner_of(path: Path) -> str:
    """How a stranger who may not look at ``path`` becomes the user of the closed folder that it lies in."""
    for place in (path, *path.absolute().parents):
        with suppress(OSError):
            return f"sudo -u {account_of(place)} meshdrop ..."
    return "sudo meshdrop ..."
