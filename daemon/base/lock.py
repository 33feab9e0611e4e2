"""One service on one set of folders: a lock in the state folder, and one in the spool that other hosts see too.

Two services may share a spool without sharing a state folder: two roots set up with one ``spool_dir``, or two hosts
that mount one NAS. ``flock`` tells them apart wherever the file system carries it; where it does not, or where the
other host's locks are not seen, the holder's heartbeat does. Clocks of two hosts are never compared: a heartbeat is
old when it was watched and did not change.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import NoReturn

from meshdrop.daemon.base.errors import AnotherInstance, ExitCode
from meshdrop.daemon.base.log import get_logger
from meshdrop.daemon.base.places import Places
from meshdrop.db.clocks import boot_id

log = get_logger()

BEAT_S = 10.0
#: A heartbeat of another host that did not change for so long is nobody's any more.
STALE_S = 60.0
_LOOK_S = 1.0
#: Room for any holder in ASCII JSON: written over in place, since a lock belongs to the file and not to its name.
_SIZE = 4096
_SHOWN = 200
#: What a file system answers that does not carry locks.
_NO_LOCKS = frozenset({errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL})
_FIX = "stop it first, or leave it to its work: `meshdrop status` shows what it does"


@dataclass(frozen=True)
class Holder:
    """Who holds the spool: one run of the service. ``beat`` counts its heartbeats."""

    token: str
    host: str
    name: str
    boot: str
    pid: int
    root: str
    beat: int = 0

    def is_on_this_machine(self, other: Holder) -> bool:
        """Whether both are on one machine: under one kernel, or before and after its restart."""
        return self.boot == other.boot != "unknown" or (self.host, self.name) == (other.host, other.name)


def this_service(root: Path) -> Holder:
    """The holder that this process would be."""
    try:
        host = Path("/etc/machine-id").read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        host = ""
    return Holder(uuid.uuid4().hex, host, socket.gethostname(), boot_id(), os.getpid(), str(root)[:_SHOWN])


@contextlib.contextmanager
def only_instance(places: Places) -> Iterator[None]:
    """Hold the locks of the state folder and the spool; raises ``AnotherInstance`` when somebody else holds one.

    The share must be mounted: a spool folder that is missing is made.
    """
    with _state_lock(places):
        places.spool.mkdir(mode=0o700, parents=True, exist_ok=True)
        spool = SpoolLock(places.spool / "lock", this_service(places.root))
        spool.take()
        try:
            spool.keep()
            yield
        finally:
            spool.release()


@contextlib.contextmanager
def _state_lock(places: Places) -> Iterator[None]:
    places.state.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(places.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.read(descriptor, 200).decode("ascii", "replace").split("\n")[0]
            raise AnotherInstance(
                f"another Meshdrop already runs on {places.root} (process {holder or 'unknown'})", _FIX
            ) from error
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"{os.getpid()}\n{boot_id()}\n".encode())
        yield
    finally:
        os.close(descriptor)


class SpoolLock:
    """The lock in the spool. ``take`` it, ``keep`` it by a heartbeat, ``release`` it.

    ``lost`` is called on the heartbeat's thread when another service holds the spool although this one never let go,
    as after a machine that was suspended: not one more folder may be moved then.
    """

    def __init__(
        self,
        path: Path,
        me: Holder,
        *,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
        lost: Callable[[Holder], None] | None = None,
    ) -> None:
        self._path, self._me = path, me
        self._monotonic, self._sleep = monotonic, sleep
        self._lost = lost or _end_at_once
        self._ended = threading.Event()
        self._descriptor = -1
        self._writing = threading.Lock()

    def take(self) -> None:
        """Become the holder. Raises ``AnotherInstance``: at once when the other is seen to be alive, after at most a
        heartbeat of it when only that tells. Waits a minute for a host that has vanished; this host need not wait.
        """
        self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            locks = self._flock()
            other = self._read()
            if other is not None and not other.is_on_this_machine(self._me):
                self._outwait(other)
            elif other is not None and not locks and _is_alive(other):
                _refuse(other)
            self._beat()
            if other is not None and not locks:
                self._sleep(2 * _LOOK_S)  # where nothing locks, the last of those who waited has it
                self._make_sure()
        except BaseException:
            os.close(self._descriptor)
            raise

    def keep(self) -> None:
        """Start the heartbeat. It asks nothing of the disk, and a share that hangs delays nobody but itself."""
        threading.Thread(target=self._keep, name="heartbeat", daemon=True).start()

    def release(self) -> None:
        """Let go, so that any host may start at once."""
        self._ended.set()
        if not self._writing.acquire(timeout=_LOOK_S):
            return  # the share hangs; the end of this process lets go
        with contextlib.suppress(OSError):
            if (there := self._read()) is not None and there.token == self._me.token:
                os.pwrite(self._descriptor, b" " * _SIZE, 0)  # not emptied: a full disk could not be started on
        os.close(self._descriptor)

    def beat(self) -> None:
        """One heartbeat, unless the spool is somebody else's by now."""
        try:
            there = self._read()
            if there is not None and there.token != self._me.token:
                self._lost(there)
            elif there is not None or self._path.exists():  # else the share is away: others will say so
                self._beat()
        except OSError as error:
            log.warning("the heartbeat could not be written", reason=str(error))

    def _keep(self) -> None:
        while not self._ended.wait(BEAT_S):
            with self._writing:
                if not self._ended.is_set():
                    self.beat()

    def _flock(self) -> bool:
        """Whether the file system carries locks; raises ``AnotherInstance`` when another process has this one."""
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            _refuse(self._read(), error)
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
            return False
        return True

    def _outwait(self, other: Holder) -> None:
        """Watch the heartbeat of another host until it moves, or has not moved for a minute of our own clock."""
        log.warning("the spool is in use by another host; waiting for a sign of life", host=other.name, pid=other.pid)
        end = self._monotonic() + STALE_S
        while self._monotonic() < end:
            self._sleep(_LOOK_S)
            now = self._read()
            if now is None:
                return  # it has let go
            if now != other:
                _refuse(now)
        log.warning("the spool was left behind by a host that is gone; taking it over", host=other.name)

    def _make_sure(self) -> None:
        there = self._read()
        if there is None or there.token != self._me.token:
            _refuse(there)

    def _read(self) -> Holder | None:
        """Who stands in the file now. It is opened anew: a network file system may answer an open file from memory.

        What is met half-written is read again; what stays so is nobody's, for example after a power cut.
        """
        for _ in range(3):
            try:
                text = self._path.read_bytes()
                return Holder(**json.loads(text)) if text.strip() else None
            except FileNotFoundError:
                return None
            except (ValueError, TypeError):
                self._sleep(_LOOK_S / 10)
        return None

    def _beat(self) -> None:
        self._me = replace(self._me, beat=self._me.beat + 1)
        os.pwrite(self._descriptor, json.dumps(asdict(self._me)).encode().ljust(_SIZE), 0)


def _is_alive(other: Holder) -> bool:
    """Whether the process of a holder on this machine still runs, as far as its number tells."""
    return other.boot == boot_id() and other.pid != os.getpid() and Path(f"/proc/{other.pid}").exists()


def _refuse(other: Holder | None, because: OSError | None = None) -> NoReturn:
    who = f"process {other.pid} on {other.name} for {other.root}" if other else "process unknown"
    raise AnotherInstance(f"another Meshdrop already uses this spool folder ({who})", _FIX) from because


def _end_at_once(other: Holder) -> None:
    """Like a kill, which loses nothing: every further step could be taken twice."""
    log.error("the spool was taken over by another host; ending at once", host=other.name, pid=other.pid)
    os._exit(ExitCode.TRY_AGAIN)
