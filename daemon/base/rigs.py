"""The stored rig profiles: one file each in ``.meshdrop/rigs/``, read by the service, written by ``meshdrop rig``."""

from __future__ import annotations

import os
import time
from collections.abc import Collection, Mapping
from pathlib import Path

from meshdrop.daemon.base import fsops
from meshdrop.daemon.base.errors import MeshdropError
from meshdrop.models.capture.rig_profile import RigProfile, parse_profile
from meshdrop.models.files import walk
from meshdrop.models.files.limits import CaptureLimits
from meshdrop.models.files.names import is_litter
from meshdrop.models.formats.sidecar import RIG_NAME, STANDARD_RIG

_SUFFIX = ".json"
#: A folder's time counts in steps of the kernel's clock: it proves nothing about the step it was read in.
_TRUSTED_AFTER_NS = 2_000_000_000


class RigShelf:
    """The profiles of a root. Any thread may ask; a change is seen at the next question."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._read: tuple[int, Mapping[str, bytes]] = (-1, {})

    def texts(self) -> Mapping[str, bytes]:
        """The profiles' texts by name: the same object while nothing has changed. Raises ``OSError`` when a profile is
        there and cannot be read: no capture may be refused for that.
        """
        try:
            changed_ns = os.stat(self._folder).st_mtime_ns
        except FileNotFoundError:
            changed_ns = 0
        read_ns, texts = self._read
        if changed_ns == read_ns:
            return texts
        now_ns = time.time_ns()
        found = self._all() if changed_ns else {}
        texts = texts if found == texts else found
        self._read = (changed_ns if now_ns - changed_ns > _TRUSTED_AFTER_NS else -1, texts)
        return texts

    def _all(self) -> dict[str, bytes]:
        most = CaptureLimits().max_cameras_bytes
        found = {}
        for file in sorted(walk.names(self._folder)):
            name = file.removesuffix(_SUFFIX)
            if name == file or not RIG_NAME.fullmatch(name) or walk.is_folder(self._folder / file):
                continue
            try:
                found[name] = walk.read_file(self._folder / file, most + 1)
            except FileNotFoundError:
                continue
        return found

    def profile(self, name: str) -> RigProfile:
        """A stored profile; raises ``MeshdropError`` when there is none of this name, or it is damaged."""
        texts = self.texts()
        if name not in texts:
            raise MeshdropError(_absent(name, texts), f"meshdrop rig add {name} --from FILE")
        profile, problems = parse_profile(texts[name], f"{self._folder / name}{_SUFFIX}", CaptureLimits())
        if profile is None or problems:
            first = str(problems[0]) if problems else "it holds no cameras"
            raise MeshdropError(f"the profile of {name} is damaged: {first}", f"meshdrop rig add {name} --from FILE")
        return profile

    def store(self, profile: RigProfile) -> Path:
        """Put a profile on the shelf, whole and flushed, in place of an older one of its name."""
        if not self._folder.is_dir():
            fsops.make_dir(self._folder)
            os.chmod(self._folder, 0o755)
            fsops.sync_dir(self._folder.parent)
        file = self._folder / f"{profile.name}{_SUFFIX}"
        # The service may run as another user than whoever stores a rig, and has to read it, whatever the umask.
        fsops.write_file(file, profile.text, 0o644)
        os.chmod(file, 0o644)
        return file

    def remove(self, name: str) -> None:
        """Take a profile off the shelf. Jobs that were queued with it have their own copy."""
        self.profile_file(name).unlink()
        fsops.sync_dir(self._folder)

    def profile_file(self, name: str) -> Path:
        """Where a stored profile lies; raises ``MeshdropError`` when there is none of this name."""
        if name not in (texts := self.texts()):
            raise MeshdropError(_absent(name, texts), "name one of those: meshdrop rig list")
        return self._folder / f"{name}{_SUFFIX}"


def _absent(name: str, texts: Collection[str]) -> str:
    there = f"there are: {', '.join(texts)}" if texts else "none is stored yet"
    return f"no rig called {name} is stored; {there}"


def checked_name(name: str) -> str:
    """A rig's name as it is stored; raises ``MeshdropError`` for one that cannot be a folder's on every system."""
    folded = name.removeprefix("@").casefold()
    if not RIG_NAME.fullmatch(folded) or folded == STANDARD_RIG or is_litter(f"@{folded}"):
        raise MeshdropError(
            f"{name!r} cannot be a rig's name",
            "use up to 32 lower-case letters, digits and -, for example rig1; canonical is the standard rig",
        )
    return folded
