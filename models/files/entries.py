"""Everything that lies below a dropped folder, and which of it no capture may hold. Standard library only.

The service and ``meshdrop check`` both list with this, so that they say the same of every folder. Folders are reached
by ``models.files.walk``: one that is swapped for a link while it is listed leads nowhere.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Generator, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from meshdrop.models.files.limits import CaptureLimits
from meshdrop.models.files.names import is_blocker, is_litter, is_own_output
from meshdrop.models.files.problem import Problem
from meshdrop.models.files.walk import FILE, FOLDER, reach

Kind = Literal["file", "symlink", "deep", "wide", "closed", "other"]

#: Directory levels that are listed at all; deeper ones stand in the facts as one odd entry.
_LEVELS = 4
#: Litter, notes and our own earlier output may be this many times as many as the files of a capture.
_OTHERS = 10
#: Folders, and entries that are passed over, may be this many times as many.
_PASSED_OVER = 50
#: Nobody reads a page of hundreds of links.
_MOST_TOLD = 20


@dataclass(frozen=True, order=True)
class Fact:
    """One entry as the listing saw it; ``path`` is relative to the folder, posix. ``size`` in bytes, 0 for no file.

    "wide" is no entry: the listing stopped, because there are too many folders or entries to be passed over. "closed"
    is a folder that may not be read; only a listing of everything goes on there.
    """

    path: str
    kind: Kind
    size: int
    mtime_ns: int
    links: int = 1


def take_facts(
    folder: Path, limits: CaptureLimits, *, everything: bool = False, by_opening: bool = False
) -> tuple[Fact, ...]:
    """Every entry below ``folder`` but litter (or ``everything``), sorted by path.

    ``by_opening`` measures each file through a descriptor, because a network file system may answer for a name from
    its memory. The listing ends with the first file that is one too many: a folder of a million files costs no more
    than a large capture. Litter takes no file's place; where there is so much that it costs more than that, the last
    fact says so. Raises ``OSError`` when the folder or one inside it cannot be read; one inside that this user may not
    read is an entry of ``everything``.
    """
    facts: list[Fact] = []
    counted = passed = 0
    with closing(_walk(folder, "", _LEVELS, everything, by_opening)) as entries:
        for fact in entries:
            if fact is None:
                passed += 1
                if passed > _PASSED_OVER * limits.max_entries:
                    facts.append(Fact(".", "wide", 0, 0))
                    break
                continue
            facts.append(fact)
            counted += not everything and not is_own_output(fact.path)
            if counted > limits.max_entries or len(facts) > _OTHERS * limits.max_entries:
                break
    return tuple(sorted(facts, key=lambda fact: fact.path))


def every_fact(folder: Path) -> Iterator[Fact]:
    """Every entry below ``folder``, litter too, in no order and as many as there are. Raises ``OSError``."""
    with closing(_walk(folder, "", _LEVELS, True, False)) as entries:
        yield from (fact for fact in entries if fact is not None)


def _walk(
    folder: Path, prefix: str, levels: int, everything: bool, by_opening: bool, parent: int | None = None
) -> Generator[Fact | None, None, None]:
    """Facts; None for each folder, and for each entry that is passed over."""
    descriptor = _open_folder(folder, parent)
    try:
        with os.scandir(descriptor) as entries:
            for entry in entries:
                path = prefix + entry.name
                if not everything and is_litter(path) and not is_blocker(path):
                    yield None
                    continue
                try:
                    found = entry.stat(follow_symlinks=False)
                    if by_opening and stat.S_ISREG(found.st_mode):
                        found = _measured(entry.name, descriptor, found)
                except FileNotFoundError:
                    continue  # renamed or deleted between listing and looking: the next look sees the new state
                if not stat.S_ISDIR(found.st_mode):
                    yield _fact(path, found)
                elif levels == 0:
                    yield Fact(path, "deep", 0, 0)
                else:
                    inside = folder / entry.name
                    yield None
                    try:
                        yield from _walk(inside, path + "/", levels - 1, everything, by_opening, descriptor)
                    except PermissionError:
                        if not everything:
                            raise
                        yield Fact(path, "closed", 0, 0)
    finally:
        os.close(descriptor)


def _open_folder(folder: Path, parent: int | None) -> int:
    try:
        return reach(folder if parent is None else folder.name, FOLDER, at=parent)
    except OSError as error:
        error.filename = str(folder)  # the whole path: the last part alone would tell nobody where to look
        raise


def _measured(name: str, parent: int, remembered: os.stat_result) -> os.stat_result:
    """What the server says of a file now: network clients ask it when a file is opened (close-to-open)."""
    try:
        descriptor = reach(name, FILE, at=parent)
    except FileNotFoundError:
        raise
    except OSError:
        return remembered
    try:
        return os.fstat(descriptor)
    finally:
        os.close(descriptor)


def _fact(path: str, found: os.stat_result) -> Fact:
    if stat.S_ISREG(found.st_mode):
        return Fact(path, "file", found.st_size, found.st_mtime_ns, found.st_nlink)
    return Fact(path, "symlink" if stat.S_ISLNK(found.st_mode) else "other", 0, found.st_mtime_ns)


def odd_entries(facts: Iterable[Fact]) -> tuple[Problem, ...]:
    """Links, devices, folders out of reach and files with several names: a capture consists of plain files."""
    found = [problem for fact in facts if (problem := _odd(fact)) is not None]
    told, more = found[:_MOST_TOLD], len(found) - _MOST_TOLD
    if more > 0:
        told.append(Problem(found[_MOST_TOLD].code, None, f"{more:,} more entries are no plain files.", told[0].fix))
    return tuple(told)


def _odd(fact: Fact) -> Problem | None:
    if fact.kind == "symlink":
        return Problem("symlink", fact.path, "This is a symbolic link.", "Copy the file itself, not a link.")
    if fact.kind == "deep":
        return Problem("depth", fact.path, "This folder lies deeper than a capture goes.", "Leave it out.")
    if fact.kind == "wide":
        message = "The folder holds so many hidden files or folders that it is not looked through."
        return Problem("too_many", None, message, "Drop the capture without them.")
    if fact.kind == "other":
        message = "This is no plain file (a pipe, socket or device)."
        return Problem("not_regular", fact.path, message, "Leave it out of the capture.")
    if fact.links > 1:
        message = f"This is a hard link: the file has {fact.links - 1} more name{'s' if fact.links > 2 else ''}."
        return Problem("nlink", fact.path, message, "Copy the file itself.")
    return None
