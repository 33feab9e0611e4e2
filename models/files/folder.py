"""Read files out of a folder that strangers wrote. Standard library only.

Files are reached by ``models.files.walk``, so a name swapped for a symlink between listing and reading cannot lead
outside, and a pipe is not waited for; only regular files with one hard link are read; sizes are checked on the open
descriptor.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from meshdrop.models.files.entries import odd_entries, take_facts
from meshdrop.models.files.limits import CaptureLimits
from meshdrop.models.files.problem import CaptureError, Problem
from meshdrop.models.files.walk import FILE, held, reach


class CaptureFolder:
    """A folder's names, and the bytes of its files, with every strange entry turned into a ``Problem``.

    ``names`` are relative posix paths of all plain files that are not litter; ``problems`` what the listing met.
    Raises ``CaptureError`` when the folder, or one inside it, is no readable directory.
    """

    def __init__(self, path: Path, limits: CaptureLimits) -> None:
        self.path = path
        try:
            facts = take_facts(path, limits)
        except OSError as error:
            raise _no_folder(path, error) from error
        self.problems = odd_entries(facts)
        self.names = tuple(fact.path for fact in facts if fact.kind == "file")

    def read(self, name: str, most: int) -> bytes:
        """The bytes of a file of at most ``most`` bytes; raises ``CaptureError`` with the one reason why not."""
        with self.opened(name) as file:
            size = os.fstat(file).st_size
            if size > most:
                raise _refused(
                    "too_big",
                    name,
                    f"The file is {size:,} bytes; the limit is {most:,}.",
                    "Send a smaller file, or raise the limit in the settings.",
                )
            content = _read_up_to(file, most + 1)
        if len(content) != size:
            raise _refused("changed", name, "The file changed while it was read.", "Copy the folder again.")
        return content

    def beginning(self, name: str, most: int) -> bytes:
        """The first ``most`` bytes of a file, fewer if it has no more; raises ``CaptureError`` like ``read``."""
        with self.opened(name) as file:
            return _read_up_to(file, most)

    @contextmanager
    def opened(self, name: str) -> Iterator[int]:
        """A descriptor of the regular file ``name``, closed at the end of the block; raises ``CaptureError``."""
        try:
            with held(self.path) as folder:
                file = reach(name, FILE, at=folder)
        except OSError as error:
            code = "symlink" if error.errno in (errno.ELOOP, errno.ENOTDIR) else "unreadable"
            fix = "Copy the file itself, and check its rights."
            raise _refused(code, name, f"The file cannot be opened ({error.strerror}).", fix) from error
        try:
            _require_plain(file, name)
            yield file
        finally:
            os.close(file)


def _require_plain(file: int, name: str) -> None:
    facts = os.fstat(file)
    if not stat.S_ISREG(facts.st_mode):
        raise _refused("not_regular", name, "This is no ordinary file (a pipe, socket or device).", "Remove it.")
    if facts.st_nlink != 1:
        raise _refused("nlink", name, f"The file has {facts.st_nlink} names (hard links).", "Copy the file instead.")


def _read_up_to(file: int, most: int) -> bytes:
    pieces: list[bytes] = []
    left = most
    while left > 0 and (piece := os.read(file, min(left, 1 << 20))):
        pieces.append(piece)
        left -= len(piece)
    return b"".join(pieces)


def _no_folder(path: Path, error: OSError) -> CaptureError:
    where = Path(error.filename or path)
    if where == path:
        message, fix = f"{path} is no readable folder ({error.strerror}).", "Name a folder that holds a capture."
        return CaptureError([Problem("not_regular", None, message, fix)])
    message = f"The folder cannot be opened ({error.strerror})."
    return CaptureError([Problem("unreadable", where.relative_to(path).as_posix(), message, "Check its rights.")])


def _refused(code: str, file: str, message: str, fix: str) -> CaptureError:
    return CaptureError([Problem(code, file, message, fix)])
