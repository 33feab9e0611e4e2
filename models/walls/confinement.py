"""Walls around a worker, put up from inside before it reads a stranger's byte; they hold for whatever it starts too.

Five layers, each by itself, because no kernel is sure to have all. A layer that this one lacks is told, not feigned.
``python -I -m meshdrop.models.walls.confinement`` puts up all that there are around itself and prints which.

What stays open is what a model needs: programs and libraries to run, what its task names to read, one folder to write
to, and the GPU's devices. Standard library alone: nothing else may be imported before the walls stand.
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import struct
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from meshdrop.models.walls import system_calls

#: Every layer, and what it keeps a worker from.
LAYERS = {
    "network": "opening connections",
    "files": "seeing or changing files that its task does not need",
    "processes": "signalling and tracing other processes",
    "rights": "using the rights of root",
    "calls": "asking the kernel for what no model needs",
}
#: Programs and libraries, here and in other builds of Linux (Nix, Guix), and what the C library looks up.
_SYSTEM = (
    "/usr",
    "/lib",
    "/lib32",
    "/lib64",
    "/bin",
    "/sbin",
    "/nix/store",
    "/gnu/store",
    "/proc",
    "/sys",
    "/etc/ld.so.cache",
    "/etc/ld.so.conf",
    "/etc/ld.so.conf.d",
    "/etc/ld.so.preload",
    "/etc/alternatives",
    "/etc/localtime",
    "/etc/timezone",
    "/etc/passwd",
    "/etc/group",
    "/etc/nsswitch.conf",
    "/etc/OpenCL",
    "/etc/nvidia",
    # Node ends at once where its OpenSSL is there and may not be asked how it is set up.
    "/etc/ssl/openssl.cnf",
    "/etc/pki/tls/openssl.cnf",
    "/etc/crypto-policies",
)
_SMALL_DEVICES = ("null", "zero", "full", "random", "urandom")
#: Variables that name libraries; several paths stand between colons.
_NAMED_IN = ("LD_LIBRARY_PATH", "LD_PRELOAD", "CUDA_HOME")

# Numbers of the kernel's interface: linux/prctl.h, linux/capability.h, linux/sched.h, linux/landlock.h.
_PR_CAPBSET_DROP, _PR_SET_NO_NEW_PRIVS, _PR_CAP_AMBIENT, _CLEAR_ALL = 24, 38, 47, 4
_CAP_VERSION_3 = 0x20080522
_NEW_USERS, _NEW_NETWORK, _NEW_IPC = 0x10000000, 0x40000000, 0x08000000
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF, _PATH_BENEATH, _ASK_VERSION = 444, 445, 446, 1, 1
_RUN, _WRITE, _READ, _LIST = 1 << 0, 1 << 1, 1 << 2, 1 << 3
_REMOVE_DIR, _REMOVE_FILE, _MAKE_DIR, _MAKE_FILE = 1 << 4, 1 << 5, 1 << 7, 1 << 8
_MOVE, _CUT, _DEVICE_CONTROL = 1 << 13, 1 << 14, 1 << 15
_OF_FILES = _RUN | _WRITE | _READ | _CUT | _DEVICE_CONTROL
#: Which rights a version of Landlock added to those before it.
_RIGHTS_SINCE = {1: (1 << 13) - 1, 2: _MOVE, 3: _CUT, 5: _DEVICE_CONTROL}
_TCP_SINCE, _SCOPES_SINCE = 4, 6
#: Binding and connecting; abstract sockets and signals.
_BOTH = 0b11


@dataclass(frozen=True)
class FileView:
    """What a worker sees of the file system beside programs and libraries; what is not there is passed over.

    ``run`` holds further programs and libraries, ``read`` can be read, ``write`` is its own. ``gpu`` opens NVIDIA's
    devices.
    """

    run: tuple[Path, ...] = ()
    read: tuple[Path, ...] = ()
    write: tuple[Path, ...] = ()
    gpu: bool = False


@dataclass
class Walls:
    """By layer: how each that stands is made, and why each that does not is missing."""

    stand: dict[str, str] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)

    def put_up(self, layer: str, step: Callable[[], str]) -> None:
        """Try one way to make a layer; a second that succeeds makes up for a first that failed."""
        try:
            made = step()
        except OSError as error:
            if layer not in self.stand:
                self.missing[layer] = error.strerror or str(error)
            return
        self.stand[layer] = ", ".join(filter(None, (self.stand.get(layer), made)))
        self.missing.pop(layer, None)

    def to_json(self) -> dict[str, Mapping[str, str]]:
        """Plain JSON values."""
        return {"stand": self.stand, "missing": self.missing}


class NotConfined(Exception):
    """A layer is missing where all were asked for; the message says which and why."""


def confine(view: FileView, *, strictly: bool = False) -> Walls:
    """Put up every layer that this kernel has around this process, which must have one thread. There is no way back.

    Raises ``NotConfined`` when a layer is missing and ``strictly`` asks for all.
    """
    walls = Walls()
    libc = ctypes.CDLL(None, use_errno=True)
    # Without this the kernel takes neither Landlock's rules nor filters from an ordinary user. The process stays
    # readable for the service (PR_SET_DUMPABLE), which finds what it has left behind by its environment.
    libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    walls.put_up("network", lambda: _own_network(libc))
    walls.put_up("files", lambda: _landlock(libc, view))
    walls.put_up("processes", lambda: _scopes(libc))
    walls.put_up("rights", lambda: _give_up_rights(libc))
    walls.put_up("network", _no_sockets)
    walls.put_up("calls", _fewer_calls)
    if strictly and walls.missing:
        layer, why = next(iter(walls.missing.items()))
        raise NotConfined(f"nothing keeps a worker from {LAYERS[layer]} here: {why}")
    return walls


def _own_network(libc: ctypes.CDLL) -> str:
    """An empty network, and message queues of its own. Other users than root need a user namespace for that."""
    uid, gid = os.geteuid(), os.getegid()
    if libc.unshare(_NEW_NETWORK | _NEW_IPC) != 0 and libc.unshare(_NEW_USERS | _NEW_NETWORK | _NEW_IPC) != 0:
        raise OSError(ctypes.get_errno(), f"no namespaces: {os.strerror(ctypes.get_errno())}")
    if os.geteuid() != uid:  # nobody, until the new namespace is told who that is outside
        with suppress(OSError):
            for name, text in (("setgroups", "deny"), ("uid_map", f"{uid} {uid} 1"), ("gid_map", f"{gid} {gid} 1")):
                Path("/proc/self", name).write_text(text, encoding="ascii")
    return "a network of its own"


def _landlock_version(libc: ctypes.CDLL) -> int:
    version: int = libc.syscall(ctypes.c_long(_CREATE_RULESET), None, ctypes.c_size_t(0), ctypes.c_uint(_ASK_VERSION))
    if version < 1:
        raise OSError(ctypes.get_errno(), f"no Landlock: {os.strerror(ctypes.get_errno())}")
    return version


def _landlock(libc: ctypes.CDLL, view: FileView) -> str:
    """Only what ``view`` names can be opened; no TCP, no signal to and no tracing of anybody outside."""
    version = _landlock_version(libc)
    rights = sum(bits for since, bits in _RIGHTS_SINCE.items() if since <= version)
    tcp, scopes = _BOTH * (version >= _TCP_SINCE), _BOTH * (version >= _SCOPES_SINCE)
    asked = ctypes.create_string_buffer(struct.pack("QQQ", rights, tcp, scopes), 24)
    rules = libc.syscall(ctypes.c_long(_CREATE_RULESET), asked, ctypes.c_size_t(24), ctypes.c_uint(0))
    if rules < 0:
        raise OSError(ctypes.get_errno(), f"no Landlock: {os.strerror(ctypes.get_errno())}")
    try:
        for path, allowed in _allowed(view):
            _add_rule(libc, rules, path, allowed & rights)
        if libc.syscall(ctypes.c_long(_RESTRICT_SELF), ctypes.c_int(rules), ctypes.c_uint(0)) != 0:
            raise OSError(ctypes.get_errno(), f"no Landlock: {os.strerror(ctypes.get_errno())}")
    finally:
        os.close(rules)
    return f"Landlock {version}"


def _scopes(libc: ctypes.CDLL) -> str:
    """Tracing is refused by every version; signals, which end a process as well, by newer ones."""
    version = _landlock_version(libc)
    if version < _SCOPES_SINCE:
        raise OSError(errno.ENOSYS, f"Landlock {version} lets signals through; version {_SCOPES_SINCE} came with 6.12")
    return f"Landlock {version}"


def _allowed(view: FileView) -> Iterator[tuple[Path, int]]:
    """Every path that can be opened, with the rights on it and on all below it."""
    run = _READ | _LIST | _RUN
    own = _READ | _LIST | _WRITE | _CUT | _MOVE | _REMOVE_DIR | _REMOVE_FILE | _MAKE_DIR | _MAKE_FILE
    named = (Path(part) for key in _NAMED_IN for part in os.environ.get(key, "").split(":"))
    for path in (*map(Path, _SYSTEM), *_python(), *_programs(), *named, *view.run):
        if path.is_absolute() and path != Path("/"):
            yield path, run
    yield from ((path, _READ | _LIST) for path in view.read)
    yield from ((path, own) for path in view.write)
    yield from ((Path("/dev", name), _READ | _WRITE) for name in _SMALL_DEVICES)
    if view.gpu:
        # CUDA's driver gives its threads names, which are files here, and does not start when it may not.
        yield Path("/proc/self/task"), _READ | _LIST | _WRITE | _CUT
        yield from ((path, _READ | _WRITE | _LIST | _DEVICE_CONTROL) for path in Path("/dev").glob("nvidia*"))


def _python() -> Iterator[Path]:
    """This interpreter with its packages, and our own code wherever it lies."""
    yield from map(Path, (sys.prefix, sys.base_prefix, sys.exec_prefix, sys.base_exec_prefix))
    yield from (Path(entry) for entry in sys.path if os.path.isdir(entry))
    yield Path(os.path.realpath(sys.executable))
    yield Path(__file__).resolve().parents[1]


def _programs() -> Iterator[Path]:
    """The validator's second engine, which people install in their own folders too."""
    for folder in filter(None, os.environ.get("PATH", "").split(":")):
        for name in ("node", "nodejs"):
            yield Path(os.path.realpath(Path(folder, name)))


def _add_rule(libc: ctypes.CDLL, rules: int, path: Path, rights: int) -> None:
    try:
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:  # what is not there, or is closed to this user, cannot be opened with a rule either
        return
    try:
        allowed = rights if os.path.isdir(f"/proc/self/fd/{descriptor}") else rights & _OF_FILES
        rule = ctypes.create_string_buffer(struct.pack("=Qi", allowed, descriptor), 12)
        added = libc.syscall(
            ctypes.c_long(_ADD_RULE), ctypes.c_int(rules), ctypes.c_int(_PATH_BENEATH), rule, ctypes.c_uint(0)
        )
        if added != 0:
            raise OSError(ctypes.get_errno(), f"no Landlock rule on {path}: {os.strerror(ctypes.get_errno())}")
    finally:
        os.close(descriptor)


def _give_up_rights(libc: ctypes.CDLL) -> str:
    """No capability is left, here or for any program that is started; those of a namespace of its own go too."""
    number = 0
    while libc.prctl(_PR_CAPBSET_DROP, number, 0, 0, 0) == 0:  # fails at once for other users than root
        number += 1
    libc.prctl(_PR_CAP_AMBIENT, _CLEAR_ALL, 0, 0, 0)
    header = ctypes.create_string_buffer(struct.pack("Ii", _CAP_VERSION_3, 0), 8)
    libc.capset(header, ctypes.create_string_buffer(24))  # a unit may refuse the call where nothing is left to give up
    facts = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
    told = dict(line.split(":\t", 1) for line in facts.splitlines() if ":\t" in line)
    if told.get("NoNewPrivs") != "1" or any(int(told.get(name, "0"), 16) for name in ("CapPrm", "CapEff", "CapInh")):
        raise OSError(errno.EPERM, "rights are kept")
    return "none"


def _no_sockets() -> str:
    system_calls.refuse_sockets()
    return "no connections"


def _fewer_calls() -> str:
    system_calls.refuse_calls()
    return "seccomp"


def main() -> int:
    """Confine this process to nothing but programs and libraries, and say how far that went."""
    print(json.dumps(confine(FileView()).to_json()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
