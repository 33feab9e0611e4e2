"""Reaching files and folders without passing through a link. Standard library only.

Whoever may write to a share can put a link where a folder stood, at any moment, also between our look at a path and
its use. So no path is handed to the kernel as it is: every one is resolved here, with each of its parts refused that
is a link (``openat2`` with ``RESOLVE_NO_SYMLINKS``, Linux 5.6; step by step with ``O_NOFOLLOW`` where a kernel or a
container's filter lacks it), and what is done then is done relative to the descriptor that came out. Paths of the
operator's own that lead through links are resolved once, when the settings are read.

Everything raises ``LinkInTheWay`` where a link stands, and ``OSError`` as the calls of ``os`` do.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path

#: A folder of which nothing but what lies in it is asked: needs no right to list it.
PLACE = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
#: A folder that is to be listed, and a file that is to be read; no pipe is waited for, no terminal taken over.
FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY

_OPENAT2 = 437  # the same number on every architecture that Linux 5.6 knows
_RESOLVE_NO_SYMLINKS, _RESOLVE_BENEATH = 0x04, 0x08
_AT_FDCWD = -100
#: What is worth another try: a signal came, or something was renamed meanwhile. A few, because a file that somebody
#: holds a lease on answers the same for a minute.
_AGAIN, _TRIES = frozenset({errno.EINTR, errno.EAGAIN}), 5
_libc = ctypes.CDLL(None, use_errno=True)


class LinkInTheWay(OSError):
    """A part of a path is a link; nothing was done."""


class _OpenHow(ctypes.Structure):
    """``struct open_how`` of openat2(2)."""

    _fields_ = [("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64)]


def reach(path: str | os.PathLike[str], flags: int, mode: int = 0, *, at: int | None = None) -> int:
    """``os.open`` that passes through no link, the last part included.

    With ``at`` the path is relative to that folder's descriptor and does not leave it (``EXDEV`` when it would).
    """
    text = os.fspath(path)
    if not _has_openat2:
        return _step_by_step(text, flags, mode, at)
    descriptor = _openat2(text, flags, mode, at)
    if descriptor < 0:
        raise _named(ctypes.get_errno(), text)
    return descriptor


def _openat2(path: str, flags: int, mode: int, at: int | None) -> int:
    wanted = (flags | os.O_CLOEXEC) & ~os.O_NOFOLLOW  # with which a link at the end would be ENOTDIR, or be opened
    resolve = _RESOLVE_NO_SYMLINKS | (0 if at is None else _RESOLVE_BENEATH)
    how = _OpenHow(wanted, mode if flags & os.O_CREAT else 0, resolve)
    start = _AT_FDCWD if at is None else at
    for _ in range(_TRIES):
        descriptor = _libc.syscall(
            ctypes.c_long(_OPENAT2), start, os.fsencode(path), ctypes.byref(how), ctypes.c_size_t(ctypes.sizeof(how))
        )
        if descriptor >= 0 or ctypes.get_errno() not in _AGAIN:
            break
    return int(descriptor)


def _step_by_step(path: str, flags: int, mode: int, at: int | None) -> int:
    if at is not None and (path.startswith("/") or ".." in path.split("/")):
        raise _named(errno.EXDEV, path)
    *folders, last = [part for part in path.split("/") if part not in ("", ".")] or ["."]
    held = os.open("/" if path.startswith("/") else ".", PLACE, dir_fd=None if path.startswith("/") else at)
    part = last
    try:
        for part in folders:
            deeper = os.open(part, PLACE | os.O_NOFOLLOW, dir_fd=held)
            os.close(held)
            held = deeper
        part = last
        return os.open(last, flags | os.O_NOFOLLOW | os.O_CLOEXEC, mode, dir_fd=held)
    except OSError as error:
        code = errno.ELOOP if _is_link(part, held) else error.errno  # O_DIRECTORY answers ENOTDIR for a link
        raise _named(code or errno.EIO, path) from error
    finally:
        os.close(held)


def _is_link(name: str, parent: int) -> bool:
    with contextlib.suppress(OSError):
        return stat.S_ISLNK(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode)
    return False


def _named(code: int, path: str) -> OSError:
    if code == errno.ELOOP:
        return LinkInTheWay(code, "a link stands where a file or folder should be", path)
    return OSError(code, os.strerror(code), path)  # the subclass that belongs to the code


def _kernel_has_openat2() -> bool:
    """An old kernel answers ENOSYS, the filter of an old container engine EPERM."""
    descriptor = _openat2("/", PLACE, 0, None)
    if descriptor >= 0:
        os.close(descriptor)
    return descriptor >= 0


_has_openat2 = _kernel_has_openat2()


@contextlib.contextmanager
def parent_of(path: Path) -> Iterator[tuple[int, str]]:
    """A descriptor of the folder that ``path`` lies in, and the name it has there."""
    held = reach(path.parent, PLACE)
    try:
        yield held, path.name
    finally:
        os.close(held)


@contextlib.contextmanager
def held(path: Path, flags: int = FOLDER) -> Iterator[int]:
    """A descriptor of a file or folder, closed at the end of the block."""
    descriptor = reach(path, flags)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def lstat(path: Path) -> os.stat_result:
    """``os.lstat``: of a link at the end it tells about the link itself; none before it is passed through."""
    with parent_of(path) as (parent, name):
        try:
            return os.stat(name, dir_fd=parent, follow_symlinks=False)
        except OSError as error:
            error.filename = str(path)  # the last part alone would tell nobody where to look
            raise


def kind(path: Path) -> int:
    """The file type bits (``stat.S_IFDIR``, ...) of what stands there; 0 when nothing does, or its folder is gone."""
    try:
        return stat.S_IFMT(lstat(path).st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return 0


def is_there(path: Path) -> bool:
    """Whether anything stands there, and be it a link."""
    return kind(path) != 0


def is_folder(path: Path) -> bool:
    """Whether a folder stands there, and no link to one."""
    return kind(path) == stat.S_IFDIR


def is_file(path: Path) -> bool:
    """Whether a plain file stands there, and no link to one."""
    return kind(path) == stat.S_IFREG


def names(folder: Path) -> list[str]:
    """The names in a folder, in no order."""
    with held(folder) as descriptor:
        return os.listdir(descriptor)


def read_file(path: Path, most: int) -> bytes:
    """Up to ``most`` bytes of a plain file; of anything else nothing."""
    with held(path, FILE) as descriptor, open(descriptor, "rb", closefd=False) as file:
        return file.read(most) if stat.S_ISREG(os.fstat(descriptor).st_mode) else b""


def read_tail(path: Path, most: int) -> bytes:
    """The last bytes of a plain file; of anything else nothing."""
    with held(path, FILE) as descriptor:
        facts = os.fstat(descriptor)
        return os.pread(descriptor, most, max(facts.st_size - most, 0)) if stat.S_ISREG(facts.st_mode) else b""
