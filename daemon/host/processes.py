"""What /proc tells of other processes: who holds a lock, how far it may go, what it was started with."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

#: What /proc/PID/limits writes for "no limit".
UNLIMITED = None


@dataclass(frozen=True)
class ProcessFacts:
    """One process as /proc shows it. Everything that may not be read is missing, and nothing raises."""

    proc: Path
    pid: int | str

    @property
    def folder(self) -> Path:
        """Its folder below /proc."""
        return self.proc / str(self.pid)

    def exists(self) -> bool:
        """Whether it still runs."""
        return self.folder.is_dir()

    def limits(self) -> dict[str, int | None]:
        """Its soft limits by the kernel's names (``Max open files``); None where there is none."""
        found: dict[str, int | None] = {}
        for line in _text(self.folder / "limits").splitlines()[1:]:
            name, soft = line[:26].strip(), line[26:].split()
            if soft and (soft[0].isdigit() or soft[0] == "unlimited"):
                found[name] = int(soft[0]) if soft[0].isdigit() else UNLIMITED
        return found

    def environment(self) -> dict[str, str]:
        """The variables that it was started with; empty where this user may not look."""
        try:
            entries = (self.folder / "environ").read_bytes().split(b"\0")
        except OSError:
            return {}
        pairs = (os.fsdecode(entry).partition("=") for entry in entries if b"=" in entry)
        return {name: value for name, _, value in pairs}

    def root_served(self) -> str | None:
        """The root that a service was started on: by its flag, else by its environment; None where neither tells."""
        words = _text(self.folder / "cmdline").split("\0")
        for word, following in zip(words, [*words[1:], ""], strict=True):
            if word == "--root" or word.startswith("--root="):
                return following if word == "--root" else word.removeprefix("--root=")
        return self.environment().get("MESHDROP_ROOT")

    def started_at(self) -> float | None:
        """When it was started, in Unix seconds to about a hundredth."""
        after_name = _text(self.folder / "stat").rpartition(")")[2].split()
        lines = _text(self.proc / "stat").splitlines()
        boot = next((line.split()[1] for line in lines if line.startswith("btime ")), None)
        if len(after_name) < 20 or boot is None:
            return None
        return float(boot) + int(after_name[19]) / os.sysconf("SC_CLK_TCK")

    def ancestors(self) -> list[int]:
        """Its own number and those of its parents, upwards; empty when it is gone."""
        found: list[int] = []
        current = int(self.pid)
        while current > 0 and current not in found:
            after_name = _text(self.proc / str(current) / "stat").rpartition(")")[2].split()
            if len(after_name) < 2:
                break
            found.append(current)
            current = int(after_name[1])
        return found

    def cgroups(self) -> dict[str, str]:
        """Path in each cgroup hierarchy by its controllers; that of version 2 has none and stands under ""."""
        lines = (line.split(":", 2) for line in _text(self.folder / "cgroup").splitlines())
        return {parts[1]: parts[2] for parts in lines if len(parts) == 3}


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
