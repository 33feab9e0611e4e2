"""Copies of the record: named by their time, checked before they count, found again when the record is lost.

A copy is marked as one (``PRAGMA user_version`` is 0), so that whoever puts it in the record's place, the service or
a person, has it compared with the folders before anything is done on its word.
"""

from __future__ import annotations

import calendar
import contextlib
import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

from meshdrop.db.schema import REVISIONS
from meshdrop.db.soundness import trouble_of

KEPT = 24
#: Values of ``PRAGMA user_version``: 0 is also what a new file has.
A_COPY, COMPARED = 0, 1
_PATTERN, _NAME = "meshdrop-*.db", "meshdrop-%Y%m%dT%H%M%SZ.db"


def newest_first(folder: Path) -> list[Path]:
    """The copies in ``folder``, the newest first."""
    return sorted(folder.glob(_PATTERN), reverse=True)


def name_for(seconds: float) -> str:
    """The file name of a copy made at this Unix time."""
    return time.strftime(_NAME, time.gmtime(seconds))


def next_name(folder: Path, now: float) -> str:
    """The name of a copy that is made now. After a clock that was set back it is named a second after the newest that
    is there: a later copy must never stand behind an earlier one, or it would be the first to go.
    """
    for newest in newest_first(folder):
        try:
            made = calendar.timegm(time.strptime(newest.name, _NAME))
        except ValueError:
            continue  # a file of somebody else
        return name_for(max(now, made + 1))
    return name_for(now)


def trouble_with(path: Path) -> str | None:
    """Why a copy cannot be put in the record's place; None when it can. Changes nothing."""
    if path.is_symlink() or not path.is_file():
        return "it is not a plain file"
    try:
        with closing(sqlite3.connect(f"file:{quote(os.fsencode(path))}?mode=ro&immutable=1", uri=True)) as connection:
            revision = connection.execute("SELECT version_num FROM alembic_version").fetchone()
            if revision is None or revision[0] not in REVISIONS:
                return f"this version does not know its schema ({revision and revision[0]})"
            return trouble_of(connection)
    except sqlite3.Error as error:
        return str(error)


@contextlib.contextmanager
def arriving(target: Path) -> Iterator[Path]:
    """A path beside ``target`` to write a copy to; at the end it is flushed and takes the name ``target``.

    An exception leaves ``target`` as it was and nothing beside it.
    """
    partial = target.with_suffix(".partial")
    partial.unlink(missing_ok=True)
    try:
        yield partial
        _sync(partial)
        os.replace(partial, target)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    _sync(target.parent)


def mark_as_copy(path: Path) -> None:
    """Write the mark of a copy into the file ``path``."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"PRAGMA user_version = {A_COPY}")


def drop_old(folder: Path) -> None:
    """Keep the newest copies, and no beginnings of copies that a crash left behind."""
    for old in newest_first(folder)[KEPT:]:
        old.unlink()
    for partial in folder.glob("*.partial*"):
        partial.unlink()


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
