"""Does a file server on this machine show what is private? Read from the settings of Samba and of the kernel's NFS."""

from __future__ import annotations

import os
import re
from pathlib import Path

from meshdrop.daemon.base.places import Places
from meshdrop.daemon.doctor.checks.finding import Finding
from meshdrop.daemon.host.machine import Machine
from meshdrop.models.files.problem import printable

#: `path =` of smb.conf, and the first word of a line of /etc/exports.
_SMB_PATH = re.compile(r"^\s*path\s*=\s*(.+?)\s*$", re.MULTILINE | re.IGNORECASE)
_NFS_PATH = re.compile(r'^\s*(?:"([^"]+)"|([^#\s"]\S*))\s', re.MULTILINE)


def exports(places: Places, machine: Machine) -> Finding:
    """Does a file server on this machine show the private folders to everybody?"""
    more = ((str(file.relative_to(machine.fs)), _NFS_PATH) for file in machine.fs.glob("etc/exports.d/*.exports"))
    for name, pattern in (("etc/samba/smb.conf", _SMB_PATH), ("etc/exports", _NFS_PATH), *more):
        try:
            text = (machine.fs / name).read_text(encoding="utf-8", errors="replace")
        except OSError:
            continue
        for exported in (next(filter(None, found.groups())).strip('"') for found in pattern.finditer(text)):
            if (shown := _shown_by(Path(exported), places)) is not None:
                return Finding(
                    "exports",
                    "warn",
                    f"/{name} exports {printable(exported)}, and {shown} lies in it",
                    "whoever mounts it can delete captures that were accepted and are nowhere else",
                    f"export {', '.join(folder.name for folder in places.public())} of {places.root}, each by itself",
                )
    return Finding("exports", "ok", "no file server here shows the private folders")


def _shown_by(exported: Path, places: Places) -> Path | None:
    if not exported.is_absolute():
        return None
    top = Path(os.path.realpath(exported))
    private = (places.spool, places.state)
    return next((folder for folder in private if top in (real := Path(os.path.realpath(folder)), *real.parents)), None)
