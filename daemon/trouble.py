"""Whose trouble it is when a step of a job fails: the machine's, which is waited out, or the job's own."""

from __future__ import annotations

import os
import threading
from pathlib import Path

from daemon import fsops
from daemon.errors import PASSING, ConfigurationError, ShareUnavailable
from daemon.kernels import OpenToOthers
from daemon.share import Share, probe_rename
from db.engine import RecordUnavailable
from models.problem import printable

#: Enough that a full disk refuses it.
_PROBE = b"\xa5" * 65_536
#: Two that try at once would take each other's trials away.
_alone = threading.Lock()


def is_the_machines(error: BaseException, share: Share) -> bool:
    """Whether the machine is at fault, by what the error says or else by trying: the share must be there and every
    folder of the service take what a job in order would put there.
    """
    if isinstance(error, ShareUnavailable | RecordUnavailable | OpenToOthers | MemoryError):
        return True
    return is_passing(error) or not is_sound(share)


def is_passing(error: BaseException) -> bool:
    """Whether the error itself says that a disk, a server or the machine is full, failing or away."""
    return isinstance(error, OSError) and error.errno in PASSING


def is_sound(share: Share) -> bool:
    """Whether the share is there, and folders can be moved and files be written wherever the service works."""
    try:
        with _alone:
            _try_everything(share)
    except (OSError, ShareUnavailable, ConfigurationError):
        return False
    return True


def _try_everything(share: Share) -> None:
    places = share.places
    share.check()
    for source, target in (
        (places.inbox, places.claimed), (places.claimed, places.kept),
        (places.staging, places.outbox), (places.staging, places.failed),
    ):  # fmt: skip
        probe_rename(source, target)
    for folder in (places.staging, places.state / "work"):
        _probe_write(folder / ".probe")


def _probe_write(file: Path) -> None:
    try:
        fsops.write_file(file, _PROBE, 0o600)
    finally:
        fsops.remove_tree(file)


def told(error: BaseException, inside: Path) -> str:
    """The error as one line for people at the share; paths below ``inside`` as seen from there."""
    if isinstance(error, OSError) and error.strerror:
        where = os.fsdecode(error.filename or "")
        where = "" if where == str(inside) else where.removeprefix(f"{inside}/")
        return printable(f"{where}: {error.strerror}" if where else error.strerror)
    return printable(f"{type(error).__name__}: {error}")
