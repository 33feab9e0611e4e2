"""Through whose eyes the doctor looks: root's rights tell nothing about those of the service."""

from __future__ import annotations

import json
import os
import pwd
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from meshdrop.daemon.doctor.checks.finding import Finding
from meshdrop.daemon.doctor.checks.settings import read_settings

_LIMIT_S = 120.0


@dataclass(frozen=True)
class Owner:
    """The user that the private folders belong to."""

    uid: int
    gid: int
    name: str

    @property
    def groups(self) -> list[int]:
        """All groups of the user, as a login would give them."""
        with suppress(KeyError):
            return os.getgrouplist(pwd.getpwuid(self.uid).pw_name, self.gid)
        return [self.gid]


def owner_to_be(root: Path | None, config: Path | None) -> Owner | None:
    """Whom root should look as; None where this is not root, or root's own service."""
    if os.geteuid() != 0:
        return None
    settings = read_settings(root, config)[1]
    if settings is None or not settings.places.state.is_dir():
        return None
    facts = settings.places.state.stat()
    if facts.st_uid == 0:
        return None
    try:
        known = pwd.getpwuid(facts.st_uid)
    except KeyError:
        return Owner(facts.st_uid, facts.st_gid, f"'#{facts.st_uid}'")
    return Owner(facts.st_uid, known.pw_gid, known.pw_name)


def examine_as(owner: Owner, root: Path | None, config: Path | None) -> list[Finding]:
    """The findings of this same command in a process of ``owner``'s; one failure when that user cannot start it."""
    where = [f"--root={root.absolute()}"] if root is not None else []
    which = [f"--config={config.absolute()}"] if config is not None else []
    environment = {name: value for name, value in os.environ.items() if name not in ("HOME", "XDG_RUNTIME_DIR")}
    try:
        done = subprocess.run(
            [sys.executable, "-I", "-m", "meshdrop.daemon.cli", "doctor", "--json", *where, *which],
            user=owner.uid,
            group=owner.gid,
            extra_groups=owner.groups,
            umask=0o077,
            env=environment,
            cwd="/",
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_LIMIT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return [_cannot_run(owner, _shut_to(owner) or str(error))]
    try:
        return [Finding(**fields) for fields in json.loads(done.stdout)["findings"]]
    except (ValueError, KeyError, TypeError):
        return [_cannot_run(owner, done.stderr.strip().rpartition("\n")[2] or f"it ended with code {done.returncode}")]


def _shut_to(owner: Owner) -> str | None:
    """The folder on the way to the interpreter that this user may not enter, as one below /root."""
    for folder in reversed(Path(os.path.realpath(sys.executable)).parents):
        facts = folder.stat()
        mine = facts.st_mode >> (6 if facts.st_uid == owner.uid else 3 if facts.st_gid in owner.groups else 0)
        if not mine & 0o1:
            return f"{folder}, where {os.path.realpath(sys.executable)} lies, is closed to that user"
    return None


def _cannot_run(owner: Owner, because: str) -> Finding:
    return Finding(
        "user",
        "fail",
        f"{owner.name}, to whom the private folders belong, cannot run this program: {because}",
        "the service, which works as this user, cannot be started either",
        f"install Meshdrop, and the Python that it uses, where {owner.name} may read them, for example below /opt",
        "folders",
    )
