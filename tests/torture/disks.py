"""Small file systems in a file, whose power can be cut. Needs root, loop devices and a mount namespace of its own."""

from __future__ import annotations

import ctypes
import fcntl
import os
import shutil
import struct
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

FileSystem = Literal["ext4", "xfs"]

#: ioctl of ext4, xfs and f2fs (uapi/linux/fs.h of 6.18; xfs calls it XFS_IOC_GOINGDOWN).
_FS_IOC_SHUTDOWN = 0x8004587D
_FLUSH_LOG, _NO_FLUSH = 1, 2
_SIZES_MB = {"ext4": 96, "xfs": 320}
#: No commits by the clock: what nobody flushed shall not be on disk.
_OPTIONS = {"ext4": "loop,commit=600", "xfs": "loop"}
_MAKE = {
    "ext4": ["mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=1,lazy_journal_init=1"],
    "xfs": ["mkfs.xfs", "-q", "-f"],
}
_NAMESPACE = "MESHDROP_TORTURE_NAMESPACE"


class Disk:
    """One file system on a loop device, mounted at ``path``."""

    def __init__(self, folder: Path, name: str, kind: FileSystem, size_mb: int = 0, options: str = "") -> None:
        self.path, self.kind = folder / name, kind
        self.image = folder / f"{name}.img"
        self._options = f"{_OPTIONS[kind]},{options}".rstrip(",")
        self.path.mkdir(parents=True)
        with self.image.open("wb") as image:
            image.truncate((size_mb or _SIZES_MB[kind]) << 20)
        _command(*_MAKE[kind], str(self.image))
        self.mount()

    def mount(self, device: str | None = None) -> None:
        """Mount it; the journal is replayed where it has to be. ``device``: where it is still attached, if it is."""
        if device is not None and _is_attached(device, self.image):
            _command("mount", "-t", self.kind, f"/dev/{device}", str(self.path))
        else:
            _command("mount", "-t", self.kind, "-o", self._options, str(self.image), str(self.path))

    def unmount(self, *options: str) -> None:
        """Unmount it, waiting a moment for whoever has just been killed on it."""
        for _ in range(100):
            try:
                return _command("umount", *options, str(self.path))
            except OSError:
                time.sleep(0.05)
        return _command("umount", *options, str(self.path))

    def cut(self, *, flush_log: bool) -> None:
        """Cut the power: what is not on disk is lost. With ``flush_log`` the journal still gets out, data do not."""
        descriptor = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.ioctl(descriptor, _FS_IOC_SHUTDOWN, struct.pack("I", _FLUSH_LOG if flush_log else _NO_FLUSH))
        finally:
            os.close(descriptor)

    def power_up(self) -> None:
        """After a cut: as after the machine's next start."""
        self.unmount()
        self.mount()

    def flush(self) -> None:
        """Everything written so far reaches the disk."""
        descriptor = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            if ctypes.CDLL(None, use_errno=True).syncfs(descriptor) != 0:
                raise OSError(ctypes.get_errno(), "syncfs", str(self.path))
        finally:
            os.close(descriptor)

    def device(self) -> str:
        """The loop device's name, such as ``loop3``."""
        ask = ["findmnt", "-n", "-o", "SOURCE", "--mountpoint", str(self.path)]
        found = subprocess.run(ask, check=True, capture_output=True, text=True)
        return found.stdout.split()[-1].removeprefix("/dev/")

    def remount(self, how: Literal["ro", "rw"]) -> None:
        """Make it read-only, or writable again."""
        _command("mount", "-o", f"remount,{how}", str(self.path))

    def destroy(self, *options: str) -> None:
        """Unmount (``-l``: even when somebody still uses it) and delete it."""
        self.unmount(*options)
        self.image.unlink()
        self.path.rmdir()


def unmount_below(folder: Path) -> None:
    """Unmount what cases have left mounted below a folder, so that it can be deleted."""
    for line in reversed(Path("/proc/self/mounts").read_text(encoding="utf-8").splitlines()):
        where = line.split(" ")[1]
        if where.startswith(f"{folder}/"):
            subprocess.run(["umount", "-l", where], check=False, capture_output=True)


def _is_attached(device: str, image: Path) -> bool:
    try:
        return Path("/sys/block", device, "loop/backing_file").read_text().strip() == str(image)
    except FileNotFoundError:
        return False


def cut_and_power_up(disks: Sequence[Disk], *, flush_log: bool) -> None:
    """The machine loses its power and gets it back."""
    for disk in disks:
        disk.cut(flush_log=flush_log)
    for disk in disks:
        disk.power_up()


def _command(*arguments: str) -> None:
    done = subprocess.run(arguments, check=False, capture_output=True, text=True)
    if done.returncode:
        raise OSError(f"{' '.join(arguments)}: {done.stderr.strip() or done.returncode}")


def in_own_namespace(command: list[str]) -> list[str]:
    """The command line that runs ``command`` where its mounts are nobody else's (nothing else can pin them)."""
    return ["unshare", "-m", "--propagation", "private", "env", f"{_NAMESPACE}=1", *command]


def is_own_namespace() -> bool:
    """Whether this process was started by ``in_own_namespace``."""
    return _NAMESPACE in os.environ


def why_no_namespace() -> str | None:
    """Why no mount namespace can be had here; None when it can."""
    if os.geteuid() != 0:
        return "power cuts need root: they mount file systems"
    if shutil.which("unshare") is None:
        return "unshare (util-linux) is not installed"
    attempt = ["unshare", "-m", "--propagation", "private", "true"]
    done = subprocess.run(attempt, check=False, capture_output=True, text=True)
    return None if done.returncode == 0 else f"no mount namespace: {done.stderr.strip()}"


def why_no_cuts(kind: FileSystem) -> str | None:
    """Why the power of such a file system cannot be cut here; None when it can. Call it in the namespace."""
    if (reason := why_no_namespace()) is not None:
        return reason
    if not is_own_namespace():
        return "not in a mount namespace of its own"
    if shutil.which(_MAKE[kind][0]) is None:
        return f"{_MAKE[kind][0]} is not installed"
    with tempfile.TemporaryDirectory() as folder:
        try:
            disk = Disk(Path(folder), "probe", kind)
        except OSError as error:
            return str(error)
        try:
            disk.cut(flush_log=False)
        except OSError as error:
            return f"{kind} cannot be shut down here: {error}"
        finally:
            disk.destroy()
    return None
