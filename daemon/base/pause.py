"""A pause: while its file stands in the state folder, nothing new is taken or started. It survives every restart."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from meshdrop.daemon.base import fsops


@dataclass(frozen=True)
class Pause:
    """The pause that ``file`` stands for. Any process of the service's user may begin or end it, at any time."""

    file: Path

    @property
    def since(self) -> float | None:
        """Unix time of its begin; None when there is no pause. Costs one look at the folder."""
        try:
            begun = self.file.stat().st_mtime
        except OSError:  # gone, or the whole disk is: then nothing is begun for other reasons
            return None
        return begun

    def begin(self) -> None:
        """From now on; beginning it again changes nothing."""
        if self.since is None:
            fsops.write_file(self.file, b"`meshdrop resume` ends this pause\n", 0o600)

    def end(self) -> bool:
        """Go on. Whether there was a pause."""
        if self.since is None:
            return False
        fsops.remove_tree(self.file)
        fsops.sync_dir(self.file.parent)
        return True
