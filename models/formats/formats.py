"""What every reader of somebody else's cameras is given and gives back. Standard library only.

A format is recognised by names, says which of its files must be there, and turns them into a ``Sidecar``. It is asked
at every scan, about folders that may still be arriving: it never raises on content. The list of formats is in
``models/formats/camera_formats.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cached_property

from meshdrop.models.files.limits import CaptureLimits
from meshdrop.models.files.pictures import suffixes
from meshdrop.models.files.problem import Problem
from meshdrop.models.formats.sidecar import Sidecar


@dataclass(frozen=True)
class Folder:
    """A capture's folder as a reader sees it: ``names`` are posix paths below ``root`` (which is "" or ends with "/").

    ``content`` gives the bytes of one of them, at most what a file of cameras may have and one more.
    """

    root: str
    names: frozenset[str]
    content: Callable[[str], bytes]
    limits: CaptureLimits

    def has(self, folder: str) -> bool:
        """Whether anything lies in ``folder`` (with its slash)."""
        return folder in self._folders

    @cached_property
    def _folders(self) -> frozenset[str]:
        """Every folder below the root that holds something, with its slash."""
        found: set[str] = set()
        for name in self.names:
            folder = name[: name.rfind("/") + 1]
            while folder and folder not in found:
                found.add(folder)
                folder = folder[: folder.rfind("/", 0, -1) + 1]
        return frozenset(found)

    def picture(self, stem: str, suffixes: Iterable[str] = suffixes("image")) -> str | None:
        """The file ``stem`` with one of these endings, as it is written in the folder."""
        return next(
            (
                name
                for suffix in suffixes
                for name in (f"{stem}.{suffix}", f"{stem}.{suffix.upper()}")
                if name in self.names
            ),
            None,
        )


@dataclass(frozen=True)
class Cameras:
    """What one format's files state.

    ``files`` are all that belong to the statement, relative to the root, and must be there; ``begun`` those of them
    that are there in part. ``notes`` are sentences for people about what lies there and is not used.
    ``open_ended``: nothing says how many pictures there will be, so that more may come. ``spare`` are files that are
    awaited like the others, and done without when nobody waits any longer. ``by_order``: cameras belong to pictures by
    their order alone, so that none can be left out. ``unless_stated`` is what is wrong where ``capture.json`` does not
    state the intrinsics, which these files lack.
    """

    layout: str
    files: tuple[str, ...]
    stated: Sidecar = field(default_factory=Sidecar)
    problems: tuple[Problem, ...] = ()
    begun: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    open_ended: bool = False
    spare: tuple[str, ...] = ()
    by_order: bool = False
    unless_stated: Problem | None = None
