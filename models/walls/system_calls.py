"""Which system calls a worker may not make, and the filter that the kernel runs for it.

A list of what is refused, not of what is allowed: numerical libraries, V8 and CUDA's driver change what they call from
release to release, and none of them calls what stands here. The numbers are those of x86-64 and 64-bit Arm.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

#: What is changed about the machine, other processes or the kernel itself, or reaches a file without its path.
#: None: this processor has no such call.
_REFUSED: dict[str, tuple[int | None, int | None]] = {
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "process_madvise": (440, 440),
    "process_mrelease": (448, 448),
    "kcmp": (312, 272),
    "pidfd_getfd": (438, 438),
    "mount": (165, 40),
    "umount2": (166, 39),
    "pivot_root": (155, 41),
    "chroot": (161, 51),
    "open_tree": (428, 428),
    "move_mount": (429, 429),
    "fsopen": (430, 430),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "fspick": (433, 433),
    "mount_setattr": (442, 442),
    "open_tree_attr": (467, 467),
    "setns": (308, 268),
    "unshare": (272, 97),
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "userfaultfd": (323, 282),
    "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "keyctl": (250, 219),
    "kexec_load": (246, 104),
    "kexec_file_load": (320, 294),
    "init_module": (175, 105),
    "finit_module": (313, 273),
    "delete_module": (176, 106),
    "reboot": (169, 142),
    "swapon": (167, 224),
    "swapoff": (168, 225),
    "acct": (163, 89),
    "quotactl": (179, 60),
    "quotactl_fd": (443, 443),
    "settimeofday": (164, 170),
    "clock_settime": (227, 112),
    "clock_adjtime": (305, 266),
    "adjtimex": (159, 171),
    "syslog": (103, 116),
    "sethostname": (170, 161),
    "setdomainname": (171, 162),
    "iopl": (172, None),
    "ioperm": (173, None),
    "modify_ldt": (154, None),
    "name_to_handle_at": (303, 264),
    "open_by_handle_at": (304, 265),
    "fanotify_init": (300, 262),
    "fanotify_mark": (301, 263),
    "inotify_add_watch": (254, 27),
    "vhangup": (153, 58),
    "chown": (92, None),
    "lchown": (94, None),
    "fchown": (93, 55),
    "fchownat": (260, 54),
    "setxattr": (188, 5),
    "lsetxattr": (189, 6),
    "fsetxattr": (190, 7),
    "removexattr": (197, 14),
    "lremovexattr": (198, 15),
    "fremovexattr": (199, 16),
    "setxattrat": (463, 463),
    "removexattrat": (466, 466),
    "msgget": (68, 186),
    "semget": (64, 190),
    "shmget": (29, 194),
    "mq_open": (240, 180),
}
#: Landlock has no say over rights and times of files: without this a worker could open the service's folders to all, or
#: close them to the service. USD and ``shutil.copy`` set those of their own files and stop when that is refused, and
#: nothing here depends on them: so the answer is that it is done.
_FEIGNED: dict[str, tuple[int | None, int | None]] = {
    "chmod": (90, None),
    "fchmod": (91, 52),
    "fchmodat": (268, 53),
    "fchmodat2": (452, 452),
    "utime": (132, None),
    "utimes": (235, None),
    "futimesat": (261, None),
    "utimensat": (280, 88),
    "file_setattr": (469, 469),
}
#: Which argument names a process; 0 is the caller itself, and no other is allowed.
_ITSELF_ONLY: dict[str, tuple[int, int | None, int | None]] = {
    "prlimit64": (0, 302, 261),
    "sched_setscheduler": (0, 144, 119),
    "sched_setparam": (0, 142, 118),
    "sched_setattr": (0, 314, 274),
    "migrate_pages": (0, 256, 238),
    "move_pages": (0, 279, 239),
    "setpriority": (1, 141, 140),
    "ioprio_set": (1, 251, 30),
}
#: What a process may not say of itself, so that the service finds it (dumpable) and it ends with the service.
_PRCTL, _HIDING = (157, 167), (1, 4)
_CLONE, _CLONE3 = (56, 220), (435, 435)
_TALK = {"connect": (42, 203), "accept": (43, 202), "accept4": (288, 242)}
_SOCKET, _SOCKETPAIR, _SENDTO = (41, 198), (53, 199), (44, 206)
#: Sockets of these kinds reach nobody before they are connected; those of others can be written to any address.
_LOCAL, _CONNECTED_KINDS, _KIND_MASK = 1, (1, 5), 0xF
#: CLONE_NEWTIME is no flag of clone: it stands where the signal for the parent does.
_NEW_NAMESPACES = 0x7E020000

_PROCESSORS = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}
_X32_BIT = 0x40000000
_PR_SET_SECCOMP, _MODE_FILTER = 22, 2
_KILL, _ERROR, _ALLOW = 0x80000000, 0x00050000, 0x7FFF0000
_NUMBER_AT, _PROCESSOR_AT, _ARGUMENTS_AT = 0, 4, 16
# Classic BPF: load a word, jump if equal, if greater or equal, if any bit is set, mask, return.
_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _MASK, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x54, 0x06


@dataclass(frozen=True)
class _Step:
    """One instruction; ``yes`` and ``no`` are how many to pass over."""

    code: int
    value: int
    yes: int = 0
    no: int = 0

    def packed(self) -> bytes:
        """As the kernel reads it (struct sock_filter)."""
        return struct.pack("HBBI", self.code, self.yes, self.no, self.value)


def refuse_sockets() -> None:
    """From now on nobody can be connected to or sent anything. Raises ``OSError`` where the kernel has no filters.

    Local sockets can be made and named: CUDA's driver does both when it starts and goes no further. (Its MPS does, so
    that cannot be used.)
    """
    at = _column()
    steps = [step for numbers in _TALK.values() for step in _when(numbers[at], _answer(errno.EACCES))]
    for numbers in (_SOCKET, _SOCKETPAIR):
        steps += _when(numbers[at], _only_local())
    steps += _when(_SENDTO[at], _unless_zero(4, errno.EACCES))
    _install(steps)


def refuse_calls() -> None:
    """From now on the calls above are refused. Raises ``OSError`` where the kernel has no filters."""
    at = _column()
    steps: list[_Step] = []
    for numbers in _REFUSED.values():
        steps += _when(numbers[at], _answer(errno.EPERM))
    for numbers in _FEIGNED.values():
        steps += _when(numbers[at], _answer(0))
    for argument, *own in _ITSELF_ONLY.values():
        steps += _when(own[at], _unless_zero(argument, errno.EPERM))
    steps += _when(
        _PRCTL[at],
        [
            _argument(0),
            *(step for option in _HIDING for step in (_Step(_EQUAL, option, no=1), *_answer(errno.EPERM))),
            _Step(_RETURN, _ALLOW),
        ],
    )
    steps += _when(
        _CLONE[at],
        [_argument(0), _Step(_ANY_BIT, _NEW_NAMESPACES, no=1), *_answer(errno.EPERM), _Step(_RETURN, _ALLOW)],
    )
    # Its flags lie in memory, where no filter looks; the C library takes clone instead when there is no clone3.
    steps += _when(_CLONE3[at], _answer(errno.ENOSYS))
    _install(steps)


def _column() -> int:
    processor = platform.machine()
    if processor not in _PROCESSORS:
        raise OSError(errno.ENOSYS, f"the numbers of system calls on {processor} are not known here")
    return _PROCESSORS[processor][0]


def _answer(code: int) -> list[_Step]:
    return [_Step(_RETURN, _ERROR | code)]


def _argument(number: int, *, high: bool = False) -> _Step:
    """Load half of an argument; both processors put the lower half first."""
    return _Step(_LOAD, _ARGUMENTS_AT + 8 * number + 4 * high)


def _unless_zero(argument: int, code: int) -> list[_Step]:
    return [
        _argument(argument),
        _Step(_EQUAL, 0, no=2),
        _argument(argument, high=True),
        _Step(_EQUAL, 0, yes=1),
        *_answer(code),
        _Step(_RETURN, _ALLOW),
    ]


def _only_local() -> list[_Step]:
    kinds = [_Step(_EQUAL, kind, yes=len(_CONNECTED_KINDS) - number) for number, kind in enumerate(_CONNECTED_KINDS)]
    return [
        _argument(0),
        _Step(_EQUAL, _LOCAL, yes=1),
        *_answer(errno.EACCES),
        _argument(1),
        _Step(_MASK, _KIND_MASK),
        *kinds,
        *_answer(errno.EACCES),
        _Step(_RETURN, _ALLOW),
    ]


def _when(number: int | None, then: Sequence[_Step]) -> list[_Step]:
    """``then``, which ends by returning, for the call of this number; on to the next for all others."""
    return [] if number is None else [_Step(_EQUAL, number, no=len(then)), *then]


def _install(steps: Iterable[_Step]) -> None:
    processor = _PROCESSORS[platform.machine()][1]
    # Calls under another processor's numbers would pass the filter: whoever makes one is ended.
    head = [
        _Step(_LOAD, _PROCESSOR_AT),
        _Step(_EQUAL, processor, yes=1),
        _Step(_RETURN, _KILL),
        _Step(_LOAD, _NUMBER_AT),
    ]
    if platform.machine() == "x86_64":
        head += [_Step(_AT_LEAST, _X32_BIT, no=1), *_answer(errno.ENOSYS)]
    program = [*head, *steps, _Step(_RETURN, _ALLOW)]
    code = ctypes.create_string_buffer(b"".join(step.packed() for step in program))
    filter_ = ctypes.create_string_buffer(struct.pack("HxxxxxxP", len(program), ctypes.addressof(code)))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_SECCOMP, _MODE_FILTER, filter_, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), f"no filter of system calls: {os.strerror(ctypes.get_errno())}")
