"""What the doctor looks at before any folder: versions, kernel limits, the GPU."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Collection

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from daemon.finding import Finding
from daemon.machine import Machine, gpu_seen, user_name
from models.registry import BUILT_IN

DISTRIBUTION = "meshdrop"
#: Models that compute with CUDA and nothing else.
NEED_CUDA = frozenset({"nvdiffrec", "reconviagen"})

#: Below it, a rare race between connections in WAL mode can damage the record (sqlite.org/wal.html, "WAL-reset bug").
SQLITE_GOOD = (3, 51, 3)
#: Sockets, pipes to a worker, the record and one folder level of a capture, several times over.
OPEN_FILES_GOOD = 1024
#: The service itself needs one instance and a handful of watches; editors and sync clients of the same user share them.
INOTIFY_GOOD = {"max_user_instances": 16, "max_user_watches": 1024}

_REINSTALL = "run `make install` in the project, or `pip install --require-hashes -r requirements.lock`"


def python_version(machine: Machine) -> Finding:
    """Is this interpreter one that the package was made for?"""
    try:
        wanted = machine.metadata(DISTRIBUTION)["Requires-Python"]
    except importlib.metadata.PackageNotFoundError:
        return Finding("python", "ok", f"Python {machine.python}")
    if SpecifierSet(wanted).contains(machine.python, prereleases=True):
        return Finding("python", "ok", f"Python {machine.python}")
    return Finding(
        "python", "fail", f"Python {machine.python}, but Meshdrop needs {wanted}",
        "it was not tested with this version and may stop anywhere", f"make a new environment with Python {wanted}",
    )  # fmt: skip


def packages(machine: Machine) -> Finding:
    """Do the installed packages have the versions that Meshdrop asks for?"""
    try:
        asked = machine.metadata(DISTRIBUTION).get_all("Requires-Dist") or []
    except importlib.metadata.PackageNotFoundError:
        return Finding(
            "packages", "fail", "Meshdrop itself is not installed in this environment",
            "model processes start isolated and find only installed packages", "pip install --no-deps -e .",
        )  # fmt: skip
    requirements = [Requirement(line) for line in asked]
    wrong = [trouble for each in requirements if (trouble := _wrong_with(each, machine))]
    if not wrong:
        return Finding("packages", "ok", f"{len(requirements)} packages have the versions that were asked for")
    return Finding(
        "packages", "fail", "; ".join(wrong), "results may differ from what was tested, or models may not start",
        _REINSTALL,
    )  # fmt: skip


def _wrong_with(asked: Requirement, machine: Machine) -> str | None:
    if asked.marker is not None and not asked.marker.evaluate({"extra": ""}):
        return None
    try:
        version = machine.metadata(asked.name)["Version"]
    except importlib.metadata.PackageNotFoundError:
        return f"{asked.name} is missing"
    if asked.specifier.contains(version, prereleases=True):
        return None
    return f"{asked.name} is {version}, not {asked.specifier}"


def sqlite_version(machine: Machine) -> Finding:
    """Is SQLite new enough to be without its known WAL defect?"""
    version, good = (".".join(map(str, part)) for part in (machine.sqlite, SQLITE_GOOD))
    if machine.sqlite >= SQLITE_GOOD:
        return Finding("sqlite", "ok", f"SQLite {version}")
    return Finding(
        "sqlite", "warn", f"SQLite {version}, older than {good}",
        "a rare race in its write-ahead log can damage the record while other programs write to it; the service is the "
        "only writer and checks the record at each start",
        f"install into a Python that brings SQLite {good} or newer, for example the newest of "
        "`uv venv --managed-python`",
    )  # fmt: skip


def open_files(machine: Machine) -> Finding:
    """May this user open enough files?"""
    limit = machine.open_files()
    if limit < 0 or limit >= OPEN_FILES_GOOD:        # RLIM_INFINITY is -1
        return Finding("open files", "ok", "no limit" if limit < 0 else f"up to {limit}")
    return Finding(
        "open files", "warn", f"only {limit} may be open at once",
        "large captures may fail with `Too many open files`",
        f"ulimit -n {OPEN_FILES_GOOD} (or LimitNOFILE={OPEN_FILES_GOOD} in the systemd unit)",
    )  # fmt: skip


def inotify(machine: Machine) -> Finding:
    """Can the service be woken up by the kernel when something arrives?"""
    limits = {name: _kernel_number(machine, name) for name in INOTIFY_GOOD}
    low = [name for name, limit in limits.items() if limit < INOTIFY_GOOD[name]]
    if not low:
        says = f"{limits['max_user_instances']} instances, {limits['max_user_watches']} watches"
        return Finding("inotify", "ok", says)
    return Finding(
        "inotify", "warn", ", ".join(f"fs.inotify.{name} is {limits[name]}" for name in low),
        "new captures are then noticed by the regular scan only, some seconds later",
        "sudo sysctl -w " + " ".join(f"fs.inotify.{name}={INOTIFY_GOOD[name]}" for name in low),
    )  # fmt: skip


def _kernel_number(machine: Machine, name: str) -> int:
    try:
        return int((machine.proc / "sys/fs/inotify" / name).read_text(encoding="ascii"))
    except (OSError, ValueError):
        return 0


def gpu(machine: Machine, models: Collection[str]) -> Finding:
    """Is there a GPU that this user may compute on, as far as the kernel shows?"""
    seen = gpu_seen(machine.proc, machine.dev)
    needed = sorted(NEED_CUDA.intersection(models))
    if seen.driver is None and not seen.cards:
        if not needed:
            return Finding("gpu", "ok", "no NVIDIA GPU: fusion runs on the CPU")
        return Finding(
            "gpu", "warn", f"no NVIDIA GPU, but the settings name {', '.join(needed)}",
            "these models are skipped on this machine",
            "install the NVIDIA driver (in a container: start it with `--gpus all`), or take them out of `models`",
        )  # fmt: skip
    if not seen.cards or not seen.unified_memory:
        missing = "card" if not seen.cards else "nvidia-uvm"
        return Finding(
            "gpu", "warn", f"driver {seen.driver or 'unknown'}, but no device node for the {missing} in {machine.dev}",
            "CUDA cannot start without it", "sudo nvidia-modprobe -u -c 0 (in a container: start it with `--gpus all`)",
        )  # fmt: skip
    locked = [str(card) for card in seen.cards if not machine.may_use(card)]
    if locked:
        return Finding(
            "gpu", "warn", f"{', '.join(locked)} may not be opened by {user_name()}", "CUDA cannot start without it",
            f"sudo usermod -aG video,render {user_name()}, then log in again",
        )  # fmt: skip
    return Finding("gpu", "ok", f"{len(seen.cards)} NVIDIA GPU(s), driver {seen.driver or 'unknown'}")


def licences() -> Finding:
    """Which optional parts may not be used for everything?"""
    parts = [f"{entry.name}: {line}" for entry in BUILT_IN.values() for line in entry.licences]
    return Finding("licences", "ok", "everything that fusion uses is free for any use", "; ".join(parts))
