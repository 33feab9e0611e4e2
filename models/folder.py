"""Read files out of a folder that strangers wrote. Standard library only.

Every component is opened relative to its parent's descriptor with ``O_NOFOLLOW``, so a name swapped for a symlink
between listing and reading cannot lead outside; ``O_NONBLOCK`` keeps a fifo from blocking us; only regular files
with one hard link are read; sizes are checked on the open descriptor.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from models.layout import RETURNED_FOLDER, is_litter
from models.limits import CaptureLimits
from models.problem import CaptureError, Problem

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY


class CaptureFolder:
    """A folder's names, and the bytes of its files, with every strange entry turned into a ``Problem``.

    ``names`` are relative posix paths of all regular files that are not litter; ``problems`` what the listing met.
    Raises ``CaptureError`` when the folder itself is no readable directory.
    """

    def __init__(self, path: Path, limits: CaptureLimits) -> None:
        self.path = path
        self._limits = limits
        self.problems: list[Problem] = []
        self.names: tuple[str, ...] = ()
        try:
            self._root = os.open(path, _DIRECTORY)
        except OSError as error:
            message = f"{path} is no readable folder ({error.strerror})."
            problem = Problem("not_regular", None, message, "Name a folder that holds a capture.")
            raise CaptureError([problem]) from error
        try:
            self.names = tuple(sorted(self._list(self._root, "")))
        finally:
            os.close(self._root)

    def _list(self, folder: int, prefix: str) -> Iterator[str]:
        deepest = self._limits.max_depth + prefix.startswith(RETURNED_FOLDER)
        seen = 0
        with os.scandir(folder) as entries:
            for entry in entries:
                seen += 1
                if seen > 10 * self._limits.max_entries:
                    self._report("too_many", None, f"The folder holds more than {seen - 1:,} entries.",
                                 "Drop one capture per folder, without other files.")  # fmt: skip
                    return
                name = prefix + entry.name
                if is_litter(name):
                    continue
                if entry.is_symlink():
                    self._report("symlink", name, "The file is a symbolic link.", "Copy the file itself.")
                elif not entry.is_dir(follow_symlinks=False):
                    yield name
                elif name.count("/") >= deepest:
                    self._report("depth", name, f"The folder lies deeper than {self._limits.max_depth} levels.",
                                 "Drop the folder that holds the pictures itself.")  # fmt: skip
                else:
                    yield from self._descend(folder, entry.name, name)

    def _descend(self, folder: int, last: str, name: str) -> Iterator[str]:
        try:
            child = os.open(last, _DIRECTORY, dir_fd=folder)
        except OSError as error:
            self._report("unreadable", name, f"The folder cannot be opened ({error.strerror}).", "Check its rights.")
            return
        try:
            yield from self._list(child, name + "/")
        finally:
            os.close(child)

    def _report(self, code: str, file: str | None, message: str, fix: str) -> None:
        self.problems.append(Problem(code, file, message, fix))

    def read(self, name: str, most: int) -> bytes:
        """The bytes of a file of at most ``most`` bytes; raises ``CaptureError`` with the one reason why not."""
        with self.opened(name) as file:
            size = os.fstat(file).st_size
            if size > most:
                raise _refused("too_big", name, f"The file is {size:,} bytes; the limit is {most:,}.",
                               "Send a smaller file, or raise the limit in the settings.")  # fmt: skip
            content = _read_up_to(file, most + 1)
        if len(content) != size:
            raise _refused("changed", name, "The file changed while it was read.", "Copy the folder again.")
        return content

    @contextmanager
    def opened(self, name: str) -> Iterator[int]:
        """A descriptor of the regular file ``name``, closed at the end of the block; raises ``CaptureError``."""
        try:
            file = _open_below(self.path, name)
        except OSError as error:
            code = "symlink" if error.errno in (40, 20) else "unreadable"
            fix = "Copy the file itself, and check its rights."
            raise _refused(code, name, f"The file cannot be opened ({error.strerror}).", fix) from error
        try:
            _require_plain(file, name)
            yield file
        finally:
            os.close(file)


def _open_below(folder: Path, name: str) -> int:
    *parents, last = name.split("/")
    held = os.open(folder, _DIRECTORY)
    try:
        for parent in parents:
            deeper = os.open(parent, _DIRECTORY, dir_fd=held)
            os.close(held)
            held = deeper
        return os.open(last, _FILE, dir_fd=held)
    finally:
        os.close(held)


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


def _refused(code: str, file: str, message: str, fix: str) -> CaptureError:
    return CaptureError([Problem(code, file, message, fix)])
