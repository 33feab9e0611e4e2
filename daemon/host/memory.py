"""How much memory and how many processes the machine and a process's control group allow."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from meshdrop.daemon.host.machine import Machine
from meshdrop.daemon.host.processes import ProcessFacts


def memory_limits(machine: Machine, service: ProcessFacts) -> dict[str, int | None]:
    """How much memory there is in MiB, by who says so; None where that is not known."""
    total = _meminfo(machine.proc).get("MemTotal")
    allowed = least_limit(machine, service, "memory", "memory.max", "memory.limit_in_bytes")
    return {
        "this machine has": None if total is None else total // 1024,
        "its control group (container, systemd unit) may use": None if allowed is None else allowed >> 20,
    }


def _meminfo(proc: Path) -> Mapping[str, int]:
    """/proc/meminfo in KiB."""
    try:
        lines = (proc / "meminfo").read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return {}
    pairs = (line.split() for line in lines)
    return {parts[0].rstrip(":"): int(parts[1]) for parts in pairs if len(parts) > 1 and parts[1].isdigit()}


def least_limit(machine: Machine, service: ProcessFacts, controller: str, *names: str) -> int | None:
    """The tightest limit of a process's control group and those around it; None where there is none."""
    found = [number_in(folder / name) for folder in _folders(machine, service, controller) for name in names]
    # Version 1 writes "none" as a huge one.
    return min((number for number in found if number is not None and number < 1 << 60), default=None)


def _folders(machine: Machine, service: ProcessFacts, controller: str) -> Iterator[Path]:
    """Inside a container the group's own path may not be visible: then its limits stand at the top."""
    top = machine.fs / "sys/fs/cgroup"
    for controllers, path in service.cgroups().items():
        if controllers and controller not in controllers.split(","):
            continue
        base = top / controller if controllers else top
        inner = Path(path.lstrip("/"))
        yield from (base / part for part in (inner, *inner.parents))


def number_in(path: Path) -> int | None:
    """The number in a file of the kernel; None for ``max``, and where there is no such file."""
    try:
        return int(path.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None
