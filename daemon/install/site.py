"""What this machine's installation consists of: the paths, the user, and the texts of the files that systemd and Samba
read. Pure: nothing is looked up or written here.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from meshdrop.daemon.base.errors import ConfigurationError
from meshdrop.daemon.base.places import Places

TEMPLATES = Path(__file__).parent / "templates"
#: Where `systemctl`, `systemd-sysusers` and `systemd-tmpfiles` look for what an administrator has put there.
UNIT = Path("/etc/systemd/system/meshdrop.service")
USERS = Path("/etc/sysusers.d/meshdrop.conf")
FOLDERS = Path("/etc/tmpfiles.d/meshdrop.conf")

Network = Literal["none", "loopback", "any"]

#: Other characters would need three kinds of escapes: systemd's, tmpfiles' and Samba's.
_PLAIN_PATH = re.compile(r"/[A-Za-z0-9._+@/-]+")
_PLAIN_NAME = re.compile(r"[a-z_][a-z0-9_-]{0,30}")
#: The folders as Samba exports them: name, what it is for, whether clients may only read.
_SHARES = (
    ("inbox", "Drop capture folders here", False),
    ("outbox", "Finished meshes", False),
    ("failed", "Refused captures, each with its WHY.txt", False),
    ("status", "What the service is doing", True),
)
#: The threads have five seconds more than the workers, and a worker is asked twice at most (see Service.run).
_STOP_SPARE_S = 25.0


@dataclass(frozen=True)
class Site:
    """One installation. ``program`` is the `meshdrop` command, ``user`` also the name of its group; ``is_local`` tells
    that the share lies on this machine's own disk; ``stop_grace_s`` is the setting.
    """

    program: Path = Path("/opt/meshdrop/venv/bin/meshdrop")
    places: Places = field(default_factory=lambda: usual_places(Path("/srv/scans"), Path("/var/lib/meshdrop")))
    user: str = "meshdrop"
    network: Network = "none"
    stop_grace_s: float = 10.0
    is_local: bool = True

    def __post_init__(self) -> None:
        paths = (self.program, *self._outside())
        if odd := [str(path) for path in paths if not _PLAIN_PATH.fullmatch(str(path))]:
            raise ConfigurationError(
                f"{odd[0]!r} cannot stand in a unit file",
                "choose a path that begins with / and has only letters, digits and . _ + @ - in its names",
            )
        if not _PLAIN_NAME.fullmatch(self.user) or self.user == "root":
            raise ConfigurationError(
                f"the service cannot work as {self.user!r}",
                "name a user of its own with --user: small letters, digits, _ and -, and not root",
            )

    @property
    def stop_s(self) -> int:
        """How long an end in good order may take, in seconds."""
        return round(2 * self.stop_grace_s + _STOP_SPARE_S)

    @property
    def writable(self) -> list[Path]:
        """What the service writes to, the share first; nothing in the list lies in another of its entries.

        Share and spool must be one entry: two would be two mounts, and no rename crosses them. Raises
        ``ConfigurationError`` where that would be the whole machine.
        """
        share = Path(os.path.commonpath([self.places.root, self.places.spool]))
        if share == Path("/"):
            raise ConfigurationError(
                f"the share {self.places.root} and the spool {self.places.spool} have nothing above them but /",
                "take spool_dir out of the settings, or name a folder beside the share on its own mount",
            )
        found = [share]
        for path in (self.places.state, self.places.cache):
            if not any(path.is_relative_to(one) for one in found):
                found.append(path)
        return found

    @property
    def own(self) -> list[tuple[Path, str]]:
        """The folders that are made for the service and given to it, with their rights; none lies in another of them.

        A server decides about the rights on its own folders, and may not let root do anything at all.
        """
        places = self.places
        found = [(places.root, "0755")] if self.is_local else []
        beside = ([places.spool] if self.is_local else []) + [places.state, places.cache]
        for folder in beside:
            if not any(folder.is_relative_to(one) for one in (places.root, *(path for path, _ in found))):
                found.append((folder, "0700"))
        return found

    def _outside(self) -> list[Path]:
        return [self.places.root, self.places.spool, self.places.state, self.places.cache]

    def unit(self) -> str:
        """The unit file."""
        return self._written("meshdrop.service")

    def users(self) -> str:
        """The user and the groups, for systemd-sysusers."""
        return self._written("meshdrop.sysusers")

    def folders(self) -> str:
        """Owners and rights of the folders, for systemd-tmpfiles."""
        return self._written("meshdrop.tmpfiles")

    def samba(self) -> str:
        """The part of smb.conf that exports the four folders that people use."""
        return self._written("meshdrop.smb.conf")

    def files(self) -> dict[Path, str]:
        """Where each file of an installation stands, and its text."""
        return {USERS: self.users(), FOLDERS: self.folders(), UNIT: self.unit()}

    def shipped(self) -> dict[str, str]:
        """The files of the source tree's systemd/: what an installation with the usual paths is made of."""
        return {
            "meshdrop.service": self.unit(),
            "meshdrop.sysusers": self.users(),
            "meshdrop.tmpfiles": self.folders(),
            "meshdrop.smb.conf": self.samba(),
        }

    def _written(self, template: str) -> str:
        from jinja2 import Environment, FileSystemLoader, StrictUndefined  # noqa: PLC0415 - only here, and slow

        environment = Environment(loader=FileSystemLoader(TEMPLATES), undefined=StrictUndefined)
        text = environment.get_template(template).render(
            program=self.program,
            root=self.places.root,
            state=self.places.state,
            user=self.user,
            cache=None if self.places.cache.is_relative_to(self.places.state) else self.places.cache,
            writable=self.writable,
            network=self.network,
            stop_s=self.stop_s,
            local=self.is_local,
            shares=_SHARES,
        )
        return text.rstrip("\n") + "\n"


def usual_places(root: Path, state: Path) -> Places:
    """The folders of a service whose settings move nothing but the record."""
    return Places(root, root / ".meshdrop" / "spool", state, state / "cache", state / "weights")
