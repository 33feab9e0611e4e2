"""What the doctor looks at of the disks: what kind they are, how they are mounted, and what is left on them."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator
from pathlib import Path

from meshdrop.daemon.base.places import Places
from meshdrop.daemon.base.settings import Settings
from meshdrop.daemon.base.users import user_name
from meshdrop.daemon.doctor.checks.finding import Finding
from meshdrop.daemon.doctor.checks.folders import nearest
from meshdrop.daemon.host.machine import Machine
from meshdrop.daemon.host.mounts import Mount, carrying, read
from meshdrop.daemon.outbox.receipts import read_shared
from meshdrop.daemon.workers import kernels
from meshdrop.models.files.names import RECEIPT

#: One job makes about a hundred files, on the share and in its working folder.
INODES_LEAST, INODES_GOOD = 1_000, 10_000
#: The service wants this many times the size of a capture before it takes it.
CAPTURES_FREE = 3
#: The newest results from which a typical size is learnt.
_LEARNT_FROM = 20
_IN_MEMORY = frozenset({"tmpfs", "ramfs"})
#: Options that take back a promise of the file system: option, what it does, what to write instead.
_HARMFUL = (
    ("soft", "a server that is slow for a moment makes writes fail, and files may be cut off", "hard"),
    ("softerr", "a server that is slow for a moment makes writes fail, and files may be cut off", "hard"),
    ("nolock", "a second service on another host would not be noticed", "lock"),
    ("local_lock=all", "a second service on another host would not be noticed", "local_lock=none"),
    (
        "cache=loose",
        "files of other clients are seen late, and a capture may be taken before it is whole",
        "cache=strict",
    ),
    ("nobrl", "a second service on another host would not be noticed", "brl"),
    ("noserverino", "folders cannot be told apart by number, and a renamed one is not recognised", "serverino"),
    ("nobarrier", "what was promised to be on disk may be lost by a power cut", "barrier"),
    ("barrier=0", "what was promised to be on disk may be lost by a power cut", "barrier=1"),
    ("volatile", "what was promised to be on disk may be lost by a power cut", "no `volatile`"),
)


def share_mount(places: Places, machine: Machine) -> Finding:
    """Does the share lie on a network file system?"""
    kind = machine.network_type(places.root)
    if kind is None:
        return Finding("share", "ok", "on a local file system")
    return Finding(
        "share",
        "warn",
        f"{places.root} is on {kind}",
        "folders must be quiet for longer before they are taken (settle_network_s), and what was published survives a "
        "power cut of the server only if it writes through",
        "on the server, export with `sync` (NFS) or set `strict sync = yes` (Samba), or run Meshdrop there",
    )


def mounts(places: Places, machine: Machine) -> Finding:
    """Do the mounts of share, spool and state keep what is written to them? Public folders may be mounts themselves."""
    known = read(machine.proc)
    public = ((f"the folder {folder.name}", folder) for folder in places.public())
    held = (("the share", places.root), ("the spool", places.spool), ("the record", places.state), *public)
    for what, path in held:
        mount = carrying(path, known)
        if mount is None:
            continue
        if (trouble := _trouble_with(mount, what, machine)) is not None:
            return trouble
    if "eatmydata" in machine.environ.get("LD_PRELOAD", ""):
        return Finding(
            "mounts",
            "fail",
            "LD_PRELOAD loads libeatmydata",
            "nothing is flushed: a power cut loses accepted captures",
            "unset LD_PRELOAD",
        )
    return Finding("mounts", "ok", "keep what is written to them")


def _trouble_with(mount: Mount, what: str, machine: Machine) -> Finding | None:
    point = shlex.quote(str(mount.point))
    if "ro" in mount.options:
        return Finding(
            "mounts",
            "fail",
            f"{mount.point}, which holds {what}, is mounted read-only",
            "nothing can be taken or published; disks with errors are turned read-only by the kernel",
            f"look at `dmesg | tail` first; then: sudo mount -o remount,rw {point}",
        )
    private = what in ("the spool", "the record")
    if private and mount.kind in _IN_MEMORY:
        return Finding(
            "mounts",
            "fail",
            f"{mount.point}, which holds {what}, is {mount.kind}: it lies in memory",
            "accepted captures and the record are gone when the machine restarts",
            "set state_dir and spool_dir to folders on a disk",
        )
    if private and mount.kind == "overlay" and machine.in_container and mount.point == Path("/"):
        return Finding(
            "mounts",
            "fail",
            f"{what} lies in the container's own layer",
            "accepted captures and the record are gone when the container is replaced",
            "mount a volume there, as docker-compose.yml does for /var/lib/meshdrop",
        )
    for option, why, better in _HARMFUL:
        if option in mount.options:
            return Finding(
                "mounts",
                "warn",
                f"{mount.point}, which holds {what}, is mounted with `{option}`",
                why,
                f"mount it with `{better}` instead (in /etc/fstab), then: sudo mount -o remount {point}",
            )
    return None


def state_disk(places: Places, machine: Machine) -> Finding:
    """Does the record lie on a local disk that this user can write to?"""
    folder = nearest(places.state)
    kind = machine.network_type(folder)
    if kind is not None:
        return Finding(
            "state",
            "fail",
            f"{places.state} is on {kind}",
            "SQLite cannot keep its promises there",
            f'set state_dir = "/var/lib/meshdrop" (or another local folder) in {places.root}/.meshdrop/config.toml',
        )
    return _writable("state", places.state, "the record could not be written")


def kernel_cache(places: Places) -> Finding:
    """Can compiled kernels be kept where nobody else can write? Those of this version may be another user's."""
    if (found := kernels.unsafe(places.cache)) is not None:
        return Finding("kernel cache", "fail", found.says, found.why, found.fix)
    return _writable("kernel cache", places.cache, "every model run would compile its kernels again, for a minute")


def _writable(name: str, wanted: Path, why: str) -> Finding:
    folder = nearest(wanted)
    if folder.is_dir() and os.access(folder, os.W_OK | os.X_OK):
        return Finding(name, "ok", str(wanted))
    if not folder.is_dir():
        return Finding(name, "fail", f"{folder} is not a folder", why, f"rm {shlex.quote(str(folder))}")
    says = f"{user_name()} may not write to {folder}"
    if folder != wanted:
        says = f"there is no {wanted}, and {says}"
    return Finding(
        name,
        "fail",
        says,
        why,
        f"sudo chown -R {user_name()} {shlex.quote(str(folder))}"
        if folder == wanted
        else f"sudo install -d -m 700 -o {user_name()} {shlex.quote(str(wanted))}",
    )


def free_space(settings: Settings, machine: Machine) -> Finding:
    """Is there room for the largest capture that is allowed, and for results as large as the last ones?"""
    places = settings.places
    rooms = {folder: machine.room(nearest(folder)).free_bytes / 1e6 for folder in (places.spool, places.state)}
    tight, free = min(rooms.items(), key=lambda item: item[1])
    sizes = [size / 1e6 for size in _last_results(places)]
    wanted = max(settings.min_free_mb, CAPTURES_FREE * settings.max_capture_mb, CAPTURES_FREE * max(sizes, default=0))
    if free >= wanted:
        each = sum(sizes) / len(sizes) if sizes else 0.0
        more = f", room for about {free / each:,.0f} more results like the last {len(sizes)}" if each else ""
        return Finding("free space", "ok", f"{free / 1e3:.1f} GB{more}")
    return Finding(
        "free space",
        "fail" if free < settings.min_free_mb else "warn",
        f"{free:.0f} MB, less than {wanted:.0f} MB",
        "nothing new is taken from the inbox" if free < settings.min_free_mb else "large captures have to wait",
        f"take results out of {places.outbox} and {places.failed}, or lower retain_days; "
        f"du -x -d2 {shlex.quote(str(places.root))} | sort -n shows where the space is"
        if os.stat(nearest(tight)).st_dev == os.stat(nearest(places.root)).st_dev
        else f"make room on the disk of {tight}: du -x -d2 $(df --output=target {shlex.quote(str(tight))} | tail -1)",
    )


def _last_results(places: Places) -> Iterator[int]:
    """Bytes of the newest results, by their own receipts: nobody walks through folders of gigabytes for this."""
    if not places.outbox.is_dir():
        return
    with os.scandir(places.outbox) as entries:
        folders = [entry for entry in entries if entry.is_dir(follow_symlinks=False)]
    for entry in sorted(folders, key=lambda entry: entry.stat(follow_symlinks=False).st_mtime)[-_LEARNT_FROM:]:
        files = read_shared(Path(entry.path, RECEIPT)).get("files")
        if isinstance(files, dict):
            sizes = (facts.get("size") for facts in files.values() if isinstance(facts, dict))
            yield sum(size for size in sizes if isinstance(size, int))


def free_inodes(settings: Settings, machine: Machine) -> Finding:
    """Is there room for the number of files?"""
    places = settings.places
    rooms = [machine.room(nearest(folder)).inodes for folder in (places.spool, places.state)]
    left = min((inodes for inodes in rooms if inodes is not None), default=None)
    if left is None or left >= INODES_GOOD:
        return Finding("free inodes", "ok", "no limit" if left is None else str(left))
    return Finding(
        "free inodes",
        "fail" if left < INODES_LEAST else "warn",
        f"room for {left} more files",
        "one capture with its results needs about a hundred",
        f"take results out of {places.outbox} and {places.failed}; "
        f"du -x --inodes -s {shlex.quote(str(places.root))}/* shows where the many files are",
    )
