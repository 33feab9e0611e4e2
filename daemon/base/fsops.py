"""Every file operation that a promise rests on. Nothing else in the daemon renames, syncs or deletes.

No path is passed to the kernel whole: each is reached by ``models.files.walk``, so that a link put in its way by
somebody who may write to the share leads nowhere (``LinkInTheWay``). What happens then happens relative to a
descriptor.

Each operation calls ``observer`` first and ``recorder`` once it has taken effect, if they are set: tests raise the
error that a bad disk would raise, and write down what a power cut could undo. A failed fsync is never tried again on
the same file: the kernel may have dropped the pages. Modes are the widest allowed; the umask narrows them.
"""

from __future__ import annotations

import contextlib
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

from meshdrop.daemon.base.crash import crashpoint
from meshdrop.models.files import walk
from meshdrop.models.files.walk import reach

#: Test seam: called as ``observer(operation, path, ...)`` before each operation; may raise ``OSError``.
observer: Callable[..., None] | None = None
#: Test seam: called the same way when the operation has taken effect, before the directory flush that may follow.
recorder: Callable[..., None] | None = None

#: What opening answers for a link, for what lies behind a file, and for a socket.
_NO_PLAIN_FILE = frozenset({errno.ELOOP, errno.ENOTDIR, errno.ENXIO})
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
    _flush(path, walk.FILE)
    _record("sync_file", path)


def sync_below(top: Path, files: Iterable[str], folders: Iterable[str]) -> None:
    """Flush these files and then these folders below ``top``, as ``sync_file`` and ``sync_dir`` do. Paths are relative;
    "" is ``top`` itself. Opened relative to ``top``: a folder of thousands is flushed without building a path for each.
    """
    with walk.held(top) as held:
        for operation, names, flags in (("sync_file", files, walk.FILE), ("sync_dir", folders, walk.FOLDER)):
            for name in names:
                if observer is not None:
                    _observe(operation, top / name)
                _flush(name or ".", flags, held)
                if recorder is not None:
                    _record(operation, top / name)


def sync_dir(path: Path) -> None:
    """Flush a directory's entries to disk; silently nothing where the file system cannot."""
    _observe("sync_dir", path)
    _flush(path, walk.FOLDER)
    _record("sync_dir", path)


def _flush(path: Path | str, flags: int, parent: int | None = None) -> None:
    descriptor = reach(path, flags, at=parent)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if not flags & os.O_DIRECTORY or error.errno not in _SYNC_UNSUPPORTED:
            raise
    finally:
        os.close(descriptor)


def sync_tree(top: Path) -> None:
    """Flush every plain file and directory below ``top``, and ``top`` itself. What else a model left there is passed
    over: nothing vouches for it."""
    with walk.parent_of(top) as (parent, name):
        for folder, _, files, held in os.fwalk(name, topdown=False, onerror=_raise, dir_fd=parent):
            here = top.parent / folder
            for file in files:
                if _type_of(file, held) == stat.S_IFREG:
                    sync_file(here / file)
            sync_dir(here)


def _raise(error: OSError) -> None:
    raise error


def rename_new(source: Path, target: Path) -> None:
    """Move ``source`` to ``target`` in one step; raises ``FileExistsError`` rather than replace anything.

    Where the file system lacks that flag (NFS answers EINVAL), a check precedes a plain rename: for directories a
    non-empty target is refused by rename itself, so only an empty folder could be replaced.
    """
    _observe("rename", source, target)
    with walk.parent_of(source) as (here, old), walk.parent_of(target) as (there, new):
        result = _libc.renameat2(here, os.fsencode(old), there, os.fsencode(new), ctypes.c_uint(_RENAME_NOREPLACE))
        code = 0 if result == 0 else ctypes.get_errno()
        if code in (errno.EINVAL, errno.ENOSYS):
            code = errno.EEXIST if _type_of(new, there) else 0
            if not code:
                os.rename(old, new, src_dir_fd=here, dst_dir_fd=there)
    if code:
        raise OSError(code, os.strerror(code), str(source), None, str(target))
    _record("rename", source, target)


def write_file(path: Path, content: bytes, mode: int = 0o666) -> None:
    """Write a file whole or not at all: a hidden neighbour, flushed, renamed over, directory flushed."""
    write_pieces(path, (content,), mode)


def write_pieces(path: Path, pieces: Iterable[bytes], mode: int = 0o666) -> None:
    """The same for a file that is made piece by piece, because the whole is too large to hold."""
    _observe("write_file", path)
    with walk.parent_of(path) as (folder, name):
        partial = _write_beside(folder, pieces, mode, flush=True)
        _put_in_place(folder, partial, name)
    _record("write_file", path)
    sync_dir(path.parent)


def show_file(path: Path, content: bytes, mode: int = 0o666) -> None:
    """Replace a file in one step for readers, without asking the disk: for status pages that are soon rewritten."""
    _observe("show_file", path)
    with walk.parent_of(path) as (folder, name):
        partial = _write_beside(folder, (content,), mode, flush=False)
        _put_in_place(folder, partial, name)
    _record("show_file", path)


def _write_beside(folder: int, pieces: Iterable[bytes], mode: int, *, flush: bool) -> str:
    """A new hidden file in a folder; its name. It is gone again when writing it failed."""
    partial = f".{uuid.uuid4().hex[:8]}.tmp"
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode, dir_fd=folder)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.writelines(pieces)
            file.flush()
            if flush:
                os.fsync(file.fileno())
    except BaseException:
        _forget(folder, partial)
        raise
    return partial


def _put_in_place(folder: int, partial: str, name: str) -> None:
    try:
        os.replace(partial, name, src_dir_fd=folder, dst_dir_fd=folder)
    except BaseException:
        _forget(folder, partial)
        raise


def _forget(folder: int, name: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(name, dir_fd=folder)


def copy_file(source: Path, target: Path, max_bytes: int, mode: int = 0o666) -> Copied:
    """Copy a plain file and flush the copy.

    Raises ``NotRegular``, ``TooLarge`` before a byte is read, ``ChangedWhileRead`` when the source moved meanwhile.
    """
    _observe("copy_file", source, target)
    try:
        descriptor = reach(source, walk.FILE)
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
        out = reach(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
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
    _make_folders(path, Path(path.anchor), mode)
    _record("make_dir", path)


def make_dir_below(top: Path, path: Path, mode: int = 0o777) -> None:
    """Create ``path`` and what is missing between it and ``top``, which must be there.

    Raises ``FileNotFoundError`` when ``top`` is gone: while a share is not mounted, nothing may be made where it
    should be, or a result that seems to be staged lies under the mount point.
    """
    _observe("make_dir", path)
    _make_folders(path, top, mode)
    _record("make_dir", path)


def _make_folders(path: Path, top: Path, mode: int) -> None:
    missing: list[Path] = []
    while path != top and not walk.is_folder(path):
        missing.append(path)
        path = path.parent
    for folder in reversed(missing):
        with walk.parent_of(folder) as (parent, name):
            try:
                os.mkdir(name, mode, dir_fd=parent)
            except FileExistsError:
                if not walk.is_folder(folder):  # else made by somebody else in this moment
                    raise


def fresh_dir(path: Path, mode: int = 0o777) -> None:
    """An empty directory, whatever stood there before. Its parent must be there, as for ``make_dir_below``."""
    remove_tree(path)
    make_dir_below(path.parent, path, mode)


def remove_tree(path: Path) -> None:
    """Delete a file or directory tree if it is there. Never follows a link, neither to the tree nor out of it."""
    _observe("remove_tree", path)
    try:
        with walk.parent_of(path) as (parent, name):
            kind = _type_of(name, parent)
            if kind == stat.S_IFDIR:
                _remove_folder(parent, name, path)
            elif kind:
                _forget(parent, name)
    except FileNotFoundError:
        return
    if kind:
        _record("remove_tree", path)
    if kind == stat.S_IFDIR:
        crashpoint("rm")


def _type_of(name: str, parent: int) -> int:
    """The file type bits of what has this name in a folder; 0 when nothing has."""
    try:
        return stat.S_IFMT(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode)
    except FileNotFoundError:
        return 0


def _remove_folder(parent: int, name: str, path: Path) -> None:
    for rights_first in (False, True):
        try:
            if rights_first:
                _unlock(parent, name)
            shutil.rmtree(name, dir_fd=parent)
        except (RecursionError, OSError):
            continue
        return
    # A tree a thousand folders deep is beyond Python's own way; the system's tool has no such limit.
    subprocess.run(
        ["rm", "-rf", "--", f"/proc/self/fd/{parent}/".encode() + os.fsencode(name)],
        check=False,
        stderr=subprocess.DEVNULL,
        pass_fds=(parent,),
    )
    if _type_of(name, parent):
        why = "could not be removed: look in it for what is another user's (ls -lR) or immutable (lsattr -R)"
        raise OSError(errno.ENOTEMPTY, why, str(path))


def is_writable(folder: Path) -> bool:
    """Whether this user may change what lies in a folder."""
    with walk.held(folder, walk.PLACE) as held:
        return _may_write(held)


def _may_write(folder: int) -> bool:
    return os.access(f"/proc/self/fd/{folder}", os.W_OK | os.X_OK)


def may_be_emptied(top: Path, folders: Iterable[str]) -> bool:
    """Whether ``remove_tree`` could take away what these folders below ``top`` hold: what this user may not change
    must at least be his own. Paths are relative; "" is ``top`` itself.
    """
    with walk.held(top, walk.PLACE) as held:
        return all(_may_be_emptied(folder or ".", held) for folder in folders)


def _may_be_emptied(folder: str, top: int) -> bool:
    descriptor = reach(folder, walk.PLACE, at=top)
    try:
        return _may_write(descriptor) or os.fstat(descriptor).st_uid == os.geteuid()
    finally:
        os.close(descriptor)


def _unlock(parent: int, name: str) -> None:
    """A folder copied from a rig may lack write permission; we own it by now, so open it and all below it."""
    held = reach(name, walk.PLACE, at=parent)
    try:
        os.chmod(f"/proc/self/fd/{held}", 0o700)  # what was opened as a place only cannot be changed directly
        with os.scandir(f"/proc/self/fd/{held}") as entries:
            folders = [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
        for folder in folders:
            _unlock(held, folder)
    finally:
        os.close(held)


def sha256_of(path: Path) -> str:
    """SHA-256 of a plain file's content."""
    with open(reach(path, walk.FILE), "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
