"""What is mounted where, with which options, as the kernel tells it."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

_ESCAPED = re.compile(r"\\([0-7]{3})")


@dataclass(frozen=True)
class Mount:
    """One line of mountinfo: where, which type, from what, and the options of this mount and of its file system."""

    point: Path
    kind: str
    source: str
    options: frozenset[str]

    def value(self, option: str) -> str | None:
        """What stands behind ``option=``; None where it is not given."""
        return next((text.partition("=")[2] for text in self.options if text.startswith(f"{option}=")), None)


def read(proc: Path) -> tuple[Mount, ...]:
    """Every mount that this process sees, in the order in which they were made; none where proc tells nothing."""
    try:
        text = (proc / "self/mountinfo").read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:
        return ()
    return tuple(mount for line in text.splitlines() if (mount := _parsed(line)) is not None)


def _parsed(line: str) -> Mount | None:
    """``36 35 98:0 /root /mnt rw,noatime shared:1 - ext4 /dev/vda rw,errors=continue``."""
    before, _, after = line.partition(" - ")
    left, right = before.split(" "), after.split(" ")
    if len(left) < 6 or len(right) < 2:
        return None
    options = frozenset((left[5] + "," + (right[2] if len(right) > 2 else "")).split(",")) - {""}
    return Mount(Path(_plain(left[4])), right[0], _plain(right[1]), options)


def _plain(text: str) -> str:
    return _ESCAPED.sub(lambda found: chr(int(found.group(1), 8)), text)


def carrying(path: Path, mounts: Sequence[Mount]) -> Mount | None:
    """The mount on which ``path`` lies: the deepest, and of several on one point the one that was made last."""
    real = Path(os.path.realpath(path))
    above = [mount for mount in mounts if real == mount.point or mount.point in real.parents]
    return max(reversed(above), key=lambda mount: len(mount.point.parts), default=None)
