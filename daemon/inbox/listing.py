"""The top of the inbox: which names are captures, and which are something else."""

from __future__ import annotations

import os
from collections.abc import Container, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from meshdrop.models.capture.rig_profile import rig_of
from meshdrop.models.files import walk
from meshdrop.models.files.names import is_blocker, is_litter

#: A file of this name asks for the folder or job of that name to be cancelled.
CANCEL = b".cancel"


@dataclass(frozen=True)
class Listing:
    """The top of the inbox, and of each folder in it that stands for a stored rig: those are no captures, and what lies
    in one has a name such as ``@rig1/chair``. ``staged`` are folders under a temporary name by their inode;
    ``cancelled`` the names whose cancellation is asked for; ``strays`` are neither folders nor known."""

    folders: frozenset[bytes] = frozenset()
    staged: dict[int, bytes] = field(default_factory=dict)
    inodes: dict[bytes, int] = field(default_factory=dict)
    cancelled: frozenset[bytes] = frozenset()
    strays: tuple[bytes, ...] = ()
    rig_folders: tuple[bytes, ...] = ()


@dataclass(slots=True)
class _Names:
    """A listing that is being made."""

    folders: set[bytes] = field(default_factory=set)
    staged: dict[int, bytes] = field(default_factory=dict)
    inodes: dict[bytes, int] = field(default_factory=dict)
    cancelled: set[bytes] = field(default_factory=set)
    strays: list[bytes] = field(default_factory=list)
    rig_folders: list[bytes] = field(default_factory=list)

    def listing(self) -> Listing:
        """What was found."""
        return Listing(
            frozenset(self.folders),
            self.staged,
            self.inodes,
            frozenset(self.cancelled),
            tuple(sorted(self.strays)),
            tuple(self.rig_folders),
        )


def list_inbox(inbox: Path, rigs: Mapping[str, bytes], known: Container[bytes]) -> Listing:
    """Read the inbox, and in it the folders of the stored ``rigs``. Of ``known`` folders only the name is asked for.

    Raises ``OSError`` when the inbox itself cannot be read.
    """
    found = _Names()
    _sort(inbox, b"", found, rigs, known)
    for name in found.rig_folders:
        try:
            _sort(inbox, name + b"/", found, rigs, known)
        except FileNotFoundError:
            continue  # gone since the inbox was listed
        except OSError:
            found.folders.add(name)  # the scanner reports it as one that cannot be read
    return found.listing()


def is_temporary(name: bytes) -> bool:
    """Whether a folder's or file's name says that it is still being copied, or is none of ours."""
    return name.startswith(b".") or is_blocker(os.fsdecode(name))


def _sort(inbox: Path, folder: bytes, found: _Names, rigs: Mapping[str, bytes], known: Container[bytes]) -> None:
    """Put the entries of the inbox, or of a rig's folder in it (with its slash), where they belong."""
    with walk.held(inbox / os.fsdecode(folder)) as held, os.scandir(held) as entries:
        for entry in entries:
            name, text = folder + os.fsencode(entry.name), entry.name
            may_be_rigs = not folder and rig_of(text) in rigs
            if name in known and not may_be_rigs and entry.is_dir(follow_symlinks=False):
                found.folders.add(name)
                continue
            hidden = is_temporary(os.fsencode(text))
            if entry.is_dir(follow_symlinks=False):
                if hidden:
                    found.staged[entry.inode()] = name
                elif may_be_rigs:
                    found.rig_folders.append(name)
                elif not is_litter(text):
                    found.folders.add(name)
                    found.inodes[name] = entry.inode()
            elif name.endswith(CANCEL) and not hidden:
                found.cancelled.add(name[: -len(CANCEL)])
            elif not hidden and not is_litter(text):
                found.strays.append(name)
