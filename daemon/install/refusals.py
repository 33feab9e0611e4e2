"""What is refused before anything of an installation is written: what the service could not see or use, and what it
would take from others.
"""

from __future__ import annotations

import os
import re
import shutil
import stat
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from meshdrop.daemon.base.errors import ConfigurationError, MeshdropError
from meshdrop.daemon.base.places import SENTINEL
from meshdrop.daemon.install.site import UNIT, Site

#: What the unit hides from the service: ProtectHome= and PrivateTmp=.
_HIDDEN = tuple(Path(path) for path in ("/home", "/root", "/run/user", "/tmp", "/var/tmp"))
#: This program's own code, the environment it lies in, and the Python that this was made from.
_CODE = (Path(__file__).resolve().parents[1], Path(sys.prefix), Path(sys.base_prefix))
_ELSEWHERE = (
    "install Meshdrop where a service can read it, for example: sudo python3 -m venv /opt/meshdrop/venv, then the two "
    "`pip install` lines of docs/operations.md, then give this command there"
)
#: What shows that a folder has been Meshdrop's before, whatever else was put there since.
_MARKS = frozenset({SENTINEL, "meshdrop.db", "claimed"})
#: What else an installation may find in the folders that it makes its own.
_KNOWN = re.compile(
    r"inbox|outbox|failed|status|\.meshdrop|kept|staging|lock|work|backup|cache|weights|control\.sock|torch|numba-.*"
    r"|lost\+found"
)


def check_machine(euid: int | None = None, running: Path = Path("/run/systemd/system")) -> None:
    """Raise ``MeshdropError`` unless the steps can be done here: as root, on a machine that systemd runs."""
    if not running.is_dir() or shutil.which("systemctl") is None:
        raise MeshdropError(
            "systemd does not run this machine",
            "start the service by what does, with the command `meshdrop run`; --into DIR writes the files without it",
        )
    if (os.geteuid() if euid is None else euid) != 0:
        raise MeshdropError("a service is installed by root", "give the same command with sudo")


def check(site: Site, code: Iterable[Path] = _CODE, hidden: Sequence[Path] = _HIDDEN, installed: Path = UNIT) -> None:
    """Raise ``ConfigurationError`` for what stands in this installation's way; ``installed`` is the present unit."""
    _check_program(site, code, hidden)
    for path in _with_targets((site.places.root, *site.writable, site.places.weights)):
        if _is_below(path, hidden):
            raise ConfigurationError(
                f"{path} lies where no service can see it: people's own and temporary folders are hidden from it",
                "choose a folder under /srv or a disk of its own; a folder below /home can be bound there: "
                "sudo mount --bind /home/scans /srv/scans (and the same in /etc/fstab)",
            )
    _check_nothing_is_taken(site)
    _check_no_other(site, installed)


def _check_program(site: Site, code: Iterable[Path], hidden: Sequence[Path]) -> None:
    for path in _with_targets((*code, site.program)):
        if _is_below(path, hidden):
            raise ConfigurationError(
                f"this Meshdrop lies in {path}, which no service can see: people's own folders are hidden from it",
                _ELSEWHERE,
            )
        if (closed := _closed_to_others(path)) is not None:
            raise ConfigurationError(
                f"{closed} may not be read by everybody, so {site.user} could not start {site.program}",
                f"sudo chmod -R go+rX {closed}",
            )


def _check_nothing_is_taken(site: Site) -> None:
    """Owner and rights of a folder change with the installation, so it must not be in use for something else."""
    for folder, _ in site.own:
        there = set(os.listdir(folder)) if folder.is_dir() else set[str]()
        strange = [] if there & _MARKS else sorted(name for name in there if not _KNOWN.fullmatch(name))
        if strange:
            raise ConfigurationError(
                f"{folder} would be given to {site.user}, and holds {strange[0]!r}, which is not Meshdrop's",
                f"name a folder that is new or empty, for example {folder / 'meshdrop'}",
            )


def _check_no_other(site: Site, installed: Path) -> None:
    """There is one unit. The folder that it serves would silently be left without a service, and under another user the
    running one would lose its folders before it ends.
    """
    try:
        text = installed.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return
    wanted = {"Environment=MESHDROP_ROOT": ("on", str(site.places.root)), "User": ("as the user", site.user)}
    for key, (how, value) in wanted.items():
        present = re.search(rf"^{key}=(.*?)\s*$", text, re.MULTILINE)
        if present is not None and present[1] != value:
            raise ConfigurationError(
                f"the service of this machine works {how} {present[1]}, not {value}",
                f"name {present[1]} in this command; or take the service away first, `sudo meshdrop service uninstall` "
                "(captures, results and record stay); docs/operations.md has the steps, also for a second service",
            )


def _is_below(path: Path, tops: Sequence[Path]) -> bool:
    return any(path.is_relative_to(top) for top in tops)


def _with_targets(paths: Iterable[Path]) -> Iterator[Path]:
    """Each path, and where it leads if there are links on the way."""
    for path in paths:
        yield path
        if (target := path.resolve()) != path:
            yield target


def _closed_to_others(path: Path) -> Path | None:
    """The first part of the way to ``path`` that only some users may go."""
    for part in (*reversed(path.parents), path):
        try:
            mode = part.stat().st_mode
        except OSError:
            return part
        wanted = stat.S_IXOTH if part != path else stat.S_IROTH | stat.S_IXOTH
        if mode & wanted != wanted:
            return part
    return None
