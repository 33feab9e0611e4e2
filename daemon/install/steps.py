"""Installing Meshdrop as a system service, and taking it away again: first a list of steps, then the steps.

The list can be shown without doing anything, and its files can be written below another folder, so that packages and
images can be made where no systemd runs.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from ipaddress import ip_address
from pathlib import Path

from meshdrop.daemon.base.errors import ConfigurationError, MeshdropError
from meshdrop.daemon.base.places import SENTINEL
from meshdrop.daemon.base.settings import Settings, config_file, load
from meshdrop.daemon.base.share import network_type
from meshdrop.daemon.install.site import FOLDERS, UNIT, USERS, Network, Site, usual_places
from meshdrop.daemon.notify.channels import ADDRESS_SETTINGS

#: Where a service keeps its compiled kernels whose record lies on the share.
CACHE = Path("/var/cache/meshdrop")
#: What an installation makes its own of a root; whatever else people put there stays theirs.
_IN_ROOT = ("inbox", "outbox", "failed", "status", ".meshdrop", SENTINEL)


@dataclass(frozen=True)
class Write:
    """A file is written. What stood there before is kept beside it, with ``.old`` at its end."""

    path: Path
    text: str

    def __str__(self) -> str:
        return f"write {self.path}"


@dataclass(frozen=True)
class Remove:
    """A file is removed, if it is there."""

    path: Path

    def __str__(self) -> str:
        return f"remove {self.path}"


@dataclass(frozen=True)
class Run:
    """A program is run; ``may_fail`` where its failure stops nothing."""

    words: tuple[str, ...]
    may_fail: bool = False

    def __str__(self) -> str:
        return f"run {' '.join(self.words)}"


Step = Write | Remove | Run


def program() -> Path:
    """The `meshdrop` command of the environment that this runs in."""
    beside = Path(sys.prefix) / "bin" / "meshdrop"
    return beside if beside.exists() else Path(sys.argv[0]).absolute()


def site_of(root: Path, *, user: str = "meshdrop", state: Path | None = None) -> Site:
    """The installation for ``root`` on this machine: its settings decide, and the usual ones where it has none yet.

    Raises ``ConfigurationError`` when the settings put the record elsewhere than ``state``.
    """
    root = root.absolute()
    if not (root / SENTINEL).exists() and not config_file(root).exists():
        places = usual_places(root, (state or Path("/var/lib/meshdrop")).absolute())
        return Site(program(), places, user, is_local=_is_local(root))
    settings = load(root)
    if state is not None and settings.places.state != state.absolute():
        raise ConfigurationError(
            f"the settings of {root} put the record into {settings.places.state}, not into {state}",
            f"leave --state out, or change state_dir in {config_file(root)} and move the record there",
        )
    places = settings.places
    if settings.cache_dir is None and not places.cache.is_relative_to(places.state):
        places = replace(places, cache=CACHE)  # the user's own one, of whoever installs
    return Site(program(), places, user, _network(settings), settings.stop_grace_s, is_local=_is_local(root))


def _network(settings: Settings) -> Network:
    """How much network these settings need: metrics stay on this machine, messages go anywhere."""
    if any(getattr(settings, name) for name in ADDRESS_SETTINGS):
        return "any"
    if settings.metrics_port is None:
        return "none"
    return "loopback" if ip_address(settings.metrics_address).is_loopback else "any"


def _is_local(root: Path) -> bool:
    there = root
    while not there.exists():
        there = there.parent
    return network_type(there) is None


def installation(site: Site) -> list[Step]:
    """Every step, in order. Each can be done again: this is also how a new version is installed."""
    root, state, user = str(site.places.root), str(site.places.state), site.user
    return [
        Write(USERS, site.users()),
        Run(("systemd-sysusers", str(USERS))),
        *(Run(("install", "-d", "-o", user, "-g", user, "-m", mode, str(folder))) for folder, mode in site.own),
        *(Run(("chown", "-hR", f"{user}:{user}", *used)) for used in _used_before(site)),
        Run(("runuser", "-u", user, "--", str(site.program), "init", root, "--state", state)),
        Write(FOLDERS, site.folders()),
        Run(("systemd-tmpfiles", "--create", str(FOLDERS))),
        Write(UNIT, site.unit()),
        Run(("systemctl", "daemon-reload")),
        Run(("systemctl", "enable", UNIT.name)),
        Run(("systemctl", "restart", UNIT.name)),
    ]


def _used_before(site: Site) -> Iterator[list[str]]:
    """What is there and may have been used by somebody else until now: nothing, or the words of one command."""
    root = site.places.root
    ours = [root / name for name in _IN_ROOT] if site.is_local else []
    ours += [folder for folder, _ in site.own if folder != root]
    if there := [str(path) for path in ours if os.path.lexists(path)]:
        yield there


def removal() -> list[Step]:
    """Every step of taking the service away; folders, record and user stay."""
    return [
        Run(("systemctl", "disable", "--now", UNIT.name), may_fail=True),
        *(Remove(path) for path in (UNIT, FOLDERS, USERS)),
        Run(("systemctl", "daemon-reload")),
    ]


def perform(steps: Sequence[Step], say: Callable[[str], None]) -> None:
    """Do the steps. Raises ``MeshdropError`` at the first that fails; those before it stay done, to be done again."""
    for step in steps:
        say(str(step))
        match step:
            case Write() | Remove():
                _change(step)
            case Run():
                _run(step)


def _change(step: Write | Remove) -> None:
    try:
        if isinstance(step, Write):
            write(step.path, step.text)
        else:
            step.path.unlink(missing_ok=True)
    except OSError as error:
        raise MeshdropError(
            f"{step.path} cannot be changed ({error.strerror})",
            f"make {step.path.parent} writable, then give the same command again; where this machine's /etc is made "
            "elsewhere, `meshdrop service install --into DIR` writes the files for that",
        ) from error


def _run(step: Run) -> None:
    done = subprocess.run(step.words, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode and not step.may_fail:
        said = (done.stderr.strip() or done.stdout.strip() or f"exit code {done.returncode}").splitlines()
        more = f"journalctl -u {UNIT.stem} -n 30" if step.words[0] == "systemctl" else "mend that"
        raise MeshdropError(
            f"{' '.join(step.words)} failed: {' '.join(said[-5:])}", f"{more}, then give the same command again"
        )


def stage(steps: Sequence[Step], top: Path) -> list[Path]:
    """Write the files, and nothing else, below ``top``; what was written."""
    written = []
    for step in steps:
        if isinstance(step, Write):
            target = top / step.path.relative_to("/")
            target.parent.mkdir(parents=True, exist_ok=True)
            write(target, step.text)
            written.append(target)
    return written


def write(path: Path, text: str) -> None:
    """Put a file in its place in one step, readable for all; another text that stood there is kept as ``.old``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.is_file() and (before := path.read_text(encoding="utf-8", errors="surrogateescape")) != text:
        path.with_name(f"{path.name}.old").write_text(before, encoding="utf-8", errors="surrogateescape")
    new = path.with_name(f".{path.name}.new")
    new.write_text(text, encoding="utf-8")
    new.chmod(0o644)
    new.rename(path)
