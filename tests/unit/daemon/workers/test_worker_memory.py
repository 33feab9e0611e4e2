"""How much memory a worker may hold."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from meshdrop.daemon.workers.worker_memory import allowed_mib, held_mib, watch

HOLDER = "import sys; held = bytearray(300 << 20); held[::4096] = b'x' * len(held[::4096]); print(flush=True)"
STAY = f"{HOLDER}; sys.stdin.read()"
#: Starts another that holds as much.
FAMILY = f"import subprocess; subprocess.Popen([sys.executable, '-c', {STAY!r}], stdin=0)"


def test_the_limit_is_what_is_set_else_three_quarters_of_what_is_there() -> None:
    assert allowed_mib(1048.576) == 1000
    [line] = [line for line in Path("/proc/meminfo").read_text().splitlines() if line.startswith("MemTotal:")]
    limit = allowed_mib(None)
    assert limit is not None
    assert 0 < limit <= int(line.split()[1]) * 3 // 4 >> 10


def test_what_is_held_counts_with_the_children_and_not_what_is_reserved() -> None:
    """A reservation of 64 GiB is what CUDA makes; it holds nothing."""
    reserve = f"import mmap, sys; far = mmap.mmap(-1, 64 << 30, prot=0, flags=0x4022); {HOLDER}"
    with subprocess.Popen(
        [sys.executable, "-c", f"{reserve}; {FAMILY}; sys.stdin.read()"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdout.readline()
        process.stdout.readline()  # the child's
        assert 600 <= held_mib(process.pid) < 1000
        process.stdin.close()


def test_who_holds_too_much_is_killed_and_who_does_not_is_not() -> None:
    with subprocess.Popen([sys.executable, "-c", STAY], stdin=subprocess.PIPE) as process:
        assert watch(process.pid, 200) > 200
        assert process.wait() == -9
    with subprocess.Popen([sys.executable, "-c", "pass"]) as process:
        assert watch(process.pid, 200) == 0
        assert process.wait() == 0
    assert watch(process.pid, 200) == 0, "it is gone"
    assert held_mib(process.pid) == 0
    assert held_mib(os.getpid()) > 0
