"""Is the share there, is it ours, and what kind of file system carries it?"""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import stat
import uuid
from dataclasses import dataclass
from pathlib import Path

from meshdrop.daemon.base import fsops
from meshdrop.daemon.base.errors import PASSING, ConfigurationError, ShareMissing, ShareUnavailable
from meshdrop.daemon.base.places import SENTINEL, Places
from meshdrop.models.files import walk

#: statfs types whose files may change without this kernel noticing (statfs(2), magic.h).
_NETWORK_TYPES = {
    0x6969: "nfs",
    0xFF534D42: "cifs",
    0xFE534D42: "smb2",
    0x517B: "smb",
    0x65735546: "fuse",
    0x01021997: "9p",
    0x6A656A63: "virtiofs",
    0x786F4256: "vboxsf",
}


_PROBE = ".probe-"
#: A sentinel holds a line of 32 characters.
_IDENTITY_MOST = 4096


class _StatFs(ctypes.Structure):
    _fields_ = [("f_type", ctypes.c_long), ("rest", ctypes.c_byte * 256)]


def network_type(path: Path) -> str | None:
    """The name of the network file system under ``path``, or None when it is local."""
    buffer = _StatFs()
    if ctypes.CDLL(None, use_errno=True).statfs(os.fsencode(path), ctypes.byref(buffer)) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), str(path))
    return _NETWORK_TYPES.get(buffer.f_type & 0xFFFFFFFF)


@dataclass(frozen=True)
class Share:
    """The share's identity as it was at start."""

    places: Places
    identity: bytes
    device: int

    def check(self) -> None:
        """Raise ``ShareUnavailable`` unless the same share is still mounted here."""
        try:
            identity = walk.read_file(self.places.sentinel, _IDENTITY_MOST)
            device = walk.lstat(self.places.root).st_dev
            linked = next((folder for folder in self.places.public() if walk.kind(folder) == stat.S_IFLNK), None)
        except OSError as error:
            raise ShareUnavailable(f"{self.places.root} cannot be read ({error.strerror})") from error
        if identity != self.identity or device != self.device:
            raise ShareUnavailable(f"{self.places.root} is not the folder this service was started on")
        if linked is not None:
            raise ShareUnavailable(f"{linked} is a link now; put the folder itself back in its place")

    def holds(self, path: Path) -> bool:
        """Whether ``path`` is there. Raises ``ShareUnavailable`` rather than say no of a share that is away."""
        if walk.is_there(path):
            return True
        self.check()
        if not walk.is_folder(path.parent):
            raise ShareUnavailable(f"{path.parent} is not there")
        return walk.is_there(path)  # asked again: the share may have come back in between

    def free_bytes(self) -> int:
        """Room left for new captures: the smaller of the share's and the working disk's."""
        return min(shutil.disk_usage(self.places.spool).free, shutil.disk_usage(self.places.state).free)


def create_root(places: Places) -> None:
    """Make the folders of a new root and the sentinel that proves it is mounted. Changes nothing that is there."""
    for folder in places.public():
        fsops.make_dir(folder)
    for folder in (places.hidden, places.spool, places.state):
        fsops.make_dir(folder, 0o700)
    make_private(places)
    if not walk.is_there(places.sentinel):
        fsops.write_file(places.sentinel, f"{uuid.uuid4().hex}\n".encode())


def make_private(places: Places) -> None:
    """Make the daemon's own folders if they are missing."""
    for folder in places.private():
        fsops.make_dir(folder, 0o700)


def find_sentinel(root: Path) -> bytes:
    """The identity of the share on ``root``; raises ``ShareMissing`` when it cannot be read."""
    try:
        return walk.read_file(root / SENTINEL, _IDENTITY_MOST)
    except OSError as error:
        raise ShareMissing(
            f"{root} has no readable {SENTINEL} ({error.strerror}): it was never set up, or it is not mounted",
            f"mount it, or run `meshdrop init {root}` if it is new",
        ) from error


def open_share(places: Places) -> Share:
    """Check the folders and prove by a real rename that claiming and publishing will work.

    Raises ``ConfigurationError`` with the cure, and ``OSError`` when the disk is full, read-only or failing.
    """
    identity = find_sentinel(places.root)
    if linked := [folder for folder in (*places.public(), places.spool) if walk.kind(folder) == stat.S_IFLNK]:
        raise ConfigurationError(
            f"{linked[0]} is a link: whoever can replace a folder of the share could lead the service anywhere",
            "put the folder itself there; `root`, spool_dir and state_dir may name any place",
        )
    missing = [folder.name for folder in places.public() if not walk.is_folder(folder)]
    if missing:
        raise ConfigurationError(
            f"{places.root} lacks the folder {missing[0]}/", f"run `meshdrop init {places.root}` to make it again"
        )
    if (kind := network_type(places.state.parent if not places.state.exists() else places.state)) is not None:
        raise ConfigurationError(
            f"the state folder {places.state} is on {kind}: SQLite cannot keep its promises there",
            "set state_dir to a folder on a local disk",
        )
    make_private(places)
    for target in (places.claimed, places.staging):
        probe_rename(places.inbox, target)
    for target in (places.outbox, places.failed):
        probe_rename(places.staging, target)
    return Share(places, identity, places.root.stat().st_dev)


def _remove_empty(folder: Path) -> None:
    with walk.parent_of(folder) as (parent, name):
        os.rmdir(name, dir_fd=parent)


def probe_rename(source: Path, target: Path) -> None:
    """Equal device numbers prove nothing (two bind mounts share one); only a rename does."""
    for folder in (source, target):
        for left in walk.names(folder):
            if left.startswith(_PROBE):
                with contextlib.suppress(OSError):  # of a start that was killed in the middle of this; they are empty
                    _remove_empty(folder / left)
    name = f"{_PROBE}{uuid.uuid4().hex[:8]}"
    try:
        fsops.make_dir_below(source, source / name)
        try:
            fsops.rename_new(source / name, target / name)
        except OSError:
            _remove_empty(source / name)
            raise
        _remove_empty(target / name)
    except OSError as error:
        if error.errno in PASSING:
            raise
        raise ConfigurationError(
            f"a folder cannot be moved from {source} to {target} ({error.strerror})",
            "put both on one mount (one bind mount in Docker, one ReadWritePaths= in systemd) and let the service's "
            "user write to them; spool_dir moves the private side",
        ) from error
