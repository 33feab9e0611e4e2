"""What the doctor looks at of the machine: what the kernel allows, memory, the clock.

Limits are those of the running service where there is one: a person's shell has others.
"""

from __future__ import annotations

from pathlib import Path

from meshdrop.daemon.doctor.checks.finding import Finding
from meshdrop.daemon.host.machine import Machine
from meshdrop.daemon.host.memory import least_limit, memory_limits, number_in
from meshdrop.daemon.host.processes import ProcessFacts

#: Sockets, pipes to a worker, the record and one folder level of a capture, several times over.
OPEN_FILES_GOOD = 1024
#: The service has a dozen threads, and numerical libraries start one for each core.
PROCESSES_GOOD = 256
#: The service itself needs one instance and a handful of watches; editors and sync clients of the same user share them.
INOTIFY_GOOD = {"max_user_instances": 16, "max_user_watches": 1024}
#: What fusion's worker takes at its default resolution on captures of several megapixels, and the service beside it.
MEMORY_GOOD_MIB = 2048
#: What a container gets that nobody gave more: 64 MB, to the last byte.
SHARED_MEMORY_LEAST = 64 << 20
#: Limits on single processes that none of ours may have: name in /proc, what it stops, name in a unit, in a shell.
_NEVER = (
    ("Max address space", "loading torch reserves far more than it uses", "LimitAS", "ulimit -v"),
    ("Max file size", "weights and textures are larger", "LimitFSIZE", "ulimit -f"),
    ("Max cpu time", "the kernel kills the service when it is used up", "LimitCPU", "ulimit -t"),
    ("Max data size", "models stop with an out-of-memory error", "LimitDATA", "ulimit -d"),
)
_FILE_SIZE_GOOD = 8 << 30


def open_files(service: ProcessFacts) -> Finding:
    """May the service open enough files?"""
    limit = service.limits().get("Max open files")
    if limit is None or limit >= OPEN_FILES_GOOD:
        return Finding("open files", "ok", "no limit" if limit is None else f"up to {limit}")
    return Finding(
        "open files",
        "warn",
        f"only {limit} may be open at once",
        "large captures may fail with `Too many open files`",
        f"ulimit -n {OPEN_FILES_GOOD} (or LimitNOFILE={OPEN_FILES_GOOD} in the systemd unit)",
    )


def process_limits(machine: Machine, service: ProcessFacts) -> Finding:
    """Is anything limited that a model run must have?"""
    limits = service.limits()
    for name, why, unit, shell in _NEVER:
        limit = limits.get(name)
        if limit is not None and not (name == "Max file size" and limit >= _FILE_SIZE_GOOD):
            return Finding(
                "process limits",
                "warn",
                f"{name.lower()} is limited to {limit}",
                why,
                f"{shell} unlimited (or {unit}=infinity in the systemd unit)",
            )
    threads = min(
        (limit for limit in (limits.get("Max processes"), least_limit(machine, service, "pids", "pids.max")) if limit),
        default=None,
    )
    if threads is None or threads >= PROCESSES_GOOD:
        return Finding("process limits", "ok", "none that matters")
    return Finding(
        "process limits",
        "warn",
        f"only {threads} processes and threads are allowed",
        "numerical libraries start one for each core; workers then die with `can't start new thread`",
        f"ulimit -u {PROCESSES_GOOD} (or TasksMax={PROCESSES_GOOD} in the systemd unit, pids_limit in Docker)",
    )


def inotify(machine: Machine, inbox: Path | None) -> Finding:
    """Can the service be woken up by the kernel when something arrives?"""
    limits = {name: number_in(machine.proc / "sys/fs/inotify" / name) or 0 for name in INOTIFY_GOOD}
    low = [name for name, limit in limits.items() if limit < INOTIFY_GOOD[name]]
    why = "new captures are then noticed by the regular scan only, some seconds later"
    if low:
        return Finding(
            "inotify",
            "warn",
            ", ".join(f"fs.inotify.{name} is {limits[name]}" for name in low),
            why,
            "sudo sysctl -w " + " ".join(f"fs.inotify.{name}={INOTIFY_GOOD[name]}" for name in low),
        )
    refused = machine.inotify_refused(inbox if inbox is not None and inbox.is_dir() else None)
    if refused is None:
        says = f"{limits['max_user_instances']} instances, {limits['max_user_watches']} watches"
        return Finding("inotify", "ok", says)
    name = "max_user_instances" if "instance" in refused else "max_user_watches"
    return Finding(
        "inotify",
        "warn",
        f"the kernel gives this user {refused}: fs.inotify.{name}={limits[name]} is used up",
        why,
        f"sudo sysctl -w fs.inotify.{name}={2 * limits[name]}",
    )


def memory(machine: Machine, service: ProcessFacts, largest_run_mib: int) -> Finding:
    """Is there memory for the largest model run so far? ``largest_run_mib`` is 0 where there was none."""
    wanted = max(MEMORY_GOOD_MIB, largest_run_mib + largest_run_mib // 4)
    known = {who: mib for who, mib in memory_limits(machine, service).items() if mib is not None}
    if not known:
        return Finding("memory", "ok", "unknown")
    who, least = min(known.items(), key=lambda item: item[1])
    if least >= wanted:
        return Finding("memory", "ok", f"{least} MiB")
    because = f"a run here took {largest_run_mib} MiB" if wanted > MEMORY_GOOD_MIB else f"fusion needs {wanted} MiB"
    return Finding(
        "memory",
        "warn",
        f"{who} {least} MiB, and {because}",
        "model runs may be killed for memory (host_memory, crash)",
        f"add memory, or allow more (MemoryMax={wanted}M in the unit, mem_limit in Docker), or lower `resolution`",
    )


def shared_memory(machine: Machine, needed: bool) -> Finding:
    """Has a container room in /dev/shm? ``needed``: whether a model computes with torch."""
    folder = machine.dev / "shm"
    if not needed or not machine.in_container or not folder.is_dir():
        return Finding("shared memory", "ok", "as the machine has it")
    size = machine.room(folder).total_bytes
    if size > SHARED_MEMORY_LEAST:
        return Finding("shared memory", "ok", f"{size >> 20} MiB")
    return Finding(
        "shared memory",
        "warn",
        f"/dev/shm of this container has {size >> 20} MiB",
        "torch and the GPU libraries share memory between processes there and stop with `Bus error` when it is full",
        "shm_size: 1g in docker-compose.yml (or docker run --shm-size=1g)",
    )


def clock(machine: Machine) -> Finding:
    """Is the time right, as far as this machine can know?"""
    now = machine.now()
    newest = max((file.stat().st_mtime for file in machine.program.glob("daemon/**/*.py")), default=0.0)
    if now < newest - 86_400.0:
        return Finding(
            "clock",
            "fail",
            "the clock stands before the day on which this program was installed",
            "every page, receipt and log shows a wrong time. Nothing is deleted by it: ages are counted by the record",
            "sudo timedatectl set-ntp true (or: sudo date -s 'YYYY-MM-DD HH:MM:SS')",
        )
    zone = machine.environ.get("TZ", "").lstrip(":")
    if zone and not _is_zone(zone, machine):
        return Finding(
            "clock",
            "warn",
            f"TZ names {zone}, which this machine does not know",
            "times on the terminal are shown as if they were local, and are UTC",
            "correct TZ, or install the package tzdata",
        )
    if machine.clock_is_steered() is False:
        return Finding(
            "clock",
            "warn",
            "nothing keeps this machine's clock right (no NTP)",
            "times in pages, receipts and logs drift away from those of the rig. Nothing is lost by it: ages are "
            "counted by the record, and then without the time for which the machine is switched off",
            "sudo timedatectl set-ntp true (in a container: on the machine that runs it)",
        )
    return Finding("clock", "ok", "is kept right")


def _is_zone(zone: str, machine: Machine) -> bool:
    """Whether TZ is a file of rules, or rules itself (``CET-1CEST``), which hold a number."""
    if any(sign.isdigit() for sign in zone) and "/" not in zone:
        return True
    known = machine.fs / "usr/share/zoneinfo"
    file = machine.fs / zone.lstrip("/") if zone.startswith("/") else known / zone
    return zone == "UTC" or file.is_file()
