"""Every file operation that a promise rests on. Nothing else in the daemon renames, syncs or deletes.

Each operation calls ``observer`` first and ``recorder`` once it has taken effect, if they are set: tests raise the
error that a bad disk would raise, and write down what a power cut could undo. A failed fsync is never tried again on
the same file: the kernel may have dropped the pages. Modes are the widest allowed; the umask narrows them.
"""

from __future__ import annotations

import ctypes
import errno
import hashlib
import os
import shutil
import stat
import subprocess
import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from daemon.crash import crashpoint
from models.folder import open_below

#: Test seam: called as ``observer(operation, path, ...)`` before each operation; may raise ``OSError``.
observer: Callable[..., None] | None = None
#: Test seam: called the same way when the operation has taken effect, before the directory flush that may follow.
recorder: Callable[..., None] | None = None

#: What opening answers for a link, for what lies behind one, and for a socket.
_NO_PLAIN_FILE = frozenset({errno.ELOOP, errno.ENOTDIR, errno.ENXIO})
_AT_FDCWD = -100
_RENAME_NOREPLACE = 1
_CHUNK = 1 << 20
_libc = ctypes.CDLL(None, use_errno=True)

#: A directory cannot be synced on some network file systems; that is their promise to keep, not ours.
_SYNC_UNSUPPORTED = frozenset({errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP})


class NotRegular(OSError):
    """A path that should be a plain file of one link is a link, a device, a pipe, or linked elsewhere too."""


class TooLarge(OSError):
    """A file is larger than it may be."""


class ChangedWhileRead(OSError):
    """A file's size or time changed between the start and the end of reading it."""


@dataclass(frozen=True)
class Copied:
    """A file that was copied: bytes and SHA-256 of what was read."""

    size: int
    sha256: str


def _observe(operation: str, *paths: Path) -> None:
    if observer is not None:
        observer(operation, *paths)


def _record(operation: str, *paths: Path) -> None:
    if recorder is not None:
        recorder(operation, *paths)


def sync_file(path: Path) -> None:
    """Flush a file's content to disk. Does not follow links and does not block on pipes."""
    _observe("sync_file", path)
    _flush(path, os.O_NOFOLLOW | os.O_NONBLOCK)
    _record("sync_file", path)


def sync_below(top: Path, files: Iterable[str], folders: Iterable[str]) -> None:
    """Flush these files and then these folders below ``top``, as ``sync_file`` and ``sync_dir`` do. Paths are relative;
    "" is ``top`` itself. Opened relative to ``top``: a folder of thousands is flushed without building a path for each.
    """
    held = os.open(top, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for operation, names, flags in (
            ("sync_file", files, os.O_NOFOLLOW | os.O_NONBLOCK), ("sync_dir", folders, os.O_DIRECTORY)
        ):  # fmt: skip
            for name in names:
                if observer is not None:
                    _observe(operation, top / name)
                _flush(name or ".", flags, held)
                if recorder is not None:
                    _record(operation, top / name)
    finally:
        os.close(held)


def sync_dir(path: Path) -> None:
    """Flush a directory's entries to disk; silently nothing where the file system cannot."""
    _observe("sync_dir", path)
    _flush(path, os.O_DIRECTORY)
    _record("sync_dir", path)


def _flush(path: Path | str, flags: int, parent: int | None = None) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | flags, dir_fd=parent)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if not flags & os.O_DIRECTORY or error.errno not in _SYNC_UNSUPPORTED:
            raise
    finally:
        os.close(descriptor)


def sync_tree(top: Path) -> None:
    """Flush every file and directory below ``top``, and ``top`` itself."""
    for folder, _, names in os.walk(top, topdown=False):
        for name in names:
            sync_file(Path(folder, name))
        sync_dir(Path(folder))


def rename_new(source: Path, target: Path) -> None:
    """Move ``source`` to ``target`` in one step; raises ``FileExistsError`` rather than replace anything.

    Where the file system lacks that flag (NFS answers EINVAL), a check precedes a plain rename: for directories a
    non-empty target is refused by rename itself, so only an empty folder could be replaced.
    """
    _observe("rename", source, target)
    result = _libc.renameat2(
        _AT_FDCWD, os.fsencode(source), _AT_FDCWD, os.fsencode(target), ctypes.c_uint(_RENAME_NOREPLACE)
    )
    if result == 0:
        _record("rename", source, target)
        return
    code = ctypes.get_errno()
    if code not in (errno.EINVAL, errno.ENOSYS):
        raise OSError(code, os.strerror(code), str(source), None, str(target))
    if os.path.lexists(target):
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(target))
    os.rename(source, target)
    _record("rename", source, target)


def write_file(path: Path, content: bytes, mode: int = 0o666) -> None:
    """Write a file whole or not at all: a hidden neighbour, flushed, renamed over, directory flushed."""
    write_pieces(path, (content,), mode)


def write_pieces(path: Path, pieces: Iterable[bytes], mode: int = 0o666) -> None:
    """The same for a file that is made piece by piece, because the whole is too large to hold."""
    _observe("write_file", path)
    partial = path.with_name(f".{uuid.uuid4().hex[:8]}.tmp")
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.writelines(pieces)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    _record("write_file", path)
    sync_dir(path.parent)


def show_file(path: Path, content: bytes, mode: int = 0o666) -> None:
    """Replace a file in one step for readers, without asking the disk: for status pages that are soon rewritten."""
    _observe("show_file", path)
    partial = path.with_name(f".{uuid.uuid4().hex[:8]}.tmp")
    try:
        with open(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode), "wb") as file:
            file.write(content)
        os.replace(partial, path)
    except OSError:
        partial.unlink(missing_ok=True)
        raise
    _record("show_file", path)


def copy_file(source: Path, target: Path, max_bytes: int, mode: int = 0o666, *, below: Path | None = None) -> Copied:
    """Copy a plain file and flush the copy. No folder between ``below`` (or its parent) and it may be a link.

    Raises ``NotRegular``, ``TooLarge`` before a byte is read, ``ChangedWhileRead`` when the source moved meanwhile.
    """
    _observe("copy_file", source, target)
    try:
        descriptor = open_below(below or source.parent, str(source.relative_to(below or source.parent)))
    except OSError as error:
        if error.errno in _NO_PLAIN_FILE:
            raise NotRegular(errno.EINVAL, "a link, or no file", str(source)) from error
        raise
    with open(descriptor, "rb", buffering=0) as reader:
        before = os.fstat(descriptor)
        if not stat.S_ISREG(before.st_mode):
            raise NotRegular(errno.EINVAL, "not a plain file", str(source))
        if before.st_nlink != 1:
            raise NotRegular(errno.EMLINK, "linked from somewhere else too", str(source))
        if before.st_size > max_bytes:
            raise TooLarge(errno.EFBIG, f"{before.st_size} bytes, more than {max_bytes}", str(source))
        digest, size = hashlib.sha256(), 0
        out = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, mode)
        with open(out, "wb", buffering=0) as writer:
            while chunk := reader.read(_CHUNK):
                size += len(chunk)
                if size > before.st_size:
                    break
                digest.update(chunk)
                _write_all(writer.fileno(), chunk)
            os.fsync(out)
        after = os.fstat(descriptor)
    if size != before.st_size or (after.st_size, after.st_mtime_ns) != (before.st_size, before.st_mtime_ns):
        raise ChangedWhileRead(errno.EAGAIN, "changed while it was read", str(source))
    _record("copy_file", source, target)
    return Copied(size, digest.hexdigest())


def _write_all(descriptor: int, chunk: bytes) -> None:
    view = memoryview(chunk)
    while view:
        view = view[os.write(descriptor, view) :]


def make_dir(path: Path, mode: int = 0o777) -> None:
    """Create a directory (and parents) if it is missing. Not for the share: see ``make_dir_below``."""
    _observe("make_dir", path)
    path.mkdir(mode=mode, parents=True, exist_ok=True)
    _record("make_dir", path)


def make_dir_below(top: Path, path: Path, mode: int = 0o777) -> None:
    """Create ``path`` and what is missing between it and ``top``, which must be there.

    Raises ``FileNotFoundError`` when ``top`` is gone: while a share is not mounted, nothing may be made where it
    should be, or a result that seems to be staged lies under the mount point.
    """
    _observe("make_dir", path)
    for folder in reversed([folder for folder in (path, *path.parents) if top in folder.parents]):
        folder.mkdir(mode=mode, exist_ok=True)
    _record("make_dir", path)


def fresh_dir(path: Path, mode: int = 0o777) -> None:
    """An empty directory, whatever stood there before. Its parent must be there, as for ``make_dir_below``."""
    remove_tree(path)
    make_dir_below(path.parent, path, mode)


def remove_tree(path: Path) -> None:
    """Delete a file or directory tree if it is there. Never follows a link out of the tree."""
    _observe("remove_tree", path)
    if not os.path.lexists(path):
        return
    if path.is_symlink() or not path.is_dir():
        path.unlink(missing_ok=True)
        _record("remove_tree", path)
        return
    try:
        shutil.rmtree(path, onerror=_unlock_and_retry)
    except (RecursionError, OSError):
        # A tree a thousand folders deep is beyond Python's own way; the system's tool has no such limit.
        subprocess.run(["rm", "-rf", "--", os.fsencode(path)], check=False, stderr=subprocess.DEVNULL)
        if os.path.lexists(path):
            why = "could not be removed: look in it for what is another user's (ls -lR) or immutable (lsattr -R)"
            raise OSError(errno.ENOTEMPTY, why, str(path)) from None
    _record("remove_tree", path)
    crashpoint("rm")


def may_be_emptied(top: Path, folders: Iterable[str]) -> bool:
    """Whether ``remove_tree`` could take away what these folders below ``top`` hold: what this user may not change
    must at least be his own. Paths are relative; "" is ``top`` itself.
    """
    user = os.geteuid()
    paths = (os.path.join(top, folder) for folder in folders)
    return all(os.access(path, os.W_OK | os.X_OK) or os.lstat(path).st_uid == user for path in paths)


def _unlock_and_retry(operation: Callable[..., object], path: str, info: object) -> None:
    """A folder copied from a rig may lack write permission; we own it by now, so open it and go on."""
    parent = os.path.dirname(path)
    os.chmod(parent, 0o700)
    if os.path.isdir(path) and not os.path.islink(path):
        os.chmod(path, 0o700)
        shutil.rmtree(path)
    elif os.path.lexists(path):
        os.unlink(path)


def sha256_of(path: Path) -> str:
    """SHA-256 of a plain file's content."""
    with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC), "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
