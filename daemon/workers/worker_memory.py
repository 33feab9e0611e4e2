"""How much memory a worker may hold, and who looks that it keeps to it.

What is counted is what it really occupies: anonymous and shared memory and what of it was swapped out, that of its
children included. The kernel's own limits count addresses (RLIMIT_AS, RLIMIT_DATA): CUDA reserves more of them than any
machine has memory, weights are mapped by the gigabyte without being read, and V8 sets half a gigabyte aside. So each
run is looked at ten times a second from outside, which no model can forget or prevent. Several workers at once, a run
and a reader, have the limit each; where that is too much for the machine, the kernel ends a worker first
(``oom_score_adj``).
"""

from __future__ import annotations

import os
import select
import signal
from contextlib import suppress
from pathlib import Path

from meshdrop.daemon.host.machine import Machine
from meshdrop.daemon.host.memory import memory_limits
from meshdrop.daemon.host.processes import ProcessFacts

#: Of what the machine and its control group have, for one worker when nothing is set.
SHARE = 3 / 4
_EVERY_MS = 100
_COUNTED = (b"RssAnon:", b"RssShmem:", b"VmSwap:")
#: Nobody starts so many processes; a chain of them is not followed without end.
_MOST_PROCESSES = 64


def allowed_mib(setting_mb: float | None) -> int | None:
    """The limit in MiB: what is set (in MB), else three quarters of what is there. None where nobody knows that."""
    if setting_mb is not None:
        return int(setting_mb * 1e6) >> 20
    machine = Machine()
    there = memory_limits(machine, ProcessFacts(machine.proc, "self")).values()
    known = [mib for mib in there if mib is not None]
    return int(min(known) * SHARE) if known else None


def watch(pid: int, limit_mib: int) -> int:
    """Wait until the child ``pid`` ends, and kill it as soon as it holds more than ``limit_mib``.

    Returns what it held then in MiB, 0 when it kept to its limit. A descriptor names the process, so that nobody else
    of the same number is hit.
    """
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return 0
    try:
        ended = select.poll()
        ended.register(descriptor, select.POLLIN)
        while not ended.poll(_EVERY_MS):
            if (held := held_mib(pid)) > limit_mib:
                with suppress(ProcessLookupError):
                    signal.pidfd_send_signal(descriptor, signal.SIGKILL)
                return held
    finally:
        os.close(descriptor)
    return 0


def held_mib(pid: int) -> int:
    """What a process and those that its first thread has started hold, in MiB; what has ended holds nothing."""
    total, waiting, seen = 0, [str(pid)], 0
    while waiting and seen < _MOST_PROCESSES:
        folder = Path("/proc", process := waiting.pop())
        seen += 1
        with suppress(OSError, ValueError, IndexError):
            for line in (folder / "status").read_bytes().splitlines():
                if line.startswith(_COUNTED):
                    total += int(line.split()[1])
            waiting += (folder / "task" / process / "children").read_text(encoding="ascii").split()
    return total >> 10
